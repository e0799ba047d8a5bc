//! Pooling with a given output size.

use std::ops::Range;

use super::max_pool2d::placed;
use super::transposed::linear_gradient;
use super::{Attributes, Call, Cotangents, Op, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The mean of each window, where the windows cover the image evenly: along an
/// axis of length n, window i of m covers the indices from ⌊i·n / m⌋ to ⌈(i +
/// 1)·n / m⌉, exclusive. When m does not divide n, neighbouring windows overlap
/// and differ in size by one.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d {
    /// The number of windows along `[height, width]`.
    pub output_size: [usize; 2],
}

/// The maximum of each window; the windows are those of [`AdaptiveAvgPool2d`].
/// NaN counts as larger than any number; the gradient goes to the first of
/// equal elements.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveMaxPool2d {
    /// The number of windows along `[height, width]`.
    pub output_size: [usize; 2],
}

/// Windows that cover a plane.
#[derive(Clone, Copy)]
struct Cover {
    input: [usize; 2],
    output: [usize; 2],
}

impl Cover {
    /// The windows over images of this shape and the shape of the output, or an
    /// error if they do not fit.
    fn new(context: &str, output: [usize; 2], x: &Shape) -> Result<(Self, Shape)> {
        let &[images, channels, height, width] = &x[..] else {
            let message = format!("expected an input of shape [N, C, height, width], got {x}");
            return Err(Error::shape(context, message));
        };
        if output.contains(&0) {
            let message = format!("the output size must be at least 1, got {output:?}");
            return Err(Error::argument(context, message));
        }
        Shape::from(output).check_memory::<f64>(context)?;
        let shape = Shape::from([images, channels, output[0], output[1]]);
        let input = [height, width];
        let fits = |axis: usize| {
            let steps = output[axis].checked_add(1).and_then(|n| n.checked_mul(input[axis]));
            input[axis] > 0 && steps.is_some_and(|steps| u32::try_from(steps).is_ok())
        };
        let fits = fits(0) && fits(1) && u32::try_from(height.saturating_mul(width)).is_ok();
        if !fits || shape.checked_elements().is_none() {
            let message = format!("{output:?} windows do not cover an image of {input:?}");
            return Err(Error::shape(context, message));
        }
        Ok((Self { input, output }, shape))
    }

