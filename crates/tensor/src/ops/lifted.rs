//! Convolution and pooling along one or three axes, expressed by those along
//! two: a sequence is an image with one row; for a volume, the taps along the
//! depth become channels, and pooling is applied to each slice and then along
//! the depth.

use super::adaptive_pool2d::{AdaptiveAvgPool2d, AdaptiveMaxPool2d};
use super::avg_pool2d::AvgPool2d;
use super::conv_transpose2d::{ConvTranspose2d, ConvTransposeOptions};
use super::conv2d::{Conv2d, Conv2dOptions, ConvOptions};
use super::max_pool2d::{MaxPool2d, Pool2dOptions, PoolOptions};
use super::padding::PadMode;
use super::unfold::UnfoldOptions;
use super::{Op, Ops};
use crate::element::Number;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The axes that are the rows and the columns of images, if they exist.
pub(super) type Plane = [Option<usize>; 2];

/// The settings along the axes of a plane; `one` where there is no axis.
fn pick<const D: usize>(settings: [usize; D], plane: Plane, one: usize) -> [usize; 2] {
    plane.map(|axis| axis.map_or(one, |axis| settings[axis]))
}

/// Checks that an operand has `D` axes after the first two.
pub(super) fn check_rank<const D: usize>(context: &str, what: &str, shape: &Shape) -> Result<()> {
    if !(1..=3).contains(&D) {
        return Err(Error::argument(context, format!("expected 1, 2 or 3 axes, got {D}")));
    }
    if shape.len() == D + 2 {
        return Ok(());
    }
    let message = format!("expected {what} with {D} axes after the first two, got {shape}");
    Err(Error::shape(context, message))
}

/// The shape of a convolution along `D` axes, by the rule for images.
fn convolved_shape<const D: usize>(
    context: &str,
    [x, weight]: [&Shape; 2],
    rule: impl Fn([&Shape; 2], Plane) -> Result<Shape>,
) -> Result<Shape> {
    check_rank::<D>(context, "an input", x)?;
    check_rank::<D>(context, "a weight", weight)?;
    let output = |plane: Plane| {
        let of = |shape: &Shape| {
            let [rows, columns] = plane.map(|axis| axis.map_or(1, |axis| shape[2 + axis]));
            Shape::from([shape[0], shape[1], rows, columns])
        };
        rule([&of(x), &of(weight)], plane).map_err(|error| match error {
            Error::Shape { message, .. } => Error::shape(context, message),
            Error::Argument { message, .. } => Error::argument(context, message),
            other => other,
        })
    };
    let shape = match D {
        1 => {
            let row = output([None, Some(0)])?;
            Shape::from([row[0], row[1], row[3]])
        }
        2 => output([Some(0), Some(1)])?,
        _ => {
            let plane = output([Some(1), Some(2)])?;
            let depth = output([None, Some(0)])?[3];
            Shape::from([plane[0], plane[1], depth, plane[2], plane[3]])
        }
    };
    match shape.checked_elements() {
        Some(_) => Ok(shape),
        None => Err(Error::shape(context, format!("the output {shape} is too large"))),
    }
}

impl<const D: usize> ConvOptions<D> {
    fn along(&self, plane: Plane) -> Conv2dOptions {
        Conv2dOptions {
            stride: pick(self.stride, plane, 1),
            padding: pick(self.padding, plane, 0),
            dilation: pick(self.dilation, plane, 1),
            groups: self.groups,
        }
    }

    /// The shape of the convolution's output.
    ///
    /// # Errors
    ///
    /// When input and weight do not match each other or the settings, or `D` is
    /// not 1, 2 or 3.
    pub fn output_shape(&self, x: &Shape, weight: &Shape) -> Result<Shape> {
        convolved_shape::<D>(&format!("conv{D}d"), [x, weight], |operands, plane| {
            Op::<f32>::output_shape(&Conv2d { options: self.along(plane) }, &operands)
        })
    }
}

impl<const D: usize> ConvTransposeOptions<D> {
    /// The same convolution with an output padding below the stride, and the
    /// number of zeros at the end of each axis of the input that replace the
    /// rest. Only an output padding below the dilation is changed; others are
    /// errors later.
    pub(super) fn within_stride(self) -> (Self, [usize; D]) {
        let (mut within, mut zeros) = (self, [0; D]);
        for (axis, zeros) in zeros.iter_mut().enumerate() {
            let (padding, stride) = (self.output_padding[axis], self.stride[axis]);
            if padding < self.dilation[axis] && stride > 0 {
                within.output_padding[axis] = padding % stride;
                *zeros = padding / stride;
            }
        }
        (within, zeros)
    }

