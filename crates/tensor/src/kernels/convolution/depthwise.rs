//! Depthwise convolution: groups of one input channel, each with one or several
//! kernels of its own.
//!
//! An output element sums few products, so the loads determine the speed. All
//! taps are summed in one pass over the output, eight vectors at a time, which
//! stay in registers. If rows are long, a vector holds neighbouring elements of
//! one channel, and channels are computed in turn. If rows are shorter than a
//! vector, as many channels as it has lanes are interleaved, and a vector holds
//! the same element of all of them. Both cases use the same loop: the elements
//! of a vector are adjacent in memory, and a tap is an offset in memory and a
//! vector of weights.
//!
//! The gradient of the input is a convolution of the cotangents for each phase
//! of the stride, that is, for the input elements that use the same taps.

mod gradients;
mod layout;

use std::ops::Range;

pub(super) use self::gradients::{add_weight_gradient, input_gradient};
use self::layout::{Grid, Lanes, Position, SideBySide, along_row, pad, repeat, split};
use super::{Convolution, Finish};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::vector::{Kernel, Vector, from_fn};

/// Whether this method is fast for the convolution.
pub(super) fn serves(c: &Convolution) -> bool {
    c.groups > 1 && c.in_channels == 1 && c.out_channels > 0
}

/// The vectors to sum, and the taps to sum over.
struct Walk {
    /// For each tap, the offset in the planes for the first vector, and the
    /// offset of its weights.
    taps: Vec<[usize; 2]>,
    grid: Grid,
}

impl Walk {
    /// All taps, with these offsets in the planes and consecutive weights.
    fn new(starts: Vec<usize>, grid: Grid, lanes: usize) -> Self {
        let taps = starts.into_iter().enumerate().map(|(tap, start)| [start, tap * lanes]);
        Self { taps: taps.collect(), grid }
    }
}

/// The weights of blocks of channels that are interleaved, each as taps ×
/// lanes; `None` if channels are computed in turn.
pub(super) fn arranged<T: Float>(c: &Convolution, weight: &[T]) -> Option<Buffer<T>> {
    let lanes = T::vectorised(Lanes);
    SideBySide::new(c.windows.output()[1], c.windows.padded(), lanes)?;
    Some(interleaved(weight, c.taps, lanes))
}

/// The rows of a weight, each of this length, in blocks of `lanes` interleaved
/// rows; lanes without a row are 0.
fn interleaved<T: Float>(weight: &[T], length: usize, lanes: usize) -> Buffer<T> {
    let rows = weight.len() / length;
    let mut table = Buffer::new(rows.next_multiple_of(lanes) * length);
    for (i, slot) in table.as_mut_slice().iter_mut().enumerate() {
        let (block, tap, lane) = (i / (length * lanes), i / lanes % length, i % lanes);
        *slot = weight.get((block * lanes + lane) * length + tap).copied().unwrap_or(T::ZERO);
    }
    table
}

/// Computes the output of one image. `table` is the result of [`arranged`].
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    (weight, table): (&[T], Option<&[T]>),
    finish: Finish<'_, T>,
    image: usize,
    y: &mut [T],
) {
    let (lanes, positions) = (T::vectorised(Lanes), c.windows.positions());
    let x = &x[image * c.groups * c.input_length()..][..c.groups * c.input_length()];
    let layout = SideBySide::new(c.windows.output()[1], c.windows.padded(), lanes);
    let layout = layout.zip(table);
    let walk = match layout {
        Some((layout, _)) => Walk::new(layout.starts(&c.windows), layout.grid(&c.windows), lanes),
        None => Walk::new(c.starts(), rows_of_plane(c, lanes, true), lanes),
    };
    let channels = lanes * rows_per_chunk(lanes * positions * c.cost());
    for_each_chunk(y, channels * positions, c.cost(), |task, y| {
        let channels = task * channels..task * channels + y.len() / positions;
        match layout {
            Some((layout, table)) => {
                let table = &table[channels.start * c.taps..];
                forward_side_by_side(c, x, table, finish, channels, (&layout, &walk), y);
            }
            None => forward_in_turn(c, x, weight, finish, channels, &walk, y),
        }
    });
}

/// The vectors along the rows of one channel's plane.
fn rows_of_plane(c: &Convolution, lanes: usize, twice: bool) -> Grid {
    let [height, width] = c.windows.output();
    Grid::new(height, [c.windows.plane_row(), width], &along_row(width, lanes, twice))
}

