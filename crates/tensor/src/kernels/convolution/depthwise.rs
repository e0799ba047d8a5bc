//! Depthwise convolution: groups of one input channel, each with a kernel (or
//! several) of its own.
//!
//! An output element sums few products, so that a method lives by what it
//! loads. All taps are summed in one pass over the output, eight vectors of it
//! at a time, which stay in registers. Where rows are long, a vector holds
//! neighbours of one channel. Where they are shorter than a vector, as many
//! channels as it has lanes are laid side by side, and a vector holds the same
//! place of all of them. Both are the same loop: the numbers of a vector lie
//! together, and a tap is a distance in memory and a vector of weights.
//!
//! The gradient of the input is a convolution of the cotangents, one for each
//! phase of the stride: the input elements that the same taps see.

mod layout;

use std::array::from_fn;
use std::ops::Range;

use super::Convolution;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::vector::{Kernel, Vector};
use crate::kernels::windows::Phase;
use layout::{Grid, Lanes, Position, SideBySide, along_row, pad, scatter, split_at_row};

/// Whether this method is the right one.
pub(super) fn serves(c: &Convolution) -> bool {
    c.groups > 1 && c.in_channels == 1
}

/// The weights of blocks of channels that are computed side by side, each as
/// taps × lanes; nothing where channels are computed one after the other.
pub(super) fn arranged<T: Float>(c: &Convolution, weight: &[T]) -> Option<Buffer<T>> {
    let lanes = T::vectorised(Lanes);
    SideBySide::new(c.windows.output(), c.windows.padded(), lanes)?;
    let channels = c.groups * c.out_channels;
    let mut table = Buffer::new(channels.next_multiple_of(lanes) * c.taps);
    for (block, table) in table.as_mut_slice().chunks_exact_mut(c.taps * lanes).enumerate() {
        let weight = &weight[block * lanes * c.taps..];
        interleave(weight, c.taps, lanes, table);
    }
    Some(table)
}

/// Lays the weights of up to so many channels side by side; lanes without a
/// channel have 0.
fn interleave<T: Float>(weight: &[T], taps: usize, lanes: usize, table: &mut [T]) {
    for (tap, table) in table.chunks_exact_mut(lanes).enumerate() {
        for (lane, slot) in table.iter_mut().enumerate() {
            *slot = weight.get(lane * taps + tap).copied().unwrap_or(T::ZERO);
        }
    }
}

/// Each weight in all lanes of a vector.
fn splat<T: Float>(weights: impl Iterator<Item = T>, lanes: usize, table: &mut Vec<T>) {
    table.clear();
    for weight in weights {
        table.extend(std::iter::repeat_n(weight, lanes));
    }
}

/// The output of one image. `table` is what [`arranged`] made.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    (weight, table): (&[T], Option<&[T]>),
    bias: Option<&[T]>,
    image: usize,
    y: &mut [T],
) {
    let (lanes, positions) = (T::vectorised(Lanes), c.windows.positions());
    let x = &x[image * c.groups * c.input_length()..][..c.groups * c.input_length()];
    let side_by_side = SideBySide::new(c.windows.output(), c.windows.padded(), lanes);
    for_each_chunk(y, lanes * positions, c.cost(), |block, y| {
        let channels = block * lanes..block * lanes + y.len() / positions;
        let bias = bias.map(|bias| &bias[channels.clone()]);
        match (side_by_side, table) {
            (Some(layout), Some(table)) => {
                let table = &table[block * lanes * c.taps..][..lanes * c.taps];
                forward_side_by_side(c, x, table, bias, channels, &layout, y);
            }
            _ => forward_in_turn(c, x, weight, bias, channels, y),
        }
    });
}

