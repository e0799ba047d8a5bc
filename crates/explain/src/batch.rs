//! Batches: copies, rows, sums for each sample, and passes through a model.

use std::ops::Range;

use dendra_autograd::{RuleCall, RuleGradients, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::target::Target;

/// The number of samples that are evaluated at once.
pub(crate) const AT_ONCE: usize = 512;

/// A rule that replaces the gradients of operations.
pub(crate) type Rule<T> =
    Box<dyn Fn(&RuleCall<'_, T>) -> Result<Option<RuleGradients<T>>> + Send + Sync>;

/// The number of samples: the length of axis 0.
pub(crate) fn samples_of<T: Float>(x: &Tensor<T>) -> Result<usize> {
    x.shape()
        .first()
        .copied()
        .ok_or_else(|| Error::shape("explain", "expected a batch of samples [N, …], got a scalar"))
}

/// Some of the samples.
pub(crate) fn rows<T: Float>(x: &Tensor<T>, rows: Range<usize>) -> Result<Tensor<T>> {
    x.narrow(0, rows.start, rows.len())
}

/// Returns an error if a number of samples, steps or copies is 0 or too large.
pub(crate) fn check_count(method: &str, what: &str, count: usize) -> Result<()> {
    const MOST: usize = 1 << 20;
    match (1..=MOST).contains(&count) {
        true => Ok(()),
        false => Err(Error::argument(method, format!("expected 1 to {MOST} {what}, got {count}"))),
    }
}

/// Returns an error if the size of the noise is negative or not finite.
pub(crate) fn check_noise(method: &str, size: f64) -> Result<()> {
    if size >= 0.0 && size.is_finite() {
        return Ok(());
    }
    Err(Error::argument(method, format!("expected a finite noise of at least 0, got {size}")))
}

/// Concatenates `copies` copies of the batch.
pub(crate) fn tiled<T: Float>(x: &Tensor<T>, copies: usize) -> Result<Tensor<T>> {
    Tensor::cat(&vec![x; copies], 0)
}

/// Sums `copies` consecutive copies of a batch.
pub(crate) fn sum_of_copies<T: Float>(x: &Tensor<T>, copies: usize) -> Result<Tensor<T>> {
    copies_apart(x, copies)?.sum_axes(&[0], false)
}

/// Reshapes `[copies · N, …]` to `[copies, N, …]`.
pub(crate) fn copies_apart<T: Float>(x: &Tensor<T>, copies: usize) -> Result<Tensor<T>> {
    let samples = samples_of(x)? / copies.max(1);
    let shape: Vec<usize> = [copies, samples].iter().chain(&x.shape()[1..]).copied().collect();
    x.reshape(shape)
}

/// The sum of the elements of each sample, `[N]`.
pub(crate) fn per_sample_sum<T: Float>(x: &Tensor<T>) -> Tensor<T> {
    if x.rank() < 2 {
        return x.clone();
    }
    let axes: Vec<isize> = (1..x.rank() as isize).collect();
    x.sum_axes(&axes, false).unwrap_or_else(|_| x.clone())
}

/// Values for each of several copies of a batch of `samples`, in a shape that
/// broadcasts with them.
pub(crate) fn for_each_copy<T: Float>(
    numbers: impl Iterator<Item = f64>,
    samples: usize,
    rank: usize,
) -> Result<Tensor<T>> {
    let rows: Vec<T> = numbers.flat_map(|x| vec![T::from_f64(x); samples]).collect();
    let count = rows.len();
    for_each_sample(&Tensor::from_vec(rows, [count])?, rank)
}

/// A value for each sample, `[N]`, in a shape that broadcasts with a batch.
pub(crate) fn for_each_sample<T: Float>(numbers: &Tensor<T>, rank: usize) -> Result<Tensor<T>> {
    let mut shape = vec![1; rank];
    shape[0] = numbers.len();
    numbers.reshape(shape)
}

/// The baseline of each sample; zeros by default.
pub(crate) fn baseline_for<T: Float>(
    method: &str,
    given: Option<&Tensor<T>>,
    x: &Tensor<T>,
) -> Result<Tensor<T>> {
    match given {
        None => Ok(Tensor::zeros(x.shape())),
        Some(baseline) => baseline.broadcast_to(x.shape()).map_err(|_| {
            let (expected, found) = (x.shape(), baseline.shape());
            let message = format!(
                "expected a baseline that broadcasts to the inputs {expected}, got {found}"
            );
            Error::shape(method, message)
        }),
    }
}

/// Baselines `[B, …]` from a distribution, for inputs `[N, …]`.
pub(crate) fn check_baselines<T: Float>(
    method: &str,
    baselines: &Tensor<T>,
    x: &Tensor<T>,
) -> Result<usize> {
    samples_of(x)?;
    let fits = baselines.rank() == x.rank() && baselines.shape()[1..] == x.shape()[1..];
    if fits && baselines.shape()[0] > 0 {
        return Ok(baselines.shape()[0]);
    }
    let message =
        format!("expected baselines [B, …] for inputs {}, got {}", x.shape(), baselines.shape());
    Err(Error::shape(method, message))
}

/// Computes the scores of the target, `[N]`, without gradients.
pub(crate) fn predict<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    target: &Target,
) -> Result<Tensor<T>> {
    let samples = samples_of(x)?;
    if samples <= AT_ONCE {
        let outputs = model.forward(&Var::new(x.clone()))?;
        return scores(&outputs, target, samples).map(Var::into_value);
    }
    let parts =
        chunks(samples).map(|chunk| predict(model, &rows(x, chunk.clone())?, &target.rows(chunk)));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)
}

