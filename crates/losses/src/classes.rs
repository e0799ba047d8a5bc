//! Shared settings of losses with class labels: class axis and class weights.

use dendra_tensor::ops::cross_entropy::check_labels;
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Shape, Tensor};

use crate::loss::reduce;

/// The settings of losses with class labels.
#[derive(Clone, Debug)]
pub(crate) struct LabelSettings {
    pub(crate) class_weights: Option<Vec<f64>>,
    pub(crate) ignore_index: i64,
    /// The class axis. The default is the second axis.
    pub(crate) class_axis: Option<isize>,
    pub(crate) reduction: Reduction,
}

impl Default for LabelSettings {
    fn default() -> Self {
        Self {
            class_weights: None,
            ignore_index: -100,
            class_axis: None,
            reduction: Reduction::Mean,
        }
    }
}

impl LabelSettings {
    /// Returns the class weights, of shape `[classes]`, if they are set.
    ///
    /// # Errors
    ///
    /// Returns an error if their number differs from the number of classes, or if a
    /// weight is negative or not finite.
    pub(crate) fn weights<T: Float>(
        &self,
        context: &str,
        classes: usize,
    ) -> Result<Option<Tensor<T>>> {
        let Some(weights) = &self.class_weights else { return Ok(None) };
        ensure_class_weights(context, Some(weights), classes)?;
        Ok(Some(Tensor::from_fn([classes], |class| T::from_f64(weights[class]))))
    }

    /// Returns the class axis: the setting, or else the second axis of
    /// `[n, classes, …]` and the only axis of `[classes]`.
    pub(crate) fn class_axis(&self, context: &str, shape: &Shape) -> Result<usize> {
        match (self.class_axis, shape.len()) {
            (_, 0) => {
                Err(Error::shape(context, "expected [classes] or [n, classes, …], got a scalar"))
            }
            (Some(axis), _) => shape.axis(context, axis),
            (None, rank) => Ok(usize::from(rank > 1)),
        }
    }

    /// Returns the class axis. It is an error if the labels do not have the shape of
    /// the output without this axis.
    pub(crate) fn one_label_each(
        &self,
        context: &str,
        output: &Shape,
        labels: &Tensor<i64>,
    ) -> Result<usize> {
        let axis = self.class_axis(context, output)?;
        let expected: Shape =
            output.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, &n)| n).collect();
        if *labels.shape() == expected {
            return Ok(axis);
        }
        let found = labels.shape();
        let message =
            format!("an output of shape {output} needs labels of shape {expected}, got {found}");
        Err(Error::shape(context, message))
    }

    /// Returns the divisor of the mean over labels: the sum of the weights of all
    /// labels that are not ignored. Returns `None` if the loss is not a mean.
    pub(crate) fn divisor(&self, labels: &Tensor<i64>) -> Option<f64> {
        if self.reduction != Reduction::Mean {
            return None;
        }
        let labels = labels.contiguous();
        let labels = labels.as_slice().unwrap_or_default();
        let counted = labels.iter().filter(|&&label| label != self.ignore_index);
        Some(match &self.class_weights {
            Some(weights) => {
                counted.filter_map(|&label| weights.get(usize::try_from(label).ok()?)).sum()
            }
            None => counted.count() as f64,
        })
    }
}

/// Returns an error unless there is one weight for each class, finite and not
/// negative. `None` is valid.
pub(crate) fn ensure_class_weights(
    context: &str,
    weights: Option<&[f64]>,
    classes: usize,
) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != classes {
        let message =
            format!("expected {classes} class weights, one for each class, got {}", weights.len());
        return Err(Error::argument(context, message));
    }
    if let Some(bad) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
        let message = format!("class weights must be finite and not negative, got {bad}");
        return Err(Error::argument(context, message));
    }
    Ok(())
}

/// The output and the weight of each label.
pub(crate) struct Picked<V: Ops> {
    /// The output at each label; 0 for ignored labels.
    pub(crate) output: V,
    /// The class weight of each label; 0 for ignored labels.
    pub(crate) weight: Tensor<V::Element>,
}

