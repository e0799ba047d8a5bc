//! The negative log-likelihood.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::classes::{LabelSettings, Picked, label_loss, label_settings};
use crate::loss::{Loss, loss_functions};

const NAME: &str = "nll_loss";

/// The negative log-likelihood of labels. The output contains log-probabilities
/// of shape `[n, classes, …]` or `[classes]`; the labels have this shape without
/// the class axis.
///
/// With class weights, the mean is weighted: its divisor is the sum of the
/// weights. [`CrossEntropy`](crate::CrossEntropy) takes logits instead of
/// log-probabilities.
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
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct NLLLoss {
    #[set(skip)]
    settings: LabelSettings,
}

label_settings! { NLLLoss }

impl NLLLoss {
    /// Computes the loss of tensors or variables. The mean is NaN if all samples are
    /// ignored.
    ///
    /// # Errors
    ///
    /// Returns an error if the labels do not have the shape of the output without
    /// the class axis, a label is out of range, or the number of class weights
    /// differs from the number of classes.
    pub fn compute<V: Ops>(&self, output: &V, labels: &Tensor<i64>) -> Result<V> {
        let picked = Picked::new(NAME, &self.settings, output, labels)?;
        let losses = picked.output.mul(&V::constant(-&picked.weight))?;
        picked.reduce(self.settings.reduction, &losses)
    }
}

label_loss! { NLLLoss }

loss_functions! {
    nll_loss(output, labels: &Tensor<i64>) = NLLLoss;
}
