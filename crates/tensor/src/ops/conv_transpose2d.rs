//! Two-dimensional transposed convolution.

use super::conv2d::{Conv2d, ConvOptions, bias_gradient, bias_term, weight_gradient};
use super::{Attributes, Call, Cotangents, Op, Ops, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::convolution::{Convolution, Finish};
use crate::kernels::parallel::for_each_chunk;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How the kernel of a transposed convolution moves over its output, in
/// elements along each of `D` axes.
///
/// ```
/// use dendra_tensor::ConvTransposeOptions;
///
/// let double = ConvTransposeOptions { stride: [2, 2], ..ConvTransposeOptions::default() };
/// assert_eq!(double.dilation, [1, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTransposeOptions<const D: usize> {
    /// The distance in the output between two elements of the input.
    pub stride: [usize; D],
    /// The number of elements cut off on both sides of the output.
    pub padding: [usize; D],
    /// The number of elements added at the end of the output, less than the
    /// stride or the dilation. Images of several sizes have the same size after
    /// a convolution; this selects one of them.
    pub output_padding: [usize; D],
    /// The distance between two taps of the kernel.
    pub dilation: [usize; D],
    /// The number of groups that input and output channels are divided into;
    /// each group of the output depends on its group of the input.
    pub groups: usize,
}

impl<const D: usize> Default for ConvTransposeOptions<D> {
    fn default() -> Self {
        Self {
            stride: [1; D],
            padding: [0; D],
            output_padding: [0; D],
            dilation: [1; D],
            groups: 1,
        }
    }
}

/// The transposed convolution, also called deconvolution: each element of the
/// input, multiplied by the kernel, is added to the output (Zeiler et al.,
/// "Deconvolutional networks", 2010).
///
/// ```text
/// y[n, o, i·stride + u·dilation − padding, j·stride + v·dilation − padding]
///     = b[o] + Σ W[c, o, u, v] · x[n, c, i, j]
/// ```
///
/// x has the shape `[N, in, height, width]`, W `[in, out / groups, kernel
/// height, kernel width]`, the optional b `[out]`, and y the height
///
/// ```text
/// (height − 1)·stride − 2·padding + dilation·(kernel height − 1) + output_padding + 1
/// ```
///
/// This is the gradient of a convolution with respect to its input. Its own
/// gradients are that convolution and the gradient of that convolution's
/// weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvTranspose2d {
    /// How the kernel moves.
    pub options: ConvTransposeOptions<2>,
}

fn refuse<X>(message: String) -> Result<X> {
    Err(Error::shape("conv_transpose2d", message))
}

impl ConvTranspose2d {
    /// The length of the output along an axis; `None` when the output would be
    /// empty.
    fn length(&self, axis: usize, x: &Shape, weight: &Shape) -> Option<usize> {
        let ConvTransposeOptions { stride, padding, output_padding, dilation, .. } = self.options;
        let span = weight[2 + axis].checked_sub(1)?.checked_mul(dilation[axis])?;
        let steps = x[2 + axis].checked_sub(1)?.checked_mul(stride[axis])?;
        let whole = steps.checked_add(span)?.checked_add(output_padding[axis])?.checked_add(1)?;
        whole.checked_sub(padding[axis].checked_mul(2)?).filter(|&length| length > 0)
    }

    /// The convolution whose input is this one's output, and the shape of that
    /// output.
    fn problem(&self, inputs: &[&Shape]) -> Result<(Convolution, Shape)> {
        let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } =
            self.options;
        let (x, weight) = (inputs[0], inputs[1]);
        let &[images, in_channels, height, width] = &x[..] else {
            return refuse(format!("expected an input of shape [N, C, height, width], got {x}"));
        };
        let &[weight_channels, group_channels, ..] = &weight[..] else {
            return refuse(format!("the weight {weight} is not [in, out / groups, height, width]"));
        };
        if weight.len() != 4 || weight_channels != in_channels {
            return refuse(format!("the weight {weight} does not fit an input of {x}"));
        }
        if groups == 0 || in_channels % groups != 0 {
            let message =
                format!("{in_channels} input channels do not divide into {groups} groups");
            return Err(Error::argument("conv_transpose2d", message));
        }
        if stride.iter().zip(output_padding).any(|(&stride, padding)| padding >= stride) {
            let message = format!(
                "the output padding {output_padding:?} must be less than the stride {stride:?} or \
                 the dilation {dilation:?}"
            );
            return Err(Error::argument("conv_transpose2d", message));
        }
        let out_channels = group_channels.saturating_mul(groups);
        if let Some(bias) = inputs.get(2)
            && **bias != [out_channels]
        {
            return refuse(format!("expected a bias of shape [{out_channels}], got {bias}"));
        }
        let sizes = self.length(0, x, weight).zip(self.length(1, x, weight));
        let output =
            sizes.map(|(rows, columns)| Shape::from([images, out_channels, rows, columns]));
        let Some(output) = output.filter(|output| output.checked_elements().is_some()) else {
            return refuse(format!(
                "an image of [{height}, {width}] and a kernel of {:?} with padding {padding:?} \
                 give no output",
                &weight[2..]
            ));
        };
        let convolution = Conv2d { options: ConvOptions { stride, padding, dilation, groups } };
        let (problem, _) = convolution.problem(&[&output, weight])?;
        Ok((problem, output))
    }
}