/// Computes the scores of the target, `[N]`, and the gradient of each with
/// respect to its sample.
pub(crate) fn gradient<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    target: &Target,
) -> Result<(Tensor<T>, Tensor<T>)> {
    let samples = samples_of(x)?;
    if samples <= AT_ONCE {
        return gradient_by(model, x, target, None);
    }
    let (mut predictions, mut gradients) = (Vec::new(), Vec::new());
    for chunk in chunks(samples) {
        let (prediction, gradient) =
            gradient_by(model, &rows(x, chunk.clone())?, &target.rows(chunk), None)?;
        predictions.push(prediction);
        gradients.push(gradient);
    }
    let whole = |parts: &[Tensor<T>]| Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0);
    Ok((whole(&predictions)?, whole(&gradients)?))
}

/// Like [`gradient`], with a rule that replaces the gradients of operations.
pub(crate) fn gradient_by<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    target: &Target,
    rule: Option<Rule<T>>,
) -> Result<(Tensor<T>, Tensor<T>)> {
    let samples = samples_of(x)?;
    let tape = Tape::evaluation();
    if let Some(rule) = rule {
        tape.register_rule_hook(move |call| {
            refuse_joined(call)?;
            rule(call)
        });
    }
    let leaf = tape.leaf(x.clone());
    let scores = scores(&model.forward(&leaf)?, target, samples)?;
    let gradient = scores.vjp(&Tensor::ones(scores.shape()), &leaf)?;
    Ok((scores.into_value(), gradient))
}

/// The scores of the target, `[N]`, from the outputs of a model.
pub(crate) fn scores<T: Float>(
    outputs: &Var<T>,
    target: &Target,
    samples: usize,
) -> Result<Var<T>> {
    let scores = target.scores(outputs)?;
    if scores.shape()[..] != [samples] {
        let message = format!("expected {samples} rows of outputs, got {}", outputs.shape());
        return Err(Error::shape("explain", message));
    }
    Ok(scores)
}

/// Returns an error for an operation that joins a linear one with an activation.
pub(crate) fn refuse_joined<T: Float>(call: &RuleCall<'_, T>) -> Result<()> {
    let name = call.name();
    if name != "conv2d_relu" {
        return Ok(());
    }
    let message = format!(
        "`{name}` joins a linear operation with an activation, which this method has to tell \
         apart; call conv2d, relu and max_pool2d"
    );
    Err(Error::argument("explain", message))
}

fn chunks(samples: usize) -> impl Iterator<Item = Range<usize>> {
    (0..samples).step_by(AT_ONCE).map(move |start| start..samples.min(start + AT_ONCE))
}