/// Computes the output of some channels, one after the other.
fn forward_in_turn<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &[T],
    finish: Finish<'_, T>,
    channels: Range<usize>,
    walk: &Walk,
    y: &mut [T],
) {
    let lanes = T::vectorised(Lanes);
    let mut planes = Planes::new(c, lanes);
    let mut weights = vec![T::ZERO; c.taps * lanes];
    let mut start = vec![T::ZERO; lanes];
    let positions = c.windows.positions();
    for (channel, y) in channels.zip(y.chunks_exact_mut(positions)) {
        repeat(&weight[channel * c.taps..][..c.taps], lanes, &mut weights);
        start.fill(finish.bias.map_or(T::ZERO, |bias| bias[channel]));
        let planes = planes.of(c, x, channel / c.out_channels);
        T::vectorised(Sums { planes, weights: &weights, bias: &start, walk, y });
        finish.then.apply(channel * positions, y);
    }
}

/// The planes of the groups' inputs, one at a time.
struct Planes<T: Float> {
    buffer: Buffer<T>,
    /// Whether a plane is the padded image, whose padding is then never
    /// overwritten.
    padded: bool,
}

impl<T: Float> Planes<T> {
    fn new(c: &Convolution, lanes: usize) -> Self {
        // The vector of a row that is shorter than a vector extends beyond the
        // end.
        let mut buffer = Buffer::new(c.windows.plane_length() + lanes);
        buffer.as_mut_slice().fill(T::ZERO);
        Self { buffer, padded: c.windows.strides() == [1, 1] }
    }

    /// The plane of a group's input.
    fn of(&mut self, c: &Convolution, x: &[T], group: usize) -> &[T] {
        let x = &x[group * c.input_length()..][..c.input_length()];
        let plane = &mut self.buffer.as_mut_slice()[..c.windows.plane_length()];
        if self.padded {
            pad(x, c.windows.input(), c.windows.paddings(), c.windows.padded(), plane);
        } else {
            c.windows.spread(x, T::ZERO, plane);
        }
        self.buffer.as_slice()
    }
}

/// Computes the output of some channels, in blocks of interleaved channels.
fn forward_side_by_side<T: Float>(
    c: &Convolution,
    x: &[T],
    table: &[T],
    finish: Finish<'_, T>,
    channels: Range<usize>,
    (layout, walk): (&SideBySide, &Walk),
    y: &mut [T],
) {
    let lanes = layout.lanes;
    let mut planes = layout.planes();
    let mut sums = Buffer::new(c.windows.positions() * lanes);
    let mut start = vec![T::ZERO; lanes];
    let blocks =
        y.chunks_mut(lanes * c.windows.positions()).zip(table.chunks_exact(lanes * c.taps));
    for (block, (y, weights)) in blocks.enumerate() {
        let first = channels.start + block * lanes;
        let channels = first..channels.end.min(first + lanes);
        if let Some(bias) = finish.bias {
            start[..channels.len()].copy_from_slice(&bias[channels.clone()]);
        }
        let planes = layout.lay_out(c, x, &channels, &mut planes);
        T::vectorised(Sums { planes, weights, bias: &start, walk, y: sums.as_mut_slice() });
        split(sums.as_slice(), lanes, y);
        finish.then.apply(first * c.windows.positions(), y);
    }
}

/// Sums of products over taps, for all vectors of a grid.
struct Sums<'a, T> {
    planes: &'a [T],
    /// One vector for each tap.
    weights: &'a [T],
    /// The initial value of the sums, for each lane.
    bias: &'a [T],
    walk: &'a Walk,
    y: &'a mut [T],
}

impl<T: Float> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        self.walk.check::<V, T>(self.planes);
        let walk = self.walk;
        for (rows, mut positions) in walk.grid.parts() {
            while let [_, rest @ ..] = positions {
                let done = match rest.len() {
                    7.. => self.piece::<V, 8>(rows, positions),
                    3.. => self.piece::<V, 4>(rows, positions),
                    1.. => self.piece::<V, 2>(rows, positions),
                    0 => self.piece::<V, 1>(rows, positions),
                };
                positions = &positions[done..];
            }
        }
    }
}

impl Walk {
    /// Checks that a vector at the largest start and position is within the
    /// planes.
    fn check<V: Vector<T>, T>(&self, planes: &[T]) {
        let start = self.taps.iter().map(|tap| tap[0]).max().unwrap_or(0);
        assert!(self.grid.end() + start + V::LANES <= planes.len(), "beyond the planes");
    }
}

impl<T: Float> Sums<'_, T> {
    /// Computes the first `N` vectors of these positions, for rows that begin
    /// at these offsets.
    #[inline(always)]
    fn piece<V: Vector<T>, const N: usize>(
        &mut self,
        rows: [usize; 2],
        positions: &[Position],
    ) -> usize {
        let positions: &[Position; N] = positions.first_chunk().expect("as many positions");
        let offsets: [usize; N] = from_fn(|i| rows[0] + positions[i].x);
        let mut sums = [V::load(self.bias); N];
        for &[start, weights] in &self.walk.taps {
            let weights = V::load(&self.weights[weights..][..V::LANES]);
            for i in 0..N {
                let first = start + offsets[i];
                // SAFETY: `check` verified that a vector at the largest start
                // and position is within the planes.
                let x = V::load(unsafe { self.planes.get_unchecked(first..first + V::LANES) });
                sums[i] = sums[i].plus_product(weights, x);
            }
        }
        for (position, sum) in positions.iter().zip(sums) {
            let y = &mut self.y[rows[1] + position.y..][..position.count];
            if position.count == V::LANES { sum.store(y) } else { sum.store_part(y) }
        }
        N
    }
}

