//! The RevealCancel rule of DeepLIFT.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dendra_autograd::{RuleCall, RuleGradients, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::batch::{refuse_joined, samples_of, scores};
use crate::deep_lift::{TOO_SMALL, halves, rescale};
use crate::target::Target;

/// The difference of the output of a linear operation, divided into the sum of
/// the positive contributions of its inputs and that of the negative ones.
struct Parts<T: Float> {
    output: Tensor<T>,
    positive: Tensor<T>,
    negative: Tensor<T>,
}

/// The scores of a batch of inputs and baselines, and the multipliers of the
/// inputs.
///
/// The first of two passes finds the parts of all linear operations. In the second
/// one, the cotangent of the output of a linear operation has the multipliers of
/// the positive parts in the rows of the inputs, and those of the negative parts in
/// the rows of the baselines. Everywhere else both have the same multipliers.
pub(crate) fn multipliers<T: Float>(
    model: &dyn Module<T>,
    both: &Tensor<T>,
    target: &Target,
) -> Result<(Tensor<T>, Tensor<T>)> {
    let found: Arc<Mutex<Found<T>>> = Arc::default();
    let tape = Tape::evaluation();
    let seen = Arc::clone(&found);
    tape.register_rule_hook(move |call| {
        refuse_joined(call)?;
        let mut found = locked(&seen);
        match found.is_complete {
            false => {
                if is_weighted(call) {
                    found.parts.push(parts(call)?);
                }
                Ok(None)
            }
            true if is_weighted(call) => linear(call).map(Some),
            true if call.is_elementwise() && call.inputs().len() == 1 => {
                let x = call.inputs()[0].value().clone();
                let parts = found.parts.iter().find(|parts| parts.output.shares_memory_with(&x));
                match parts.filter(|parts| parts.output.len() == x.len()) {
                    Some(parts) => activation(call, parts).map(Some),
                    None => alike(rescale(call)?),
                }
            }
            true => alike(rescale(call)?),
        }
    });
    let leaf = tape.leaf(both.clone());
    let scores = scores(&model.forward(&leaf)?, target, samples_of(both)?)?;
    let ones = Tensor::ones(scores.shape());
    scores.vjp(&ones, &leaf)?;
    locked(&found).is_complete = true;
    let multipliers = scores.vjp(&ones, &leaf)?;
    Ok((scores.into_value(), multipliers))
}

/// What the first pass has found.
struct Found<T: Float> {
    parts: Vec<Parts<T>>,
    is_complete: bool,
}

impl<T: Float> Default for Found<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), is_complete: false }
    }
}

fn locked<T: Float>(found: &Mutex<Found<T>>) -> MutexGuard<'_, Found<T>> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same multipliers for both parts. Those of Rescale differ where there is no
/// difference to divide by.
fn alike<T: Float>(gradients: Option<RuleGradients<T>>) -> Result<Option<RuleGradients<T>>> {
    let one = |gradient: Option<Var<T>>| {
        let Some(gradient) = gradient else { return Ok(None) };
        let [first, _] = halves(gradient.value())?;
        Ok(Some(Var::new(Tensor::cat(&[&first, &first], 0)?)))
    };
    gradients.map(|gradients| gradients.into_iter().map(one).collect()).transpose()
}

/// Whether an operation adds the elements of its first input, times weights that
/// do not depend on the sample.
fn is_weighted<T: Float>(call: &RuleCall<'_, T>) -> bool {
    matches!(call.name(), "linear" | "conv2d" | "conv_transpose2d" | "matmul")
        && [true, false, false].starts_with(call.needs())
}

/// A linear operation with other weights and without bias, and its input.
fn with_weight<T: Float>(
    call: &RuleCall<'_, T>,
    x: &Tensor<T>,
    weight: Tensor<T>,
) -> Result<[Var<T>; 2]> {
    let x = Tape::evaluation().leaf(x.clone());
    let weight = Var::new(weight);
    let bias = call.inputs().get(2).map(|bias| Var::new(Tensor::zeros(bias.shape())));
    let inputs: Vec<&Var<T>> = [&x, &weight].into_iter().chain(&bias).collect();
    Ok([call.apply(&inputs)?, x])
}

