//! The loops around the micro-kernels.
//!
//! Each element of C is the sum, over blocks of k, of one chain of fused
//! multiply-adds per block; if k is long, the sums of groups of blocks are
//! added. Blocks and groups depend only on k. The result does not depend on the
//! orientation in which a product is computed, on packing, on the boundaries of
//! tiles and blocks of C, or on threads, so all of these are chosen for speed
//! alone.

use std::ops::Range;
use std::{ptr, slice};

use smallvec::SmallVec;

use super::block::{self, Way};
use super::kernel::Kernels;
use super::pack::{Lines, Widen, transpose};
use super::{BLOCK_WORK, CACHED, MAX_BLOCKS, Plus, Problem};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::team::for_each_index;
use crate::threads::num_threads;

/// About how many columns of A are multiplied before C is written. A panel of B
/// of so many rows fits the first-level cache with AVX2; with AVX-512 it is
/// twice as large, but comes from the second-level cache in time, and C is
/// read and written half as often as with half the columns.
pub(super) const K_BLOCK: usize = 512;
/// About how many columns of A a group of blocks has at least. Groups can be
/// computed at the same time, which a product whose C is small needs.
const K_GROUP: usize = 1024;
/// Blocks of C for each thread. If one thread is delayed, the others process
/// its blocks.
const BLOCKS_PER_THREAD: usize = 4;
/// The fewest multiplications for which another thread saves time.
const SPLIT_WORK: usize = 1 << 18;

/// `count` consecutive parts of `range`, whose lengths differ by at most one,
/// the longer ones last.
fn parts(range: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    // A single division, because a division may take longer than a tile.
    let each = range.len() / count.max(1);
    let shorter = count - (range.len() - each * count);
    let start = move |part: usize| range.start + part * each + part.saturating_sub(shorter);
    (0..count).map(move |part| start(part)..start(part + 1))
}

/// The smallest number of parts whose lengths are at most `longest`.
pub(super) fn parts_of(range: Range<usize>, longest: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(longest);
    parts(range, count)
}

/// The blocks of k. Their number and lengths depend only on `k`.
pub(super) fn k_blocks(k: usize) -> impl Iterator<Item = Range<usize>> {
    parts_of(0..k, K_BLOCK)
}

/// A product whose bounds were checked, with pointers to the operands.
#[derive(Clone, Copy)]
pub(super) struct Product<'a, T: 'static> {
    pub(super) kernels: &'static Kernels<T>,
    m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) a: *const T,
    pub(super) a_strides: [usize; 2],
    pub(super) b: *const T,
    pub(super) b_strides: [usize; 2],
    pub(super) c: *mut T,
    pub(super) columns: usize,
    /// B in panels, as [`panels`] makes them, or null.
    pub(super) panels: *const T,
    /// The conversions of A and B if these point to halves.
    pub(super) widen: [Option<Widen<T>>; 2],
    /// The matrix that is added to the product, which may be null, and its
    /// strides.
    pub(super) plus: (*const T, [usize; 2]),
    /// What follows the last block of k.
    pub(super) then: Epilogue<'a, T>,
}

// SAFETY: A, B and the matrix that is added are only read, the blocks of C that
// different threads compute do not overlap, and what follows may be called from
// any thread.
unsafe impl<T> Send for Product<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Product<'_, T> {}

/// A whole right matrix `[k, n]`, packed block of k after block, each panel
/// after panel.
///
/// # Safety
///
/// The matrix must be within the slice, and the CPU must have the kernels'
/// instruction set.
pub(super) unsafe fn panels<T: Float>(
    kernels: &Kernels<T>,
    [k, n]: [usize; 2],
    b: &[T],
    strides: [usize; 2],
) -> Buffer<T> {
    let width = 2 * kernels.lanes;
    let row = n.next_multiple_of(width);
    let mut packed = Buffer::<T>::new(k * row);
    let first = packed.as_mut_slice().as_mut_ptr();
    if n > 0 {
        for ks in k_blocks(k) {
            let lines = Lines { first: b.as_ptr(), strides, widen: None }.from(ks.start, 0);
            // SAFETY: the columns exist, and there is memory for whole panels.
            unsafe {
                let to = first.add(ks.start * row);
                lines.pack(kernels, [ks.len(), n], to, [width, width * ks.len()]);
            }
        }
    }
    packed
}

