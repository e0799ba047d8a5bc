//! Images looked up at the places of a grid (Jaderberg et al., "Spatial
//! transformer networks", 2015). Coordinates follow PyTorch's `grid_sample`.

use super::layout::sample;
use super::{Call, Cotangents, Op, Ops};
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::places::NOWHERE;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What the value at a place between pixels is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridSampleMode {
    /// Between the four pixels around it, on straight lines.
    #[default]
    Bilinear,
    /// That of the nearest pixel; the grid gets no gradient.
    Nearest,
}

/// What lies outside the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridSamplePadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The pixels at the border.
    Border,
    /// The image mirrored at its border, again and again.
    Reflection,
}

/// The settings of [`grid_sample`](super::Ops::grid_sample); those of PyTorch by
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridSampleOptions {
    /// What the value between pixels is (bilinear).
    pub mode: GridSampleMode,
    /// What lies outside the image (zeros).
    pub padding: GridSamplePadding,
    /// Whether −1 and 1 are the centres of the first and last pixels, and not
    /// their outer edges (they are not).
    pub align_corners: bool,
}

/// The elements of images `[N, C, H, W]` at the places of a grid `[N, rows,
/// columns, 2]`: (x, y) from (−1, −1), top left, to (1, 1), bottom right.
#[derive(Clone, Copy, Debug)]
pub struct GridSample {
    /// The settings.
    pub options: GridSampleOptions,
}

/// A coordinate of an image, and its derivative by that of the grid.
type Coordinate = (f64, f64);

/// A pixel that goes into a value: its place in the plane, if it is in it, its
/// weight, and the derivatives of the weight by x and y of the grid.
struct Tap<T> {
    pixel: usize,
    weight: T,
    slopes: [T; 2],
}

impl GridSampleOptions {
    /// Where a coordinate of the grid lies on an axis of `extent` pixels.
    fn coordinate(&self, x: f64, extent: usize) -> Coordinate {
        let last = extent as f64 - 1.0;
        let (place, slope) = match self.align_corners {
            true => ((x + 1.0) / 2.0 * last, last / 2.0),
            false => (((x + 1.0) * extent as f64 - 1.0) / 2.0, extent as f64 / 2.0),
        };
        match self.padding {
            GridSamplePadding::Zeros => (place, slope),
            GridSamplePadding::Border => clipped((place, slope), last),
            GridSamplePadding::Reflection => {
                let (low, high) = if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
                clipped(reflected((place, slope), low, high), last)
            }
        }
    }

    /// The pixels that go into the value at a place of the grid.
    fn taps<T: Float>(&self, [x, y]: [f64; 2], [height, width]: [usize; 2]) -> [Tap<T>; 4] {
        let ((x, by_x), (y, by_y)) = (self.coordinate(x, width), self.coordinate(y, height));
        let tap = |column: f64, row: f64, weight: f64, slopes: [f64; 2]| {
            let inside = |place: f64, extent: usize| place >= 0.0 && place < extent as f64;
            let pixel = match inside(column, width) && inside(row, height) {
                true => row as usize * width + column as usize,
                false => NOWHERE,
            };
            Tap { pixel, weight: T::from_f64(weight), slopes: slopes.map(T::from_f64) }
        };
        match self.mode {
            GridSampleMode::Nearest => {
                let nearest = tap(x.round_ties_even(), y.round_ties_even(), 1.0, [0.0; 2]);
                let none = || tap(-1.0, -1.0, 0.0, [0.0; 2]);
                [nearest, none(), none(), none()]
            }
            GridSampleMode::Bilinear => {
                let (left, top) = (x.floor(), y.floor());
                let (right_part, lower_part) = (x - left, y - top);
                let corner = |right: bool, lower: bool| {
                    let (wx, dx) =
                        if right { (right_part, by_x) } else { (1.0 - right_part, -by_x) };
                    let (wy, dy) =
                        if lower { (lower_part, by_y) } else { (1.0 - lower_part, -by_y) };
                    let step = |there: bool| f64::from(u8::from(there));
                    tap(left + step(right), top + step(lower), wx * wy, [dx * wy, wx * dy])
                };
                [(false, false), (true, false), (false, true), (true, true)]
                    .map(|(right, lower)| corner(right, lower))
            }
        }
    }
}

/// Limited to the pixels' centres; beyond them no gradient flows.
fn clipped((place, slope): Coordinate, last: f64) -> Coordinate {
    match place {
        place if place <= 0.0 => (0.0, 0.0),
        place if place >= last => (last, 0.0),
        place => (place, slope),
    }
}

