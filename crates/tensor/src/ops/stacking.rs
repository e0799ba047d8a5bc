//! Joining along the first, second and third axis, and rearranging whole axes.
//! The functions are composed of others and written once, for the trait
//! [`Ops`](crate::Ops) and for tensors of any element type.

use super::stacking;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! stacking_functions {
    ($($pub:tt)?) => {
        /// The same tensor, or a scalar as a vector of one element.
        $($pub)? fn atleast_1d(&self) -> Self {
            match self.value().rank() {
                0 => self.reshape([1]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// The same tensor, or a vector of `n` elements as `[1, n]`, a scalar
        /// as `[1, 1]`.
        $($pub)? fn atleast_2d(&self) -> Self {
            match **self.value().shape() {
                [] => self.reshape([1, 1]).expect("the same elements"),
                [n] => self.reshape([1, n]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// The same tensor, or a matrix as `[m, n, 1]`, a vector as `[1, n,
        /// 1]`, a scalar as `[1, 1, 1]`.
        $($pub)? fn atleast_3d(&self) -> Self {
            match **self.value().shape() {
                [] => self.reshape([1, 1, 1]).expect("the same elements"),
                [n] => self.reshape([1, n, 1]).expect("the same elements"),
                [m, n] => self.reshape([m, n, 1]).expect("the same elements"),
                _ => self.clone(),
            }
        }

        /// Joins along the second axis; vectors and scalars along the first.
        ///
        /// # Errors
        ///
        /// When no value is given, or their shapes differ outside that axis.
        $($pub)? fn hstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_1d()).collect();
            let axis = values.first().map_or(0, |first| first.value().rank().min(2) as isize - 1);
            Self::cat(&values.iter().collect::<Vec<_>>(), axis)
        }

        /// Joins along the first axis; vectors and scalars as rows of a matrix.
        ///
        /// # Errors
        ///
        /// When no value is given, or their shapes differ outside that axis.
        $($pub)? fn vstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_2d()).collect();
            Self::cat(&values.iter().collect::<Vec<_>>(), 0)
        }

        /// Joins along the third axis, after [`atleast_3d`](Self::atleast_3d).
        ///
        /// # Errors
        ///
        /// When no value is given, or their shapes differ outside that axis.
        $($pub)? fn dstack(values: &[&Self]) -> Result<Self> {
            let values: Vec<Self> = values.iter().map(|value| value.atleast_3d()).collect();
            Self::cat(&values.iter().collect::<Vec<_>>(), 2)
        }

        /// Joins along the second axis; vectors and scalars as columns of a
        /// matrix.
        ///
        /// # Errors
        ///
        /// When no value is given, or their shapes differ outside that axis.
        $($pub)? fn column_stack(values: &[&Self]) -> Result<Self> {
            let column = |value: &&Self| match value.value().rank() {
                0 | 1 => value.reshape([value.value().len(), 1]),
                _ => Ok((*value).clone()),
            };
            let values = values.iter().map(column).collect::<Result<Vec<Self>>>()?;
            Self::cat(&values.iter().collect::<Vec<_>>(), 1)
        }

        /// A matrix with the given matrices along its diagonal and zeros
        /// elsewhere; vectors and scalars count as matrices of one row.
        ///
        /// # Errors
        ///
        /// When no value is given, or one has more than two axes.
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

        /// Broadcasts all values to their common shape.
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

        /// Moves the axes `from` to the positions `to`; the others keep their
        /// order.
        ///
        /// # Errors
        ///
        /// When the numbers of axes and positions differ, or one is out of
        /// range or named twice.
        $($pub)? fn movedims(&self, from: &[isize], to: &[isize]) -> Result<Self> {
            self.permute(&stacking::moved(self.value().shape(), from, to)?)
        }

        /// Repeats each index of an axis as often as its count says.
        ///
        /// # Errors
        ///
        /// When the axis does not exist, its length is not the number of
        /// counts, or the result would be too long for the memory.
        $($pub)? fn repeat_interleave_each(&self, counts: &[usize], axis: isize) -> Result<Self> {
            let (_, length) = self.value().shape().along("repeat_interleave_each", axis)?;
            self.atleast_1d().index_select(axis, &stacking::repeated(length, counts)?)
        }

        /// Reverses the order of the columns of a matrix (the second axis).
        ///
        /// # Errors
        ///
        /// When there are fewer than two axes.
        $($pub)? fn fliplr(&self) -> Result<Self> {
            self.value().shape().axis("fliplr", 1)?;
            self.flip(&[1])
        }

        /// Reverses the order of the rows of a matrix (the first axis).
        ///
        /// # Errors
        ///
        /// When the tensor is a scalar.
        $($pub)? fn flipud(&self) -> Result<Self> {
            self.value().shape().axis("flipud", 0)?;
            self.flip(&[0])
        }
    };
}

pub(super) use stacking_functions;

/// The order of the axes that moves those of `from` to the positions `to`.
pub(super) fn moved(shape: &Shape, from: &[isize], to: &[isize]) -> Result<Vec<isize>> {
    if from.len() != to.len() {
        let message = format!("expected a position for each axis, got {from:?} and {to:?}");
        return Err(Error::argument("movedims", message));
    }
    // Each list names an axis or position at most once.
    let from_axes = shape.axes("movedims", from)?;
    shape.axes("movedims", to)?;
    let mut order = vec![None; shape.len()];
    for (&from, &to) in from.iter().zip(to) {
        if !shape.is_empty() {
            order[shape.axis("movedims", to)?] = Some(shape.axis("movedims", from)?);
        }
    }
    let mut others = (0..shape.len()).filter(|axis| !from_axes.contains(axis));
    let order = order.into_iter().filter_map(|axis| axis.or_else(|| others.next()));
    Ok(order.map(|axis| axis as isize).collect())
}

/// Each index below `length`, repeated as often as its count says.
pub(super) fn repeated(length: usize, counts: &[usize]) -> Result<Vec<usize>> {
    if counts.len() != length {
        let message = format!("expected {length} counts, got {}", counts.len());
        return Err(Error::argument("repeat_interleave_each", message));
    }
    let total = counts.iter().try_fold(0, |total: usize, &count| total.checked_add(count));
    Shape::from([total.unwrap_or(usize::MAX)]).check_memory::<usize>("repeat_interleave_each")?;
    let mut indices = Vec::new();
    for (index, &count) in counts.iter().enumerate() {
        indices.extend(std::iter::repeat_n(index, count));
    }
    Ok(indices)
}

impl<T: Element> Tensor<T> {
    stacking_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn broadcasting_together_and_mirroring() {
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

    #[test]
    fn axes_are_moved_and_indices_repeated() {
        let x = Tensor::<i64>::zeros([2, 3, 4, 5]);
        let shape = |from: &[isize], to: &[isize]| x.movedims(from, to).unwrap().shape().to_vec();
        assert_eq!(shape(&[0, 1], &[-1, 0]), [3, 4, 5, 2]);
        assert_eq!(shape(&[3, 0, 1], &[0, 1, 3]), [5, 2, 4, 3]);
        assert_eq!(shape(&[], &[]), [2, 3, 4, 5]);
        assert!(x.movedims(&[0], &[0, 1]).is_err() && x.movedims(&[0, 0], &[1, 2]).is_err());
        assert!(x.movedims(&[0, 1], &[2, -2]).is_err() && x.movedims(&[4], &[0]).is_err());
        let rows = Tensor::from([[1, 2], [3, 4], [5, 6_i64]]);
        let repeated = rows.repeat_interleave_each(&[2, 0, 1], 0).unwrap();
        assert_eq!(repeated, Tensor::from([[1, 2], [1, 2], [5, 6]]));
        assert_eq!(Tensor::scalar(7).repeat_interleave_each(&[3], 0).unwrap().to_vec(), [7; 3]);
        assert!(rows.repeat_interleave_each(&[1, 2], 0).is_err());
        assert!(rows.repeat_interleave_each(&[usize::MAX, 1], 1).is_err());
        assert!(rows.repeat_interleave_each(&[usize::MAX, 0], 1).is_err());
    }
}