/// The halves of an operand, with the conversion of them.
pub(super) type Halves<T> = (*const u16, Widen<T>);

/// Computes a product. B, or the transpose of A if the flag is set, may also be
/// given as [`panels`].
///
/// # Safety
///
/// The problem's bounds must have been checked, and the CPU must have the
/// kernels' instruction set.
pub(super) unsafe fn multiply<T: Float>(
    p: Problem<'_, T>,
    kernels: &'static Kernels<T>,
    panels: Option<(&[T], bool)>,
) {
    // SAFETY: guaranteed by the caller.
    unsafe { multiply_halves(p, kernels, panels, [None; 2]) };
}

/// Like [`multiply`]; A and B may be given as halves instead of numbers.
///
/// # Safety
///
/// The same; the bounds of halves are those of numbers.
pub(super) unsafe fn multiply_halves<T: Float>(
    mut p: Problem<'_, T>,
    kernels: &'static Kernels<T>,
    panels: Option<(&[T], bool)>,
    halves: [Option<Halves<T>>; 2],
) {
    let Problem { m, k, n, a, a_strides, b, b_strides, columns, plus, then, .. } = p;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for (i, c) in p.c.chunks_mut(columns).take(m).enumerate() {
            match plus {
                Plus::Nothing => c[..n].fill(T::ZERO),
                Plus::C => {}
                Plus::Row(row) => c[..n].copy_from_slice(row),
                Plus::Column(column) => c[..n].fill(column[i]),
            }
        }
        return p.finish();
    }
    let widen = halves.map(|halves| halves.map(|(_, widen)| widen));
    let a = halves[0].map_or(a.as_ptr(), |(halves, _)| halves.cast());
    let b = halves[1].map_or(b.as_ptr(), |(halves, _)| halves.cast());
    let c = p.c.as_mut_ptr();
    let is_turned = match panels {
        Some((panels, is_left)) => {
            let row = if is_left { m } else { n }.next_multiple_of(2 * kernels.lanes);
            assert!(panels.len() == k * row, "panels of another matrix");
            is_left
        }
        None => {
            let widens = widen.iter().any(Option::is_some);
            let across = cost(kernels, [m, k, n], [a_strides, b_strides], widens);
            let turned = [b_strides, a_strides].map(flip);
            let down = cost(kernels, [n, k, m], turned, widens).saturating_add(m * n * 3);
            across > down
        }
    };
    let product = Product {
        kernels,
        m,
        k,
        n,
        a,
        a_strides,
        b,
        b_strides,
        c,
        columns,
        panels: panels.map_or(ptr::null(), |(panels, _)| panels.as_ptr()),
        widen,
        plus: match plus {
            Plus::Nothing => (ptr::null(), [0, 0]),
            Plus::C => (c.cast_const(), [columns, 1]),
            Plus::Row(row) => (row.as_ptr(), [0, 1]),
            Plus::Column(column) => (column.as_ptr(), [1, 0]),
        },
        then,
    };
    if !is_turned {
        product.run();
        return;
    }
    // Cᵀ = Bᵀ·Aᵀ, so that the rows of C are along the registers.
    let mut transposed = Buffer::<T>::new(m * n);
    // SAFETY: `c` has m rows of n elements, and `transposed` n rows of m.
    unsafe {
        let c = transposed.as_mut_slice().as_mut_ptr();
        let plus = match plus {
            Plus::C => {
                transpose((product.c, columns), [m, n], (c, m), m);
                (c.cast_const(), [m, 1])
            }
            _ => (product.plus.0, flip(product.plus.1)),
        };
        let turned = Product {
            m: n,
            n: m,
            a: b,
            a_strides: flip(b_strides),
            b: a,
            b_strides: flip(a_strides),
            widen: [widen[1], widen[0]],
            c,
            columns: m,
            plus,
            then: Epilogue::NONE,
            ..product
        };
        turned.run();
        let (product, turned) = (&product, &turned);
        let bands = if m * n < SPLIT_WORK { 1 } else { MAX_BLOCKS };
        for_each_index(bands, &|index| {
            let rows = parts(0..m, bands).nth(index).expect("a part");
            if !rows.is_empty() {
                let to = (product.c.add(rows.start * columns), columns);
                transpose((turned.c.add(rows.start), m), [n, rows.len()], to, n);
                product.finish(rows, 0..n);
            }
        });
    }
}

