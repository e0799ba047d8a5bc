//! Convolution with output channels along the registers: the input element of a
//! tap is multiplied by the weights of many channels at once (the idea of E.
//! Georganas et al., "Anatomy of high-performance deep learning convolutions on
//! SIMD architectures", SC 2018). It reads the padded image in place, so
//! strides and narrow images cost nothing extra.

use smallvec::SmallVec;

use super::tiles::{Band, Tiles};
use super::{Convolution, Finish, ImageGroup};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::transpose::Transpose;
use crate::kernels::vector::{Kernel, Vector, from_fn};

/// The fewest output channels for which this method is fast. With fewer, parts
/// of the registers are empty.
const MIN_CHANNELS: usize = 12;
/// The fewest windows in all images. With fewer, arranging the weight takes too
/// long.
const MIN_WINDOWS: usize = 256;
/// The fewest windows in a task, for which it reads the weight once.
const TASK_WINDOWS: usize = 256;
/// The number of tasks into which a batch is divided, if it has enough windows.
const TASKS: usize = 16;
/// The largest number of elements in the planes of such a task, so that they
/// stay in a core's own cache.
const TASK_LENGTH: usize = 1 << 18;
/// The approximate number of channels in a tile.
const TASK_CHANNELS: usize = 32;
/// The largest number of elements in the planes of a batch that is not divided.
const TOGETHER_LENGTH: usize = 1 << 20;
/// The number of windows whose sums are transposed at a time; what follows finds
/// the result in the first-level cache.
const TRANSPOSED: usize = 256;
/// The largest number of adjacent windows that are summed together.
const MAX_RUN: usize = 14;

/// Whether this method is fast for the convolution.
pub(super) fn serves(c: &Convolution) -> bool {
    let windows = c.images * c.windows.positions();
    let large = c.out_channels >= MIN_CHANNELS && windows >= MIN_WINDOWS;
    large && c.taps > 0 && !c.pointwise
}

/// The number of images in a task. A task has all images if the channels give
/// more tasks than the images.
pub(super) fn images_per_task(c: &Convolution) -> usize {
    let images = c.images.max(1);
    let fewest = TASK_WINDOWS.div_ceil(c.windows.positions().max(1));
    let most = TASK_LENGTH / c.planes_length().max(1);
    let tasks = images.div_ceil(fewest.max(most.min(images / TASKS)));
    let together = images.saturating_mul(c.planes_length()) <= TOGETHER_LENGTH;
    if together && tasks < c.out_channels / TASK_CHANNELS { images } else { images.div_ceil(tasks) }
}

/// Chooses the output channels in a tile, one or two vectors, so that the
/// fewest lanes are unused.
pub(super) struct TileChannels<'a>(pub(super) &'a Convolution);

impl<T: Float> Kernel<T> for TileChannels<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> usize {
        // Two vectors need fewer loads for each product.
        let cost = |vectors| self.0.out_channels.div_ceil(vectors * V::LANES) * (10 * vectors + 1);
        if cost(1) < cost(2) { V::LANES } else { 2 * V::LANES }
    }
}

/// Computes the output of the images from `first` on.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &Tiles<'_, T>,
    finish: Finish<'_, T>,
    first: usize,
    y: &mut [T],
) {
    let images = y.len() / (c.groups * c.output_length());
    // The last run may extend beyond the last plane.
    let length = images * c.planes_length();
    let mut planes = Buffer::new(length + MAX_RUN);
    planes.as_mut_slice()[length..].fill(T::ZERO);
    let windows = images * c.windows.positions();
    let channels = weight.channels();
    let tiles = c.out_channels.div_ceil(channels);
    let mut sums = Buffer::new(tiles * windows * channels);
    for group in 0..c.groups {
        for_each_chunk(
            &mut planes.as_mut_slice()[..length],
            c.planes_length(),
            1,
            |image, planes| {
                c.spread(c.input(x, ImageGroup { image: first + image, group }), planes);
            },
        );
        let planes = planes.as_slice();
        for_each_chunk(sums.as_mut_slice(), windows * channels, c.cost(), |tile, sums| {
            let channel = group * c.out_channels + tile * channels;
            let bias = finish.bias.map_or(&[][..], |bias| &bias[channel..]);
            T::vectorised(Sums { c, planes, weight, tile: [group, tile], bias, sums });
        });
        let (sums, positions) = (sums.as_slice(), c.windows.positions());
        let each = y.chunks_exact_mut(c.output_length()).skip(group).step_by(c.groups);
        for (image, y) in each.enumerate() {
            for_each_chunk(y, channels * positions, 1, |tile, y| {
                let sums = &sums[(tile * images + image) * positions * channels..];
                let channel = (image * c.groups + group) * c.out_channels + tile * channels;
                let count = y.len() / positions;
                // Transposes to channels × windows.
                for start in (0..positions).step_by(TRANSPOSED) {
                    let width = TRANSPOSED.min(positions - start);
                    let y = &mut y[start..];
                    T::vectorised(Transpose {
                        from: &sums[start * channels..],
                        from_step: channels,
                        size: [width, count],
                        to: y,
                        to_step: positions,
                        width,
                    });
                    let then = finish.then.from(channel * positions + start);
                    then.apply_to_rows(y, [width, positions]);
                }
            });
        }
    }
}

