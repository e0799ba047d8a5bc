//! Average pooling.

use super::max_pool2d::Pool2dOptions;
use super::transposed::linear_gradient;
use super::{Attributes, Call, Cotangents, Op, TermCall, TermCotangents};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::simd;
use crate::kernels::windows::Windows;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The mean of each window: the sum of the image's elements in the window,
/// divided by the number of the window's elements in the padded image or,
/// without `count_include_pad`, in the image, or by a given number. A window
/// outside the image is 0.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    /// Size, stride and padding of the windows.
    pub options: Pool2dOptions,
    /// Whether the padding counts.
    pub count_include_pad: bool,
    /// A divisor to use instead, at least 1.
    pub divisor_override: Option<usize>,
}

impl AvgPool2d {
    /// The windows over images of this shape, the offsets at which their taps
    /// start in a plane, and the divisor of each sum.
    fn plan<T: Float>(&self, shape: &Shape) -> (Windows, Vec<usize>, Vec<T>) {
        let (windows, _) =
            self.options.windows("avg_pool2d", shape).expect("checked by the caller");
        let [rows, columns] = windows.output();
        let all = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
        let count = |window| match self.divisor_override {
            Some(divisor) => divisor,
            None => windows.taps_inside(window, self.count_include_pad).max(1),
        };
        let counts = all.map(|window| T::from_f64(count(window) as f64)).collect();
        (windows, windows.starts().collect(), counts)
    }
}

/// Calls `work` for every output row and tap, with the offset of the row in the
/// plane and in the output.
#[inline(always)]
fn for_each_tap_row(windows: &Windows, starts: &[usize], mut work: impl FnMut(usize, usize)) {
    let [rows, columns] = windows.output();
    for row in 0..rows {
        for start in starts {
            work(start + row * windows.plane_row(), row * columns);
        }
    }
}

/// The fewest windows in a row for which adding whole rows pays, for windows
/// that are one column apart. For a larger stride the number is multiplied by
/// the stride, since each number of a row is then copied separately first.
const MIN_COLUMNS: usize = 16;

/// For narrow images, the offsets that each window covers; `None` where rows
/// are added instead.
fn covered(windows: &Windows, stride: usize) -> Option<Vec<Vec<usize>>> {
    let [rows, columns] = windows.output();
    if columns >= MIN_COLUMNS * stride {
        return None;
    }
    // An image that holds its own offsets shows which ones each tap reads.
    let image: Vec<i64> = (0..windows.image_length() as i64).collect();
    let mut plane = vec![-1; windows.plane_length()];
    windows.spread(&image, -1, &mut plane);
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
    let seen = all.map(|[row, column]| {
        let window = row * windows.plane_row() + column;
        let seen = windows.starts().map(|start| usize::try_from(plane[start + window]));
        seen.flatten().collect()
    });
    Some(seen.collect())
}

