//! Two-dimensional convolution.

mod gradients;

use self::gradients::input_gradient;
pub(super) use self::gradients::{bias_term, weight_gradient};
use super::reduce::fold;
use super::{Attributes, Call, Cotangents, Op, SampleCotangents, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::convolution::{Convolution, Finish};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::gemm::Panels;
use crate::kernels::windows::{Sliding, Windows};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a convolution's kernel moves, in elements along each of `D` axes.
///
/// ```
/// use dendra_tensor::Conv2dOptions;
///
/// let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
/// assert_eq!(options.stride, [1, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions<const D: usize> {
    /// The distance between two windows.
    pub stride: [usize; D],
    /// The number of zeros added on both sides.
    pub padding: [usize; D],
    /// The distance between two taps of the kernel.
    pub dilation: [usize; D],
    /// The number of groups that input and output channels are divided into;
    /// each group of the output depends on its group of the input.
    pub groups: usize,
}

/// [`ConvOptions`] along `[height, width]`.
pub type Conv2dOptions = ConvOptions<2>;

impl<const D: usize> ConvOptions<D> {
    pub(super) fn attributes(&self) -> Attributes {
        vec![
            ("stride", self.stride.into()),
            ("padding", self.padding.into()),
            ("dilation", self.dilation.into()),
            ("groups", self.groups.into()),
        ]
    }
}

impl<const D: usize> Default for ConvOptions<D> {
    fn default() -> Self {
        Self { stride: [1; D], padding: [0; D], dilation: [1; D], groups: 1 }
    }
}

/// The cross-correlation of images with a kernel (which deep learning calls
/// convolution):
///
/// ```text
/// y[n, o, i, j] = b[o] + Σ W[o, c, u, v] · x[n, c′, i·stride + u·dilation − padding,
///                                                   j·stride + v·dilation − padding]
/// ```
///
/// over c, u, v, where x is 0 outside the image and c′ is the c-th channel of
/// o's group. x has the shape `[N, in, height, width]`, W `[out, in / groups,
/// kernel height, kernel width]`, the optional b `[out]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv2d {
    /// How the kernel moves.
    pub options: Conv2dOptions,
}

fn refuse<X>(message: String) -> Result<X> {
    Err(Error::shape("conv2d", message))
}

impl Conv2d {
    /// The convolution of inputs of these shapes and the shape of its output,
    /// or an error if the shapes do not fit.
    pub(super) fn problem(&self, inputs: &[&Shape]) -> Result<(Convolution, Shape)> {
        let Conv2dOptions { stride, padding, dilation, groups } = self.options;
        let (x, weight) = (inputs[0], inputs[1]);
        let &[images, in_channels, height, width] = &x[..] else {
            return refuse(format!("expected an input of shape [N, C, height, width], got {x}"));
        };
        let &[out_channels, group_channels, kernel_height, kernel_width] = &weight[..] else {
            return refuse(format!(
                "the weight {weight} is not [out, in / groups, kernel height, kernel width]"
            ));
        };
        if groups == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
            let message = format!(
                "{in_channels} input and {out_channels} output channels do not divide into \
                 {groups} groups"
            );
            return Err(Error::argument("conv2d", message));
        }
        if group_channels != in_channels / groups {
            let of = if groups == 1 { String::new() } else { format!(" in {groups} groups") };
            return refuse(format!("the weight {weight} does not fit an input of {x}{of}"));
        }
        if let Some(bias) = inputs.get(2)
            && **bias != [out_channels]
        {
            return refuse(format!("expected a bias of shape [{out_channels}], got {bias}"));
        }
        let sliding = Sliding {
            kernel_size: [kernel_height, kernel_width],
            stride,
            padding,
            dilation,
            ceil_mode: false,
        };
        let windows = Windows::new("conv2d", [height, width], &sliding)?;
        let channels = [group_channels, out_channels / groups];
        let problem = Convolution::new(images, groups, channels, windows, &sliding);
        let [rows, columns] = windows.output();
        let output = Shape::from([images, out_channels, rows, columns]);
        let planes = Shape::from([group_channels, windows.plane_length()]);
        if output.checked_elements().is_none() || planes.checked_elements().is_none() {
            return refuse(format!("the output {output} is too large"));
        }
        Ok((problem, output))
    }
}

/// The sum of each channel over images and positions, which is the gradient of
/// a bias. It has two steps, each over adjacent axes, which need no copy.
pub(super) fn bias_gradient<T: Float>(g: &Tensor<T>) -> Tensor<T> {
    fold(&fold(g, &[2, 3], T::ZERO, |a, b| a + b), &[0], T::ZERO, |a, b| a + b)
}

