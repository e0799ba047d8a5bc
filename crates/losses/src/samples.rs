//! Operations for losses that depend on all outputs of a sample.

use dendra_tensor::kernels::parallel;
use dendra_tensor::ops::{Attributes, Call, Cotangents, Op, Term, TermCall, TermCotangents};
use dendra_tensor::{Float, Ops, Result, Shape, Tensor};

/// The loss of a sample, a function of all its outputs, with its gradient.
pub(crate) trait SampleLoss<T: Float>: Clone + Send + Sync + Sized + 'static {
    const NAME: &'static str;

    /// The cost per element of a sample, in elementary operations.
    const COST: usize;

    /// Checks the shape `[samples, …]` of the outputs, and the settings.
    fn check(&self, outputs: &Shape) -> Result<()>;

    /// Computes the loss of a sample from its outputs in row-major order. If
    /// `gradient` is given, the gradient is written to it.
    fn loss(&self, sample: usize, outputs: &[T], gradient: Option<&mut [T]>) -> T;

    /// Composes the losses of all samples from operations on terms. The gradient
    /// equals that of [`loss`](Self::loss); the values can differ by constants.
    fn composed(&self, outputs: &Term<T>) -> Result<Term<T>>;

    /// Returns the settings by name.
    fn attributes(&self) -> Attributes;

    /// Returns small examples for checks of the gradient.
    fn examples() -> Vec<(Self, Tensor<T>)>;
}

/// The operation that computes the losses of all samples: `[samples, …] → [samples]`.
#[derive(Clone)]
pub(crate) struct Samples<L>(pub(crate) L);

/// Implements [`SampleLoss::composed`] for a piecewise linear loss.
pub(crate) fn piecewise_linear<T: Float, L: SampleLoss<T>>(
    loss: &L,
    outputs: &Term<T>,
) -> Result<Term<T>> {
    let slopes = gradient(loss, outputs.value(), |_| T::ONE);
    let [samples, length] = rows(outputs.shape());
    (outputs * Term::constant(slopes)).reshape([samples, length])?.sum_axes(&[1], false)
}

/// Returns sequences of labels as rows of equal length, padded with −1.
pub(crate) fn padded(labels: &[Vec<usize>]) -> Tensor<i64> {
    let longest = labels.iter().map(Vec::len).max().unwrap_or(0);
    Tensor::from_fn([labels.len(), longest], |i| {
        labels[i / longest].get(i % longest).map_or(-1, |&label| label as i64)
    })
}

/// Returns the number of samples, and the number of outputs of each sample.
fn rows(outputs: &Shape) -> [usize; 2] {
    [outputs[0], outputs[1..].iter().product()]
}

/// Returns the gradient of a weighted sum of the losses with respect to the
/// outputs. `factor` returns the weight of a sample.
fn gradient<T: Float, L: SampleLoss<T>>(
    loss: &L,
    outputs: &Tensor<T>,
    factor: impl Fn(usize) -> T + Sync,
) -> Tensor<T> {
    let outputs = outputs.contiguous();
    let values = outputs.as_slice().expect("made contiguous");
    let [_, length] = rows(outputs.shape());
    Tensor::build(outputs.shape(), |gradient| {
        parallel::for_each_chunk(gradient, length, L::COST, |sample, gradient| {
            loss.loss(sample, &values[sample * length..][..length], Some(gradient));
            for slope in gradient {
                *slope *= factor(sample);
            }
        });
    })
}

impl<T: Float, L: SampleLoss<T>> Op<T> for Samples<L> {
    type Saved = ();
    const NAME: &'static str = L::NAME;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.0.check(inputs[0])?;
        Ok(inputs[0][..1].into())
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let outputs = inputs[0].contiguous();
        let values = outputs.as_slice().expect("made contiguous");
        let samples = outputs.shape()[0];
        let length = values.len() / samples.max(1);
        let losses = parallel::map(samples, length * L::COST, |sample| {
            self.0.loss(sample, &values[sample * length..][..length], None)
        });
        (Tensor::from_vec(losses, [samples]).expect("a loss for each sample"), ())
    }

    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let cotangent = call.cotangent.to_vec();
        let gradient = gradient(&self.0, &call.inputs[0], |sample| cotangent[sample]);
        [Some(gradient)].into_iter().collect()
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.compose(|inputs| self.0.composed(&inputs[0]))
    }

    fn attributes(&self) -> Attributes {
        self.0.attributes()
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let examples = L::examples().into_iter();
        examples.map(|(loss, outputs)| (Self(loss), vec![outputs])).collect()
    }
}
