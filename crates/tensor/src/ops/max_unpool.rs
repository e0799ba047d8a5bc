//! Max pooling that also returns the indices of the maxima, and its inverse,
//! for sequences, images and volumes.

use super::adaptive_pool2d::AdaptiveMaxPool2d;
use super::lifted::{Plane, check_rank, size_along};
use super::max_pool2d::{MaxPool2d, PoolOptions};
use super::{Op, Ops};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The maximum of each window of `[N, C, …]`, where … stands for `D` axes, 1, 2
/// or 3, and its row-major index over these axes without the padding (PyTorch's
/// `return_indices`). Of equal elements it is the first, of several NaNs the
/// last.
///
/// # Errors
///
/// When the windows do not fit the input, or a window is outside the input and
/// so has no element.
///
/// ```
/// use dendra_tensor::ops::max_unpool::max_pool_with_indices;
/// use dendra_tensor::{PoolOptions, Tensor};
///
/// let x = Tensor::from([[[3.0, 1.0, 2.0, 5.0]]]);
/// let (values, indices) = max_pool_with_indices(&x, PoolOptions::new([2]))?;
/// assert_eq!(values.to_vec(), [3.0, 5.0]);
/// assert_eq!(indices.to_vec(), [0, 3]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn max_pool_with_indices<X: Ops, const D: usize>(
    x: &X,
    options: PoolOptions<D>,
) -> Result<(X, Tensor<i64>)> {
    with_indices::<X, D>(&format!("max_pool{D}d"), x, &|x, plane| {
        MaxPool2d { options: options.along(plane) }.indices(x)
    })
}

/// Like [`max_pool_with_indices`], for `output_size` windows that cover the
/// input; see [`AdaptiveMaxPool2d`].
///
/// # Errors
///
/// When the windows do not cover the input.
pub fn adaptive_max_pool_with_indices<X: Ops, const D: usize>(
    x: &X,
    output_size: [usize; D],
) -> Result<(X, Tensor<i64>)> {
    with_indices::<X, D>(&format!("adaptive_max_pool{D}d"), x, &|x, plane| {
        let output_size = size_along(output_size, plane, x.shape());
        let pool = AdaptiveMaxPool2d { output_size };
        Op::<X::Element>::output_shape(&pool, &[x.shape()])?;
        Ok(pool.forward(&[x]).1.map(i64::from))
    })
}

/// Row-major indices of the maxima along the axes of a plane.
type Planar<'a, T> = &'a dyn Fn(&Tensor<T>, Plane) -> Result<Tensor<i64>>;

/// The maxima of a pooling of images and their indices, for a batch or a
/// sample.
fn with_indices<X: Ops, const D: usize>(
    context: &str,
    x: &X,
    planar: Planar<'_, X::Element>,
) -> Result<(X, Tensor<i64>)> {
    if x.value().rank() == D + 1 {
        let (values, indices) = with_indices::<X, D>(context, &x.unsqueeze(0)?, planar)?;
        return Ok((values.squeeze(0)?, indices.squeeze(0)?));
    }
    check_rank::<D>(context, "an input", x.value().shape())?;
    let indices = indices::<_, D>(x.value(), planar)?;
    let values = x.flatten(2, -1)?.gather(-1, &indices.flatten(2, -1)?)?;
    Ok((values.reshape(indices.shape())?, indices))
}

/// The index of the maximum of each window.
fn indices<T: Float, const D: usize>(x: &Tensor<T>, planar: Planar<'_, T>) -> Result<Tensor<i64>> {
    if D == 1 {
        return planar(&x.unsqueeze(2)?, [None, Some(0)])?.squeeze(2);
    }
    if D == 2 {
        return planar(x, [Some(0), Some(1)]);
    }
    // First within each slice, then along the depth of the results.
    let &[images, channels, depth, height, width] = &x.shape()[..] else {
        unreachable!("a volume has five axes")
    };
    let slices = x.reshape([images, channels * depth, height, width])?;
    let inside = planar(&slices, [Some(1), Some(2)])?;
    let [rows, columns] = [inside.shape()[2], inside.shape()[3]];
    let maxima = slices.flatten(2, -1)?.gather(-1, &inside.flatten(2, -1)?)?;
    let maxima = maxima.reshape([images, channels, depth, rows * columns])?;
    let along = planar(&maxima, [Some(0), None])?;
    let taken = along.shape()[2];
    let along = along.flatten(2, -1)?;
    let inside = inside.reshape([images, channels, depth * rows * columns])?;
    let inside = inside.gather(-1, &along)?;
    let slice = (height * width) as i64;
    let before = along.map(|index| index / (rows * columns) as i64 * slice);
    (&before + &inside).reshape([images, channels, taken, rows, columns])
}

