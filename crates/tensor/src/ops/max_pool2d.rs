//! Max pooling.

use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use crate::kernels::quarters::{
    BLOCK, HALF_BLOCK, for_each_block, quarters_backward, quarters_forward,
};
use crate::kernels::simd;
use crate::kernels::windows::{Sliding, Windows};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Size, stride and padding of the windows of a pooling, in elements along each
/// of `D` axes.
///
/// ```
/// use dendra_tensor::Pool2dOptions;
///
/// let halve = Pool2dOptions::new([2, 2]);
/// assert_eq!(halve.stride, [2, 2]);
/// let overlap = Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new([3, 3]) };
/// assert_eq!(overlap.dilation, [1, 1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions<const D: usize> {
    /// The number of elements of a window.
    pub kernel_size: [usize; D],
    /// The distance between two windows.
    pub stride: [usize; D],
    /// The number of elements added on both sides, at most half of the kernel.
    pub padding: [usize; D],
    /// The distance between two elements of a window.
    pub dilation: [usize; D],
    /// Whether the number of windows is rounded up, so that the last window may
    /// extend beyond the padding; a window that would start there is dropped.
    pub ceil_mode: bool,
}

/// [`PoolOptions`] along `[height, width]`.
pub type Pool2dOptions = PoolOptions<2>;

impl<const D: usize> PoolOptions<D> {
    /// Adjacent windows without padding.
    pub fn new(kernel_size: [usize; D]) -> Self {
        Self {
            kernel_size,
            stride: kernel_size,
            padding: [0; D],
            dilation: [1; D],
            ceil_mode: false,
        }
    }
}

impl<const D: usize> PoolOptions<D> {
    pub(super) fn attributes(&self) -> Attributes {
        vec![
            ("kernel_size", self.kernel_size.into()),
            ("stride", self.stride.into()),
            ("padding", self.padding.into()),
            ("dilation", self.dilation.into()),
            ("ceil_mode", self.ceil_mode.into()),
        ]
    }
}

impl Pool2dOptions {
    /// The windows over images of this shape and the shape of the output, or an
    /// error if they do not fit.
    pub(super) fn windows(&self, context: &str, x: &Shape) -> Result<(Windows, Shape)> {
        let Self { kernel_size, stride, padding, dilation, ceil_mode } = *self;
        let &[images, channels, height, width] = &x[..] else {
            return Err(Error::shape(
                context,
                format!("expected an input of shape [N, C, height, width], got {x}"),
            ));
        };
        if padding[0] > kernel_size[0] / 2 || padding[1] > kernel_size[1] / 2 {
            let message = format!(
                "the padding {padding:?} must be at most half of the kernel {kernel_size:?}"
            );
            return Err(Error::argument(context, message));
        }
        let sliding = Sliding { kernel_size, stride, padding, dilation, ceil_mode };
        let windows = Windows::new(context, [height, width], &sliding)?;
        let [rows, columns] = windows.output();
        let output = Shape::from([images, channels, rows, columns]);
        let taps = Shape::from(kernel_size).checked_elements();
        if output.checked_elements().is_none() || taps.is_none_or(|taps| taps >= NOWHERE as usize) {
            let message = format!("a kernel of {kernel_size:?} over {x} is too large");
            return Err(Error::shape(context, message));
        }
        Ok((windows, output))
    }
}

/// The maximum of each window; see [`Pool2dOptions`]. The padding counts as −∞,
/// and a NaN as larger than any number. The gradient goes to the first of equal
/// elements and to the last of several NaNs, as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// Size, stride and padding of the windows.
    pub options: Pool2dOptions,
}

/// The position of the maximum of each window.
#[derive(Debug)]
pub enum MaxPositions {
    /// The index of one of the four elements of a 2×2 window.
    Quarters(Tensor<u8>),
    /// The tap, in row-major order; `u32::MAX` for a window outside the image.
    Taps(Tensor<u32>),
}

/// The tap of a window that covers no element of the image.
const NOWHERE: u32 = u32::MAX;

/// Whether the windows are adjacent and of size 2×2.
fn are_quarters(options: &Pool2dOptions, windows: &Windows) -> bool {
    let cut = Pool2dOptions { ceil_mode: options.ceil_mode, ..Pool2dOptions::new([2, 2]) };
    *options == cut && windows.output() == windows.input().map(|size| size / 2)
}

/// The maximum and its tap for each window over a plane; `maxima` holds the
/// first tap of each window that is inside the image.
#[inline(always)]
fn plane_forward<T: Float>(
    windows: &Windows,
    plane: &[T],
    starts: &[usize],
    y: &mut [T],
    maxima: &mut [u32],
) {
    let [_, columns] = windows.output();
    let rows = y.chunks_exact_mut(columns).zip(maxima.chunks_exact_mut(columns));
    for (row, (y, maxima)) in rows.enumerate() {
        let plane = &plane[row * windows.plane_row()..];
        for_each_block(
            columns,
            #[inline(always)]
            |start, length| {
                let (plane, y, maxima) = (&plane[start..], &mut y[start..], &mut maxima[start..]);
                match length {
                    BLOCK => block_forward::<T, BLOCK>(plane, starts, y, maxima),
                    HALF_BLOCK => block_forward::<T, HALF_BLOCK>(plane, starts, y, maxima),
                    _ => block_forward::<T, 1>(plane, starts, y, maxima),
                }
            },
        );
    }
}

