//! Negative log-likelihoods of counts and measurements.

use std::f64::consts::TAU;

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::{Attributes, Term};
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Tensor};

use crate::loss::{Loss, loss_functions, reduce};
use crate::pointwise::{Curve, apply, common_shape, elementwise, ensure_at_least, in_one_shape};

/// The negative log-likelihood of a Poisson-distributed count y. The output x is
/// the logarithm of the expected count, and the loss is `exp(x) − y·x`. Without
/// `log_input`, x is the expected count, and the loss is `x − y·ln(x + ε)`.
///
/// The term ln y! is omitted, since it does not depend on the output. `full` adds
/// Stirling's approximation of it, `y·ln y − y + ln(2π·y)/2`, if y > 1.
///
/// ```
/// use dendra_losses::poisson_nll_loss;
/// use dendra_tensor::Tensor;
///
/// let loss = poisson_nll_loss(&Tensor::from([0.0_f32]), &Tensor::from([3.0]))?;
/// assert_eq!(loss.item()?, 1.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct PoissonNLLLoss {
    /// Whether the output is the logarithm of the expected count.
    #[set(default = true)]
    log_input: bool,
    /// Whether to add Stirling's approximation of ln y!.
    #[set(default = false)]
    full: bool,
    /// The number ε, which is added to an expected count before its logarithm is
    /// taken.
    #[set(default = 1e-8)]
    eps: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The negative log-likelihood of a normally distributed measurement y. The model
/// has two outputs, the mean x and the variance v. The loss is
/// `(ln v + (x − y)²/v) / 2`, with v clamped to at least ε. `full` adds the constant
/// ln(2π)/2.
///
/// The shape of the variance broadcasts to that of the output, or is that of the
/// output without the last axis. As in PyTorch, gradients also flow through
/// clamped variances.
///
/// Source: Nix and Weigend, "Estimating the mean and variance of the target
/// probability distribution", 1994.
///
/// The loss takes two outputs. To use it as a [`Loss`], write a closure:
///
/// ```
/// use dendra_autograd::Var;
/// use dendra_losses::{GaussianNLLLoss, Loss};
/// use dendra_tensor::{Ops, Tensor};
///
/// // The output of the model contains the mean and the logarithm of the variance.
/// let loss = |output: &Var, target: &Tensor| {
///     let variance = output.narrow(1, 1, 1)?.exp();
///     GaussianNLLLoss::new().compute(&output.narrow(1, 0, 1)?, target, &variance)
/// };
/// let value = loss.forward(&Var::new(Tensor::from([[1.0, 0.0]])), &Tensor::from([[3.0]]))?;
/// assert_eq!(value.value().item()?, 2.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct GaussianNLLLoss {
    /// Whether to add the constant ln(2π)/2.
    #[set(default = false)]
    full: bool,
    /// The minimum variance ε; smaller variances are replaced by it.
    #[set(default = 1e-6)]
    eps: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

elementwise! { PoissonNLLLoss }

impl GaussianNLLLoss {
    const NAME: &'static str = "gaussian_nll_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if neither output nor target broadcasts to the shape of the
    /// other, the variance does not broadcast to that shape or is negative, or ε is
    /// not above 0.
    pub fn compute<V: Ops>(
        &self,
        output: &V,
        target: &Tensor<V::Element>,
        variance: &V,
    ) -> Result<V> {
        ensure_at_least(Self::NAME, "eps", f64::MIN_POSITIVE, self.eps)?;
        let found = variance.value().shape();
        let variance = match output.value().shape().split_last() {
            Some((_, samples)) if found[..] == *samples && !samples.is_empty() => {
                variance.unsqueeze(-1)?
            }
            _ => variance.clone(),
        };
        let (output, target) = in_one_shape(Self::NAME, output, target)?;
        let shape = output.value().shape();
        if variance.value().broadcast_to(shape).is_err() {
            let message = format!("a variance of shape {found} does not broadcast to {shape}");
            return Err(Error::shape(Self::NAME, message));
        }
        let is_negative = |v: &V::Element| *v < Number::ZERO;
        if let Some(bad) = variance
            .value()
            .contiguous()
            .as_slice()
            .unwrap_or_default()
            .iter()
            .copied()
            .find(is_negative)
        {
            return Err(Error::data(Self::NAME, format!("a variance is negative: {bad}")));
        }
        let least = V::Element::from_f64(self.eps);
        let missing = variance.value().map(|v| v.max_nan(least) - v);
        let variance = variance.add(&V::constant(missing))?;
        let squares = output.sub(&V::constant(target))?.square();
        let mut losses = squares.div(&variance)?.add(&variance.ln())?.mul_scalar(0.5);
        if self.full {
            losses = losses.add_scalar(0.5 * TAU.ln());
        }
        Ok(reduce(self.reduction, &losses))
    }
}

loss_functions! {
    poisson_nll_loss(output, target: &Tensor<V::Element>) = PoissonNLLLoss;
    gaussian_nll_loss(output, target: &Tensor<V::Element>, variance: &V) = GaussianNLLLoss;
}

impl Curve<1> for PoissonNLLLoss {
    const NAME: &'static str = "poisson_nll_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        let plain = Self::new();
        vec![plain, plain.full(true), plain.log_input(false), plain.log_input(false).eps(0.1)]
    }

    fn check(&self) -> Result<()> {
        ensure_at_least(Self::NAME, "eps", 0.0, self.eps)
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let loss =
            if self.log_input { x.exp() - y * x } else { x - y * (x + T::from_f64(self.eps)).ln() };
        if self.full && y > T::ONE {
            loss + (y * y.ln() - y + T::from_f64(0.5) * (T::from_f64(TAU) * y).ln())
        } else {
            loss
        }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        if self.log_input { x.exp() - y } else { T::ONE - y / (x + T::from_f64(self.eps)) }
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        Ok(if self.log_input { x.exp() - y } else { -(y / (x + self.eps)) + 1.0 })
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("log_input", self.log_input.into()),
            ("full", self.full.into()),
            ("eps", self.eps.into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<PoissonNLLLoss, f64, 1>>().unwrap();
    }

    #[test]
    fn a_count_is_likeliest_where_it_is_expected() {
        let loss = |x: f64| poisson_nll_loss(&Tensor::from([x]), &Tensor::from([5.0])).unwrap();
        let at = loss(5_f64.ln()).item().unwrap();
        assert!(at < loss(5.1_f64.ln()).item().unwrap() && at < loss(4.9_f64.ln()).item().unwrap());
    }

    #[test]
    fn a_variance_must_fit_and_not_be_negative() {
        let x = Tensor::<f32>::zeros([2, 3]);
        let message =
            |variance: Tensor| gaussian_nll_loss(&x, &x, &variance).unwrap_err().to_string();
        assert!(message(Tensor::ones([3, 2])).contains("does not broadcast to [2, 3]"));
        assert!(message(Tensor::full([2, 1], -1.0)).contains("a variance is negative: -1"));
        for shape in [vec![2, 3], vec![2, 1], vec![2], vec![1, 3], vec![]] {
            let loss = gaussian_nll_loss(&x, &x, &Tensor::ones(shape)).unwrap();
            assert_eq!(loss.item().unwrap(), 0.0);
        }
    }
}
