//! The gradients of a depthwise convolution.

use std::ops::Range;

use super::super::Convolution;
use super::layout::{
    Grid, Lanes, Position, SideBySide, along_row, join, pad, repeat, scatter, split,
};
use super::{Planes, Products, Sums, Walk, interleaved, rows_of_plane};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::windows::Phases;

/// The sums for one phase of the rows and one of the columns.
struct Part {
    walk: Walk,
    /// The indices of the phases.
    phases: [usize; 2],
}

/// Computes the gradient of the input from the cotangent `g` of the output.
pub(in super::super) fn input_gradient<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    gradient: &mut [T],
) {
    let (lanes, length) = (T::vectorised(Lanes), c.input_length());
    let [rows, columns] = c.windows.phases();
    let (width, padded) = (c.windows.input()[1], [rows.length, columns.length]);
    let narrowest = columns.phases.first().map_or(0, |phase| phase.count);
    let planes = [c.out_channels * padded[0], padded[1]];
    let layout = SideBySide::new(narrowest, planes, lanes);
    let unit = if layout.is_some() { lanes } else { 1 };
    let kernel_width = c.windows.tap_distances()[1].len();
    // If there is only one phase of the columns, its rows are written directly.
    let whole = columns.phases.len() == 1;
    let mut parts = Vec::new();
    for (i, row) in rows.phases.iter().enumerate() {
        for (j, column) in columns.phases.iter().enumerate() {
            let mut taps = Vec::new();
            for output in 0..c.out_channels {
                for &[u, y] in &row.taps {
                    for &[v, x] in &column.taps {
                        let start = (output * padded[0] + y) * padded[1] + x;
                        let tap = output * c.taps + u * kernel_width + v;
                        taps.push([start * unit, tap * lanes]);
                    }
                }
            }
            let step = padded[1] * unit;
            let grid = if layout.is_some() {
                let position = |i: usize| Position {
                    x: i * lanes,
                    y: i * columns.stride * lanes,
                    count: lanes,
                };
                let positions: Vec<_> = (0..column.count).map(position).collect();
                Grid::new(row.count, [step, rows.stride * width * lanes], &positions)
            } else {
                let to = if whole { rows.stride * width } else { column.count };
                Grid::new(row.count, [step, to], &along_row(column.count, lanes, true))
            };
            parts.push(Part { walk: Walk { taps, grid }, phases: [i, j] });
        }
    }
    let table = layout.map(|_| interleaved(weight, c.weight_length(), lanes));
    let cost = c.cost() * c.out_channels;
    let groups = lanes * rows_per_chunk(lanes * length * cost);
    for_each_chunk(gradient, c.groups * length, cost, |image, gradient| {
        let g = &g[image * c.groups * c.output_length()..][..c.groups * c.output_length()];
        for_each_chunk(gradient, groups * length, cost, |task, gradient| {
            let first = task * groups;
            let groups = first..first + gradient.len() / length;
            let problem = GradientOf { c, g, groups, phases: [&rows, &columns], parts: &parts };
            match (layout, &table) {
                (Some(layout), Some(table)) => {
                    let table = &table.as_slice()[first * c.weight_length()..];
                    problem.side_by_side(&layout, table, gradient);
                }
                _ => problem.in_turn(weight, gradient),
            }
        });
    });
}

/// The gradient of the input for some groups of one image.
struct GradientOf<'a, T> {
    c: &'a Convolution,
    g: &'a [T],
    groups: Range<usize>,
    /// The phases of rows and of columns.
    phases: [&'a Phases; 2],
    parts: &'a [Part],
}

