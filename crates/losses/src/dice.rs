//! The Dice loss of segmentations.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::cross_entropy::check_labels;
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Shape, Tensor};

use crate::classes::{LabelSettings, ensure_probabilities_fit};
use crate::cross_entropy::{ClassTarget, Classes};
use crate::loss::{Loss, loss_functions, reduce};
use crate::pointwise::ensure_at_least;

const NAME: &str = "dice_loss";

/// The Dice loss, which measures the overlap of an output p and a target y. For
/// each sample and class it is `1 − (2·Σ p·y + s) / (Σ p + Σ y + s)`, with sums over
/// all positions. With `squared`, the denominator is `Σ p² + Σ y² + s`.
///
/// | | shape |
/// |---|---|
/// | output: probabilities, or logits with `sigmoid` or `softmax` | `[n, classes, …]` |
/// | target: labels | `[n, …]` |
/// | target: probabilities | `[n, classes, …]` |
/// | loss, not reduced | `[n, classes]` |
///
/// Names and the default smoothing s = 1e-5 are those of MONAI. PyTorch has no such
/// loss.
///
/// Source: Milletari et al., "V-Net: fully convolutional neural networks for
/// volumetric medical image segmentation", 2016.
///
/// ```
/// use dendra_losses::DiceLoss;
/// use dendra_tensor::Tensor;
///
/// // One class and four pixels; two pixels overlap.
/// let output = Tensor::from([[[1.0, 1.0, 1.0, 0.0_f64]]]);
/// let target = Tensor::from([[[0.0, 1.0, 1.0, 0.0]]]);
/// let loss = DiceLoss::new().smooth(0.0).compute(&output, &target)?;
/// assert!((loss.item()? - (1.0 - 4.0 / 5.0)).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct DiceLoss {
    #[set(skip, default = Activation::None)]
    activation: Activation,
    /// Whether the denominator contains sums of squares.
    #[set(default = false)]
    squared: bool,
    /// The number s added to the numerator and the denominator. With it, the loss is
    /// 0 if a class is neither in the output nor in the target.
    #[set(default = 1e-5)]
    smooth: f64,
    /// The reduction of the losses of all samples and classes.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

#[derive(Clone, Copy, Debug)]
enum Activation {
    None,
    Sigmoid,
    Softmax,
}

impl DiceLoss {
    /// Takes logits and applies a sigmoid, for classes that can overlap.
    #[must_use]
    pub fn sigmoid(mut self) -> Self {
        self.activation = Activation::Sigmoid;
        self
    }

    /// Takes logits and applies a softmax, for exactly one class per position.
    #[must_use]
    pub fn softmax(mut self) -> Self {
        self.activation = Activation::Softmax;
        self
    }

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of output and target do not match, a label is
    /// out of range, or the smoothing is negative.
    pub fn compute<V: Ops>(&self, output: &V, target: &impl ClassTarget<V::Element>) -> Result<V> {
        ensure_at_least(NAME, "smooth", 0.0, self.smooth)?;
        let shape = output.value().shape();
        if shape.len() < 2 {
            let message = format!("expected an output [n, classes, …], got {shape}");
            return Err(Error::shape(NAME, message));
        }
        let target = match target.classes() {
            Classes::Labels(labels) => one_hot(shape, labels)?,
            Classes::Probabilities(target) => {
                ensure_probabilities_fit(NAME, shape, target.shape())?;
                target.clone()
            }
        };
        let output = match self.activation {
            Activation::None => output.clone(),
            Activation::Sigmoid => output.sigmoid(),
            Activation::Softmax => output.softmax(1)?,
        };
        let axes: Vec<isize> = (2..shape.len() as isize).collect();
        let target = V::constant(target);
        let size = |x: &V| match self.squared {
            true => x.square().sum_axes(&axes, false),
            false => x.sum_axes(&axes, false),
        };
        let overlap = output.mul(&target)?.sum_axes(&axes, false)?;
        let overlap = overlap.mul_scalar(2.0).add_scalar(self.smooth);
        let both = size(&output)?.add(&size(&target)?)?.add_scalar(self.smooth);
        let losses = overlap.div(&both)?.neg().add_scalar(1.0);
        Ok(reduce(self.reduction, &losses))
    }
}

impl<T: Float, Y: ClassTarget<T>> Loss<Y, T> for DiceLoss {
    fn forward(&self, output: &Var<T>, target: &Y) -> Result<Var<T>> {
        self.compute(output, target)
    }

    fn divisor(&self, output: &Var<T>, _: &Y, _: usize) -> Option<f64> {
        let pairs: usize = output.shape().iter().take(2).product();
        (self.reduction == Reduction::Mean).then_some(pairs as f64)
    }

    fn unreduced(&self) -> Result<Box<dyn Loss<Y, T>>> {
        Ok(Box::new(self.reduction(Reduction::None)))
    }
}

loss_functions! {
    dice_loss(output, target: &impl ClassTarget<V::Element>) = DiceLoss;
}

/// Converts labels to probabilities of 0 and 1 with the shape `[n, classes, …]`.
fn one_hot<T: Float>(shape: &Shape, labels: &Tensor<i64>) -> Result<Tensor<T>> {
    let axis = LabelSettings::default().one_label_each(NAME, shape, labels)?;
    let classes = shape[axis];
    // Ignores no label, since 0 is a valid class.
    check_labels(NAME, labels, classes, 0)?;
    let labels = labels.to_vec();
    let positions: usize = shape[2..].iter().product();
    Ok(Tensor::from_fn(shape.clone(), |i| {
        let (sample, class, position) =
            (i / (positions * classes), i / positions % classes, i % positions);
        let is_label = labels[sample * positions + position] == class as i64;
        if is_label { Number::ONE } else { Number::ZERO }
    }))
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;

    #[test]
    fn labels_are_probabilities_of_zero_and_one() {
        let logits = Tensor::<f64>::normal([2, 3, 2, 2], 0.0, 1.0, &mut Rng::seed(1));
        let labels = Tensor::from_fn([2, 2, 2], |i| (i * i % 3) as i64);
        let certain = Tensor::from_fn([2, 3, 2, 2], |i| {
            f64::from(labels.to_vec()[i / 12 * 4 + i % 4] == (i / 4 % 3) as i64)
        });
        let loss = DiceLoss::new().softmax().reduction(Reduction::None);
        let by_labels = loss.compute(&logits, &labels).unwrap();
        assert_eq!(*by_labels.shape(), [2, 3]);
        assert_eq!(by_labels, loss.compute(&logits, &certain).unwrap());
    }

    #[test]
    fn a_perfect_and_an_empty_overlap_cost_nothing() {
        let mask = Tensor::from([[[1.0, 0.0, 1.0_f64]], [[0.0, 0.0, 0.0]]]);
        assert_eq!(dice_loss(&mask, &mask).unwrap().item().unwrap(), 0.0);
        let opposite = dice_loss(&mask.map(|x| 1.0 - x), &mask).unwrap();
        assert!(opposite.item().unwrap() > 0.999);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let x = Tensor::<f32>::zeros([2, 3, 4]);
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert!(message(dice_loss(&x, &Tensor::<f32>::zeros([2, 3]))).contains("`Tensor<i64>`"));
        assert!(message(dice_loss(&x, &Tensor::full([2, 4], 3_i64))).contains("in 0..3, got 3 at"));
        let vector = Tensor::<f32>::zeros([3]);
        assert!(message(dice_loss(&vector, &vector)).contains("expected an output [n, classes"));
        let negative = DiceLoss::new().smooth(-1.0);
        assert!(message(negative.compute(&x, &x)).contains("smooth must be"));
    }
}