/// The strides of a transposed matrix.
fn flip([row, column]: [usize; 2]) -> [usize; 2] {
    [column, row]
}

/// Whether so few rows are multiplied by the upright kernels: A and B, given by their strides, must
/// be contiguous along k, and no halves that are widened.
fn is_upright<T>(
    kernels: &Kernels<T>,
    rows: usize,
    [a_strides, b_strides]: [[usize; 2]; 2],
    widens: bool,
) -> bool {
    let along_k = a_strides[1] == 1 && b_strides[0] == 1 && b_strides[1] != 1;
    along_k && !widens && rows <= kernels.upright_rows
}

/// The approximate number of half cycles for a product on one core, of A and B with these strides.
fn cost<T>(
    kernels: &Kernels<T>,
    [m, k, n]: [usize; 3],
    strides: [[usize; 2]; 2],
    widens: bool,
) -> usize {
    if is_upright(kernels, m, strides, widens) {
        let squares = n.div_ceil(kernels.lanes) * m.div_ceil(kernels.upright.len());
        return k.saturating_mul(squares * 8 + n.div_ceil(kernels.lanes) * m);
    }
    let tiles = m.div_ceil(kernels.rows());
    // A cycle has two multiply-adds and two loads, but the next step of a tile
    // must wait four cycles for its sums.
    let panel = |vectors: usize| (m * vectors).max(m + tiles * vectors).max(8 * tiles);
    let width = 2 * kernels.lanes;
    let edge = (n % width).div_ceil(kernels.lanes);
    let steps = n / width * panel(2) + if edge > 0 { panel(edge) } else { 0 };
    let packing = if strides[1][1] == 1 { 0 } else { n * 10 / 16 + 1 };
    k.saturating_mul(steps + packing)
}

