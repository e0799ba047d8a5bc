//! Convolution as a matrix product whose right matrix is never written: what a
//! tap sees of all windows lies in the plane one behind the other, but for some
//! numbers between two rows, so that a stretch of the plane is a row of it. The
//! sums between the rows are computed, too, and left out (the idea of J. Zhang,
//! F. Franchetti and T. M. Low, "High performance zero-memory overhead direct
//! convolutions", ICML 2018, to read the image where it lies).

use std::array::from_fn;

use super::{Convolution, Place};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::vector::{Kernel, Vector};
use crate::kernels::windows::Windows;

/// Fewest output channels for which it pays: for fewer, reading the image takes
/// longer than computing.
const MIN_CHANNELS: usize = 8;

/// Whether this method is the right one: it is where few sums are computed in
/// vain.
pub(super) fn serves(c: &Convolution) -> bool {
    let [_, width] = c.windows.output();
    !c.pointwise && c.out_channels >= MIN_CHANNELS && 8 * width >= 7 * c.windows.plane_row()
}

/// A weight as tiles of some output channels, whose numbers for a tap are next
/// to each other; those of channels that do not exist are 0.
pub(crate) struct Tiles<T: Float> {
    /// Output channels of a tile.
    channels: usize,
    /// Numbers of a group.
    group: usize,
    values: Buffer<T>,
}

impl<T: Float> Tiles<T> {
    /// The tiles of a weight whose number for a group, an output channel of it
    /// and a tap is what `weight` says.
    pub(super) fn new(c: &Convolution, weight: impl Fn(usize, usize, usize) -> T + Sync) -> Self {
        let channels =
            T::vectorised(TileChannels { of: c.out_channels, images: c.images * c.groups });
        let tiles = c.out_channels.div_ceil(channels);
        let group = tiles * c.taps * channels;
        let mut values = Buffer::new(c.groups * group);
        let rows = rows_per_chunk(channels);
        for_each_chunk(values.as_mut_slice(), rows * channels, 4, |chunk, values| {
            for (i, values) in values.chunks_exact_mut(channels).enumerate() {
                let row = chunk * rows + i;
                let (tile, tap) = (row / c.taps, row % c.taps);
                let (group, first) = (tile / tiles, tile % tiles * channels);
                for (channel, value) in (first..).zip(values) {
                    let exists = channel < c.out_channels;
                    *value = if exists { weight(group, channel, tap) } else { T::ZERO };
                }
            }
        });
        Self { channels, group, values }
    }
}

/// Finds the output channels of a tile: those whose sums fit the registers, and
/// that leave the fewest of them and of the threads unused. The result does not
/// depend on it.
struct TileChannels {
    of: usize,
    images: usize,
}

impl<T: Float> Kernel<T> for TileChannels {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> usize {
        let sizes = if V::REGISTERS >= 32 { &[13, 11, 8, 4][..] } else { &[6, 4] };
        let threads = rayon::current_num_threads();
        let rounds = |size| (self.images * self.of.div_ceil(size)).div_ceil(threads);
        // A step also loads two registers.
        let cost = |size: usize| rounds(size) * (size + 1);
        sizes.iter().copied().min_by_key(|&size| cost(size)).expect("a size")
    }
}

/// The output of one image.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &Tiles<T>,
    bias: Option<&[T]>,
    image: usize,
    y: &mut [T],
) {
    let starts: Vec<usize> = c.starts().collect();
    // The last piece may reach beyond the last plane.
    let mut planes = Buffer::new(c.planes_length() + MAX_PIECE);
    planes.as_mut_slice()[c.planes_length()..].fill(T::ZERO);
    let positions = c.windows.positions();
    for (group, y) in y.chunks_exact_mut(c.output_length()).enumerate() {
        let x = c.input(x, Place { image, group });
        c.spread(x, &mut planes.as_mut_slice()[..c.planes_length()]);
        let (planes, starts) = (planes.as_slice(), &starts[..]);
        let weight_of_group = &weight.values.as_slice()[group * weight.group..][..weight.group];
        for_each_chunk(y, weight.channels * positions, c.cost(), |tile, y| {
            let first = tile * weight.channels;
            T::vectorised(Forward {
                windows: &c.windows,
                planes,
                starts,
                channels: weight.channels,
                weight: &weight_of_group[first * c.taps..][..weight.channels * c.taps],
                bias: bias.map(|bias| &bias[group * c.out_channels + first..]),
                y,
            });
        });
    }
}

/// Windows for which some taps are summed before the next taps: the weights of
/// these taps stay in the first-level cache meanwhile.
const STRETCH: usize = 256;
/// These taps.
const TAPS: usize = 288;
/// Most windows that are summed in registers.
const MAX_PIECE: usize = 32;

/// The output of some channels of one image.
struct Forward<'a, T> {
    windows: &'a Windows,
    planes: &'a [T],
    starts: &'a [usize],
    /// Channels of the tile.
    channels: usize,
    weight: &'a [T],
    bias: Option<&'a [T]>,
    /// The channels that exist.
    y: &'a mut [T],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        match self.channels {
            13 => self.tile::<V, 13>(),
            11 => self.tile::<V, 11>(),
            8 => self.tile::<V, 8>(),
            6 => self.tile::<V, 6>(),
            4 => self.tile::<V, 4>(),
            other => unreachable!("a tile of {other} channels"),
        }
    }
}

