//! Computes one block of C from operands that are read in place or packed
//! first.
//!
//! The loops, from outer to inner: blocks of k, panels of B that fit into the
//! second-level cache, rows of A that fit into it too, and tiles of C.

use std::ops::Range;
use std::ptr;

use super::driver::{K_BLOCK, Product, k_blocks, parts_of};
use super::kernel::Tile;
use super::pack::Lines;
use crate::buffer::Buffer;
use crate::element::Float;

/// The largest number of panels of B taken at a time, which fit into the
/// second-level cache.
const PANEL_BLOCK: usize = 32;
/// The fewest columns of B with which a block of A is multiplied for packing A
/// to be faster.
const A_PACKING_COLUMNS: usize = 192;
/// The distance in bytes between rows of A from which on they compete for the
/// same cache lines, so that packing is worthwhile with fewer columns.
const SCATTERED: usize = 2048;
/// The fewest rows of C for which packing a B with contiguous rows is faster.
const PACKING_ROWS: usize = 96;
/// The largest number of contiguous columns of A that are packed together; each
/// is often in a different page.
const PAGES: usize = 32;
/// The largest number of elements of B that are expected to stay in the
/// first-level cache.
const NEAR: usize = 8 << 10;

/// The method for a block.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// Whether A is packed.
    pub(super) packs_a: bool,
    /// Whether B is packed, here or in advance for many products.
    pub(super) packs_b: bool,
    /// Whether the kernels for very few rows are used.
    wide: bool,
    /// Whether the kernels for very few rows and contiguous columns of B are used.
    upright: bool,
}

impl Way {
    /// The fastest method for a block of this many rows and panels.
    pub(super) fn of<T: Float>(p: &Product<'_, T>, rows: usize, panels: usize) -> Self {
        let scattered = |step: usize| step.saturating_mul(size_of::<T>()) >= SCATTERED;
        let slow_b = p.b_is_far() || scattered(p.b_strides[0]);
        let fewest = if slow_b { PACKING_ROWS } else { 3 * PACKING_ROWS };
        let is_in_panels = !p.panels.is_null();
        let [halves_a, halves_b] = p.widen.map(|widen| widen.is_some());
        let upright = !is_in_panels && p.is_upright(rows);
        let packs_b = !upright
            && (is_in_panels
                || halves_b
                || p.b_strides[1] != 1
                || rows >= fewest && p.n >= p.width());
        let wide = !upright && !packs_b && !halves_a && rows <= p.kernels.wide.len();
        let slow_a = scattered(p.a_strides[0].max(p.a_strides[1]));
        let fewest = if slow_a { 2 * p.width() } else { A_PACKING_COLUMNS };
        let packs_a = halves_a || !wide && !upright && panels * p.width() >= fewest;
        Self { packs_a, packs_b, wide, upright }
    }
}

/// Computes the block of these rows and columns (counted in panels), for some
/// blocks of k.
///
/// # Safety
///
/// The product's bounds must have been checked, the CPU must have the
/// instruction set of the kernels, and no other thread may access these
/// elements of C during the call.
pub(super) unsafe fn multiply<T: Float>(
    product: &Product<'_, T>,
    rows: Range<usize>,
    panels: Range<usize>,
    blocks: Range<usize>,
) {
    let way = Way::of(product, rows.len(), panels.len());
    let steps = product.k.min(K_BLOCK);
    let room = |packs: bool, lines: usize| packs.then(|| Buffer::<T>::new(steps * lines));
    let start = |room: &mut Option<Buffer<T>>| {
        room.as_mut().map_or(ptr::null_mut(), |room| room.as_mut_slice().as_mut_ptr())
    };
    let row_block = product.kernels.row_block;
    let tiles = rows.len().min(row_block).div_ceil(product.kernels.rows());
    let mut packed_a = room(way.packs_a, tiles * product.kernels.packed_rows());
    let is_in_panels = !product.panels.is_null();
    let panel_room = panels.len().min(PANEL_BLOCK) * product.width();
    let mut packed_b = room(way.packs_b && !is_in_panels, panel_room);
    let (packed_a, packed_b) = (start(&mut packed_a), start(&mut packed_b));
    // The packed panels of a block of k.
    let packed_b = |ks: &Range<usize>, panels: &Range<usize>| match is_in_panels {
        true => {
            let row = product.n.next_multiple_of(product.width());
            let offset = ks.start * row + panels.start * product.width() * ks.len();
            product.panels.wrapping_add(offset).cast_mut()
        }
        false => packed_b,
    };
    if product.k <= K_BLOCK && rows.len() <= row_block && panels.len() <= PANEL_BLOCK {
        let (ks, plus, is_last) = (0..product.k, product.plus, true);
        let packed_b = packed_b(&ks, &panels);
        let part = Part { product, way, packed_a, packed_b, ks, rows, panels, plus, is_last };
        // SAFETY: as below.
        return unsafe { part.compute(!is_in_panels) };
    }
    for (index, ks) in k_blocks(product.k).enumerate().take(blocks.end).skip(blocks.start) {
        for panels in parts_of(panels.clone(), PANEL_BLOCK) {
            for (i, rows) in parts_of(rows.clone(), row_block).enumerate() {
                let (ks, panels) = (ks.clone(), panels.clone());
                let plus = match index > blocks.start {
                    true => (product.c.cast_const(), [product.columns, 1]),
                    false => product.plus,
                };
                let (packed_b, is_last) = (packed_b(&ks, &panels), ks.end == product.k);
                let part =
                    Part { product, way, packed_a, packed_b, ks, rows, panels, plus, is_last };
                // SAFETY: guaranteed by the caller; there is memory for the
                // packed operands, and B is packed for the first rows.
                unsafe { part.compute(i == 0 && !is_in_panels) };
            }
        }
    }
}

