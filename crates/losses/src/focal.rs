//! Focal losses: cross-entropies that reduce the weight of easy samples.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::{Attributes, Term};
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Tensor};

use crate::binary::ensure_probabilities;
use crate::classes::{LabelSettings, Picked, label_loss, label_settings};
use crate::loss::{Loss, loss_functions};
use crate::pointwise::{Curve, apply, common_shape, elementwise, ensure_at_least, in_one_shape};

/// The focal loss of logits of shape `[n, classes, …]` or `[classes]` and class
/// labels: `−w_y·(1 − p)^γ·ln p`, where p is the softmax probability of the label
/// y, and w are the class weights (α in the paper).
///
/// With γ = 0 it equals [`CrossEntropy`](crate::CrossEntropy). The divisor of the
/// mean is the sum of the weights w_y.
///
/// Source: Lin et al., "Focal loss for dense object detection", 2017.
///
/// ```
/// use dendra_losses::focal_loss;
/// use dendra_tensor::Tensor;
///
/// let logits = Tensor::from([[0.0, 0.0_f64]]);
/// let loss = focal_loss(&logits, &Tensor::from([1]))?;
/// assert!((loss.item()? - 0.25 * 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct FocalLoss {
    #[set(skip)]
    settings: LabelSettings,
    /// The exponent γ. Larger values reduce the weight of easy samples further; with
    /// 0 all samples have equal weight.
    #[set(default = 2.0)]
    gamma: f64,
}

