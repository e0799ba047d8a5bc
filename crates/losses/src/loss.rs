//! The trait of losses, and the mean loss of several batches.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, Reduction, Result};

/// A loss, which compares the output `P` of a model with a target of type `Y`.
///
/// `P` is a variable, or a tuple of variables for a model with several outputs.
/// Threads share a loss when a batch is computed in parts, so it is `Sync`: a
/// closure that counts its calls uses an atomic number, not a `Cell`. A function
/// of output and target is a loss too:
///
/// ```
/// use dendra_autograd::Var;
/// use dendra_losses::{CrossEntropy, Loss, MSELoss};
/// use dendra_tensor::{Ops, Result, Tensor};
///
/// let log_cosh = |output: &Var, target: &Tensor| {
///     let difference = output.sub(&Var::new(target.clone()))?;
///     Ok((difference.exp() + difference.neg().exp()).mul_scalar(0.5).ln().mean())
/// };
/// let losses: [&dyn Loss<Tensor>; 2] = [&MSELoss::new(), &log_cosh];
/// for loss in losses {
///     let value = loss.forward(&Var::new(Tensor::ones([3])), &Tensor::ones([3]))?;
///     assert_eq!(value.value().item()?, 0.0);
/// }
///
/// // Two outputs with a loss each. The second has the weight 0.1.
/// let both = |(logits, place): &(Var, Var), (label, target): &(Tensor<i64>, Tensor)| {
///     let of_class = CrossEntropy::new().compute(logits, label)?;
///     Ok(of_class + MSELoss::new().compute(place, target)? * 0.1)
/// };
/// let output = (Var::new(Tensor::zeros([1, 2])), Var::new(Tensor::from([[3.0]])));
/// let loss = both.forward(&output, &(Tensor::from([1]), Tensor::from([[1.0]])))?;
/// assert_eq!(loss.value().item()?, 2_f32.ln() + 0.4);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a loss for targets of type `{Y}`",
    label = "this loss does not accept the targets of the data set",
    note = "class labels are integers, `Tensor<i64>`; quantities and probabilities are floats of \
            the same type as the outputs of the model"
)]
pub trait Loss<Y, T: Float = f32, P = Var<T>>: Sync {
    /// Computes the loss: a scalar, unless the reduction is [`Reduction::None`].
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of output and target do not match, or if the
    /// target or a setting is invalid.
    fn forward(&self, output: &P, target: &Y) -> Result<Var<T>>;

    /// Returns the divisor of the mean that [`forward`](Self::forward) computes for
    /// a batch of this many samples: the number of samples or elements that count,
    /// or the sum of their weights. If none counts, the divisor is 0 and the mean
    /// is NaN. Returns `None` if the loss is not a mean. [`RunningLoss`] combines
    /// the losses of several batches with it.
    ///
    /// The default implementation is for a mean over the samples. Call this method
    /// with the arguments of a successful call of `forward`.
    fn divisor(&self, output: &P, target: &Y, samples: usize) -> Option<f64> {
        let _ = (output, target);
        Some(samples as f64)
    }

    /// Returns this loss with other class weights (`class_weight` in Keras).
    ///
    /// # Errors
    ///
    /// Returns an error if the loss has no classes, which is the default.
    fn with_class_weights(&self, weights: &[f64]) -> Result<Box<dyn Loss<Y, T, P>>> {
        let _ = weights;
        Err(Error::argument("class_weights", "this loss does not support class weights"))
    }

    /// The same loss with [`Reduction::None`]: a value for each sample, or for
    /// each of its elements. Private training clips the gradient of each sample
    /// and needs it.
    ///
    /// # Errors
    ///
    /// When the loss has no setting for its reduction, which is the default.
    fn unreduced(&self) -> Result<Box<dyn Loss<Y, T, P>>> {
        let message = "this loss has no setting for its reduction, so it gives no value for each \
                       sample";
        Err(Error::argument("unreduced", message))
    }
}

impl<F, Y, T: Float, P> Loss<Y, T, P> for F
where
    F: Fn(&P, &Y) -> Result<Var<T>> + Sync,
{
    fn forward(&self, output: &P, target: &Y) -> Result<Var<T>> {
        self(output, target)
    }
}