/// Adds the first values to the sums.
#[inline(always)]
fn add<T: Float>(values: &[T], sums: &mut [T]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

impl<T: Float> Op<T> for AvgPool2d {
    type Saved = ();
    const NAME: &'static str = "avg_pool2d";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        if self.divisor_override == Some(0) {
            return Err(Error::argument("avg_pool2d", "the divisor must be at least 1, got 0"));
        }
        Ok(self.options.windows("avg_pool2d", inputs[0])?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = Op::<T>::output_shape(self, &[inputs[0].shape()]).expect("checked before");
        let (windows, starts, counts) = self.plan::<T>(inputs[0].shape());
        let (image, positions) = (windows.image_length(), windows.positions());
        let [_, columns] = windows.output();
        let (images, narrow) = (rows_per_chunk(image), covered(&windows, self.options.stride[1]));
        let y = inputs[0].with_slice(|x| {
            Tensor::build(shape, |y| {
                for_each_chunk(y, images * positions, starts.len() + 1, |index, y| {
                    let mut plane = Buffer::new(windows.plane_length());
                    let plane = plane.as_mut_slice();
                    for (i, y) in y.chunks_exact_mut(positions).enumerate() {
                        let x = &x[(index * images + i) * image..][..image];
                        if let Some(covered) = &narrow {
                            for ((y, covered), &count) in y.iter_mut().zip(covered).zip(&counts) {
                                let add = |sum, &offset: &usize| sum + x[offset];
                                *y = covered.iter().fold(T::ZERO, add) / count;
                            }
                            continue;
                        }
                        windows.spread(x, T::ZERO, plane);
                        y.fill(T::ZERO);
                        simd::dispatch(
                            #[inline(always)]
                            || {
                                for_each_tap_row(
                                    &windows,
                                    &starts,
                                    #[inline(always)]
                                    |from, to| add(&plane[from..], &mut y[to..][..columns]),
                                );
                                for (y, &count) in y.iter_mut().zip(&counts) {
                                    *y /= count;
                                }
                            },
                        );
                    }
                });
            })
        });
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (windows, starts, counts) = self.plan::<T>(shape);
        let (image, positions) = (windows.image_length(), windows.positions());
        let [_, columns] = windows.output();
        let (images, narrow) = (rows_per_chunk(image), covered(&windows, self.options.stride[1]));
        call.each(|_| {
            call.cotangent.with_slice(|g| {
                Tensor::build(shape, |out| {
                    for_each_chunk(out, images * image, 2, |index, out| {
                        let mut plane = Buffer::new(windows.plane_length());
                        let plane = plane.as_mut_slice();
                        let mut shares = Buffer::new(positions);
                        let shares = shares.as_mut_slice();
                        for (i, out) in out.chunks_exact_mut(image).enumerate() {
                            let g = &g[(index * images + i) * positions..][..positions];
                            if let Some(covered) = &narrow {
                                out.fill(T::ZERO);
                                for ((&g, covered), &count) in g.iter().zip(covered).zip(&counts) {
                                    covered.iter().for_each(|&offset| out[offset] += g / count);
                                }
                                continue;
                            }
                            plane.fill(T::ZERO);
                            simd::dispatch(
                                #[inline(always)]
                                || {
                                    for ((share, &g), &count) in
                                        shares.iter_mut().zip(g).zip(&counts)
                                    {
                                        *share = g / count;
                                    }
                                    for_each_tap_row(
                                        &windows,
                                        &starts,
                                        #[inline(always)]
                                        |to, from| {
                                            add(&shares[from..], &mut plane[to..][..columns])
                                        },
                                    );
                                },
                            );
                            windows.collect(plane, T::ZERO, out);
                        }
                    });
                })
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        linear_gradient(self, &call)
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = self.options.attributes();
        attributes.push(("count_include_pad", self.count_include_pad.into()));
        attributes.push(("divisor_override", self.divisor_override.into()));
        attributes
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(14);
        let mut with_divisor = |shape: &[usize], options, count_include_pad, divisor_override| {
            let x = Tensor::normal(shape, 0.0, 1.0, &mut rng);
            (AvgPool2d { options, count_include_pad, divisor_override }, vec![x])
        };
        let mut case = |shape: &[usize], options, count| with_divisor(shape, options, count, None);
        let overlapping =
            Pool2dOptions { stride: [2, 1], padding: [1, 1], ..Pool2dOptions::new([3, 2]) };
        let everything = Pool2dOptions { dilation: [2, 1], ceil_mode: true, ..overlapping };
        vec![
            case(&[2, 3, 4, 6], Pool2dOptions::new([2, 2]), true),
            case(&[2, 1, 6, 20], overlapping, false),
            case(&[2, 2, 5, 6], overlapping, true),
            case(&[2, 2, 5, 6], overlapping, false),
            case(&[1, 2, 6, 5], everything, true),
            case(&[1, 2, 6, 5], everything, false),
            case(&[0, 2, 4, 4], overlapping, false),
            with_divisor(&[1, 2, 6, 5], everything, false, Some(3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    #[test]
    fn the_padding_counts_only_if_asked() {
        let x = Tensor::<f64>::ones([1, 1, 3, 3]);
        let options = Pool2dOptions { padding: [1, 1], ..Pool2dOptions::new([2, 2]) };
        let counted = x.avg_pool2d(options, true).unwrap().to_vec();
        assert_eq!(counted, [0.25, 0.5, 0.5, 1.0]);
        assert_eq!(x.avg_pool2d(options, false).unwrap().to_vec(), [1.0; 4]);
        // A window that extends beyond the padding counts only the elements
        // within it.
        let ceil = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::new([2, 2]) };
        assert_eq!(x.avg_pool2d(ceil, true).unwrap().to_vec(), [1.0; 4]);
    }

    #[test]
    fn a_whole_image_gives_its_mean() {
        let x = Tensor::<f64>::normal([3, 2, 5, 7], 0.0, 1.0, &mut Rng::seed(1));
        let pooled = x.avg_pool2d(Pool2dOptions::new([5, 7]), true).unwrap();
        let means = x.mean_axes(&[2, 3], true).unwrap();
        let difference = &pooled.view() - &means.view();
        assert!(difference.iter().all(|d| d.abs() < 1e-14));
    }
}
