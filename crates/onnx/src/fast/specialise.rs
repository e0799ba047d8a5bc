//! Specialises a plan for inputs of given shapes by recording a run.
//!
//! The run records which values depend on the elements of the inputs. All
//! others become constants of the new plan: shapes and values computed from
//! them, the condition of an `If`, or the start of a `Slice`. The graphs of
//! known branches, and functions, are inlined.

use std::time::Instant;

use dendra_tensor::{Error, Result, Shape};

use super::fuse::fuse;
use super::lower::name;
use super::pack::Weights;
use super::rewrite::rewrite;
use super::shapes::deciding;
use crate::call::{Held, Running, Watch, perform};
use crate::element::ElementType;
use crate::plan::{Action, Graph, Plan, Step};
use crate::tensor::{Data, TypedTensor};
use crate::value::Value;

/// The largest number of elements of an integer input that becomes part of the
/// signature, such as a rate, a length or axes.
const MOST_GIVEN: usize = 16;
/// The largest number of elements of a computed value that is kept as a
/// constant.
const MOST_KEPT: usize = 1 << 16;

/// The assumptions of a plan: the types and shapes of the inputs, and the
/// elements of inputs with few integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signature(Vec<(usize, Option<Given>)>);

#[derive(Clone, Debug, PartialEq)]
struct Given {
    element: ElementType,
    shape: Shape,
    elements: Option<Vec<i64>>,
}

impl Signature {
    /// `with_elements`: whether the integers are part of the signature.
    pub(super) fn of(inputs: &[(usize, Value)], with_elements: bool) -> Self {
        let given = |value: &Value| match value {
            Value::Tensor(x) => Some(Given {
                element: x.element(),
                shape: x.shape().clone(),
                elements: elements(x).filter(|_| with_elements),
            }),
            _ => None,
        };
        Self(inputs.iter().map(|(slot, value)| (*slot, given(value))).collect())
    }

    /// Whether the shapes are equal.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let form = |given: &Option<Given>| given.as_ref().map(|x| (x.element, x.shape.clone()));
        let forms = |Self(inputs): &Self| -> Vec<_> {
            inputs.iter().map(|(slot, given)| (*slot, form(given))).collect()
        };
        forms(self) == forms(other)
    }
}

/// The elements of a tensor of few integers.
fn elements(x: &TypedTensor) -> Option<Vec<i64>> {
    let is_whole = !matches!(x.data, Data::F32(_) | Data::F64(_) | Data::Text(..));
    (is_whole && x.len() <= MOST_GIVEN).then(|| x.wholes().map(|x| x.to_vec()).ok())?
}

/// The knowledge about a value that the run has computed.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The value, if it is the same in each run.
    pub(super) constant: Option<Value>,
    /// The element type and the shape, if they are the same in each run.
    pub(super) form: Option<(ElementType, Shape)>,
}

/// Runs a plan, and returns the outputs and the plan for inputs with this
/// signature.
pub(super) fn run(
    plan: &Plan,
    signature: &Signature,
    given: Vec<(usize, Value)>,
    weights: &Weights,
    watch: Option<Watch<'_>>,
) -> Result<(Vec<Value>, Plan)> {
    let mut tracer = Tracer {
        steps: Vec::new(),
        known: Vec::new(),
        values: Vec::new(),
        holders: Vec::new(),
        watch,
    };
    let mut ids: Vec<Option<usize>> = vec![None; plan.slots];
    let inputs: Vec<usize> = plan.inputs.iter().map(|_| tracer.id()).collect();
    for (slot, value) in given {
        let stated = signature.0.iter().find(|(found, _)| *found == slot);
        let known = match stated {
            Some((_, Some(it))) => Known {
                constant: it.elements.is_some().then(|| value.clone()),
                form: Some((it.element, it.shape.clone())),
            },
            _ => Known::default(),
        };
        if let Some(index) = plan.inputs.iter().position(|input| *input == slot) {
            tracer.known[inputs[index]] = known;
            tracer.set(inputs[index], Held::Owned(value));
            tracer.hold(inputs[index]);
            ids[slot] = Some(inputs[index]);
        }
    }
    let outputs = tracer.plan(plan, ids)?;
    let values: Vec<Value> = outputs
        .iter()
        .map(|&id| tracer.values[id].as_ref().expect("an output is held").get().clone())
        .collect();
    let Tracer { steps, known, .. } = tracer;
    Ok((values, assemble(steps, known, &inputs, &outputs, weights)))
}