/// The loss of several batches, equal to that of one batch with all samples:
/// Σ dᵢ·lᵢ / Σ dᵢ for means lᵢ with divisors dᵢ, and Σ lᵢ for sums. Batches with
/// the divisor 0 are ignored.
///
/// ```
/// use dendra_autograd::Var;
/// use dendra_losses::{CrossEntropy, Loss, RunningLoss};
/// use dendra_tensor::Tensor;
///
/// let loss = CrossEntropy::new();
/// let logits = Var::new(Tensor::from([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [0.0, 0.0_f32]]));
/// let labels = Tensor::from([0, 1, -100, 1_i64]);
/// let mut running = RunningLoss::default();
/// for start in [0, 2] {
///     let (logits, labels) = (logits.narrow(0, start, 2)?, labels.narrow(0, start, 2)?);
///     let value = loss.forward(&logits, &labels)?.value().item()?;
///     running.add(value.into(), loss.divisor(&logits, &labels, 2));
/// }
/// let whole = loss.forward(&logits, &labels)?.value().item()?;
/// assert!((running.value() - f64::from(whole)).abs() < 1e-6);
/// # use dendra_tensor::Ops;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningLoss {
    /// The sum of the losses, each multiplied by its divisor.
    pub sum: f64,
    /// The divisor of the sum: the sum of all divisors, or 1 if the losses are
    /// sums.
    pub divisor: f64,
}

impl RunningLoss {
    /// Adds the loss of a batch with its divisor; see [`Loss::divisor`].
    pub fn add(&mut self, loss: f64, divisor: Option<f64>) {
        match divisor {
            Some(0.0) => {}
            Some(divisor) => {
                self.sum += loss * divisor;
                self.divisor += divisor;
            }
            None => {
                self.sum += loss;
                self.divisor = 1.0;
            }
        }
    }

    /// Returns the loss of all batches, or NaN if all divisors are 0.
    pub fn value(&self) -> f64 {
        self.sum / self.divisor
    }
}

/// Reduces the losses of elements or samples.
pub(crate) fn reduce<V: Ops>(reduction: Reduction, losses: &V) -> V {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}

/// Defines functions that compute a loss with its default settings:
///
/// ```text
/// FUNCTION(OUTPUT, TARGET: TYPE; REQUIRED SETTING: TYPE) = LOSS;
/// ```
macro_rules! loss_functions {
    ($(
        $function:ident($output:ident $(, $target:ident: $type:ty)+ $(; $setting:ident: f64)?)
            = $loss:ident;
    )*) => {$(
        #[doc = concat!("[`", stringify!($loss), "`] with its default settings.")]
        ///
        /// # Errors
        ///
        #[doc = concat!("Returns the errors of [`compute`](", stringify!($loss), "::compute).")]
        pub fn $function<V: Ops>(
            $output: &V $(, $target: $type)+ $(, $setting: f64)?
        ) -> Result<V> {
            $loss::new($($setting)?).compute($output $(, $target)+)
        }
    )*};
}
pub(crate) use loss_functions;