    /// The number of elements of an input plane.
    fn input_length(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// The number of windows.
    fn output_length(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The cost of a window, in elementary steps.
    fn cost(&self) -> usize {
        let along = |axis: usize| self.input[axis] / self.output[axis] + 1;
        along(0) * along(1)
    }

    /// The number of planes per task.
    fn planes(&self) -> usize {
        rows_per_chunk(self.input_length().max(self.output_length()))
    }

    /// The indices that a window covers along an axis.
    fn range(&self, axis: usize, window: usize) -> Range<usize> {
        let (input, output) = (self.input[axis], self.output[axis]);
        window * input / output..((window + 1) * input).div_ceil(output)
    }

    /// Calls `work` with the number of each window and the offsets that it
    /// covers in the plane, one range for each row.
    fn for_each_window(&self, mut work: impl FnMut(usize, &mut dyn Iterator<Item = Range<usize>>)) {
        let width = self.input[1];
        for row in 0..self.output[0] {
            for column in 0..self.output[1] {
                let columns = self.range(1, column);
                let mut rows = self
                    .range(0, row)
                    .map(|row| row * width + columns.start..row * width + columns.end);
                work(row * self.output[1] + column, &mut rows);
            }
        }
    }

    /// The number of elements of each window.
    fn counts<T: Float>(&self) -> Vec<T> {
        let mut counts = vec![T::ZERO; self.output_length()];
        self.for_each_window(|window, rows| {
            counts[window] = T::from_f64(rows.map(|row| row.len()).sum::<usize>() as f64);
        });
        counts
    }
}

impl<T: Float> Op<T> for AdaptiveAvgPool2d {
    type Saved = ();
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(Cover::new("adaptive_avg_pool2d", self.output_size, inputs[0])?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let cover = Cover::new("", self.output_size, inputs[0].shape());
        let (cover, shape) = cover.expect("checked by the caller");
        let (image, windows, planes) =
            (cover.input_length(), cover.output_length(), cover.planes());
        let counts = cover.counts::<T>();
        let y = inputs[0].with_slice(|x| {
            Tensor::build(shape, |y| {
                for_each_chunk(y, planes * windows, cover.cost(), |index, y| {
                    let x = x[index * planes * image..].chunks_exact(image);
                    for (x, y) in x.zip(y.chunks_exact_mut(windows)) {
                        cover.for_each_window(|window, rows| {
                            let mut sum = T::ZERO;
                            rows.for_each(|row| x[row].iter().for_each(|&x| sum += x));
                            y[window] = sum / counts[window];
                        });
                    }
                });
            })
        });
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (cover, _) = Cover::new("", self.output_size, shape).expect("checked before");
        let (image, windows, planes) =
            (cover.input_length(), cover.output_length(), cover.planes());
        let counts = cover.counts::<T>();
        call.each(|_| {
            call.cotangent.with_slice(|g| {
                Tensor::build(shape, |out| {
                    for_each_chunk(out, planes * image, 2, |index, out| {
                        let g = g[index * planes * windows..].chunks_exact(windows);
                        for (g, out) in g.zip(out.chunks_exact_mut(image)) {
                            out.fill(T::ZERO);
                            cover.for_each_window(|window, rows| {
                                let share = g[window] / counts[window];
                                rows.for_each(|row| out[row].iter_mut().for_each(|x| *x += share));
                            });
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
        vec![("output_size", self.output_size.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        samples(|output_size| Self { output_size })
    }
}

impl<T: Float> Op<T> for AdaptiveMaxPool2d {
    /// The offset of the maximum of each window in its plane.
    type Saved = Tensor<u32>;
    const NAME: &'static str = "adaptive_max_pool2d";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(Cover::new("adaptive_max_pool2d", self.output_size, inputs[0])?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Tensor<u32>) {
        let cover = Cover::new("", self.output_size, inputs[0].shape());
        let (cover, shape) = cover.expect("checked by the caller");
        let (image, windows, planes) =
            (cover.input_length(), cover.output_length(), cover.planes());
        let length = planes * windows;
        inputs[0].with_slice(|x| {
            Tensor::build_pair(&shape, &shape, |y, offsets| {
                let cost = cover.cost();
                for_each_chunk_pair((y, length), (offsets, length), cost, |index, y, offsets| {
                    let x = x[index * planes * image..].chunks_exact(image);
                    let outputs =
                        y.chunks_exact_mut(windows).zip(offsets.chunks_exact_mut(windows));
                    for (x, (y, offsets)) in x.zip(outputs) {
                        cover.for_each_window(|window, rows| {
                            let mut best: Option<usize> = None;
                            for offset in rows.flatten() {
                                let larger =
                                    |best: usize| x[offset] > x[best] || x[offset].is_nan();
                                if best.is_none_or(larger) {
                                    best = Some(offset);
                                }
                            }
                            let best = best.expect("a window covers an element");
                            (y[window], offsets[window]) = (x[best], best as u32);
                        });
                    }
                });
            })
        })
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Tensor<u32>>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (cover, _) = Cover::new("", self.output_size, shape).expect("checked before");
        let (image, windows, planes) =
            (cover.input_length(), cover.output_length(), cover.planes());
        call.each(|_| {
            call.saved.with_slice(|offsets| {
                call.cotangent.with_slice(|g| {
                    Tensor::build(shape, |out| {
                        for_each_chunk(out, planes * image, 2, |index, out| {
                            let start = index * planes * windows;
                            let pairs = g[start..].chunks_exact(windows);
                            let pairs = pairs.zip(offsets[start..].chunks_exact(windows));
                            for ((g, offsets), out) in pairs.zip(out.chunks_exact_mut(image)) {
                                out.fill(T::ZERO);
                                for (&g, &offset) in g.iter().zip(offsets) {
                                    out[offset as usize] += g;
                                }
                            }
                        });
                    })
                })
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Tensor<u32>>) -> Result<TermCotangents<T>> {
        let indices = call.saved.map(i64::from);
        call.each(|_| placed(call.cotangent, &indices, call.inputs[0].shape()))
    }

    fn attributes(&self) -> Attributes {
        vec![("output_size", self.output_size.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        samples(|output_size| Self { output_size })
    }
}

fn samples<O, T: Float>(operation: impl Fn([usize; 2]) -> O) -> Vec<(O, Vec<Tensor<T>>)> {
    let mut rng = Rng::seed(16);
    let mut case = |shape: &[usize], output_size| {
        (operation(output_size), vec![Tensor::normal(shape, 0.0, 1.0, &mut rng)])
    };
    vec![
        case(&[2, 3, 6, 4], [3, 2]),
        case(&[2, 2, 7, 5], [3, 4]),
        case(&[1, 2, 3, 2], [5, 3]),
        case(&[2, 1, 4, 5], [1, 1]),
        case(&[0, 2, 4, 4], [2, 2]),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;
    use crate::Pool2dOptions;

    #[test]
    fn windows_that_divide_the_image_are_those_of_plain_pooling() {
        let x = Tensor::<f64>::normal([3, 2, 6, 8], 0.0, 1.0, &mut Rng::seed(1));
        let options = Pool2dOptions::new([2, 4]);
        assert_eq!(x.adaptive_max_pool2d([3, 2]).unwrap(), x.max_pool2d(options).unwrap());
        let means = x.avg_pool2d(options, true).unwrap();
        let difference = &x.adaptive_avg_pool2d([3, 2]).unwrap().view() - &means.view();
        assert!(difference.iter().all(|d| d.abs() < 1e-15));
    }

    #[test]
    fn uneven_windows_overlap() {
        let x = Tensor::<f64>::arange(5).reshape([1, 1, 1, 5]).unwrap();
        // 0 to 2, 1 to 4, 3 to 5.
        assert_eq!(x.adaptive_avg_pool2d([1, 3]).unwrap().to_vec(), [0.5, 2.0, 3.5]);
        assert_eq!(x.adaptive_max_pool2d([1, 3]).unwrap().to_vec(), [1.0, 3.0, 4.0]);
    }

    #[test]
    fn nan_and_infinities_stay_in_their_windows() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let x = Tensor::from([1.0, nan, inf, 2.0, -inf, -inf]).reshape([1, 1, 1, 6]).unwrap();
        let max = x.adaptive_max_pool2d([1, 3]).unwrap().to_vec();
        assert!(max[0].is_nan() && max[1..] == [inf, -inf], "{max:?}");
        let mean = x.adaptive_avg_pool2d([1, 3]).unwrap().to_vec();
        assert!(mean[0].is_nan() && mean[1..] == [inf, -inf], "{mean:?}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |shape: &[usize], output| {
            Tensor::<f32>::zeros(shape).adaptive_avg_pool2d(output).unwrap_err().to_string()
        };
        assert!(message(&[2, 3], [1, 1]).contains("expected an input of shape [N, C,"));
        assert!(message(&[1, 1, 3, 3], [0, 1]).contains("must be at least 1, got [0, 1]"));
        assert!(message(&[1, 1, 0, 3], [1, 1]).contains("do not cover an image of [0, 3]"));
        assert!(message(&[1, 1, 3, 3], [usize::MAX, 1]).contains("memory"));
    }
}
