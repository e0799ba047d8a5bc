//! The loops around the micro-kernels.
//!
//! Every element of C is the sum, over blocks of k, of one chain of fused
//! multiply-adds per block; where k is long, of the sums of groups of blocks.
//! Blocks and groups depend on k alone. Nothing else shows in the result: not
//! the orientation in which a product is computed, not what is packed, not
//! where tiles and blocks of C end, and not which thread computes what. So all
//! of these may be chosen for speed alone.

use std::ops::Range;

use smallvec::SmallVec;

use super::kernel::{Kernels, Tile};
use super::pack::{Panels, copy_block, copy_transposed};
use super::{BLOCK_WORK, MAX_BLOCKS, Problem};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::team::for_each_index;

/// About how many columns of A are multiplied before C is written: a panel of
/// B of so many rows fits the first-level cache.
const K_BLOCK: usize = 256;
/// About how many columns of A a group of blocks has at least. Groups can be
/// computed at the same time, which a product whose C is small needs.
const K_GROUP: usize = 1024;
/// Most rows of A taken at a time: so many rows of a block of A fit the
/// second-level cache.
const ROW_BLOCK: usize = 224;
/// Fewest panels of B to multiply a block of A with for which copying the
/// block, so that its rows do not compete for the same cache lines, pays.
const COPYING_PANELS: usize = 8;
/// Bytes between rows of A from which on they count as scattered.
const SCATTERED: usize = 2048;
/// Most elements of B packed at a time.
const PACKED: usize = 4 << 20;
/// Fewest rows of C for which packing a B whose rows are contiguous pays.
const PACKING_ROWS: usize = 96;
/// Fewest multiplications worth another thread.
const SPLIT_WORK: usize = 1 << 18;

/// `count` consecutive parts of `range`, equal to within one.
fn parts(range: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    let length = range.len();
    (0..count)
        .map(move |i| range.start + length * i / count..range.start + length * (i + 1) / count)
}

/// As few parts as possible of at most `longest`.
fn parts_of(range: Range<usize>, longest: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(longest);
    parts(range, count)
}

/// The blocks of k: their number and extent depend on `k` alone.
pub(super) fn k_blocks(k: usize) -> impl Iterator<Item = Range<usize>> {
    parts_of(0..k, K_BLOCK)
}

/// A product whose bounds were checked, its operands as pointers.
#[derive(Clone, Copy)]
struct Product<T: 'static> {
    kernels: &'static Kernels<T>,
    m: usize,
    k: usize,
    n: usize,
    a: *const T,
    a_strides: [usize; 2],
    b: *const T,
    b_strides: [usize; 2],
    c: *mut T,
    columns: usize,
    accumulate: bool,
}

// SAFETY: A and B are only read, and blocks of C that different threads
// compute do not overlap.
unsafe impl<T> Send for Product<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Product<T> {}

/// Computes a product.
///
/// # Safety
///
/// The problem's bounds were checked, and the CPU has the kernels' instruction
/// set.
pub(super) unsafe fn multiply<T: Float>(p: Problem<'_, T>, kernels: &'static Kernels<T>) {
    let Problem { m, k, n, a, a_strides, b, b_strides, c, columns, accumulate } = p;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.chunks_mut(columns).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let across = cost(kernels, [m, k, n], b_strides[1] == 1);
    let down = cost(kernels, [n, k, m], a_strides[0] == 1).saturating_add(m * n * 3);
    let product = Product {
        kernels,
        m,
        k,
        n,
        a,
        a_strides,
        b,
        b_strides,
        c: c.as_mut_ptr(),
        columns,
        accumulate,
    };
    if across <= down {
        product.run();
        return;
    }
    // Cᵀ = Bᵀ·Aᵀ: the rows of C lie along the registers.
    let mut transposed = Buffer::<T>::new(m * n);
    let flip = |[row, column]: [usize; 2]| [column, row];
    // SAFETY: `c` holds m rows of n elements, and `transposed` n rows of m.
    unsafe {
        if accumulate {
            copy_transposed(product.c, columns, transposed.as_mut_slice().as_mut_ptr(), m, [m, n]);
        }
        let c = transposed.as_mut_slice().as_mut_ptr();
        Product {
            m: n,
            n: m,
            a: b,
            a_strides: flip(b_strides),
            b: a,
            b_strides: flip(a_strides),
            c,
            columns: m,
            ..product
        }
        .run();
        copy_transposed(c, m, product.c, columns, [n, m]);
    }
}

