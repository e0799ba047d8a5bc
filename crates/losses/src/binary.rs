//! Binary cross-entropies.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::Term;
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Tensor};

use crate::loss::{Loss, is_loss, loss_functions, reduce};
use crate::pointwise::{Curve, apply, ensure_same_shape};

/// The binary cross-entropy of a probability x and a target y between 0 and 1:
/// `−(y·ln x + (1 − y)·ln(1 − x))`. The logarithms are clamped to at least −100, so
/// that the loss of a certain but wrong output is 100 instead of infinity.
///
/// If the probability comes from a sigmoid, [`BCEWithLogitsLoss`] is more accurate.
///
/// ```
/// use dendra_losses::binary_cross_entropy;
/// use dendra_tensor::Tensor;
///
/// let (output, target) = (Tensor::from([0.5, 1.0_f64]), Tensor::from([1.0, 0.0]));
/// let loss = binary_cross_entropy(&output, &target)?.item()?;
/// assert!((loss - (2_f64.ln() + 100.0) / 2.0).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct BCELoss {
    #[set(skip)]
    weight: Option<Tensor<f64>>,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The binary cross-entropy of a logit x and a target y between 0 and 1:
/// `−(p·y·ln σ(x) + (1 − y)·ln(1 − σ(x)))`, where the weight p of positive examples
/// is 1 by default. It is accurate for any x.
///
/// ```
/// use dendra_losses::binary_cross_entropy_with_logits;
/// use dendra_tensor::Tensor;
///
/// let (logits, target) = (Tensor::from([100.0, 100.0_f32]), Tensor::from([1.0, 0.0]));
/// assert_eq!(binary_cross_entropy_with_logits(&logits, &target)?.item()?, 50.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct BCEWithLogitsLoss {
    #[set(skip)]
    weight: Option<Tensor<f64>>,
    #[set(skip)]
    pos_weight: Option<Tensor<f64>>,
    /// The reduction of the losses of all elements.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// Implements the settings that both losses have in common.
macro_rules! settings {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// Sets a factor for the loss of each element, which broadcasts to the
            /// shape of the output.
            #[must_use]
            pub fn weight<T: Float>(mut self, weight: &Tensor<T>) -> Self {
                self.weight = Some(weight.cast());
                self
            }
        }
    )*};
}
settings! { BCELoss BCEWithLogitsLoss }

impl BCELoss {
    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of output and target differ, one of them
    /// contains a number that is not a probability, or the weight does not broadcast
    /// to them.
    pub fn compute<V: Ops>(&self, output: &V, target: &Tensor<V::Element>) -> Result<V> {
        let context = <Probabilities as Curve<1>>::NAME;
        ensure_same_shape(context, output.value().shape(), target.shape())?;
        ensure_probabilities(context, "target", target, false)?;
        // Accepts NaN, so that the loss is NaN and the search for the first NaN can
        // find its origin in the model.
        ensure_probabilities(context, "output", output.value(), true)?;
        let constants = [target.clone()];
        weighted(Probabilities, output, constants, self.weight.as_ref(), self.reduction)
    }
}

impl BCEWithLogitsLoss {
    /// Sets a factor for the losses of positive examples, which broadcasts to the
    /// shape of the output. Usually it has one number for each class.
    #[must_use]
    pub fn pos_weight<T: Float>(mut self, pos_weight: &Tensor<T>) -> Self {
        self.pos_weight = Some(pos_weight.cast());
        self
    }

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of output and target differ, the target
    /// contains a number that is not a probability, or a weight does not broadcast
    /// to them.
    pub fn compute<V: Ops>(&self, output: &V, target: &Tensor<V::Element>) -> Result<V> {
        let context = <Logits as Curve<2>>::NAME;
        ensure_same_shape(context, output.value().shape(), target.shape())?;
        ensure_probabilities(context, "target", target, false)?;
        let negative = target.map(|y| V::Element::ONE - y);
        let positive = match &self.pos_weight {
            Some(weight) => target * &stretched(context, "pos_weight", weight, target)?,
            None => target.clone(),
        };
        let constants = [positive, negative];
        weighted(Logits, output, constants, self.weight.as_ref(), self.reduction)
    }
}

is_loss! { BCELoss, Tensor<T>, |_loss, output, _target| output.len() }
is_loss! { BCEWithLogitsLoss, Tensor<T>, |_loss, output, _target| output.len() }

loss_functions! {
    binary_cross_entropy(output, target: &Tensor<V::Element>) = BCELoss;
    binary_cross_entropy_with_logits(output, target: &Tensor<V::Element>) = BCEWithLogitsLoss;
}

/// The loss as a function of a probability; the constant is the target.
#[derive(Clone, Copy)]
struct Probabilities;

impl Curve<1> for Probabilities {
    const NAME: &'static str = "binary_cross_entropy";
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        let least = T::from_f64(-100.0);
        let (yes, no) = (x.ln().max_nan(least), (-x).ln_1p().max_nan(least));
        -(y * yes + (T::ONE - y) * no)
    }

    /// PyTorch's derivative, which is large but finite for certain outputs.
    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [y]: [T; 1]) -> T {
        (x - y) / (x * (T::ONE - x)).max_nan(T::from_f64(1e-12))
    }

    fn slope<T: Float>(&self, x: &Term<T>, [y]: &[Term<T>; 1], _: Term<T>) -> Result<Term<T>> {
        Ok((x - y) / (x * (-x + 1.0)).clamp_min(1e-12))
    }
}

