//! DeepLIFT with the Rescale rule, and its mean over several baselines.

use dendra_autograd::{RuleCall, RuleGradients, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, check_baselines, gradient_by, rows, samples_of};
use crate::method::Method;
use crate::target::Target;

/// DeepLIFT (Shrikumar et al., 2017) with the Rescale rule: the differences
/// between input and baseline are propagated through the network instead of
/// gradients.
///
/// The rules depend on the kind of operation. An element-wise operation of one
/// value, such as an activation, has the slope Δoutput / Δinput, or its
/// gradient where Δinput is nearly 0. Softmax uses the same slope, without
/// Captum's normalisation, which is not complete. Max pooling divides the
/// difference of each window between the maxima of the input and of the
/// baseline. A product of two values that depend on the input uses the gradient
/// at the midpoint. Any other operation uses its own gradient, which is exact
/// for linear ones; [`completeness_gap`](Attribution::completeness_gap) is the
/// remaining error.
///
/// Input and baseline are evaluated as one batch, so axis 0 of each value in
/// the network must be the batch axis.
#[derive(Clone, Debug)]
pub struct DeepLift<T: Float = f32> {
    baseline: Option<Tensor<T>>,
}

impl<T: Float> Default for DeepLift<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> DeepLift<T> {
    /// The baseline is 0.
    pub fn new() -> Self {
        Self { baseline: None }
    }

    /// Sets the baseline, in a shape that broadcasts to the inputs.
    #[must_use]
    pub fn baseline(mut self, baseline: Tensor<T>) -> Self {
        self.baseline = Some(baseline);
        self
    }
}

impl<T: Float> Method<T> for DeepLift<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        let baseline = baseline_for("DeepLift", self.baseline.as_ref(), x)?;
        let both = Tensor::cat(&[x, &baseline], 0)?;
        let (scores, gradients) =
            gradient_by(model, &both, &target.tiled(2), Some(Box::new(rescale)))?;
        let multipliers = rows(&gradients, 0..samples)?;
        let (prediction, other) =
            (rows(&scores, 0..samples)?, rows(&scores, samples..2 * samples)?);
        let values = (x - &baseline) * multipliers;
        Ok(Attribution::of_difference(values, prediction, baseline, &other))
    }
}

/// Below this, a difference of inputs is too small to divide by.
const TOO_SMALL: f64 = 1e-10;

/// The Rescale rule for a batch of inputs and baselines.
fn rescale<T: Float>(call: &RuleCall<'_, T>) -> Result<Option<RuleGradients<T>>> {
    let depending = call.needs().iter().filter(|&&needed| needed).count();
    let inputs = call.inputs();
    match call.name() {
        "max_pool2d" | "adaptive_max_pool2d" => max_pool(call).map(Some),
        "softmax" | "log_softmax" => slope(call).map(Some),
        "mul" | "matmul" if depending == 2 => halfway(call).map(Some),
        _ if call.is_elementwise() && inputs.len() == 1 => slope(call).map(Some),
        _ => Ok(None),
    }
}

/// The difference between the two halves of a batch, repeated for both halves.
fn difference<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
    let [first, second] = halves(x)?;
    let difference = first - second;
    Tensor::cat(&[&difference, &difference], 0)
}

fn halves<T: Float>(x: &Tensor<T>) -> Result<[Tensor<T>; 2]> {
    let half = samples_of(x)? / 2;
    Ok([rows(x, 0..half)?, rows(x, half..2 * half)?])
}

/// `quotient` where the difference of the inputs is large enough, else the
/// gradient of the operation.
fn where_different<T: Float>(
    call: &RuleCall<'_, T>,
    difference: &Tensor<T>,
    quotient: &Tensor<T>,
) -> Result<RuleGradients<T>> {
    let gradients = call.gradients()?;
    let Some(Some(gradient)) = gradients.first() else { return Ok(gradients) };
    let is_small = difference.abs().lt_scalar(T::from_f64(TOO_SMALL));
    let value = gradient.value().where_mask(&is_small, quotient)?;
    Ok(vec![Some(Var::new(value))])
}

fn slope<T: Float>(call: &RuleCall<'_, T>) -> Result<RuleGradients<T>> {
    let input = difference(call.inputs()[0].value())?;
    let output = difference(call.output().value())?;
    let quotient = call.cotangent().value() * &output / &input;
    where_different(call, &input, &quotient)
}

fn max_pool<T: Float>(call: &RuleCall<'_, T>) -> Result<RuleGradients<T>> {
    let input = difference(call.inputs()[0].value())?;
    let [output, of_baseline] = halves(call.output().value())?;
    // From the baseline up to the larger maximum, and from there to the input.
    // The gradient assigns each part to its maximum.
    let larger = output.maximum(&of_baseline)?;
    let parts = Tensor::cat(&[&(&larger - &of_baseline), &(&output - &larger)], 0)?;
    let moved = call.gradients_for(&Var::new(call.cotangent().value() * &parts))?;
    let Some(Some(moved)) = moved.first() else { return Ok(moved) };
    let [up, down] = halves(moved.value())?;
    let sum = up + down;
    let quotient = Tensor::cat(&[&sum, &sum], 0)? / &input;
    where_different(call, &input, &quotient)
}

/// The gradient of a bilinear operation at the midpoint between input and
/// baseline, which gives the difference of the outputs exactly.
fn halfway<T: Float>(call: &RuleCall<'_, T>) -> Result<RuleGradients<T>> {
    let tape = Tape::evaluation();
    let inputs = call.inputs();
    let leaves = inputs.iter().map(|input| {
        let [first, second] = halves(input.value())?;
        let middle = (first + second).mul_scalar(0.5);
        Ok(tape.leaf(Tensor::cat(&[&middle, &middle], 0)?))
    });
    let leaves = leaves.collect::<Result<Vec<Var<T>>>>()?;
    let output = call.apply(&leaves.iter().collect::<Vec<_>>())?;
    let gradients = output.vjp(call.cotangent().value(), &leaves)?;
    Ok(gradients.into_iter().map(|gradient| Some(Var::new(gradient))).collect())
}

/// The mean of [`DeepLift`] over a distribution of baselines, which
/// approximates Shapley values (Lundberg and Lee, 2017).
#[derive(Clone, Debug)]
pub struct DeepLiftShap<T: Float = f32> {
    baselines: Tensor<T>,
}

impl<T: Float> DeepLiftShap<T> {
    /// Uses these baselines, `[B, …]`.
    pub fn new(baselines: Tensor<T>) -> Self {
        Self { baselines }
    }
}

impl<T: Float> Method<T> for DeepLiftShap<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let count = check_baselines("DeepLiftShap", &self.baselines, x)?;
        let mut sum: Option<Attribution<T>> = None;
        for index in 0..count {
            let baseline = rows(&self.baselines, index..index + 1)?;
            let one = DeepLift::new().baseline(baseline).attribute(model, x, target)?;
            sum = Some(match sum {
                None => one,
                Some(mut sum) => {
                    sum.values += one.values;
                    sum.total = sum.total.zip(one.total).map(|(a, b)| a + b);
                    sum
                }
            });
        }
        let mut mean = sum.expect("there is at least one baseline");
        mean.values = mean.values.mul_scalar(1.0 / count as f64);
        mean.total = mean.total.map(|total| total.mul_scalar(1.0 / count as f64));
        mean.baseline = (count == 1).then_some(mean.baseline).flatten();
        Ok(mean)
    }
}
