//! What every loss is.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result};

/// Says how far the output of a model is from a target of type `Y`.
pub trait Loss<Y, T: Float = f32> {
    /// The loss: a scalar, unless the reduction is [`Reduction::None`].
    ///
    /// # Errors
    ///
    /// When the output and the target do not fit each other, the target is
    /// invalid, or a setting is.
    fn forward(&self, output: &Var<T>, target: &Y) -> Result<Var<T>>;
}

/// What becomes of the losses of the single elements or samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, a scalar.
    #[default]
    Mean,
    /// Their sum, a scalar.
    Sum,
    /// They stay apart.
    None,
}

impl Reduction {
    /// Reduces losses of single elements.
    pub(crate) fn of<V: Ops>(self, losses: &V) -> V {
        match self {
            Reduction::Mean => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::None => losses.clone(),
        }
    }
}
