//! Losses for binary classification by the sign of the output, with targets 1 and
//! −1.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::{Attributes, Term};
use dendra_tensor::{Float, Ops, Reduction, Result, Tensor};

use crate::loss::{Loss, loss_functions};
use crate::pointwise::{
    Curve, apply, common_shape, elementwise, ensure_at_least, ensure_signs, in_one_shape,
};

/// The hinge loss of an output x and a target y of 1 or −1:
/// `max(0, margin − y·x)`, or its square.
///
/// PyTorch has no such loss; in Keras it is `Hinge` and `SquaredHinge`. A target
/// other than 1 and −1 is an error, because labels of 0 and 1 are a likely
/// mistake. This also holds for the other losses with such targets, for which
/// PyTorch accepts any number.
///
/// Source: Cortes and Vapnik, "Support-vector networks", 1995.
///
/// ```
/// use dendra_losses::{HingeLoss, Reduction};
/// use dendra_tensor::Tensor;
///
/// let (output, target) = (Tensor::from([2.0, 0.5, 1.0_f32]), Tensor::from([1.0, 1.0, -1.0]));
/// let apart = HingeLoss::new().reduction(Reduction::None);
/// assert_eq!(apart.compute(&output, &target)?.to_vec(), [0.0, 0.5, 2.0]);
/// assert_eq!(apart.squared(true).compute(&output, &target)?.to_vec(), [0.0, 0.25, 4.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct HingeLoss {
    /// The loss is 0 if `y·x` is at least this margin.
    #[set(default = 1.0)]
    margin: f64,
    /// Whether the loss is squared.
    #[set(default = false)]
    squared: bool,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The loss of a distance x between two samples: `x` if they are similar (y = 1),
/// `max(0, margin − x)` if they are not (y = −1).
///
/// Source: Hadsell et al., "Dimensionality reduction by learning an invariant
/// mapping", 2006; the losses are not squared here.
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct HingeEmbeddingLoss {
    /// The distance from which the loss of dissimilar samples is 0.
    #[set(default = 1.0)]
    margin: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The logistic loss of an output x and a target y of 1 or −1:
/// `ln(1 + exp(−y·x))`. It is accurate for any x.
///
/// ```
/// use dendra_losses::soft_margin_loss;
/// use dendra_tensor::Tensor;
///
/// let loss = soft_margin_loss(&Tensor::from([0.0, 200.0_f32]), &Tensor::from([1.0, -1.0]))?;
/// assert_eq!(loss.item()?, (2_f32.ln() + 200.0) / 2.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct SoftMarginLoss {
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

elementwise! { HingeLoss HingeEmbeddingLoss SoftMarginLoss }

loss_functions! {
    hinge_loss(output, target: &Tensor<V::Element>) = HingeLoss;
    hinge_embedding_loss(output, target: &Tensor<V::Element>) = HingeEmbeddingLoss;
    soft_margin_loss(output, target: &Tensor<V::Element>) = SoftMarginLoss;
}

impl Curve<1> for HingeLoss {
    const NAME: &'static str = "hinge_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new(), Self::new().margin(0.3), Self::new().margin(0.4).squared(true)]
    }

    fn check(&self) -> Result<()> {
        // Any finite margin is valid: a negative one makes sense in a ranking.
        ensure_at_least(Self::NAME, "margin", f64::MIN, self.margin)
    }

    fn check_target<T: Float>(&self, target: &Tensor<T>) -> Result<()> {
        ensure_signs(Self::NAME, target)
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let missing = (T::from_f64(self.margin) - y * x).max_nan(T::ZERO);
        if self.squared { missing * missing } else { missing }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let missing = T::from_f64(self.margin) - y * x;
        let slope = if self.squared { -T::from_f64(2.0) * y * missing } else { -y };
        // The derivative at the corner is 0, like that of PyTorch's clamp at 0.
        if missing > T::ZERO { slope } else { T::ZERO }
    }

    fn slope<T: Float>(
        &self,
        x: &Term<T>,
        [y]: &[Term<T>; 1],
        derivative: Term<T>,
    ) -> Result<Term<T>> {
        if !self.squared {
            return Ok(derivative);
        }
        let missing = -(x * y) + self.margin;
        let is_reached = missing.value().gt_scalar(T::ZERO).logical_not();
        (missing * y * -2.0).masked_fill(&is_reached, 0.0)
    }

    fn attributes(&self) -> Attributes {
        vec![("margin", self.margin.into()), ("squared", self.squared.into())]
    }
}

impl Curve<1> for HingeEmbeddingLoss {
    const NAME: &'static str = "hinge_embedding_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new(), Self::new().margin(0.4)]
    }

    fn check(&self) -> Result<()> {
        ensure_at_least(Self::NAME, "margin", f64::MIN, self.margin)
    }

    fn check_target<T: Float>(&self, target: &Tensor<T>) -> Result<()> {
        ensure_signs(Self::NAME, target)
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        if y > T::ZERO { x } else { (T::from_f64(self.margin) - x).max_nan(T::ZERO) }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        if y > T::ZERO {
            T::ONE
        } else if x < T::from_f64(self.margin) {
            -T::ONE
        } else {
            T::ZERO
        }
    }

    fn attributes(&self) -> Attributes {
        vec![("margin", self.margin.into())]
    }
}

impl Curve<1> for SoftMarginLoss {
    const NAME: &'static str = "soft_margin_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self::new()]
    }

    fn check_target<T: Float>(&self, target: &Tensor<T>) -> Result<()> {
        ensure_signs(Self::NAME, target)
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let z = -(y * x);
        z.max_nan(T::ZERO) + (-z.abs()).exp().ln_1p()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        -y * (-(y * x)).sigmoid()
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        Ok(-((-(x * y)).sigmoid() * y))
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<HingeLoss, f64, 1>>().unwrap();
        check_twice::<Pointwise<HingeEmbeddingLoss, f64, 1>>().unwrap();
        check_twice::<Pointwise<SoftMarginLoss, f64, 1>>().unwrap();
    }

    #[test]
    fn a_target_that_is_no_sign_is_refused() {
        let x = Tensor::from([0.5_f32, 0.5]);
        for bad in [0.0, 0.5, f32::NAN] {
            let target = Tensor::from([1.0, bad]);
            let error = hinge_loss(&x, &target).unwrap_err().to_string();
            assert_eq!(error, format!("hinge_loss: targets must be 1 or -1, got {bad}"));
            assert!(hinge_embedding_loss(&x, &target).is_err());
            assert!(soft_margin_loss(&x, &target).is_err());
        }
    }

    #[test]
    fn a_margin_must_be_a_number() {
        let x = Tensor::from([1.0_f32]);
        let error = HingeLoss::new().margin(f64::NAN).compute(&x, &x).unwrap_err().to_string();
        assert!(error.starts_with("hinge_loss: margin must be a finite number"), "{error}");
    }
}