/// The output of some channels, one after the other.
fn forward_in_turn<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    channels: Range<usize>,
    y: &mut [T],
) {
    let lanes = T::vectorised(Lanes);
    let [height, width] = c.windows.output();
    let grid = Grid::new(height, [c.windows.plane_row(), width], &along_row(width, lanes, true));
    let starts = c.starts();
    let mut planes = Planes::new(c, lanes);
    let mut weights = Vec::new();
    for ((i, channel), y) in channels.enumerate().zip(y.chunks_exact_mut(height * width)) {
        splat(weight[channel * c.taps..][..c.taps].iter().copied(), lanes, &mut weights);
        let bias = vec![bias.map_or(T::ZERO, |bias| bias[i]); lanes];
        let planes = planes.of(c, x, channel);
        T::vectorised(Sums {
            planes,
            starts: &starts,
            weights: &weights,
            bias: &bias,
            grid: &grid,
            y,
        });
    }
}

/// The plane of one channel after the other.
struct Planes<T: Float> {
    buffer: Buffer<T>,
    /// Which group's input it holds.
    group: Option<usize>,
}

impl<T: Float> Planes<T> {
    fn new(c: &Convolution, lanes: usize) -> Self {
        // A vector of a row that is shorter reaches beyond the end.
        let length = c.windows.plane_length();
        let mut buffer = Buffer::new(length + lanes);
        buffer.as_mut_slice()[length..].fill(T::ZERO);
        Self { buffer, group: None }
    }

    /// What an output channel sees of an image.
    fn of(&mut self, c: &Convolution, x: &[T], channel: usize) -> &[T] {
        let group = channel / c.out_channels;
        if self.group != Some(group) {
            let length = c.windows.plane_length();
            let x = &x[group * c.input_length()..][..c.input_length()];
            c.windows.spread(x, T::ZERO, &mut self.buffer.as_mut_slice()[..length]);
            self.group = Some(group);
        }
        self.buffer.as_slice()
    }
}

/// The output of some channels, side by side.
fn forward_side_by_side<T: Float>(
    c: &Convolution,
    x: &[T],
    table: &[T],
    bias: Option<&[T]>,
    channels: Range<usize>,
    layout: &SideBySide,
    y: &mut [T],
) {
    let lanes = layout.lanes;
    let mut planes = Buffer::new(layout.plane_length());
    layout.clear(planes.as_mut_slice());
    layout.lay_out(c, x, &channels, planes.as_mut_slice());
    let mut biases = vec![T::ZERO; lanes];
    if let Some(bias) = bias {
        biases[..bias.len()].copy_from_slice(bias);
    }
    let mut sums = Buffer::new(c.windows.positions() * lanes);
    T::vectorised(Sums {
        planes: planes.as_slice(),
        starts: &layout.starts(&c.windows),
        weights: table,
        bias: &biases,
        grid: &layout.grid(&c.windows),
        y: sums.as_mut_slice(),
    });
    split_at_row(sums.as_slice(), lanes, y);
}

/// The gradient of the input, from the cotangent `g` of the output.
pub(super) fn input_gradient<T: Float>(c: &Convolution, weight: &[T], g: &[T], gradient: &mut [T]) {
    let (lanes, length) = (T::vectorised(Lanes), c.input_length());
    let cost = c.cost() * c.out_channels;
    for_each_chunk(gradient, c.groups * length, cost, |image, gradient| {
        let g = &g[image * c.groups * c.output_length()..][..c.groups * c.output_length()];
        for_each_chunk(gradient, lanes * length, cost, |block, gradient| {
            let groups = block * lanes..block * lanes + gradient.len() / length;
            gradient_of_groups(c, weight, g, groups, gradient);
        });
    });
}

