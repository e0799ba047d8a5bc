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
use super::pack::{Lines, copy_transposed};
use super::{BLOCK_WORK, MAX_BLOCKS, Problem};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::team::for_each_index;

/// About how many columns of A are multiplied before C is written: a panel of
/// B of so many rows fits the first-level cache.
pub(super) const K_BLOCK: usize = 256;
/// About how many columns of A a group of blocks has at least. Groups can be
/// computed at the same time, which a product whose C is small needs.
const K_GROUP: usize = 1024;
/// Most rows of A taken at a time: so many rows of a block of A fit the
/// second-level cache.
const ROW_BLOCK: usize = 224;
/// Fewest panels of B to multiply a block of A with for which packing it pays.
const A_PACKING_PANELS: usize = 6;
/// Bytes between rows of A from which on they compete for the same cache lines,
/// so that packing pays earlier.
const SCATTERED: usize = 2048;
/// Most columns of A packed together where they are contiguous, often each in a
/// page of its own.
const PAGES: usize = 32;
/// Most elements of B that are expected to stay in the first-level cache.
const NEAR: usize = 8 << 10;
/// Most panels of B taken at a time: so many of them fit the second-level
/// cache, too.
const PANEL_BLOCK: usize = 32;
/// Fewest rows of C for which packing a B whose rows are contiguous pays.
const PACKING_ROWS: usize = 96;
/// Most elements of B that are expected to stay in the second-level cache.
const CACHED: usize = 1 << 18;
/// Blocks of C for each thread, so that one that is held up leaves some to the
/// others.
const BLOCKS_PER_THREAD: usize = 4;
/// Fewest multiplications worth another thread.
const SPLIT_WORK: usize = 1 << 18;

/// `count` consecutive parts of `range`, equal to within one.
fn parts(range: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    let length = range.len();
    (0..count)
        .map(move |i| range.start + length * i / count..range.start + length * (i + 1) / count)
}

