//! Narrow products whose operands are both contiguous along k, with few columns
//! of C, such as the product of a batch with the weight of a classifier's last
//! layer.
//!
//! The micro-kernels read B along its columns, so one operand would have to be
//! transposed, which takes about as long as the multiplication. Here the
//! registers hold numbers along k: an element of C is the dot product of two
//! rows, in as many partial sums as a register has lanes, which are added up at
//! the end of each group of k. So its bits depend on k and on the lanes, not on
//! the other elements.

use std::ops::Range;

use super::{Plus, Problem};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::vector::{Kernel, Vector, from_fn};

/// Most columns of C; with more, the micro-kernels are as fast.
const MAX_COLUMNS: usize = 32;
/// The fewest columns of A for each column of C: with more columns of C the
/// micro-kernels are faster, and adding up the lanes takes the time of some
/// steps.
const LENGTH_PER_COLUMN: usize = 64;
/// About how many multiplications a thread does at a time.
const BAND_WORK: usize = 1 << 17;
/// Most columns of A in a group, a multiple of every number of lanes. With so
/// many, the rows of B stay in the second-level cache for all rows of A.
const GROUP: usize = 4096;
/// The columns of each group except the last are a multiple of this, so that
/// rows that begin at a cache line do so in each group.
const ALIGNMENT: usize = 16;
/// Multiplications that count as one elementary step of a kernel.
const STEP: usize = 8;
/// Most columns of C in a tile. With as many rows as [`Dots::run`] gives it,
/// its sums fill the registers.
const TILE_COLUMNS: usize = 5;
/// Most rows of C in a tile.
const TILE_ROWS: usize = 4;

/// Whether [`multiply`] should compute a product. This does not depend on the
/// rows of C, so that a single sample gets the same bits as in a batch.
pub(super) fn suits<T>(p: &Problem<'_, T>) -> bool {
    let along_k = p.a_strides[1] == 1 && p.b_strides[0] == 1;
    along_k && p.n <= MAX_COLUMNS && p.k >= p.n * LENGTH_PER_COLUMN
}

/// Computes a product whose operands are contiguous along k.
pub(super) fn multiply<T: Float>(p: Problem<'_, T>) {
    let Problem { m, k, n, a, a_strides: [a_row, _], b, b_strides: [_, b_row], .. } = p;
    if m == 0 || n == 0 {
        return;
    }
    let groups = k.div_ceil(GROUP);
    let length = k.div_ceil(groups).next_multiple_of(ALIGNMENT);
    let rows = (BAND_WORK / (n * length)).max(1).next_multiple_of(TILE_ROWS).min(m);
    let bands = m.div_ceil(rows);
    // Bands of rows of C, for one group after the other, which the threads
    // fill.
    let mut sums = Buffer::<T>::new(groups * bands * rows * n);
    let sums = sums.as_mut_slice();
    for_each_chunk(sums, rows * n, length / STEP, |index, sums| {
        let (group, first) = (index / bands, index % bands * rows);
        let columns = group * length..k.min((group + 1) * length);
        let rows = first..m.min(first + rows);
        T::vectorised(Dots { a, a_row, b, b_row, columns, rows, n, sums });
    });
    let (first, others) = sums.split_at(bands * rows * n);
    let c = &mut p.c[..(m - 1) * p.columns + n];
    for_each_chunk(c, rows * p.columns, groups, |index, c| {
        for (i, c) in c.chunks_mut(p.columns).enumerate() {
            for (j, c) in c[..n].iter_mut().enumerate() {
                let at = (index * rows + i) * n + j;
                let others = others.chunks_exact(first.len());
                let sum = others.fold(first[at], |sum, group| sum + group[at]);
                *c = match p.plus {
                    Plus::Nothing => sum,
                    Plus::C => *c + sum,
                    Plus::Row(row) => row[j] + sum,
                    Plus::Column(column) => column[index * rows + i] + sum,
                };
            }
        }
        p.then.from(index * rows * p.columns).apply_to_rows(c, [n, p.columns]);
    });
}

/// Dot products of rows of A and the `n` rows of B, over some columns; `*_row`
/// is the distance between rows in elements.
struct Dots<'a, T> {
    a: &'a [T],
    a_row: usize,
    b: &'a [T],
    b_row: usize,
    columns: Range<usize>,
    rows: Range<usize>,
    n: usize,
    /// The products, row by row.
    sums: &'a mut [T],
}

