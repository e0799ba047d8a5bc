//! Attention by tiles: the scores of a few queries with a few keys at a time,
//! never the whole matrix.
//!
//! Each query keeps the largest score so far and the sum of exponentials
//! relative to it, and what it has gathered is scaled when a larger score
//! comes (Milakov and Gimelshein, "Online normalizer calculation for softmax",
//! 2018; Dao et al., "FlashAttention", 2022). The gradient computes the scores
//! again from the logarithm of the sum. Work is cut by tiles of queries
//! forwards and by matrices backwards, whatever the number of threads.

use super::dropout::Dropout;
use super::fold::{self, Fold, fold_slice};
use super::gemm::{Plus, multiply};
use super::matrices::Matrices;
use super::parallel::{Rows, for_each_chunk};
use super::simd;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::shape::Shape;

/// Queries of a tile.
const QUERIES: usize = 64;
/// Keys of a tile.
const KEYS: usize = 128;

/// An operand with rows and columns exchanged.
fn transposed<T>((values, [row, column]): (&[T], [usize; 2])) -> (&[T], [usize; 2]) {
    (values, [column, row])
}

/// Which scores count, or what is added to them; its strides are not negative.
pub(crate) enum Mask<'a, T> {
    /// All count.
    None,
    /// Those that are true count.
    Keep(Matrices<'a, bool>),
    /// These are added.
    Add(Matrices<'a, T>),
}

/// One call of attention.
pub(crate) struct Attend<'a, T> {
    /// Queries of a matrix.
    pub(crate) queries: usize,
    /// Keys of a matrix.
    pub(crate) keys: usize,
    /// Elements of a query and a key.
    pub(crate) width: usize,
    /// Elements of a value.
    pub(crate) value_width: usize,
    /// The queries.
    pub(crate) q: Matrices<'a, T>,
    /// The keys.
    pub(crate) k: Matrices<'a, T>,
    /// The values.
    pub(crate) v: Matrices<'a, T>,
    /// Which scores count.
    pub(crate) mask: Mask<'a, T>,
    /// Whether a query sees only keys of its own number and below.
    pub(crate) causal: bool,
    /// How many matrices take turns, row by row, in outputs and gradients, as
    /// the heads of a sample do in the layers around; 1 where each matrix lies
    /// together.
    pub(crate) heads: usize,
    /// What products are multiplied by.
    pub(crate) scale: T,
    /// Which weights are left out.
    pub(crate) dropout: Option<Dropout<T>>,
}

/// A tile: `rows` queries from `query` on with `columns` keys from `key` on.
#[derive(Clone, Copy)]
struct Tile {
    matrix: usize,
    query: usize,
    rows: usize,
    key: usize,
    columns: usize,
}