impl<T: Float> GradientOf<'_, T> {
    /// The numbers of rows and columns of the padded cotangents, and of the
    /// zeros before them.
    fn padded(&self) -> ([usize; 2], [usize; 2]) {
        (self.phases.map(|axis| axis.length), self.phases.map(|axis| axis.before))
    }

    fn in_turn(self, weight: &[T], gradient: &mut [T]) {
        let (c, lanes) = (self.c, T::vectorised(Lanes));
        let (padded, before) = self.padded();
        let ([rows, columns], width) = (self.phases, c.windows.input()[1]);
        let mut planes = Buffer::new(c.out_channels * padded[0] * padded[1] + lanes);
        planes.as_mut_slice().fill(T::ZERO);
        let mut weights = vec![T::ZERO; c.weight_length() * lanes];
        let bias = &vec![T::ZERO; lanes];
        let whole = columns.phases.len() == 1;
        let mut pieces = vec![Vec::new(); columns.phases.len()];
        for (group, gradient) in self.groups.zip(gradient.chunks_exact_mut(c.input_length())) {
            let g = &self.g[group * c.output_length()..][..c.output_length()];
            let each = planes.as_mut_slice().chunks_exact_mut(padded[0] * padded[1]);
            for (g, plane) in g.chunks_exact(c.windows.positions()).zip(each) {
                pad(g, c.windows.output(), before, padded, plane);
            }
            repeat(&weight[group * c.weight_length()..][..c.weight_length()], lanes, &mut weights);
            let (planes, weights) = (planes.as_slice(), &weights[..]);
            for Part { walk, phases: [i, j] } in self.parts {
                let (row, column) = (&rows.phases[*i], &columns.phases[*j]);
                if whole {
                    let y = &mut gradient[row.first * width..];
                    T::vectorised(Sums { planes, weights, bias, walk, y });
                    continue;
                }
                pieces[*j].resize(row.count * column.count, T::ZERO);
                T::vectorised(Sums { planes, weights, bias, walk, y: &mut pieces[*j] });
                if j + 1 == pieces.len() {
                    scatter(&pieces, row, [rows.stride, width], gradient);
                }
            }
        }
    }

    fn side_by_side(self, layout: &SideBySide, table: &[T], gradient: &mut [T]) {
        let (c, lanes) = (self.c, layout.lanes);
        let (padded, before) = self.padded();
        let ([rows, columns], [height, width]) = (self.phases, c.windows.input());
        let positions = c.windows.positions();
        let mut planes = layout.planes();
        let mut joined = Buffer::new(positions * lanes);
        let mut sums = Buffer::new(height * width * lanes);
        let bias = &vec![T::ZERO; lanes];
        let blocks = gradient.chunks_mut(lanes * height * width);
        for (block, gradient) in blocks.enumerate() {
            let group = self.groups.start + block * lanes;
            let count = gradient.len() / (height * width);
            let each = planes.as_mut_slice().chunks_exact_mut(padded[0] * padded[1] * lanes);
            for (output, plane) in each.enumerate() {
                let g = &self.g[(group * c.out_channels + output) * positions..];
                join(g, c.output_length(), [count, positions], joined.as_mut_slice());
                let ([rows, columns], [above, left]) = (c.windows.output(), before);
                let size = [padded[0], padded[1] * lanes];
                let image = [rows, columns * lanes];
                pad(joined.as_slice(), image, [above, left * lanes], size, plane);
            }
            let weights = &table[block * lanes * c.weight_length()..];
            for Part { walk, phases: [i, j] } in self.parts {
                let first = rows.phases[*i].first * width + columns.phases[*j].first;
                let y = &mut sums.as_mut_slice()[first * lanes..];
                T::vectorised(Sums { planes: planes.as_slice(), weights, bias, walk, y });
            }
            split(sums.as_slice(), lanes, gradient);
        }
    }
}

/// Adds the gradient of the weight over some images to `sum`.
pub(in super::super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let (lanes, positions) = (T::vectorised(Lanes), c.windows.positions());
    let layout = SideBySide::new(c.windows.output()[1], c.windows.padded(), lanes);
    let walk = match layout {
        Some(layout) => Walk::new(layout.starts(&c.windows), layout.grid(&c.windows), lanes),
        None => Walk::new(c.starts(), rows_of_plane(c, lanes, false), lanes),
    };
    let of_image = |image: usize| {
        let x = &x[image * c.groups * c.input_length()..][..c.groups * c.input_length()];
        (x, &g[image * c.groups * c.output_length()..][..c.groups * c.output_length()])
    };
    let cost = (images.len() * positions).div_ceil(4);
    let channels = lanes * rows_per_chunk(lanes * c.taps * cost);
    for_each_chunk(sum, channels * c.taps, cost, |task, sum| {
        let first = task * channels;
        let mut sums = vec![T::ZERO; c.taps * lanes];
        if let Some(layout) = layout {
            let mut planes = layout.planes();
            let mut joined = Buffer::new(positions * lanes);
            for (block, sum) in sum.chunks_mut(lanes * c.taps).enumerate() {
                let first = first + block * lanes;
                let channels = first..first + sum.len() / c.taps;
                sums.fill(T::ZERO);
                for image in images.clone() {
                    let (x, g) = of_image(image);
                    let planes = layout.lay_out(c, x, &channels, &mut planes);
                    let size = [channels.len(), positions];
                    join(&g[first * positions..], positions, size, joined.as_mut_slice());
                    let (g, sums) = (joined.as_slice(), &mut sums);
                    T::vectorised(Products { planes, g, walk: &walk, sums });
                }
                for (channel, sum) in sum.chunks_exact_mut(c.taps).enumerate() {
                    for (sum, lanes) in sum.iter_mut().zip(sums.chunks_exact(lanes)) {
                        *sum += lanes[channel];
                    }
                }
            }
            return;
        }
        let mut planes = Planes::new(c, lanes);
        for (channel, sum) in (first..).zip(sum.chunks_exact_mut(c.taps)) {
            sums.fill(T::ZERO);
            for image in images.clone() {
                let (x, g) = of_image(image);
                let planes = planes.of(c, x, channel / c.out_channels);
                let (g, sums) = (&g[channel * positions..][..positions], &mut sums);
                T::vectorised(Products { planes, g, walk: &walk, sums });
            }
            for (sum, lanes) in sum.iter_mut().zip(sums.chunks_exact(lanes)) {
                *sum += lanes.iter().copied().sum::<T>();
            }
        }
    });
}
