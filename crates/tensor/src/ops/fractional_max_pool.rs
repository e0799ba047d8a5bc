//! Maximum pooling with windows at random distances (Graham, "Fractional
//! max-pooling", 2014), for images and volumes.

use super::Ops;
use super::lifted::check_rank;
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The maximum of each of `output_size` windows over images `[N, C, H, W]` or
/// volumes `[N, C, D, H, W]`, and its row-major index over the axes after the
/// channels. Of equal elements it is the first, of several NaNs the last.
///
/// The windows have the same size; the distances between their starts differ by
/// one where the size of the input requires it. A sample from 0 to 1 for each
/// image, channel and axis, `[N, C, D]`, determines the starts. As in PyTorch,
/// the samples of images are in the order columns, rows; those of volumes in
/// the order of the axes.
///
/// # Errors
///
/// When the windows do not fit the input, or the samples have a wrong shape or
/// are not from 0 to 1.
pub fn fractional_max_pool_with_indices<X: Ops, const D: usize>(
    x: &X,
    kernel_size: [usize; D],
    output_size: [usize; D],
    samples: &Tensor<X::Element>,
) -> Result<(X, Tensor<i64>)> {
    let context = format!("fractional_max_pool{D}d");
    let shape = x.value().shape();
    check_rank::<D>(&context, "an input", shape)?;
    let sizes: [usize; D] = std::array::from_fn(|axis| shape[2 + axis]);
    for axis in 0..D {
        let (kernel, output, length) = (kernel_size[axis], output_size[axis], sizes[axis]);
        if kernel == 0 || output == 0 || kernel > length || output - 1 > length - kernel {
            let message =
                format!("{output} windows of {kernel} do not fit axis {} of {shape}", 2 + axis);
            return Err(Error::argument(context, message));
        }
    }
    if **samples.shape() != [shape[0], shape[1], D] {
        let message =
            format!("expected samples [{}, {}, {D}], got {}", shape[0], shape[1], samples.shape());
        return Err(Error::shape(context, message));
    }
    let samples = samples.to_vec();
    if let Some(wrong) = samples.iter().find(|sample| !(0.0..=1.0).contains(&sample.to_f64())) {
        return Err(Error::data(context, format!("expected samples from 0 to 1, got {wrong}")));
    }
    let windows: usize = output_size.iter().product();
    let elements: usize = sizes.iter().product();
    let mut indices = Vec::with_capacity(shape[0] * shape[1] * windows);
    x.value().with_slice(|x| {
        for (x, samples) in x.chunks_exact(elements).zip(samples.as_chunks::<D>().0) {
            let starts: [Vec<usize>; D] = std::array::from_fn(|axis| {
                let sample = samples[if D == 2 { 1 - axis } else { axis }];
                starts(sample, sizes[axis], kernel_size[axis], output_size[axis])
            });
            for window in 0..windows {
                indices.push(largest(x, sizes, kernel_size, &starts, window) as i64);
            }
        }
    });
    let output: Shape = shape[..2].iter().chain(&output_size).copied().collect();
    let indices = Tensor::from_vec(indices, [shape[0], shape[1], windows])?;
    let values = x.flatten(2, -1)?.gather(-1, &indices)?;
    Ok((values.reshape(&output)?, indices.reshape(output)?))
}

/// The starts of the windows along an axis.
fn starts<T: Float>(sample: T, length: usize, kernel: usize, output: usize) -> Vec<usize> {
    let last = length - kernel;
    let step = T::from_f64(last as f64) / T::from_f64((output.max(2) - 1) as f64);
    let at = |x: T| (x * step).to_f64() as usize;
    let start = |i: usize| at(T::from_f64(i as f64) + sample) - at(sample);
    (0..output - 1).map(start).chain([last]).collect()
}

/// The index of the maximum of a window of one image.
fn largest<T: Float, const D: usize>(
    x: &[T],
    sizes: [usize; D],
    kernel_size: [usize; D],
    starts: &[Vec<usize>; D],
    window: usize,
) -> usize {
    let mut corner = [0; D];
    let mut rest = window;
    for axis in (0..D).rev() {
        corner[axis] = starts[axis][rest % starts[axis].len()];
        rest /= starts[axis].len();
    }
    let mut best: Option<usize> = None;
    for tap in 0..kernel_size.iter().product() {
        let (mut index, mut stride, mut rest) = (0, 1, tap);
        for axis in (0..D).rev() {
            index += (corner[axis] + rest % kernel_size[axis]) * stride;
            rest /= kernel_size[axis];
            stride *= sizes[axis];
        }
        let larger = |best: usize| x[index] > x[best] || x[index].is_nan();
        if best.is_none_or(larger) {
            best = Some(index);
        }
    }
    best.expect("a window has an element")
}