/// The part that is computed at a time: some rows and panels of one block of k.
struct Part<'a, T: 'static> {
    product: &'a Product<'a, T>,
    way: Way,
    packed_a: *mut T,
    packed_b: *mut T,
    ks: Range<usize>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// The matrix that is added, which may be null, and its strides.
    plus: (*const T, [usize; 2]),
    /// Whether this is the last block of k.
    is_last: bool,
}

impl<T: Float> Part<'_, T> {
    /// The rows of A, as lines.
    fn a(&self) -> Lines<T> {
        let [row, column] = self.product.a_strides;
        Lines { first: self.product.a, strides: [column, row], widen: self.product.widen[0] }
    }

    /// The columns of B, as lines.
    fn b(&self) -> Lines<T> {
        Lines {
            first: self.product.b,
            strides: self.product.b_strides,
            widen: self.product.widen[1],
        }
    }

    /// The rows of each tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let kernels = self.product.kernels;
        let most = if self.way.upright { kernels.upright.len() } else { kernels.rows() };
        parts_of(self.rows.clone(), most).enumerate()
    }

    /// The packed rows of A for a tile.
    fn packed_tile(&self, tile: usize) -> *mut T {
        self.packed_a.wrapping_add(tile * self.ks.len() * self.product.kernels.packed_rows())
    }

    /// Elements in a packed panel of B.
    fn panel_step(&self) -> usize {
        self.product.width() * self.ks.len()
    }

    /// The first column of some panels, and their number of columns.
    fn columns(&self, panels: &Range<usize>) -> (usize, usize) {
        let Product { n, .. } = *self.product;
        let (start, end) = (panels.start * self.product.width(), panels.end * self.product.width());
        (start, end.min(n) - start)
    }

    /// Packs A.
    ///
    /// # Safety
    ///
    /// There must be memory for it, and no other thread may access it during
    /// the call.
    unsafe fn pack_a(&self) {
        let height = self.product.kernels.packed_rows();
        let a = self.a();
        // If rows are not contiguous, only few rows of memory are read at a
        // time.
        let together = if a.strides[1] == 1 { PAGES } else { K_BLOCK };
        for ks in parts_of(self.ks.clone(), together) {
            for (tile, rows) in self.tiles() {
                let lines = a.from(ks.start, rows.start);
                let size = [ks.len(), rows.len()];
                let to = self.packed_tile(tile).wrapping_add((ks.start - self.ks.start) * height);
                // SAFETY: the rows exist, and there is memory for them.
                unsafe { lines.pack(self.product.kernels, size, to, [height, 0]) };
            }
        }
    }

    /// Packs B.
    ///
    /// # Safety
    ///
    /// That of [`pack_a`](Self::pack_a).
    unsafe fn pack_b(&self) {
        let (start, count) = self.columns(&self.panels);
        let lines = self.b().from(self.ks.start, start);
        let size = [self.ks.len(), count];
        let steps = [self.product.width(), self.panel_step()];
        // SAFETY: the columns exist, and there is memory for them.
        unsafe { lines.pack(self.product.kernels, size, self.packed_b, steps) };
    }

    /// Packs A if the method says so, and B if `packs_b` is set, computes all
    /// tiles, and applies what follows to complete ones.
    ///
    /// # Safety
    ///
    /// There must be memory for the packed operands, and no other thread may
    /// access it or these elements of C during the call.
    unsafe fn compute(&self, packs_b: bool) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            if self.way.packs_b && packs_b {
                self.pack_b();
            }
            if self.way.packs_a {
                self.pack_a();
            }
            self.multiply();
            if self.is_last {
                let (start, count) = self.columns(&self.panels);
                self.product.finish(self.rows.clone(), start..start + count);
            }
        }
    }

    /// Computes all tiles.
    ///
    /// # Safety
    ///
    /// The operands must have been packed, and no other thread may access these
    /// elements of C during the call.
    unsafe fn multiply(&self) {
        let each = || parts_of(self.panels.clone(), 1);
        // SAFETY: guaranteed by the caller.
        let tile = |index, rows: &Range<usize>, at| unsafe { self.tile(index, rows, at) };
        if self.way.wide {
            self.together().for_each(|at| tile(0, &self.rows, at));
        } else if self.panels.len() * self.panel_step() <= NEAR {
            // C is written row by row.
            self.tiles().for_each(|(i, rows)| each().for_each(|at| tile(i, &rows, at)));
        } else {
            each().for_each(|at| self.tiles().for_each(|(i, rows)| tile(i, &rows, at.clone())));
        }
    }

    /// The panels: groups of the size for the wide kernels, then single ones.
    fn together(&self) -> impl Iterator<Item = Range<usize>> {
        let wide = self.product.kernels.wide_panels;
        let whole = self.panels.end.min(self.product.n / self.product.width());
        let mut rest = self.panels.clone();
        std::iter::from_fn(move || {
            let start = rest.start;
            let count = if start + wide <= whole { wide } else { 1 };
            (!rest.is_empty()).then(|| {
                rest.start += count;
                start..rest.start
            })
        })
    }

    /// Computes one tile: these rows with one panel, or with the number of
    /// panels of the wide kernels.
    ///
    /// # Safety
    ///
    /// That of [`multiply`](Self::multiply).
    unsafe fn tile(&self, index: usize, rows: &Range<usize>, panels: Range<usize>) {
        let Self { product, way, .. } = *self;
        let kernels = product.kernels;
        let (start, columns) = self.columns(&panels);
        let (b, b_step, next_panel) = if way.packs_b {
            let offset = (panels.start - self.panels.start) * self.panel_step();
            (self.packed_b.wrapping_add(offset).cast_const(), product.width(), self.panel_step())
        } else {
            let first = self.b().from(self.ks.start, start).first;
            let step = product.b_strides[usize::from(way.upright)];
            (first, step, panels.len() * product.width())
        };
        let (a, a_strides) = if way.packs_a {
            (self.packed_tile(index).cast_const(), [1, kernels.packed_rows()])
        } else {
            (self.a().from(self.ks.start, rows.start).first, product.a_strides)
        };
        let (plus, plus_strides) = self.plus;
        let registers = if columns > kernels.lanes { 2 } else { 1 };
        let whole = way.packs_b || columns == registers * kernels.lanes;
        let by = if way.packs_a && whole { kernels.packed } else { kernels.direct };
        let kernel = match panels.len() {
            _ if way.upright => kernels.upright[rows.len() - 1],
            1 => by[rows.len() - 1][registers - 1],
            _ => kernels.wide[rows.len() - 1],
        };
        // Prefetching earlier would evict the current panel.
        let asks = rows.end == self.rows.end && panels.end < self.panels.end;
        // SAFETY: all indices are within the product, whose bounds were
        // checked; the kernel is the one for this number of rows and registers.
        unsafe {
            kernel(&Tile {
                k: self.ks.len(),
                a,
                a_strides,
                b,
                b_step,
                next_panel: if asks { next_panel } else { 0 },
                c: product.c.add(rows.start * product.columns + start),
                c_step: product.columns,
                columns,
                plus: match plus.is_null() {
                    true => plus,
                    false => plus.add(rows.start * plus_strides[0] + start * plus_strides[1]),
                },
                plus_strides,
            });
        }
    }
}