/// Writes the elements of `[N, C, …]` at given indices of `[N, C,
/// output_size]`, with zeros everywhere else. An index is row-major over the
/// axes of `output_size`, as [`max_pool_with_indices`] returns it. Of several
/// elements with the same index the last one is kept, and each of them gets the
/// gradient (as in PyTorch).
///
/// # Errors
///
/// When the indices and the elements differ in shape, or an index is out of
/// range.
///
/// ```
/// use dendra_tensor::Tensor;
/// use dendra_tensor::ops::max_unpool::max_unpool;
///
/// let y = max_unpool(&Tensor::from([[[3.0, 5.0]]]), &Tensor::from([[[0, 3]]]), [4])?;
/// assert_eq!(y.to_vec(), [3.0, 0.0, 0.0, 5.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn max_unpool<X: Ops, const D: usize>(
    x: &X,
    indices: &Tensor<i64>,
    output_size: [usize; D],
) -> Result<X> {
    if x.value().rank() == D + 1 && indices.rank() == D + 1 {
        return max_unpool(&x.unsqueeze(0)?, &indices.unsqueeze(0)?, output_size)?.squeeze(0);
    }
    let context = format!("max_unpool{D}d");
    let shape = x.value().shape();
    check_rank::<D>(&context, "an input", shape)?;
    if indices.shape() != shape {
        let message = format!("expected indices of shape {shape}, got {}", indices.shape());
        return Err(Error::shape(context, message));
    }
    let output: Shape = shape[..2].iter().copied().chain(output_size).collect();
    let size = Shape::from(&output_size[..]).checked_elements();
    let Some(size) = size.filter(|_| output.checked_elements().is_some()) else {
        return Err(Error::shape(context, format!("the output {output} is too large")));
    };
    let outside = |&&index: &&i64| usize::try_from(index).map_or(true, |index| index >= size);
    if let Some(wrong) = indices.with_slice(|indices| indices.iter().find(outside).copied()) {
        let message = format!("index {wrong} is out of range for the {size} elements of {output}");
        return Err(Error::data(context, message));
    }
    let zeros = X::constant(Tensor::zeros([shape[0], shape[1], size]));
    zeros.scatter(-1, &indices.flatten(2, -1)?, &x.flatten(2, -1)?)?.reshape(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn adaptive_indices_name_the_maxima() {
        let mut rng = Rng::seed(6);
        let mut of = |shape: &[usize]| Tensor::<f64>::normal(shape, 0.0, 1.0, &mut rng);
        let (line, image, volume) = (of(&[2, 3, 7]), of(&[2, 3, 5, 4]), of(&[3, 4, 5, 3]));
        let (values, indices) = adaptive_max_pool_with_indices(&line, [3]).unwrap();
        assert_eq!(values, line.adaptive_max_pool1d(3).unwrap());
        assert_eq!(values, line.gather(-1, &indices).unwrap());
        let (values, indices) = adaptive_max_pool_with_indices(&image, [2, 3]).unwrap();
        assert_eq!(values, image.adaptive_max_pool2d([2, 3]).unwrap());
        let found = image.flatten(2, -1).unwrap().gather(-1, &indices.flatten(2, -1).unwrap());
        assert_eq!(values.flatten(2, -1).unwrap(), found.unwrap());
        // One volume without the batch axis.
        let (values, indices) = adaptive_max_pool_with_indices(&volume, [2, 2, 3]).unwrap();
        assert_eq!(values, volume.adaptive_max_pool3d([2, 2, 3]).unwrap());
        let found = volume.flatten(1, -1).unwrap().gather(-1, &indices.flatten(1, -1).unwrap());
        assert_eq!(values.flatten(1, -1).unwrap(), found.unwrap());
        assert!(adaptive_max_pool_with_indices(&line, [0]).is_err());
    }

    /// The first maximum of each window and its index, by the definition.
    fn naive<const D: usize>(
        x: &Tensor<f64>,
        options: &PoolOptions<D>,
        output: &Shape,
    ) -> Vec<(f64, i64)> {
        let every = |sizes: Vec<usize>| ndarray::indices(sizes).into_iter();
        let view = x.view();
        every(output.to_vec())
            .map(|window| {
                let mut best: Option<(f64, i64)> = None;
                for tap in every(options.kernel_size.to_vec()) {
                    let at = |axis: usize| {
                        let place = window[2 + axis] * options.stride[axis]
                            + tap[axis] * options.dilation[axis];
                        let place = place.checked_sub(options.padding[axis])?;
                        (place < x.shape()[2 + axis]).then_some(place)
                    };
                    let Some(at) = (0..D).map(at).collect::<Option<Vec<usize>>>() else { continue };
                    let index = at.iter().zip(&x.shape()[2..]).fold(0, |i, (at, n)| i * n + at);
                    let place: Vec<usize> = [window[0], window[1]].into_iter().chain(at).collect();
                    let value = view[&place[..]];
                    let better = |(max, _): (f64, i64)| value > max || value.is_nan();
                    if best.is_none_or(better) {
                        best = Some((value, index as i64));
                    }
                }
                best.expect("every window sees the input")
            })
            .collect()
    }

    #[track_caller]
    fn assert_found<const D: usize>(sizes: &[usize], options: PoolOptions<D>) {
        let mut rng = Rng::seed(3);
        // Few distinct values, so that many are equal.
        let values = [0.0, 1.0, -1.0, 2.0, f64::NAN, f64::NEG_INFINITY];
        for count in [4, 6] {
            let x = Tensor::from_fn(sizes, |_| values[rng.below(count)]);
            let (y, indices) = max_pool_with_indices(&x, options).unwrap();
            assert_eq!(*y.shape(), options.max_pool_shape(x.shape()).unwrap());
            for (index, (value, place)) in naive(&x, &options, y.shape()).into_iter().enumerate() {
                let found = (y.to_vec()[index], indices.to_vec()[index]);
                assert_eq!(found.1, place, "{options:?}, window {index}");
                assert!(found.0 == value || found.0.is_nan() && value.is_nan());
            }
        }
    }

    #[test]
    fn maxima_and_their_indices_match_the_plain_loop() {
        assert_found(&[2, 3, 9], PoolOptions::new([2]));
        let options = PoolOptions { stride: [2], padding: [1], ..PoolOptions::new([3]) };
        assert_found(&[2, 3, 9], options);
        assert_found(&[2, 3, 4, 6], PoolOptions::new([2, 2]));
        let options = PoolOptions { stride: [2, 1], padding: [1, 1], ..PoolOptions::new([3, 2]) };
        assert_found(&[2, 2, 7, 5], PoolOptions { ceil_mode: true, ..options });
        assert_found(&[1, 2, 7, 6], PoolOptions { dilation: [2, 3], ..options });
        assert_found(&[2, 2, 4, 4, 6], PoolOptions::new([2, 2, 2]));
        let options = PoolOptions {
            stride: [1, 2, 1],
            padding: [1, 1, 0],
            dilation: [2, 1, 2],
            ..PoolOptions::new([2, 3, 2])
        };
        assert_found(&[2, 2, 5, 6, 4], PoolOptions { ceil_mode: true, ..options });
    }

    #[test]
    fn unpooling_puts_the_maxima_back() {
        let x = Tensor::<f64>::normal([2, 3, 4, 5, 6], 0.0, 1.0, &mut Rng::seed(1));
        let (y, indices) = max_pool_with_indices(&x, PoolOptions::new([2, 1, 3])).unwrap();
        let back = max_unpool(&y, &indices, [4, 5, 6]).unwrap();
        let kept = back.ne_scalar(0.0);
        assert_eq!(kept.count_nonzero(), y.len());
        assert_eq!(back, x.masked_fill(&kept.logical_not(), 0.0).unwrap());
        let empty = Tensor::<f64>::zeros([0, 3, 4]);
        let (y, indices) = max_pool_with_indices(&empty, PoolOptions::new([2])).unwrap();
        assert_eq!(*max_unpool(&y, &indices, [4]).unwrap().shape(), [0, 3, 4]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let x = Tensor::<f32>::zeros([1, 1, 4]);
        let flat = x.flatten(0, 1).unwrap();
        let rank = max_pool_with_indices(&flat, PoolOptions::new([2, 2])).unwrap_err().to_string();
        assert!(rank.starts_with("max_pool2d: expected an input with 2 axes"), "{rank}");
        let beside = PoolOptions { padding: [1], dilation: [5], ..PoolOptions::new([2]) };
        let beside = max_pool_with_indices(&x, beside).unwrap_err().to_string();
        assert!(beside.contains("a window is outside the image"), "{beside}");
        let refuse =
            |indices: Tensor<i64>, size| max_unpool(&x, &indices, [size]).unwrap_err().to_string();
        assert_eq!(
            refuse(Tensor::from([[[0, 1, 8, 3]]]), 8),
            "max_unpool1d: index 8 is out of range for the 8 elements of [1, 1, 8]"
        );
        assert!(refuse(Tensor::from([[[0, -1, 7, 3]]]), 8).contains("index -1 is out of range"));
        assert!(refuse(Tensor::from([[0, 1, 2, 3]]), 8).contains("expected indices of shape"));
        let x = Tensor::<f32>::zeros([0, 1, 4, 4]);
        let error = max_unpool(&x, &Tensor::zeros([0, 1, 4, 4]), [usize::MAX, 2]).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }
}
