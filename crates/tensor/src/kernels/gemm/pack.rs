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
    /// Elements from one step of k to the next, and from one line to the next.
    pub(super) strides: [usize; 2],
}

impl<T: Float> Lines<T> {
    /// The same lines from some step and line on.
    pub(super) fn from(self, step: usize, line: usize) -> Self {
        let first = self.first.wrapping_add(step * self.strides[0] + line * self.strides[1]);
        Self { first, ..self }
    }

    /// Packs `count` lines of `k` numbers into panels of two registers or less.
    /// Panels are `panel_step` apart, and their `k` rows `width` apart. The
    /// contents after the last line are unspecified.
    ///
    /// # Safety
    ///
    /// The CPU has the kernels' instruction set, the lines can be read, and the
    /// panels can be written up to a whole register.
    pub(super) unsafe fn pack(
        self,
        kernels: &Kernels<T>,
        [k, count]: [usize; 2],
        to: *mut T,
        [width, panel_step]: [usize; 2],
    ) {
        let Self { first, strides: [step, line] } = self;
        let place = |j: usize| {
            let panel = 2 * kernels.lanes;
            to.wrapping_add(j / panel * panel_step + j % panel)
        };
        // SAFETY: the caller guarantees this.
        unsafe {
            if line == 1 {
                (kernels.copy)(first, step, [k, count], to, [width, panel_step]);
            } else if step == 1 {
                for j in (0..count).step_by(kernels.lanes) {
                    let lines = kernels.lanes.min(count - j);
                    let from = (first.add(j * line), line);
                    transpose(from, [lines, k], (place(j), width), kernels.lanes);
                }
            } else {
                for j in 0..count {
                    for l in 0..k {
                        *place(j).add(l * width) = *first.add(l * step + j * line);
                    }
                }
            }
        }
    }
}

/// Writes the rows of a matrix as columns, each padded up to `width` with
/// zeros. Each pointer comes with the elements from one row to the next.
///
/// # Safety
///
/// The matrix can be read and the result written, and nothing else accesses the
/// memory between its rows meanwhile.
pub(super) unsafe fn transpose<T: Float>(
    (from, from_step): (*const T, usize),
    [rows, columns]: [usize; 2],
    (to, to_step): (*mut T, usize),
    width: usize,
) {
    // SAFETY: from the beginning of the first row to the end of the last one.
    let (from, to) = unsafe {
        (
            slice::from_raw_parts(from, (rows - 1) * from_step + columns),
            slice::from_raw_parts_mut(to, (columns - 1) * to_step + width),
        )
    };
    T::vectorised(Transpose { from, from_step, size: [rows, columns], to, to_step, width });
}