/// The gradient of the input of some groups of one image.
fn gradient_of_groups<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    groups: Range<usize>,
    gradient: &mut [T],
) {
    let lanes = T::vectorised(Lanes);
    let (size, [rows, columns]) = (c.windows.input(), c.windows.phases());
    let phases: Vec<_> =
        rows.phases.iter().flat_map(|row| columns.phases.iter().map(move |c| [row, c])).collect();
    let narrowest = columns.phases.iter().map(|phase| phase.count).max().unwrap_or(0);
    let padded = [rows.length, columns.length];
    let kernel_width = c.windows.tap_distances()[1].len();
    // The taps of a phase as their numbers and where in the planes they are.
    let taps = |[row, column]: [&Phase; 2], unit: usize| {
        let mut taps = Vec::new();
        for output in 0..c.out_channels {
            for &[u, y] in &row.taps {
                for &[v, x] in &column.taps {
                    let start = (output * padded[0] + y) * padded[1] + x;
                    taps.push([output * c.taps + u * kernel_width + v, start * unit]);
                }
            }
        }
        taps
    };
    let before = [rows.before, columns.before];
    let Some(layout) =
        SideBySide::new([size[0], narrowest], [c.out_channels * padded[0], padded[1]], lanes)
    else {
        let mut planes = Buffer::new(c.out_channels * padded[0] * padded[1] + lanes);
        planes.as_mut_slice().fill(T::ZERO);
        let mut weights = Vec::new();
        let mut parts = vec![Vec::new(); columns.phases.len()];
        for (group, gradient) in groups.zip(gradient.chunks_exact_mut(c.input_length())) {
            let g = &g[group * c.output_length()..][..c.output_length()];
            for (output, g) in g.chunks_exact(c.windows.positions().max(1)).enumerate() {
                let plane = &mut planes.as_mut_slice()[output * padded[0] * padded[1]..];
                pad(g, c.windows.output(), before, padded, plane);
            }
            let weight = &weight[group * c.weight_length()..][..c.weight_length()];
            for row in &rows.phases {
                for (column, part) in columns.phases.iter().zip(&mut parts) {
                    let taps = taps([row, column], 1);
                    let starts: Vec<_> = taps.iter().map(|tap| tap[1]).collect();
                    splat(taps.iter().map(|tap| weight[tap[0]]), lanes, &mut weights);
                    let width = column.count;
                    part.resize(row.count * width, T::ZERO);
                    let places = along_row(width, lanes, true);
                    // One phase is the whole row.
                    let whole = columns.phases.len() == 1;
                    let step = if whole { rows.stride * size[1] } else { width };
                    let y =
                        if whole { &mut gradient[row.first * size[1]..] } else { &mut part[..] };
                    T::vectorised(Sums {
                        planes: planes.as_slice(),
                        starts: &starts,
                        weights: &weights,
                        bias: &vec![T::ZERO; lanes],
                        grid: &Grid::new(row.count, [padded[1], step], &places),
                        y,
                    });
                }
                if parts.len() > 1 {
                    scatter(&parts, row, [rows.stride, size[1]], gradient);
                }
            }
        }
        return;
    };
    let (plane, positions) = (padded[0] * padded[1] * lanes, c.windows.positions());
    let mut planes = Buffer::new(layout.plane_length());
    layout.clear(planes.as_mut_slice());
    let mut beside = Buffer::new(positions * lanes);
    for output in 0..c.out_channels {
        let first = (groups.start * c.out_channels + output) * positions;
        layout::join(
            &g[first..],
            c.output_length(),
            [groups.len(), positions],
            lanes,
            beside.as_mut_slice(),
        );
        let planes = &mut planes.as_mut_slice()[output * plane..][..plane];
        let ([height, width], [y, x]) = (c.windows.output(), before);
        pad(
            beside.as_slice(),
            [height, width * lanes],
            [y, x * lanes],
            [padded[0], padded[1] * lanes],
            planes,
        );
    }
    let mut table = Buffer::new(lanes * c.weight_length());
    interleave(
        &weight[groups.start * c.weight_length()..groups.end * c.weight_length()],
        c.weight_length(),
        lanes,
        table.as_mut_slice(),
    );
    let mut sums = Buffer::new(size[0] * size[1] * lanes);
    let mut weights = Vec::new();
    for [row, column] in phases {
        let taps = taps([row, column], lanes);
        let starts: Vec<_> = taps.iter().map(|tap| tap[1]).collect();
        weights.clear();
        for &[tap, _] in &taps {
            weights.extend_from_slice(&table.as_slice()[tap * lanes..][..lanes]);
        }
        let place =
            |i: usize| Position { x: i * lanes, y: i * columns.stride * lanes, count: lanes };
        let places: Vec<_> = (0..column.count).map(place).collect();
        let steps = [padded[1] * lanes, rows.stride * size[1] * lanes];
        T::vectorised(Sums {
            planes: planes.as_slice(),
            starts: &starts,
            weights: &weights,
            bias: &vec![T::ZERO; lanes],
            grid: &Grid::new(row.count, steps, &places),
            y: &mut sums.as_mut_slice()[(row.first * size[1] + column.first) * lanes..],
        });
    }
    split_at_row(sums.as_slice(), lanes, gradient);
}

