//! Operations with their types erased, without the values of a call.

use super::{Op, Parents, Recorded, record};
use crate::element::Float;
use crate::tensor::Tensor;

/// An operation with its types erased: a call without its values.
pub trait Recipe<T: Float>: Send + Sync {
    /// Applies the operation to inputs of the shapes that the call had.
    fn apply(&self, inputs: &[&Tensor<T>], parents: Parents) -> Box<dyn Recorded<T>>;
}

/// An operation without the values of a call.
pub(super) struct Alone<O>(pub(super) O);

impl<T: Float, O> Recipe<T> for Alone<O>
where
    O: Op<T>,
{
    fn apply(&self, inputs: &[&Tensor<T>], parents: Parents) -> Box<dyn Recorded<T>> {
        record(self.0.clone(), inputs, parents)
    }
}