/// Mirrored at both ends until it lies between them.
fn reflected((place, slope): Coordinate, low: f64, high: f64) -> Coordinate {
    let span = high - low;
    if span <= 0.0 {
        return (0.0, 0.0);
    }
    let distance = (place - low).abs();
    let slope = if place < low { -slope } else { slope };
    let rest = distance % span;
    match (distance / span).floor() % 2.0 == 0.0 {
        true => (rest + low, slope),
        false => (span - rest + low, -slope),
    }
}

/// The extents of one problem.
struct Extents {
    channels: usize,
    image: [usize; 2],
    /// Places of one sample's grid.
    places: usize,
}

impl GridSample {
    fn extents(x: &Shape, grid: &Shape) -> Extents {
        Extents { channels: x[1], image: [x[2], x[3]], places: grid[1] * grid[2] }
    }

    /// Four taps for each place of the grid.
    fn all_taps<T: Float>(&self, extents: &Extents, grid: &Tensor<T>) -> Vec<[Tap<T>; 4]> {
        grid.with_slice(|grid| {
            let places = grid.chunks_exact(2);
            let taps = places.map(|place| {
                self.options.taps([place[0].to_f64(), place[1].to_f64()], extents.image)
            });
            taps.collect()
        })
    }
}

fn misfit(x: &Shape, grid: &Shape) -> Error {
    let message = format!(
        "expected images [N, C, H, W] and a grid [N, rows, columns, 2], got {x} and {grid}"
    );
    Error::shape("grid_sample", message)
}