impl Conv2d {
    /// A weight in the layout of the kernels, for many convolutions of an input of
    /// this shape. Empty if they would not be faster.
    ///
    /// # Errors
    ///
    /// When the shapes do not match each other or the settings.
    pub fn packed<T: Float>(&self, x: &Shape, weight: &Tensor<T>) -> Result<Vec<Panels<T>>> {
        let (problem, _) = self.problem(&[x, weight.shape()])?;
        Ok(weight.with_slice(|weight| problem.packed(weight)))
    }

    /// The output for input, weight and, optionally, bias, and what follows it;
    /// `panels` are the result of [`packed`](Self::packed) for inputs of this
    /// shape, or empty.
    ///
    /// # Errors
    ///
    /// When the inputs do not match each other or the settings, or there is not
    /// enough memory for the output.
    #[inline(never)]
    pub fn forward_then<T: Float>(
        &self,
        inputs: &[&Tensor<T>],
        panels: &[Panels<T>],
        then: Epilogue<'_, T>,
    ) -> Result<Tensor<T>> {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (problem, shape) = self.problem(&shapes)?;
        shape.check_memory::<T>("conv2d")?;
        let inputs: Vec<Tensor<T>> = inputs.iter().map(|input| input.contiguous()).collect();
        let slices: Vec<&[T]> =
            inputs.iter().map(|input| input.as_slice().expect("made contiguous")).collect();
        let finish = Finish { bias: slices.get(2).copied(), then };
        let weight = (slices[1], panels);
        Ok(Tensor::build(shape, |y| problem.forward(slices[0], weight, finish, y)))
    }
}

impl<T: Float> Op<T> for Conv2d {
    type Saved = ();
    const NAME: &'static str = "conv2d";
    const PRODUCT_OPERANDS: u32 = 0b11;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.problem(inputs)?.1)
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, ()>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        Ok(self.sample_gradients(call.inputs, call.needs, &call.cotangent, samples))
    }

    fn sample_norms(&self, call: Call<'_, T, ()>, samples: usize) -> Option<Cotangents<T>> {
        if call.needs[0] {
            return None;
        }
        self.norms_of_samples(call.inputs, call.needs, &call.cotangent, samples)
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (self.forward_then(inputs, &[], Epilogue::NONE).expect("checked by the caller"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        let shapes = [x.shape(), weight.shape()];
        let (problem, _) = self.problem(&shapes).expect("checked by the caller");
        let g = call.cotangent.contiguous();
        call.each(|index| match index {
            0 => weight.with_slice(|weight| {
                g.with_slice(|g| {
                    Tensor::build(x.shape(), |out| problem.input_gradient(weight, g, out))
                })
            }),
            1 => x.with_slice(|x| {
                g.with_slice(|g| {
                    Tensor::build(weight.shape(), |out| problem.weight_gradient(x, g, out))
                })
            }),
            _ => bias_gradient(&g),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (x, weight, g) = (&call.inputs[0], &call.inputs[1], call.cotangent);
        call.each(|index| match index {
            0 => input_gradient(self.options, x.shape(), weight, g),
            1 => weight_gradient(self.options, weight.shape(), x, g),
            _ => bias_term(g),
        })
    }

    fn attributes(&self) -> Attributes {
        self.options.attributes()
    }

    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        // The taps of one filter, for every element of the output.
        output.elements() as u64 * inputs[1][1..].iter().product::<usize>() as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(12);
        let mut case = |x: &[usize], weight: &[usize], options: Conv2dOptions| {
            let shapes = [x, weight, &weight[..1]];
            let inputs = shapes.map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng));
            (Conv2d { options }, inputs.into())
        };
        let plain = Conv2dOptions::default();
        let grouped = Conv2dOptions { padding: [1, 0], groups: 2, ..plain };
        let everything =
            Conv2dOptions { stride: [2, 3], padding: [2, 1], dilation: [2, 1], groups: 1 };
        vec![
            case(&[2, 1, 5, 19], &[5, 1, 3, 3], plain),
            case(&[1, 2, 4, 5], &[2, 1, 3, 2], grouped),
            case(&[2, 4, 3, 3], &[2, 4, 1, 1], plain),
            case(&[2, 6, 7, 8], &[3, 6, 3, 3], everything),
            case(&[2, 36, 2, 2], &[2, 36, 1, 1], plain),
            case(&[0, 1, 4, 4], &[2, 1, 3, 3], plain),
            case(&[2, 0, 4, 4], &[2, 0, 3, 3], plain),
            case(&[2, 1, 4, 4], &[0, 1, 3, 3], plain),
        ]
    }
}

#[cfg(test)]
mod tests;
