//! Joining along the first, second and third axis, cutting into pieces, and
//! tables of combinations. The functions are composed of others and written
//! once, for the trait [`Ops`](crate::Ops) and for tensors of any element type
//! alike.

use super::stacking;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Where an axis is cut: into a number of pieces or at some indices.
///
/// ```
/// use dendra_tensor::Tensor;
///
/// let x = Tensor::<i64>::arange(5);
/// let lengths = |pieces: Vec<Tensor<i64>>| pieces.iter().map(Tensor::len).collect::<Vec<_>>();
/// assert_eq!(lengths(x.tensor_split(3, 0).unwrap()), [2, 2, 1]);
/// assert_eq!(lengths(x.tensor_split([1, -1], 0).unwrap()), [1, 3, 1]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sections {
    /// So many pieces of equal length; the first ones are one longer when the
    /// axis does not divide evenly.
    Count(usize),
    /// Before each of these indices, with the rules of Python's slices: a
    /// negative index counts from the end, and one beyond an end of the axis
    /// counts as that end.
    At(Vec<isize>),
}

impl From<usize> for Sections {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl<const N: usize> From<[isize; N]> for Sections {
    fn from(indices: [isize; N]) -> Self {
        Self::At(indices.into())
    }
}

impl From<&[isize]> for Sections {
    fn from(indices: &[isize]) -> Self {
        Self::At(indices.into())
    }
}

impl Sections {
    /// The start and the length of each piece of an axis of this length.
    fn pieces(&self, place: &str, length: usize) -> Result<Vec<(usize, usize)>> {
        let mut pieces = Vec::new();
        match self {
            Self::Count(0) => {
                return Err(Error::argument(place, "the number of pieces must be at least 1"));
            }
            Self::Count(count) => {
                pieces.try_reserve_exact(*count).map_err(|_| {
                    Error::argument(place, format!("{count} pieces are too many for the memory"))
                })?;
                let (each, longer) = (length / count, length % count);
                let start = |piece: usize| piece * each + piece.min(longer);
                pieces.extend((0..*count).map(|i| (start(i), each + usize::from(i < longer))));
            }
            Self::At(indices) => {
                let clamped = |index: &isize| match *index {
                    index @ ..0 => length.saturating_sub(index.unsigned_abs()),
                    index => length.min(index.unsigned_abs()),
                };
                let mut start = 0;
                for end in indices.iter().map(clamped).chain([length]) {
                    pieces.push((start, end.saturating_sub(start)));
                    start = end;
                }
            }
        }
        Ok(pieces)
    }

