//! The negative log-likelihood.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::classes::{LabelSettings, Picked, label_loss, label_settings};
use crate::loss::{Loss, loss_functions};

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
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct NLLLoss {
    #[set(skip, default = LabelSettings::default())]
    settings: LabelSettings,
}

label_settings! { NLLLoss }

impl NLLLoss {
    /// The loss of values or variables. The mean is NaN when no sample counts.
    ///
    /// # Errors
    ///
    /// When the labels do not have the shape of the output without the
    /// classes, a label names no class, or the class weights are not as many
    /// as the classes.
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
