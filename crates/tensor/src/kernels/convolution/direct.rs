//! Convolution by kernels of few taps: every tap adds to a piece of an output
//! row that stays in registers, for several channels at once.

use std::ops::Range;

use super::{Convolution, Place};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::simd;

/// Elements of an output row that are computed together.
const LANES: usize = 16;
/// Output channels that are computed together.
const CHANNELS: usize = 4;
/// Taps whose gradients are computed together.
const TAPS: usize = 3;
/// The most taps this method takes.
const MAX_TAPS: usize = 32;

/// Whether this method is the right one: for many taps a matrix product is
/// faster, and a narrow image leaves most lanes idle.
pub(super) fn serves(c: &Convolution) -> bool {
    let narrow = c.windows.output()[1] < LANES / 2;
    c.taps <= MAX_TAPS && (!narrow || c.out_channels < CHANNELS)
}

/// A piece of an output row.
#[derive(Clone, Copy)]
struct Piece {
    /// Its first element.
    start: usize,
    /// The lanes that hold elements which no piece before it has.
    fresh: [usize; 2],
}

/// The pieces of a row of `width`. The last one overlaps the one before it, so
/// that every piece is full; only a row narrower than a piece is not.
#[inline(always)]
fn pieces(width: usize) -> impl Iterator<Item = Piece> {
    (0..width).step_by(LANES).map(move |first| {
        let start = first.min(width.saturating_sub(LANES));
        Piece { start, fresh: [first - start, LANES.min(width - start)] }
    })
}

/// The lanes of a piece of `row`, zero where they are not fresh.
#[inline(always)]
fn fresh_lanes<T: Float>(row: &[T], piece: Piece) -> [T; LANES] {
    let mut lanes = [T::ZERO; LANES];
    match row[piece.start..].first_chunk::<LANES>() {
        Some(full) if piece.fresh[1] == LANES => {
            for i in 0..LANES {
                lanes[i] = if i >= piece.fresh[0] { full[i] } else { T::ZERO };
            }
        }
        _ => lanes[..piece.fresh[1]].copy_from_slice(&row[piece.start..][..piece.fresh[1]]),
    }
    lanes
}

/// What a tap sees of a piece.
#[inline(always)]
fn lanes_at<T>(planes: &[T], start: usize) -> &[T; LANES] {
    planes[start..].first_chunk().expect("planes are followed by as many lanes")
}

/// Memory for the planes of a group's channels. Lanes of a narrow row reach
/// beyond the last one; what they hold there is never used.
fn plane_buffer<T: Float>(c: &Convolution) -> Buffer<T> {
    Buffer::new(c.planes_length() + LANES)
}

/// The planes in a buffer, without the lanes that follow them.
fn planes_in<'a, T: Float>(c: &Convolution, buffer: &'a mut Buffer<T>) -> &'a mut [T] {
    &mut buffer.as_mut_slice()[..c.planes_length()]
}

/// The output of one image.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    image: usize,
    y: &mut [T],
) {
    let starts: Vec<usize> = c.starts().collect();
    let mut buffer = plane_buffer(c);
    for (group, y) in y.chunks_exact_mut(c.output_length()).enumerate() {
        c.spread(c.input(x, Place { image, group }), planes_in(c, &mut buffer));
        let planes = buffer.as_slice();
        let weight = c.weight(weight, group);
        let positions = c.windows.positions();
        for_each_chunk(y, CHANNELS * positions, c.cost(), |index, y| {
            let first = index * CHANNELS;
            let weight = &weight[first * c.taps..];
            let bias = bias.map(|bias| &bias[group * c.out_channels + first..]);
            if y.len() == CHANNELS * positions {
                channels_forward::<T, CHANNELS>(c, planes, &starts, weight, bias, y);
                return;
            }
            for (channel, y) in y.chunks_exact_mut(positions).enumerate() {
                let weight = &weight[channel * c.taps..];
                let bias = bias.map(|bias| &bias[channel..]);
                channels_forward::<T, 1>(c, planes, &starts, weight, bias, y);
            }
        });
    }
}