    /// Refuses a number of pieces that are not all of the same length.
    pub(super) fn check_even(&self, place: &str, shape: &Shape, axis: usize) -> Result<()> {
        match self {
            &Self::Count(count @ 1..) if !shape[axis].is_multiple_of(count) => {
                let message =
                    format!("axis {axis} of {shape} has not {count} pieces of one length");
                Err(Error::shape(place, message))
            }
            _ => Ok(()),
        }
    }
}

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! stacking_functions {
    ($($pub:tt)?) => {
        /// The same, or a scalar as a vector of one element.
        $($pub)? fn atleast_1d(&self) -> Self {
            match self.value().rank() {
                0 => self.reshape([1]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// The same, or a vector of `n` elements as `[1, n]`, a scalar as
        /// `[1, 1]`.
        $($pub)? fn atleast_2d(&self) -> Self {
            match **self.value().shape() {
                [] => self.reshape([1, 1]).expect("the same elements"),
                [n] => self.reshape([1, n]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// The same, or a matrix as `[m, n, 1]`, a vector as `[1, n, 1]`, a
        /// scalar as `[1, 1, 1]`.
        $($pub)? fn atleast_3d(&self) -> Self {
            match **self.value().shape() {
                [] => self.reshape([1, 1, 1]).expect("the same elements"),
                [n] => self.reshape([1, n, 1]).expect("the same elements"),
                [m, n] => self.reshape([m, n, 1]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// Joined along the second axis, vectors and scalars along the first.
        ///
        /// # Errors
        ///
        /// When there are none or their shapes differ outside that axis.
        $($pub)? fn hstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_1d()).collect();
            let axis = values.first().map_or(0, |first| first.value().rank().min(2) as isize - 1);
            Self::cat(&values.iter().collect::<Vec<_>>(), axis)
        }

        /// Joined along the first axis, vectors and scalars as rows of a
        /// matrix.
        ///
        /// # Errors
        ///
        /// When there are none or their shapes differ outside that axis.
        $($pub)? fn vstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_2d()).collect();
            Self::cat(&values.iter().collect::<Vec<_>>(), 0)
        }

        /// Joined along the third axis, after
        /// [`atleast_3d`](Self::atleast_3d).
        ///
        /// # Errors
        ///
        /// When there are none or their shapes differ outside that axis.
        $($pub)? fn dstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_3d()).collect();
            Self::cat(&values.iter().collect::<Vec<_>>(), 2)
        }

        /// Joined along the second axis, vectors and scalars as columns of a
        /// matrix.
        ///
        /// # Errors
        ///
        /// When there are none or their shapes differ outside that axis.
        $($pub)? fn column_stack(values: &[&Self]) -> Result<Self> {
            let column = |value: &&Self| match value.value().rank() {
                0 | 1 => value.reshape([value.value().len(), 1]),
                _ => Ok((*value).clone()),
            };
            let values = values.iter().map(column).collect::<Result<Vec<Self>>>()?;
            Self::cat(&values.iter().collect::<Vec<_>>(), 1)
        }

        /// Matrices along the diagonal of a matrix with zeros elsewhere;
        /// vectors and scalars count as matrices of one row.
        ///
        /// # Errors
        ///
        /// When there are none or one has more than two axes.
        $($pub)? fn block_diag(values: &[&Self]) -> Result<Self> {
            if let Some(other) = values.iter().find(|value| value.value().rank() > 2) {
                let message = format!("expected matrices, got shape {}", other.value().shape());
                return Err(Error::shape("block_diag", message));
            }
            let blocks: Vec<Self> = values.iter().map(|value| value.atleast_2d()).collect();
            let columns = |blocks: &[Self]| -> usize {
                blocks.iter().map(|block| block.value().shape()[1]).sum()
            };
            let row = |(i, block): (usize, &Self)| {
                let zeros = |columns| {
                    let shape = [block.value().shape()[0], columns];
                    Self::constant(Tensor::full(shape, Default::default()))
                };
                let [before, behind] = [&blocks[..i], &blocks[i + 1..]].map(columns);
                Self::cat(&[&zeros(before), block, &zeros(behind)], 1)
            };
            let rows = blocks.iter().enumerate().map(row).collect::<Result<Vec<Self>>>()?;
            Self::cat(&rows.iter().collect::<Vec<_>>(), 0)
        }

        /// Pieces of an axis; see [`Sections`].
        ///
        /// # Errors
        ///
        /// When the axis does not exist, or there are to be no pieces or too
        /// many for the memory.
        $($pub)? fn tensor_split(
            &self,
            sections: impl Into<Sections>,
            axis: isize,
        ) -> Result<Vec<Self>> {
            stacking::pieces("tensor_split", self.value().shape(), axis, &sections.into())?
                .into_iter()
                .map(|(start, length)| self.narrow(axis, start, length))
                .collect()
        }

        /// Pieces of the second axis, or of a vector; those of a number of
        /// pieces have one length.
        ///
        /// # Errors
        ///
        /// As those of [`tensor_split`](Self::tensor_split), and when the axis
        /// does not divide evenly into so many pieces.
        $($pub)? fn hsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            let axis = shape.len().clamp(1, 2) - 1;
            shape.axis("hsplit", axis as isize)?;
            sections.check_even("hsplit", shape, axis)?;
            self.tensor_split(sections, axis as isize)
        }

        /// Pieces of the first axis of a tensor of two axes or more; those of a
        /// number of pieces have one length.
        ///
        /// # Errors
        ///
        /// As those of [`hsplit`](Self::hsplit).
        $($pub)? fn vsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            shape.axis("vsplit", 1)?;
            sections.check_even("vsplit", shape, 0)?;
            self.tensor_split(sections, 0)
        }

        /// Pieces of the third axis; those of a number of pieces have one
        /// length.
        ///
        /// # Errors
        ///
        /// As those of [`hsplit`](Self::hsplit).
        $($pub)? fn dsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            shape.axis("dsplit", 2)?;
            sections.check_even("dsplit", shape, 2)?;
            self.tensor_split(sections, 2)
        }

        /// All stretched to the shape that they broadcast to.
        ///
        /// # Errors
        ///
        /// When the shapes do not broadcast.
        $($pub)? fn broadcast_tensors(values: &[&Self]) -> Result<Vec<Self>> {
            let shape = values.iter().try_fold(Shape::scalar(), |shape, value| {
                shape.broadcast(value.value().shape(), "broadcast_tensors")
            })?;
            values.iter().map(|value| value.broadcast_to(&shape)).collect()
        }

        /// The order of the columns of a matrix reversed: of the second axis.
        ///
        /// # Errors
        ///
        /// When there are fewer than two axes.
        $($pub)? fn fliplr(&self) -> Result<Self> {
            self.value().shape().axis("fliplr", 1)?;
            self.flip(&[1])
        }

        /// The order of the rows of a matrix reversed: of the first axis.
        ///
        /// # Errors
        ///
        /// When there is no axis.
        $($pub)? fn flipud(&self) -> Result<Self> {
            self.value().shape().axis("flipud", 0)?;
            self.flip(&[0])
        }

        /// Every choice of one element of each vector, as rows of
        /// `[choices, vectors]`, the last vector's elements first; of one
        /// vector alone its elements.
        ///
        /// # Errors
        ///
        /// When there are none, one of them is no vector, or there are too many
        /// choices.
        $($pub)? fn cartesian_prod(vectors: &[&Self]) -> Result<Self> {
            if let Some(other) = vectors.iter().find(|vector| vector.value().rank() != 1) {
                let message = format!("expected vectors, got shape {}", other.value().shape());
                return Err(Error::shape("cartesian_prod", message));
            }
            if let [vector] = vectors {
                return Ok((*vector).clone());
            }
            let grid: Shape = vectors.iter().map(|vector| vector.value().len()).collect();
            let column = |(axis, vector): (usize, &&Self)| {
                let mut along = vec![1; grid.len()];
                along[axis] = grid[axis];
                vector.reshape(along)?.broadcast_to(&grid)?.flatten(0, -1)
            };
            let columns = vectors.iter().enumerate().map(column).collect::<Result<Vec<Self>>>()?;
            Self::stack(&columns.iter().collect::<Vec<_>>(), 1)
        }

        /// Every choice of `size` elements of a vector in their order, as rows
        /// of `[choices, size]`; with `replacement` an element can be chosen
        /// again.
        ///
        /// # Errors
        ///
        /// When it is no vector or there are too many choices for the memory.
        $($pub)? fn combinations(&self, size: usize, replacement: bool) -> Result<Self> {
            let [length] = **self.value().shape() else {
                let message = format!("expected a vector, got shape {}", self.value().shape());
                return Err(Error::shape("combinations", message));
            };
            if size == 0 {
                return self.narrow(0, 0, 0);
            }
            let chosen = stacking::combinations(length, size, replacement)?;
            self.index_select(0, &chosen)?.reshape([chosen.len() / size, size])
        }
    };
}

pub(super) use stacking_functions;

/// The start and the length of each piece of an axis.
pub(super) fn pieces(
    place: &str,
    shape: &Shape,
    axis: isize,
    sections: &Sections,
) -> Result<Vec<(usize, usize)>> {
    sections.pieces(place, shape[shape.axis(place, axis)?])
}

/// The indices of all combinations, one behind the other, in lexicographic
/// order.
pub(super) fn combinations(length: usize, size: usize, replacement: bool) -> Result<Vec<usize>> {
    let too_many = || {
        let message = format!("the choices of {size} of {length} elements are too many");
        Error::argument("combinations", message)
    };
    let mut chosen = Vec::new();
    // With replacement as many as without, of more elements.
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
    let count = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
    let count = count.ok_or_else(too_many)?;
    chosen.try_reserve_exact(count).map_err(|_| too_many())?;
    let next = usize::from(!replacement);
    chosen.extend((0..size).map(|i| i * next));
    while chosen.len() < count {
        // The last position that can go on does; those behind it follow it.
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
    stacking_functions! { pub }
}

/// Where elements of triangles lie.
impl Tensor<i64> {
    /// The rows, then the columns, of the elements of a matrix that lie on a
    /// diagonal, `offset` above the main one, or below it: `[2, elements]`.
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

    /// The rows, then the columns, of the elements of a matrix that lie on a
    /// diagonal, `offset` above the main one, or above it: `[2, elements]`.
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

/// A number of columns, of which there are `columns`.
fn clamped(column: i128, columns: usize) -> usize {
    column.clamp(0, columns as i128) as usize
}

/// How many elements of a matrix have a column below their row plus `offset`.
fn below(rows: usize, columns: usize, offset: i128) -> i128 {
    let [rows, columns] = [rows, columns].map(|length| length as i128);
    // Rows with some of the columns, then rows with all of them.
    let some = (1 - offset).clamp(0, rows);
    let all = (columns - offset).clamp(some, rows);
    let twice = (all - some).saturating_mul(some + all - 1 + 2 * offset);
    (twice / 2).saturating_add((rows - all).saturating_mul(columns))
}

/// The rows and the columns of `count` elements, of those that `columns` gives
/// for the rows from the first on.
fn triangle(
    place: &str,
    first: usize,
    count: i128,
    columns: impl Fn(usize) -> std::ops::Range<usize>,
) -> Result<Tensor<i64>> {
    let (mut indices, mut in_row) = (Vec::new(), Vec::new());
    let reserved = usize::try_from(count).ok().and_then(|count| {
        indices.try_reserve_exact(count.checked_mul(2)?).ok()?;
        in_row.try_reserve_exact(count).ok()?;
        Some(count)
    });
    let Some(count) = reserved else {
        return Err(Error::argument(
            place,
            format!("{count} elements are too many for the memory"),
        ));
    };
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
    Tensor::from_vec(indices, [2, count])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pieces: Result<Vec<Tensor<i64>>>, axis: usize) -> Vec<usize> {
        pieces.unwrap().iter().map(|piece| piece.shape()[axis]).collect()
    }

    /// Expected values here and below: PyTorch's.
    #[test]
    fn stacks_of_vectors_and_matrices() {
        let (a, b) = (Tensor::from([1, 2_i64]), Tensor::from([3, 4]));
        let matrix = Tensor::from([[1, 2], [3, 4_i64]]);
        assert_eq!(Tensor::hstack(&[&a, &b]).unwrap().to_vec(), [1, 2, 3, 4]);
        assert_eq!(Tensor::hstack(&[&matrix, &matrix]).unwrap().to_vec(), [1, 2, 1, 2, 3, 4, 3, 4]);
        assert_eq!(Tensor::vstack(&[&a, &matrix]).unwrap(), Tensor::from([[1, 2], [1, 2], [3, 4]]));
        assert_eq!(Tensor::dstack(&[&a, &b]).unwrap(), Tensor::from([[[1, 3], [2, 4]]]));
        let columns = Tensor::column_stack(&[&a, &matrix, &b]).unwrap();
        assert_eq!(columns, Tensor::from([[1, 1, 2, 3], [2, 3, 4, 4]]));
        let one = Tensor::scalar(7_i64);
        assert_eq!(Tensor::hstack(&[&one, &a]).unwrap().to_vec(), [7, 1, 2]);
        assert_eq!(*Tensor::vstack(&[&one, &one]).unwrap().shape(), [2, 1]);
        assert_eq!(*Tensor::column_stack(&[&one, &one]).unwrap().shape(), [1, 2]);
        let ranks = [one.atleast_1d(), one.atleast_2d(), one.atleast_3d(), matrix.atleast_3d()];
        assert_eq!(
            ranks.map(|x| x.shape().to_vec()),
            [vec![1], vec![1; 2], vec![1; 3], vec![2, 2, 1]]
        );
        assert!(Tensor::<i64>::hstack(&[]).is_err() && Tensor::<i64>::column_stack(&[]).is_err());
        assert!(Tensor::vstack(&[&a, &Tensor::from([1])]).is_err());
        let flags = Tensor::from([true, false]);
        assert_eq!(*Tensor::vstack(&[&flags, &flags]).unwrap().shape(), [2, 2]);
    }

    #[test]
    fn matrices_along_a_diagonal() {
        let (a, b) = (Tensor::from([[1, 2], [3, 4_i64]]), Tensor::from([5, 6]));
        let blocks = Tensor::block_diag(&[&a, &Tensor::scalar(7), &b]).unwrap();
        let expected = [[1, 2, 0, 0, 0], [3, 4, 0, 0, 0], [0, 0, 7, 0, 0], [0, 0, 0, 5, 6]];
        assert_eq!(blocks, Tensor::from(expected));
        let empty = Tensor::<i64>::zeros([0, 2]);
        assert_eq!(*Tensor::block_diag(&[&empty, &b]).unwrap().shape(), [1, 4]);
        assert!(Tensor::<i64>::block_diag(&[]).is_err());
        assert!(Tensor::block_diag(&[&a.unsqueeze(0).unwrap()]).is_err());
    }

    #[test]
    fn pieces_by_count_and_by_indices() {
        let x = Tensor::<i64>::arange(14).reshape([7, 2]).unwrap();
        assert_eq!(lengths(x.tensor_split(3, 0), 0), [3, 2, 2]);
        assert_eq!(lengths(x.tensor_split(9, 0), 0), [1, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(lengths(x.tensor_split([2, 2, -3, 99], 0), 0), [2, 0, 2, 3, 0]);
        assert_eq!(lengths(x.tensor_split([5, 1], 0), 0), [5, 0, 6]);
        assert_eq!(lengths(x.tensor_split([-99, isize::MIN], 0), 0), [0, 0, 7]);
        assert_eq!(lengths(x.tensor_split(&[][..], -1), 1), [2]);
        let error = x.tensor_split(usize::MAX, 0).unwrap_err().to_string();
        assert!(error.ends_with("are too many for the memory"), "{error}");
        assert!(x.tensor_split(0, 0).is_err() && x.tensor_split(1, 2).is_err());
        assert_eq!(lengths(x.hsplit(2), 1), [1, 1]);
        assert_eq!(lengths(x.vsplit([3]), 0), [3, 4]);
        assert_eq!(lengths(x.reshape([14]).unwrap().hsplit(7), 0), [2; 7]);
        assert_eq!(lengths(x.unsqueeze(0).unwrap().dsplit(2), 2), [1, 1]);
        let error = x.vsplit(3).unwrap_err().to_string();
        assert_eq!(error, "vsplit: axis 0 of [7, 2] has not 3 pieces of one length");
        assert!(x.dsplit(1).is_err() && x.hsplit(0).is_err());
        assert!(Tensor::scalar(1).hsplit(1).is_err() && Tensor::from([1]).vsplit(1).is_err());
    }

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

    #[test]
    fn stretched_together_and_mirrored() {
        let (a, b) = (Tensor::from([[1], [2_i64]]), Tensor::from([3, 4]));
        let both = Tensor::broadcast_tensors(&[&a, &b]).unwrap();
        assert_eq!(both[0], Tensor::from([[1, 1], [2, 2]]));
        assert_eq!(both[1], Tensor::from([[3, 4], [3, 4]]));
        assert!(Tensor::broadcast_tensors(&[&b, &Tensor::from([1, 2, 3])]).is_err());
        assert!(Tensor::<i64>::broadcast_tensors(&[]).unwrap().is_empty());
        assert_eq!(both[1].fliplr().unwrap(), Tensor::from([[4, 3], [4, 3]]));
        assert_eq!(both[0].flipud().unwrap(), Tensor::from([[2, 2], [1, 1]]));
        assert!(b.fliplr().is_err() && Tensor::scalar(1).flipud().is_err());
    }
}
