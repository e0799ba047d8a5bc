//! Grids and combinations of elements, and the indices of triangles of a
//! matrix. The functions of elements are written once, for the trait
//! [`Ops`](crate::Ops) and for tensors of any element type.

use super::combinations;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! combination_functions {
    ($($pub:tt)?) => {
        /// The coordinates of a grid over these vectors: for each vector a
        /// tensor of the grid's shape, in which the vector varies along its own
        /// axis (PyTorch's indexing `ij`; for `xy`, use `transpose(0, 1)` of
        /// each). A scalar counts as a vector of one element. Nothing is
        /// copied.
        ///
        /// # Errors
        ///
        /// When a tensor has more than one axis, or the grid would not fit into
        /// memory.
        ///
        /// ```
        /// use dendra_tensor::Tensor;
        ///
        /// let (y, x) = (Tensor::from([1, 2_i64]), Tensor::from([7, 8, 9]));
        /// let grid = Tensor::meshgrid(&[&y, &x]).unwrap();
        /// assert_eq!(grid[0], Tensor::from([[1, 1, 1], [2, 2, 2]]));
        /// assert_eq!(grid[1], Tensor::from([[7, 8, 9], [7, 8, 9]]));
        /// ```
        $($pub)? fn meshgrid(vectors: &[&Self]) -> Result<Vec<Self>> {
            if let Some(other) = vectors.iter().find(|vector| vector.value().rank() > 1) {
                let message = format!("expected vectors, got shape {}", other.value().shape());
                return Err(Error::shape("meshgrid", message));
            }
            let shape: Shape = vectors.iter().map(|vector| vector.value().len()).collect();
            // Before a vector is copied; an element of any type has at least
            // one byte.
            shape.check_memory::<u8>("meshgrid")?;
            let along = |(axis, vector): (usize, &&Self)| {
                let mut column = vec![1; shape.len()];
                column[axis] = shape[axis];
                vector.reshape(column)?.broadcast_to(&shape)
            };
            vectors.iter().enumerate().map(along).collect()
        }

        /// Every choice of one element from each vector, as rows of `[choices,
        /// vectors]` in which the last vector varies fastest; for one vector,
        /// its elements.
        ///
        /// # Errors
        ///
        /// When no vector is given, an argument is not a vector, or there are
        /// too many choices for the memory.
        $($pub)? fn cartesian_prod(vectors: &[&Self]) -> Result<Self> {
            if let Some(other) = vectors.iter().find(|vector| vector.value().rank() != 1) {
                let message = format!("expected vectors, got shape {}", other.value().shape());
                return Err(Error::shape("cartesian_prod", message));
            }
            if let [vector] = vectors {
                return Ok((*vector).clone());
            }
            let grid = Self::meshgrid(vectors)?;
            let columns = grid.iter().map(|x| x.flatten(0, -1)).collect::<Result<Vec<Self>>>()?;
            Self::stack(&columns.iter().collect::<Vec<_>>(), 1)
        }

        /// Every choice of `size` elements of a vector, in their order, as rows
        /// of `[choices, size]`; with `replacement` an element can be chosen
        /// several times.
        ///
        /// # Errors
        ///
        /// When the tensor is not a vector, or there are too many choices for
        /// the memory.
        $($pub)? fn combinations(&self, size: usize, replacement: bool) -> Result<Self> {
            let [length] = **self.value().shape() else {
                let message = format!("expected a vector, got shape {}", self.value().shape());
                return Err(Error::shape("combinations", message));
            };
            if size == 0 {
                return self.narrow(0, 0, 0);
            }
            let chosen = combinations::chosen(length, size, replacement)?;
            self.index_select(0, &chosen)?.reshape([chosen.len() / size, size])
        }
    };
}

pub(super) use combination_functions;

