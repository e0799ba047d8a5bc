//! Packed operands: B in panels that a micro-kernel reads front to back.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::yield_now;

use super::driver::k_blocks;
use super::kernel::Kernels;
use crate::buffer::Buffer;
use crate::element::Float;

/// B in panels of two registers' width, one after the other for each block of
/// k. Panels are packed when first needed, by the thread that needs them; the
/// others find them packed.
pub(super) struct Panels<T: Float> {
    kernels: &'static Kernels<T>,
    b: *const T,
    b_strides: [usize; 2],
    k: usize,
    n: usize,
    /// The panels' elements, and the buffer that owns them.
    packed: *mut T,
    _buffer: Buffer<T>,
    /// For each block of k and each panel: empty, being packed, or packed.
    states: Vec<AtomicU8>,
}

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const PACKED: u8 = 2;

// SAFETY: B is only read; a panel is written only by the one thread that moved
// its state from EMPTY to BUSY, and read only after it became PACKED.
unsafe impl<T: Float> Sync for Panels<T> {}

impl<T: Float> Panels<T> {
    /// Room for the panels of a `k × n` matrix.
    ///
    /// # Safety
    ///
    /// The matrix can be read for as long as the panels live, and the CPU has
    /// the kernels' instruction set.
    pub(super) unsafe fn new(
        kernels: &'static Kernels<T>,
        b: *const T,
        b_strides: [usize; 2],
        [k, n]: [usize; 2],
    ) -> Self {
        let width = 2 * kernels.lanes;
        let columns = n.div_ceil(width);
        let mut buffer = Buffer::new(k * columns * width);
        let states = (0..columns * k_blocks(k).count()).map(|_| AtomicU8::new(EMPTY)).collect();
        let packed = buffer.as_mut_slice().as_mut_ptr();
        Self { kernels, b, b_strides, k, n, packed, _buffer: buffer, states }
    }

    fn width(&self) -> usize {
        2 * self.kernels.lanes
    }

    fn columns(&self) -> usize {
        self.n.div_ceil(self.width())
    }

    /// The first element of a panel, whose rows are two registers apart.
    /// Elements beyond the last column of B are unspecified.
    pub(super) fn panel(&self, block: usize, panel: usize) -> *const T {
        let ks = k_blocks(self.k).nth(block).expect("a block of k");
        // SAFETY: the panel lies within the buffer.
        unsafe { self.packed.add((ks.start * self.columns() + panel * ks.len()) * self.width()) }
    }

    /// Makes sure that these panels of a block of k are packed.
    pub(super) fn fill(&self, block: usize, panels: Range<usize>) {
        let states = &self.states[block * self.columns()..][..self.columns()];
        for panel in panels.clone() {
            let state = &states[panel];
            let claim = state.compare_exchange(EMPTY, BUSY, Ordering::Relaxed, Ordering::Relaxed);
            if claim.is_ok() {
                // SAFETY: the panel was claimed.
                unsafe { self.pack(block, panel) };
                state.store(PACKED, Ordering::Release);
            }
        }
        for panel in panels {
            let mut patience = 1000;
            while states[panel].load(Ordering::Acquire) != PACKED {
                if patience > 0 {
                    patience -= 1;
                    spin_loop();
                } else {
                    yield_now();
                }
            }
        }
    }

    /// # Safety
    ///
    /// The caller has claimed the panel.
    unsafe fn pack(&self, block: usize, panel: usize) {
        let ks = k_blocks(self.k).nth(block).expect("a block of k");
        let width = self.width();
        let start = panel * width;
        let count = width.min(self.n - start);
        let [row, column] = self.b_strides;
        let to = self.panel(block, panel).cast_mut();
        // SAFETY: B's bounds were checked; the panel has `ks.len()` rows of
        // `width` elements.
        unsafe {
            let from = self.b.add(ks.start * row + start * column);
            if column == 1 {
                for l in 0..ks.len() {
                    if count == width {
                        copy_row(from.add(l * row), to.add(l * width), self.kernels.lanes);
                    } else {
                        from.add(l * row).copy_to_nonoverlapping(to.add(l * width), count);
                    }
                }
            } else if row == 1 {
                for j in (0..count).step_by(self.kernels.lanes) {
                    let columns = self.kernels.lanes.min(count - j);
                    (self.kernels.transpose)(
                        from.add(j * column),
                        column,
                        columns,
                        ks.len(),
                        to.add(j),
                        width,
                    );
                }
            } else {
                for l in 0..ks.len() {
                    for j in 0..count {
                        *to.add(l * width + j) = *from.add(l * row + j * column);
                    }
                }
            }
        }
    }
}

/// Copies a panel's row, with a length known when compiling.
///
/// # Safety
///
/// `2 * lanes` elements can be read and written.
#[inline(always)]
unsafe fn copy_row<T: Copy>(from: *const T, to: *mut T, lanes: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        match lanes {
            16 => from.copy_to_nonoverlapping(to, 32),
            8 => from.copy_to_nonoverlapping(to, 16),
            _ => from.copy_to_nonoverlapping(to, 2 * lanes),
        }
    }
}

/// Copies a matrix of `rows × columns`, transposed; steps lead from one row to
/// the next, before and after.
///
/// # Safety
///
/// The matrix can be read and its transpose written.
pub(super) unsafe fn copy_transposed<T: Copy>(
    from: *const T,
    from_step: usize,
    to: *mut T,
    to_step: usize,
    [rows, columns]: [usize; 2],
) {
    const BLOCK: usize = 16;
    // SAFETY: promised by the caller.
    unsafe {
        for i_block in (0..rows).step_by(BLOCK) {
            for j_block in (0..columns).step_by(BLOCK) {
                for j in j_block..columns.min(j_block + BLOCK) {
                    for i in i_block..rows.min(i_block + BLOCK) {
                        *to.add(j * to_step + i) = *from.add(i * from_step + j);
                    }
                }
            }
        }
    }
}

/// Copies a block of A of `rows × columns` so that its elements lie close
/// together, and returns where and with which strides. The longer way through
/// memory stays the longer one.
///
/// # Safety
///
/// The block can be read.
pub(super) unsafe fn copy_block<T: Copy>(
    from: *const T,
    strides: [usize; 2],
    to: &mut [T],
    [rows, columns]: [usize; 2],
) -> (*const T, [usize; 2]) {
    let [row, column] = strides;
    let by_rows = column <= row;
    let (lines, length, step, inner) =
        if by_rows { (rows, columns, row, column) } else { (columns, rows, column, row) };
    // Not a power of two, which would bring the cache conflicts back.
    let pitch = length.next_multiple_of(16) + 16;
    for (line, to) in to.chunks_mut(pitch).take(lines).enumerate() {
        // SAFETY: promised by the caller.
        unsafe {
            let from = from.add(line * step);
            if inner == 1 {
                from.copy_to_nonoverlapping(to[..length].as_mut_ptr(), length);
            } else {
                for (i, slot) in to[..length].iter_mut().enumerate() {
                    *slot = *from.add(i * inner);
                }
            }
        }
    }
    (to.as_ptr(), if by_rows { [pitch, 1] } else { [1, pitch] })
}