    fn along(&self, plane: Plane) -> ConvTransposeOptions<2> {
        ConvTransposeOptions {
            stride: pick(self.stride, plane, 1),
            padding: pick(self.padding, plane, 0),
            output_padding: pick(self.output_padding, plane, 0),
            dilation: pick(self.dilation, plane, 1),
            groups: self.groups,
        }
    }

    /// The shape of the transposed convolution's output.
    ///
    /// # Errors
    ///
    /// Those of [`ConvOptions::output_shape`].
    pub fn output_shape(&self, x: &Shape, weight: &Shape) -> Result<Shape> {
        convolved_shape::<D>(&format!("conv_transpose{D}d"), [x, weight], |[x, weight], plane| {
            let (options, zeros) = self.along(plane).within_stride();
            let rows = x.with(2, x[2].saturating_add(zeros[0]));
            let x = rows.with(3, rows[3].saturating_add(zeros[1]));
            Op::<f32>::output_shape(&ConvTranspose2d { options }, &[&x, weight])
        })
    }
}

/// Calls `apply` with a batch of `rank` axes. An input without the batch axis
/// is treated as a batch of one sample, and the result has no batch axis
/// either.
///
/// # Errors
///
/// When `apply` rejects the batch.
pub fn batched<X: Ops>(x: &X, rank: usize, apply: impl FnOnce(&X) -> Result<X>) -> Result<X> {
    match x.value().rank() + 1 == rank {
        true => apply(&x.unsqueeze(0)?)?.squeeze(0),
        false => apply(x),
    }
}

/// The convolution of `[N, in, …]` with a weight `[out, in / groups, …]`, plus
/// a bias `[out]`, where … stands for `D` axes, 1, 2 or 3; see
/// [`Conv2d`] for the formula.
///
/// # Errors
///
/// When the operands do not match each other or the settings.
pub fn conv<X: Ops, const D: usize>(
    x: &X,
    weight: &X,
    bias: Option<&X>,
    options: ConvOptions<D>,
) -> Result<X> {
    if D == 2 {
        return x.conv2d(weight, bias, options.along([Some(0), Some(1)]));
    }
    if x.value().rank() == D + 1 {
        return batched(x, D + 2, |x| conv(x, weight, bias, options));
    }
    let output = options.output_shape(x.value().shape(), weight.value().shape())?;
    if D == 1 {
        let (x, weight) = (x.unsqueeze(2)?, weight.unsqueeze(2)?);
        return x.conv2d(&weight, bias, options.along([None, Some(0)]))?.squeeze(2);
    }
    let (stride, padding) = (options.stride[0], options.padding[0]);
    let (lengths, kernel) = (x.value().shape().clone(), weight.value().shape().clone());
    // Slices as images: [N, depth, C, H, W].
    let mut slices = x.permute(&[0, 2, 1, 3, 4])?;
    if padding > 0 {
        let shape = [lengths[0], padding, lengths[1], lengths[3], lengths[4]];
        let zeros = X::constant(Tensor::scalar(Number::ZERO).broadcast_to(shape)?);
        slices = X::cat(&[&zeros, &slices, &zeros], 1)?;
    }
    // The input of each tap along the depth becomes a channel, in the order of
    // the weight.
    let seen = |tap: usize| {
        let start = tap * options.dilation[0];
        let end = start + (output[2] - 1) * stride + 1;
        slices.slice(1, start as isize, Some(end as isize), stride as isize)
    };
    let seen: Vec<X> = (0..kernel[2]).map(seen).collect::<Result<_>>()?;
    let seen = X::stack(&seen.iter().collect::<Vec<_>>(), 3)?;
    let images =
        seen.reshape([lengths[0] * output[2], lengths[1] * kernel[2], lengths[3], lengths[4]])?;
    let weight = weight.reshape([kernel[0], kernel[1] * kernel[2], kernel[3], kernel[4]])?;
    let y = images.conv2d(&weight, bias, options.along([Some(1), Some(2)]))?;
    y.reshape([output[0], output[2], output[1], output[3], output[4]])?.permute(&[0, 2, 1, 3, 4])
}

