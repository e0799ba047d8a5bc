//! Operators on floats between `DequantizeLinear` and `QuantizeLinear` as
//! operators on integers, as ONNX Runtime joins them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dendra_tensor::Tensor;

use super::lower::{name, readers};
use crate::element::ElementType;
use crate::ops::{self, Operator};
use crate::plan::{Action, Node, Plan, Setting, Step};
use crate::tensor::TypedTensor;

/// Operators that give the same integers on integers as on the numbers that these
/// mean.
const KEEPING: [&str; 4] = ["Flatten", "MaxPool", "Reshape", "Transpose"];

/// Joins what can be joined.
pub(super) fn join(plan: &mut Plan) {
    let is_quantised = |step: &Step| name(&step.node) == "DequantizeLinear";
    if !plan.steps.iter().any(is_quantised) {
        return;
    }
    let mut graph = Graph::of(plan);
    for index in 0..graph.steps.len() {
        let joined = match name(&graph.steps[index].node) {
            "QuantizeLinear" => graph.with_integers_out(index),
            "Gemm" => graph.gemm(index, None),
            _ => None,
        };
        if let Some((at, step)) = joined {
            graph.steps[at] = step;
        }
    }
    let Graph { steps, constants, slots, .. } = graph;
    plan.constants.extend(constants);
    plan.slots = slots;
    plan.steps = steps;
    remove_unread(plan);
}

/// Removes steps whose outputs nothing reads.
fn remove_unread(plan: &mut Plan) {
    let mut is_read = vec![false; plan.slots];
    plan.outputs.iter().for_each(|&slot| is_read[slot] = true);
    let mut kept = Vec::with_capacity(plan.steps.len());
    for step in plan.steps.drain(..).rev() {
        let is_pure = ["DequantizeLinear", "QuantizeLinear", "Relu", "Conv", "Gemm", "MatMul"]
            .into_iter()
            .chain(KEEPING)
            .any(|pure| pure == name(&step.node));
        if is_pure && !step.writes().any(|slot| is_read[slot]) {
            continue;
        }
        step.reads().for_each(|slot| is_read[slot] = true);
        kept.push(step);
    }
    kept.reverse();
    plan.steps = kept;
}

struct Graph {
    steps: Vec<Step>,
    /// The step that computes a slot.
    makers: HashMap<usize, usize>,
    readers: Vec<usize>,
    known: HashMap<usize, TypedTensor>,
    /// New constants.
    constants: Vec<(usize, crate::value::Value)>,
    slots: usize,
}

/// A value that is integers with a unit.
struct Quantised {
    /// The slots of the integers, the unit and the zero point.
    inputs: [Option<usize>; 3],
    axis: Option<i64>,
}

impl Graph {
    fn of(plan: &Plan) -> Self {
        let mut makers = HashMap::new();
        for (index, step) in plan.steps.iter().enumerate() {
            makers.extend(step.writes().map(|slot| (slot, index)));
        }
        let fixed = plan.constants.iter().filter(|(slot, _)| !plan.inputs.contains(slot));
        let known = fixed.filter_map(|(slot, value)| Some((*slot, value.tensor().ok()?.clone())));
        Self {
            steps: plan.steps.clone(),
            makers,
            readers: readers(plan),
            known: known.collect(),
            constants: Vec::new(),
            slots: plan.slots,
        }
    }

    fn maker(&self, slot: Option<usize>) -> Option<(usize, &Step)> {
        let index = *self.makers.get(&slot?)?;
        Some((index, &self.steps[index]))
    }

    fn constant(&self, slot: Option<usize>) -> Option<&TypedTensor> {
        self.known.get(&slot?)
    }

