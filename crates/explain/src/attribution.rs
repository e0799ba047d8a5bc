//! The result of a method.

use dendra_tensor::{Float, Ops, Tensor};

use crate::batch::per_sample_sum;

/// How much each element of the input, or of a layer, contributes to the
/// output that is explained.
#[derive(Clone, Debug)]
pub struct Attribution<T: Float = f32> {
    pub(crate) values: Tensor<T>,
    pub(crate) prediction: Tensor<T>,
    pub(crate) baseline: Option<Tensor<T>>,
    /// What the values of each sample add up to if the method is complete.
    pub(crate) total: Option<Tensor<T>>,
}

impl<T: Float> Attribution<T> {
    /// The result of a method without a baseline.
    pub(crate) fn new(values: Tensor<T>, prediction: Tensor<T>) -> Self {
        Self { values, prediction, baseline: None, total: None }
    }

    /// The result of a method that divides among the elements by how much the
    /// prediction differs from that of a baseline.
    pub(crate) fn of_difference(
        values: Tensor<T>,
        prediction: Tensor<T>,
        baseline: Tensor<T>,
        baseline_prediction: &Tensor<T>,
    ) -> Self {
        let total = Some(&prediction - baseline_prediction);
        Self { values, prediction, baseline: Some(baseline), total }
    }

    /// The attributions, in the shape of what they are attributed to.
    pub fn values(&self) -> &Tensor<T> {
        &self.values
    }

    /// The attributions, without the rest.
    pub fn into_values(self) -> Tensor<T> {
        self.values
    }

    /// The score of the target for each sample, `[N]`.
    pub fn prediction(&self) -> &Tensor<T> {
        &self.prediction
    }

    /// The input that the samples were compared with, in their shape; `None`
    /// for a method without one, or with a distribution of them.
    pub fn baseline(&self) -> Option<&Tensor<T>> {
        self.baseline.as_ref()
    }

    /// The sum of the values of each sample minus what they should add up to,
    /// `[N]`: Captum's convergence delta. `None` for a method that promises no
    /// sum.
    pub fn completeness_gap(&self) -> Option<Tensor<T>> {
        let total = self.total.as_ref()?;
        per_sample_sum(&self.values).sub(total).ok()
    }
}