/// A recorded run. Values are numbered across all graphs.
struct Tracer<'a, 'w> {
    steps: Vec<Step>,
    known: Vec<Known>,
    values: Vec<Option<Held<'a>>>,
    /// The number of slots of running graphs that contain each value.
    holders: Vec<usize>,
    watch: Option<Watch<'w>>,
}

impl<'a> Tracer<'a, '_> {
    fn id(&mut self) -> usize {
        self.known.push(Known::default());
        self.values.push(None);
        self.holders.push(0);
        self.known.len() - 1
    }

    fn set(&mut self, id: usize, value: Held<'a>) {
        self.values[id] = Some(value);
    }

    fn hold(&mut self, id: usize) {
        self.holders[id] += 1;
    }

    fn release(&mut self, id: usize) {
        self.holders[id] -= 1;
        if self.holders[id] == 0 {
            self.values[id] = None;
        }
    }

    /// Runs a plan whose slots contain some values already. Returns the numbers
    /// of the outputs, which are still referenced.
    fn plan(&mut self, plan: &'a Plan, mut ids: Vec<Option<usize>>) -> Result<Vec<usize>> {
        for (slot, value) in &plan.constants {
            if ids[*slot].is_none() {
                let id = self.id();
                self.known[id] = constant(value.clone());
                self.set(id, Held::Constant(value));
                self.hold(id);
                ids[*slot] = Some(id);
            }
        }
        for step in &plan.steps {
            self.step(step, &mut ids)?;
            for &slot in &step.last {
                if let Some(id) = ids[slot].take() {
                    self.release(id);
                }
            }
        }
        let output = |slot: &usize| {
            let missing = || Error::argument("onnx", "an output of the graph was not computed");
            ids[*slot].ok_or_else(missing)
        };
        let outputs = plan.outputs.iter().map(output).collect::<Result<Vec<_>>>()?;
        outputs.iter().for_each(|&id| self.hold(id));
        ids.into_iter().flatten().for_each(|id| self.release(id));
        Ok(outputs)
    }

    fn step(&mut self, step: &'a Step, ids: &mut [Option<usize>]) -> Result<()> {
        let within =
            |error: Error| error.within(format!("{} {:?}", step.node.operator, step.node.name));
        if let Some(outputs) = self.inlined(step, ids).map_err(within)? {
            for (slot, id) in step.outputs.iter().zip(outputs) {
                match slot {
                    Some(slot) => ids[*slot] = Some(id),
                    None => self.release(id),
                }
            }
            return Ok(());
        }
        let of = |slot: usize| ids[slot];
        let traced = Step {
            node: step.node.clone(),
            inputs: step.inputs.iter().map(|slot| of((*slot)?)).collect(),
            outputs: step.outputs.iter().map(|slot| slot.map(|_| self.id())).collect(),
            graphs: step
                .graphs
                .iter()
                .map(|(name, Graph { plan, captures })| {
                    let captures = captures.iter();
                    let captures =
                        captures.filter_map(|&(outer, inner)| Some((ids[outer]?, inner)));
                    (name.clone(), Graph { plan: plan.clone(), captures: captures.collect() })
                })
                .collect(),
            last: Vec::new(),
        };
        let start = Instant::now();
        let running = Running { anchor: None, parameters: &[] };
        perform(&traced, &running, &mut self.values)?;
        if let Some(watch) = &mut self.watch {
            watch(&traced, start.elapsed().as_secs_f64());
        }
        self.learn(&traced);
        for (slot, id) in step.outputs.iter().zip(&traced.outputs) {
            if let (Some(slot), Some(id)) = (slot, id) {
                ids[*slot] = Some(*id);
                self.hold(*id);
            }
        }
        self.steps.push(traced);
        Ok(())
    }

    /// The values of a step that is not recorded itself. They are referenced.
    fn inlined(&mut self, step: &'a Step, ids: &[Option<usize>]) -> Result<Option<Vec<usize>>> {
        let input = |index: usize| ids[(*step.inputs.get(index)?)?];
        if let Action::Function(plan) = &step.node.action {
            let mut inner = vec![None; plan.slots];
            for (index, &slot) in plan.inputs.iter().enumerate() {
                inner[slot] = input(index);
                inner[slot].iter().for_each(|&id| self.hold(id));
            }
            return self.plan(plan, inner).map(Some);
        }
        let passes = match name(&step.node) {
            "Identity" => true,
            "Dropout" => step.outputs.len() == 1 && step.inputs.len() < 3,
            "If" => {
                let condition = input(0).and_then(|id| self.known[id].constant.as_ref());
                let Some(condition) = condition else { return Ok(None) };
                let [condition] = condition.tensor()?.bools()?.to_vec()[..] else {
                    return Ok(None);
                };
                let branch = if condition { "then_branch" } else { "else_branch" };
                let Some(Graph { plan, captures }) = step.graphs.get(branch) else {
                    return Ok(None);
                };
                let mut inner = vec![None; plan.slots];
                for &(outer, slot) in captures {
                    inner[slot] = ids[outer];
                    inner[slot].iter().for_each(|&id| self.hold(id));
                }
                return self.plan(plan, inner).map(Some);
            }
            _ => false,
        };
        Ok(match input(0).filter(|_| passes) {
            Some(id) => {
                self.hold(id);
                Some(vec![id])
            }
            None => None,
        })
    }

    /// Records the knowledge about the outputs of a step.
    fn learn(&mut self, step: &Step) {
        let Some(deciding) = deciding(&step.node) else { return };
        let inputs = || step.inputs.iter().enumerate().filter_map(|(i, id)| Some((i, (*id)?)));
        let is_known = inputs().all(|(index, id)| {
            let known = &self.known[id];
            known.form.is_some() && (!deciding.contains(&index) || known.constant.is_some())
        });
        if !is_known {
            return;
        }
        let is_constant = matches!(name(&step.node), "Shape" | "Size")
            || inputs().all(|(_, id)| self.known[id].constant.is_some());
        for id in step.writes() {
            let Some(Value::Tensor(x)) = self.values[id].as_ref().map(Held::get) else { continue };
            let is_kept = is_constant && x.len() <= MOST_KEPT;
            self.known[id] = Known {
                constant: is_kept.then(|| Value::Tensor(x.clone())),
                form: Some((x.element(), x.shape().clone())),
            };
        }
    }
}

