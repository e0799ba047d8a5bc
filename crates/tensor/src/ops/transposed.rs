//! The gradient of a linear operation as a separate operation.

use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Aᵀ·g for a linear operation A of one input. The gradient of this operation
/// is A.
#[derive(Clone, Debug)]
pub(super) struct Transposed<O> {
    /// The operation A.
    pub(super) operation: O,
    /// The shape of A's input, and of this operation's output.
    pub(super) input: Shape,
}

/// The gradient of a linear operation as a term.
pub(super) fn linear_gradient<T: Float, O: Op<T, Saved = ()>>(
    operation: &O,
    call: &TermCall<'_, T, ()>,
) -> Result<TermCotangents<T>> {
    call.each(|index| {
        let (operation, input) = (operation.clone(), call.inputs[index].shape().clone());
        Term::try_apply(Transposed { operation, input }, &[call.cotangent])
    })
}

impl<T: Float, O: Op<T, Saved = ()>> Op<T> for Transposed<O> {
    type Saved = ();
    const NAME: &'static str = "transposed";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let expected = self.operation.output_shape(&[&self.input])?;
        if *inputs[0] == expected {
            return Ok(self.input.clone());
        }
        let message = format!("expected a cotangent of shape {expected}, got {}", inputs[0]);
        Err(Error::shape(O::NAME, message))
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        // The gradient of a linear operation depends only on the shapes.
        let zeros = |shape: &Shape| Tensor::scalar(T::ZERO).stretched(shape.clone());
        let mut gradients = self.operation.vjp(Call {
            inputs: &[zeros(&self.input)],
            output: &zeros(inputs[0].shape()),
            saved: &(),
            needs: &[true],
            cotangent: inputs[0].clone(),
        });
        (gradients.swap_remove(0).expect("the gradient is needed"), ())
    }

    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| self.operation.forward(&[&call.cotangent]).0)
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|_| Term::try_apply(self.operation.clone(), &[call.cotangent]))
    }

    fn attributes(&self) -> Attributes {
        let own = [("operation", O::NAME.into()), ("input_shape", (&self.input).into())];
        own.into_iter().chain(self.operation.attributes()).collect()
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let sample = |(operation, inputs): (O, Vec<Tensor<T>>)| {
            let (g, ()) = operation.forward(&[&inputs[0]]);
            (Self { operation, input: inputs[0].shape().clone() }, vec![g])
        };
        O::samples().into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::avg_pool2d::AvgPool2d;
    use crate::ops::check::check_twice;
    use crate::ops::interpolate::Interpolate;

    #[test]
    fn its_gradients_agree_with_differences() {
        check_twice::<Transposed<AvgPool2d>>().unwrap();
        check_twice::<Transposed<Interpolate>>().unwrap();
    }
}
