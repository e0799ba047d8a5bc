//! Convolution with kernels of few taps: every tap is added to a piece of an
//! output row that stays in registers, for several channels at once.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Convolution, Finish, ImageGroup};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::vector::{Kernel, Vector, from_fn};
use crate::kernels::windows::Windows;

/// The number of output channels that are computed together.
const CHANNELS: usize = 4;
/// The parts of the only output channel that are computed at the same time.
const BANDS: usize = 8;
/// The number of taps whose gradients are computed together.
const TAPS: usize = 3;
/// The largest number of taps for this method. With more, a matrix product is
/// faster.
const MAX_TAPS: usize = 32;
/// The narrowest output for which this method is faster than a matrix product.
const MIN_WIDTH: usize = 8;
/// The same for more taps, if there are fewer output channels than this.
const MIN_WIDTH_OF_MANY: usize = 32;
const FEW_CHANNELS: usize = 12;

/// Whether this method is fast for the convolution.
pub(super) fn serves(c: &Convolution) -> bool {
    let wide = c.windows.output()[1] >= MIN_WIDTH;
    c.taps <= MAX_TAPS && (wide || c.out_channels < CHANNELS)
}

/// Whether this method is fast for the output: also with more taps, if a matrix
/// product would have few rows.
pub(super) fn serves_output(c: &Convolution) -> bool {
    let wide = c.windows.output()[1] >= MIN_WIDTH_OF_MANY;
    serves(c) || c.out_channels < FEW_CHANNELS && wide
}

/// Loads `W` vectors of a piece of a row. Unless all are whole, the last one
/// may be incomplete; its other lanes are 0.
#[inline(always)]
fn load<T, V: Vector<T>, const W: usize, const WHOLE: bool>(from: &[T]) -> [V; W] {
    from_fn(|i| {
        let from = &from[i * V::LANES..];
        if WHOLE || i + 1 < W { V::load(from) } else { V::load_part(from) }
    })
}

/// Computes the output of one image.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &[T],
    finish: Finish<'_, T>,
    image: usize,
    y: &mut [T],
) {
    let starts = c.starts();
    let mut planes = Buffer::new(if c.pointwise { 0 } else { c.planes_length() });
    for (group, y) in y.chunks_exact_mut(c.output_length()).enumerate() {
        let x = c.input(x, ImageGroup { image, group });
        if !c.pointwise {
            c.spread(x, planes.as_mut_slice());
        }
        let (planes, starts) = (if c.pointwise { x } else { planes.as_slice() }, &starts[..]);
        let weight = c.weight(weight, group);
        let positions = c.windows.positions();
        if c.out_channels == 1 {
            let [height, width] = c.windows.output();
            let (weights, bias) =
                channels::<T, 1>(c, weight, finish.bias.map(|bias| &bias[group..]));
            let rows = height.div_ceil(BANDS);
            for_each_chunk(y, rows * width, c.cost(), |band, y| {
                let (windows, weights) = (&c.windows, &weights[..]);
                let rows = band * rows..band * rows + y.len() / width;
                let first = group * positions + rows.start * width;
                T::vectorised(Forward { windows, rows, planes, starts, weights, bias, y });
                finish.then.apply(first, y);
            });
            continue;
        }
        for_each_chunk(y, CHANNELS * positions, c.cost(), |index, y| {
            let first = index * CHANNELS;
            let weight = &weight[first * c.taps..];
            let channel = group * c.out_channels + first;
            let (bias, windows) = (finish.bias.map(|bias| &bias[channel..]), &c.windows);
            if y.len() == CHANNELS * positions {
                let (weights, bias) = channels::<T, CHANNELS>(c, weight, bias);
                let (rows, weights) = (0..windows.output()[0], &weights[..]);
                T::vectorised(Forward { windows, rows, planes, starts, weights, bias, y });
            } else {
                for (channel, y) in y.chunks_exact_mut(positions).enumerate() {
                    let bias = bias.map(|bias| &bias[channel..]);
                    let (weights, bias) = channels::<T, 1>(c, &weight[channel * c.taps..], bias);
                    let (rows, weights) = (0..windows.output()[0], &weights[..]);
                    T::vectorised(Forward { windows, rows, planes, starts, weights, bias, y });
                }
            }
            finish.then.apply(channel * positions, y);
        });
    }
}