/// Roughly how many half cycles a product takes on one core.
fn cost<T>(kernels: &Kernels<T>, [m, k, n]: [usize; 3], contiguous: bool) -> usize {
    let tiles = m.div_ceil(kernels.tiles.len());
    // Two multiply-adds and two loads a cycle; but a tile's next step has to
    // wait four cycles for its sums.
    let panel = |vectors: usize| (m * vectors).max(m + tiles * vectors).max(8 * tiles);
    let width = 2 * kernels.lanes;
    let edge = (n % width).div_ceil(kernels.lanes);
    let steps = n / width * panel(2) + if edge > 0 { panel(edge) } else { 0 };
    let packing = if contiguous { 0 } else { n * 10 / 16 + 1 };
    k.saturating_mul(steps + packing)
}

impl<T: Float> Product<T> {
    fn run(&self) {
        let width = 2 * self.kernels.lanes;
        let packs = self.b_strides[1] != 1 || self.m >= PACKING_ROWS && self.n >= 2 * width;
        if !packs {
            self.run_blocks(None);
            return;
        }
        let most = (PACKED / self.k / width).max(1) * width;
        for columns in parts_of(0..self.n.div_ceil(width), most.div_ceil(width)) {
            let (start, end) = (columns.start * width, self.n.min(columns.end * width));
            // SAFETY: columns of B and C that exist.
            let part = unsafe {
                Self {
                    n: end - start,
                    b: self.b.add(start * self.b_strides[1]),
                    c: self.c.add(start),
                    ..*self
                }
            };
            // SAFETY: `multiply`'s caller promises that B can be read.
            let panels =
                unsafe { Panels::new(self.kernels, part.b, part.b_strides, [part.k, part.n]) };
            part.run_blocks(Some(&panels));
        }
    }

    /// Whether the rows of A, or its columns, lie so far apart that they
    /// compete for the same cache lines.
    fn scattered(&self) -> bool {
        self.a_strides[0].max(self.a_strides[1]).saturating_mul(size_of::<T>()) >= SCATTERED
    }

    /// Computes C in a grid of blocks, for the groups of k one after the other
    /// or, where the grid alone is too coarse for several threads, all at once.
    fn run_blocks(&self, panels: Option<&Panels<T>>) {
        let columns = self.n.div_ceil(2 * self.kernels.lanes);
        let work = self.m.saturating_mul(self.k).saturating_mul(self.n);
        let alone = work < SPLIT_WORK || rayon::current_num_threads() == 1;
        let wanted = if alone { 1 } else { (work / BLOCK_WORK).clamp(1, MAX_BLOCKS) };
        let [down, across] = self.grid(columns, wanted);
        let cells = down * across;

        let groups = (self.k / K_GROUP).clamp(1, MAX_BLOCKS);
        let at_once = if cells < wanted { groups } else { 1 };
        let length = self.m * self.n;
        let mut sums = Buffer::<T>::new(if groups > 1 { at_once.max(2) - 1 } else { 0 } * length);
        let beside = sums.as_mut_slice().as_mut_ptr();
        for first in (0..groups).step_by(at_once) {
            // The first group of all goes to C, the others beside it.
            let targets: SmallVec<[Self; 1]> = (first..groups.min(first + at_once))
                .map(|group| match group {
                    0 => *self,
                    _ => {
                        // SAFETY: there is room for this many groups.
                        let c = unsafe { beside.add((group - first.max(1)) * length) };
                        Self { c, columns: self.n, accumulate: false, ..*self }
                    }
                })
                .collect();
            for_each_index(cells * targets.len(), &|index| {
                let (cell, group) = (index / targets.len(), index % targets.len());
                let rows = parts(0..self.m, down).nth(cell % down).expect("a part");
                let columns = parts(0..columns, across).nth(cell / down).expect("a part");
                let mut blocks = parts(0..k_blocks(self.k).count(), groups);
                let blocks = blocks.nth(first + group).expect("a group");
                // SAFETY: each block is computed once, and blocks do not overlap.
                unsafe { targets[group].block(rows, columns, blocks, panels) };
            });
            let summed = &targets[usize::from(first == 0)..];
            if summed.is_empty() {
                continue;
            }
            let bands = if length < SPLIT_WORK { 1 } else { MAX_BLOCKS };
            for_each_index(bands, &|index| {
                for i in parts(0..self.m, bands).nth(index).expect("a part") {
                    for sum in summed {
                        for j in 0..self.n {
                            // SAFETY: C and the sums have m rows of n elements,
                            // and each row is touched by one task.
                            unsafe {
                                *self.c.add(i * self.columns + j) += *sum.c.add(i * self.n + j)
                            };
                        }
                    }
                }
            });
        }
    }

