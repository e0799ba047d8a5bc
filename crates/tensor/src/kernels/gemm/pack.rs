//! Packed operands: panels that a micro-kernel reads sequentially.
//!
//! For each step of k, a panel holds some columns of B, or some rows of A, next
//! to each other. Both are packed by the same code, as lines along k.

use std::slice;

use super::driver::K_BLOCK;
use super::kernel::Kernels;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::transpose::Transpose;

/// Converts consecutive halves, given as their bits, to numbers.
///
/// # Safety
///
/// As many halves can be read as the slice has elements.
pub(super) type Widen<T> = unsafe fn(*const u16, &mut [T]);

/// Lines of numbers: columns of B, or rows of A.
#[derive(Clone, Copy)]
pub(super) struct Lines<T> {
    /// The first number, or half if there is a conversion.
    pub(super) first: *const T,
    /// The distance in elements between steps of k, and between lines.
    pub(super) strides: [usize; 2],
    /// The conversion of numbers that are stored as halves. Such lines cannot
    /// be read in place.
    pub(super) widen: Option<Widen<T>>,
}

impl<T: Float> Lines<T> {
    /// The same lines from some step and line on.
    pub(super) fn from(self, step: usize, line: usize) -> Self {
        let offset = step * self.strides[0] + line * self.strides[1];
        let first = match self.widen {
            None => self.first.wrapping_add(offset),
            Some(_) => self.first.cast::<u16>().wrapping_add(offset).cast(),
        };
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
        if let Some(widen) = self.widen {
            // SAFETY: the caller guarantees this.
            return unsafe {
                self.pack_halves(widen, kernels, [k, count], to, [width, panel_step])
            };
        }
        let Self { first, strides: [step, line], .. } = self;
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

impl<T: Float> Lines<T> {
    /// [`pack`](Self::pack) of numbers that are stored as halves: some of them
    /// are converted to the first-level cache and packed from there.
    ///
    /// # Safety
    ///
    /// That of [`pack`](Self::pack).
    unsafe fn pack_halves(
        self,
        widen: Widen<T>,
        kernels: &Kernels<T>,
        [k, count]: [usize; 2],
        to: *mut T,
        [width, panel_step]: [usize; 2],
    ) {
        let [step, line] = self.strides;
        let halves = |l: usize, j: usize| self.from(l, j).first.cast::<u16>();
        let panel_of = |j: usize| to.wrapping_add(j / width * panel_step + j % width);
        let mut room = Buffer::<T>::new(kernels.lanes * K_BLOCK);
        let room = room.as_mut_slice();
        if line == 1 {
            // Whole panels of some rows at a time.
            let most = room.len() / width * width;
            for l in 0..k {
                for j in (0..count).step_by(most) {
                    let numbers = &mut room[..most.min(count - j)];
                    let size = [1, numbers.len()];
                    // SAFETY: the halves can be read, and the panels written.
                    unsafe {
                        widen(halves(l, j), numbers);
                        let to = panel_of(j).wrapping_add(l * width);
                        (kernels.copy)(numbers.as_ptr(), 0, size, to, [width, panel_step]);
                    }
                }
            }
            return;
        }
        for j in (0..count).step_by(kernels.lanes) {
            let lines = kernels.lanes.min(count - j);
            for l in (0..k).step_by(K_BLOCK) {
                let length = K_BLOCK.min(k - l);
                for (i, numbers) in room.chunks_exact_mut(K_BLOCK).take(lines).enumerate() {
                    let numbers = &mut numbers[..length];
                    if step == 1 {
                        // SAFETY: the halves of a line can be read.
                        unsafe { widen(halves(l, j + i), numbers) };
                        continue;
                    }
                    for (m, number) in numbers.iter_mut().enumerate() {
                        // SAFETY: as above.
                        unsafe { widen(halves(l + m, j + i), slice::from_mut(number)) };
                    }
                }
                let from = (room.as_ptr(), K_BLOCK);
                let to = (panel_of(j).wrapping_add(l * width), width);
                // SAFETY: the lines were written, and the panels can be written.
                unsafe { transpose(from, [lines, length], to, kernels.lanes) };
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