fn parts<T: Float>(call: &RuleCall<'_, T>) -> Result<Parts<T>> {
    let inputs = call.inputs();
    let [x, baseline] = halves(inputs[0].value())?;
    let (difference, weight) = (x - baseline, inputs[1].value());
    let signed = Tensor::cat(&[&difference.clamp_min(0.0), &difference.clamp_max(0.0)], 0)?;
    let [positive, _] = with_weight(call, &signed, weight.clamp_min(0.0))?;
    let [negative, _] = with_weight(call, &signed, weight.clamp_max(0.0))?;
    // A product is positive if both factors have the same sign.
    let ([above, below], [falling, rising]) =
        (halves(positive.value())?, halves(negative.value())?);
    let output = call.output().value().clone();
    Ok(Parts { output, positive: above + rising, negative: below + falling })
}

/// The multipliers of the inputs of a linear operation: each input has those of
/// the parts to which it contributes.
fn linear<T: Float>(call: &RuleCall<'_, T>) -> Result<RuleGradients<T>> {
    let inputs = call.inputs();
    let (x, weight) = (inputs[0].value(), inputs[1].value());
    let through = |weight: Tensor<T>| {
        let [output, leaf] = with_weight(call, x, weight)?;
        halves(&output.vjp(call.cotangent().value(), &leaf)?)
    };
    let [up_of_positive, up_of_negative] = through(weight.clamp_min(0.0))?;
    let [down_of_positive, down_of_negative] = through(weight.clamp_max(0.0))?;
    let [first, second] = halves(x)?;
    let difference = first - second;
    let zero = T::ZERO;
    let if_above = &up_of_positive + &down_of_negative;
    let if_below = &down_of_positive + &up_of_negative;
    let if_equal = (&if_above + &if_below).mul_scalar(0.5);
    let signed = if_below.where_mask(&difference.lt_scalar(zero), &if_equal)?;
    let one = if_above.where_mask(&difference.gt_scalar(zero), &signed)?;
    let multipliers = Var::new(Tensor::cat(&[&one, &one], 0)?);
    Ok([Some(multipliers), None, None].into_iter().take(inputs.len()).collect())
}

/// The multipliers of both parts of the input of an activation. The effect of a part
/// is the mean of the two orders in which the parts can be added.
fn activation<T: Float>(call: &RuleCall<'_, T>, parts: &Parts<T>) -> Result<RuleGradients<T>> {
    let inputs = call.inputs();
    let [_, baseline] = halves(inputs[0].value())?;
    let shape = baseline.shape();
    let positive = parts.positive.reshape(shape.clone())?;
    let negative = parts.negative.reshape(shape.clone())?;
    let alone = Tensor::cat(&[&(&baseline + &positive), &(&baseline + &negative)], 0)?;
    let [with_positive, with_negative] = halves(call.apply(&[&Var::new(alone)])?.value())?;
    let [output, of_baseline] = halves(call.output().value())?;
    let both = output - of_baseline;
    let apart = with_positive - with_negative;
    let up = (&both + &apart).mul_scalar(0.5);
    let down = (&both - &apart).mul_scalar(0.5);
    // Where a part is nearly 0, both orders give the slope at one of the ends.
    let [slope, of_baseline] = halves(&slopes(call)?)?;
    let slope = (slope + of_baseline).mul_scalar(0.5);
    let multiplier = |effect: &Tensor<T>, part: &Tensor<T>| {
        let is_small = part.abs().lt_scalar(T::from_f64(TOO_SMALL));
        slope.where_mask(&is_small, &(effect / part))
    };
    let own = Tensor::cat(&[&multiplier(&up, &positive)?, &multiplier(&down, &negative)?], 0)?;
    Ok(vec![Some(Var::new(call.cotangent().value() * own))])
}