impl<V: Ops> Picked<V> {
    /// Selects the outputs at the labels.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of output and labels do not match, a label is
    /// out of range, or the class weights are invalid.
    pub(crate) fn new(
        context: &str,
        settings: &LabelSettings,
        output: &V,
        labels: &Tensor<i64>,
    ) -> Result<Self> {
        let shape = output.value().shape();
        let axis = settings.one_label_each(context, shape, labels)?;
        let (classes, axis) = (shape[axis], axis as isize);
        let ignore_index = settings.ignore_index;
        check_labels(context, labels, classes, ignore_index)?;
        let weights = settings.weights(context, classes)?.map(|weights| weights.to_vec());

        let counts = |label: i64| label != ignore_index;
        let class = labels.map(|label| if counts(label) { label } else { 0 });
        let weight = labels.map(|label| match &weights {
            _ if !counts(label) => Number::ZERO,
            Some(weights) => weights[label as usize],
            None => Number::ONE,
        });
        let picked = output.gather(axis, &class.unsqueeze(axis)?)?.squeeze(axis)?;
        // The weight 0 alone is not sufficient, since an ignored logarithm can be −∞.
        let counted = labels.map(counts);
        let output = picked.where_mask(&counted, &V::constant(Tensor::scalar(Number::ZERO)))?;
        Ok(Self { output, weight })
    }

    /// Reduces losses that already include the weights. The divisor of the mean is
    /// the sum of the weights. The mean is NaN if all labels are ignored.
    pub(crate) fn reduce(&self, reduction: Reduction, losses: &V) -> Result<V> {
        match reduction {
            Reduction::Mean => {
                let (sum, total) = (losses.sum(), self.weight.sum().item()?.to_f64());
                // If all labels are ignored, the mean is NaN, but its gradient is 0.
                Ok(if total == 0.0 {
                    sum.add_scalar(f64::NAN)
                } else {
                    sum.mul_scalar(1.0 / total)
                })
            }
            Reduction::Sum | Reduction::None => Ok(reduce(reduction, losses)),
        }
    }
}

/// Implements the setters of losses with class labels.
macro_rules! label_settings {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// Sets the reduction of the losses of all samples. The default is the
            /// mean.
            #[must_use]
            pub fn reduction(mut self, reduction: dendra_tensor::Reduction) -> Self {
                self.settings.reduction = reduction;
                self
            }

            /// Sets a weight for each class.
            #[must_use]
            pub fn class_weights(mut self, weights: impl Into<Vec<f64>>) -> Self {
                self.settings.class_weights = Some(weights.into());
                self
            }

            /// Sets the label of samples to ignore. The default is −100.
            #[must_use]
            pub fn ignore_index(mut self, label: i64) -> Self {
                self.settings.ignore_index = label;
                self
            }

            /// Sets the class axis, for example −1 for outputs
            /// `[n, length, classes]`. The default is the second axis, as in
            /// PyTorch.
            #[must_use]
            pub fn class_axis(mut self, axis: isize) -> Self {
                self.settings.class_axis = Some(axis);
                self
            }
        }
    )*};
}
pub(crate) use label_settings;

/// Implements [`Loss`] for losses whose only targets are labels.
macro_rules! label_loss {
    ($loss:ident) => {
        impl<T: Float> Loss<Tensor<i64>, T> for $loss {
            fn forward(&self, output: &Var<T>, target: &Tensor<i64>) -> Result<Var<T>> {
                self.compute(output, target)
            }

            fn divisor(&self, _: &Var<T>, target: &Tensor<i64>, _: usize) -> Option<f64> {
                self.settings.divisor(target)
            }

            fn with_class_weights(&self, weights: &[f64]) -> Result<Box<dyn Loss<Tensor<i64>, T>>> {
                Ok(Box::new(self.clone().class_weights(weights)))
            }

            fn unreduced(&self) -> Result<Box<dyn Loss<Tensor<i64>, T>>> {
                Ok(Box::new(self.clone().reduction(dendra_tensor::Reduction::None)))
            }
        }
    };
}
pub(crate) use label_loss;

/// Returns an error unless a target of probabilities has the shape of the output.
pub(crate) fn ensure_probabilities_fit(
    context: &str,
    output: &Shape,
    target: &Shape,
) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!(
        "a target of floats contains a probability for each class, so its shape must be that of \
         the output, {output}, got {target}; class labels are integers, `Tensor<i64>`"
    );
    Err(Error::shape(context, message))
}
