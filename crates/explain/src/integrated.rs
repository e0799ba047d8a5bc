//! Integrated gradients.

use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{AT_ONCE, baseline_for, gradient, predict, samples_of, sum_of_copies};
use crate::method::Method;
use crate::quadrature::Quadrature;
use crate::target::Target;

/// The difference of input and baseline times the mean of the gradients on the
/// straight way between them (Sundararajan et al., 2017). The attributions add
/// up to the difference of the two scores, up to
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
#[derive(Clone, Debug)]
pub struct IntegratedGradients<T: Float = f32> {
    steps: usize,
    quadrature: Quadrature,
    baseline: Option<Tensor<T>>,
}

impl<T: Float> IntegratedGradients<T> {
    /// With this many gradients; Captum takes 50.
    pub fn new(steps: usize) -> Self {
        Self { steps, quadrature: Quadrature::default(), baseline: None }
    }

    /// Sets the rule of integration; the default is Gauss and Legendre's.
    #[must_use]
    pub fn quadrature(mut self, quadrature: Quadrature) -> Self {
        self.quadrature = quadrature;
        self
    }

    /// Sets the input that stands for no information, in a shape that
    /// broadcasts to the inputs; the default is 0.
    #[must_use]
    pub fn baseline(mut self, baseline: Tensor<T>) -> Self {
        self.baseline = Some(baseline);
        self
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

/// The weights and points of a rule; refuses 0 steps.
pub(crate) fn points(
    method: &str,
    quadrature: Quadrature,
    steps: usize,
) -> Result<Vec<(f64, f64)>> {
    /// More steps than memory could ever hold.
    const MOST: usize = 1 << 20;
    if steps == 0 || steps > MOST {
        return Err(Error::argument(method, format!("expected 1 to {MOST} steps, got {steps}")));
    }
    Ok(quadrature.points(steps))
}

/// A batch for each point on the way from the baseline.
pub(crate) fn between<T: Float>(
    baseline: &Tensor<T>,
    difference: &Tensor<T>,
    points: &[(f64, f64)],
) -> Result<Tensor<T>> {
    let batches: Vec<Tensor<T>> =
        points.iter().map(|(_, point)| baseline + &difference.mul_scalar(*point)).collect();
    Tensor::cat(&batches.iter().collect::<Vec<_>>(), 0)
}

/// The batch of each point times the point's weight.
pub(crate) fn weighted<T: Float>(batches: &Tensor<T>, points: &[(f64, f64)]) -> Result<Tensor<T>> {
    let samples = samples_of(batches)? / points.len();
    let weights = points.iter().flat_map(|(weight, _)| vec![T::from_f64(*weight); samples]);
    let mut shape = vec![1; batches.rank()];
    shape[0] = samples * points.len();
    batches.mul(&Tensor::from_vec(weights.collect(), shape)?)
}