impl<T: Float> Op<T> for GridSample {
    type Saved = ();
    const NAME: &'static str = "grid_sample";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, grid) = (inputs[0], inputs[1]);
        let (&[batch, channels, height, width], &[grids, rows, columns, 2]) = (&x[..], &grid[..])
        else {
            return Err(misfit(x, grid));
        };
        if batch != grids {
            return Err(misfit(x, grid));
        }
        let output = Shape::from([batch, channels, rows, columns]);
        match output.checked_elements() {
            Some(values) if values == 0 || height * width > 0 => Ok(output),
            Some(_) => Err(Error::shape("grid_sample", format!("images {x} have no pixels"))),
            None => {
                let message = format!("{output} has too many elements to count");
                Err(Error::shape("grid_sample", message))
            }
        }
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, grid) = (inputs[0], inputs[1]);
        let extents = Self::extents(x.shape(), grid.shape());
        let Extents { channels, image: [height, width], places } = extents;
        let taps = self.all_taps(&extents, grid);
        let shape = [x.shape()[0], channels, grid.shape()[1], grid.shape()[2]];
        let y = x.with_slice(|x| {
            Tensor::build(shape, |out| {
                for_each_chunk(out, places, 8, |plane, out| {
                    let x = &x[plane * height * width..][..height * width];
                    let taps = &taps[plane / channels * places..][..places];
                    for (out, taps) in out.iter_mut().zip(taps) {
                        let inside = taps.iter().filter(|tap| tap.pixel != NOWHERE);
                        *out = inside.fold(T::ZERO, |sum, tap| sum + tap.weight * x[tap.pixel]);
                    }
                });
            })
        });
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, grid) = (&call.inputs[0], &call.inputs[1]);
        let extents = Self::extents(x.shape(), grid.shape());
        let Extents { channels, image: [height, width], places } = extents;
        let pixels = height * width;
        let taps = self.all_taps(&extents, grid);
        let g = call.cotangent.contiguous();
        let g = g.as_slice().expect("made contiguous");
        call.each(|input| match input {
            0 => Tensor::build(x.shape(), |dx| {
                dx.fill(T::ZERO);
                for_each_chunk(dx, pixels, 8 * places.div_ceil(pixels.max(1)), |plane, dx| {
                    let g = &g[plane * places..][..places];
                    let taps = &taps[plane / channels * places..][..places];
                    for (&g, taps) in g.iter().zip(taps) {
                        for tap in taps.iter().filter(|tap| tap.pixel != NOWHERE) {
                            dx[tap.pixel] += tap.weight * g;
                        }
                    }
                });
            }),
            _ => x.with_slice(|x| {
                Tensor::build(grid.shape(), |dgrid| {
                    for_each_chunk(dgrid, 2 * places, 8 * channels, |sample, dgrid| {
                        dgrid.fill(T::ZERO);
                        let taps = &taps[sample * places..][..places];
                        for plane in sample * channels..(sample + 1) * channels {
                            let x = &x[plane * pixels..][..pixels];
                            let g = &g[plane * places..][..places];
                            for ((d, &g), taps) in dgrid.chunks_exact_mut(2).zip(g).zip(taps) {
                                for tap in taps.iter().filter(|tap| tap.pixel != NOWHERE) {
                                    let value = g * x[tap.pixel];
                                    d[0] += value * tap.slopes[0];
                                    d[1] += value * tap.slopes[1];
                                }
                            }
                        }
                    });
                })
            }),
        })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        use GridSamplePadding::*;
        let mut rng = Rng::seed(23);
        // Places between pixels, inside and outside.
        let grid = Tensor::uniform([2, 2, 3, 2], -1.7, 1.7, &mut rng);
        let mut samples = Vec::new();
        for padding in [Zeros, Border, Reflection] {
            for align_corners in [false, true] {
                let mode = GridSampleMode::Bilinear;
                let options = GridSampleOptions { mode, padding, align_corners };
                let inputs = vec![sample(&[2, 2, 4, 3])[0].clone(), grid.clone()];
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

/// The grid that maps images of `[height, width]` by matrices `[N, 2, 3]`.
///
/// # Errors
///
/// When these are not the matrices' extents.
pub(super) fn affine_grid<X: Ops>(
    theta: &X,
    [height, width]: [usize; 2],
    align_corners: bool,
) -> Result<X> {
    let &[batch, 2, 3] = &theta.value().shape()[..] else {
        let message = format!("expected matrices [N, 2, 3], got {}", theta.value().shape());
        return Err(Error::shape("affine_grid", message));
    };
    let places = Shape::from([batch, height, width, 2]);
    if places.checked_elements().is_none() {
        let message = format!("{places} has too many elements to count");
        return Err(Error::shape("affine_grid", message));
    }
    let centre = |place: usize, extent: usize| match (align_corners, extent) {
        (_, 1) => 0.0,
        (true, _) => 2.0 * place as f64 / (extent - 1) as f64 - 1.0,
        (false, _) => (2.0 * place as f64 + 1.0) / extent as f64 - 1.0,
    };
    let pixels = Tensor::from_fn([height * width, 3], |i| {
        let (pixel, part) = (i / 3, i % 3);
        let value = match part {
            0 => centre(pixel % width, width),
            1 => centre(pixel / width, height),
            _ => 1.0,
        };
        X::Element::from_f64(value)
    });
    X::constant(pixels).matmul(&theta.transpose(1, 2)?)?.reshape(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Tensor<f64> {
        Tensor::arange(12).reshape([1, 1, 3, 4]).unwrap()
    }

    #[test]
    fn the_identity_leaves_an_image_as_it_is() {
        let theta = Tensor::from([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]);
        for align_corners in [false, true] {
            let grid = theta.affine_grid([3, 4], align_corners).unwrap();
            for mode in [GridSampleMode::Bilinear, GridSampleMode::Nearest] {
                let options =
                    GridSampleOptions { mode, align_corners, ..GridSampleOptions::default() };
                let y = image().grid_sample(&grid, options).unwrap();
                for (a, b) in y.to_vec().into_iter().zip(image().to_vec()) {
                    assert!((a - b).abs() < 1e-12, "{a} for {b}");
                }
            }
        }
    }

    #[test]
    fn outside_is_what_the_padding_says() {
        let at = |x: f64, padding| {
            let grid = Tensor::from([[[x, -1.0]]]).unsqueeze(0).unwrap();
            let align_corners = true;
            let options = GridSampleOptions { padding, align_corners, ..Default::default() };
            image().grid_sample(&grid, options).unwrap().item().unwrap()
        };
        // The first row is 0 1 2 3, from −1 to 1.
        assert_eq!(at(5.0 / 3.0, GridSamplePadding::Zeros), 0.0);
        assert_eq!(at(5.0 / 3.0, GridSamplePadding::Border), 3.0);
        assert!((at(5.0 / 3.0, GridSamplePadding::Reflection) - 2.0).abs() < 1e-12);
        assert!((at(-1.0 - 2.0 / 3.0, GridSamplePadding::Reflection) - 1.0).abs() < 1e-12);
        for padding in
            [GridSamplePadding::Zeros, GridSamplePadding::Border, GridSamplePadding::Reflection]
        {
            for far in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300] {
                at(far, padding);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let options = GridSampleOptions::default();
        let error = image().grid_sample(&Tensor::zeros([1, 2, 2, 3]), options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "grid_sample: expected images [N, C, H, W] and a grid [N, rows, columns, 2], got \
             [1, 1, 3, 4] and [1, 2, 2, 3]"
        );
        let empty = Tensor::<f64>::zeros([1, 1, 0, 4]);
        assert!(empty.grid_sample(&Tensor::zeros([1, 2, 2, 2]), options).is_err());
        assert!(Tensor::<f64>::zeros([2, 3]).affine_grid([2, 2], false).is_err());
    }
}
