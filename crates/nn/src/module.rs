//! What has a forward pass.

use dendra_autograd::{Parameters, Var};
use dendra_tensor::{Float, Result};

/// A layer or a model: parameters, and a function of one value.
///
/// `forward` is pure. What it needs besides `x` it takes from the tape of `x`:
/// training or evaluation, random numbers. What it would change (running
/// statistics) it records there. On a plain value, nothing is recorded.
pub trait Module<T: Float = f32>: Parameters<T> {
    /// The output for an input `x`.
    ///
    /// # Errors
    ///
    /// When `x` has a shape that the model does not take.
    fn forward(&self, x: &Var<T>) -> Result<Var<T>>;
}

impl<T: Float, M: Module<T> + ?Sized> Module<T> for Box<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        (**self).forward(x)
    }
}
