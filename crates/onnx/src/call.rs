//! Runs a plan. A [`Call`] is one call of an operator.

use std::cell::Cell;
use std::time::Instant;

use dendra_autograd::{Param, Var};
use dendra_tensor::kernels::epilogue::Epilogue;
use dendra_tensor::kernels::gemm::Panels;
use dendra_tensor::{Error, Result, Rng, Shape, Tensor};

use crate::fast::finish;
use crate::ops::Run;
use crate::plan::{Action, Graph, Node, Plan, Setting, Step};
use crate::tensor::TypedTensor;
use crate::value::Value;

/// The state that all steps of a run share.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    /// A value on the tape of the run.
    pub(crate) anchor: Option<Var<f32>>,
    pub(crate) parameters: &'a [(String, Param<f32>)],
}

impl Running<'_> {
    pub(crate) fn parameter(&self, index: usize) -> Var<f32> {
        let param = &self.parameters[index].1;
        match &self.anchor {
            Some(anchor) => param.on(anchor),
            None => Var::new(param.value().clone()),
        }
    }
}

/// A value during a run.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    Owned(Value),
    /// A constant of the plan.
    Constant(&'a Value),
}

impl Held<'_> {
    pub(crate) fn get(&self) -> &Value {
        match self {
            Self::Owned(value) => value,
            Self::Constant(value) => value,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Owned(value) => value,
            Self::Constant(value) => value.clone(),
        }
    }
}

/// Called with each step and the seconds that it took.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(&Step, f64);

/// The outputs of a plan.
pub(crate) fn run(
    plan: &Plan,
    running: &Running<'_>,
    given: impl IntoIterator<Item = (usize, Value)>,
    mut watch: Option<Watch<'_>>,
) -> Result<Vec<Value>> {
    let mut values = begin(plan, running, given);
    for step in &plan.steps {
        let start = watch.is_some().then(Instant::now);
        perform(step, running, &mut values)?;
        if let (Some(watch), Some(start)) = (&mut watch, start) {
            watch(step, start.elapsed().as_secs_f64());
        }
        for &slot in &step.last {
            values[slot] = None;
        }
    }
    outputs(plan, &values)
}

/// The values before the first step.
pub(crate) fn begin<'a>(
    plan: &'a Plan,
    running: &Running<'_>,
    given: impl IntoIterator<Item = (usize, Value)>,
) -> Vec<Option<Held<'a>>> {
    let mut values = Vec::with_capacity(plan.slots);
    values.resize_with(plan.slots, || None);
    for (slot, value) in &plan.constants {
        values[*slot] = Some(Held::Constant(value));
    }
    for &(slot, index) in &plan.parameters {
        values[slot] = Some(Held::Owned(Value::Tensor(running.parameter(index).into())));
    }
    for (slot, value) in given {
        values[slot] = Some(Held::Owned(value));
    }
    values
}

pub(crate) fn outputs(plan: &Plan, values: &[Option<Held<'_>>]) -> Result<Vec<Value>> {
    let output = |&slot: &usize| match &values[slot] {
        Some(held) => Ok(held.get().clone()),
        None => Err(Error::argument("onnx", "an output of the graph was not computed")),
    };
    plan.outputs.iter().map(output).collect()
}

/// Computes the outputs of a step.
pub(crate) fn perform(
    step: &Step,
    running: &Running<'_>,
    values: &mut [Option<Held<'_>>],
) -> Result<()> {
    let within =
        |error: Error| error.within(format!("{} {:?}", step.node.operator, step.node.name));
    // Values that no later step reads may be overwritten.
    let first = match (&step.node.action, step.inputs.first()) {
        (Action::Fused(fused), Some(&Some(slot))) if fused.head.is_none() => {
            let is_last = step.last.contains(&slot) && !step.inputs[1..].contains(&Some(slot));
            let taken = if is_last { values[slot].take() } else { None };
            let copied = || values[slot].as_ref().map(|held| held.get().clone());
            taken.map(Held::into_value).or_else(copied)
        }
        _ => None,
    };
    let inputs = step.inputs.iter().map(|slot| Some(values[(*slot)?].as_ref()?.get()));
    let outputs = match first {
        Some(first) => fused_in_place(step, first, inputs.skip(1).collect()),
        None => call(step, inputs.collect(), running, values),
    };
    for (slot, value) in step.outputs.iter().zip(outputs.map_err(within)?) {
        if let Some(slot) = slot {
            values[*slot] = Some(Held::Owned(value));
        }
    }
    Ok(())
}

fn fused_in_place(step: &Step, first: Value, operands: Vec<Option<&Value>>) -> Result<Vec<Value>> {
    let (Action::Fused(fused), Value::Tensor(first)) = (&step.node.action, first) else {
        return wrong("expected a tensor".to_owned());
    };
    Ok(vec![fused.with_chain(&operands, |chain| finish(chain, first))?.into()])
}

/// The outputs of a step.
pub(crate) fn call(
    step: &Step,
    inputs: Vec<Option<&Value>>,
    running: &Running<'_>,
    scope: &[Option<Held<'_>>],
) -> Result<Vec<Value>> {
    let outputs = Call { node: &step.node, step, inputs, running, scope, then: None }.perform()?;
    if outputs.len() < step.outputs.len() {
        return wrong(format!("expected at most {} outputs", outputs.len()));
    }
    Ok(outputs)
}

/// One call of an operator.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    node: &'a Node,
    step: &'a Step,
    pub(crate) inputs: Vec<Option<&'a Value>>,
    running: &'a Running<'a>,
    scope: &'a [Option<Held<'a>>],
    then: Option<&'a Then<'a>>,
}

/// The element-wise functions after an operator.
#[derive(Debug)]
struct Then<'a> {
    epilogue: Epilogue<'a, f32>,
    /// Whether the operator applies them.
    is_taken: Cell<bool>,
}