/// Adds the gradient of the weight over some images to `sum`.
pub(super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let lanes = T::vectorised(Lanes);
    let [height, width] = c.windows.output();
    let side_by_side = SideBySide::new([height, width], c.windows.padded(), lanes);
    let of_image = |image: usize| {
        let (x, g) =
            (&x[image * c.groups * c.input_length()..], &g[image * c.groups * c.output_length()..]);
        (&x[..c.groups * c.input_length()], &g[..c.groups * c.output_length()])
    };
    let cost = images.len() * height * width / 4 + 1;
    for_each_chunk(sum, lanes * c.taps, cost, |block, sum| {
        let channels = block * lanes..block * lanes + sum.len() / c.taps;
        let mut lanes_sums = vec![T::ZERO; c.taps * lanes];
        if let Some(layout) = side_by_side {
            let (starts, grid) = (layout.starts(&c.windows), layout.grid(&c.windows));
            let mut planes = Buffer::new(layout.plane_length());
            layout.clear(planes.as_mut_slice());
            let mut beside = Buffer::new(height * width * lanes);
            for image in images.clone() {
                let (x, g) = of_image(image);
                layout.lay_out(c, x, &channels, planes.as_mut_slice());
                let g = &g[channels.start * height * width..];
                layout::join(
                    g,
                    height * width,
                    [channels.len(), height * width],
                    lanes,
                    beside.as_mut_slice(),
                );
                let (planes, g) = (planes.as_slice(), beside.as_slice());
                let sums = &mut lanes_sums;
                T::vectorised(Products { planes, starts: &starts, g, grid: &grid, sums });
            }
            for (channel, sum) in sum.chunks_exact_mut(c.taps).enumerate() {
                for (sum, lanes) in sum.iter_mut().zip(lanes_sums.chunks_exact(lanes)) {
                    *sum += lanes[channel];
                }
            }
            return;
        }
        let starts = c.starts();
        let grid =
            Grid::new(height, [c.windows.plane_row(), width], &along_row(width, lanes, false));
        let mut planes = Planes::new(c, lanes);
        for (channel, sum) in channels.zip(sum.chunks_exact_mut(c.taps)) {
            lanes_sums.fill(T::ZERO);
            for image in images.clone() {
                let (x, g) = of_image(image);
                planes.group = None;
                let planes = planes.of(c, x, channel);
                let g = &g[channel * height * width..][..height * width];
                let sums = &mut lanes_sums;
                T::vectorised(Products { planes, starts: &starts, g, grid: &grid, sums });
            }
            for (sum, lanes) in sum.iter_mut().zip(lanes_sums.chunks_exact(lanes)) {
                *sum += lanes.iter().copied().sum::<T>();
            }
        }
    });
}

/// Sums of products over taps for all vectors of a grid.
struct Sums<'a, T> {
    planes: &'a [T],
    /// Where in the planes each tap finds what the first vector needs.
    starts: &'a [usize],
    /// Taps × lanes.
    weights: &'a [T],
    /// What the sums begin with, one for each lane.
    bias: &'a [T],
    grid: &'a Grid,
    y: &'a mut [T],
}