/// The sums of all windows for a tile of output channels.
struct Sums<'a, T: Float> {
    c: &'a Convolution,
    /// The planes of several images, one after the other.
    planes: &'a [T],
    weight: &'a Tiles<'a, T>,
    /// The indices of the group and of the tile.
    tile: [usize; 2],
    /// The biases from these channels on, or none.
    bias: &'a [T],
    /// Windows × channels.
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        if self.weight.channels() == V::LANES {
            self.vectors::<V, 1>()
        } else {
            self.vectors::<V, 2>()
        }
    }
}

/// The number of adjacent windows: a row, or the column of an image of one
/// column, whose rows are adjacent.
fn adjacent(c: &Convolution) -> usize {
    let [height, width] = c.windows.output();
    if width == 1 && c.windows.plane_row() == 1 { height } else { width }
}

/// Adjacent windows.
#[derive(Clone, Copy)]
struct Run {
    /// The offset of the first window in the planes.
    offset: usize,
    /// The index of the first window.
    window: usize,
    /// The number of windows.
    length: usize,
}

/// The windows of a band in runs of length `longest`; the last run of adjacent
/// windows may be shorter.
fn runs(c: &Convolution, images: usize, band: &Band, longest: usize) -> Vec<Run> {
    let ([height, width], row) = (c.windows.output(), c.windows.plane_row());
    if adjacent(c) > width {
        let columns = || band.rows.chunk_by(|row, next| row + 1 == *next);
        let parts = |i| columns().flat_map(|rows| rows.chunks(longest)).map(move |rows| (i, rows));
        let run = |(i, rows): (usize, &[usize])| Run {
            offset: i * c.planes_length() + rows[0],
            window: i * height + rows[0],
            length: rows.len(),
        };
        return (0..images).flat_map(parts).map(run).collect();
    }
    let windows = (0..images).flat_map(|i| band.rows.iter().map(move |&y| (i, y)));
    windows
        .flat_map(|(i, y)| {
            (0..width).step_by(longest).map(move |x| Run {
                offset: i * c.planes_length() + y * row + x,
                window: (i * height + y) * width + x,
                length: longest.min(width - x),
            })
        })
        .collect()
}

