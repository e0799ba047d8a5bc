//! The gradients of a convolution as terms: convolutions again.

use super::{Conv2d, Conv2dOptions, ConvOptions, refuse};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::convolution::{Convolution, Finish};
use crate::ops::conv_transpose2d::{ConvTranspose2d, ConvTransposeOptions};
use crate::ops::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The gradient of a convolution's input, from those of its output and the
/// weight: a transposed convolution.
pub(in crate::ops) fn input_gradient<T: Float>(
    options: Conv2dOptions,
    x: &Shape,
    weight: &Term<T>,
    g: &Term<T>,
) -> Result<Term<T>> {
    if x.elements() == 0 {
        return Ok(Term::constant(Tensor::zeros(x)));
    }
    let ConvOptions { stride, padding, dilation, groups } = options;
    // The elements that the last window does not reach.
    let rest = |axis: usize| {
        let span = dilation[axis] * (weight.shape()[2 + axis] - 1) + 1;
        (x[2 + axis] + 2 * padding[axis] - span) % stride[axis]
    };
    let output_padding = [rest(0), rest(1)];
    let options = ConvTransposeOptions { stride, padding, output_padding, dilation, groups };
    Term::try_apply(ConvTranspose2d { options }, &[g, weight])
}

/// The gradient of a convolution's weight; see [`Conv2dWeightGradient`].
pub(in crate::ops) fn weight_gradient<T: Float>(
    options: Conv2dOptions,
    weight: &Shape,
    x: &Term<T>,
    g: &Term<T>,
) -> Result<Term<T>> {
    let kernel_size = [weight[2], weight[3]];
    Term::try_apply(Conv2dWeightGradient { options, kernel_size }, &[x, g])
}

/// The sum of each channel over images and positions, like [`bias_gradient`].
pub(in crate::ops) fn bias_term<T: Float>(g: &Term<T>) -> Result<Term<T>> {
    g.sum_axes(&[2, 3], false)?.sum_axes(&[0], false)
}

/// The gradient of a convolution's weight as a function of the input of the
/// convolution and the gradient of its output. It is bilinear, like the
/// convolution, and its own gradients are convolutions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2dWeightGradient {
    /// How the kernel moves.
    pub(super) options: Conv2dOptions,
    /// The rows and columns of the kernel.
    pub(super) kernel_size: [usize; 2],
}

impl Conv2dWeightGradient {
    fn problem(&self, x: &Shape, g: &Shape) -> Result<(Convolution, Shape)> {
        let (&[_, inputs, ..], &[_, outputs, ..]) = (&x[..], &g[..]) else {
            return refuse(format!("expected images and a cotangent, got {x} and {g}"));
        };
        let [height, width] = self.kernel_size;
        let weight = [outputs, inputs / self.options.groups.max(1), height, width].into();
        let (problem, expected) = Conv2d { options: self.options }.problem(&[x, &weight])?;
        if *g != expected {
            return refuse(format!("expected a cotangent of shape {expected}, got {g}"));
        }
        Ok((problem, weight))
    }
}

impl<T: Float> Op<T> for Conv2dWeightGradient {
    type Saved = ();
    const NAME: &'static str = "conv2d_weight_gradient";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.problem(inputs[0], inputs[1])?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, g) = (inputs[0], inputs[1]);
        let (problem, shape) = self.problem(x.shape(), g.shape()).expect("checked by the caller");
        let gradient = x.with_slice(|x| {
            g.with_slice(|g| Tensor::build(shape, |out| problem.weight_gradient(x, g, out)))
        });
        (gradient, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, g, weight) = (&call.inputs[0], &call.inputs[1], &call.cotangent);
        let (problem, _) = self.problem(x.shape(), g.shape()).expect("checked by the caller");
        call.each(|index| {
            weight.with_slice(|weight| {
                Tensor::build(call.inputs[index].shape(), |out| match index {
                    0 => g.with_slice(|g| problem.input_gradient(weight, g, out)),
                    _ => {
                        x.with_slice(|x| problem.forward(x, (weight, &[]), Finish::with(None), out))
                    }
                })
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (x, g, weight) = (&call.inputs[0], &call.inputs[1], call.cotangent);
        call.each(|index| match index {
            0 => input_gradient(self.options, x.shape(), weight, g),
            _ => x.conv2d(weight, None, self.options),
        })
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = self.options.attributes();
        attributes.push(("kernel_size", self.kernel_size.into()));
        attributes
    }

    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        // The windows of all images, for every element of the weight.
        let [images, _, rows, columns] = inputs[1][..] else { return 0 };
        output.elements() as u64 * (images * rows * columns) as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(13);
        let sample = |(Conv2d { options }, inputs): (Conv2d, Vec<Tensor<T>>)| {
            let shapes = [inputs[0].shape(), inputs[1].shape()];
            let kernel_size = [shapes[1][2], shapes[1][3]];
            let shape = Conv2d { options }.problem(&shapes).expect("a sample fits").1;
            let g = Tensor::normal(shape, 0.0, 1.0, &mut rng);
            (Self { options, kernel_size }, vec![inputs[0].clone(), g])
        };
        <Conv2d as Op<T>>::samples().into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::check_twice;

    #[test]
    fn the_gradient_of_the_weight_has_gradients() {
        check_twice::<Conv2dWeightGradient>().unwrap();
    }
}