impl<T: Float> Op<T> for ConvTranspose2d {
    type Saved = ();
    const NAME: &'static str = "conv_transpose2d";
    const PRODUCT_OPERANDS: u32 = 0b11;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.problem(inputs)?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (problem, shape) = self.problem(&shapes).expect("checked by the caller");
        let inputs: Vec<Tensor<T>> = inputs.iter().map(|input| input.contiguous()).collect();
        let slices: Vec<&[T]> =
            inputs.iter().map(|input| input.as_slice().expect("made contiguous")).collect();
        let plane = shape[2] * shape[3];
        let y = Tensor::build(shape, |y| {
            problem.input_gradient(slices[1], slices[0], y);
            if let Some(bias) = slices.get(2) {
                for_each_chunk(y, plane, 1, |index, plane| {
                    let bias = bias[index % bias.len()];
                    plane.iter_mut().for_each(|y| *y += bias);
                });
            }
        });
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        let (problem, _) = self.problem(&[x.shape(), weight.shape()]).expect("checked before");
        let g = call.cotangent.contiguous();
        call.each(|index| match index {
            0 => weight.with_slice(|weight| {
                g.with_slice(|g| {
                    Tensor::build(x.shape(), |out| {
                        problem.forward(g, (weight, &[]), Finish::with(None), out)
                    })
                })
            }),
            1 => x.with_slice(|x| {
                g.with_slice(|g| {
                    Tensor::build(weight.shape(), |out| problem.weight_gradient(g, x, out))
                })
            }),
            _ => bias_gradient(&g),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (x, weight, g) = (&call.inputs[0], &call.inputs[1], call.cotangent);
        let ConvTransposeOptions { stride, padding, dilation, groups, .. } = self.options;
        let options = ConvOptions { stride, padding, dilation, groups };
        call.each(|index| match index {
            0 => g.conv2d(weight, None, options),
            1 => weight_gradient(options, weight.shape(), g, x),
            _ => bias_term(g),
        })
    }

    fn attributes(&self) -> Attributes {
        let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } =
            self.options;
        vec![
            ("stride", stride.into()),
            ("padding", padding.into()),
            ("output_padding", output_padding.into()),
            ("dilation", dilation.into()),
            ("groups", groups.into()),
        ]
    }

