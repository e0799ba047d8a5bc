//! Where the vectors of a depthwise convolution lie.

use std::ops::Range;

use super::super::Convolution;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::simd;
use crate::kernels::transpose::Transpose;
use crate::kernels::vector::{Kernel, Vector};
use crate::kernels::windows::{Phase, Windows};

/// How many lanes a vector of the CPU has.
pub(super) struct Lanes;

impl<T: Float> Kernel<T> for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> usize {
        V::LANES
    }
}

/// Vectors that are computed together.
const TOGETHER: usize = 8;
/// Most elements of the planes of channels side by side, which should stay in
/// a core's own cache.
const MAX_LENGTH: usize = 1 << 16;

/// One vector of a row.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Where in the planes' row it starts.
    pub(super) x: usize,
    /// Where in the output's row it starts.
    pub(super) y: usize,
    /// How many lanes count.
    pub(super) count: usize,
}

/// All vectors of an output: the same in each row.
pub(super) struct Grid {
    height: usize,
    /// Elements from one row to the next, of the planes and of the output.
    steps: [usize; 2],
    /// Rows that `positions` hold.
    rows: usize,
    positions: Vec<Position>,
}

impl Grid {
    /// So many rows, each with the same vectors.
    pub(super) fn new(height: usize, steps: [usize; 2], row: &[Position]) -> Self {
        // As many rows as make up whole groups of vectors.
        let whole = |&rows: &usize| (rows * row.len()).is_multiple_of(TOGETHER);
        let rows = (1..=TOGETHER).find(whole).unwrap_or(1).min(height);
        let of_row = |i: usize| {
            let [x, y] = steps.map(|step| i * step);
            row.iter().map(move |p| Position { x: p.x + x, y: p.y + y, count: p.count })
        };
        Self { height, steps, rows, positions: (0..rows).flat_map(of_row).collect() }
    }

    /// Some rows at a time: where the first begins in the planes and in the
    /// output, and the positions from there.
    #[inline(always)]
    pub(super) fn parts(&self) -> impl Iterator<Item = ([usize; 2], &[Position])> {
        (0..self.height).step_by(self.rows.max(1)).map(|row| {
            let rows = self.rows.min(self.height - row);
            let count = self.positions.len() / self.rows * rows;
            (self.steps.map(|step| row * step), &self.positions[..count])
        })
    }

    /// Where the last vector starts, in the planes (0) or in the output (1).
    pub(super) fn end(&self, side: usize) -> usize {
        let place = |p: &Position| [p.x, p.y][side];
        let last = self.positions.iter().map(place).max().unwrap_or(0);
        last + self.height.saturating_sub(self.rows) * self.steps[side]
    }
}

/// The vectors of a row of one channel. The last one may cover some elements of
/// the one before it, where these may be computed twice, so that all are full;
/// otherwise it has fewer lanes, as has that of a row which is shorter.
pub(super) fn along_row(width: usize, lanes: usize, twice: bool) -> Vec<Position> {
    let position = |start: usize| {
        let start = if twice { start.min(width.saturating_sub(lanes)) } else { start };
        Position { x: start, y: start, count: lanes.min(width - start) }
    };
    (0..width).step_by(lanes).map(position).collect()
}

/// Channels side by side: each place of the padded image has so many numbers.
#[derive(Clone, Copy)]
pub(super) struct SideBySide {
    pub(super) lanes: usize,
    /// Rows and columns of the padded image.
    padded: [usize; 2],
}

impl SideBySide {
    /// The layout for an output and padded images of these sizes, if it is
    /// better than one channel after the other.
    pub(super) fn new([_, width]: [usize; 2], padded: [usize; 2], lanes: usize) -> Option<Self> {
        let length = padded[0].checked_mul(padded[1])?.checked_mul(lanes)?;
        (width < lanes && length <= MAX_LENGTH).then_some(Self { lanes, padded })
    }

    /// Elements of the padded images.
    pub(super) fn plane_length(&self) -> usize {
        self.padded[0] * self.padded[1] * self.lanes
    }

    /// Fills the padding.
    pub(super) fn clear<T: Float>(&self, planes: &mut [T]) {
        planes.fill(T::ZERO);
    }

    /// Where each tap starts.
    pub(super) fn starts(&self, windows: &Windows) -> Vec<usize> {
        let [rows, columns] = windows.tap_distances();
        let row = |y: usize| columns.iter().map(move |x| (y * self.padded[1] + x) * self.lanes);
        rows.iter().flat_map(|&y| row(y)).collect()
    }

    /// The vectors of all windows: one for each.
    pub(super) fn grid(&self, windows: &Windows) -> Grid {
        let ([height, width], [y, x], lanes) = (windows.output(), windows.strides(), self.lanes);
        let position = |i: usize| Position { x: i * x * lanes, y: i * lanes, count: lanes };
        let row: Vec<_> = (0..width).map(position).collect();
        Grid::new(height, [y * self.padded[1] * lanes, width * lanes], &row)
    }

    /// Lays out what some output channels see of an image; the padding stays.
    pub(super) fn lay_out<T: Float>(
        &self,
        c: &Convolution,
        x: &[T],
        channels: &Range<usize>,
        planes: &mut [T],
    ) {
        let (lanes, length) = (self.lanes, c.input_length());
        let mut beside = Buffer::new(length * lanes);
        if c.out_channels == 1 {
            let size = [channels.len(), length];
            join(&x[channels.start * length..], length, size, lanes, beside.as_mut_slice());
        } else {
            // A channel's input once for each of its kernels.
            let mut copies = Buffer::new(channels.len() * length);
            for (copy, channel) in
                copies.as_mut_slice().chunks_mut(length.max(1)).zip(channels.clone())
            {
                copy.copy_from_slice(&x[channel / c.out_channels * length..][..length]);
            }
            join(copies.as_slice(), length, [channels.len(), length], lanes, beside.as_mut_slice());
        }
        let ([height, width], [y, x]) = (c.windows.input(), c.windows.paddings());
        let padded = [self.padded[0], self.padded[1] * lanes];
        pad(beside.as_slice(), [height, width * lanes], [y, x * lanes], padded, planes);
    }
}

/// Copies an image into a padded one behind so many rows and columns, as much of
/// it as fits.
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
    for (image, to) in image
        .chunks_exact(width)
        .take(height)
        .zip(to[..padded[0] * padded[1]].chunks_exact_mut(padded[1]).skip(above))
    {
        to[left..][..count].copy_from_slice(&image[..count]);
    }
}

/// Lays the rows of a matrix, which are `step` apart, side by side, as columns
/// of `lanes`.
pub(super) fn join<T: Float>(
    from: &[T],
    step: usize,
    size: [usize; 2],
    lanes: usize,
    to: &mut [T],
) {
    if size[1] > 0 {
        T::vectorised(Transpose { from, from_step: step, size, to, to_step: lanes, width: lanes });
    }
}

/// The opposite of [`join`], for as many channels as fit.
pub(super) fn split_at_row<T: Float>(from: &[T], lanes: usize, to: &mut [T]) {
    let length = from.len() / lanes;
    if length > 0 {
        let size = [length, to.len() / length];
        T::vectorised(Transpose {
            from,
            from_step: lanes,
            size,
            to,
            to_step: length,
            width: length,
        });
    }
}

/// Puts the rows of each phase of the columns in their places in an image.
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
