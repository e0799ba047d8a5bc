//! Calls of operations with their values: what a tape stores.

use smallvec::SmallVec;

use super::recipe::{Alone, Recipe};
use super::{Attribute, Attributes, Op, Parents, Recorded};
#[cfg(feature = "gradients")]
use super::{Call, Cotangents, SampleCotangents, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Applies an operation to inputs that its shape rule accepts, and returns the
/// call.
#[inline(never)]
pub fn record<T: Float, O: Op<T>>(
    operation: O,
    inputs: &[&Tensor<T>],
    parents: Parents,
) -> Box<dyn Recorded<T>> {
    let (output, saved) = operation.forward(inputs);
    let inputs = clones(inputs);
    Box::new(Applied { operation, inputs, parents, output, saved })
}

// The following functions are not generic over the operation, so that they are
// compiled once and not for each operation.

#[inline(never)]
fn clones<T: Float>(tensors: &[&Tensor<T>]) -> Vec<Tensor<T>> {
    tensors.iter().map(|&tensor| tensor.clone()).collect()
}

#[inline(never)]
fn shapes<'a, T: Float>(tensors: &[&'a Tensor<T>]) -> SmallVec<[&'a Shape; 4]> {
    tensors.iter().map(|tensor| tensor.shape()).collect()
}

#[inline(never)]
fn references<T: Float>(tensors: &[Tensor<T>]) -> SmallVec<[&Tensor<T>; 4]> {
    tensors.iter().collect()
}

/// Replaces tensors by ones of the same shapes that need no memory.
#[inline(never)]
fn take_values<T: Float>(
    inputs: &mut [Tensor<T>],
    output: &mut Tensor<T>,
) -> (Vec<Tensor<T>>, Tensor<T>) {
    let take = |tensor: &mut Tensor<T>| {
        let blank = Tensor::scalar(T::ZERO).stretched(tensor.shape().clone());
        std::mem::replace(tensor, blank)
    };
    (inputs.iter_mut().map(take).collect(), take(output))
}

#[cold]
fn unknown_setting(operation: &'static str, name: &str, value: &Attribute) -> Error {
    Error::argument(operation, format!("the setting `{name}` cannot be changed to {value}"))
}

/// An operation, its inputs and output, and the values that its forward pass
/// kept.
struct Applied<O, T: Float, S> {
    operation: O,
    inputs: Vec<Tensor<T>>,
    parents: Parents,
    output: Tensor<T>,
    #[cfg_attr(not(feature = "gradients"), expect(dead_code, reason = "gradients use it"))]
    saved: S,
}

impl<T: Float, O> Recorded<T> for Applied<O, T, O::Saved>
where
    O: Op<T>,
{
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn attributes(&self) -> Attributes {
        self.operation.attributes()
    }

    fn multiply_adds(&self) -> u64 {
        self.operation.multiply_adds(&shapes(&references(&self.inputs)), self.output.shape())
    }

    fn inputs(&self) -> &[Tensor<T>] {
        &self.inputs
    }

    fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    fn output(&self) -> &Tensor<T> {
        &self.output
    }

    fn take_values(&mut self) -> (Vec<Tensor<T>>, Tensor<T>) {
        take_values(&mut self.inputs, &mut self.output)
    }

    #[cfg(feature = "gradients")]
    fn vjp(&self, needs: &[bool], cotangent: Tensor<T>) -> Cotangents<T> {
        self.vjp_of((&self.inputs, &self.output), needs, cotangent)
    }

    #[cfg(feature = "gradients")]
    fn vjp_of(
        &self,
        (inputs, output): (&[Tensor<T>], &Tensor<T>),
        needs: &[bool],
        cotangent: Tensor<T>,
    ) -> Cotangents<T> {
        let saved = &self.saved;
        self.operation.vjp(Call { inputs, output, saved, needs, cotangent })
    }

    #[cfg(feature = "gradients")]
    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool {
        self.operation.add_vjp(cotangent, sum)
    }

    #[cfg(feature = "gradients")]
    fn vjp_terms(
        &self,
        inputs: &[Term<T>],
        output: &Term<T>,
        needs: &[bool],
        cotangent: &Term<T>,
    ) -> Result<TermCotangents<T>> {
        let saved = &self.saved;
        self.operation.vjp_terms(TermCall { inputs, output, saved, needs, cotangent })
    }

    fn replay_with(
        &self,
        settings: &[(&'static str, Attribute)],
        inputs: &[&Tensor<T>],
        parents: Parents,
    ) -> Result<Box<dyn Recorded<T>>> {
        let mut operation = self.operation.clone();
        for (name, value) in settings {
            match operation.with_setting(name, value) {
                Some(changed) => operation = changed,
                None => return Err(unknown_setting(O::NAME, name, value)),
            }
        }
        let output = operation.output_shape(&shapes(inputs))?;
        output.check_memory::<T>(O::NAME)?;
        Ok(record(operation, inputs, parents))
    }

    fn recipe(&self) -> Box<dyn Recipe<T>> {
        Box::new(Alone(self.operation.clone()))
    }

    #[cfg(feature = "gradients")]
    fn vjp_per_sample(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let Self { operation, inputs, output, saved, .. } = self;
        operation.vjp_per_sample(Call { inputs, output, saved, needs, cotangent }, samples)
    }

    #[cfg(feature = "gradients")]
    fn sample_norms(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>> {
        let Self { operation, inputs, output, saved, .. } = self;
        operation.sample_norms(Call { inputs, output, saved, needs, cotangent }, samples)
    }

    fn is_elementwise(&self) -> bool {
        self.operation.is_elementwise()
    }
}