/// The element-wise focal loss of logits x and targets y between 0 and 1. It is
/// the binary cross-entropy multiplied by `a·(1 − q)^γ`, with p = σ(x),
/// `q = p·y + (1 − p)·(1 − y)` and `a = α·y + (1 − α)·(1 − y)`.
///
/// It equals torchvision's `sigmoid_focal_loss`, except for the default
/// reduction: the mean here, none in torchvision.
///
/// Source: Lin et al., "Focal loss for dense object detection", 2017.
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct SigmoidFocalLoss {
    /// The weight α of positive examples, from 0 to 1. Negative examples have the
    /// weight 1 − α. `None` means no weights.
    #[set(optional, default = Some(0.25))]
    alpha: Option<f64>,
    /// The exponent γ. Larger values reduce the weight of easy samples further; with
    /// 0 all samples have equal weight.
    #[set(default = 2.0)]
    gamma: f64,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

label_settings! { FocalLoss }
elementwise! { SigmoidFocalLoss }

impl FocalLoss {
    const NAME: &'static str = "focal_loss";

    /// Computes the loss of tensors or variables. The mean is NaN if all samples are
    /// ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of logits and labels do not match, a label is
    /// out of range, the number of class weights differs from the number of
    /// classes, or γ is negative.
    pub fn compute<V: Ops>(&self, logits: &V, labels: &Tensor<i64>) -> Result<V> {
        let curve = Focus { gamma: self.gamma };
        curve.check()?;
        let axis = self.settings.class_axis(Self::NAME, logits.value().shape())?;
        let logarithms = logits.log_softmax(axis as isize)?;
        let picked = Picked::new(Self::NAME, &self.settings, &logarithms, labels)?;
        let weight = picked.weight.clone();
        let losses = apply(curve, &picked.output, [weight], Reduction::None)?;
        picked.reduce(self.settings.reduction, &losses)
    }
}

label_loss! { FocalLoss }

loss_functions! {
    focal_loss(logits, labels: &Tensor<i64>) = FocalLoss;
    sigmoid_focal_loss(logits, target: &Tensor<V::Element>) = SigmoidFocalLoss;
}

/// Returns xʸ; 1 if y is 0.
#[inline(always)]
fn power<T: Float>(x: T, y: f64) -> T {
    if y == 2.0 {
        x * x
    } else if y == 0.0 {
        T::ONE
    } else {
        x.powf(T::from_f64(y))
    }
}

/// Returns y·x^(y − 1), or 0 if x is 0: in the derivative it is multiplied by a
/// factor that approaches 0 faster.
#[inline(always)]
fn power_slope<T: Float>(x: T, y: f64) -> T {
    if y == 0.0 || x == T::ZERO { T::ZERO } else { T::from_f64(y) * power(x, y - 1.0) }
}

/// Returns [`power`] and [`power_slope`] as terms. Both are 0 if x is 0 and y is
/// not.
fn powers<T: Float>(x: &Term<T>, y: f64) -> Result<(Term<T>, Term<T>)> {
    if y == 0.0 {
        let constant = |value| Term::constant(Tensor::scalar(value));
        return Ok((constant(T::ONE), constant(T::ZERO)));
    }
    // Replaces 0 by 1, because powers of 0 may have no finite derivative.
    let zero = x.value().eq_scalar(T::ZERO);
    let x = x.masked_fill(&zero, 1.0)?;
    let power = |y: f64| x.powf(y).masked_fill(&zero, 0.0);
    Ok((power(y)?, power(y - 1.0)? * y))
}

/// The loss as a function of the log-probability of the label; the constant is its
/// weight.
#[derive(Clone, Copy)]
struct Focus {
    gamma: f64,
}

impl Curve<1> for Focus {
    const NAME: &'static str = FocalLoss::NAME;
    const CONSTANTS: [&'static str; 1] = ["weight"];

    const OUTPUTS: [f64; 2] = [-3.0, -0.05];

    fn examples() -> Vec<Self> {
        [0.0, 0.5, 1.0, 2.0, 3.5].map(|gamma| Self { gamma }).into()
    }

    fn check(&self) -> Result<()> {
        ensure_at_least(Self::NAME, "gamma", 0.0, self.gamma)
    }

    #[inline(always)]
    fn value<T: Float>(&self, logarithm: T, [weight]: [T; 1]) -> T {
        -weight * power(-logarithm.exp_m1(), self.gamma) * logarithm
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, logarithm: T, [weight]: [T; 1]) -> T {
        let rest = -logarithm.exp_m1();
        let of_rest = power_slope(rest, self.gamma) * logarithm.exp() * logarithm;
        weight * (of_rest - power(rest, self.gamma))
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        let rest = -x.exp_m1();
        let (power, slope) = powers(&rest, self.gamma)?;
        Ok((slope * x.exp() * x - power) * y)
    }

    fn attributes(&self) -> Attributes {
        vec![("gamma", self.gamma.into())]
    }
}

impl Curve<1> for SigmoidFocalLoss {
    const NAME: &'static str = "sigmoid_focal_loss";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        let plain = Self::new();
        vec![plain, plain.alpha(None).gamma(0.5), plain.gamma(0.0), plain.alpha(0.7).gamma(3.5)]
    }

    fn check(&self) -> Result<()> {
        if let Some(alpha) = self.alpha.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            let message = format!("alpha must be in 0..=1, got {alpha}");
            return Err(Error::argument(Self::NAME, message));
        }
        ensure_at_least(Self::NAME, "gamma", 0.0, self.gamma)
    }

    fn check_target<T: Float>(&self, target: &Tensor<T>) -> Result<()> {
        ensure_probabilities(Self::NAME, "target", target, false)
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let at = At::new(x, y);
        self.weight(y) * power(at.wrong, self.gamma) * at.cross_entropy
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let at = At::new(x, y);
        let (p, no) = (x.sigmoid(), (-x).sigmoid());
        // wrong = p + y − 2·p·y, so its derivative by p is 1 − 2·y.
        let of_wrong = power_slope(at.wrong, self.gamma) * p * no * (T::ONE - y - y);
        let of_loss = p * (T::ONE - y) - y * no;
        self.weight(y) * (of_wrong * at.cross_entropy + power(at.wrong, self.gamma) * of_loss)
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        let (p, no) = (x.sigmoid(), (-x).sigmoid());
        let other = -y + 1.0;
        let wrong = &no * y + &p * &other;
        let cross_entropy = (-x).softplus() * y + x.softplus() * &other;
        let (power, slope) = powers(&wrong, self.gamma)?;
        let of_wrong = slope * &p * &no * (&other - y);
        let of_loss = p * &other - no * y;
        let mut sum = of_wrong * cross_entropy + power * of_loss;
        if let Some(alpha) = self.alpha {
            sum = sum * (y * alpha + other * (1.0 - alpha));
        }
        Ok(sum)
    }

    fn attributes(&self) -> Attributes {
        vec![("alpha", self.alpha.into()), ("gamma", self.gamma.into())]
    }
}

