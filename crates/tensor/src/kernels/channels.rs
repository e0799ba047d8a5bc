//! Loops over a batch whose axis 1 is that of channels: the sums over each
//! channel that normalisation needs, and functions of an element and the values
//! of its channel.
//!
//! A batch is treated as images × channels × elements. Sums are computed for
//! pieces whose sizes depend only on the shape, and added in order, so that
//! their bits do not depend on the number of threads.

use super::parallel::{for_each_chunk, rows_per_chunk};
use super::simd;
use super::vector::{Kernel, Vector};
use crate::element::Float;
use crate::shape::Shape;

/// Channels with fewer elements are processed together, because a loop over one
/// of them would be too short.
const SHORT: usize = 64;

/// The sizes of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    images: usize,
    channels: usize,
    /// Elements of a channel in one image.
    elements: usize,
}

impl Channels {
    /// The sizes of a batch of this shape, which has at least two axes.
    pub(crate) fn of(shape: &Shape) -> Self {
        let elements = if shape.contains(&0) { 0 } else { shape[2..].iter().product() };
        Self { images: shape[0], channels: shape[1], elements }
    }

    /// Elements of a channel in the whole batch.
    pub(crate) fn count(&self) -> usize {
        self.images * self.elements
    }

    /// Whether a row of the loops is an image, with the elements of every
    /// channel. Otherwise it is a channel of an image.
    fn interleaved(&self) -> bool {
        self.elements <= SHORT
    }

    fn row_length(&self) -> usize {
        if self.interleaved() { self.channels * self.elements } else { self.elements }
    }

    /// The value of each channel, repeated for each of an image's elements.
    fn repeated<T: Float>(&self, values: &[T]) -> Vec<T> {
        let mut repeated = Vec::with_capacity(values.len() * self.elements);
        for &value in values {
            repeated.extend(std::iter::repeat_n(value, self.elements));
        }
        repeated
    }

    /// For each channel Σ (a − p) and Σ (a − p)·(b − m), where p and m have one
    /// value per channel.
    pub(crate) fn sums<T: Float>(&self, [a, b]: [&[T]; 2], [p, m]: [&[T]; 2]) -> Vec<[T; 2]> {
        let mut totals = vec![[T::ZERO; 2]; self.channels];
        if self.count() == 0 || self.channels == 0 {
            return totals;
        }
        if self.elements > 1 && self.interleaved() {
            self.short_sums([a, b], [&self.repeated(p), &self.repeated(m)], &mut totals);
            return totals;
        }
        // The sums of every channel, for each piece of the batch.
        let (pieces, rows) = if self.interleaved() {
            let rows = rows_per_chunk(self.channels);
            (self.images.div_ceil(rows), rows)
        } else {
            (self.images, self.channels)
        };
        let mut sums = vec![[T::ZERO; 2]; pieces * self.channels];
        if self.interleaved() {
            let row = self.channels;
            for_each_chunk(&mut sums, self.channels, rows, |piece, sums| {
                let start = piece * rows * self.channels;
                let end = a.len().min(start + rows * self.channels);
                let (a, b) = (&a[start..end], &b[start..end]);
                T::vectorised(InterleavedSums { a, b, p, m, row, sums });
            });
        } else {
            let rows = rows_per_chunk(self.elements);
            for_each_chunk(&mut sums, rows, self.elements, |index, sums| {
                let start = index * rows * self.elements;
                let length = sums.len() * self.elements;
                let (a, b) = (&a[start..][..length], &b[start..][..length]);
                let first = index * rows % self.channels;
                T::vectorised(RowSums { a, b, p, m, first, sums });
            });
        }
        for sums in sums.chunks_exact(self.channels) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                total[0] += sum[0];
                total[1] += sum[1];
            }
        }
        totals
    }

    /// The sums over channels with few elements, for some channels of all
    /// images at a time. Each element is summed over the images first. p and m
    /// have a value for each element of an image.
    fn short_sums<T: Float>(&self, [a, b]: [&[T]; 2], [p, m]: [&[T]; 2], totals: &mut [[T; 2]]) {
        let channels = rows_per_chunk(self.count());
        for_each_chunk(totals, channels, self.count(), |index, totals| {
            let start = index * channels * self.elements;
            let columns = totals.len() * self.elements;
            let (p, m) = (&p[start..][..columns], &m[start..][..columns]);
            let (a, b, row) = (&a[start..], &b[start..], self.row_length());
            let mut sums = vec![[T::ZERO; 2]; columns];
            T::vectorised(InterleavedSums { a, b, p, m, row, sums: &mut sums });
            for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(self.elements)) {
                for sum in sums {
                    total[0] += sum[0];
                    total[1] += sum[1];
                }
            }
        });
    }

    /// Writes to `out` the value of `f` for the elements of `inputs` at the
    /// same index and the values of their channel.
    pub(crate) fn map<T: Float, const N: usize, const P: usize>(
        &self,
        inputs: [&[T]; N],
        values: [&[T]; P],
        out: &mut [T],
        f: impl Fn([T; N], [T; P]) -> T + Sync,
    ) {
        let length = self.row_length();
        let rows = rows_per_chunk(length);
        let repeated;
        let values = if self.elements > 1 && self.interleaved() {
            repeated = values.map(|values| self.repeated(values));
            repeated.each_ref().map(|values| &values[..])
        } else {
            values
        };
        for_each_chunk(out, rows * length, 1, |index, out| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, out) in out.chunks_exact_mut(length).enumerate() {
                        let row = index * rows + i;
                        let inputs = inputs.map(|input| &input[row * length..][..length]);
                        if self.interleaved() {
                            let values = values.map(|values| &values[..length]);
                            for i in 0..length {
                                out[i] = f(inputs.map(|x| x[i]), values.map(|values| values[i]));
                            }
                        } else {
                            let values = values.map(|values| values[row % self.channels]);
                            for i in 0..length {
                                out[i] = f(inputs.map(|x| x[i]), values);
                            }
                        }
                    }
                },
            );
        });
    }
}