/// As few parts as possible of at most `longest`.
pub(super) fn parts_of(range: Range<usize>, longest: usize) -> impl Iterator<Item = Range<usize>> {
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
    let tiles = m.div_ceil(kernels.rows());
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
    /// Computes C in a grid of blocks, for the groups of k one after the other
    /// or, where the grid alone is too coarse for several threads, all at once.
    fn run(&self) {
        let columns = self.n.div_ceil(2 * self.kernels.lanes);
        let work = self.m.saturating_mul(self.k).saturating_mul(self.n);
        let threads = if work < SPLIT_WORK { 1 } else { rayon::current_num_threads() };
        let wanted = match threads {
            1 => 1,
            _ => threads * (work / BLOCK_WORK / threads).clamp(1, BLOCKS_PER_THREAD),
        };
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
                unsafe { targets[group].block(rows, columns, blocks) };
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

    /// Rows and columns of a grid of about as many blocks of C as wanted, by
    /// what there will be to do for a block: to multiply, and to read or pack
    /// its part of A and of B. For a step of k, in cycles.
    fn grid(&self, columns: usize, wanted: usize) -> [usize; 2] {
        let cost = |[down, across]: [usize; 2]| {
            let (rows, panels) = (self.m.div_ceil(down), columns.div_ceil(across));
            let a = rows * if self.packs_a(panels) { 2 } else { 1 };
            let b = match (self.packs_b(rows), self.b_is_far()) {
                (true, _) => 3,
                (false, true) => 4,
                (false, false) => 1,
            } * panels
                * 2
                * self.kernels.lanes;
            (rows * panels + (a + b) / 4) * (down * across).div_ceil(wanted)
        };
        (1..=wanted)
            .map(|down| {
                let down = down.min(self.m.div_ceil(2 * self.kernels.rows()));
                [down, wanted.div_ceil(down).min(columns)]
            })
            .min_by_key(|&grid| cost(grid))
            .expect("one block at least")
    }

    /// Whether so many panels are worth packing the rows of A they are
    /// multiplied with.
    fn packs_a(&self, panels: usize) -> bool {
        let step = self.a_strides[0].max(self.a_strides[1]);
        let scattered = step.saturating_mul(size_of::<T>()) >= SCATTERED;
        panels >= if scattered { 2 } else { A_PACKING_PANELS }
    }

    /// Whether B is too large for the second-level cache.
    fn b_is_far(&self) -> bool {
        self.k.saturating_mul(self.n) > CACHED
    }

    /// Whether B is packed for so many rows.
    fn packs_b(&self, rows: usize) -> bool {
        let fewest = if self.b_is_far() { PACKING_ROWS } else { 3 * PACKING_ROWS };
        self.b_strides[1] != 1 || rows >= fewest && self.n >= 2 * self.kernels.lanes
    }

    /// Computes the block of these rows and columns, the latter counted in
    /// panels of two registers, for some blocks of k.
    ///
    /// # Safety
    ///
    /// Nothing else touches these elements of C meanwhile.
    unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>, blocks: Range<usize>) {
        let kernels = self.kernels;
        let (width, height) = (2 * kernels.lanes, kernels.packed_rows());
        let a = Lines { first: self.a, strides: [self.a_strides[1], self.a_strides[0]] };
        let b = Lines { first: self.b, strides: self.b_strides };
        let packs_b = self.packs_b(rows.len());
        let wide = !packs_b && rows.len() <= kernels.wide.len();
        let packs_a = !wide && self.packs_a(columns.len());
        let tiles = rows.len().min(ROW_BLOCK).div_ceil(kernels.rows());
        let panels = columns.len().min(PANEL_BLOCK);
        let room = |packs, lines| Buffer::<T>::new(if packs { K_BLOCK * lines } else { 0 });
        let mut packed = [room(packs_a, tiles * height), room(packs_b, panels * width)];
        let [packed_a, packed_b] = packed.each_mut().map(|room| room.as_mut_slice().as_mut_ptr());
        for (index, ks) in k_blocks(self.k).enumerate().take(blocks.end).skip(blocks.start) {
            for columns in parts_of(columns.clone(), PANEL_BLOCK) {
                let panel_step = width * ks.len();
                let first = columns.start;
                if packs_b {
                    let count = (columns.end * width).min(self.n) - first * width;
                    let lines = b.from(ks.start, first * width);
                    // SAFETY: the columns exist, and there is room for them.
                    unsafe {
                        lines.pack(kernels, [ks.len(), count], packed_b, [width, panel_step])
                    };
                }
                for rows in parts_of(rows.clone(), ROW_BLOCK) {
                    let tiles = || parts_of(rows.clone(), kernels.rows()).enumerate();
                    let panels = || parts_of(columns.clone(), 1);
                    let packed_tile = |tile| packed_a.wrapping_add(tile * ks.len() * height);
                    // Few rows of memory at a time where its rows lie across.
                    let together = if a.strides[1] == 1 { PAGES } else { K_BLOCK };
                    for part in parts_of(ks.clone(), together).filter(|_| packs_a) {
                        for (tile, rows) in tiles() {
                            let lines = a.from(part.start, rows.start);
                            let size = [part.len(), rows.len()];
                            let place =
                                packed_tile(tile).wrapping_add((part.start - ks.start) * height);
                            // SAFETY: the rows exist, and there is room for them.
                            unsafe { lines.pack(kernels, size, place, [height, 0]) };
                        }
                    }
                    let tile = |(tile, tile_rows): (usize, Range<usize>), at: Range<usize>| {
                        let start = at.start * width;
                        let count = (at.end * width).min(self.n) - start;
                        let (b, b_step, next_panel) = if packs_b {
                            let place = (at.start - first) * panel_step;
                            (packed_b.wrapping_add(place).cast_const(), width, panel_step)
                        } else {
                            (b.from(ks.start, start).first, self.b_strides[0], at.len() * width)
                        };
                        let whole = packs_b || count.is_multiple_of(kernels.lanes);
                        let by = if packs_a && whole { kernels.packed } else { kernels.direct };
                        let kernel = match at.len() {
                            1 => by[tile_rows.len() - 1][count.div_ceil(kernels.lanes) - 1],
                            _ => kernels.wide[tile_rows.len() - 1],
                        };
                        let (a, a_strides) = if packs_a {
                            (packed_tile(tile).cast_const(), [1, height])
                        } else {
                            (a.from(ks.start, tile_rows.start).first, self.a_strides)
                        };
                        // Earlier it would push the panel in use out.
                        let asks = tile_rows.end == rows.end && at.end < columns.end;
                        // SAFETY: all indices lie within the product, whose
                        // bounds were checked; the kernel is the one for so
                        // many rows and registers.
                        unsafe {
                            kernel(&Tile {
                                k: ks.len(),
                                a,
                                a_strides,
                                b,
                                b_step,
                                next_panel: if asks { next_panel } else { 0 },
                                c: self.c.add(tile_rows.start * self.columns + start),
                                c_step: self.columns,
                                columns: count,
                                accumulate: self.accumulate || index > blocks.start,
                            });
                        }
                    };
                    if wide {
                        self.wide_parts(columns.clone(), |at| tile((0, rows.clone()), at));
                    } else if columns.len() * panel_step <= NEAR {
                        // C is written row by row.
                        tiles().for_each(|rows| panels().for_each(|at| tile(rows.clone(), at)));
                    } else {
                        panels().for_each(|at| tiles().for_each(|rows| tile(rows, at.clone())));
                    }
                }
            }
        }
    }

    /// Columns, counted in panels, as many together as the wide kernels have,
    /// the rest one by one.
    fn wide_parts(&self, columns: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        let together = self.kernels.wide_panels;
        let whole = columns.end.min(self.n / (2 * self.kernels.lanes));
        let mut next = columns.start;
        while next < columns.end {
            let end = if next + together <= whole { next + together } else { next + 1 };
            each(next..end);
            next = end;
        }
    }
}