/// The indices of all combinations, concatenated, in lexicographic order.
pub(super) fn chosen(length: usize, size: usize, replacement: bool) -> Result<Vec<usize>> {
    let too_many = || {
        let message = format!("there are too many combinations of {size} of {length} elements");
        Error::argument("combinations", message)
    };
    let mut chosen = Vec::new();
    // With replacement there are as many combinations as without, of more
    // elements.
    let of = match (length, replacement) {
        (1.., true) => length.checked_add(size - 1).ok_or_else(too_many)?,
        _ => length,
    };
    if size > of {
        return Ok(chosen);
    }
    let mut count = 1_u128;
    for i in 1..=size.min(of - size) as u128 {
        count = count * (of as u128 + 1 - i) / i;
        if count > u64::MAX.into() {
            return Err(too_many());
        }
    }
    let shape = Shape::from([usize::try_from(count).map_err(|_| too_many())?, size]);
    shape.check_memory::<usize>("combinations")?;
    let count = shape.elements();
    let next = usize::from(!replacement);
    chosen.extend((0..size).map(|i| i * next));
    while chosen.len() < count {
        // Increment the last position that can be incremented, and reset those
        // after it.
        let start = chosen.len();
        chosen.extend_from_within(start - size..);
        let row = &mut chosen[start..];
        let highest = |i: usize| length - 1 - (size - 1 - i) * next;
        let last = (0..size).rev().find(|&i| row[i] < highest(i)).expect("not yet the last row");
        let value = row[last] + 1;
        for (i, slot) in row[last..].iter_mut().enumerate() {
            *slot = value + i * next;
        }
    }
    Ok(chosen)
}

impl<T: Element> Tensor<T> {
    combination_functions! { pub }
}

/// The indices of triangles of a matrix.
impl Tensor<i64> {
    /// The row indices, then the column indices, of the elements on and below a
    /// diagonal of a matrix, `offset` above the main diagonal: `[2, elements]`.
    ///
    /// # Errors
    ///
    /// When there are too many for the memory.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let indices = Tensor::tril_indices(2, 3, 0).unwrap();
    /// assert_eq!(indices, Tensor::from([[0, 1, 1], [0, 0, 1]]));
    /// ```
    pub fn tril_indices(rows: usize, columns: usize, offset: isize) -> Result<Self> {
        let offset = offset as i128;
        let first = (-offset).max(0) as usize;
        triangle("tril_indices", first, below(rows, columns, offset + 1), |row| {
            0..clamped(row as i128 + offset + 1, columns)
        })
    }

    /// The row indices, then the column indices, of the elements on and above a
    /// diagonal of a matrix, `offset` above the main diagonal: `[2, elements]`.
    ///
    /// # Errors
    ///
    /// When there are too many for the memory.
    pub fn triu_indices(rows: usize, columns: usize, offset: isize) -> Result<Self> {
        let offset = offset as i128;
        triangle("triu_indices", 0, below(columns, rows, 1 - offset), |row| {
            clamped(row as i128 + offset, columns)..columns
        })
    }
}

/// A column index limited to `0 ..= columns`.
fn clamped(column: i128, columns: usize) -> usize {
    column.clamp(0, columns as i128) as usize
}

/// The number of elements of a matrix whose column is less than their row plus
/// `offset`.
fn below(rows: usize, columns: usize, offset: i128) -> i128 {
    let [rows, columns] = [rows, columns].map(|length| length as i128);
    // Rows with some of the columns, then rows with all of them.
    let some = (1 - offset).clamp(0, rows);
    let all = (columns - offset).clamp(some, rows);
    let twice = (all - some).saturating_mul(some + all - 1 + 2 * offset);
    (twice / 2).saturating_add((rows - all).saturating_mul(columns))
}