impl<T: Float> Product<'_, T> {
    /// Computes C in a grid of blocks, for one group of k after the other or,
    /// if the grid alone is too coarse for several threads, for all groups at
    /// once.
    fn run(&self) {
        let panels = self.n.div_ceil(self.width());
        let work = self.m.saturating_mul(self.k).saturating_mul(self.n);
        let threads = if work < SPLIT_WORK { 1 } else { num_threads() };
        let wanted = match threads {
            1 => 1,
            _ => threads * (work / BLOCK_WORK / threads).clamp(1, BLOCKS_PER_THREAD),
        };
        let groups = (self.k / K_GROUP).clamp(1, MAX_BLOCKS);
        if wanted == 1 && groups == 1 {
            // SAFETY: the whole of C is computed, on this thread.
            return unsafe { block::multiply(self, 0..self.m, 0..panels, 0..usize::MAX) };
        }
        let [down, across] = self.grid(panels, wanted);
        let cells = down * across;
        let at_once = if cells < wanted { groups } else { 1 };
        let length = self.m * self.n;
        let mut sums = Buffer::<T>::new(if groups > 1 { at_once.max(2) - 1 } else { 0 } * length);
        let beside = sums.as_mut_slice().as_mut_ptr();
        for first in (0..groups).step_by(at_once) {
            // The first group is written to C, the others to separate memory.
            let then = if groups == 1 { self.then } else { Epilogue::NONE };
            let targets: SmallVec<[Self; 1]> = (first..groups.min(first + at_once))
                .map(|group| match group {
                    0 => Self { then, ..*self },
                    _ => {
                        // SAFETY: there is memory for this many groups.
                        let c = unsafe { beside.add((group - first.max(1)) * length) };
                        let plus = (ptr::null(), [0, 0]);
                        Self { c, columns: self.n, plus, then, ..*self }
                    }
                })
                .collect();
            for_each_index(cells * targets.len(), &|index| {
                let (cell, group) = (index / targets.len(), index % targets.len());
                let rows = parts(0..self.m, down).nth(cell % down).expect("a part");
                let panels = parts(0..panels, across).nth(cell / down).expect("a part");
                let mut blocks = parts(0..k_blocks(self.k).count(), groups);
                let blocks = blocks.nth(first + group).expect("a group");
                // SAFETY: each block is computed once, and blocks do not overlap.
                unsafe { block::multiply(&targets[group], rows, panels, blocks) };
            });
            let summed = &targets[usize::from(first == 0)..];
            if summed.is_empty() {
                continue;
            }
            let is_last = first + at_once >= groups;
            let bands = if length < SPLIT_WORK { 1 } else { MAX_BLOCKS };
            for_each_index(bands, &|index| {
                for i in parts(0..self.m, bands).nth(index).expect("a part") {
                    for sum in summed {
                        for j in 0..self.n {
                            // SAFETY: C and the sums have m rows of n elements,
                            // and each row is accessed by one task.
                            unsafe {
                                *self.c.add(i * self.columns + j) += *sum.c.add(i * self.n + j)
                            };
                        }
                    }
                    if is_last {
                        // SAFETY: as above.
                        unsafe { self.finish(i..i + 1, 0..self.n) };
                    }
                }
            });
        }
    }

    /// The rows and columns of a grid with about the wanted number of blocks of
    /// C, with the lowest estimate of the cycles for a step of k.
    fn grid(&self, panels: usize, wanted: usize) -> [usize; 2] {
        let cost = |[down, across]: [usize; 2]| {
            let (rows, panels) = (self.m.div_ceil(down), panels.div_ceil(across));
            let way = Way::of(self, rows, panels);
            // The costs of each element of A and B in quarters of a cycle,
            // found by measuring grids: reading it, or reading, writing and
            // reading it again. Reading from memory takes longest unless the
            // operand is packed.
            let a = if way.packs_a { 2 } else { 1 };
            let b = match (way.packs_b, self.b_is_far()) {
                (true, _) => 3,
                (false, true) => 4,
                (false, false) => 1,
            };
            let multiplying = rows * panels;
            let reading = (rows * a + panels * self.width() * b) / 4;
            // More blocks than wanted need another round.
            (multiplying + reading) * (down * across).div_ceil(wanted)
        };
        (1..=wanted)
            .map(|down| {
                let down = down.min(self.m.div_ceil(2 * self.kernels.rows()));
                [down, wanted.div_ceil(down).min(panels)]
            })
            .min_by_key(|&grid| cost(grid))
            .expect("one block at least")
    }

    /// Applies what follows to some rows and columns of C.
    ///
    /// # Safety
    ///
    /// They exist, and no other thread may access them during the call.
    pub(super) unsafe fn finish(&self, rows: Range<usize>, columns: Range<usize>) {
        if !self.then.is_some() {
            return;
        }
        // Whole rows are contiguous.
        let whole = columns.len() == self.columns;
        let (count, step) = if whole { (rows.len(), rows.len()) } else { (1, 1) };
        for row in rows.step_by(step.max(1)) {
            let position = row * self.columns + columns.start;
            // SAFETY: guaranteed by the caller.
            let elements =
                unsafe { slice::from_raw_parts_mut(self.c.add(position), count * columns.len()) };
            self.then.apply(position, elements);
        }
    }

    /// Whether the upright kernels are used for so many rows.
    pub(super) fn is_upright(&self, rows: usize) -> bool {
        let widens = self.widen.iter().any(Option::is_some);
        is_upright(self.kernels, rows, [self.a_strides, self.b_strides], widens)
    }

    /// Columns in a panel, which are those of two registers.
    pub(super) fn width(&self) -> usize {
        2 * self.kernels.lanes
    }

    /// Whether B is too large for the second-level cache.
    pub(super) fn b_is_far(&self) -> bool {
        self.k.saturating_mul(self.n) > CACHED
    }
}