impl SigmoidFocalLoss {
    #[inline(always)]
    fn weight<T: Float>(&self, y: T) -> T {
        let of = |alpha: f64| T::from_f64(alpha) * y + T::from_f64(1.0 - alpha) * (T::ONE - y);
        self.alpha.map_or(T::ONE, of)
    }
}

/// The values that the loss and its derivative have in common.
struct At<T> {
    /// The probability 1 − q of a wrong prediction.
    wrong: T,
    cross_entropy: T,
}

impl<T: Float> At<T> {
    #[inline(always)]
    fn new(x: T, y: T) -> Self {
        let no = T::ONE - y;
        let common = (-x.abs()).exp().ln_1p();
        let (of_yes, of_no) = ((-x).max_nan(T::ZERO) + common, x.max_nan(T::ZERO) + common);
        let wrong = (-x).sigmoid() * y + x.sigmoid() * no;
        Self { wrong, cross_entropy: y * of_yes + no * of_no }
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::cross_entropy::CrossEntropy;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<SigmoidFocalLoss, f64, 1>>().unwrap();
        check_twice::<Pointwise<Focus, f64, 1>>().unwrap();
    }

    #[test]
    fn without_focus_it_is_the_cross_entropy() {
        let mut rng = Rng::seed(3);
        let logits = Tensor::<f64>::normal([6, 3, 2], 0.0, 2.0, &mut rng);
        let labels = Tensor::from_fn([6, 2], |i| if i == 4 { -100 } else { (i % 3) as i64 });
        let weights = [0.5, 1.0, 3.0];
        let plain = CrossEntropy::new().class_weights(weights).compute(&logits, &labels).unwrap();
        let focal = FocalLoss::new().gamma(0.0).class_weights(weights);
        let focal = focal.compute(&logits, &labels).unwrap();
        assert!((plain.item().unwrap() - focal.item().unwrap()).abs() < 1e-12);
    }

    #[test]
    fn certain_outputs_give_finite_losses_and_slopes() {
        for gamma in [0.0, 0.5, 2.0] {
            for (x, y) in [(1000.0, 1.0), (-1000.0, 0.0), (1000.0, 0.0), (-1000.0, 1.0_f32)] {
                let loss = SigmoidFocalLoss::new().gamma(gamma);
                assert!(loss.value(x, [y]).is_finite() && loss.derivative(x, [y]).is_finite());
            }
            let focus = Focus { gamma };
            for x in [0.0, -1000.0_f32] {
                assert!(
                    focus.value(x, [1.0]).is_finite() && focus.derivative(x, [1.0]).is_finite()
                );
            }
        }
    }

    #[test]
    fn settings_that_do_not_fit_are_named() {
        let (x, labels) = (Tensor::<f32>::zeros([2, 2]), Tensor::from([0, 1]));
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        let negative = FocalLoss::new().gamma(-1.0);
        assert!(message(negative.compute(&x, &labels)).starts_with("focal_loss: gamma must be"));
        let heavy = SigmoidFocalLoss::new().alpha(1.5);
        assert!(message(heavy.compute(&x, &x)).contains("alpha must be in 0..=1"));
        let beyond = sigmoid_focal_loss(&x, &Tensor::full([2, 2], 1.5));
        assert!(message(beyond).contains("the target must be between 0 and 1"));
    }
}
