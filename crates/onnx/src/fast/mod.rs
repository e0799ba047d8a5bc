//! Fast execution without gradients.
//!
//! A plan is an exact copy of the file's graph, so that any part of it can be
//! trained. Without gradients a model runs an optimised plan, which is made in
//! stages. [`lower`] turns parameters into constants and folds scales into the
//! weights of convolutions. [`specialise`] runs that plan once for inputs of
//! given shapes, and keeps only the steps whose results depend on more than the
//! shapes. [`fuse`] then fuses element-wise functions with the operator before
//! them.

mod chain;
mod fuse;
mod lower;
mod pack;
mod quantised;
mod rewrite;
mod shapes;
mod specialise;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dendra_autograd::Param;
use dendra_tensor::{Error, Result};

use self::chain::{Chain, Link, Source};
use self::lower::lower;
use self::pack::Weights;
use self::specialise::Signature;
use crate::call::{Running, Watch, run};
use crate::plan::{Node, Plan};
use crate::tensor::{Data, TypedTensor};
use crate::value::Value;

/// The largest number of cached plans for inputs of different shapes.
const MOST_PLANS: usize = 16;
/// The largest number of plans for inputs of the same shapes and different
/// integers.
const MOST_LIKE: usize = 4;

/// An operator with the element-wise functions that follow it.
#[derive(Debug)]
pub(crate) struct Fused {
    /// The operator. Without one, the functions apply to the first input.
    pub(crate) head: Option<Arc<Node>>,
    /// The number of inputs that belong to the operator.
    pub(crate) head_inputs: usize,
    pub(crate) links: Vec<Link>,
}

impl Fused {
    /// The result of `run` for the functions with these operands.
    pub(crate) fn with_chain<R>(
        &self,
        operands: &[Option<&Value>],
        run: impl FnOnce(&Chain<'_>) -> Result<R>,
    ) -> Result<R> {
        let operand = |value: &Option<&Value>| match value {
            Some(value) => Ok(value.tensor()?.f32()?.value().contiguous()),
            None => Err(Error::argument("onnx", "an operand was not computed")),
        };
        let operands = operands.iter().map(operand).collect::<Result<Vec<_>>>()?;
        let fits = |link: &Link| match link {
            Link::Binary(_, Source::Operand { index, count, .. }) => {
                operands.get(*index).is_some_and(|operand| operand.len() == *count)
            }
            _ => true,
        };
        if !self.links.iter().all(fits) {
            return Err(Error::shape("onnx", "an operand has an unexpected shape"));
        }
        let operands: Vec<&[f32]> =
            operands.iter().map(|x| x.as_slice().expect("made contiguous")).collect();
        run(&Chain { links: &self.links, operands: &operands })
    }
}

/// Applies the functions of a chain to a tensor of floats.
pub(crate) fn finish(chain: &Chain<'_>, x: TypedTensor) -> Result<TypedTensor> {
    match x.data {
        Data::F32(x) => Ok(chain.apply(x.into_value()).into()),
        _ => Err(x.unexpected("floats")),
    }
}

/// The plans of a model that runs without gradients. They contain the values of
/// the parameters, so they are removed when a parameter changes.
#[derive(Debug, Default)]
pub(crate) struct Fast {
    plans: Mutex<Plans>,
    weights: Weights,
}

#[derive(Debug, Default)]
struct Plans {
    lowered: Option<Arc<Plan>>,
    /// Ordered from the least recently used.
    special: VecDeque<(Signature, Arc<Plan>)>,
    /// Whether plans are not specialised for the elements of inputs, because
    /// these vary.
    ignores_elements: bool,
}

impl Fast {
    /// Removes the plans, which contain the values of the parameters.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The outputs of a plan, computed by the fastest available plan.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        parameters: &[(String, Param<f32>)],
        given: Vec<(usize, Value)>,
        watch: Option<Watch<'_>>,
    ) -> Result<Vec<Value>> {
        let (lowered, signature, special) = self.find(plan, parameters, &given);
        let Some(special) = special else {
            let (outputs, special) =
                specialise::run(&lowered, &signature, given, &self.weights, watch)?;
            self.keep(signature, special);
            return Ok(outputs);
        };
        let place = |slot| plan.inputs.iter().position(|&input| input == slot);
        let given = given.into_iter();
        let given = given.filter_map(|(slot, value)| Some((special.inputs[place(slot)?], value)));
        run(&special, &Running { anchor: None, parameters: &[] }, given, watch)
    }

    fn keep(&self, signature: Signature, plan: Plan) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let like = plans.special.iter().filter(|(found, _)| found.is_like(&signature)).count();
        if like >= MOST_LIKE {
            plans.ignores_elements = true;
            plans.special.clear();
            return;
        }
        plans.special.push_back((signature, Arc::new(plan)));
        if plans.special.len() > MOST_PLANS {
            plans.special.pop_front();
        }
    }

    /// Returns the lowered plan, the signature of the inputs, and the
    /// specialised plan if there is one.
    fn find(
        &self,
        plan: &Plan,
        parameters: &[(String, Param<f32>)],
        given: &[(usize, Value)],
    ) -> (Arc<Plan>, Signature, Option<Arc<Plan>>) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = Signature::of(given, !plans.ignores_elements);
        let lowered = plans.lowered.get_or_insert_with(|| Arc::new(lower(plan, parameters)));
        let lowered = Arc::clone(lowered);
        let index = plans.special.iter().position(|(found, _)| *found == signature);
        let entry = index.and_then(|index| plans.special.remove(index));
        let special = entry.as_ref().map(|(_, plan)| Arc::clone(plan));
        plans.special.extend(entry);
        (lowered, signature, special)
    }
}
