//! Products of operands in half precision, on tapes and for parts of models.

use dendra_tensor::ops::{NarrowInputs, Parents, Recorded};
use dendra_tensor::{Float, HalfPrecision, Result, Tensor};
use smallvec::SmallVec;

use crate::tape::{Node, Tape};
use crate::var::Var;

/// The inputs of a call under autocast.
pub(crate) struct Narrowed<T: Float> {
    narrow: NarrowInputs<T>,
    /// The nodes of the inputs; `None` for constants.
    pub(crate) parents: Parents,
    /// Whether one of the inputs needs a gradient.
    is_recorded: bool,
}

impl<T: Float> Narrowed<T> {
    pub(crate) fn references(&self) -> SmallVec<[&Tensor<T>; 4]> {
        self.narrow.values.iter().collect()
    }
}

impl<T: Float> Tape<T> {
    /// This tape with operands of products rounded to half precision, as by
    /// PyTorch's `torch.autocast`: those of linear layers, convolutions, matrix
    /// products, attention and recurrent layers, in the forward pass and in the
    /// backward pass. Sums are computed in the type of the tape, and the results
    /// of these operations are rounded. Everything else, such as norms, softmax
    /// and losses, is computed as without, and parameters and their gradients
    /// keep their type.
    ///
    /// What the backward pass needs is kept in half precision where that loses
    /// nothing, so less memory is needed. On a CPU, it takes no less time.
    ///
    /// With [`HalfPrecision::F16`], small gradients become 0 unless the loss is
    /// scaled. [`Var::autocast`] does the same for a part of a model.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{HalfPrecision, Ops, Tensor};
    ///
    /// let tape = Tape::training(0, 0).autocast(HalfPrecision::BF16);
    /// let x = tape.leaf(Tensor::from([[1.0, 1.001]]));
    /// let y = x.matmul(&x.transpose(0, 1)?)?;
    /// assert_eq!(y.value().item()?, 2.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    #[must_use]
    pub fn autocast(self, precision: HalfPrecision) -> Self {
        self.with_autocast(Some(precision))
    }

    /// The inputs of a call with rounded operands; `None` without autocast. A
    /// trace is that of the model, without it.
    #[inline]
    pub(crate) fn narrow(&self, operands: u32, inputs: &[&Var<T>]) -> Option<Narrowed<T>> {
        let precision = self.shared.autocast?;
        if self.is_tracing() {
            return None;
        }
        Some(self.narrowed(precision, operands, inputs))
    }

    #[inline(never)]
    fn narrowed(&self, precision: HalfPrecision, operands: u32, inputs: &[&Var<T>]) -> Narrowed<T> {
        let parents = self.parents(inputs);
        let is_recorded = parents.is_some();
        let record = self.shared.record();
        let known = |input: &Var<T>| match record.nodes.get(input.node()?)? {
            Node::Operation(call) => call.half_output().cloned(),
            _ => None,
        };
        let halves: SmallVec<[_; 4]> = inputs.iter().map(|&input| known(input)).collect();
        drop(record);
        let inputs = inputs.iter().map(|&input| input.value()).zip(halves);
        let narrow = NarrowInputs::of(precision, operands, inputs);
        let parents = parents.unwrap_or_else(|| Parents::from_elem(None, narrow.values.len()));
        Narrowed { narrow, parents, is_recorded }
    }

    /// Records a call on narrowed inputs, if one of them needs a gradient, and
    /// returns its output.
    #[inline(never)]
    pub(crate) fn keep_narrow(&self, inputs: Narrowed<T>, call: Box<dyn Recorded<T>>) -> Var<T> {
        let (call, output) = inputs.narrow.keep(call);
        let node = inputs.is_recorded.then(|| self.shared.record().push(Node::Operation(call)));
        Var::on_tape(output, self.clone(), node)
    }
}

impl<T: Float> Var<T> {
    /// Applies a part of a model to this value with operands of products rounded
    /// to half precision, as on a tape with [`Tape::autocast`], or with `None`
    /// without it. The result has the autocast of this value.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{HalfPrecision, Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([[1.0, 1.001]]));
    /// let product = |x: &dendra_autograd::Var| x.matmul(&x.transpose(0, 1)?);
    /// let y = x.autocast(Some(HalfPrecision::BF16), &product)?;
    /// assert_eq!(y.value().item()?, 2.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of `part`.
    pub fn autocast(
        &self,
        precision: Option<HalfPrecision>,
        part: &dyn Fn(&Self) -> Result<Self>,
    ) -> Result<Self> {
        let Some(tape) = self.tape() else {
            let tape = Tape::inference().with_autocast(precision);
            return Ok(Self::new(part(&tape.input(self.value().clone()))?.into_value()));
        };
        let y =
            part(&Self::on_tape(self.value().clone(), tape.with_autocast(precision), self.node()))?;
        Ok(y.back_on(tape))
    }
}

#[cfg(all(test, feature = "gradients"))]
mod tests;
