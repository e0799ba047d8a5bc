//! The negative log-likelihood.

use dendra_autograd::Var;
use dendra_tensor::ops::cross_entropy::check_labels;
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Shape, Tensor};

use crate::classes::{LabelSettings, class_axis, label_settings};
use crate::loss::{Loss, reduce};

const NAME: &str = "nll_loss";

/// The negative log-likelihood of the labels, for an output of
/// log-probabilities of shape `[n, classes, …]` or `[classes]` and labels of
/// that shape without the classes.
///
/// With weights of the classes each sample counts as much as its class, in the
/// mean as well. [`CrossEntropy`](crate::CrossEntropy) takes logits instead.
///
/// ```
/// use dendra_losses::nll_loss;
/// use dendra_tensor::{Ops, Tensor};
///
/// let probabilities = Tensor::from([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75_f64]]);
/// let loss = nll_loss(&probabilities.ln(), &Tensor::from([0, 1]))?;
/// assert!((loss.item()? - 2.0 * 2_f64.ln()).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct NllLoss {
    settings: LabelSettings,
}

label_settings! { NllLoss }

impl NllLoss {
    /// The mean negative log-likelihood; the label −100 is ignored.
    pub fn new() -> Self {
        Self::default()
    }

    /// The loss of values or variables. The mean is NaN when no sample counts.
    ///
    /// # Errors
    ///
    /// When the labels do not have the shape of the output without the
    /// classes, a label names no class, or the class weights are not as many
    /// as the classes.
    pub fn compute<V: Ops>(&self, output: &V, labels: &Tensor<i64>) -> Result<V> {
        let shape = output.value().shape();
        let axis = class_axis(NAME, shape)?;
        let expected: Shape =
            shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, &n)| n).collect();
        if *labels.shape() != expected {
            let found = labels.shape();
            let message = format!("an output of {shape} needs labels of {expected}, got {found}");
            return Err(Error::shape(NAME, message));
        }
        let (classes, axis) = (shape[axis], axis as isize);
        let LabelSettings { ignore_index, reduction, .. } = self.settings;
        check_labels(NAME, labels, classes, ignore_index)?;
        let weights = self.settings.weights(NAME, classes)?.map(|weights| weights.to_vec());

        let counts = |label: i64| label != ignore_index;
        let class = labels.map(|label| if counts(label) { label } else { 0 });
        let weight = labels.map(|label| match &weights {
            _ if !counts(label) => Number::ZERO,
            Some(weights) => weights[label as usize],
            None => Number::ONE,
        });
        let picked = output.gather(axis, &class.unsqueeze(axis)?)?.squeeze(axis)?;
        // Not by a weight of 0 alone, since an ignored logarithm may be −∞.
        let counted = labels.map(counts);
        let counted = picked.where_mask(&counted, &V::constant(Tensor::scalar(Number::ZERO)))?;
        let losses = counted.mul(&V::constant(-&weight))?;
        match reduction {
            Reduction::Mean => {
                let total = weight.sum().item()?.to_f64();
                Ok(losses.sum().mul_scalar(1.0 / total))
            }
            Reduction::Sum | Reduction::None => Ok(reduce(reduction, &losses)),
        }
    }
}

impl<T: Float> Loss<Tensor<i64>, T> for NllLoss {
    fn forward(&self, output: &Var<T>, target: &Tensor<i64>) -> Result<Var<T>> {
        self.compute(output, target)
    }
}

/// The mean negative log-likelihood, as [`NllLoss`].
///
/// # Errors
///
/// When the labels do not have the shape of the output without the classes, or
/// a label names no class.
pub fn nll_loss<V: Ops>(output: &V, labels: &Tensor<i64>) -> Result<V> {
    NllLoss::new().compute(output, labels)
}