/// The transposed convolution of `[N, in, …]` with a weight `[in, out /
/// groups, …]`, plus a bias `[out]`, where … stands for `D` axes, 1, 2 or 3; see
/// [`ConvTranspose2d`].
///
/// # Errors
///
/// When the operands do not match each other or the settings.
pub fn conv_transpose<X: Ops, const D: usize>(
    x: &X,
    weight: &X,
    bias: Option<&X>,
    options: ConvTransposeOptions<D>,
) -> Result<X> {
    if D == 2 {
        return x.conv_transpose2d(weight, bias, options.along([Some(0), Some(1)]));
    }
    if x.value().rank() == D + 1 {
        return batched(x, D + 2, |x| conv_transpose(x, weight, bias, options));
    }
    let (options, zeros) = options.within_stride();
    if zeros != [0; D] && x.value().rank() == D + 2 {
        let ends: Vec<[isize; 2]> = zeros.iter().rev().map(|&zeros| [0, zeros as isize]).collect();
        let x = x.pad(&ends, PadMode::Constant(0.0))?;
        return conv_transpose(&x, weight, bias, options);
    }
    let output = options.output_shape(x.value().shape(), weight.value().shape())?;
    if D == 1 {
        let (x, weight) = (x.unsqueeze(2)?, weight.unsqueeze(2)?);
        return x.conv_transpose2d(&weight, bias, options.along([None, Some(0)]))?.squeeze(2);
    }
    let (lengths, kernel) = (x.value().shape().clone(), weight.value().shape().clone());
    let (images, depth, pixels) = (lengths[0], lengths[2], output[3] * output[4]);
    let slices = x.permute(&[0, 2, 1, 3, 4])?;
    let slices = slices.reshape([images * depth, lengths[1], lengths[3], lengths[4]])?;
    let taps = weight.reshape([kernel[0], kernel[1] * kernel[2], kernel[3], kernel[4]])?;
    let y = slices.conv_transpose2d(&taps, None, options.along([Some(1), Some(2)]))?;
    // The results of each tap for each slice are added at their position in the
    // depth.
    let columns = y.reshape([images, depth, output[1], kernel[2], pixels])?;
    let columns = columns.permute(&[0, 2, 4, 3, 1])?;
    let columns = columns.reshape([images, output[1] * pixels * kernel[2], depth])?;
    let windows = UnfoldOptions {
        kernel_size: [kernel[2], 1],
        stride: [options.stride[0], 1],
        padding: [options.padding[0], 0],
        dilation: [options.dilation[0], 1],
    };
    let y = columns.fold([output[2], 1], windows)?;
    let y = y.reshape([images, output[1], output[3], output[4], output[2]])?;
    let y = y.permute(&[0, 1, 4, 2, 3])?;
    match bias.map(|bias| (bias, bias.value().shape())) {
        None => Ok(y),
        Some((bias, shape)) if **shape == [output[1]] => {
            y.add(&bias.reshape([output[1], 1, 1, 1])?)
        }
        Some((_, shape)) => {
            let message = format!("expected a bias of shape [{}], got {shape}", output[1]);
            Err(Error::shape("conv_transpose3d", message))
        }
    }
}

/// Calls `apply` with images along the axes of a plane, for sequences, images
/// or volumes.
fn pooled<X: Ops, const D: usize>(
    context: &str,
    x: &X,
    apply: &dyn Fn(&X, Plane) -> Result<X>,
) -> Result<X> {
    if x.value().rank() == D + 1 {
        return batched(x, D + 2, |x| pooled::<X, D>(context, x, apply));
    }
    let lengths = x.value().shape();
    check_rank::<D>(context, "an input", lengths)?;
    match D {
        1 => apply(&x.unsqueeze(2)?, [None, Some(0)])?.squeeze(2),
        2 => apply(x, [Some(0), Some(1)]),
        _ => {
            let (images, channels, depth) = (lengths[0], lengths[1], lengths[2]);
            let slices = x.reshape([images, channels * depth, lengths[3], lengths[4]])?;
            let slices = apply(&slices, [Some(1), Some(2)])?;
            let (rows, columns) = (slices.value().shape()[2], slices.value().shape()[3]);
            let slices = slices.reshape([images, channels, depth, rows * columns])?;
            let y = apply(&slices, [Some(0), None])?;
            let depth = y.value().shape()[2];
            y.reshape([images, channels, depth, rows, columns])
        }
    }
}

/// The shape from `rule` along the axes of a plane, for sequences, images or
/// volumes.
fn pooled_shape<const D: usize>(
    context: &str,
    x: &Shape,
    rule: impl Fn(&Shape, Plane) -> Result<Shape>,
) -> Result<Shape> {
    check_rank::<D>(context, "an input", x)?;
    let image = |rows: usize, columns: usize| Shape::from([x[0], x[1], rows, columns]);
    Ok(match D {
        1 => {
            let row = rule(&image(1, x[2]), [None, Some(0)])?;
            [row[0], row[1], row[3]].into()
        }
        2 => rule(x, [Some(0), Some(1)])?,
        _ => {
            let plane = rule(&image(x[3], x[4]), [Some(1), Some(2)])?;
            let depth = rule(&image(x[2], 1), [Some(0), None])?;
            [x[0], x[1], depth[2], plane[2], plane[3]].into()
        }
    })
}

