//! Regression losses: squared error, absolute error, and combinations of both.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::{Attributes, Term};
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Tensor};

use crate::loss::{Loss, loss_functions};
use crate::pointwise::{Curve, apply, common_shape, elementwise, in_one_shape};

/// The squared error (x − y)².
///
/// ```
/// use dendra_losses::{MSELoss, Reduction};
/// use dendra_tensor::Tensor;
///
/// let (output, target) = (Tensor::from([1.0, 5.0_f32]), Tensor::from([1.0, 2.0]));
/// assert_eq!(MSELoss::new().compute(&output, &target)?.item()?, 4.5);
/// let apart = MSELoss::new().reduction(Reduction::None).compute(&output, &target)?;
/// assert_eq!(apart.to_vec(), [0.0, 9.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct MSELoss {
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The absolute error |x − y|. Its derivative is 0 if x and y are equal or one is
/// NaN.
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct L1Loss {
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The Huber loss: quadratic for small errors and linear for large ones, which
/// limits the influence of outliers.
///
/// With d = |x − y| it is `d²/2` if d ≤ δ, else `δ·(d − δ/2)`.
///
/// Source: Huber, "Robust estimation of a location parameter", 1964.
#[derive(Clone, Copy, Debug, Setters)]
pub struct HuberLoss {
    delta: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The smooth absolute error: the Huber loss divided by its threshold β, so that
/// the slope for large errors is 1. With β = 0 it is the absolute error.
///
/// Source: Girshick, "Fast R-CNN", 2015.
#[derive(Clone, Copy, Debug, Setters)]
pub struct SmoothL1Loss {
    beta: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

elementwise! { MSELoss L1Loss HuberLoss SmoothL1Loss }

impl HuberLoss {
    /// Creates the Huber loss with the threshold δ, which must be above 0. PyTorch's
    /// default is 1.
    pub fn new(delta: f64) -> Self {
        Self::with_defaults(delta)
    }
}

impl SmoothL1Loss {
    /// Creates the smooth absolute error with the threshold β, which must not be
    /// negative. PyTorch's default is 1.
    pub fn new(beta: f64) -> Self {
        Self::with_defaults(beta)
    }
}

loss_functions! {
    mse_loss(output, target: &Tensor<V::Element>) = MSELoss;
    l1_loss(output, target: &Tensor<V::Element>) = L1Loss;
    huber_loss(output, target: &Tensor<V::Element>; delta: f64) = HuberLoss;
    smooth_l1_loss(output, target: &Tensor<V::Element>; beta: f64) = SmoothL1Loss;
}

impl Curve<1> for MSELoss {
    const NAME: &'static str = "mse_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new()]
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        (x - y) * (x - y)
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        T::from_f64(2.0) * (x - y)
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        Ok((x - y) * 2.0)
    }
}

impl Curve<1> for L1Loss {
    const NAME: &'static str = "l1_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new()]
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        (x - y).abs()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        sign(x - y)
    }
}

impl Curve<1> for HuberLoss {
    const NAME: &'static str = "huber_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new(0.3), Self::new(2.0)]
    }

    fn check(&self) -> Result<()> {
        if self.delta.is_finite() && self.delta > 0.0 {
            return Ok(());
        }
        Err(Error::argument(Self::NAME, format!("delta must be above 0, got {}", self.delta)))
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        huber(x - y, T::from_f64(self.delta))
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let delta = T::from_f64(self.delta);
        (x - y).max_nan(-delta).min_nan(delta)
    }

    fn slope<T: Float>(
        &self,
        x: &Term<T>,
        [y]: &[Term<T>; 1],
        derivative: Term<T>,
    ) -> Result<Term<T>> {
        let difference = x - y;
        let is_near = difference.value().abs().lt_scalar(T::from_f64(self.delta));
        difference.where_mask(&is_near, &derivative)
    }

    fn attributes(&self) -> Attributes {
        vec![("delta", self.delta.into())]
    }
}

