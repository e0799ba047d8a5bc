//! Losses of outputs that are quantities: squared, absolute, and between.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Tensor};

use crate::loss::Loss;
use crate::pointwise::{Curve, apply, elementwise};

/// The squared error: (x − y)².
///
/// ```
/// use dendra_losses::{MseLoss, Reduction};
/// use dendra_tensor::Tensor;
///
/// let (output, target) = (Tensor::from([1.0, 5.0_f32]), Tensor::from([1.0, 2.0]));
/// assert_eq!(MseLoss::new().compute(&output, &target)?.item()?, 4.5);
/// let apart = MseLoss::new().reduction(Reduction::None).compute(&output, &target)?;
/// assert_eq!(apart.to_vec(), [0.0, 9.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MseLoss {
    reduction: Reduction,
}

/// The absolute error: |x − y|. Its derivative where both are equal is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Loss {
    reduction: Reduction,
}

/// Huber's loss: squared for small errors, linear for large ones, so that
/// outliers pull less.
///
/// With d = |x − y|: `d²/2` where d ≤ δ, else `δ·(d − δ/2)`.
///
/// Source: Huber, "Robust estimation of a location parameter", 1964.
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    delta: f64,
    reduction: Reduction,
}

/// The smooth absolute error: Huber's loss divided by its threshold β, so that
/// large errors have slope 1. β = 0 is the absolute error.
///
/// Source: Girshick, "Fast R-CNN", 2015.
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    beta: f64,
    reduction: Reduction,
}

elementwise! { MseLoss L1Loss HuberLoss SmoothL1Loss }

impl MseLoss {
    /// The mean squared error.
    pub fn new() -> Self {
        Self::default()
    }
}

impl L1Loss {
    /// The mean absolute error.
    pub fn new() -> Self {
        Self::default()
    }
}

impl HuberLoss {
    /// The mean of Huber's loss with this threshold δ, above 0; PyTorch's
    /// default is 1.
    pub fn new(delta: f64) -> Self {
        Self { delta, reduction: Reduction::Mean }
    }
}

impl SmoothL1Loss {
    /// The mean of the smooth absolute error with this threshold β, not
    /// negative; PyTorch's default is 1.
    pub fn new(beta: f64) -> Self {
        Self { beta, reduction: Reduction::Mean }
    }
}

/// The mean squared error, as [`MseLoss`].
///
/// # Errors
///
/// When the shapes differ.
pub fn mse_loss<V: Ops>(output: &V, target: &Tensor<V::Element>) -> Result<V> {
    MseLoss::new().compute(output, target)
}

/// The mean absolute error, as [`L1Loss`].
///
/// # Errors
///
/// When the shapes differ.
pub fn l1_loss<V: Ops>(output: &V, target: &Tensor<V::Element>) -> Result<V> {
    L1Loss::new().compute(output, target)
}

/// The mean of Huber's loss, as [`HuberLoss`].
///
/// # Errors
///
/// When the shapes differ or δ is not above 0.
pub fn huber_loss<V: Ops>(output: &V, target: &Tensor<V::Element>, delta: f64) -> Result<V> {
    HuberLoss::new(delta).compute(output, target)
}

/// The mean of the smooth absolute error, as [`SmoothL1Loss`].
///
/// # Errors
///
/// When the shapes differ or β is negative.
pub fn smooth_l1_loss<V: Ops>(output: &V, target: &Tensor<V::Element>, beta: f64) -> Result<V> {
    SmoothL1Loss::new(beta).compute(output, target)
}

impl Curve<1> for MseLoss {
    const NAME: &'static str = "mse_loss";

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
}

impl Curve<1> for L1Loss {
    const NAME: &'static str = "l1_loss";

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
}

impl Curve<1> for SmoothL1Loss {
    const NAME: &'static str = "smooth_l1_loss";

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
        // At β itself both are ±1, and the second also where β is 0.
        if difference.abs() < beta { difference / beta } else { sign(difference) }
    }
}

/// Huber's loss of a difference.
#[inline(always)]
fn huber<T: Float>(difference: T, delta: T) -> T {
    let (distance, half) = (difference.abs(), T::from_f64(0.5));
    let near = distance.min_nan(delta);
    near * (distance - half * near)
}

/// −1, 0 or 1.
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
    use dendra_tensor::ops::check::check;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check::<Pointwise<MseLoss, f64, 1>>().unwrap();
        check::<Pointwise<L1Loss, f64, 1>>().unwrap();
        check::<Pointwise<HuberLoss, f64, 1>>().unwrap();
        check::<Pointwise<SmoothL1Loss, f64, 1>>().unwrap();
    }

    #[test]
    fn a_target_of_another_shape_is_refused_and_does_not_broadcast() {
        let (output, target) = (Tensor::<f32>::zeros([4, 1]), Tensor::zeros([4]));
        let error = mse_loss(&output, &target).unwrap_err().to_string();
        assert_eq!(error, "mse_loss: output and target must have one shape, got [4, 1] and [4]");
        let scalar = Tensor::scalar(1.0);
        assert!(l1_loss(&output, &scalar).is_err());
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