/// The loss as a function of a logit; the constants are the weights of the two
/// terms.
#[derive(Clone, Copy)]
struct Logits;

impl Curve<2> for Logits {
    const NAME: &'static str = "binary_cross_entropy_with_logits";
    const CONSTANTS: [&'static str; 2] = ["yes", "no"];

    fn examples() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn value<T: Float>(&self, x: T, [yes, no]: [T; 2]) -> T {
        // −ln σ(x) = max(−x, 0) + ln(1 + exp(−|x|))
        let common = (-x.abs()).exp().ln_1p();
        yes * ((-x).max_nan(T::ZERO) + common) + no * (x.max_nan(T::ZERO) + common)
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, [yes, no]: [T; 2]) -> T {
        no * x.sigmoid() - yes * (-x).sigmoid()
    }

    fn slope<T: Float>(
        &self,
        x: &Term<T>,
        [yes, no]: &[Term<T>; 2],
        _: Term<T>,
    ) -> Result<Term<T>> {
        Ok(x.sigmoid() * no - (-x).sigmoid() * yes)
    }
}

/// Computes the reduced, weighted loss of all elements.
fn weighted<V: Ops, C: Curve<N>, const N: usize>(
    curve: C,
    output: &V,
    constants: [Tensor<V::Element>; N],
    weight: Option<&Tensor<f64>>,
    reduction: Reduction,
) -> Result<V> {
    let Some(weight) = weight else { return apply(curve, output, constants, reduction) };
    let weight = stretched(C::NAME, "weight", weight, output.value())?;
    let losses = apply(curve, output, constants, Reduction::None)?;
    Ok(reduce(reduction, &losses.mul(&V::constant(weight))?))
}

/// Converts a weight to the type and shape of the output.
fn stretched<T: Float>(
    context: &str,
    name: &str,
    weight: &Tensor<f64>,
    output: &Tensor<T>,
) -> Result<Tensor<T>> {
    let stretched = weight.cast::<T>().broadcast_to(output.shape());
    stretched.map_err(|_| {
        let (found, expected) = (weight.shape(), output.shape());
        Error::shape(context, format!("{name} of shape {found} does not broadcast to {expected}"))
    })
}

pub(crate) fn ensure_probabilities<T: Float>(
    context: &str,
    name: &str,
    values: &Tensor<T>,
    nan_allowed: bool,
) -> Result<()> {
    let valid = |x: T| (x >= T::ZERO && x <= T::ONE) || (nan_allowed && x.is_nan());
    let found =
        values.contiguous().as_slice().unwrap_or_default().iter().copied().find(|&x| !valid(x));
    found.map_or(Ok(()), |x| {
        Err(Error::data(context, format!("the {name} must be between 0 and 1, got {x}")))
    })
}

#[cfg(test)]
mod tests {
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Pointwise<Probabilities, f64, 1>>().unwrap();
        check_twice::<Pointwise<Logits, f64, 2>>().unwrap();
    }

    #[test]
    fn logits_of_any_size_give_the_loss_of_their_probabilities() {
        let logits = Tensor::<f64>::from([-100.0, -5.0, -0.1, 0.0, 2.0, 100.0]);
        let target = Tensor::from([1.0, 0.0, 0.3, 1.0, 0.9, 0.0]);
        let apart = Reduction::None;
        let direct = BCEWithLogitsLoss::new().reduction(apart).compute(&logits, &target).unwrap();
        let by_sigmoid =
            BCELoss::new().reduction(apart).compute(&logits.sigmoid(), &target).unwrap();
        assert_eq!(direct.to_vec()[0], 100.0);
        assert_eq!(direct.to_vec()[5], 100.0);
        for (a, b) in direct.to_vec().into_iter().zip(by_sigmoid.to_vec()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let half = Tensor::from([0.5_f32, 0.5]);
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        for bad in [-0.1, 1.5, f32::NAN] {
            let bad = Tensor::from([0.5, bad]);
            assert!(message(binary_cross_entropy(&half, &bad)).contains("the target must be"));
            let with_logits = binary_cross_entropy_with_logits(&half, &bad);
            assert!(message(with_logits).contains("the target must be"));
        }
        let error = message(binary_cross_entropy(&Tensor::from([0.5, 1.5]), &half));
        assert_eq!(error, "binary_cross_entropy: the output must be between 0 and 1, got 1.5");
        let nan = binary_cross_entropy(&Tensor::from([0.5, f32::NAN]), &half).unwrap();
        assert!(nan.item().unwrap().is_nan());
    }

    #[test]
    fn weights_must_broadcast_to_the_output() {
        let x = Tensor::<f32>::zeros([2, 3]);
        let loss = BCEWithLogitsLoss::new().pos_weight(&Tensor::from([1.0, 2.0_f32]));
        let error = loss.compute(&x, &x).unwrap_err().to_string();
        assert!(error.contains("pos_weight of shape [2] does not broadcast to [2, 3]"), "{error}");
        let loss = BCELoss::new().weight(&Tensor::<f32>::ones([2, 2, 3]));
        assert!(loss.compute(&x, &x).unwrap_err().to_string().contains("weight of shape"));
    }
}