/// Sums over rows, each of which belongs to one channel.
struct RowSums<'a, T> {
    a: &'a [T],
    b: &'a [T],
    p: &'a [T],
    m: &'a [T],
    /// The channel of the first row.
    first: usize,
    sums: &'a mut [[T; 2]],
}

/// The number of vectors that are summed independently, so that an addition
/// need not wait for the previous one.
const CHAINS: usize = 4;

impl<T: Float> Kernel<T> for RowSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        let length = self.a.len() / self.sums.len();
        let ones = [T::ONE; 64];
        let rows = self.a.chunks_exact(length).zip(self.b.chunks_exact(length));
        for (row, (sum, (a, b))) in self.sums.iter_mut().zip(rows).enumerate() {
            let channel = (self.first + row) % self.p.len();
            let (p, m) = (V::splat(self.p[channel]), V::splat(self.m[channel]));
            let mut sums = [[V::splat(T::ZERO); 2]; CHAINS];
            let step = CHAINS * V::LANES;
            let whole = length / step * step;
            for start in (0..whole).step_by(step) {
                for (chain, sums) in sums.iter_mut().enumerate() {
                    let start = start + chain * V::LANES;
                    let distance = V::load(&a[start..]).minus(p);
                    sums[0] = sums[0].plus(distance);
                    sums[1] = sums[1].plus_product(distance, V::load(&b[start..]).minus(m));
                }
            }
            for (chain, start) in (whole..length).step_by(V::LANES).enumerate() {
                let count = (length - start).min(V::LANES);
                let (a, b) = (&a[start..][..count], &b[start..][..count]);
                // Lanes after the end hold no element and count as 0.
                let inside = V::load_part(&ones[..count]);
                let distance = V::load_part(a).minus(p).times(inside);
                let sums = &mut sums[chain];
                sums[0] = sums[0].plus(distance);
                sums[1] = sums[1].plus_product(distance, V::load_part(b).minus(m));
            }
            *sum = [0, 1].map(|i| {
                let [first, second, third, fourth] = sums.map(|sums| sums[i]);
                first.plus(second).plus(third.plus(fourth)).total()
            });
        }
    }
}

/// Sums over the columns of some rows.
struct InterleavedSums<'a, T> {
    a: &'a [T],
    b: &'a [T],
    p: &'a [T],
    m: &'a [T],
    /// Elements from one row to the next.
    row: usize,
    /// The sums of the first columns of each row.
    sums: &'a mut [[T; 2]],
}

impl<T: Float> Kernel<T> for InterleavedSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        for (block, out) in self.sums.chunks_mut(V::LANES).enumerate() {
            let (start, count) = (block * V::LANES, out.len());
            let (p, m) = (&self.p[start..][..count], &self.m[start..][..count]);
            let (p, m) = (V::load_part(p), V::load_part(m));
            let mut sums = [V::splat(T::ZERO); 2];
            for (a, b) in self.a.chunks(self.row).zip(self.b.chunks(self.row)) {
                let (a, b) = (&a[start..][..count], &b[start..][..count]);
                let whole = count == V::LANES;
                let (a, b) = if whole {
                    (V::load(a), V::load(b))
                } else {
                    (V::load_part(a), V::load_part(b))
                };
                let (distance, other) = (a.minus(p), b.minus(m));
                sums[0] = sums[0].plus(distance);
                sums[1] = sums[1].plus_product(distance, other);
            }
            let mut lanes = [[T::ZERO; 64]; 2];
            for (lanes, sum) in lanes.iter_mut().zip(sums) {
                sum.store(lanes);
            }
            for (i, out) in out.iter_mut().enumerate() {
                *out = [lanes[0][i], lanes[1][i]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Both layouts, with rows of every length and pieces of unequal sizes,
    /// compared with plain loops.
    #[test]
    fn sums_and_maps_match_plain_loops() {
        let mut rng = Rng::seed(1);
        let shapes = (1..70).map(|width| [3, 5, width, 1]).chain([
            [2100, 33, 1, 1],
            [7, 1, 1, 1],
            [2, 3, 300, 9],
        ]);
        for shape in shapes {
            let channels = Channels::of(&shape.into());
            let elements = shape[2] * shape[3];
            let mut random = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f64>>();
            let (a, b) = (random(shape.iter().product()), random(shape.iter().product()));
            let (p, m) = (random(shape[1]), random(shape[1]));
            let found = channels.sums([&a, &b], [&p, &m]);
            let mut out = vec![0.0; a.len()];
            channels.map([&a, &b], [&p, &m], &mut out, |[a, b], [p, m]| a * p + b * m);
            let mut expected = vec![[0.0; 2]; shape[1]];
            for i in 0..a.len() {
                let c = i / elements % shape[1];
                expected[c][0] += a[i] - p[c];
                expected[c][1] += (a[i] - p[c]) * (b[i] - m[c]);
                assert_eq!(out[i], a[i] * p[c] + b[i] * m[c]);
            }
            for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
                assert!((found - expected).abs() < 1e-9, "{shape:?}: {found}, {expected}");
            }
        }
    }
}