/// Like [`plane_forward`], for the first `N` windows.
#[inline(always)]
fn block_forward<T: Float, const N: usize>(
    plane: &[T],
    starts: &[usize],
    y: &mut [T],
    maxima: &mut [u32],
) {
    let first: &[u32; N] = maxima.first_chunk().expect("a tap for each window");
    let (mut max, mut taps) = ([T::LOWEST; N], *first);
    for (tap, &start) in starts.iter().enumerate() {
        let values: &[T; N] = plane[start..].first_chunk().expect("an element for each window");
        for i in 0..N {
            let better = (values[i] > max[i]) | values[i].is_nan();
            max[i] = if better { values[i] } else { max[i] };
            taps[i] = if better { tap as u32 } else { taps[i] };
        }
    }
    y[..N].copy_from_slice(&max);
    maxima[..N].copy_from_slice(&taps);
}

/// The gradient of an image, from the tap of each window's maximum.
fn taps_backward<T: Float>(
    windows: &Windows,
    taps: &[u32],
    offsets: &[usize],
    g: &[T],
    gradient: &mut [T],
) {
    let [_, columns] = windows.output();
    gradient.fill(T::ZERO);
    let rows = taps.chunks_exact(columns).zip(g.chunks_exact(columns));
    for (row, (taps, g)) in rows.enumerate() {
        for (column, (&tap, &g)) in taps.iter().zip(g).enumerate() {
            if tap != NOWHERE {
                let start = windows.image_start([row, column]);
                gradient[start.wrapping_add(offsets[tap as usize])] += g;
            }
        }
    }
}

/// For each window the first tap inside the image.
fn first_taps(windows: &Windows) -> Vec<u32> {
    let [rows, columns] = windows.output();
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
    all.map(|window| windows.first_tap(window).map_or(NOWHERE, |tap| tap as u32)).collect()
}

impl MaxPositions {
    /// The tap of each window's maximum.
    fn taps(&self) -> Vec<u32> {
        match self {
            MaxPositions::Quarters(maxima) => maxima.map(u32::from).to_vec(),
            MaxPositions::Taps(taps) => taps.to_vec(),
        }
    }
}

/// For windows of this shape, the row-major index in the image of the element
/// at each window's tap; −1 where there is no tap.
pub(super) fn image_indices(windows: &Windows, shape: Shape, taps: &[u32]) -> Tensor<i64> {
    let offsets: Vec<usize> = windows.image_offsets().collect();
    let [rows, columns] = windows.output();
    let all = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
    let starts: Vec<usize> = all.map(|window| windows.image_start(window)).collect();
    let mut indices = Vec::with_capacity(taps.len());
    for taps in taps.chunks_exact(starts.len()) {
        indices.extend(taps.iter().zip(&starts).map(|(&tap, start)| {
            let offset = offsets.get(tap as usize);
            offset.map_or(-1, |&offset| start.wrapping_add(offset) as i64)
        }));
    }
    Tensor::from_vec(indices, shape).expect("a tap for each window")
}

/// Images of a shape with the elements of `g` added at the row-major `indices`;
/// elements with a negative index are dropped. Both have one shape, `[N, C,
/// windows]` or `[N, C, rows, columns]`.
pub(super) fn placed<T: Float>(
    g: &Term<T>,
    indices: &Tensor<i64>,
    shape: &Shape,
) -> Result<Term<T>> {
    let zeros = Term::constant(Tensor::zeros(shape));
    if shape.elements() == 0 {
        return Ok(zeros);
    }
    let (mut g, mut indices) = (g.flatten(2, -1)?, indices.flatten(2, -1)?);
    let left_out = indices.lt_scalar(0);
    if left_out.any() {
        g = g.masked_fill(&left_out, 0.0)?;
        indices = indices.map(|index| index.max(0));
    }
    zeros.flatten(2, -1)?.scatter_add(-1, &indices, &g)?.reshape(shape.clone())
}

impl MaxPool2d {
    /// For each window the row-major index of its maximum in the image.
    pub(super) fn indices<T: Float>(&self, x: &Tensor<T>) -> Result<Tensor<i64>> {
        let (windows, shape) = self.options.windows("max_pool2d", x.shape())?;
        let taps = self.forward(&[x]).1.taps();
        if taps.contains(&NOWHERE) {
            let message = "a window is outside the image, so it has no maximum";
            return Err(Error::argument("max_pool2d", message));
        }
        Ok(image_indices(&windows, shape, &taps))
    }
}