/// A graph that an operator runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subgraph<'a> {
    graph: &'a Graph,
    running: &'a Running<'a>,
    scope: &'a [Option<Held<'a>>],
}

impl Subgraph<'_> {
    pub(crate) fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let Graph { plan, captures } = self.graph;
        if inputs.len() != plan.inputs.len() {
            let expected = plan.inputs.len();
            let message = format!("the graph takes {expected} inputs, got {}", inputs.len());
            return Err(Error::argument("subgraph", message));
        }
        let captured = captures
            .iter()
            .filter_map(|&(outer, inner)| Some((inner, self.scope[outer].as_ref()?.get().clone())));
        let given = captured.chain(plan.inputs.iter().copied().zip(inputs));
        run(plan, self.running, given, None)
    }
}

fn wrong<X>(message: String) -> Result<X> {
    Err(Error::argument("onnx", message))
}

impl<'a> Call<'a> {
    fn perform(&self) -> Result<Vec<Value>> {
        match &self.node.action {
            Action::Operator(operator) => match operator.run {
                Run::One(run) => Ok(vec![run(self)?.into()]),
                Run::Many(run) => run(self),
            },
            Action::Function(plan) => {
                let inputs = plan.inputs.iter().zip(&self.inputs);
                let given = inputs.filter_map(|(&slot, value)| Some((slot, (*value)?.clone())));
                run(plan, self.running, given, None)
            }
            Action::Fused(fused) => {
                let (inputs, operands) = self.inputs.split_at(fused.head_inputs);
                let Some(node) = &fused.head else { return self.refuse("there is no first node") };
                fused.with_chain(operands, |chain| {
                    let function = |first: usize, x: &mut [f32]| chain.run(first, x);
                    let (epilogue, is_taken) = (Epilogue::new(&function), Cell::new(false));
                    let then = Then { epilogue, is_taken };
                    let head = Call { node, inputs: inputs.to_vec(), then: Some(&then), ..*self };
                    match head.perform()?.into_iter().next() {
                        Some(Value::Tensor(x)) if then.is_taken.get() => Ok(vec![x.into()]),
                        Some(Value::Tensor(x)) => Ok(vec![finish(chain, x)?.into()]),
                        _ => self.refuse("expected a tensor"),
                    }
                })
            }
        }
    }

    /// Whether the operator, on floats of 32 bits without a tape, may apply what
    /// [`then`](Self::then) returns, or has a place for a packed weight.
    pub(crate) fn is_special(&self) -> bool {
        self.then.is_some() || self.node.packed.is_some()
    }