/// The weights of `M` channels, interleaved for each tap, and their biases.
fn channels<T: Float, const M: usize>(
    c: &Convolution,
    weight: &[T],
    bias: Option<&[T]>,
) -> (SmallVec<[[T; M]; MAX_TAPS]>, [T; M]) {
    let of_tap = |tap: usize| from_fn(|channel| weight[channel * c.taps + tap]);
    let weights = (0..c.taps).map(of_tap).collect();
    (weights, from_fn(|channel| bias.map_or(T::ZERO, |bias| bias[channel])))
}

/// Some rows of the output of `M` channels.
struct Forward<'a, T, const M: usize> {
    windows: &'a Windows,
    rows: Range<usize>,
    planes: &'a [T],
    starts: &'a [usize],
    weights: &'a [[T; M]],
    bias: [T; M],
    y: &'a mut [T],
}

impl<T: Float, const M: usize> Kernel<T> for Forward<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        let [_, width] = self.windows.output();
        match width / V::LANES {
            4.. if V::REGISTERS >= 32 => self.whole::<V, 4>(),
            2.. => self.whole::<V, 2>(),
            _ => {
                for row in 0..self.rows.len() {
                    if width > V::LANES {
                        self.piece::<V, 2, false>(row, 0, width);
                    } else {
                        self.piece::<V, 1, false>(row, 0, width);
                    }
                }
            }
        }
    }
}

impl<T: Float, const M: usize> Forward<'_, T, M> {
    /// Computes rows of at least `W` vectors. The last piece of a row overlaps
    /// the one before, because loading with a mask takes longer.
    #[inline(always)]
    fn whole<V: Vector<T>, const W: usize>(&mut self) {
        let [_, width] = self.windows.output();
        let (length, last) = (W * V::LANES, width - W * V::LANES);
        for row in 0..self.rows.len() {
            for column in (0..last).step_by(length).chain([last]) {
                self.piece::<V, W, true>(row, column, length);
            }
        }
    }

    /// Computes `count` elements of a row of each channel, in `W` vectors.
    #[inline(always)]
    fn piece<V: Vector<T>, const W: usize, const WHOLE: bool>(
        &mut self,
        row: usize,
        column: usize,
        count: usize,
    ) {
        let (height, [_, width]) = (self.rows.len(), self.windows.output());
        let offset = (self.rows.start + row) * self.windows.plane_row() + column;
        let mut sums = self.bias.map(|bias| [V::splat(bias); W]);
        for (&start, weights) in self.starts.iter().zip(self.weights) {
            let x = load::<T, V, W, WHOLE>(&self.planes[start + offset..][..count]);
            for channel in 0..M {
                let weight = V::splat(weights[channel]);
                for i in 0..W {
                    sums[channel][i] = sums[channel][i].plus_product(weight, x[i]);
                }
            }
        }
        for (channel, sums) in sums.into_iter().enumerate() {
            let y = &mut self.y[(channel * height + row) * width + column..][..count];
            for (i, sum) in sums.into_iter().enumerate() {
                let y = &mut y[i * V::LANES..];
                if WHOLE { sum.store(y) } else { sum.store_part(y) }
            }
        }
    }
}

/// Computes the gradient of one image's input.
pub(super) fn input_gradient<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    image: usize,
    gradient: &mut [T],
) {
    let starts = c.starts();
    let mut planes = Buffer::new(c.planes_length());
    for (group, gradient) in gradient.chunks_exact_mut(c.input_length()).enumerate() {
        planes.as_mut_slice().fill(T::ZERO);
        let g = c.output(g, ImageGroup { image, group });
        let weight = c.weight(weight, group);
        for first in (0..c.taps).step_by(TAPS) {
            // Missing taps are replaced by another tap with zero weights, which
            // adds 0.
            let count = TAPS.min(c.taps - first);
            let weights = weight
                .chunks_exact(c.taps)
                .map(|weight| from_fn(|i| if i < count { weight[first + i] } else { T::ZERO }));
            T::vectorised(InputGradient {
                windows: &c.windows,
                starts: from_fn(|i| starts[first + i.min(count - 1)]),
                weights: &weights.collect::<Vec<_>>(),
                g,
                planes: planes.as_mut_slice(),
            });
        }
        c.collect(planes.as_slice(), gradient);
    }
}