impl<const D: usize> PoolOptions<D> {
    pub(super) fn along(&self, plane: Plane) -> Pool2dOptions {
        Pool2dOptions {
            kernel_size: pick(self.kernel_size, plane, 1),
            stride: pick(self.stride, plane, 1),
            padding: pick(self.padding, plane, 0),
            dilation: pick(self.dilation, plane, 1),
            ceil_mode: self.ceil_mode,
        }
    }

    /// The shape of the output of [`max_pool`].
    ///
    /// # Errors
    ///
    /// When the windows do not fit the input.
    pub fn max_pool_shape(&self, x: &Shape) -> Result<Shape> {
        pooled_shape::<D>(&format!("max_pool{D}d"), x, |x, plane| {
            Op::<f32>::output_shape(&MaxPool2d { options: self.along(plane) }, &[x])
        })
    }

    /// The shape of the output of [`avg_pool`].
    ///
    /// # Errors
    ///
    /// When the windows do not fit the input.
    pub fn avg_pool_shape(&self, x: &Shape) -> Result<Shape> {
        pooled_shape::<D>(&format!("avg_pool{D}d"), x, |x, plane| {
            let options = self.along(plane);
            let (count_include_pad, divisor_override) = (true, None);
            let operation = AvgPool2d { options, count_include_pad, divisor_override };
            Op::<f32>::output_shape(&operation, &[x])
        })
    }
}

/// The largest element of each window over sequences, images or volumes.
///
/// # Errors
///
/// When the windows do not fit the input.
pub fn max_pool<X: Ops, const D: usize>(x: &X, options: PoolOptions<D>) -> Result<X> {
    let context = format!("max_pool{D}d");
    pooled::<X, D>(&context, x, &|x, plane| x.max_pool2d(options.along(plane)))
}

/// The mean of each window over sequences, images or volumes, or its sum
/// divided by a given divisor.
///
/// # Errors
///
/// When the windows do not fit the input, or the divisor is 0.
pub fn avg_pool<X: Ops, const D: usize>(
    x: &X,
    options: PoolOptions<D>,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> Result<X> {
    let context = format!("avg_pool{D}d");
    pooled::<X, D>(&context, x, &|x, plane| {
        // The slices of a volume are already divided when its depth is pooled.
        let is_depth = plane == [Some(0), None];
        let divisor_override = divisor_override.map(|divisor| if is_depth { 1 } else { divisor });
        let options = options.along(plane);
        X::try_apply(AvgPool2d { options, count_include_pad, divisor_override }, &[x])
    })
}

/// The size along a plane, which does not change where there is no axis.
pub(super) fn size_along<const D: usize>(
    size: [usize; D],
    plane: Plane,
    image: &Shape,
) -> [usize; 2] {
    [0, 1].map(|side| plane[side].map_or(image[2 + side], |axis| size[axis]))
}

/// The shape of the output of [`adaptive_avg_pool`] and [`adaptive_max_pool`].
///
/// # Errors
///
/// When the windows do not cover the input.
pub fn adaptive_pool_shape<const D: usize>(x: &Shape, output_size: [usize; D]) -> Result<Shape> {
    pooled_shape::<D>(&format!("adaptive_pool{D}d"), x, |x, plane| {
        let output_size = size_along(output_size, plane, x);
        Op::<f32>::output_shape(&AdaptiveAvgPool2d { output_size }, &[x])
    })
}

/// The mean of each of a number of windows over sequences, images or volumes.
///
/// # Errors
///
/// When the windows do not cover the input.
pub fn adaptive_avg_pool<X: Ops, const D: usize>(x: &X, output_size: [usize; D]) -> Result<X> {
    let context = format!("adaptive_avg_pool{D}d");
    pooled::<X, D>(&context, x, &|x, plane| {
        let output_size = size_along(output_size, plane, x.value().shape());
        X::try_apply(AdaptiveAvgPool2d { output_size }, &[x])
    })
}

/// The largest element of each of a number of windows over sequences, images or
/// volumes.
///
/// # Errors
///
/// When the windows do not cover the input.
pub fn adaptive_max_pool<X: Ops, const D: usize>(x: &X, output_size: [usize; D]) -> Result<X> {
    let context = format!("adaptive_max_pool{D}d");
    pooled::<X, D>(&context, x, &|x, plane| {
        let output_size = size_along(output_size, plane, x.value().shape());
        X::try_apply(AdaptiveMaxPool2d { output_size }, &[x])
    })
}

#[cfg(test)]
mod tests;
