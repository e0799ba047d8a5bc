//! Images and volumes sampled at the coordinates of a grid (Jaderberg et al.,
//! "Spatial transformer networks", 2015). Coordinates follow PyTorch's
//! `grid_sample`.
//!
//! The weight of a pixel is the product of its weights along each axis.

use super::interpolate::{cubic_slopes, cubic_weights};
use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, TermCall, TermCotangents};
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::offsets::NOWHERE;
use crate::kernels::parallel::for_each_chunk;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a value between pixels is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridSampleMode {
    /// Linear interpolation between the two nearest pixels along each axis.
    #[default]
    Bilinear,
    /// The value of the nearest pixel; the grid gets no gradient.
    Nearest,
    /// Cubic convolution of the four nearest pixels along each axis, with a =
    /// −0.75 (Keys, 1981); for images only.
    Bicubic,
}

/// The values outside the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridSamplePadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest pixels at the border.
    Border,
    /// The image mirrored at its borders, repeatedly.
    Reflection,
}

/// The settings of [`grid_sample`](super::Ops::grid_sample); the defaults are
/// PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridSampleOptions {
    /// How values between pixels are computed (bilinear).
    pub mode: GridSampleMode,
    /// The values outside the image (zeros).
    pub padding: GridSamplePadding,
    /// Whether −1 and 1 are the centres of the first and last pixels instead of
    /// their outer edges (false).
    pub align_corners: bool,
}

/// The elements of images `[N, C, H, W]` at the coordinates of a grid `[N,
/// rows, columns, 2]`: (x, y) from (−1, −1), top left, to (1, 1), bottom right;
/// or those of volumes `[N, C, D, H, W]` at (x, y, z).
#[derive(Clone, Copy, Debug)]
pub struct GridSample {
    /// The settings.
    pub options: GridSampleOptions,
}

/// A coordinate in pixels, and its derivative by the coordinate of the grid.
type Coordinate = (f64, f64);

/// A pixel that contributes to a value: its index in the plane if it is inside,
/// its weight, and the derivatives of the weight by each coordinate of the
/// grid.
struct Tap<T, const D: usize> {
    pixel: usize,
    weight: T,
    slopes: [T; D],
}

/// A tap along one axis: the index, its weight, and the derivative of the
/// weight.
#[derive(Clone, Copy)]
struct AxisTap {
    index: usize,
    weight: f64,
    slope: f64,
}

impl GridSampleOptions {
    /// Converts a coordinate of the grid to pixels of an axis of `length`
    /// pixels.
    fn unpadded(&self, x: f64, length: usize) -> Coordinate {
        let last = length as f64 - 1.0;
        match self.align_corners {
            true => ((x + 1.0) / 2.0 * last, last / 2.0),
            false => (((x + 1.0) * length as f64 - 1.0) / 2.0, length as f64 / 2.0),
        }
    }

    /// A coordinate on an axis of `length` pixels, after the padding has mapped
    /// it into the axis.
    fn padded(&self, coordinate: Coordinate, length: usize) -> Coordinate {
        let last = length as f64 - 1.0;
        match self.padding {
            GridSamplePadding::Zeros => coordinate,
            GridSamplePadding::Border => clipped(coordinate, last),
            GridSamplePadding::Reflection => {
                let (low, high) = if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
                clipped(reflected(coordinate, low, high), last)
            }
        }
    }

    /// The number of taps along one axis.
    fn taps_along(&self) -> usize {
        match self.mode {
            GridSampleMode::Nearest => 1,
            GridSampleMode::Bilinear => 2,
            GridSampleMode::Bicubic => 4,
        }
    }

    /// The distance of a coordinate of the grid from the pixel before it, from
    /// 0 to 1, and the derivative of that.
    fn rest(&self, x: f64, length: usize) -> Coordinate {
        let unpadded = self.unpadded(x, length);
        // With cubic convolution, the padding is applied to each pixel
        // separately.
        let (position, by_x) = match self.mode {
            GridSampleMode::Bicubic => unpadded,
            GridSampleMode::Bilinear | GridSampleMode::Nearest => self.padded(unpadded, length),
        };
        (position - position.floor(), by_x)
    }

