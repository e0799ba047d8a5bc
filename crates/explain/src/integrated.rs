//! Integrated gradients.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{
    AT_ONCE, baseline_for, check_count, for_each_copy, gradient, predict, samples_of,
    sum_of_copies, tiled,
};
use crate::method::Method;
use crate::quadrature::Quadrature;
use crate::target::Target;

/// The difference between input and baseline times the mean gradient on the
/// straight line between them (Sundararajan et al., 2017). The attributions add
/// up to the difference of the two scores, except for
/// [`completeness_gap`](Attribution::completeness_gap).
///
/// ```
/// use dendra_explain::{IntegratedGradients, Method};
/// use dendra_nn::Sequential;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let model = Sequential::input([4]).dense(8).tanh().dense(3).build(&mut Rng::seed(0))?;
/// let x = Tensor::from([[1.0_f32, -2.0, 0.5, 3.0]]);
/// let why = IntegratedGradients::new(50).of(&model, &x, 2)?;
/// assert_eq!(*why.values().shape(), [1, 4]);
/// assert!(why.completeness_gap().unwrap().to_vec()[0].abs() < 1e-5);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct IntegratedGradients<T: Float = f32> {
    steps: usize,
    /// The quadrature rule.
    #[set(default = Quadrature::GaussLegendre)]
    quadrature: Quadrature,
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
}

impl<T: Float> IntegratedGradients<T> {
    /// Uses this number of gradients; Captum's default is 50.
    pub fn new(steps: usize) -> Self {
        Self::with_defaults(steps)
    }
}

impl<T: Float> Method<T> for IntegratedGradients<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let points = points("IntegratedGradients", self.quadrature, self.steps)?;
        let baseline = baseline_for("IntegratedGradients", self.baseline.as_ref(), x)?;
        let difference = x - &baseline;
        let at_once = (AT_ONCE / samples_of(x)?.max(1)).max(1);
        let mut mean = Tensor::zeros(x.shape());
        for points in points.chunks(at_once) {
            let inputs = between(&baseline, &difference, points)?;
            let (_, gradients) = gradient(model, &inputs, &target.tiled(points.len()))?;
            mean += sum_of_copies(&weighted(&gradients, points)?, points.len())?;
        }
        let [prediction, other] = [x, &baseline].map(|x| predict(model, x, target));
        Ok(Attribution::of_difference(mean * difference, prediction?, baseline, &other?))
    }
}

/// The weights and points of a rule.
pub(crate) fn points(
    method: &str,
    quadrature: Quadrature,
    steps: usize,
) -> Result<Vec<(f64, f64)>> {
    check_count(method, "steps", steps)?;
    Ok(quadrature.points(steps))
}

/// The batch for each point on the line from the baseline.
pub(crate) fn between<T: Float>(
    baseline: &Tensor<T>,
    difference: &Tensor<T>,
    points: &[(f64, f64)],
) -> Result<Tensor<T>> {
    let positions = points.iter().map(|(_, position)| *position);
    let positions = for_each_copy(positions, samples_of(baseline)?, baseline.rank())?;
    let way = tiled(difference, points.len())?.mul(&positions)?;
    tiled(baseline, points.len())?.add(&way)
}

/// Multiplies the batch of each point by the weight of the point.
pub(crate) fn weighted<T: Float>(batches: &Tensor<T>, points: &[(f64, f64)]) -> Result<Tensor<T>> {
    let weights = points.iter().map(|(weight, _)| *weight);
    let samples = samples_of(batches)? / points.len();
    batches.mul(&for_each_copy(weights, samples, batches.rank())?)
}