/// Implements [`Loss`] for a type with a setting `reduction` and a method
/// `compute` that takes targets of one type. `$parts` is the divisor of its mean.
macro_rules! is_loss {
    ($loss:ident, $target:ty, |$this:ident, $output:ident, $y:ident| $parts:expr) => {
        impl<T: Float> Loss<$target, T> for $loss {
            fn forward(&self, output: &Var<T>, target: &$target) -> Result<Var<T>> {
                self.compute(output, target)
            }

            fn divisor(&self, output: &Var<T>, target: &$target, _: usize) -> Option<f64> {
                if self.reduction != dendra_tensor::Reduction::Mean {
                    return None;
                }
                let ($this, $output, $y) = (self, output.value(), target);
                Some($parts as f64)
            }

            fn unreduced(&self) -> Result<Box<dyn Loss<$target, T>>> {
                Ok(Box::new(self.to_owned().reduction(dendra_tensor::Reduction::None)))
            }
        }
    };
}
pub(crate) use is_loss;

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;
    use dendra_tensor::{Element, Rng, Tensor};

    use super::*;
    use crate::*;

    type Output = Var<f64>;

    fn part<E: Element>(x: &Tensor<E>, start: usize, length: usize) -> Tensor<E> {
        x.narrow(0, start, length).unwrap()
    }

    /// Checks that the loss of six samples equals the loss of batches of 1, 3 and 2
    /// samples, and the gradient equals the gradients of the batches, weighted by
    /// their divisors.
    #[track_caller]
    fn assert_batches_add_up<Y>(
        loss: &impl Loss<Y, f64>,
        output: &Tensor<f64>,
        target: impl Fn(usize, usize) -> Y,
    ) {
        let gradient = |start, length| {
            let x = Tape::training(0, 0).leaf(part(output, start, length));
            let y = target(start, length);
            let value = loss.forward(&x, &y).unwrap();
            let gradients = value.backward().unwrap();
            let divisor = loss.divisor(&x, &y, length);
            (value.value().item().unwrap(), divisor, gradients.wrt(&x).unwrap().clone())
        };
        let (whole, divisor, expected) = gradient(0, 6);
        let mut running = RunningLoss::default();
        let mut parts = Vec::new();
        for (start, length) in [(0, 1), (1, 3), (4, 2)] {
            let (value, divisor, gradient) = gradient(start, length);
            running.add(value, divisor);
            parts.push(gradient.mul_scalar(divisor.unwrap_or(1.0)));
        }
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
        assert!(close(running.value(), whole), "{} for {whole}", running.value());
        assert!(
            close(running.divisor, divisor.unwrap_or(1.0)),
            "{} for {divisor:?}",
            running.divisor
        );
        let found = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0).unwrap();
        for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
            assert!(close(found / running.divisor, expected), "{found} for {expected}");
        }
    }

    #[test]
    fn the_losses_of_batches_are_that_of_all_their_samples() {
        let mut rng = Rng::seed(5);
        let places = Tensor::<f64>::normal([6, 4, 3], 0.0, 1.0, &mut rng);
        let rows = Tensor::<f64>::normal([6, 4], 0.0, 1.0, &mut rng);
        // In the batches some labels, no labels and all labels are ignored.
        let of_places = Tensor::from_fn([6, 3], |i| if i > 11 { -100 } else { (i % 5) as i64 - 1 });
        let of_places = of_places.map(|label| if label < 0 { -100 } else { label });
        let of_rows = Tensor::from([-100, 1, 2, 0, -100, -100]);
        let classes = Tensor::from([0, 1, 2, 0, 3, 3]);
        let weights = [0.5, 1.0, 3.0, 0.0];
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let labels = |start, length| part(&of_places, start, length);
            let plain = CrossEntropy::new().reduction(reduction);
            for loss in [plain.clone(), plain.clone().class_weights(weights).label_smoothing(0.1)] {
                assert_batches_add_up(&loss, &places, labels);
            }
            let shares = places.softmax(1).unwrap();
            assert_batches_add_up(&plain.class_weights(weights), &places, |a, n| {
                part(&shares, a, n)
            });
            let nll = NLLLoss::new().reduction(reduction);
            for loss in [nll.clone(), nll.class_weights(weights)] {
                assert_batches_add_up(&loss, &places, labels);
                assert_batches_add_up(&loss, &rows, |a, n| part(&of_rows, a, n));
            }
            let focal = FocalLoss::new().class_weights(weights).reduction(reduction);
            assert_batches_add_up(&focal, &places, labels);
            let margin = MultiMarginLoss::new().class_weights(weights).reduction(reduction);
            assert_batches_add_up(&margin, &rows, |a, n| part(&classes, a, n));
            let sets = Tensor::from_fn([6, 4], |i| (i as i64 * 7) % 5 - 1);
            let many = MultiLabelMarginLoss::new().reduction(reduction);
            assert_batches_add_up(&many, &rows, |a, n| part(&sets, a, n));

            let halves = Tensor::uniform([6, 4], 0.1, 0.9, &mut rng);
            let target = |start, length| part(&halves, start, length);
            assert_batches_add_up(&MSELoss::new().reduction(reduction), &rows, target);
            assert_batches_add_up(&HuberLoss::new(0.5).reduction(reduction), &rows, target);
            assert_batches_add_up(&PoissonNLLLoss::new().reduction(reduction), &rows, target);
            assert_batches_add_up(&SigmoidFocalLoss::new().reduction(reduction), &rows, target);
            assert_batches_add_up(&KLDivLoss::new().reduction(reduction), &rows, target);
            assert_batches_add_up(&BCEWithLogitsLoss::new().reduction(reduction), &rows, target);
            let soft = MultiLabelSoftMarginLoss::new().reduction(reduction);
            assert_batches_add_up(&soft, &rows, target);
            let bce = BCELoss::new().reduction(reduction);
            assert_batches_add_up(&bce, &rows.sigmoid(), target);
            let dice = DiceLoss::new().sigmoid().reduction(reduction);
            let masks = Tensor::<f64>::uniform([6, 4, 3], 0.0, 1.0, &mut rng);
            assert_batches_add_up(&dice, &places, |a, n| part(&masks, a, n));
        }
        let halves = Tensor::uniform([6, 4], 0.1, 0.9, &mut rng);
        assert_batches_add_up(&KLDivLoss::batch_mean(), &rows, |a, n| part(&halves, a, n));
        let signs = halves.map(|x| if x > 0.5 { 1.0 } else { -1.0 });
        assert_batches_add_up(&HingeLoss::new(), &rows, |a, n| part(&signs, a, n));
        // A closure is treated as a mean over samples.
        let squares = |x: &Output, y: &Tensor<f64>| {
            Ok(x.sub(&Var::new(y.clone()))?.square().sum_axes(&[1], false)?.mean())
        };
        assert_batches_add_up(&squares, &rows, |a, n| part(&halves, a, n));
    }

    #[test]
    fn sequences_count_each_as_one() {
        let output = Tensor::<f64>::normal([4, 3, 3], 0.0, 1.0, &mut Rng::seed(6));
        let output = Var::new(output.log_softmax(-1).unwrap());
        let labels = [vec![1_i64, 2], vec![2], vec![1, 1]];
        let loss = |start: usize, length: usize| {
            let sequences = &labels[start..start + length];
            let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
            let all = sequences.concat();
            let count = all.len();
            let target = Tensor::from_vec(all, [count]).unwrap();
            let target = CTCTarget::new(target, vec![4; length], lengths);
            let output = output.narrow(1, start, length).unwrap();
            let value = CTCLoss::new().forward(&output, &target).unwrap();
            (value.value().item().unwrap(), CTCLoss::new().divisor(&output, &target, length))
        };
        let mut running = RunningLoss::default();
        for (value, divisor) in [loss(0, 1), loss(1, 2)] {
            running.add(value, divisor);
        }
        assert!((running.value() - loss(0, 3).0).abs() < 1e-12);
    }

    #[test]
    fn a_batch_of_which_nothing_counts_has_no_loss_and_no_gradient() {
        let labels = Tensor::from([-100, -100]);
        let losses: [&dyn Loss<Tensor<i64>, f64>; 4] = [
            &CrossEntropy::new(),
            &CrossEntropy::new().class_weights([1.0, 2.0, 3.0]).label_smoothing(0.1),
            &NLLLoss::new(),
            &FocalLoss::new(),
        ];
        for loss in losses {
            let x = Tape::training(0, 0).leaf(Tensor::ones([2, 3]));
            let value = loss.forward(&x, &labels).unwrap();
            assert!(value.value().item().unwrap().is_nan());
            assert_eq!(loss.divisor(&x, &labels, 2), Some(0.0));
            let gradients = value.backward().unwrap();
            assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [0.0; 6]);
        }
        // Class weights of 0 have the same effect.
        let of_none = CrossEntropy::new().class_weights([0.0, 1.0, 1.0]);
        let x = Tape::training(0, 0).leaf(Tensor::<f64>::ones([2, 3]));
        let value = of_none.forward(&x, &Tensor::from([0, 0])).unwrap();
        assert_eq!(of_none.divisor(&x, &Tensor::from([0, 0]), 2), Some(0.0));
        assert_eq!(value.backward().unwrap().wrt(&x).unwrap().to_vec(), [0.0; 6]);
        let mut running = RunningLoss::default();
        running.add(f64::NAN, Some(0.0));
        assert!(running.value().is_nan());
        running.add(2.0, Some(3.0));
        running.add(f64::NAN, Some(0.0));
        assert_eq!(running.value(), 2.0);
    }

    #[test]
    fn class_weights_are_for_losses_of_classes() {
        let (x, labels) = (Var::<f64>::new(Tensor::from([[-1.0, -1.5]])), Tensor::from([1]));
        let weights = [1.0, 3.0];
        let of_classes: [&dyn Loss<Tensor<i64>, f64>; 4] =
            [&CrossEntropy::new(), &NLLLoss::new(), &FocalLoss::new(), &MultiMarginLoss::new()];
        let divisors = of_classes.map(|loss| {
            let weighted = loss.with_class_weights(&weights).unwrap();
            assert!(weighted.forward(&x, &labels).unwrap().value().item().unwrap() > 0.0);
            weighted.divisor(&x, &labels, 1)
        });
        // `MultiMarginLoss` is a mean over samples even with weights, as in PyTorch.
        assert_eq!(divisors, [3.0, 3.0, 3.0, 1.0].map(Some));
        let other: Result<Box<dyn Loss<Tensor>>> = MSELoss::new().with_class_weights(&weights);
        let other = other.err().unwrap();
        assert!(other.to_string().contains("does not support class weights"), "{other}");
    }
}