    /// Rows and columns of a grid of about as many blocks of C as wanted.
    fn grid(&self, columns: usize, wanted: usize) -> [usize; 2] {
        let (mut down, mut across) = (1, 1);
        while down * across < wanted {
            let rows = self.m / down;
            let tall = rows >= 4 * self.kernels.tiles.len();
            if tall && rows >= self.n / across {
                down *= 2;
            } else if columns / across >= 2 {
                across *= 2;
            } else if tall {
                down *= 2;
            } else {
                break;
            }
        }
        [down, across]
    }

    /// Computes the block of these rows and columns, the latter counted in
    /// panels of two registers, for some blocks of k.
    ///
    /// # Safety
    ///
    /// Nothing else touches these elements of C meanwhile.
    unsafe fn block(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        blocks: Range<usize>,
        panels: Option<&Panels<T>>,
    ) {
        let kernels = self.kernels;
        let width = 2 * kernels.lanes;
        let mut copy = (self.scattered() && columns.len() >= COPYING_PANELS)
            .then(|| Buffer::new((ROW_BLOCK + 16) * (K_BLOCK + 16)));
        for (index, ks) in k_blocks(self.k).enumerate().take(blocks.end).skip(blocks.start) {
            if let Some(panels) = panels {
                panels.fill(index, columns.clone());
            }
            for rows in parts_of(rows.clone(), ROW_BLOCK) {
                let first = rows.start;
                // SAFETY: rows and columns of A that exist.
                let a =
                    unsafe { self.a.add(first * self.a_strides[0] + ks.start * self.a_strides[1]) };
                let (a, a_strides) = match &mut copy {
                    // SAFETY: as above.
                    Some(copy) => unsafe {
                        copy_block(a, self.a_strides, copy.as_mut_slice(), [rows.len(), ks.len()])
                    },
                    None => (a, self.a_strides),
                };
                for panel in columns.clone() {
                    let start = panel * width;
                    let count = width.min(self.n - start);
                    let last = rows.end;
                    for rows in parts_of(rows.clone(), kernels.tiles.len()) {
                        // Earlier it would push the panel in use out.
                        let asks = rows.end == last && panel + 1 < columns.end;
                        // SAFETY: all indices lie within the product, whose
                        // bounds were checked; the kernel is the one for so
                        // many rows and registers.
                        unsafe {
                            let (b, b_step, next_panel) = match panels {
                                Some(panels) => {
                                    (panels.panel(index, panel), width, width * ks.len())
                                }
                                None => (
                                    self.b.add(ks.start * self.b_strides[0] + start),
                                    self.b_strides[0],
                                    width,
                                ),
                            };
                            kernels.tiles[rows.len() - 1][count.div_ceil(kernels.lanes) - 1](
                                &Tile {
                                    k: ks.len(),
                                    a: a.add((rows.start - first) * a_strides[0]),
                                    a_strides,
                                    b,
                                    b_step,
                                    next_panel: if asks { next_panel } else { 0 },
                                    c: self.c.add(rows.start * self.columns + start),
                                    c_step: self.columns,
                                    columns: count,
                                    accumulate: self.accumulate || index > blocks.start,
                                },
                            );
                        }
                    }
                }
            }
        }
    }
}
