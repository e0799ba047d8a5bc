//! Constant folding: steps whose inputs are all constants run when a model is
//! loaded.

use std::collections::HashMap;

use crate::call::{Running, call};
use crate::plan::{Action, Plan, Step};
use crate::value::Value;

/// The largest number of computed elements, in addition to those in the file.
const MOST_ELEMENTS: usize = 1 << 16;

/// Whether constants of integers become floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dequantise {
    /// They do.
    Yes,
    /// They stay, so that operators on integers can use them.
    No,
}

/// Runs the steps of a plan that depend only on constants, and removes them.
/// Parameters are not constants, because training changes them.
///
/// The constants of the plan limit the work: only operators whose outputs are
/// not larger than their inputs are run.
pub(crate) fn fold(plan: &mut Plan, dequantise: Dequantise) {
    let mut constants: HashMap<usize, Value> = plan.constants.drain(..).collect();
    // An input with a default is not a constant.
    let is_fixed = |slot: &usize, inputs: &[usize]| !inputs.contains(slot);
    let stored: usize = constants.values().map(size).sum();
    let mut left = MOST_ELEMENTS + 4 * stored;
    let running = Running { anchor: None, parameters: &[] };
    let steps = std::mem::take(&mut plan.steps);
    for step in steps {
        let inputs = step.inputs.iter().map(|slot| match slot {
            Some(slot) if is_fixed(slot, &plan.inputs) => constants.get(slot).map(Some),
            Some(_) => None,
            None => Some(None),
        });
        let folded = inputs.collect::<Option<Vec<_>>>().and_then(|inputs| {
            let sizes: Vec<usize> = inputs.iter().flatten().map(|&value| size(value)).collect();
            let cost: usize = sizes.iter().sum();
            let stays = dequantise == Dequantise::No && step.node.operator == "DequantizeLinear";
            if stays || !may_fold(&step, &sizes) || cost > left {
                return None;
            }
            left -= cost;
            call(&step, inputs, &running, &[]).ok()
        });
        match folded {
            Some(outputs) => {
                let slots = step.outputs.iter().zip(outputs);
                constants.extend(slots.filter_map(|(slot, value)| Some(((*slot)?, value))));
            }
            None => plan.steps.push(step),
        }
    }
    let mut is_read = vec![false; plan.slots];
    for step in &plan.steps {
        step.reads().for_each(|slot| is_read[slot] = true);
    }
    plan.outputs.iter().for_each(|&slot| is_read[slot] = true);
    plan.constants = constants.into_iter().filter(|(slot, _)| is_read[*slot]).collect();
    plan.constants.sort_by_key(|(slot, _)| *slot);
}

fn size(value: &Value) -> usize {
    value.tensor().map_or(0, |tensor| tensor.shape().elements())
}

/// Whether a step is deterministic and its outputs are at most as large as its
/// inputs, which have these sizes.
fn may_fold(step: &Step, sizes: &[usize]) -> bool {
    let Action::Operator(operator) = &step.node.action else { return false };
    match operator.name {
        "Abs" | "Cast" | "Ceil" | "Concat" | "DequantizeLinear" | "Exp" | "Flatten" | "Floor"
        | "Identity" | "Log" | "Neg" | "Not" | "Reciprocal" | "ReduceProd" | "ReduceSum"
        | "Reshape" | "Shape" | "Size" | "Slice" | "Sqrt" | "Squeeze" | "Transpose"
        | "Unsqueeze" => step.graphs.is_empty(),
        "Add" | "Div" | "Mul" | "Pow" | "Sub" | "Equal" | "Gather" => {
            sizes.len() == 2 && sizes.contains(&1)
        }
        _ => false,
    }
}