/// The gradient of the planes by a few taps of every channel.
struct InputGradient<'a, T> {
    windows: &'a Windows,
    starts: [usize; TAPS],
    weights: &'a [[T; TAPS]],
    g: &'a [T],
    planes: &'a mut [T],
}

impl<T: Float> Kernel<T> for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        let [height, width] = self.windows.output();
        for row in 0..height {
            for column in (0..width).step_by(V::LANES) {
                let count = (width - column).min(V::LANES);
                let mut sums = [V::splat(T::ZERO); TAPS];
                for (channel, weights) in self.weights.iter().enumerate() {
                    let offset = (channel * height + row) * width + column;
                    let [g] = load::<T, V, 1, false>(&self.g[offset..][..count]);
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum = sum.plus_product(V::splat(weight), g);
                    }
                }
                let offset = row * self.windows.plane_row() + column;
                for (start, sum) in self.starts.into_iter().zip(sums) {
                    let plane = &mut self.planes[start + offset..][..count];
                    V::load_part(plane).plus(sum).store_part(plane);
                }
            }
        }
    }
}

/// Adds the gradient of the weight over some images to `sum`.
pub(super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let starts = c.starts();
    let mut planes = Buffer::new(c.planes_length());
    let positions = c.windows.positions();
    for image_group in c.image_groups(images) {
        c.spread(c.input(x, image_group), planes.as_mut_slice());
        let planes = planes.as_slice();
        let g = c.output(g, image_group);
        let sum = &mut sum[image_group.group * c.weight_length()..][..c.weight_length()];
        let blocks = sum.chunks_mut(CHANNELS * c.taps).zip(g.chunks(CHANNELS * positions));
        for (sum, g) in blocks {
            if g.len() == CHANNELS * positions {
                add_channels_gradient::<T, CHANNELS>(c, planes, &starts, g, sum);
                continue;
            }
            for (sum, g) in sum.chunks_exact_mut(c.taps).zip(g.chunks_exact(positions)) {
                add_channels_gradient::<T, 1>(c, planes, &starts, g, sum);
            }
        }
    }
}

/// Adds the gradient of the weight of `M` channels over one image to `sum`.
fn add_channels_gradient<T: Float, const M: usize>(
    c: &Convolution,
    planes: &[T],
    starts: &[usize],
    g: &[T],
    sum: &mut [T],
) {
    for (block, starts) in starts.chunks(TAPS).enumerate() {
        // The results for missing taps are not used.
        let all = from_fn(|i| starts[i.min(starts.len() - 1)]);
        let windows = &c.windows;
        let totals = T::vectorised(WeightGradient::<T, M> { windows, planes, starts: all, g });
        for (sum, totals) in sum.chunks_exact_mut(c.taps).zip(totals) {
            let sum = &mut sum[block * TAPS..][..starts.len()];
            sum.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
        }
    }
}

/// The gradient of the weight of `M` channels for a few taps.
struct WeightGradient<'a, T, const M: usize> {
    windows: &'a Windows,
    planes: &'a [T],
    starts: [usize; TAPS],
    g: &'a [T],
}