/// The derivatives of an element-wise operation at its inputs.
fn slopes<T: Float>(call: &RuleCall<'_, T>) -> Result<Tensor<T>> {
    let ones = Var::new(Tensor::ones(call.output().shape()));
    let gradient = call.gradients_for(&ones)?.into_iter().next().flatten();
    Ok(gradient.map_or_else(|| Tensor::zeros(call.output().shape()), Var::into_value))
}

#[cfg(test)]
mod tests {
    use dendra_nn::{Linear, Module, Parameters};
    use dendra_tensor::Rng;

    use crate::{Attribution, DeepLift, DeepLiftRule, Method};

    use super::*;

    /// The smaller one of two numbers, as i₁ − ReLU(i₁ − i₂).
    #[derive(Parameters)]
    #[parameters(crate = dendra_nn, element = f64)]
    struct Min(Linear<f64>);

    impl Module<f64> for Min {
        fn forward(&self, x: &Var<f64>) -> Result<Var<f64>> {
            let first = x.narrow(1, 0, 1)?;
            first.sub(&self.0.forward(x)?.relu())?.flatten(0, -1)
        }
    }

    fn layer(weights: Tensor<f64>, bias: Tensor<f64>) -> Linear<f64> {
        let [outputs, inputs] = weights.shape()[..] else { panic!() };
        let mut layer = Linear::new(inputs, outputs).init_as::<f64>(&mut Rng::seed(0)).unwrap();
        *layer.weight.value_mut() = weights;
        *layer.bias.as_mut().unwrap().value_mut() = bias;
        layer
    }

    fn explain(model: &dyn Module<f64>, x: &Tensor<f64>) -> Attribution<f64> {
        let lift = DeepLift::new().rule(DeepLiftRule::RevealCancel);
        lift.attribute(model, x, &Target::Class(0)).unwrap()
    }

    /// The example of section 3.5.3: both inputs get half of the smaller one.
    /// Rescale gives everything to one of them.
    #[test]
    fn inputs_of_a_minimum_get_the_same() {
        let model = Min(layer(Tensor::from([[1.0, -1.0]]), Tensor::from([0.0])));
        let x = Tensor::from([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [7.0, 0.5]]);
        let found = explain(&model, &x);
        let expected = [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 0.25, 0.25];
        for (found, expected) in found.values().to_vec().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let rescaled = DeepLift::new().attribute(&model, &x, &Target::Class(0)).unwrap();
        assert_eq!(rescaled.values().to_vec()[..2], [0.0, 1.0]);
    }

    /// Of two inputs, one raises each hidden value and one lowers it, so the
    /// contributions are Shapley values: the mean of both orders.
    #[test]
    fn contributions_of_opposite_inputs_are_shapley_values() {
        #[derive(Parameters)]
        #[parameters(crate = dendra_nn, element = f64)]
        struct Hidden(Linear<f64>, Linear<f64>);

        impl Module<f64> for Hidden {
            fn forward(&self, x: &Var<f64>) -> Result<Var<f64>> {
                self.1.forward(&self.0.forward(x)?.softplus())?.flatten(0, -1)
            }
        }
        let rng = &mut Rng::seed(3);
        let column = |rng: &mut Rng| Tensor::<f64>::uniform([6, 1], 0.2, 2.0, rng);
        let weights = Tensor::cat(&[&column(rng), &column(rng).mul_scalar(-1.0)], 1).unwrap();
        let first = layer(weights, Tensor::normal([6], 0.0, 1.0, rng));
        let last = layer(Tensor::normal([1, 6], 0.0, 1.0, rng), Tensor::from([0.3]));
        let model = Hidden(first, last);
        let of = |a: f64, b: f64| {
            let output = model.forward(&Var::new(Tensor::from([[a, b]]))).unwrap();
            output.value().item().unwrap()
        };
        let (a, b) = (1.5, 0.7);
        let found = explain(&model, &Tensor::from([[a, b]])).values().to_vec();
        let shapley = [
            0.5 * (of(a, 0.0) - of(0.0, 0.0) + of(a, b) - of(0.0, b)),
            0.5 * (of(0.0, b) - of(0.0, 0.0) + of(a, b) - of(a, 0.0)),
        ];
        for (found, expected) in found.iter().zip(shapley) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }
}
