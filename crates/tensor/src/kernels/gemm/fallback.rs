//! Products by `matrixmultiply`, for CPUs without a micro-kernel in this crate.

use super::{BLOCK_WORK, MAX_BLOCKS, Plus, Problem};
use crate::kernels::team::for_each_index;

/// A pointer that may be sent to other threads. The splitting below ensures
/// that the blocks of different threads do not overlap.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: only used for blocks of C that are not shared between tasks.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(self) -> *mut T {
        self.0
    }
}

/// Blocks start at multiples of this size, so that no tile of the micro-kernel
/// is split.
const TILE: usize = 64;

/// The size of equal blocks of whole tiles along `length`. It depends only on
/// the amount of work.
fn block_size(length: usize, work: usize) -> usize {
    let blocks = (work / BLOCK_WORK).clamp(1, MAX_BLOCKS);
    length.div_ceil(blocks).next_multiple_of(TILE)
}

macro_rules! kernels {
    ($($type:ident $gemm:ident;)*) => {$(
        /// The product by `matrixmultiply`, in parallel when it is large.
        pub(super) fn $type(mut p: Problem<'_, $type>) {
            if p.m == 0 || p.n == 0 {
                return;
            }
            for (i, c) in p.c.chunks_mut(p.columns).take(p.m).enumerate() {
                match p.plus {
                    Plus::Row(row) => c[..p.n].copy_from_slice(row),
                    Plus::Column(column) => c[..p.n].fill(column[i]),
                    Plus::Nothing | Plus::C => break,
                }
            }
            let beta = if let Plus::Nothing = p.plus { 0.0 } else { 1.0 };
            let [a_row, a_column] = p.a_strides.map(|stride| stride as isize);
            let [b_row, b_column] = p.b_strides.map(|stride| stride as isize);
            let columns = p.columns as isize;
            let (a, b, c) = (p.a, p.b, Shared(p.c.as_mut_ptr()));
            let (m, k, n) = (p.m, p.k, p.n);
            let block = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
                if rows.is_empty() || cols.is_empty() {
                    return;
                }
                // SAFETY: `check` has verified that every index of the whole
                // product is in its slice; the indices of a block are a subset,
                // and the blocks of C of different tasks do not overlap. With k
                // = 0 the pointers to A and B are not read.
                unsafe {
                    matrixmultiply::$gemm(
                        rows.len(), k, cols.len(), 1.0,
                        a.as_ptr().wrapping_offset(rows.start as isize * a_row), a_row, a_column,
                        b.as_ptr().wrapping_offset(cols.start as isize * b_column),
                        b_row, b_column,
                        beta,
                        c.get().offset(rows.start as isize * columns + cols.start as isize),
                        columns, 1,
                    );
                }
            };
            let work = m.saturating_mul(n).saturating_mul(k);
            let split_rows = m >= n;
            let length = if split_rows { m } else { n };
            let size = block_size(length, work);
            let run = |index: usize| {
                let range = index * size..length.min((index + 1) * size);
                if split_rows { block(range, 0..n) } else { block(0..m, range) }
            };
            for_each_index(length.div_ceil(size), &run);
            p.finish();
        }
    )*};
}
kernels! { f32 sgemm; f64 dgemm; }
