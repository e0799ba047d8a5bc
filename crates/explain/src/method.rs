//! The trait of all methods.

use dendra_nn::Module;
use dendra_tensor::{Float, Result, Tensor};

use crate::attribution::Attribution;
use crate::target::Target;

/// A method that attributes the output of a model to its input, or to a layer.
pub trait Method<T: Float = f32> {
    /// Computes the attributions of a batch of inputs `[N, …]` for a model in
    /// evaluation mode whose outputs are `[N, classes]` or `[N]`.
    ///
    /// # Errors
    ///
    /// When the model does not accept the inputs or its outputs do not contain
    /// the target, and the errors of the method.
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>>;

    /// Like [`attribute`](Self::attribute), for any value that converts to a
    /// target: a class index, or one for each sample.
    ///
    /// # Errors
    ///
    /// The errors of [`attribute`](Self::attribute).
    fn of(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: impl Into<Target>,
    ) -> Result<Attribution<T>>
    where
        Self: Sized,
    {
        self.attribute(model, x, &target.into())
    }
}

impl<T: Float, M: Method<T> + ?Sized> Method<T> for &M {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        (**self).attribute(model, x, target)
    }
}

impl<T: Float, M: Method<T> + ?Sized> Method<T> for Box<M> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        (**self).attribute(model, x, target)
    }
}