    /// The taps of a coordinate of the grid along an axis of `length` pixels;
    /// only the first [`taps_along`](Self::taps_along) are used.
    fn along(&self, x: f64, length: usize) -> [AxisTap; 4] {
        let tap = |pixel: f64, weight: f64, slope| {
            // At a NaN coordinate the value is NaN.
            let inside = pixel >= 0.0 && pixel < length as f64 || weight.is_nan();
            AxisTap { index: if inside { pixel as usize } else { NOWHERE }, weight, slope }
        };
        let unpadded = self.unpadded(x, length);
        let (position, by_x) = self.padded(unpadded, length);
        let first = position.floor();
        let rest = position - first;
        let none = tap(-1.0, 0.0, 0.0);
        match self.mode {
            GridSampleMode::Nearest => {
                [tap(position.round_ties_even(), 1.0, 0.0), none, none, none]
            }
            GridSampleMode::Bilinear => {
                [tap(first, 1.0 - rest, -by_x), tap(first + 1.0, rest, by_x), none, none]
            }
            // The padding is applied to each pixel separately.
            GridSampleMode::Bicubic => {
                let (position, by_x) = unpadded;
                let rest = position - position.floor();
                let (weights, slopes) = (cubic_weights(rest), cubic_slopes(rest));
                std::array::from_fn(|i| {
                    let pixel = (position.floor() + i as f64 - 1.0, 0.0);
                    tap(self.padded(pixel, length).0, weights[i], by_x * slopes[i])
                })
            }
        }
    }

    /// Adds the pixels that contribute to the value at a coordinate of the
    /// grid; those along the first axis are adjacent.
    fn push_taps<T: Float, const D: usize>(
        &self,
        position: [f64; D],
        sizes: [usize; D],
        taps: &mut Vec<Tap<T, D>>,
    ) {
        let along: [[AxisTap; 4]; D] =
            std::array::from_fn(|axis| self.along(position[axis], sizes[axis]));
        let count = self.taps_along();
        for tap in 0..count.pow(D as u32) {
            let (mut digits, mut stride, mut pixel, mut weight) = (tap, 1, 0, 1.0);
            let mut slopes = [1.0; D];
            for axis in 0..D {
                let AxisTap { index, weight: factor, slope } = along[axis][digits % count];
                digits /= count;
                pixel = match pixel == NOWHERE || index == NOWHERE {
                    true => NOWHERE,
                    false => pixel + index * stride,
                };
                stride *= sizes[axis];
                weight *= factor;
                for (by, product) in slopes.iter_mut().enumerate() {
                    *product *= if by == axis { slope } else { factor };
                }
            }
            taps.push(Tap { pixel, weight: T::from_f64(weight), slopes: slopes.map(T::from_f64) });
        }
    }
}

/// Limits a coordinate to the centres of the pixels; beyond them the gradient
/// is 0.
fn clipped((position, slope): Coordinate, last: f64) -> Coordinate {
    match position {
        position if position >= last => (last, 0.0),
        position if position > 0.0 => (position, slope),
        // For NaN too, as in PyTorch.
        _ => (0.0, 0.0),
    }
}

/// Mirrors a coordinate at both ends until it is between them.
fn reflected((position, slope): Coordinate, low: f64, high: f64) -> Coordinate {
    let span = high - low;
    if span <= 0.0 {
        return (0.0, 0.0);
    }
    let distance = (position - low).abs();
    let slope = if position < low { -slope } else { slope };
    let rest = distance % span;
    match (distance / span).floor() % 2.0 == 0.0 {
        true => (rest + low, slope),
        false => (span - rest + low, -slope),
    }
}

/// The sizes of one call.
struct Sizes<const D: usize> {
    channels: usize,
    /// The lengths of the axes of an image, from the last axis on, in the order
    /// of coordinates.
    image: [usize; D],
    /// The number of elements of one image.
    pixels: usize,
    /// The number of coordinates in the grid of one sample.
    points: usize,
    /// The number of taps for each coordinate.
    taps: usize,
}

impl GridSample {
    fn sizes<const D: usize>(&self, x: &Shape, grid: &Shape) -> Sizes<D> {
        let image = std::array::from_fn(|axis| x[x.len() - 1 - axis]);
        Sizes {
            channels: x[1],
            image,
            pixels: image.iter().product(),
            points: grid[1..=D].iter().product(),
            taps: self.options.taps_along().pow(D as u32),
        }
    }

    /// The taps of all coordinates of the grid.
    fn all_taps<T: Float, const D: usize>(
        &self,
        sizes: &Sizes<D>,
        grid: &Tensor<T>,
    ) -> Vec<Tap<T, D>> {
        grid.with_slice(|grid| {
            let mut taps = Vec::with_capacity(grid.len() / D * sizes.taps);
            for position in grid.as_chunks::<D>().0 {
                self.options.push_taps(position.map(T::to_f64), sizes.image, &mut taps);
            }
            taps
        })
    }