/// The row and column indices of `count` elements; `columns` gives the columns
/// of each row, beginning with row `first`.
fn triangle(
    context: &str,
    first: usize,
    count: i128,
    columns: impl Fn(usize) -> std::ops::Range<usize>,
) -> Result<Tensor<i64>> {
    let shape = Shape::from([2, usize::try_from(count).unwrap_or(usize::MAX)]);
    shape.check_memory::<i64>(context)?;
    let count = shape[1];
    let (mut indices, mut in_row) = (Vec::new(), Vec::new());
    for row in first.. {
        if indices.len() == count {
            break;
        }
        for column in columns(row) {
            indices.push(row as i64);
            in_row.push(column as i64);
        }
    }
    indices.append(&mut in_row);
    Tensor::from_vec(indices, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: PyTorch's.
    #[test]
    fn choices_of_elements() {
        let (a, b) = (Tensor::from([1, 2_i64]), Tensor::from([3, 4, 5]));
        let all = Tensor::cartesian_prod(&[&a, &b]).unwrap();
        assert_eq!(all, Tensor::from([[1, 3], [1, 4], [1, 5], [2, 3], [2, 4], [2, 5]]));
        assert_eq!(Tensor::cartesian_prod(&[&a]).unwrap(), a);
        assert!(Tensor::<i64>::cartesian_prod(&[]).is_err());
        assert!(Tensor::cartesian_prod(&[&a, &all]).is_err());

        let pairs = b.combinations(2, false).unwrap();
        assert_eq!(pairs, Tensor::from([[3, 4], [3, 5], [4, 5]]));
        let pairs = a.combinations(2, true).unwrap();
        assert_eq!(pairs, Tensor::from([[1, 1], [1, 2], [2, 2]]));
        assert_eq!(b.combinations(3, true).unwrap().shape()[0], 10);
        let triples = Tensor::<i64>::arange(5).combinations(3, false).unwrap();
        assert_eq!(triples.select(0, 6).unwrap().to_vec(), [1, 2, 3]);
        assert_eq!(*triples.shape(), [10, 3]);
        assert_eq!(*a.combinations(3, false).unwrap().shape(), [0, 3]);
        assert_eq!(*a.combinations(0, false).unwrap().shape(), [0]);
        let nothing = Tensor::<i64>::zeros([0]);
        assert_eq!(*nothing.combinations(2, true).unwrap().shape(), [0, 2]);
        assert!(a.combinations(usize::MAX, true).is_err() && all.combinations(1, true).is_err());
        let many = Tensor::<u8>::zeros([1000]);
        assert!(many.combinations(500, false).is_err() && many.combinations(12, true).is_err());
    }

    #[test]
    fn grids_of_vectors() {
        let x = Tensor::from([3, 4_i64]);
        let grid = Tensor::meshgrid(&[&Tensor::scalar(5), &x]).unwrap();
        assert_eq!((grid[0].to_vec(), grid[1].to_vec()), (vec![5, 5], vec![3, 4]));
        assert!(Tensor::meshgrid(&[&grid[0]]).is_err());
        let wide = Tensor::scalar(0_i64).stretched([1 << 40].into());
        assert!(Tensor::meshgrid(&[&wide, &wide]).is_err());
    }

    #[test]
    fn triangles_have_indices() {
        for (rows, columns) in [(3, 4), (4, 2), (0, 3), (2, 0)] {
            for offset in -5..6 {
                let ones = Tensor::<i64>::ones([rows, columns]);
                let expected = |part: Tensor<i64>| part.nonzero().transpose(0, 1).unwrap();
                let lower = Tensor::tril_indices(rows, columns, offset).unwrap();
                assert_eq!(lower, expected(ones.tril(offset).unwrap()));
                let upper = Tensor::triu_indices(rows, columns, offset).unwrap();
                assert_eq!(upper, expected(ones.triu(offset).unwrap()));
            }
        }
        assert!(Tensor::tril_indices(usize::MAX, usize::MAX, isize::MAX).is_err());
        assert!(Tensor::triu_indices(usize::MAX, usize::MAX, isize::MIN).is_err());
        let corner = Tensor::tril_indices(1 << 60, 1 << 60, 1 - (1 << 60)).unwrap();
        assert_eq!(corner, Tensor::from([[(1 << 60) - 1], [0_i64]]));
        let corner = Tensor::triu_indices(1 << 60, 1 << 60, (1 << 60) - 1).unwrap();
        assert_eq!(corner, Tensor::from([[0], [(1 << 60) - 1_i64]]));
        assert!(Tensor::tril_indices(usize::MAX, 0, 0).unwrap().is_empty());
    }
}