impl<T: Float> Forward<'_, T> {
    #[inline(always)]
    fn tile<V: Vector<T>, const M: usize>(mut self) {
        let [height, width] = self.windows.output();
        let end = (height - 1) * self.windows.plane_row() + width;
        let mut lines = [[T::ZERO; STRETCH]; M];
        for place in (0..end).step_by(STRETCH) {
            let count = STRETCH.min(end - place);
            let (starts, weights) = (self.starts, self.weight.as_chunks::<M>().0);
            for (block, taps) in starts.chunks(TAPS).zip(weights.chunks(TAPS)).enumerate() {
                let mut column = 0;
                while column < count {
                    let planes = &self.planes[place + column..];
                    if count - column > V::LANES {
                        piece::<T, V, M, 2>(planes, taps, block > 0, &mut lines, column);
                        column += 2 * V::LANES;
                    } else {
                        piece::<T, V, M, 1>(planes, taps, block > 0, &mut lines, column);
                        column += V::LANES;
                    }
                }
            }
            self.write(place, count, &lines);
        }
    }

    /// Writes what a stretch of windows got to where it belongs.
    #[inline(always)]
    fn write(&mut self, place: usize, count: usize, lines: &[[T; STRETCH]]) {
        let ([height, width], plane_row) = (self.windows.output(), self.windows.plane_row());
        let rows = place / plane_row..height.min((place + count).div_ceil(plane_row));
        for row in rows {
            // The windows of this row among those of the stretch.
            let start = place.max(row * plane_row);
            let end = (place + count).min(row * plane_row + width);
            if start >= end {
                continue;
            }
            let column = start - row * plane_row;
            let each = self.y.chunks_exact_mut(height * width).zip(lines).enumerate();
            for (channel, (y, line)) in each {
                let y = &mut y[row * width + column..][..end - start];
                let bias = self.bias.map_or(T::ZERO, |bias| bias[channel]);
                for (y, &sum) in y.iter_mut().zip(&line[start - place..]) {
                    *y = sum + bias;
                }
            }
        }
    }
}

/// Sums some taps for `W` vectors of windows, the first of which stand at the
/// front of the planes, and adds to what is there already if `adds`.
#[inline(always)]
fn piece<T: Float, V: Vector<T>, const M: usize, const W: usize>(
    planes: &[T],
    (starts, weights): (&[usize], &[[T; M]]),
    adds: bool,
    lines: &mut [[T; STRETCH]; M],
    column: usize,
) {
    let mut sums = [[V::splat(T::ZERO); W]; M];
    for (&start, weights) in starts.iter().zip(weights) {
        let from = &planes[start..start + W * V::LANES];
        let x: [V; W] = from_fn(|i| V::load(&from[i * V::LANES..]));
        for channel in 0..M {
            let weight = V::splat(weights[channel]);
            for i in 0..W {
                sums[channel][i] = sums[channel][i].plus_product(weight, x[i]);
            }
        }
    }
    for channel in 0..M {
        for i in 0..W {
            let line = &mut lines[channel][column + i * V::LANES..][..V::LANES];
            let sum = sums[channel][i];
            let sum = if adds { V::load(line).plus(sum) } else { sum };
            sum.store(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;
    use crate::kernels::windows::Sliding;
    use crate::random::Rng;

    /// The outputs of tiles of every size.
    #[derive(Clone)]
    struct EachSize<'a> {
        windows: &'a Windows,
        planes: &'a [f32],
        starts: &'a [usize],
        weight: &'a [f32],
    }

    impl Kernel<f32> for EachSize<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let Self { windows, planes, starts, weight } = self;
            let outputs = [13, 11, 8, 6, 4].map(|channels| {
                let weight = &weight[..starts.len() * channels];
                // The last channel of the tile does not exist.
                let mut y = vec![0.0; (channels - 1) * windows.positions()];
                let y_of = &mut y[..];
                let bias = Some(&[0.5; 13][..]);
                Forward { windows, planes, starts, channels, weight, bias, y: y_of }.run::<V>();
                y
            });
            outputs.concat()
        }
    }

    /// Every instruction set against the portable arrays; the tests of the
    /// operation compare the widest with a plain loop.
    #[test]
    fn all_instruction_sets_agree() {
        let mut rng = Rng::seed(1);
        for (width, in_channels) in [(14, 40), (15, 3), (40, 2), (300, 1)] {
            let sliding = Sliding {
                kernel_size: [3, 3],
                stride: [1, 1],
                padding: [1, 1],
                dilation: [1, 1],
                ceil_mode: false,
            };
            let windows = Windows::new("test", [5, width], &sliding).unwrap();
            let c = Convolution::new(1, 1, [in_channels, 1], windows, &sliding);
            let mut random = |length| (0..length).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let mut planes = vec![0.0; c.planes_length() + MAX_PIECE];
            c.spread(&random(c.input_length()), &mut planes[..c.planes_length()]);
            let weight = random(13 * c.taps);
            let starts: Vec<usize> = c.starts().collect();
            let each =
                EachSize { windows: &windows, planes: &planes, starts: &starts, weight: &weight };
            assert_kinds_agree(&each, 1e-4, &format!("width {width}"));
        }
    }
}
