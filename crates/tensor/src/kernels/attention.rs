//! Attention in tiles: the scores of a few queries with a few keys at a time,
//! without storing the whole matrix of scores.
//!
//! Each query keeps the largest score so far and the sum of exponentials
//! relative to it. When a larger score comes, the sums so far are rescaled
//! (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018;
//! Dao et al., "FlashAttention", 2022). The gradient recomputes the scores from
//! the logarithm of the sum. Work is split by tiles of queries in the forward
//! pass and by matrices in the backward pass, independently of the number of
//! threads.

use super::dropout::Dropout;
use super::fold::{self, Fold, fold_slice};
use super::gemm::{Plus, multiply};
use super::matrices::Matrices;
use super::parallel::{Rows, for_each_chunk};
use super::simd;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::shape::Shape;

/// Queries in a tile.
const QUERIES: usize = 64;
/// Keys in a tile.
const KEYS: usize = 128;

/// An operand with rows and columns swapped.
fn transposed<T>((values, [row, column]): (&[T], [usize; 2])) -> (&[T], [usize; 2]) {
    (values, [column, row])
}

/// The mask of the scores. Its strides are not negative.
pub(crate) enum Mask<'a, T> {
    /// All scores count.
    None,
    /// Scores count where the mask is true; the others become −∞.
    Keep(Matrices<'a, bool>),
    /// The mask is added to the scores.
    Add(Matrices<'a, T>),
}

/// The operands and settings of one call of attention.
pub(crate) struct Attend<'a, T> {
    /// The number of queries in a matrix.
    pub(crate) queries: usize,
    /// The number of keys in a matrix.
    pub(crate) keys: usize,
    /// The length of a query and of a key.
    pub(crate) width: usize,
    /// The length of a value.
    pub(crate) value_width: usize,
    /// The queries.
    pub(crate) q: Matrices<'a, T>,
    /// The keys.
    pub(crate) k: Matrices<'a, T>,
    /// The values.
    pub(crate) v: Matrices<'a, T>,
    /// The mask of the scores.
    pub(crate) mask: Mask<'a, T>,
    /// Whether a query uses only keys up to its own index.
    pub(crate) causal: bool,
    /// The number of matrices whose rows alternate in outputs and gradients,
    /// which is the number of heads of a sample in attention layers; 1 if each
    /// matrix is contiguous.
    pub(crate) heads: usize,
    /// The factor of the scores.
    pub(crate) scale: T,
    /// Dropout of the weights.
    pub(crate) dropout: Option<Dropout<T>>,
}

/// A tile: `rows` queries from `query` on, with `columns` keys from `key` on.
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
        // A causal query uses no keys after its own index.
        let end = if self.causal { self.keys.min(query + rows) } else { self.keys };
        (0..end).step_by(KEYS).map(move |key| {
            let columns = KEYS.min(end - key);
            Tile { matrix, query, rows, key, columns }
        })
    }

    /// The approximate number of elementary steps for a tile of queries.
    fn cost(&self, rows: usize) -> usize {
        rows * self.keys * (self.width + self.value_width + 16) / 8
    }

    /// The scores of a tile, −∞ where they are masked.
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

    /// The dropout factors for the weights of a tile, if there is dropout.
    fn factors(&self, tile: Tile) -> Option<Vec<T>> {
        let dropout = self.dropout.as_ref()?;
        let mut factors = vec![T::ZERO; tile.rows * tile.columns];
        for (i, factors) in factors.chunks_exact_mut(tile.columns).enumerate() {
            let row = (tile.matrix * self.queries + tile.query + i) * self.keys;
            dropout.factors(row + tile.key, factors);
        }
        Some(factors)
    }

    /// The index, among all rows, of a row of a matrix with this number of
    /// rows.
    fn row_index(&self, matrix: usize, rows: usize, row: usize) -> usize {
        let (sample, head) = (matrix / self.heads, matrix % self.heads);
        (sample * rows + row) * self.heads + head
    }

    /// Writes the outputs of all matrices to `out`, and the logarithm of each
    /// query's sum of exponentials to `logarithms`.
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

    /// The outputs of some queries. No other thread computes them.
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
                // If all keys are masked, the output and all gradients are 0.
                logarithms[i] = T::HIGHEST;
            } else {
                logarithms[i] = largest[i] + sums[i].ln();
                let factor = T::ONE / sums[i];
                out.iter_mut().for_each(|out| *out *= factor);
            }
            // SAFETY: no other thread writes the rows of these queries.
            unsafe { outputs.write(self.row_index(matrix, self.queries, query + i), out) };
        }
    }

    /// Writes the gradients of queries, keys and values to `gradients`, from
    /// the gradient `g` of the output; `out` and `logarithms` are the results
    /// of `forward`. The rows of both matrices are contiguous.
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

    /// The gradients of one matrix. No other thread computes them.
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
            // Σ g·out, which equals the sum of each weight times its gradient.
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
                // SAFETY: no other thread writes the rows of this matrix.
                unsafe { rows.write(self.row_index(matrix, count, row), sum) };
            }
        }
    }
}

/// The leading axes of a batch of matrices.
pub(crate) fn batch(shape: &Shape) -> &[usize] {
    &shape[..shape.len().saturating_sub(2)]
}