    fn multiply_adds(&self, inputs: &[&Shape], _: &Shape) -> u64 {
        // Every element of the input is multiplied with the taps of one filter.
        inputs[0].elements() as u64 * inputs[1][1..].iter().product::<usize>() as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(15);
        let mut case = |x: &[usize], weight: &[usize], options: ConvTransposeOptions<2>| {
            let bias = [weight[1] * options.groups];
            let inputs =
                [x, weight, &bias[..]].map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng));
            (ConvTranspose2d { options }, inputs.into())
        };
        let plain = ConvTransposeOptions::default();
        let everything = ConvTransposeOptions {
            stride: [2, 3],
            padding: [2, 1],
            output_padding: [1, 2],
            dilation: [2, 1],
            groups: 1,
        };
        vec![
            case(&[2, 5, 3, 4], &[5, 1, 3, 3], plain),
            case(&[2, 4, 3, 2], &[4, 3, 2, 2], ConvTransposeOptions { groups: 2, ..everything }),
            case(&[2, 3, 4, 3], &[3, 6, 3, 3], everything),
            case(&[2, 4, 3, 3], &[4, 2, 1, 1], plain),
            case(&[0, 2, 3, 3], &[2, 1, 3, 3], plain),
            case(&[2, 0, 3, 3], &[0, 2, 3, 3], plain),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output, by the definition.
    fn naive(
        x: &Tensor<f64>,
        weight: &Tensor<f64>,
        options: ConvTransposeOptions<2>,
        output: &Shape,
    ) -> Vec<f64> {
        let mut y = ndarray::ArrayD::<f64>::zeros(&output[..]);
        let (group_inputs, group_outputs) = (x.shape()[1] / options.groups, weight.shape()[1]);
        for (place, &x) in x.view().indexed_iter() {
            for (tap, &w) in weight.view().indexed_iter().filter(|(tap, _)| tap[0] == place[1]) {
                let channel = place[1] / group_inputs * group_outputs + tap[1];
                let at = |axis: usize| {
                    (place[2 + axis] * options.stride[axis]
                        + tap[2 + axis] * options.dilation[axis])
                        .checked_sub(options.padding[axis])
                        .filter(|&place| place < output[2 + axis])
                };
                if let (Some(row), Some(column)) = (at(0), at(1)) {
                    y[[place[0], channel, row, column]] += x * w;
                }
            }
        }
        y.into_raw_vec_and_offset().0
    }

    #[test]
    fn every_sample_and_larger_ones_match_the_plain_loop() {
        let mut rng = Rng::seed(4);
        let mut large = |x: [usize; 4], weight: [usize; 4], options| {
            let [x, weight] = [x, weight].map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng));
            (ConvTranspose2d { options }, vec![x, weight])
        };
        let double = ConvTransposeOptions {
            stride: [2, 2],
            padding: [1, 1],
            output_padding: [1, 1],
            ..ConvTransposeOptions::default()
        };
        let mut cases = <ConvTranspose2d as Op<f64>>::samples();
        cases.push(large([3, 24, 7, 7], [24, 12, 3, 3], double));
        cases.push(large(
            [5, 8, 14, 14],
            [8, 1, 4, 4],
            ConvTransposeOptions { output_padding: [0, 0], ..double },
        ));
        for (operation, inputs) in cases {
            let (x, weight) = (&inputs[0], &inputs[1]);
            let y = x.conv_transpose2d(weight, None, operation.options).unwrap();
            let expected = naive(x, weight, operation.options, y.shape());
            for (found, expected) in y.to_vec().into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-11, "{} * {}", x.shape(), weight.shape());
            }
            let Some(bias) = inputs.get(2) else { continue };
            let biased = x.conv_transpose2d(weight, Some(bias), operation.options).unwrap();
            let column = bias.reshape([bias.len(), 1, 1]).unwrap();
            assert_eq!(biased, y.add(&column).unwrap());
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refuse = |x: &[usize], weight: &[usize], options| {
            let (x, weight) = (Tensor::<f32>::zeros(x), Tensor::zeros(weight));
            x.conv_transpose2d(&weight, None, options).unwrap_err().to_string()
        };
        let plain = ConvTransposeOptions::default();
        let image = [1, 2, 3, 3];
        let cases = [
            (refuse(&[3, 3], &[2, 1, 3, 3], plain), "expected an input of shape [N, C,"),
            (refuse(&image, &[3, 1, 3, 3], plain), "does not fit an input of [1, 2, 3, 3]"),
            (refuse(&image, &[2, 1, 3], plain), "does not fit an input of"),
            (
                refuse(&image, &[2, 1, 3, 3], ConvTransposeOptions { groups: 3, ..plain }),
                "2 input channels do not divide into 3 groups",
            ),
            (
                refuse(
                    &image,
                    &[2, 1, 3, 3],
                    ConvTransposeOptions { output_padding: [0, 1], ..plain },
                ),
                "the output padding [0, 1] must be less than the stride [1, 1]",
            ),
            (
                refuse(&image, &[2, 1, 3, 3], ConvTransposeOptions { padding: [3, 0], ..plain }),
                "with padding [3, 0] give no output",
            ),
            (refuse(&[1, 2, 0, 3], &[2, 1, 3, 3], plain), "give no output"),
            (
                refuse(
                    &image,
                    &[2, 1, 3, 3],
                    ConvTransposeOptions { stride: [usize::MAX, 1], ..plain },
                ),
                "give no output",
            ),
        ];
        for (message, expected) in cases {
            assert!(message.starts_with("conv_transpose2d: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }
}
