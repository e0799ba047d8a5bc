//! Transposition of a matrix, by squares in registers.

use super::matrices::fits;
use super::vector::{Kernel, Vector};
use crate::element::Float;

/// Writes the rows of a matrix as columns:
/// `to[j * to_step + i] = from[i * from_step + j]`.
pub(crate) struct Transpose<'a, T> {
    /// The matrix, from its first element on.
    pub(crate) from: &'a [T],
    /// The distance in elements between rows of the matrix.
    pub(crate) from_step: usize,
    /// The numbers of rows and columns of the matrix.
    pub(crate) size: [usize; 2],
    /// The result.
    pub(crate) to: &'a mut [T],
    /// The distance in elements between rows of the result.
    pub(crate) to_step: usize,
    /// The number of elements that are written in each row of the result, at
    /// least the number of rows of the matrix; the additional ones are 0.
    pub(crate) width: usize,
}

impl<T: Float> Kernel<T> for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(self) {
        let Self { from, from_step, size: [all_rows, all_columns], to, to_step, width } = self;
        assert!(fits([all_rows, all_columns], [from_step, 1], from.len()), "it is too short");
        assert!(fits([all_columns, width], [to_step, 1], to.len()), "there is no room for it");
        for row in (0..width).step_by(V::LANES) {
            let (rows, wide) = (all_rows.saturating_sub(row).min(V::LANES), width - row);
            for column in (0..all_columns).step_by(V::LANES) {
                let columns = (all_columns - column).min(V::LANES);
                let first = from.as_ptr().wrapping_add(row * from_step + column);
                let offset = |j: usize| (column + j) * to_step + row;
                if rows == V::LANES && columns == V::LANES {
                    // SAFETY: the whole square is within the matrix, and the assertion has
                    // checked that the matrix is within the slice.
                    let square = unsafe { V::load_columns(first, from_step) };
                    for (j, value) in square.as_ref().iter().enumerate() {
                        // SAFETY: this many elements are written in each row of the result, and
                        // the assertion has checked that they are within the slice.
                        value.store(unsafe {
                            to.get_unchecked_mut(offset(j)..offset(j) + V::LANES)
                        });
                    }
                } else {
                    // SAFETY: the rows of the square exist, and are within the slice as above.
                    let square = unsafe { load_part::<T, V>(first, from_step, [rows, columns]) };
                    for (j, value) in square.as_ref().iter().enumerate().take(columns) {
                        value.store_part(&mut to[offset(j)..][..wide.min(V::LANES)]);
                    }
                }
            }
        }
    }
}

/// The columns of a square of which only some rows and columns exist; the others are 0.
///
/// # Safety
///
/// `columns` numbers can be read in each of the rows, `step` apart; both are at most the number of
/// lanes.
#[inline(always)]
pub(super) unsafe fn load_part<T: Float, V: Vector<T>>(
    from: *const T,
    step: usize,
    [rows, columns]: [usize; 2],
) -> V::Square {
    /// The elements of a square of the widest vectors.
    const SQUARE: usize = 16 * 16;
    let mut room = [T::ZERO; SQUARE];
    for (i, to) in room.chunks_exact_mut(V::LANES).enumerate().take(rows) {
        // SAFETY: guaranteed by the caller.
        unsafe { V::load_first(from.wrapping_add(i * step), columns) }.store(to);
    }
    // SAFETY: the room has the elements of the square.
    unsafe { V::load_columns(room.as_ptr(), V::LANES) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::{f32_each, f64_each};

    /// Transposes consecutive numbers, into memory whose other elements must
    /// not change.
    #[derive(Clone)]
    struct Case {
        size: [usize; 2],
        width: usize,
    }

    impl<T: Float> Kernel<T> for Case {
        type Output = Vec<f64>;

        #[inline(always)]
        fn run<V: Vector<T>>(self) -> Vec<f64> {
            let Self { size: [rows, columns], width } = self;
            let from: Vec<T> = (0..rows * (columns + 3)).map(|i| T::from_f64(i as f64)).collect();
            let mut to = vec![T::from_f64(-1.0); columns * (width + 2)];
            let (from_step, to_step) = (columns + 3, width + 2);
            Transpose {
                from: &from,
                from_step,
                size: [rows, columns],
                to: &mut to,
                to_step,
                width,
            }
            .run::<V>();
            to.into_iter().map(T::to_f64).collect()
        }
    }

    #[test]
    fn rows_become_columns() {
        for rows in [1_usize, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
            for columns in [1, 3, 4, 6, 8, 11, 16, 18, 32, 35] {
                for width in [rows, rows + 1, rows.next_multiple_of(32)] {
                    let mut expected = vec![-1.0; columns * (width + 2)];
                    for j in 0..columns {
                        for i in 0..width {
                            let from = (i * (columns + 3) + j) as f64;
                            expected[j * (width + 2) + i] = if i < rows { from } else { 0.0 };
                        }
                    }
                    let case = Case { size: [rows, columns], width };
                    let mut found = f32_each(&case);
                    found.extend(f64_each(&case));
                    for found in found {
                        assert_eq!(found, expected, "{rows} rows, {columns} columns, {width} wide");
                    }
                }
            }
        }
    }
}
