//! Bags in a trace: a single function, because padding depends on the data.

use dendra_autograd::{AnyTensor, AsAny, Function, Param, Tape, Var};
use dendra_tensor::ops::{Attribute, Attributes};
use dendra_tensor::{Error, Float, Result, Tensor};

use super::super::embedding::{TableRules, beside};
use super::{BagMode, EmbeddingBag};

/// An [`EmbeddingBag`] as a function of its weight, the indices and their
/// weights.
struct Bags {
    mode: BagMode,
    padding_idx: Option<usize>,
    include_last_offset: bool,
    rules: TableRules,
    offsets: Option<Vec<usize>>,
}

impl Bags {
    fn of<T: Float>(
        &self,
        weight: &Tensor<T>,
        numbers: &Tensor<i64>,
        weights: Option<&AnyTensor>,
    ) -> Result<AnyTensor> {
        let &Self { mode, padding_idx, include_last_offset, rules, .. } = self;
        let weight = Param::new(weight.clone());
        let layer = EmbeddingBag { weight, mode, padding_idx, include_last_offset, rules };
        let weights = weights.and_then(AnyTensor::downcast).cloned().map(Var::new);
        let y = layer.reduced(numbers, self.offsets.as_deref(), weights.as_ref(), None)?;
        y.into_value().as_any()
    }
}

impl Function for Bags {
    fn name(&self) -> &'static str {
        "embedding_bag"
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("mode", self.mode.name().into()),
            ("padding_idx", self.padding_idx.into()),
            ("include_last_offset", self.include_last_offset.into()),
            ("max_norm", self.rules.max_norm.into()),
            ("norm_type", self.rules.norm_type.into()),
            ("offsets", self.offsets.as_deref().into()),
        ]
    }

    fn apply(&self, inputs: &[AnyTensor]) -> Result<AnyTensor> {
        match inputs {
            [AnyTensor::F32(weight), AnyTensor::I64(numbers), weights @ ..] => {
                self.of(weight, numbers, weights.first())
            }
            [AnyTensor::F64(weight), AnyTensor::I64(numbers), weights @ ..] => {
                self.of(weight, numbers, weights.first())
            }
            _ => Err(Error::argument("EmbeddingBag", "expected a table of floats and numbers")),
        }
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Box<dyn Function>> {
        let offsets = Some(value.to_sizes().filter(|_| name == "offsets")?);
        let &Self { mode, padding_idx, include_last_offset, rules, .. } = self;
        Some(Box::new(Self { mode, padding_idx, include_last_offset, rules, offsets }))
    }
}

impl<T: Float> EmbeddingBag<T> {
    /// Like `reduced`, recorded in a trace as one function.
    pub(super) fn traced(
        &self,
        tape: &Tape<T>,
        numbers: &Tensor<i64>,
        offsets: Option<&[usize]>,
        weights: Option<&Var<T>>,
    ) -> Result<Var<T>> {
        let Self { mode, padding_idx, include_last_offset, rules, .. } = *self;
        let offsets = offsets.map(<[usize]>::to_vec);
        let bags = Bags { mode, padding_idx, include_last_offset, rules, offsets };
        let weight = self.weight.on(&beside(Some(tape)));
        let mut inputs: Vec<&dyn AsAny> = vec![weight.value(), numbers];
        inputs.extend(weights.map(|weights| weights.value() as &dyn AsAny));
        Ok(tape.input(tape.call(bags, &inputs)?))
    }
}
