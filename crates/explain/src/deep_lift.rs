//! DeepLIFT, and its mean over several baselines.

use dendra_autograd::{RuleCall, RuleGradients, Tape, Var};
use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, check_baselines, gradient_by, rows, samples_of};
use crate::method::Method;
use crate::reveal_cancel;
use crate::target::Target;

/// DeepLIFT (Shrikumar et al., 2017): the differences between input and baseline
/// are propagated through the network instead of gradients. A [`DeepLiftRule`]
/// says how an activation divides a difference; the default is Rescale.
///
/// The rules of Rescale depend on the kind of operation. An element-wise operation of one
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
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct DeepLift<T: Float = f32> {
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
    /// The rule of activations.
    #[set(default = DeepLiftRule::Rescale)]
    rule: DeepLiftRule,
}

/// How [`DeepLift`] divides the difference of an activation's output among its
/// inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeepLiftRule {
    /// In proportion to the contributions to the difference of the activation's
    /// input.
    #[default]
    Rescale,
    /// The positive and the negative contributions to the activation's input are
    /// propagated apart. Each gets its own effect on the output: the mean of that
    /// without and with the other. So inputs whose contributions cancel still get
    /// attributions, where Rescale gives them none. It applies to activations that
    /// directly follow a linear layer or a convolution; everything else is as with
    /// Rescale. It takes two backward passes.
    RevealCancel,
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
        let target = target.tiled(2);
        let (scores, gradients) = match self.rule {
            DeepLiftRule::Rescale => gradient_by(model, &both, &target, Some(Box::new(rescale)))?,
            DeepLiftRule::RevealCancel => reveal_cancel::multipliers(model, &both, &target)?,
        };
        let multipliers = rows(&gradients, 0..samples)?;
        let (prediction, other) =
            (rows(&scores, 0..samples)?, rows(&scores, samples..2 * samples)?);
        let values = (x - &baseline) * multipliers;
        Ok(Attribution::of_difference(values, prediction, baseline, &other))
    }
}

/// Below this, a difference of inputs is too small to divide by.
pub(crate) const TOO_SMALL: f64 = 1e-10;

/// The Rescale rule for a batch of inputs and baselines.
pub(crate) fn rescale<T: Float>(call: &RuleCall<'_, T>) -> Result<Option<RuleGradients<T>>> {
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

pub(crate) fn halves<T: Float>(x: &Tensor<T>) -> Result<[Tensor<T>; 2]> {
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
#[derive(Clone, Debug, Setters)]
pub struct DeepLiftShap<T: Float = f32> {
    baselines: Tensor<T>,
    /// The rule of activations.
    #[set(default = DeepLiftRule::Rescale)]
    rule: DeepLiftRule,
}

impl<T: Float> DeepLiftShap<T> {
    /// Uses these baselines, `[B, …]`.
    pub fn new(baselines: Tensor<T>) -> Self {
        Self::with_defaults(baselines)
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
            let lift = DeepLift::new().rule(self.rule).baseline(baseline);
            let one = lift.attribute(model, x, target)?;
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
