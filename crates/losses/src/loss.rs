//! What every loss is.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, Reduction, Result};

/// Says how far the output of a model is from a target of type `Y`.
///
/// A function of both is a loss too.
///
/// ```
/// use dendra_autograd::Var;
/// use dendra_losses::{Loss, MseLoss};
/// use dendra_tensor::{Ops, Tensor};
///
/// let log_cosh = |output: &Var, target: &Tensor| {
///     let difference = output.sub(&Var::new(target.clone()))?;
///     Ok((difference.exp() + difference.neg().exp()).mul_scalar(0.5).ln().mean())
/// };
/// let losses: [&dyn Loss<Tensor>; 2] = [&MseLoss::new(), &log_cosh];
/// for loss in losses {
///     let value = loss.forward(&Var::new(Tensor::ones([3])), &Tensor::ones([3]))?;
///     assert_eq!(value.value().item()?, 0.0);
/// }
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub trait Loss<Y, T: Float = f32> {
    /// The loss: a scalar, unless the reduction is [`Reduction::None`].
    ///
    /// # Errors
    ///
    /// When the output and the target do not fit each other, the target is
    /// invalid, or a setting is.
    fn forward(&self, output: &Var<T>, target: &Y) -> Result<Var<T>>;

    /// The loss with these weights of the classes, in place of those that it
    /// may have; what Keras calls `class_weight`.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), when there are not as many weights as
    /// classes, and always for a loss that knows no classes.
    fn forward_weighted(
        &self,
        output: &Var<T>,
        target: &Y,
        class_weights: &[f64],
    ) -> Result<Var<T>> {
        let _ = (output, target, class_weights);
        Err(Error::argument("class_weights", "this loss takes no weights of classes"))
    }
}

impl<F, Y, T: Float> Loss<Y, T> for F
where
    F: Fn(&Var<T>, &Y) -> Result<Var<T>>,
{
    fn forward(&self, output: &Var<T>, target: &Y) -> Result<Var<T>> {
        self(output, target)
    }
}

/// Reduces the losses of single elements.
pub(crate) fn reduce<V: Ops>(reduction: Reduction, losses: &V) -> V {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}
