//! Places for constant weights in the layout of the kernels.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use dendra_tensor::{Shape, Tensor};

use super::lower::name;
use super::specialise::Known;
use crate::element::ElementType;
use crate::plan::{Action, Node, Packed, Step};

/// The largest number of rows of a product whose weight is packed in advance.
/// With more, packing it for each product takes little of the time, and the
/// memory is saved.
const MOST_ROWS: usize = 1024;
/// The fewest columns of such a weight; narrow products are computed otherwise.
const LEAST_COLUMNS: usize = 33;

/// The packed weights, which plans for several shapes share.
#[derive(Debug, Default)]
pub(super) struct Weights(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    key: Key,
    packed: Weak<Packed>,
}

/// What a packed weight depends on.
#[derive(Debug)]
struct Key {
    /// The weight, which is held so that its address stays its own.
    weight: Tensor<f32>,
    operator: &'static str,
    /// The input of a convolution.
    input: Option<Shape>,
}

impl Key {
    fn is_like(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|key| key.weight.as_slice().map(<[f32]>::as_ptr));
        a == b
            && self.weight.shape() == other.weight.shape()
            && self.operator == other.operator
            && self.input == other.input
    }
}

impl Weights {
    /// Gives the steps that multiply by a constant a place for it.
    pub(super) fn place(&self, steps: &mut [Step], known: &[Known]) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.packed.strong_count() > 0);
        for step in steps {
            let (Some(key), &Action::Operator(operator)) = (key(step, known), &step.node.action)
            else {
                continue;
            };
            let found = entries.iter().find(|entry| entry.key.is_like(&key));
            let packed = found.and_then(|entry| entry.packed.upgrade()).unwrap_or_else(|| {
                let packed = Arc::default();
                entries.push(Entry { key, packed: Arc::downgrade(&packed) });
                packed
            });
            step.node = Arc::new(Node { packed: Some(packed), ..step.node.with(operator) });
        }
    }
}

/// The key of a step whose weight is packed.
fn key(step: &Step, known: &[Known]) -> Option<Key> {
    let input = |index: usize| Some(&known[(*step.inputs.get(index)?)?]);
    let operator = name(&step.node);
    if !matches!(operator, "Conv" | "Gemm" | "MatMul") {
        return None;
    }
    let (ElementType::F32, x) = input(0)?.form.as_ref()? else { return None };
    let weight = input(1)?.constant.as_ref()?.tensor().ok()?;
    let weight = weight.f32().ok().filter(|_| weight.element() == ElementType::F32)?.value();
    let fits = match (operator, &weight.shape()[..]) {
        ("Conv", _) => true,
        (_, &[rows, columns]) => {
            let products: usize = x.split_last()?.1.iter().product();
            products <= MOST_ROWS && rows.min(columns) >= LEAST_COLUMNS
        }
        _ => false,
    };
    let input = (operator == "Conv").then(|| x.clone());
    (fits && weight.is_contiguous()).then(|| Key { weight: weight.clone(), operator, input })
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{EntryMut, Parameters, Path, Tape};
    use dendra_nn::{Module, Sequential};
    use dendra_tensor::{Rng, Tensor};

    use crate::export::Export;
    use crate::{Model, Value};

    /// Packed weights give the bits of the original ones, for several shapes,
    /// and are those of the parameters at any time.
    #[test]
    fn packed_weights_are_those_of_the_model() {
        let builder = Sequential::input([70, 7, 7]).conv2d(40, 3).relu().flatten();
        let builder = builder.dense(50).relu().dense(34).gelu();
        let mut net = builder.build(&mut Rng::seed(1)).unwrap();
        let x = |samples: usize| Tensor::normal([samples, 70, 7, 7], 0.0, 1.0, &mut Rng::seed(2));
        let file = Export::of(&net, &x(1)).unwrap().to_bytes().unwrap();
        let mut model = Model::parse(&file).unwrap();
        let mut double = |path: &Path, entry: EntryMut<'_, f32>| {
            if let (EntryMut::Param(param), true) = (entry, path.as_str().ends_with("weight")) {
                *param.value_mut() = param.value() * 2.0;
            }
        };
        for _ in 0..2 {
            for samples in [1, 3, 1] {
                let on_tape = Tape::inference().input(x(samples));
                let expected = net.forward(&on_tape).unwrap().into_value();
                for _ in 0..2 {
                    let outputs = model.run([("input", Value::from(x(samples)))]).unwrap();
                    assert_eq!(outputs[0].to::<f32>().unwrap(), expected, "{samples} samples");
                }
            }
            net.visit_mut(&mut Path::default(), &mut double);
            model.visit_mut(&mut Path::default(), &mut double);
        }
    }
}