impl<T: Float> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        let tap = self.starts.iter().copied().max().unwrap_or(0);
        assert!(self.grid.end(0) + tap + V::LANES <= self.planes.len(), "beyond the planes");
        assert!(self.weights.len() == self.starts.len() * V::LANES, "a vector for each tap");
        let grid = self.grid;
        for (rows, mut positions) in grid.parts() {
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

impl<T: Float> Sums<'_, T> {
    /// The first `N` vectors of these positions, for rows that begin there.
    #[inline(always)]
    fn piece<V: Vector<T>, const N: usize>(
        &mut self,
        rows: [usize; 2],
        positions: &[Position],
    ) -> usize {
        let positions: &[Position; N] = positions.first_chunk().expect("as many positions");
        let places: [usize; N] = from_fn(|i| rows[0] + positions[i].x);
        let mut sums = [V::load(self.bias); N];
        for (&start, weights) in self.starts.iter().zip(self.weights.chunks_exact(V::LANES)) {
            let weights = V::load(weights);
            for i in 0..N {
                let place = start + places[i];
                // SAFETY: a vector at the largest start and place lies in the
                // planes, as was asserted.
                let x = V::load(unsafe { self.planes.get_unchecked(place..place + V::LANES) });
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

/// Adds to each tap's sum, one for each lane, the products of all vectors of a
/// grid.
struct Products<'a, T> {
    planes: &'a [T],
    /// Where in the planes each tap finds what the first vector needs.
    starts: &'a [usize],
    g: &'a [T],
    grid: &'a Grid,
    /// Taps × lanes.
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        let tap = self.starts.iter().copied().max().unwrap_or(0);
        assert!(self.grid.end(0) + tap + V::LANES <= self.planes.len(), "beyond the planes");
        let mut first = 0;
        while first < self.starts.len() {
            first += match self.starts.len() - first {
                6.. => self.taps::<V, 9>(first),
                4.. => self.taps::<V, 5>(first),
                _ => self.taps::<V, 3>(first),
            };
        }
    }
}

impl<T: Float> Products<'_, T> {
    /// The sums of `N` taps from one on. What is computed in the place of a
    /// missing tap is not used.
    #[inline(always)]
    fn taps<V: Vector<T>, const N: usize>(&mut self, first: usize) -> usize {
        let starts = &self.starts[first..];
        let starts: [usize; N] = from_fn(|i| starts[i.min(starts.len() - 1)]);
        let mut sums = [V::splat(T::ZERO); N];
        for (rows, positions) in self.grid.parts() {
            for position in positions {
                let place = rows[0] + position.x;
                let g = &self.g[rows[1] + position.y..][..position.count];
                if position.count == V::LANES {
                    let g = V::load(g);
                    for i in 0..N {
                        let place = place + starts[i];
                        // SAFETY: a vector at the largest start and place lies
                        // in the planes, as was asserted.
                        let x = unsafe { self.planes.get_unchecked(place..place + V::LANES) };
                        sums[i] = sums[i].plus_product(g, V::load(x));
                    }
                } else {
                    // What follows in the planes may be infinite.
                    let g = V::load_part(g);
                    for i in 0..N {
                        let x = &self.planes[place + starts[i]..][..position.count];
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
            let ([height, width], starts) = (c.windows.output(), c.starts());
            let steps = [c.windows.plane_row(), width];
            let planes = &[plane, &[0.0; 64]].concat();
            let (mut weights, mut y) = (Vec::new(), vec![0.0; height * width]);
            splat(weight.iter().copied(), V::LANES, &mut weights);
            let grid = &Grid::new(height, steps, &along_row(width, V::LANES, true));
            let (starts, bias) = (&starts, &[0.5; 64]);
            Sums { planes, starts, weights: &weights, bias, grid, y: &mut y }.run::<V>();
            let grid = &Grid::new(height, steps, &along_row(width, V::LANES, false));
            let mut sums = vec![0.0; c.taps * V::LANES];
            Products { planes, starts, g, grid, sums: &mut sums }.run::<V>();
            y.extend(sums.chunks_exact(V::LANES).map(|lanes| lanes.iter().sum::<f32>()));
            y
        }
    }

    /// Every instruction set against the portable arrays; the tests of the
    /// operation compare the widest with a plain loop.
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