impl<T: Float> Op<T> for MaxPool2d {
    type Saved = MaxPositions;
    const NAME: &'static str = "max_pool2d";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.options.windows("max_pool2d", inputs[0])?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, MaxPositions) {
        let (windows, shape) =
            self.options.windows("max_pool2d", inputs[0].shape()).expect("checked by the caller");
        let (image, positions) = (windows.image_length(), windows.positions());
        let [_, width] = windows.input();
        inputs[0].with_slice(|x| {
            let images = rows_per_chunk(image);
            let length = images * positions;
            if are_quarters(&self.options, &windows) {
                let (y, maxima) = Tensor::build_pair(&shape, &shape, |y, maxima| {
                    for_each_chunk_pair((y, length), (maxima, length), 4, |index, y, maxima| {
                        let x = x[index * images * image..].chunks_exact(image);
                        let outputs =
                            y.chunks_exact_mut(positions).zip(maxima.chunks_exact_mut(positions));
                        for (x, (y, maxima)) in x.zip(outputs) {
                            simd::dispatch(
                                #[inline(always)]
                                || quarters_forward(x, width, y, maxima),
                            );
                        }
                    });
                });
                return (y, MaxPositions::Quarters(maxima));
            }
            let starts: Vec<usize> = windows.starts().collect();
            let first_taps = first_taps(&windows);
            let (y, maxima) = Tensor::build_pair(&shape, &shape, |y, maxima| {
                let cost = starts.len() + 1;
                for_each_chunk_pair((y, length), (maxima, length), cost, |index, y, maxima| {
                    let mut plane = Buffer::new(windows.plane_length());
                    let plane = plane.as_mut_slice();
                    let outputs =
                        y.chunks_exact_mut(positions).zip(maxima.chunks_exact_mut(positions));
                    for (i, (y, maxima)) in outputs.enumerate() {
                        let x = &x[(index * images + i) * image..][..image];
                        windows.spread(x, T::LOWEST, plane);
                        maxima.copy_from_slice(&first_taps);
                        simd::dispatch(
                            #[inline(always)]
                            || plane_forward(&windows, plane, &starts, y, maxima),
                        );
                    }
                });
            });
            (y, MaxPositions::Taps(maxima))
        })
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, MaxPositions>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (windows, _) =
            self.options.windows("max_pool2d", shape).expect("checked by the caller");
        let (image, positions) = (windows.image_length(), windows.positions());
        let [_, width] = windows.input();
        let offsets: Vec<usize> = windows.image_offsets().collect();
        let images = rows_per_chunk(image);
        call.each(|_| {
            call.cotangent.with_slice(|g| {
                Tensor::build(shape, |out| {
                    for_each_chunk(out, images * image, 2, |index, out| {
                        for (i, out) in out.chunks_exact_mut(image).enumerate() {
                            let range = (index * images + i) * positions..;
                            let g = &g[range.clone()][..positions];
                            match call.saved {
                                MaxPositions::Quarters(maxima) => {
                                    let maxima = maxima.as_slice().expect("made contiguous");
                                    let maxima = &maxima[range][..positions];
                                    simd::dispatch(
                                        #[inline(always)]
                                        || quarters_backward(maxima, g, width, out),
                                    );
                                }
                                MaxPositions::Taps(maxima) => {
                                    let maxima = maxima.as_slice().expect("made contiguous");
                                    let taps = &maxima[range][..positions];
                                    taps_backward(&windows, taps, &offsets, g, out);
                                }
                            }
                        }
                    });
                })
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, MaxPositions>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let (windows, output) = self.options.windows("max_pool2d", shape)?;
        let indices = image_indices(&windows, output, &call.saved.taps());
        call.each(|_| placed(call.cotangent, &indices, shape))
    }

    fn attributes(&self) -> Attributes {
        self.options.attributes()
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(13);
        // Values far enough apart that a small step does not change the
        // maximum.
        let mut case = |shape: &[usize], options: Pool2dOptions| {
            let order = rng.permutation(shape.iter().product());
            let x = Tensor::from_fn(shape, |i| T::from_f64(order[i] as f64 / 10.0 - 2.0));
            (MaxPool2d { options }, vec![x])
        };
        let overlapping =
            Pool2dOptions { stride: [2, 1], padding: [1, 1], ..Pool2dOptions::new([3, 2]) };
        let everything = Pool2dOptions { dilation: [2, 1], ceil_mode: true, ..overlapping };
        vec![
            case(&[2, 3, 4, 6], Pool2dOptions::new([2, 2])),
            case(&[1, 2, 5, 7], Pool2dOptions::new([2, 2])),
            case(&[1, 2, 5, 7], Pool2dOptions { ceil_mode: true, ..Pool2dOptions::new([2, 2]) }),
            case(&[2, 2, 5, 6], overlapping),
            case(&[1, 2, 6, 5], everything),
            case(&[0, 2, 4, 4], Pool2dOptions::new([2, 2])),
            case(&[2, 0, 4, 4], overlapping),
        ]
    }
}

#[cfg(test)]
mod tests;