impl<T: Float> Sums<'_, T> {
    /// Computes all windows, in runs whose sums for `W` vectors of channels fit
    /// into the registers, with few unused results.
    #[inline(always)]
    fn vectors<V: Vector<T>, const W: usize>(self) {
        let width = adjacent(self.c);
        let computed = |run: usize| width.next_multiple_of(run);
        if V::REGISTERS < 32 {
            if computed(6) <= computed(4) {
                self.runs::<V, W, 6, 1>();
            } else {
                self.runs::<V, W, 4, 1>();
            }
        } else if computed(14) <= computed(7).min(computed(4)) {
            self.runs::<V, W, MAX_RUN, 1>();
        } else if computed(7) <= computed(4) {
            self.runs::<V, W, 7, 2>();
        } else {
            self.runs::<V, W, 4, 3>();
        }
    }

    /// Computes all windows, `R` runs of `C` windows at a time; the last ones
    /// are computed with the full length.
    #[inline(always)]
    fn runs<V: Vector<T>, const W: usize, const C: usize, const R: usize>(self) {
        let channels = W * V::LANES;
        let images = self.sums.len() / channels / self.c.windows.positions();
        let bands = self.weight.bands().iter();
        let bands: SmallVec<[_; 8]> =
            bands.map(|band| (runs(self.c, images, band, C), &band.taps)).collect();
        let (windows, plane) = (&self.c.windows, self.c.windows.plane_length());
        let tap = (self.c.in_channels - 1) * plane + windows.starts().max().unwrap_or(0);
        let offset =
            bands.iter().flat_map(|(runs, _)| runs).map(|run| run.offset).max().unwrap_or(0);
        assert!(tap + offset + C <= self.planes.len(), "runs beyond the planes");
        let bias: [V; W] =
            from_fn(|i| V::load_part(self.bias.get(i * V::LANES..).unwrap_or_default()));
        let mut room = self.weight.room();
        for block in self.weight.blocks() {
            let first = block.start;
            let planes = &self.planes[first / self.c.kernel_taps() * plane..];
            let weight = self.weight.block(self.tile, block, room.as_mut_slice());
            for (runs, taps) in &bands {
                let taps = &taps[..taps.partition_point(|&[_, weights]| weights < weight.len())];
                for runs in runs.chunks(R) {
                    let offsets = from_fn(|i| runs[i.min(runs.len() - 1)].offset);
                    // SAFETY: the assertion above covers the last tap and the
                    // last run.
                    let piece = unsafe { piece::<T, V, W, C, R>(planes, taps, offsets, weight) };
                    for (run, piece) in runs.iter().zip(&piece) {
                        let sums = self.sums[run.window * channels..].chunks_exact_mut(channels);
                        for (sums, piece) in sums.zip(&piece[..run.length]) {
                            for (i, &sum) in piece.iter().enumerate() {
                                let to = &mut sums[i * V::LANES..];
                                let rest = if first > 0 { V::load(to) } else { bias[i] };
                                rest.plus(sum).store(to);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sums of `R` runs of `C` windows, which start at these offsets, over some
/// taps, for `W` vectors of channels.
///
/// # Safety
///
/// The planes have this many windows for each tap and run.
#[inline(always)]
unsafe fn piece<T: Float, V: Vector<T>, const W: usize, const C: usize, const R: usize>(
    planes: &[T],
    taps: &[[usize; 2]],
    offsets: [usize; R],
    weight: &[T],
) -> [[[V; W]; C]; R] {
    let mut sums = [[[V::splat(T::ZERO); W]; C]; R];
    for &[start, weights] in taps {
        let weights = &weight[weights..][..W * V::LANES];
        let weights: [V; W] = from_fn(|i| V::load(&weights[i * V::LANES..]));
        for (sums, &offset) in sums.iter_mut().zip(&offsets) {
            for (window, sums) in sums.iter_mut().enumerate() {
                // SAFETY: guaranteed by the caller.
                let x = unsafe { *planes.get_unchecked(start + offset + window) };
                let x = V::splat(x);
                for (sum, &weight) in sums.iter_mut().zip(&weights) {
                    *sum = sum.plus_product(x, weight);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::tiles::Source;
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;
    use crate::kernels::windows::{Sliding, Windows};
    use crate::random::Rng;

    /// The sums of tiles of both sizes.
    #[derive(Clone)]
    struct Both<'a> {
        c: &'a Convolution,
        planes: &'a [f32],
        /// 32 channels × taps.
        weight: &'a [f32],
    }

    impl Kernel<f32> for Both<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let Self { c, planes, weight } = self;
            let windows = c.images * c.windows.positions();
            let mut outputs = Vec::new();
            for channels in [V::LANES, 2 * V::LANES] {
                let of_channels = &Convolution { out_channels: channels, ..*c };
                let steps = [of_channels.weight_length(), c.taps, c.kernel_taps()];
                let source = Source { weight, steps, reversed: false };
                let weight = &Tiles::new(of_channels, channels, source, None);
                let mut sums = vec![0.0; windows * channels];
                let (tile, bias) = ([0, 0], &[0.5; 20]);
                Sums { c, planes, weight, tile, bias, sums: &mut sums }.run::<V>();
                // The channels that all kinds of vectors of the target compute.
                let common = if cfg!(target_arch = "x86_64") { 8 } else { 4 };
                outputs.extend(sums.chunks_exact(channels).flat_map(|sums| &sums[..common]));
            }
            outputs
        }
    }

    /// Every instruction set compared with the portable arrays, for runs of
    /// every length. The tests of the operation compare the widest one with a
    /// plain loop.
    #[test]
    fn all_instruction_sets_agree() {
        let mut rng = Rng::seed(1);
        for (width, stride, in_channels) in
            [(5, 1, 40), (9, 1, 3), (15, 1, 30), (27, 1, 4), (40, 2, 2)]
        {
            let sliding = Sliding {
                kernel_size: [3, 3],
                stride: [stride; 2],
                padding: [1, 1],
                dilation: [1, 1],
                ceil_mode: false,
            };
            let windows = Windows::new("test", [5, width], &sliding).unwrap();
            let c = Convolution::new(2, 1, [in_channels, 32], windows, &sliding);
            let mut random = |length| (0..length).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let mut planes = vec![0.0; 2 * c.planes_length() + MAX_RUN];
            for planes in planes.chunks_exact_mut(c.planes_length()).take(2) {
                c.spread(&random(c.input_length()), planes);
            }
            let weight = random(32 * c.taps);
            let both = Both { c: &c, planes: &planes, weight: &weight };
            assert_kinds_agree(&both, 1e-4, &format!("width {width}"));
        }
    }
}
