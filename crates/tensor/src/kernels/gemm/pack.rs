//! Packed operands: panels that a micro-kernel reads sequentially.
//!
//! For each step of k, a panel holds some columns of B, or some rows of A, next
//! to each other. Both are packed by the same code, as lines along k.

use std::slice;

use super::kernel::Kernels;
use crate::element::Float;
use crate::kernels::transpose::Transpose;

/// Lines of numbers: columns of B, or rows of A.
#[derive(Clone, Copy)]
pub(super) struct Lines<T> {
    pub(super) first: *const T,
    /// The distance in elements between steps of k, and between lines.
    pub(super) strides: [usize; 2],
}

impl<T: Float> Lines<T> {
    /// The same lines from some step and line on.
    pub(super) fn from(self, step: usize, line: usize) -> Self {
        let first = self.first.wrapping_add(step * self.strides[0] + line * self.strides[1]);
        Self { first, ..self }
    }

    /// Packs `count` lines of `k` numbers into panels of `width` lines, whole
    /// registers. Panels are `panel_step` apart, and their `k` rows `width` apart.
    /// The contents after the last line are unspecified.
    ///
    /// # Safety
    ///
    /// The CPU must have the kernels' instruction set, the lines must be
    /// readable, and the panels must be writable up to a whole register.
    pub(super) unsafe fn pack(
        self,
        kernels: &Kernels<T>,
        [k, count]: [usize; 2],
        to: *mut T,
        [width, panel_step]: [usize; 2],
    ) {
        let Self { first, strides: [step, line] } = self;
        let panel_of = |j: usize| to.wrapping_add(j / width * panel_step + j % width);
        // SAFETY: the caller guarantees this.
        unsafe {
            if line == 1 {
                (kernels.copy)(first, step, [k, count], to, [width, panel_step]);
            } else if step == 1 {
                for j in (0..count).step_by(kernels.lanes) {
                    let lines = kernels.lanes.min(count - j);
                    let from = (first.add(j * line), line);
                    transpose(from, [lines, k], (panel_of(j), width), kernels.lanes);
                }
            } else {
                for j in 0..count {
                    for l in 0..k {
                        *panel_of(j).add(l * width) = *first.add(l * step + j * line);
                    }
                }
            }
        }
    }
}

/// Writes the rows of a matrix as columns, each padded up to `width` with
/// zeros. Each pointer is given with the distance in elements between rows.
///
/// # Safety
///
/// The matrix must be readable and the result writable, and no other thread may
/// access the memory between its rows during the call.
pub(super) unsafe fn transpose<T: Float>(
    (from, from_step): (*const T, usize),
    [rows, columns]: [usize; 2],
    (to, to_step): (*mut T, usize),
    width: usize,
) {
    // SAFETY: the slices are from the beginning of the first row to the end of
    // the last one.
    let (from, to) = unsafe {
        (
            slice::from_raw_parts(from, (rows - 1) * from_step + columns),
            slice::from_raw_parts_mut(to, (columns - 1) * to_step + width),
        )
    };
    T::vectorised(Transpose { from, from_step, size: [rows, columns], to, to_step, width });
}
