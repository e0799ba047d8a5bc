//! A metric of a function of outputs and targets.

use std::fmt;
use std::sync::Arc;

use dendra_tensor::Result;

use super::Metric;

/// Applies a metric to the result of a function of outputs and targets, for
/// example to one of several outputs.
/// [`MapDataset`](dendra_datasets::MapDataset) does the same for data.
///
/// ```
/// use dendra_tensor::Tensor;
/// use dendra_train::{Accuracy, MapMetric, Metric};
///
/// type Outputs = (Tensor, Tensor);
/// type Targets = (Tensor<i64>, Tensor);
///
/// let first = |output: &Outputs, target: &Targets| Ok((output.0.clone(), target.0.clone()));
/// let mut of_class = MapMetric::new("class accuracy", Accuracy::new(), first);
/// let output = (Tensor::from([[0.1, 0.9], [0.6, 0.4]]), Tensor::zeros([2, 3]));
/// of_class.update(&output, &(Tensor::from([1, 1]), Tensor::zeros([2, 3])))?;
/// assert_eq!(of_class.value(), 0.5);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct MapMetric<F, Y, P> {
    name: String,
    metric: Box<dyn Metric<Y, P>>,
    function: Arc<F>,
}

impl<F, Y, P> fmt::Debug for MapMetric<F, Y, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapMetric").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, Y, P> MapMetric<F, Y, P> {
    /// A metric, with its own name, of the values that `function` returns for
    /// an output and its target.
    pub fn new<Y0, P0>(
        name: impl Into<String>,
        metric: impl Metric<Y, P> + 'static,
        function: F,
    ) -> Self
    where
        F: Fn(&P0, &Y0) -> Result<(P, Y)>,
    {
        Self { name: name.into(), metric: Box::new(metric), function: Arc::new(function) }
    }
}

impl<F, Y, P, Y0, P0> Metric<Y0, P0> for MapMetric<F, Y, P>
where
    F: Fn(&P0, &Y0) -> Result<(P, Y)> + Send + Sync + 'static,
    Y: 'static,
    P: 'static,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fresh(&self) -> Box<dyn Metric<Y0, P0>> {
        let (name, function) = (self.name.clone(), Arc::clone(&self.function));
        Box::new(Self { name, metric: self.metric.fresh(), function })
    }

    fn update(&mut self, output: &P0, target: &Y0) -> Result<()> {
        let (output, target) = (self.function)(output, target)?;
        self.metric.update(&output, &target)
    }

    fn value(&self) -> f64 {
        self.metric.value()
    }

    fn state(&self) -> Option<Vec<f64>> {
        self.metric.state()
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.metric.merge(state)
    }
}
