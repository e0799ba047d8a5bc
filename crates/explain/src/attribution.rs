//! The result of a method.

use dendra_tensor::{Float, Ops, Tensor};

use crate::batch::per_sample_sum;

/// The contribution of each element of the input, or of a layer, to the output
/// that is explained.
#[derive(Clone, Debug)]
pub struct Attribution<T: Float = f32> {
    pub(crate) values: Tensor<T>,
    pub(crate) prediction: Tensor<T>,
    pub(crate) baseline: Option<Tensor<T>>,
    /// The expected sum of the values of each sample if the method is complete.
    pub(crate) total: Option<Tensor<T>>,
}

impl<T: Float> Attribution<T> {
    /// The result of a method without a baseline.
    pub(crate) fn new(values: Tensor<T>, prediction: Tensor<T>) -> Self {
        Self { values, prediction, baseline: None, total: None }
    }

    /// The result of a method that attributes the difference between the
    /// predictions for the input and for a baseline.
    pub(crate) fn of_difference(
        values: Tensor<T>,
        prediction: Tensor<T>,
        baseline: Tensor<T>,
        baseline_prediction: &Tensor<T>,
    ) -> Self {
        let total = Some(&prediction - baseline_prediction);
        Self { values, prediction, baseline: Some(baseline), total }
    }

    /// The attributions, in the shape of the input or of the layer.
    pub fn values(&self) -> &Tensor<T> {
        &self.values
    }

    /// Consumes the result and returns the attributions.
    pub fn into_values(self) -> Tensor<T> {
        self.values
    }

    /// The score of the target for each sample, `[N]`.
    pub fn prediction(&self) -> &Tensor<T> {
        &self.prediction
    }

    /// The baseline in the shape of the inputs; `None` for a method without a
    /// baseline, or with a distribution of baselines.
    pub fn baseline(&self) -> Option<&Tensor<T>> {
        self.baseline.as_ref()
    }

    /// The sum of the values of each sample minus the expected sum, `[N]`:
    /// Captum's convergence delta. `None` for a method without an expected sum.
    pub fn completeness_gap(&self) -> Option<Tensor<T>> {
        let total = self.total.as_ref()?;
        per_sample_sum(&self.values).sub(total).ok()
    }
}