fn constant(value: Value) -> Known {
    let form = value.tensor().ok().map(|x| (x.element(), x.shape().clone()));
    Known { constant: Some(value), form }
}

/// The plan of the required steps.
fn assemble(
    steps: Vec<Step>,
    mut known: Vec<Known>,
    inputs: &[usize],
    outputs: &[usize],
    weights: &Weights,
) -> Plan {
    let mut is_needed = vec![false; known.len()];
    outputs.iter().for_each(|&id| is_needed[id] = true);
    let mut kept: Vec<Step> = Vec::new();
    for step in steps.into_iter().rev() {
        if step.writes().any(|id| is_needed[id] && known[id].constant.is_none()) {
            step.reads().for_each(|id| is_needed[id] = true);
            kept.push(step);
        }
    }
    kept.reverse();
    let mut kept = rewrite(kept, &mut known, outputs);
    weights.place(&mut kept, &known);
    let kept = fuse(kept, &known, outputs);
    // Inputs come first.
    let mut slots: Vec<Option<usize>> = vec![None; known.len()];
    let mut plan = Plan::default();
    for &id in inputs {
        slots[id] = Some(plan.slots);
        plan.inputs.push(plan.slots);
        plan.slots += 1;
    }
    let reads = kept.iter().flat_map(|step| step.reads().chain(step.writes()));
    for id in reads.chain(outputs.iter().copied()).collect::<Vec<_>>() {
        if slots[id].is_some() {
            continue;
        }
        slots[id] = Some(plan.slots);
        if let Some(value) = known[id].constant.take() {
            plan.constants.push((plan.slots, value));
        }
        plan.slots += 1;
    }
    let slot = |id: usize| slots[id].expect("every value that is read has a slot");
    plan.outputs = outputs.iter().map(|&id| slot(id)).collect();
    plan.steps = kept;
    for step in &mut plan.steps {
        let ids = step.inputs.iter_mut().chain(&mut step.outputs).flatten();
        ids.for_each(|id| *id = slot(*id));
        for graph in step.graphs.values_mut() {
            graph.captures.iter_mut().for_each(|(outer, _)| *outer = slot(*outer));
        }
    }
    plan.free_early();
    plan
}
