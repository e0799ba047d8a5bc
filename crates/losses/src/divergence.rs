//! The Kullback–Leibler divergence.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::Attributes;
use dendra_tensor::{Float, Ops, Reduction, Result, Shape, Tensor};

use crate::loss::{Loss, is_loss, loss_functions};
use crate::pointwise::{Curve, apply, common_shape, in_one_shape};

/// The Kullback–Leibler divergence of an output of log-probabilities x from target
/// probabilities y. The loss of an element is `y·(ln y − x)`, or 0 if y is 0. With
/// `log_target`, the target contains log-probabilities y, and the loss is
/// `exp(y)·(y − x)`.
///
/// The divergence of a distribution is the sum over its elements, so
/// [`batch_mean`](Self::batch_mean) is its mean over a batch. The default is the
/// mean over all elements, as in PyTorch.
///
/// Source: Kullback and Leibler, "On information and sufficiency", 1951.
///
/// ```
/// use dendra_losses::KLDivLoss;
/// use dendra_tensor::{Ops, Tensor};
///
/// let output = Tensor::from([[0.25, 0.75_f64]]).ln();
/// let loss = KLDivLoss::batch_mean().compute(&output, &Tensor::from([[0.5, 0.5]]))?;
/// let expected = 0.5 * (0.5_f64 / 0.25).ln() + 0.5 * (0.5_f64 / 0.75).ln();
/// assert!((loss.item()? - expected).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct KLDivLoss {
    /// Whether the target contains log-probabilities.
    #[set(default = false)]
    log_target: bool,
    #[set(skip, default = false)]
    batch_mean: bool,
    #[set(skip, default = Reduction::Mean)]
    reduction: Reduction,
}

impl KLDivLoss {
    /// Creates a loss that is the sum over all elements, divided by the length of
    /// the first axis of the output (PyTorch's `reduction="batchmean"`).
    pub fn batch_mean() -> Self {
        Self { batch_mean: true, ..Self::default() }
    }

    /// Sets the reduction of the losses of all elements. The default is the mean.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self.batch_mean = false;
        self
    }

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if neither output nor target broadcasts to the shape of the
    /// other.
    pub fn compute<V: Ops>(&self, output: &V, target: &Tensor<V::Element>) -> Result<V> {
        let parts = self.parts(output.value().shape(), target.shape())?;
        let (output, target) = in_one_shape(Self::NAME, output, target)?;
        if !self.batch_mean {
            return apply(*self, &output, [target], self.reduction);
        }
        let sum = apply(*self, &output, [target], Reduction::Sum)?;
        Ok(sum.mul_scalar(1.0 / parts as f64))
    }

    /// Returns the divisor of the mean.
    fn parts(&self, output: &Shape, target: &Shape) -> Result<usize> {
        let all = common_shape(Self::NAME, output, target)?.elements();
        Ok(if self.batch_mean { output.first().copied().unwrap_or(1) } else { all })
    }
}

is_loss! { KLDivLoss, Tensor<T>, |loss, output, target| {
    loss.parts(output.shape(), target.shape()).ok()?
} }

loss_functions! {
    kl_div(output, target: &Tensor<V::Element>) = KLDivLoss;
}

impl Curve<1> for KLDivLoss {
    const NAME: &'static str = "kl_div";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new(), Self::new().log_target(true)]
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        if self.log_target {
            y.exp() * (y - x)
        } else if y == T::ZERO {
            // 0·ln 0 counts as 0, but 0·x is NaN if x is infinite.
            -(y * x)
        } else {
            y * (y.ln() - x)
        }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, [y]: [T; 1]) -> T {
        if self.log_target { -y.exp() } else { -y }
    }

    fn attributes(&self) -> Attributes {
        vec![("log_target", self.log_target.into())]
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<KLDivLoss, f64, 1>>().unwrap();
    }

    #[test]
    fn the_divergence_from_itself_is_zero() {
        let p = Tensor::from([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0_f64]]);
        let logarithms = p.map(|p| p.max(1e-300).ln());
        assert_eq!(kl_div(&logarithms, &p).unwrap().item().unwrap(), 0.0);
        // A scalar is a batch of one, as in PyTorch.
        let (output, target) = (Tensor::scalar(-1.0_f64), Tensor::scalar(1.0));
        let loss = KLDivLoss::batch_mean().compute(&output, &target).unwrap();
        assert_eq!(loss.item().unwrap(), 1.0);
    }
}