/// The output of `M` channels of one image; `weight` and `bias` start with
/// theirs.
fn channels_forward<T: Float, const M: usize>(
    c: &Convolution,
    planes: &[T],
    starts: &[usize],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let [height, width] = c.windows.output();
    let row_length = c.windows.plane_row();
    let mut weights = [[T::ZERO; M]; MAX_TAPS];
    for (channel, weight) in weight.chunks_exact(c.taps.max(1)).take(M).enumerate() {
        for (weights, &weight) in weights.iter_mut().zip(weight) {
            weights[channel] = weight;
        }
    }
    let bias: [T; M] = std::array::from_fn(|channel| bias.map_or(T::ZERO, |bias| bias[channel]));
    simd::dispatch(
        #[inline(always)]
        || {
            for row in 0..height {
                for piece in pieces(width) {
                    let mut sums = bias.map(|bias| [bias; LANES]);
                    let place = row * row_length + piece.start;
                    for (&start, weights) in starts.iter().zip(&weights) {
                        let values = lanes_at(planes, start + place);
                        for channel in 0..M {
                            for lane in 0..LANES {
                                sums[channel][lane] += weights[channel] * values[lane];
                            }
                        }
                    }
                    for (sums, y) in sums.iter().zip(y.chunks_exact_mut(height * width)) {
                        let y = &mut y[row * width + piece.start..];
                        match y.first_chunk_mut::<LANES>() {
                            Some(full) if piece.fresh[1] == LANES => *full = *sums,
                            _ => {
                                let lanes = piece.fresh[1];
                                y[..lanes].copy_from_slice(&sums[..lanes]);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// The gradient of one image's input.
pub(super) fn input_gradient<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    image: usize,
    gradient: &mut [T],
) {
    let starts: Vec<usize> = c.starts().collect();
    let mut buffer = plane_buffer(c);
    for (group, gradient) in gradient.chunks_exact_mut(c.input_length()).enumerate() {
        buffer.as_mut_slice().fill(T::ZERO);
        let g = c.output(g, Place { image, group });
        let weight = c.weight(weight, group);
        for first in (0..c.taps).step_by(TAPS) {
            let count = TAPS.min(c.taps - first);
            // A missing tap has weight 0 and falls on another one.
            let starts = std::array::from_fn(|i| starts[first + i.min(count - 1)]);
            let weights = weight.chunks_exact(c.taps).map(|weight| {
                std::array::from_fn(|i| if i < count { weight[first + i] } else { T::ZERO })
            });
            taps_input_gradient(c, &weights.collect::<Vec<_>>(), g, starts, buffer.as_mut_slice());
        }
        c.collect(planes_in(c, &mut buffer), gradient);
    }
}

/// Adds what a few taps pass on to the planes; `weights` has those taps of
/// every output channel.
fn taps_input_gradient<T: Float>(
    c: &Convolution,
    weights: &[[T; TAPS]],
    g: &[T],
    starts: [usize; TAPS],
    planes: &mut [T],
) {
    let [height, width] = c.windows.output();
    let row_length = c.windows.plane_row();
    simd::dispatch(
        #[inline(always)]
        || {
            for row in 0..height {
                for piece in pieces(width) {
                    let mut sums = [[T::ZERO; LANES]; TAPS];
                    for (weights, g) in weights.iter().zip(g.chunks_exact(height * width)) {
                        let g = fresh_lanes(&g[row * width..][..width], piece);
                        for tap in 0..TAPS {
                            for lane in 0..LANES {
                                sums[tap][lane] += weights[tap] * g[lane];
                            }
                        }
                    }
                    for (&start, sums) in starts.iter().zip(&sums) {
                        let place = start + row * row_length + piece.start;
                        let planes = &mut planes[place..];
                        match planes.first_chunk_mut::<LANES>() {
                            Some(full) if piece.fresh[1] == LANES => {
                                for lane in 0..LANES {
                                    full[lane] += sums[lane];
                                }
                            }
                            _ => {
                                for (plane, &sum) in planes.iter_mut().zip(&sums[..piece.fresh[1]])
                                {
                                    *plane += sum;
                                }
                            }
                        }
                    }
                }
            }
        },
    );
}

/// Adds the gradient of the weight over some images to `sum`.
pub(super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let starts: Vec<usize> = c.starts().collect();
    let mut buffer = plane_buffer(c);
    let positions = c.windows.positions();
    for place in c.places(images) {
        c.spread(c.input(x, place), planes_in(c, &mut buffer));
        let planes = buffer.as_slice();
        let g = c.output(g, place);
        let sum = &mut sum[place.group * c.weight_length()..][..c.weight_length()];
        let blocks = sum.chunks_mut(CHANNELS * c.taps).zip(g.chunks(CHANNELS * positions));
        for (sum, g) in blocks {
            if g.len() == CHANNELS * positions {
                channels_weight_gradient::<T, CHANNELS>(c, planes, &starts, g, sum);
                continue;
            }
            for (sum, g) in sum.chunks_exact_mut(c.taps).zip(g.chunks_exact(positions)) {
                channels_weight_gradient::<T, 1>(c, planes, &starts, g, sum);
            }
        }
    }
}

/// Adds the gradient of the weight of `M` channels over one image to `sum`.
fn channels_weight_gradient<T: Float, const M: usize>(
    c: &Convolution,
    planes: &[T],
    starts: &[usize],
    g: &[T],
    sum: &mut [T],
) {
    let [height, width] = c.windows.output();
    let row_length = c.windows.plane_row();
    for (block, block_starts) in starts.chunks(TAPS).enumerate() {
        // What a missing tap sums is not used.
        let starts: [usize; TAPS] =
            std::array::from_fn(|i| block_starts[i.min(block_starts.len() - 1)]);
        let totals = simd::dispatch(
            #[inline(always)]
            || {
                let mut sums = [[[T::ZERO; LANES]; TAPS]; M];
                for row in 0..height {
                    for piece in pieces(width) {
                        let g: [[T; LANES]; M] = std::array::from_fn(|channel| {
                            let start = (channel * height + row) * width;
                            fresh_lanes(&g[start..][..width], piece)
                        });
                        let place = row * row_length + piece.start;
                        for tap in 0..TAPS {
                            let values = lanes_at(planes, starts[tap] + place);
                            for channel in 0..M {
                                for lane in 0..LANES {
                                    sums[channel][tap][lane] += g[channel][lane] * values[lane];
                                }
                            }
                        }
                    }
                }
                sums.map(|sums| sums.map(|lanes| total(lanes, width)))
            },
        );
        for (sum, totals) in sum.chunks_exact_mut(c.taps).zip(totals) {
            let sum = &mut sum[block * TAPS..];
            sum.iter_mut().zip(totals).take(block_starts.len()).for_each(|(sum, t)| *sum += t);
        }
    }
}

/// The sum of those lanes that lie in a row of `width`.
#[inline(always)]
fn total<T: Float>(mut lanes: [T; LANES], width: usize) -> T {
    lanes.iter_mut().skip(width).for_each(|lane| *lane = T::ZERO);
    let mut count = LANES;
    while count > 1 {
        count /= 2;
        for lane in 0..count {
            lanes[lane] += lanes[lane + count];
        }
    }
    lanes[0]
}