    fn output<T: Float, const D: usize>(&self, x: &Tensor<T>, grid: &Tensor<T>) -> Tensor<T> {
        let sizes = self.sizes::<D>(x.shape(), grid.shape());
        let taps = self.all_taps(&sizes, grid);
        let Sizes { channels, pixels, points, taps: each, .. } = sizes;
        let batch = [x.shape()[0], channels];
        let shape: Shape = batch.iter().chain(&grid.shape()[1..=D]).copied().collect();
        x.with_slice(|x| {
            Tensor::build(shape, |out| {
                for_each_chunk(out, points, 2 * each, |plane, out| {
                    let x = &x[plane * pixels..][..pixels];
                    let taps = &taps[plane / channels * points * each..][..points * each];
                    for (out, taps) in out.iter_mut().zip(taps.chunks_exact(each)) {
                        let inside = taps.iter().filter(|tap| tap.pixel != NOWHERE);
                        *out = inside.fold(T::ZERO, |sum, tap| sum + tap.weight * x[tap.pixel]);
                    }
                });
            })
        })
    }

    fn gradients<T: Float, const D: usize>(&self, call: &Call<'_, T, ()>) -> Cotangents<T> {
        let (x, grid) = (&call.inputs[0], &call.inputs[1]);
        let sizes = self.sizes::<D>(x.shape(), grid.shape());
        let taps = self.all_taps(&sizes, grid);
        let Sizes { channels, pixels, points, taps: each, .. } = sizes;
        let g = call.cotangent.contiguous();
        let g = g.as_slice().expect("made contiguous");
        call.each(|input| match input {
            0 => Tensor::build(x.shape(), |dx| {
                dx.fill(T::ZERO);
                let cost = 2 * each * points.div_ceil(pixels.max(1));
                for_each_chunk(dx, pixels, cost, |plane, dx| {
                    let g = &g[plane * points..][..points];
                    let taps = &taps[plane / channels * points * each..][..points * each];
                    for (&g, taps) in g.iter().zip(taps.chunks_exact(each)) {
                        for tap in taps.iter().filter(|tap| tap.pixel != NOWHERE) {
                            dx[tap.pixel] += tap.weight * g;
                        }
                    }
                });
            }),
            _ => x.with_slice(|x| {
                Tensor::build(grid.shape(), |dgrid| {
                    for_each_chunk(dgrid, D * points, 2 * each * channels, |sample, dgrid| {
                        dgrid.fill(T::ZERO);
                        let taps = &taps[sample * points * each..][..points * each];
                        for plane in sample * channels..(sample + 1) * channels {
                            let x = &x[plane * pixels..][..pixels];
                            let g = &g[plane * points..][..points];
                            let dgrid = dgrid.as_chunks_mut::<D>().0;
                            for ((d, &g), taps) in dgrid.iter_mut().zip(g).zip(taps.chunks(each)) {
                                for tap in taps.iter().filter(|tap| tap.pixel != NOWHERE) {
                                    let value = g * x[tap.pixel];
                                    for (d, &slope) in d.iter_mut().zip(&tap.slopes) {
                                        *d += value * slope;
                                    }
                                }
                            }
                        }
                    });
                })
            }),
        })
    }
}

fn misfit(x: &Shape, grid: &Shape) -> Error {
    let message = format!(
        "expected images [N, C, H, W] and a grid [N, rows, columns, 2], or volumes [N, C, D, H, W] \
         and a grid [N, slices, rows, columns, 3], got {x} and {grid}"
    );
    Error::shape("grid_sample", message)
}