impl<T: Float, const M: usize> Kernel<T> for WeightGradient<'_, T, M> {
    type Output = [[T; TAPS]; M];

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> Self::Output {
        let Self { windows, planes, starts, g } = self;
        let ([height, width], plane_row) = (windows.output(), windows.plane_row());
        // Bounds checks in the loops would keep the sums out of the registers.
        let last = starts.into_iter().max().unwrap_or(0) + height.saturating_sub(1) * plane_row;
        assert!(last + width <= planes.len(), "taps beyond the planes");
        assert!(M * height * width <= g.len(), "too few cotangents");
        // The last vector of a row is separate, because loading all vectors
        // with a mask takes a fifth longer.
        let whole = width - width % V::LANES;
        let mut sums = [[V::splat(T::ZERO); TAPS]; M];
        for row in 0..height {
            for column in (0..whole).step_by(V::LANES) {
                // SAFETY: the assertions above cover the last row and its last
                // window.
                let piece = |from: &[T], offset: usize| unsafe {
                    V::load(from.get_unchecked(offset..offset + V::LANES))
                };
                let g: [V; M] = from_fn(|i| piece(g, (i * height + row) * width + column));
                for tap in 0..TAPS {
                    let x = piece(planes, starts[tap] + row * plane_row + column);
                    for channel in 0..M {
                        sums[channel][tap] = sums[channel][tap].plus_product(g[channel], x);
                    }
                }
            }
            if whole < width {
                // SAFETY: the assertions above cover the last row and its last
                // window.
                let piece = |from: &[T], offset: usize| unsafe {
                    V::load_part(from.get_unchecked(offset..offset + width - whole))
                };
                let g: [V; M] = from_fn(|i| piece(g, (i * height + row) * width + whole));
                for tap in 0..TAPS {
                    let x = piece(planes, starts[tap] + row * plane_row + whole);
                    for channel in 0..M {
                        sums[channel][tap] = sums[channel][tap].plus_product(g[channel], x);
                    }
                }
            }
        }
        sums.map(|sums| sums.map(V::total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;
    use crate::kernels::windows::Sliding;
    use crate::random::Rng;

    /// Output and gradients of `CHANNELS` channels and of a single one.
    #[derive(Clone)]
    struct All<'a> {
        c: &'a Convolution,
        planes: &'a [f32],
        starts: &'a [usize],
        weight: &'a [f32],
        g: &'a [f32],
    }

    impl All<'_> {
        #[inline(always)]
        fn channels<V: Vector<f32>, const M: usize>(&self, results: &mut Vec<f32>) {
            let Self { c, planes, starts, .. } = *self;
            let windows = &c.windows;
            let (weights, bias) = channels::<f32, M>(c, self.weight, Some(&[0.5; M]));
            let mut y = vec![0.0; M * windows.positions()];
            let rows = 0..windows.output()[0];
            Forward { windows, rows, planes, starts, weights: &weights, bias, y: &mut y }
                .run::<V>();
            results.extend(y);
            let starts = [starts[0], starts[1], starts[2]];
            let gradient = WeightGradient::<f32, M> { windows, planes, starts, g: self.g };
            results.extend(gradient.run::<V>().as_flattened());
        }
    }

    impl Kernel<f32> for All<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let mut results = Vec::new();
            self.channels::<V, CHANNELS>(&mut results);
            self.channels::<V, 1>(&mut results);
            let mut planes = vec![0.0; self.planes.len()];
            let gradient = InputGradient {
                windows: &self.c.windows,
                starts: [self.starts[0], self.starts[1], self.starts[2]],
                weights: &[[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]],
                g: self.g,
                planes: &mut planes,
            };
            gradient.run::<V>();
            results.extend(planes);
            results
        }
    }

    /// Every instruction set compared with the portable arrays, for rows of any
    /// width. The tests of the operation compare the widest one with a plain
    /// loop.
    #[test]
    fn all_instruction_sets_agree() {
        let mut rng = Rng::seed(1);
        for width in (1..40).chain([63, 64, 65, 100]) {
            let sliding = Sliding {
                kernel_size: [2, 3],
                stride: [1, 1 + width % 2],
                padding: [1, 1],
                dilation: [1, 1],
                ceil_mode: false,
            };
            let windows = Windows::new("test", [3, width], &sliding).unwrap();
            let c = Convolution::new(1, 1, [1, CHANNELS], windows, &sliding);
            let mut random = |length| (0..length).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let mut planes = vec![0.0; windows.plane_length()];
            c.spread(&random(windows.image_length()), &mut planes);
            let (weight, g) = (random(CHANNELS * c.taps), random(CHANNELS * windows.positions()));
            let starts = c.starts();
            let all = All { c: &c, planes: &planes, starts: &starts, weight: &weight, g: &g };
            assert_kinds_agree(&all, 2e-5, &format!("width {width}"));
        }
    }
}