/// Adds to each tap's sums, one for each lane, the products of all vectors of a
/// grid.
struct Products<'a, T> {
    planes: &'a [T],
    g: &'a [T],
    walk: &'a Walk,
    /// Taps × lanes.
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        self.walk.check::<V, T>(self.planes);
        let (mut first, count) = (0, self.walk.taps.len());
        while first < count {
            first += match count - first {
                6.. => self.taps::<V, 9>(first),
                4.. => self.taps::<V, 5>(first),
                _ => self.taps::<V, 3>(first),
            };
        }
    }
}

impl<T: Float> Products<'_, T> {
    /// Computes the sums of `N` taps, starting with `first`. The results for
    /// missing taps are not used.
    #[inline(always)]
    fn taps<V: Vector<T>, const N: usize>(&mut self, first: usize) -> usize {
        let taps = &self.walk.taps[first..];
        let starts: [usize; N] = from_fn(|i| taps[i.min(taps.len() - 1)][0]);
        let mut sums = [V::splat(T::ZERO); N];
        for (rows, positions) in self.walk.grid.parts() {
            for position in positions {
                let offset = rows[0] + position.x;
                let g = &self.g[rows[1] + position.y..][..position.count];
                if position.count == V::LANES {
                    let g = V::load(g);
                    for i in 0..N {
                        let first = offset + starts[i];
                        // SAFETY: `check` verified that a vector at the largest
                        // start and position is within the planes.
                        let x = unsafe { self.planes.get_unchecked(first..first + V::LANES) };
                        sums[i] = sums[i].plus_product(g, V::load(x));
                    }
                } else {
                    // The following elements in the planes may be infinite, so
                    // they must not be multiplied by 0.
                    let g = V::load_part(g);
                    for i in 0..N {
                        let x = &self.planes[offset + starts[i]..][..position.count];
                        sums[i] = sums[i].plus_product(g, V::load_part(x));
                    }
                }
            }
        }
        let slots = self.sums[first * V::LANES..].chunks_exact_mut(V::LANES);
        for (slot, sum) in slots.zip(sums) {
            V::load(slot).plus(sum).store(slot);
        }
        N
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;
    use crate::kernels::windows::{Sliding, Windows};
    use crate::random::Rng;

    /// The sums and the products of one plane, as vectors along its rows.
    #[derive(Clone)]
    struct Both<'a> {
        c: &'a Convolution,
        plane: &'a [f32],
        weight: &'a [f32],
        g: &'a [f32],
    }

    impl Kernel<f32> for Both<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let Self { c, plane, weight, g } = self;
            let planes = &[plane, &[0.0; 64]].concat();
            let mut weights = vec![0.0; c.taps * V::LANES];
            repeat(weight, V::LANES, &mut weights);
            let walk = |twice| Walk::new(c.starts(), rows_of_plane(c, V::LANES, twice), V::LANES);
            let (mut y, bias) = (vec![0.0; c.windows.positions()], &[0.5; 64]);
            Sums { planes, weights: &weights, bias, walk: &walk(true), y: &mut y }.run::<V>();
            let mut sums = vec![0.0; c.taps * V::LANES];
            Products { planes, g, walk: &walk(false), sums: &mut sums }.run::<V>();
            y.extend(sums.chunks_exact(V::LANES).map(|lanes| lanes.iter().sum::<f32>()));
            y
        }
    }

    /// Every instruction set compared with the portable arrays. The tests of
    /// the operation compare the widest one with a plain loop.
    #[test]
    fn all_instruction_sets_agree() {
        let mut rng = Rng::seed(1);
        for (width, kernel, stride) in [(3, 3, 1), (9, 2, 1), (17, 3, 2), (40, 5, 1), (70, 3, 1)] {
            let sliding = Sliding {
                kernel_size: [kernel; 2],
                stride: [stride; 2],
                padding: [1, 1],
                dilation: [1, 1],
                ceil_mode: false,
            };
            let windows = Windows::new("test", [9, width], &sliding).unwrap();
            let c = &Convolution::new(1, 2, [1, 1], windows, &sliding);
            let mut random = |length| (0..length).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let (weight, g) = (&random(c.taps), &random(windows.positions()));
            let mut plane = vec![0.0; c.planes_length()];
            c.spread(&random(c.input_length()), &mut plane);
            let both = Both { c, plane: &plane, weight, g };
            assert_kinds_agree(&both, 1e-4, &format!("width {width}"));
        }
    }
}