impl Curve<1> for SmoothL1Loss {
    const NAME: &'static str = "smooth_l1_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new(0.3), Self::new(2.0), Self::new(0.0)]
    }

    fn check(&self) -> Result<()> {
        if self.beta.is_finite() && self.beta >= 0.0 {
            return Ok(());
        }
        Err(Error::argument(Self::NAME, format!("beta must not be negative, got {}", self.beta)))
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let beta = T::from_f64(self.beta);
        if self.beta == 0.0 { (x - y).abs() } else { huber(x - y, beta) / beta }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let (difference, beta) = (x - y, T::from_f64(self.beta));
        // NaN remains NaN, except if β is 0, as in PyTorch.
        if self.beta == 0.0 || difference.abs() >= beta {
            sign(difference)
        } else {
            difference / beta
        }
    }

    fn slope<T: Float>(
        &self,
        x: &Term<T>,
        [y]: &[Term<T>; 1],
        derivative: Term<T>,
    ) -> Result<Term<T>> {
        if self.beta == 0.0 {
            return Ok(derivative);
        }
        let (difference, beta) = (x - y, T::from_f64(self.beta));
        let is_near = difference.value().abs().lt_scalar(beta);
        (difference * (1.0 / self.beta)).where_mask(&is_near, &derivative)
    }

    fn attributes(&self) -> Attributes {
        vec![("beta", self.beta.into())]
    }
}

/// Returns the Huber loss of a difference.
#[inline(always)]
fn huber<T: Float>(difference: T, delta: T) -> T {
    let (distance, half) = (difference.abs(), T::from_f64(0.5));
    let near = distance.min_nan(delta);
    near * (distance - half * near)
}

/// Returns −1, 0 or 1.
#[inline(always)]
fn sign<T: Float>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        T::ZERO
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<MSELoss, f64, 1>>().unwrap();
        check_twice::<Pointwise<L1Loss, f64, 1>>().unwrap();
        check_twice::<Pointwise<HuberLoss, f64, 1>>().unwrap();
        check_twice::<Pointwise<SmoothL1Loss, f64, 1>>().unwrap();
    }

    #[test]
    fn one_of_both_broadcasts_and_not_both() {
        let (output, target) = (Tensor::<f32>::zeros([4, 1]), Tensor::zeros([4]));
        let error = mse_loss(&output, &target).unwrap_err().to_string();
        assert_eq!(
            error,
            "mse_loss: output and target must have the same shape, or one must broadcast to the \
             shape of the other, got [4, 1] and [4]"
        );
        assert!(l1_loss(&output, &Tensor::zeros([3, 2])).is_err());

        let tape = Tape::training(0, 0);
        let row = tape.leaf(Tensor::from([1.0, 2.0, 4.0_f64]));
        let target = Tensor::from([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0_f64]]);
        let sum = MSELoss::new().reduction(Reduction::Sum).compute(&row, &target).unwrap();
        assert_eq!(sum.value().item().unwrap(), 1.0 + 4.0 + 16.0 + 1.0 + 9.0);
        let gradients = sum.backward().unwrap();
        assert_eq!(gradients.wrt(&row).unwrap().to_vec(), [2.0, 6.0, 14.0]);
        assert_eq!(MSELoss::new().divisor(&row, &target, 1), Some(6.0));
        let apart = L1Loss::new().reduction(Reduction::None);
        let apart = apart.compute(&target, &Tensor::scalar(2.0)).unwrap();
        assert_eq!(apart.to_vec(), [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn invalid_thresholds_are_named() {
        let x = Tensor::from([1.0_f32]);
        for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = huber_loss(&x, &x, delta).unwrap_err().to_string();
            assert!(error.contains("delta must be above 0"), "{error}");
        }
        assert!(smooth_l1_loss(&x, &x, -1.0).unwrap_err().to_string().contains("beta"));
        assert!(smooth_l1_loss(&x, &x, 0.0).is_ok());
    }
}
