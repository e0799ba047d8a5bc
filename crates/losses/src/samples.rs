//! Losses of whole samples, as one operation.

use dendra_tensor::kernels::parallel;
use dendra_tensor::ops::{Call, Cotangents, Op};
use dendra_tensor::{Float, Result, Shape, Tensor};

/// The loss of a sample: a function of all its outputs, beside its gradient.
pub(crate) trait SampleLoss<T: Float>: Clone + Send + Sync + Sized + 'static {
    const NAME: &'static str;

    /// Elementary steps that an element of a sample costs.
    const COST: usize;

    /// Checks the shape `[samples, …]` of the outputs, and the settings.
    fn check(&self, outputs: &Shape) -> Result<()>;

    /// The loss of a sample of which all outputs are given in row-major order.
    /// A gradient is filled in where asked for.
    fn loss(&self, sample: usize, outputs: &[T], gradient: Option<&mut [T]>) -> T;

    /// Small outputs on which the gradient is checked.
    fn examples() -> Vec<(Self, Tensor<T>)>;
}

/// The losses of all samples, not reduced: `[samples, …] → [samples]`.
#[derive(Clone)]
pub(crate) struct Samples<L>(pub(crate) L);

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
        let outputs = call.inputs[0].contiguous();
        let values = outputs.as_slice().expect("made contiguous");
        let length = values.len() / outputs.shape()[0].max(1);
        let cotangent = call.cotangent.to_vec();
        let gradient = Tensor::build(outputs.shape(), |gradient| {
            parallel::for_each_chunk(gradient, length, L::COST, |sample, gradient| {
                self.0.loss(sample, &values[sample * length..][..length], Some(gradient));
                for slope in gradient {
                    *slope *= cotangent[sample];
                }
            });
        });
        [Some(gradient)].into_iter().collect()
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let examples = L::examples().into_iter();
        examples.map(|(loss, outputs)| (Self(loss), vec![outputs])).collect()
    }
}
