//! The positions of the vectors in a depthwise convolution.

use std::ops::Range;

use super::super::Convolution;
use super::super::unfolded::copy_row;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::simd;
use crate::kernels::transpose::Transpose;
use crate::kernels::vector::{Kernel, Vector};
use crate::kernels::windows::{Phase, Windows};

/// The number of lanes in a vector of this CPU.
pub(super) struct Lanes;

impl<T: Float> Kernel<T> for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> usize {
        V::LANES
    }
}

/// The number of vectors that are computed together.
const TOGETHER: usize = 8;
/// The largest number of elements in the planes of interleaved channels, which
/// should stay in a core's own cache.
const MAX_LENGTH: usize = 1 << 14;

/// One vector of a row.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Its offset in the row of the planes.
    pub(super) x: usize,
    /// Its offset in the row of the output.
    pub(super) y: usize,
    /// The number of lanes that are used.
    pub(super) count: usize,
}

/// All vectors of an output, which are the same in each row.
pub(super) struct Grid {
    height: usize,
    /// The distance in elements between rows, in the planes and in the output.
    steps: [usize; 2],
    /// The number of rows that `positions` covers.
    rows: usize,
    positions: Vec<Position>,
}

impl Grid {
    /// A grid of `height` rows, each with the same vectors.
    pub(super) fn new(height: usize, steps: [usize; 2], row: &[Position]) -> Self {
        // The fewest rows that give a multiple of the vectors computed
        // together.
        let whole = |&rows: &usize| (rows * row.len()).is_multiple_of(TOGETHER);
        let rows = (1..=TOGETHER).find(whole).unwrap_or(1).min(height);
        let of_row = |i: usize| {
            let [x, y] = steps.map(|step| i * step);
            row.iter().map(move |p| Position { x: p.x + x, y: p.y + y, count: p.count })
        };
        Self { height, steps, rows, positions: (0..rows).flat_map(of_row).collect() }
    }

    /// Some rows at a time: the offsets of the first in the planes and in the
    /// output, and the positions relative to these offsets.
    #[inline(always)]
    pub(super) fn parts(&self) -> impl Iterator<Item = ([usize; 2], &[Position])> {
        (0..self.height).step_by(self.rows.max(1)).map(|row| {
            let rows = self.rows.min(self.height - row);
            let count = self.positions.len() / self.rows * rows;
            (self.steps.map(|step| row * step), &self.positions[..count])
        })
    }

    /// The offset in the planes of the last vector.
    pub(super) fn end(&self) -> usize {
        let last = self.positions.iter().map(|position| position.x).max().unwrap_or(0);
        last + self.height.saturating_sub(self.rows) * self.steps[0]
    }
}

/// The vectors in a row of one channel. If elements may be computed twice, the
/// last vector overlaps the one before it, so that all are full. Otherwise the
/// last vector has fewer lanes, and so has the only one of a shorter row.
pub(super) fn along_row(width: usize, lanes: usize, twice: bool) -> Vec<Position> {
    let position = |start: usize| {
        let start = if twice { start.min(width.saturating_sub(lanes)) } else { start };
        Position { x: start, y: start, count: lanes.min(width - start) }
    };
    (0..width).step_by(lanes).map(position).collect()
}

/// Interleaved channels: each element of the padded image holds a number for
/// each channel.
#[derive(Clone, Copy)]
pub(super) struct SideBySide {
    pub(super) lanes: usize,
    /// The numbers of rows and columns in the padded image.
    padded: [usize; 2],
}

impl SideBySide {
    /// The layout for rows of `width` outputs and padded images of this size,
    /// if it is faster than computing one channel after the other.
    pub(super) fn new(width: usize, padded: [usize; 2], lanes: usize) -> Option<Self> {
        let length = padded[0].checked_mul(padded[1])?.checked_mul(lanes)?;
        (width < lanes && length <= MAX_LENGTH).then_some(Self { lanes, padded })
    }

    /// Memory for the padded images, filled with 0.
    pub(super) fn planes<T: Float>(&self) -> Buffer<T> {
        let mut planes = Buffer::new(self.padded[0] * self.padded[1] * self.lanes);
        planes.as_mut_slice().fill(T::ZERO);
        planes
    }

    /// The offset of each tap.
    pub(super) fn starts(&self, windows: &Windows) -> Vec<usize> {
        let [rows, columns] = windows.tap_distances();
        let row = |y: usize| columns.iter().map(move |x| (y * self.padded[1] + x) * self.lanes);
        rows.iter().flat_map(|&y| row(y)).collect()
    }