impl<T: Float> Op<T> for GridSample {
    type Saved = ();
    const NAME: &'static str = "grid_sample";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, grid) = (inputs[0], inputs[1]);
        let axes = x.len().wrapping_sub(2);
        let fits = matches!(axes, 2 | 3) && grid.len() == axes + 2 && grid.ends_with(&[axes]);
        if !fits || x[0] != grid[0] {
            return Err(misfit(x, grid));
        }
        if axes == 3 && self.options.mode == GridSampleMode::Bicubic {
            return Err(Error::argument("grid_sample", "the mode Bicubic is for images only"));
        }
        let output: Shape = x[..2].iter().chain(&grid[1..=axes]).copied().collect();
        match output.checked_elements() {
            Some(values) if values == 0 || !x[2..].contains(&0) => Ok(output),
            Some(_) => Err(Error::shape(
                "grid_sample",
                format!("expected images with pixels, got shape {x}"),
            )),
            None => {
                let message = format!("the number of elements of {output} overflows");
                Err(Error::shape("grid_sample", message))
            }
        }
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let y = match inputs[0].rank() {
            4 => self.output::<T, 2>(inputs[0], inputs[1]),
            _ => self.output::<T, 3>(inputs[0], inputs[1]),
        };
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        match call.inputs[0].rank() {
            4 => self.gradients::<T, 2>(&call),
            _ => self.gradients::<T, 3>(&call),
        }
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.compose(|inputs| self.composed(&inputs[0], &inputs[1]))
    }

    fn attributes(&self) -> Attributes {
        let GridSampleOptions { mode, padding, align_corners } = self.options;
        let mode = match mode {
            GridSampleMode::Bilinear => "bilinear",
            GridSampleMode::Nearest => "nearest",
            GridSampleMode::Bicubic => "bicubic",
        };
        let padding = match padding {
            GridSamplePadding::Zeros => "zeros",
            GridSamplePadding::Border => "border",
            GridSamplePadding::Reflection => "reflection",
        };
        vec![
            ("mode", mode.into()),
            ("padding", padding.into()),
            ("align_corners", align_corners.into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        use GridSamplePadding::*;
        let mut rng = Rng::seed(23);
        // Coordinates between pixels, inside and outside the image.
        let grid = Tensor::uniform([2, 2, 3, 2], -1.7, 1.7, &mut rng);
        let deep = Tensor::uniform([2, 1, 2, 3, 3], -1.7, 1.7, &mut rng);
        let mut samples = Vec::new();
        for padding in [Zeros, Border, Reflection] {
            for align_corners in [false, true] {
                for mode in [GridSampleMode::Bilinear, GridSampleMode::Bicubic] {
                    let options = GridSampleOptions { mode, padding, align_corners };
                    let inputs = vec![sample(&[2, 2, 4, 3])[0].clone(), grid.clone()];
                    samples.push((Self { options }, inputs));
                }
                let options =
                    GridSampleOptions { padding, align_corners, ..GridSampleOptions::default() };
                let inputs = vec![sample(&[2, 2, 2, 4, 3])[0].clone(), deep.clone()];
                samples.push((Self { options }, inputs));
            }
        }
        let mode = GridSampleMode::Nearest;
        let options = GridSampleOptions { mode, ..GridSampleOptions::default() };
        samples.push((Self { options }, vec![sample(&[2, 1, 4, 3])[0].clone(), grid]));
        let none = vec![Tensor::zeros([0, 2, 4, 3]), Tensor::zeros([0, 2, 3, 2])];
        samples.push((Self { options }, none));
        samples
    }
}

/// The grid that maps images of `[height, width]` by matrices `[N, 2, 3]`, or
/// volumes of `[depth, height, width]` by matrices `[N, 3, 4]`.
///
/// # Errors
///
/// When the matrices have another shape.
pub(super) fn affine_grid<X: Ops>(
    theta: &X,
    output_size: &[usize],
    align_corners: bool,
) -> Result<X> {
    let axes = output_size.len();
    let shape = theta.value().shape();
    if !matches!(axes, 2 | 3) || shape.len() != 3 || shape[1..] != [axes, axes + 1] {
        let message = format!(
            "expected matrices [N, 2, 3] and the size of an image, or [N, 3, 4] and that of a \
             volume, got {shape} and {output_size:?}"
        );
        return Err(Error::shape("affine_grid", message));
    }
    let size = output_size.iter().copied();
    let points: Shape = [shape[0]].into_iter().chain(size).chain([axes]).collect();
    if points.checked_elements().is_none() {
        let message = format!("the number of elements of {points} overflows");
        return Err(Error::shape("affine_grid", message));
    }
    let centre = |position: usize, length: usize| match (align_corners, length) {
        (_, 1) => 0.0,
        (true, _) => 2.0 * position as f64 / (length - 1) as f64 - 1.0,
        (false, _) => (2.0 * position as f64 + 1.0) / length as f64 - 1.0,
    };
    // (x, y, 1) of each pixel, or (x, y, z, 1) in volumes, with the last axis
    // first.
    let pixels = Tensor::from_fn([output_size.iter().product(), axes + 1], |i| {
        let (pixel, part) = (i / (axes + 1), i % (axes + 1));
        let value = match output_size.iter().rev().nth(part) {
            Some(&length) => {
                let stride: usize = output_size[axes - part..].iter().product();
                centre(pixel / stride % length, length)
            }
            None => 1.0,
        };
        X::Element::from_f64(value)
    });
    X::constant(pixels).matmul(&theta.transpose(1, 2)?)?.reshape(points)
}

mod terms;
#[cfg(test)]
mod tests;