    /// The element-wise functions after the operator, which the operator must
    /// apply once it has asked for them.
    pub(crate) fn then(&self) -> Epilogue<'a, f32> {
        let Some(then) = self.then else { return Epilogue::NONE };
        then.is_taken.set(true);
        then.epilogue
    }

    /// The weight in the layout of the kernels, which `pack` returns, if it is
    /// constant.
    pub(crate) fn packed(&self, pack: impl FnOnce() -> Vec<Panels<f32>>) -> &[Panels<f32>] {
        self.node.packed.as_ref().map_or(&[], |packed| packed.get_or_init(pack))
    }

    /// The domain of the operator.
    pub(crate) fn domain(&self) -> &'static str {
        match &self.node.action {
            Action::Operator(operator) => operator.domain,
            _ => "",
        }
    }

    /// The version of the operator set.
    pub(crate) fn version(&self) -> i64 {
        self.node.version
    }

    /// The number of outputs of the node.
    pub(crate) fn outputs(&self) -> usize {
        self.step.outputs.len()
    }

    /// Whether an output is used.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.step.outputs.get(index).is_some_and(Option::is_some)
    }

    /// An optional input.
    pub(crate) fn value(&self, index: usize) -> Option<&Value> {
        *self.inputs.get(index)?
    }

    pub(crate) fn optional(&self, index: usize) -> Result<Option<&TypedTensor>> {
        self.value(index).map(Value::tensor).transpose()
    }

    /// A required input.
    pub(crate) fn tensor(&self, index: usize) -> Result<&TypedTensor> {
        match self.value(index) {
            Some(value) => value.tensor(),
            None => wrong(format!("input {index} is missing")),
        }
    }

    /// All inputs.
    pub(crate) fn tensors(&self) -> Result<Vec<&TypedTensor>> {
        (0..self.inputs.len()).map(|index| self.tensor(index)).collect()
    }

    /// The integers of an input.
    pub(crate) fn integers(&self, index: usize) -> Result<Vec<i64>> {
        Ok(self.tensor(index)?.wholes()?.to_vec())
    }

    pub(crate) fn optional_integers(&self, index: usize) -> Result<Option<Vec<i64>>> {
        self.value(index).map(|_| self.integers(index)).transpose()
    }

    /// The only integer of an input.
    pub(crate) fn integer(&self, index: usize) -> Result<i64> {
        let x = self.tensor(index)?.wholes()?;
        x.reshape([x.len()])?.item()
    }

    /// The only number of an input.
    pub(crate) fn number(&self, index: usize) -> Result<Option<f64>> {
        let Some(x) = self.optional(index)? else { return Ok(None) };
        if x.len() != 1 {
            return wrong(format!("expected one number, got shape {}", x.shape()));
        }
        Ok(Some(x.reals()?.to_vec()[0]))
    }

    /// The integers of an attribute in old versions, or of an input in newer
    /// ones.
    pub(crate) fn integers_of(&self, name: &str, index: usize) -> Result<Option<Vec<i64>>> {
        match self.ints(name) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None => self.optional_integers(index),
        }
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&Setting> {
        self.node.attributes.get(name)
    }

    pub(crate) fn optional_int(&self, name: &str) -> Option<i64> {
        match self.setting(name)? {
            Setting::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.optional_int(name).unwrap_or(default)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    pub(crate) fn optional_float(&self, name: &str) -> Option<f64> {
        match self.setting(name)? {
            // The intended decimal number, which is then exact in double
            // precision, as in the reference.
            Setting::Float(value) => Some(f64::from(*value)),
            _ => None,
        }
    }

    pub(crate) fn float(&self, name: &str, default: f64) -> f64 {
        self.optional_float(name).unwrap_or(default)
    }

    pub(crate) fn text(&self, name: &str, default: &'static str) -> &str {
        match self.setting(name) {
            Some(Setting::Text(text)) => text,
            _ => default,
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.setting(name)? {
            Setting::Ints(values) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn floats(&self, name: &str) -> Option<Vec<f64>> {
        match self.setting(name)? {
            Setting::Floats(values) => Some(values.iter().map(|&x| f64::from(x)).collect()),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Option<&[String]> {
        match self.setting(name)? {
            Setting::Texts(values) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn tensor_setting(&self, name: &str) -> Option<&TypedTensor> {
        match self.setting(name)? {
            Setting::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub(crate) fn graph(&self, name: &str) -> Result<Subgraph<'_>> {
        match self.step.graphs.get(name) {
            Some(graph) => Ok(Subgraph { graph, running: self.running, scope: self.scope }),
            None => wrong(format!("the graph {name} is missing")),
        }
    }

    pub(crate) fn has_graph(&self, name: &str) -> bool {
        self.step.graphs.contains_key(name)
    }

    /// A random stream: from the seed of the node, else from the tape.
    pub(crate) fn random(&self) -> Rng {
        let tape = self.running.anchor.as_ref().and_then(Var::tape);
        match (self.optional_float("seed"), tape) {
            (Some(seed), _) => Rng::seed(u64::from((seed as f32).to_bits())),
            (None, Some(tape)) => tape.random_stream(),
            (None, None) => Rng::seed(0),
        }
    }

    /// Adds the name of the operator to an error.
    pub(crate) fn refuse<X>(&self, message: impl Into<String>) -> Result<X> {
        wrong(message.into())
    }
}

/// Converts lengths to a shape.
pub(crate) fn shape_of(lengths: &[i64]) -> Result<Shape> {
    let lengths = lengths.iter().map(|&length| usize::try_from(length).ok());
    let shape = lengths.collect::<Option<Vec<_>>>().map(|lengths| Shape::from(&lengths[..]));
    match shape.filter(|shape| shape.checked_elements().is_some()) {
        Some(shape) => Ok(shape),
        None => wrong("expected lengths of at least 0".to_owned()),
    }
}

/// Converts a shape to a tensor.
pub(crate) fn lengths(shape: &Shape) -> Tensor<i64> {
    Tensor::from_fn([shape.len()], |axis| shape[axis] as i64)
}
