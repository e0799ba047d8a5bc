//! The cross-entropy of logits.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{CrossEntropyOptions, Error, Float, Ops, Reduction, Result, Shape, Tensor};

use crate::classes::{LabelSettings, ensure_probabilities_fit, label_settings};
use crate::loss::{Loss, loss_functions, reduce};

const NAME: &str = "cross_entropy";

/// The cross-entropy of logits of shape `[n, classes, …]` or `[classes]`.
///
/// The target is either labels, with the shape of the logits without the class
/// axis, or probabilities, with the shape of the logits. With log-probabilities
/// `l = log_softmax(logits)`, class weights w and label smoothing s, the loss of a
/// sample with the label y is
///
/// ```text
/// −(1 − s)·w_y·l_y − s/classes · Σ_c w_c·l_c
/// ```
///
/// and that of a sample with the probabilities p is
/// `−Σ_c w_c·((1 − s)·p_c + s/classes)·l_c`. The divisor of the mean is the sum of
/// the weights w_y for labels, and the number of samples for probabilities. For
/// logits `[n, length, classes]` of sequence models, set
/// [`class_axis(-1)`](Self::class_axis).
///
/// Label smoothing: Szegedy et al., "Rethinking the inception architecture for
/// computer vision", 2015.
///
/// ```
/// use dendra_losses::CrossEntropy;
/// use dendra_tensor::Tensor;
///
/// let logits = Tensor::from([[0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0_f32]]);
/// let ignoring = CrossEntropy::new().ignore_index(3);
/// let loss = ignoring.compute(&logits, &Tensor::from([1, 3_i64]))?;
/// assert_eq!(loss.item()?, 4_f32.ln());
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct CrossEntropy {
    #[set(skip)]
    settings: LabelSettings,
    /// The fraction of the target, from 0 to 1, that is distributed evenly over all
    /// classes.
    #[set(default = 0.0)]
    label_smoothing: f64,
}

/// A target of [`CrossEntropy`] for an output with elements of type `T`: labels
/// (`Tensor<i64>`) or probabilities (`Tensor<T>`).
pub trait ClassTarget<T: Float> {
    /// Returns the target as labels or probabilities.
    fn classes(&self) -> Classes<'_, T>;
}

/// The value of a [`ClassTarget`].
#[derive(Clone, Copy, Debug)]
pub enum Classes<'a, T: Float> {
    /// The class of each sample.
    Labels(&'a Tensor<i64>),
    /// The probability of each class for each sample.
    Probabilities(&'a Tensor<T>),
}

impl<T: Float> ClassTarget<T> for Tensor<i64> {
    fn classes(&self) -> Classes<'_, T> {
        Classes::Labels(self)
    }
}

macro_rules! probabilities {
    ($($type:ty)*) => {$(
        impl ClassTarget<$type> for Tensor<$type> {
            fn classes(&self) -> Classes<'_, $type> {
                Classes::Probabilities(self)
            }
        }
    )*};
}
probabilities! { f32 f64 }

label_settings! { CrossEntropy }

impl CrossEntropy {
    /// Computes the loss of tensors or variables. The mean is NaN if all samples are
    /// ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of target and logits do not match, a label is
    /// out of range, the number of class weights differs from the number of
    /// classes, the label smoothing is not between 0 and 1, or the target contains
    /// probabilities and `ignore_index` is not negative.
    pub fn compute<V: Ops>(&self, logits: &V, target: &impl ClassTarget<V::Element>) -> Result<V> {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let message = format!("label_smoothing must be in 0..=1, got {}", self.label_smoothing);
            return Err(Error::argument(NAME, message));
        }
        let shape = logits.value().shape();
        let axis = self.settings.class_axis(NAME, shape)?;
        let weight = self.settings.weights(NAME, shape[axis])?;
        match target.classes() {
            Classes::Labels(labels) => self.by_labels(logits, axis, labels, weight),
            Classes::Probabilities(target) => self.by_probabilities(logits, axis, target, weight),
        }
    }

    fn by_labels<V: Ops>(
        &self,
        logits: &V,
        axis: usize,
        labels: &Tensor<i64>,
        weight: Option<Tensor<V::Element>>,
    ) -> Result<V> {
        let options = CrossEntropyOptions {
            weight,
            ignore_index: self.settings.ignore_index,
            label_smoothing: self.label_smoothing,
            reduction: self.settings.reduction,
        };
        if axis == 1 {
            return logits.cross_entropy(labels, options);
        }
        // The operation requires the class axis to be the second axis.
        self.settings.one_label_each(NAME, logits.value().shape(), labels)?;
        let classes = logits.value().shape()[axis];
        let rows = logits.movedim(axis as isize, -1)?.reshape([labels.len(), classes])?;
        let loss = rows.cross_entropy(&labels.reshape([labels.len()])?, options)?;
        match self.settings.reduction {
            Reduction::None => loss.reshape(labels.shape()),
            Reduction::Mean | Reduction::Sum => Ok(loss),
        }
    }

    fn by_probabilities<V: Ops>(
        &self,
        logits: &V,
        axis: usize,
        probabilities: &Tensor<V::Element>,
        weight: Option<Tensor<V::Element>>,
    ) -> Result<V> {
        let shape = logits.value().shape();
        ensure_probabilities_fit(NAME, shape, probabilities.shape())?;
        if self.settings.ignore_index >= 0 {
            let message = "ignore_index requires labels, but the target contains probabilities";
            return Err(Error::argument(NAME, message));
        }
        let classes = shape[axis];
        let mut target = match self.label_smoothing {
            0.0 => probabilities.clone(),
            share => probabilities.mul_scalar(1.0 - share).add_scalar(share / classes as f64),
        };
        if let Some(weight) = weight {
            let along = (0..shape.len()).map(|i| if i == axis { classes } else { 1 });
            target = target.mul(&weight.reshape(along.collect::<Shape>())?)?;
        }
        let products = logits.log_softmax(axis as isize)?.mul(&V::constant(target))?;
        let losses = products.sum_axes(&[axis as isize], false)?.neg();
        Ok(reduce(self.settings.reduction, &losses))
    }
}

impl<T: Float, Y: ClassTarget<T>> Loss<Y, T> for CrossEntropy {
    fn forward(&self, output: &Var<T>, target: &Y) -> Result<Var<T>> {
        self.compute(output, target)
    }

    fn divisor(&self, _: &Var<T>, target: &Y, _: usize) -> Option<f64> {
        match target.classes() {
            Classes::Labels(labels) => self.settings.divisor(labels),
            Classes::Probabilities(_) if self.settings.reduction != Reduction::Mean => None,
            Classes::Probabilities(target) => {
                let shape = target.shape();
                let axis = self.settings.class_axis(NAME, shape).ok()?;
                let counted = shape.iter().enumerate().filter(|(i, _)| *i != axis);
                Some(counted.map(|(_, &length)| length).product::<usize>() as f64)
            }
        }
    }

    fn with_class_weights(&self, weights: &[f64]) -> Result<Box<dyn Loss<Y, T>>> {
        Ok(Box::new(self.clone().class_weights(weights)))
    }

    fn unreduced(&self) -> Result<Box<dyn Loss<Y, T>>> {
        Ok(Box::new(self.clone().reduction(Reduction::None)))
    }
}

loss_functions! {
    cross_entropy(logits, target: &impl ClassTarget<V::Element>) = CrossEntropy;
}