impl<T: Float> Attend<'_, T> {
    /// The tiles of some queries, in the order of their keys.
    fn tiles(&self, matrix: usize, query: usize, rows: usize) -> impl Iterator<Item = Tile> {
        // Behind the last query's own number no key is seen.
        let end = if self.causal { self.keys.min(query + rows) } else { self.keys };
        (0..end).step_by(KEYS).map(move |key| {
            let columns = KEYS.min(end - key);
            Tile { matrix, query, rows, key, columns }
        })
    }

    /// Roughly the elementary steps of a tile of queries.
    fn cost(&self, rows: usize) -> usize {
        rows * self.keys * (self.width + self.value_width + 16) / 8
    }

    /// The scores of a tile, −∞ where they do not count.
    fn scores(&self, tile: Tile, scores: &mut [T]) {
        let Tile { matrix, query, rows, key, columns } = tile;
        let q = self.q.rows(matrix, query);
        let k = transposed(self.k.rows(matrix, key));
        multiply([rows, self.width, columns], q, k, scores, Plus::Nothing);
        simd::dispatch(
            #[inline(always)]
            || {
                for (i, row) in scores.chunks_exact_mut(columns).enumerate() {
                    for score in row.iter_mut() {
                        *score *= self.scale;
                    }
                    match &self.mask {
                        Mask::None => {}
                        Mask::Keep(keep) => {
                            let (keep, [_, step]) = keep.rows(matrix, query + i);
                            for (j, score) in row.iter_mut().enumerate() {
                                if !keep[(key + j) * step] {
                                    *score = T::LOWEST;
                                }
                            }
                        }
                        Mask::Add(add) => {
                            let (add, [_, step]) = add.rows(matrix, query + i);
                            for (j, score) in row.iter_mut().enumerate() {
                                *score += add[(key + j) * step];
                            }
                        }
                    }
                    if self.causal {
                        let seen = (query + i + 1).saturating_sub(key).min(columns);
                        row[seen..].fill(T::LOWEST);
                    }
                }
            },
        );
    }

    /// What the weights of a tile are multiplied by, when some are left out.
    fn factors(&self, tile: Tile) -> Option<Vec<T>> {
        let dropout = self.dropout.as_ref()?;
        let mut factors = vec![T::ZERO; tile.rows * tile.columns];
        for (i, factors) in factors.chunks_exact_mut(tile.columns).enumerate() {
            let row = (tile.matrix * self.queries + tile.query + i) * self.keys;
            dropout.factors(row + tile.key, factors);
        }
        Some(factors)
    }

    /// Where a row of a matrix of so many rows lies among all.
    fn place(&self, matrix: usize, rows: usize, row: usize) -> usize {
        let (sample, head) = (matrix / self.heads, matrix % self.heads);
        (sample * rows + row) * self.heads + head
    }

    /// Fills `out` with the outputs of all matrices, and `logarithms` with the
    /// logarithm of the sum of each query's exponentials.
    pub(crate) fn forward(&self, out: &mut [T], logarithms: &mut [T]) {
        if logarithms.is_empty() {
            return;
        }
        if self.value_width == 0 {
            return logarithms.fill(T::HIGHEST);
        }
        let out = Rows::new(out, self.value_width);
        let of_matrix = logarithms.chunks_mut(self.queries).enumerate();
        let mut work: Vec<_> = of_matrix
            .flat_map(|(matrix, logarithms)| {
                let parts = logarithms.chunks_mut(QUERIES).enumerate();
                parts.map(move |(part, logarithms)| (matrix, part * QUERIES, logarithms))
            })
            .collect();
        for_each_chunk(&mut work, 1, self.cost(self.queries.min(QUERIES)), |_, work| {
            let (matrix, query, logarithms) = &mut work[0];
            self.forward_queries(*matrix, *query, &out, logarithms);
        });
    }

    /// The outputs of some queries, which no one else computes.
    fn forward_queries(
        &self,
        matrix: usize,
        query: usize,
        outputs: &Rows<'_, T>,
        logarithms: &mut [T],
    ) {
        let (rows, width) = (logarithms.len(), self.value_width);
        let mut out = vec![T::ZERO; rows * width];
        let mut largest = vec![T::LOWEST; rows];
        let mut sums = vec![T::ZERO; rows];
        let mut buffer = vec![T::ZERO; rows * KEYS.min(self.keys)];
        for tile in self.tiles(matrix, query, rows) {
            let scores = &mut buffer[..rows * tile.columns];
            self.scores(tile, scores);
            simd::dispatch(
                #[inline(always)]
                || {
                    let each = scores.chunks_exact_mut(tile.columns);
                    for (i, (row, out)) in each.zip(out.chunks_exact_mut(width)).enumerate() {
                        let max = fold::largest().row(row, T::LOWEST);
                        let max = largest[i].max_nan(max);
                        if max == T::LOWEST {
                            row.fill(T::ZERO);
                            continue;
                        }
                        let correction = (largest[i] - max).exp();
                        for score in row.iter_mut() {
                            *score = (*score - max).exp();
                        }
                        let sum = fold_slice(
                            row,
                            T::ZERO,
                            #[inline(always)]
                            |a, b| a + b,
                        );
                        largest[i] = max;
                        sums[i] = sums[i] * correction + sum;
                        for out in out {
                            *out *= correction;
                        }
                    }
                },
            );
            if let Some(factors) = self.factors(tile) {
                for (weight, factor) in scores.iter_mut().zip(factors) {
                    *weight *= factor;
                }
            }
            let weights = (&*scores, [tile.columns, 1]);
            let v = self.v.rows(matrix, tile.key);
            multiply([rows, tile.columns, width], weights, v, &mut out, Plus::C);
        }
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            if sums[i] == T::ZERO {
                // No key counts: the output is 0, and so is every gradient.
                logarithms[i] = T::HIGHEST;
            } else {
                logarithms[i] = largest[i] + sums[i].ln();
                let factor = T::ONE / sums[i];
                out.iter_mut().for_each(|out| *out *= factor);
            }
            // SAFETY: the rows of these queries are written here alone.
            unsafe { outputs.write(self.place(matrix, self.queries, query + i), out) };
        }
    }

    /// Fills `gradients` with those of queries, keys and values, from that of
    /// the output `g`; `out` and `logarithms` are what `forward` gave. The rows
    /// of both matrices lie without gaps.
    pub(crate) fn backward(
        &self,
        [out, g]: [&Matrices<'_, T>; 2],
        logarithms: &[T],
        gradients: [&mut [T]; 3],
    ) {
        let [width, value_width] = [self.width, self.value_width];
        if [self.queries, self.keys, width, value_width].contains(&0) || logarithms.is_empty() {
            return gradients.into_iter().for_each(|gradient| gradient.fill(T::ZERO));
        }
        let [q, k, v] = gradients;
        let gradients = [Rows::new(q, width), Rows::new(k, width), Rows::new(v, value_width)];
        let mut matrices: Vec<&[T]> = logarithms.chunks(self.queries).collect();
        for_each_chunk(&mut matrices, 1, 3 * self.cost(self.queries), |matrix, logarithms| {
            self.backward_matrix(matrix, [out, g], logarithms[0], &gradients);
        });
    }

    /// The gradients of one matrix, which no one else computes.
    fn backward_matrix(
        &self,
        matrix: usize,
        [out, g]: [&Matrices<'_, T>; 2],
        logarithms: &[T],
        gradients: &[Rows<'_, T>; 3],
    ) {
        let [width, value_width] = [self.width, self.value_width];
        let sizes = [self.queries * width, self.keys * width, self.keys * value_width];
        let mut sums = sizes.map(Buffer::<T>::new);
        let [dq, dk, dv] = sums.each_mut().map(Buffer::as_mut_slice);
        for sum in [&mut *dq, &mut *dk, &mut *dv] {
            sum.fill(T::ZERO);
        }
        let longest = QUERIES.min(self.queries) * KEYS.min(self.keys);
        let mut buffers = [vec![T::ZERO; longest], vec![T::ZERO; longest]];
        for query in (0..self.queries).step_by(QUERIES) {
            let rows = QUERIES.min(self.queries - query);
            // Σ g·out, which is Σ of each weight times its gradient.
            let dot = |query| -> T {
                let [out, g] = [out, g].map(|x| &x.rows(matrix, query).0[..value_width]);
                out.iter().zip(g).map(|(&out, &g)| out * g).sum()
            };
            let dots: Vec<T> = (query..query + rows).map(dot).collect();
            let g = g.rows(matrix, query);
            for tile in self.tiles(matrix, query, rows) {
                let Tile { key, columns, .. } = tile;
                let [weights, slopes] = &mut buffers;
                let weights = &mut weights[..rows * columns];
                let slopes = &mut slopes[..rows * columns];
                self.scores(tile, weights);
                let v = transposed(self.v.rows(matrix, key));
                multiply([rows, value_width, columns], g, v, slopes, Plus::Nothing);
                let factors = self.factors(tile);
                simd::dispatch(
                    #[inline(always)]
                    || {
                        let each = weights.chunks_exact_mut(columns);
                        let each = each.zip(slopes.chunks_exact_mut(columns)).enumerate();
                        for (i, (weights, slopes)) in each {
                            let (logarithm, dot) = (logarithms[query + i], dots[i]);
                            for weight in weights.iter_mut() {
                                *weight = (*weight - logarithm).exp();
                            }
                            if let Some(factors) = &factors {
                                let factors = &factors[i * columns..][..columns];
                                for ((slope, weight), &factor) in
                                    slopes.iter_mut().zip(weights.iter_mut()).zip(factors)
                                {
                                    *slope = *weight * (*slope * factor - dot) * self.scale;
                                    *weight *= factor;
                                }
                            } else {
                                for (slope, &weight) in slopes.iter_mut().zip(weights.iter()) {
                                    *slope = weight * (*slope - dot) * self.scale;
                                }
                            }
                        }
                    },
                );
                let dv = &mut dv[key * value_width..][..columns * value_width];
                let across = transposed((&*weights, [columns, 1]));
                multiply([columns, rows, value_width], across, g, dv, Plus::C);
                let slopes = (&*slopes, [columns, 1]);
                let dq = &mut dq[query * width..][..rows * width];
                multiply([rows, columns, width], slopes, self.k.rows(matrix, key), dq, Plus::C);
                let dk = &mut dk[key * width..][..columns * width];
                let q = self.q.rows(matrix, query);
                multiply([columns, rows, width], transposed(slopes), q, dk, Plus::C);
            }
        }
        for ((sum, rows), width) in sums.iter().zip(gradients).zip([width, width, value_width]) {
            let sum = sum.as_slice();
            let count = sum.len() / width;
            for (row, sum) in sum.chunks_exact(width).enumerate() {
                // SAFETY: the rows of this matrix are written here alone.
                unsafe { rows.write(self.place(matrix, count, row), sum) };
            }
        }
    }
}

/// The leading axes of a batch of matrices.
pub(crate) fn batch(shape: &Shape) -> &[usize] {
    &shape[..shape.len().saturating_sub(2)]
}