    /// The value of a constant that is one number.
    fn number(&self, slot: Option<usize>) -> Option<f64> {
        match self.constant(slot)?.reals().ok()?.to_vec()[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// What a value was before it was dequantised.
    fn integers(&self, slot: Option<usize>) -> Option<Quantised> {
        let (_, step) = self.maker(slot)?;
        if name(&step.node) != "DequantizeLinear" || step.node.attributes.contains_key("block_size")
        {
            return None;
        }
        let input = |index: usize| step.inputs.get(index).copied().flatten();
        let axis = match step.node.attributes.get("axis") {
            Some(Setting::Int(axis)) => Some(*axis),
            _ => None,
        };
        Some(Quantised { inputs: [input(0), input(1), input(2)], axis })
    }

    /// Activations: bytes with one unit and one zero point, which are constants.
    fn activation(&self, slot: Option<usize>) -> Option<[Option<usize>; 3]> {
        let found = self.integers(slot)?;
        self.number(found.inputs[1])?;
        let zero = self.constant(found.inputs[2])?;
        let is_bytes = matches!(zero.element(), ElementType::U8 | ElementType::I8);
        (zero.len() == 1 && is_bytes).then_some(found.inputs)
    }

    /// Weights: constant bytes with a unit for all, or one for each index of an
    /// axis.
    fn weights(&mut self, slot: Option<usize>, axis: i64) -> Option<[Option<usize>; 3]> {
        let found = self.integers(slot)?;
        let [integers, scale, mut zero] = found.inputs;
        let element = self.constant(integers)?.element();
        if !matches!(element, ElementType::U8 | ElementType::I8) {
            return None;
        }
        let units = self.constant(scale)?.len();
        if units != 1 && found.axis.unwrap_or(1) != axis {
            return None;
        }
        if zero.is_none() {
            let zeros = TypedTensor::real(element, Tensor::scalar(0.0));
            self.constants.push((self.slots, zeros.into()));
            zero = Some(self.slots);
            self.slots += 1;
        }
        Some([integers, scale, zero])
    }

    /// The bias of a layer: 32-bit integers in the unit of its sums, without a
    /// zero point.
    fn bias(&self, slot: Option<usize>, x: Option<usize>, w: Option<usize>) -> Option<usize> {
        let found = self.integers(slot)?;
        let [integers, scale, zero] = found.inputs;
        if self.constant(integers)?.element() != ElementType::I32 {
            return None;
        }
        if let Some(zero) = zero {
            self.constant(Some(zero))?
                .reals()
                .ok()?
                .to_vec()
                .iter()
                .all(|&x| x == 0.0)
                .then_some(())?;
        }
        let x_scale = self.number(x)? as f32;
        let units = self.constant(w)?.reals().ok()?.to_vec();
        let found = self.constant(scale)?.reals().ok()?.to_vec();
        let fits = found.len() == units.len()
            && found
                .iter()
                .zip(&units)
                .all(|(&found, &unit)| found as f32 == x_scale * unit as f32);
        fits.then_some(integers?)
    }

    /// The operator whose output alone a `QuantizeLinear` reads, if a ReLU between
    /// them is what the limits of the integers do.
    fn source(&self, quantize: &Step) -> Option<usize> {
        let mut slot = quantize.inputs[0];
        let (mut index, mut step) = self.maker(slot)?;
        if name(&step.node) == "Relu" {
            let zero = self.constant(*quantize.inputs.get(2)?)?;
            if self.readers[slot?] != 1
                || self.number(quantize.inputs[2])? != zero.element().range().0 as f64
            {
                return None;
            }
            slot = step.inputs[0];
            (index, step) = self.maker(slot)?;
        }
        (self.readers[slot?] == 1 && step.outputs.len() == 1).then_some(index)
    }

    /// An operator on integers in the place of a `QuantizeLinear` and what is
    /// before it, with the index of the step that it replaces.
    fn with_integers_out(&mut self, index: usize) -> Option<(usize, Step)> {
        let quantize = self.steps[index].clone();
        let (y_scale, y_zero) = (*quantize.inputs.get(1)?, *quantize.inputs.get(2)?);
        self.number(y_scale)?;
        let is_bytes = |zero: &TypedTensor| {
            zero.len() == 1 && matches!(zero.element(), ElementType::U8 | ElementType::I8)
        };
        self.constant(y_zero).filter(|zero| is_bytes(zero))?;
        let at = self.source(&quantize)?;
        let step = self.steps[at].clone();
        let input = |index: usize| step.inputs.get(index).copied().flatten();
        let operator = name(&step.node);
        if KEEPING.contains(&operator) {
            let [x, scale, zero] = self.activation(input(0))?;
            let same = |a, b| Some(self.number(a)? == self.number(b)?);
            let same = same(scale, y_scale)? && same(zero, y_zero)?;
            let same_type = self.constant(zero)?.element() == self.constant(y_zero)?.element();
            if !same
                || !same_type
                || name(&self.steps[self.makers[&quantize.inputs[0]?]].node) == "Relu"
            {
                return None;
            }
            let mut inputs = step.inputs.clone();
            inputs[0] = x;
            return Some((index, Step { inputs, outputs: quantize.outputs, ..step }));
        }
        let [x, x_scale, x_zero] = self.activation(input(0))?;
        match operator {
            "Gemm" => {
                let (_, step) = self.gemm(at, Some((y_scale, y_zero)))?;
                Some((index, Step { outputs: quantize.outputs, ..step }))
            }
            "MatMul" => {
                let [w, w_scale, w_zero] = self.weights(input(1), 1)?;
                let inputs = vec![x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero];
                Some((index, with_operator(&step, "QLinearMatMul", inputs, quantize.outputs)?))
            }
            "Conv" => {
                let [w, w_scale, w_zero] = self.weights(input(1), 0)?;
                let mut inputs = vec![x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero];
                if input(2).is_some() {
                    inputs.push(Some(self.bias(input(2), x_scale, w_scale)?));
                }
                Some((index, with_operator(&step, "QLinearConv", inputs, quantize.outputs)?))
            }
            _ => None,
        }
    }

    /// A `Gemm` of integers, with integers or floats as outputs.
    fn gemm(
        &mut self,
        index: usize,
        out: Option<(Option<usize>, Option<usize>)>,
    ) -> Option<(usize, Step)> {
        let step = self.steps[index].clone();
        let is_one = |name: &str| match step.node.attributes.get(name) {
            None => true,
            Some(Setting::Float(x)) => *x == 1.0,
            _ => false,
        };
        let flag = |name: &str| matches!(step.node.attributes.get(name), Some(Setting::Int(1)));
        if !is_one("alpha") || !is_one("beta") || flag("transA") || !flag("transB") {
            return None;
        }
        let input = |index: usize| step.inputs.get(index).copied().flatten();
        let [x, x_scale, x_zero] = self.activation(input(0))?;
        let [w, w_scale, w_zero] = self.weights(input(1), 0)?;
        let mut inputs = vec![x, x_scale, x_zero, w, w_scale, w_zero, None];
        if input(2).is_some() {
            inputs[6] = Some(self.bias(input(2), x_scale, w_scale)?);
        }
        if let Some((y_scale, y_zero)) = out {
            inputs.extend([y_scale, y_zero]);
        }
        let operator: &'static Operator = &ops::QGEMM;
        Some((index, with(&step, operator, BTreeMap::new(), inputs, step.outputs.clone())))
    }
}

fn with_operator(
    step: &Step,
    operator: &str,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
) -> Option<Step> {
    let operator = ops::find("", operator)?;
    Some(with(step, operator, step.node.attributes.clone(), inputs, outputs))
}

fn with(
    step: &Step,
    operator: &'static Operator,
    attributes: BTreeMap<String, Setting>,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
) -> Step {
    let node = Node {
        packed: None,
        action: Action::Operator(operator),
        name: step.node.name.clone(),
        operator: operator.name.to_owned(),
        version: 10,
        attributes,
    };
    Step { node: Arc::new(node), inputs, outputs, graphs: BTreeMap::new(), last: Vec::new() }
}