impl<T: Float> Kernel<T> for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        let mut row = 0;
        while row < self.rows.len() {
            let left = self.rows.len() - row;
            row += if left >= TILE_ROWS && V::REGISTERS >= 32 {
                self.band::<V, TILE_ROWS>(row)
            } else if left >= 2 {
                self.band::<V, 2>(row)
            } else {
                self.band::<V, 1>(row)
            };
        }
    }
}

impl<T: Float> Dots<'_, T> {
    /// Computes `ROWS` rows from one on, in tiles of about equally many columns.
    #[inline(always)]
    fn band<V: Vector<T>, const ROWS: usize>(&mut self, row: usize) -> usize {
        let tiles = self.n.div_ceil(TILE_COLUMNS);
        for tile in 0..tiles {
            let [column, end] = [tile, tile + 1].map(|tile| tile * self.n / tiles);
            match end - column {
                1 => self.tile::<V, ROWS, 1>(row, column),
                2 => self.tile::<V, ROWS, 2>(row, column),
                3 => self.tile::<V, ROWS, 3>(row, column),
                4 => self.tile::<V, ROWS, 4>(row, column),
                _ => self.tile::<V, ROWS, TILE_COLUMNS>(row, column),
            }
        }
        ROWS
    }

    #[inline(always)]
    fn tile<V: Vector<T>, const ROWS: usize, const COLUMNS: usize>(
        &mut self,
        row: usize,
        column: usize,
    ) {
        let length = self.columns.len();
        let line = |from: usize| from + self.columns.start..from + self.columns.end;
        let a: [&[T]; ROWS] = from_fn(|i| &self.a[line((self.rows.start + row + i) * self.a_row)]);
        let b: [&[T]; COLUMNS] = from_fn(|j| &self.b[line((column + j) * self.b_row)]);
        let mut sums = [[V::splat(T::ZERO); COLUMNS]; ROWS];
        let whole = length - length % V::LANES;
        for k in (0..whole).step_by(V::LANES) {
            let b: [V; COLUMNS] = from_fn(|j| V::load(&b[j][k..k + V::LANES]));
            for i in 0..ROWS {
                let a = V::load(&a[i][k..k + V::LANES]);
                for j in 0..COLUMNS {
                    sums[i][j] = sums[i][j].plus_product(a, b[j]);
                }
            }
        }
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                let (a, b) = (V::load_part(&a[i][whole..]), V::load_part(&b[j][whole..]));
                let sum = if whole < length { sums[i][j].plus_product(a, b) } else { sums[i][j] };
                self.sums[(row + i) * self.n + column + j] = sum.total();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;

    /// Products of rows of small integers, which are exact in any order of
    /// additions.
    #[derive(Clone)]
    struct Whole {
        rows: usize,
        n: usize,
        columns: Range<usize>,
    }

    impl Whole {
        const WIDTH: usize = 120;

        fn operand(factor: usize) -> Vec<f32> {
            (0..12 * Self::WIDTH).map(|i| ((i * factor) % 17) as f32 - 8.0).collect()
        }
    }

    impl Kernel<f32> for Whole {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let (a, b) = (Self::operand(7), Self::operand(11));
            let (rows, n) = (1..1 + self.rows, self.n);
            let mut sums = vec![f32::NAN; self.rows * n];
            let (a_row, b_row, columns) = (Self::WIDTH, Self::WIDTH - 1, self.columns.clone());
            let (a, b, sums_of) = (&a[..], &b[..], &mut sums[..]);
            Dots { a, a_row, b, b_row, columns, rows, n, sums: sums_of }.run::<V>();
            for (at, sum) in sums.iter_mut().enumerate() {
                let (i, j) = (1 + at / n, at % n);
                let dot = |l: usize| a[i * Self::WIDTH + l] * b[j * (Self::WIDTH - 1) + l];
                *sum -= self.columns.clone().map(dot).sum::<f32>();
            }
            // The errors, preceded by 0, so that there is a value for any size.
            sums.insert(0, 0.0);
            sums
        }
    }

    #[test]
    fn every_kind_of_vector_adds_up_the_same_products() {
        for rows in 1..=11 {
            for n in 1..=12 {
                for length in [1, 7, 8, 15, 16, 17, 33, 100] {
                    let columns = 3..3 + length;
                    let case = Whole { rows, n, columns };
                    let found = crate::kernels::vector::portable(case.clone());
                    assert!(found.iter().all(|&error| error == 0.0), "{rows}, {n}, {length}");
                    assert_kinds_agree(&case, f32::MIN_POSITIVE, "whole numbers");
                }
            }
        }
    }
}