    /// One vector for each window.
    pub(super) fn grid(&self, windows: &Windows) -> Grid {
        let ([height, width], [y, x], lanes) = (windows.output(), windows.strides(), self.lanes);
        let position = |i: usize| Position { x: i * x * lanes, y: i * lanes, count: lanes };
        let row: Vec<_> = (0..width).map(position).collect();
        Grid::new(height, [y * self.padded[1] * lanes, width * lanes], &row)
    }

    /// Writes the inputs of some output channels to the planes. The padding is
    /// not changed.
    pub(super) fn lay_out<'a, T: Float>(
        &self,
        c: &Convolution,
        x: &[T],
        channels: &Range<usize>,
        planes: &'a mut Buffer<T>,
    ) -> &'a [T] {
        let (lanes, length) = (self.lanes, c.input_length());
        let mut joined = Buffer::new(length * lanes);
        let size = [channels.len(), length];
        if c.out_channels == 1 {
            join(&x[channels.start * length..], length, size, joined.as_mut_slice());
        } else {
            // The input of a group, repeated for each of its output channels.
            let mut copies = Buffer::new(channels.len() * length);
            let each = copies.as_mut_slice().chunks_exact_mut(length.max(1));
            for (copy, channel) in each.zip(channels.clone()) {
                copy.copy_from_slice(&x[channel / c.out_channels * length..][..length]);
            }
            join(copies.as_slice(), length, size, joined.as_mut_slice());
        }
        let ([height, width], [above, left]) = (c.windows.input(), c.windows.paddings());
        let padded = [self.padded[0], self.padded[1] * lanes];
        let image = [height, width * lanes];
        pad(joined.as_slice(), image, [above, left * lanes], padded, planes.as_mut_slice());
        planes.as_slice()
    }
}

/// Copies an image into a padded one, with this many rows and columns before
/// it. The parts that do not fit are left out.
pub(super) fn pad<T: Float>(
    image: &[T],
    [height, width]: [usize; 2],
    [above, left]: [usize; 2],
    padded: [usize; 2],
    to: &mut [T],
) {
    let count = width.min(padded[1].saturating_sub(left));
    if count == 0 {
        return;
    }
    let rows = to[..padded[0] * padded[1]].chunks_exact_mut(padded[1]).skip(above);
    for (image, to) in image.chunks_exact(width).take(height).zip(rows) {
        copy_row(&image[..count], &mut to[left..][..count]);
    }
}

/// Repeats each number once for each lane.
pub(super) fn repeat<T: Float>(numbers: &[T], lanes: usize, to: &mut [T]) {
    for (to, &number) in to.chunks_exact_mut(lanes).zip(numbers) {
        to.fill(number);
    }
}

/// Interleaves the rows of a matrix, which are `step` apart, in as many lanes
/// as there is memory for.
pub(super) fn join<T: Float>(from: &[T], step: usize, size: [usize; 2], to: &mut [T]) {
    if let Some(width) = to.len().checked_div(size[1]) {
        T::vectorised(Transpose { from, from_step: step, size, to, to_step: width, width });
    }
}

/// The opposite of [`join`], for as many rows as there is memory for.
pub(super) fn split<T: Float>(from: &[T], lanes: usize, to: &mut [T]) {
    let width = from.len() / lanes;
    if width > 0 {
        let size = [width, to.len() / width];
        T::vectorised(Transpose { from, from_step: lanes, size, to, to_step: width, width });
    }
}

/// Writes the rows of each phase of the columns to their positions in an image.
pub(super) fn scatter<T: Float>(
    parts: &[Vec<T>],
    row: &Phase,
    [stride, width]: [usize; 2],
    image: &mut [T],
) {
    simd::dispatch(
        #[inline(always)]
        || {
            let rows = image.chunks_exact_mut(width).skip(row.first).step_by(stride);
            for (i, image) in rows.take(row.count).enumerate() {
                let step = parts.len();
                if let [even, odd] = parts {
                    let (even, odd) = (&even[i * width.div_ceil(2)..], &odd[i * (width / 2)..]);
                    let (pairs, rest) = image.as_chunks_mut::<2>();
                    for ((pair, &even), &odd) in pairs.iter_mut().zip(even).zip(odd) {
                        *pair = [even, odd];
                    }
                    if let Some(last) = rest.first_mut() {
                        *last = even[width / 2];
                    }
                    continue;
                }
                for (first, part) in parts.iter().enumerate() {
                    let count = (width + step - 1 - first) / step;
                    for j in 0..count {
                        image[first + j * step] = part[i * count + j];
                    }
                }
            }
        },
    );
}
