//! Slicing and related functions that are composed of other operations. They
//! are written once, for the trait [`Ops`](crate::Ops) and for tensors of any
//! element type, and have no gradients of their own.

use super::{indexing, slicing};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! slicing_functions {
    ($($pub:tt)?) => {
        /// The elements at one index of an axis; the axis is removed.
        ///
        /// # Errors
        ///
        /// When the axis or the index does not exist.
        $($pub)? fn select(&self, axis: isize, index: isize) -> Result<Self> {
            let shape = self.value().shape();
            let length = shape[shape.axis("select", axis)?] as isize;
            let index_from_start = if index < 0 { index + length } else { index };
            if !(0..length).contains(&index_from_start) {
                let message = format!("index {index} is out of range for axis {axis} of {shape}");
                return Err(Error::argument("select", message));
            }
            self.narrow(axis, index_from_start as usize, 1)?.squeeze(axis)
        }

        /// The elements at each index of an axis, without that axis.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn unbind(&self, axis: isize) -> Result<Vec<Self>> {
            let shape = self.value().shape();
            let length = shape[shape.axis("unbind", axis)?];
            (0..length).map(|index| self.narrow(axis, index, 1)?.squeeze(axis)).collect()
        }

        /// Pieces of `size` indices along an axis; the last one may be shorter.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or the size is 0.
        $($pub)? fn split(&self, size: usize, axis: isize) -> Result<Vec<Self>> {
            let shape = self.value().shape();
            let length = shape[shape.axis("split", axis)?];
            if size == 0 {
                return Err(Error::argument("split", "the size must be at least 1"));
            }
            // An axis of length 0 gives one piece, as in PyTorch.
            let starts = (0..length.max(1)).step_by(size);
            starts.map(|start| self.narrow(axis, start, size.min(length - start))).collect()
        }

        /// Pieces of these sizes along an axis.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or the sizes do not add up to its
        /// length.
        $($pub)? fn split_sizes(&self, sizes: &[usize], axis: isize) -> Result<Vec<Self>> {
            let shape = self.value().shape();
            let length = shape[shape.axis("split_sizes", axis)?];
            if sizes.iter().try_fold(0, |sum: usize, &size| sum.checked_add(size)) != Some(length) {
                let message = format!("sizes {sizes:?} do not add up to axis {axis} of {shape}");
                return Err(Error::argument("split_sizes", message));
            }
            let mut end = 0;
            let pieces = sizes.iter().map(|&size| {
                end += size;
                self.narrow(axis, end - size, size)
            });
            pieces.collect()
        }

        /// `count` pieces of an axis of the same length, except that the last
        /// ones may be shorter or missing.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or the count is 0.
        $($pub)? fn chunk(&self, count: usize, axis: isize) -> Result<Vec<Self>> {
            let shape = self.value().shape();
            let length = shape[shape.axis("chunk", axis)?];
            if count == 0 {
                return Err(Error::argument("chunk", "the count must be at least 1"));
            }
            self.split(length.div_ceil(count).max(1), axis)
        }

        /// Splits an axis into several of these lengths.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or the sizes do not multiply to its
        /// length.
        $($pub)? fn unflatten(&self, axis: isize, sizes: &[usize]) -> Result<Self> {
            let shape = self.value().shape();
            let axis = shape.axis("unflatten", axis)?;
            if Shape::from(sizes).checked_elements() != Some(shape[axis]) {
                let message = format!("axis {axis} of {shape} does not divide into {sizes:?}");
                return Err(Error::shape("unflatten", message));
            }
            self.reshape([&shape[..axis], sizes, &shape[axis + 1..]].concat())
        }

        /// Broadcasts to a shape, as `broadcast_to`, where −1 keeps the length
        /// of an axis.
        ///
        /// # Errors
        ///
        /// When the tensor does not broadcast to that shape.
        $($pub)? fn expand(&self, sizes: &[isize]) -> Result<Self> {
            self.broadcast_to(slicing::expanded(self.value().shape(), sizes)?)
        }

        /// Moves the axis `from` to the position `to`.
        ///
        /// # Errors
        ///
        /// When `from` or `to` is out of range.
        $($pub)? fn movedim(&self, from: isize, to: isize) -> Result<Self> {
            let shape = self.value().shape();
            let (from, _) = shape.along("movedim", from)?;
            let (to, _) = shape.along("movedim", to)?;
            if from == to {
                return Ok(self.clone());
            }
            let mut order: Vec<isize> = (0..shape.len() as isize).collect();
            let axis = order.remove(from);
            order.insert(to, axis);
            self.permute(&order)
        }

        /// Repeats the tensor along each axis; more counts than axes add axes
        /// in front.
        ///
        /// # Errors
        ///
        /// When there are fewer counts than axes, or too many elements.
        $($pub)? fn repeat(&self, counts: &[usize]) -> Result<Self> {
            let [cut, stretched, joined] = slicing::repeated(self.value().shape(), counts)?;
            self.reshape(cut)?.broadcast_to(stretched)?.reshape(joined)
        }

        /// Repeats each index of an axis.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn repeat_interleave(&self, count: usize, axis: isize) -> Result<Self> {
            let shape = self.value().shape();
            let axis = shape.axis("repeat_interleave", axis)? as isize;
            let mut counts = vec![1; shape.len() + 1];
            counts[axis as usize + 1] = count;
            self.unsqueeze(axis + 1)?.repeat(&counts)?.flatten(axis, axis + 1)
        }

        /// Reverses the order of the elements along these axes.
        ///
        /// # Errors
        ///
        /// When an axis does not exist or is named twice.
        $($pub)? fn flip(&self, axes: &[isize]) -> Result<Self> {
            let axes = self.value().shape().axes("flip", axes)?;
            axes.iter().try_fold(self.clone(), |x, &axis| x.slice(axis as isize, -1, None, -1))
        }

        /// Moves the elements along an axis by `shift`; elements that pass the
        /// end continue at the start.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn roll(&self, shift: isize, axis: isize) -> Result<Self> {
            let shape = self.value().shape();
            let length = shape[shape.axis("roll", axis)?];
            let shift = shift.rem_euclid(length.max(1) as isize) as usize;
            if shift == 0 {
                return Ok(self.clone());
            }
            let tail = self.narrow(axis, length - shift, shift)?;
            Self::cat(&[&tail, &self.narrow(axis, 0, length - shift)?], axis)
        }

        /// Rotates by `turns` right angles in the plane of two axes, from the
        /// first towards the second.
        ///
        /// # Errors
        ///
        /// When the axes do not exist or are the same.
        $($pub)? fn rot90(&self, turns: isize, axes: [isize; 2]) -> Result<Self> {
            let [first, second] = axes;
            self.value().shape().axes("rot90", &axes)?;
            match turns.rem_euclid(4) {
                1 => self.flip(&[second])?.transpose(first, second),
                2 => self.flip(&axes),
                3 => self.flip(&[first])?.transpose(first, second),
                _ => Ok(self.clone()),
            }
        }

        /// The lower triangles of the matrices of the last two axes: zeros
        /// above a diagonal, which is `diagonal` above the main one.
        ///
        /// # Errors
        ///
        /// When there are fewer than two axes.
        $($pub)? fn tril(&self, diagonal: isize) -> Result<Self> {
            let mask =
                slicing::triangle("tril", self.value().shape(), |offset| offset <= diagonal)?;
            self.where_mask(&mask, &Self::constant(Tensor::scalar(Default::default())))
        }

        /// The upper triangles of the matrices of the last two axes: zeros
        /// below a diagonal, which is `diagonal` above the main one.
        ///
        /// # Errors
        ///
        /// When there are fewer than two axes.
        $($pub)? fn triu(&self, diagonal: isize) -> Result<Self> {
            let mask =
                slicing::triangle("triu", self.value().shape(), |offset| offset >= diagonal)?;
            self.where_mask(&mask, &Self::constant(Tensor::scalar(Default::default())))
        }

        /// A matrix with the elements of a vector on a diagonal, or the
        /// diagonal of a matrix.
        ///
        /// # Errors
        ///
        /// When the tensor is neither a vector nor a matrix.
        $($pub)? fn diag(&self, offset: isize) -> Result<Self> {
            match self.value().rank() {
                1 => self.diag_embed(offset),
                2 => self.diagonal(offset, 0, 1),
                _ => {
                    let shape = self.value().shape();
                    let message = format!("expected a vector or a matrix, got shape {shape}");
                    Err(Error::shape("diag", message))
                }
            }
        }

        /// The elements where a mask is true, as a vector; both broadcast.
        ///
        /// # Errors
        ///
        /// When the shapes do not broadcast.
        $($pub)? fn masked_select(&self, mask: &Tensor<bool>) -> Result<Self> {
            let shape = self.value().shape().broadcast(mask.shape(), "masked_select")?;
            let positions = slicing::true_positions(&mask.broadcast_to(&shape)?);
            self.broadcast_to(shape)?.flatten(0, -1)?.index_select(0, &positions)
        }

        /// Replaces elements by those of `source`, in row-major order, where a
        /// mask is true; both broadcast.
        ///
        /// # Errors
        ///
        /// When the shapes do not broadcast, or the source has too few
        /// elements.
        $($pub)? fn masked_scatter(&self, mask: &Tensor<bool>, source: &Self) -> Result<Self> {
            let shape = self.value().shape().broadcast(mask.shape(), "masked_scatter")?;
            let positions = slicing::true_positions(&mask.broadcast_to(&shape)?);
            if positions.len() > source.value().len() {
                let (count, elements) = (positions.len(), source.value().len());
                let message =
                    format!("expected a source of at least {count} elements, got {elements}");
                return Err(Error::shape("masked_scatter", message));
            }
            let source = source.flatten(0, -1)?.narrow(0, 0, positions.len())?;
            let all = self.broadcast_to(&shape)?.flatten(0, -1)?;
            all.index_copy(0, &positions, &source)?.reshape(shape)
        }

        /// As `gather`, but tensor and index broadcast along all axes except
        /// `axis`, and a negative index counts from the end (PyTorch's
        /// `take_along_dim`).
        ///
        /// # Errors
        ///
        /// When the ranks differ, the shapes do not broadcast, or an index is
        /// out of range.
        $($pub)? fn take_along(&self, axis: isize, index: &Tensor<i64>) -> Result<Self> {
            let [shape, index_shape] = slicing::aligned(self.value().shape(), axis, index.shape())?;
            let length = shape[shape.axis("take_along", axis)?] as i64;
            let index = index.map(|index| if index < 0 { index + length } else { index });
            self.broadcast_to(shape)?.gather(axis, &index.broadcast_to(index_shape)?)
        }

        /// A copy in which the slices of `source` replace those at `indices` of
        /// an axis. Of several slices for one index the last one is kept.
        ///
        /// # Errors
        ///
        /// When the axis or an index does not exist, or the source does not
        /// have the shape of those slices.
        $($pub)? fn index_copy(
            &self,
            axis: isize,
            indices: &[usize],
            source: &Self,
        ) -> Result<Self> {
            let [shape, slices] = [self, source].map(|x| x.value().shape());
            let index = slicing::along_slices(shape, axis, indices, slices)?;
            self.scatter(axis, &index, source)
        }
    };
}

pub(super) use slicing_functions;

/// The shape for `expand`, with its −1 filled in.
pub(super) fn expanded(shape: &Shape, sizes: &[isize]) -> Result<Shape> {
    let new = sizes.len().checked_sub(shape.len());
    let sizes = sizes.iter().enumerate().map(|(axis, &size)| match usize::try_from(size) {
        Ok(size) => Some(size),
        Err(_) if size == -1 => Some(shape[axis.checked_sub(new?)?]),
        Err(_) => None,
    });
    let expanded = sizes.collect::<Option<Shape>>();
    expanded.filter(|expanded| expanded.checked_elements().is_some()).ok_or_else(|| {
        Error::shape("expand", format!("shape {shape} does not broadcast to the requested sizes"))
    })
}

/// The shapes of the steps of a repetition: with an axis of length 1 before
/// each axis, with these axes repeated, and with each pair merged.
pub(super) fn repeated(shape: &Shape, counts: &[usize]) -> Result<[Shape; 3]> {
    let fail = |message: String| Err(Error::argument("repeat", message));
    let Some(new) = counts.len().checked_sub(shape.len()) else {
        return fail(format!(
            "expected at least {} counts for shape {shape}, got {counts:?}",
            shape.len()
        ));
    };
    let lengths = || std::iter::repeat_n(1, new).chain(shape.iter().copied());
    let pairs = || counts.iter().copied().zip(lengths());
    let stretched: Shape = pairs().flat_map(|(count, length)| [count, length]).collect();
    if stretched.checked_elements().is_none() {
        return fail(format!("{shape} repeated {counts:?} times has too many elements"));
    }
    let joined = pairs().map(|(count, length)| count.saturating_mul(length)).collect();
    Ok([lengths().flat_map(|length| [1, length]).collect(), stretched, joined])
}

/// A mask over the matrices of the last two axes that is true where `inside`
/// holds for column minus row.
pub(super) fn triangle(
    context: &str,
    shape: &Shape,
    inside: impl Fn(isize) -> bool,
) -> Result<Tensor<bool>> {
    let &[.., rows, columns] = &shape[..] else {
        return Err(Error::shape(context, format!("expected at least two axes, got {shape}")));
    };
    Shape::from([rows, columns]).check_memory::<bool>(context)?;
    let offset = |index: usize| (index % columns) as isize - (index / columns) as isize;
    Ok(Tensor::from_fn([rows, columns], |index| inside(offset(index))))
}

/// The row-major positions at which a mask is true.
pub(super) fn true_positions(mask: &Tensor<bool>) -> Vec<usize> {
    mask.with_slice(|mask| {
        mask.iter().enumerate().filter(|(_, inside)| **inside).map(|(index, _)| index).collect()
    })
}

/// The shapes of a tensor and of an index after broadcasting all axes but one.
pub(super) fn aligned(shape: &Shape, axis: isize, index: &Shape) -> Result<[Shape; 2]> {
    let along = shape.axis("take_along", axis)?;
    if shape.len() != index.len() {
        let message = format!("expected an index of rank {}, got shape {index}", shape.len());
        return Err(Error::shape("take_along", message));
    }
    let both = shape.with(along, 1).broadcast(&index.with(along, 1), "take_along")?;
    Ok([both.with(along, shape[along]), both.with(along, index[along])])
}

/// The index that scatters slices of a source along an axis.
pub(super) fn along_slices(
    shape: &Shape,
    axis: isize,
    indices: &[usize],
    source: &Shape,
) -> Result<Tensor<i64>> {
    let (along, expected) = shape.selected("index_copy", axis, indices)?;
    if *source != expected {
        let message = format!("expected a source of shape {expected}, got {source}");
        return Err(Error::shape("index_copy", message));
    }
    indexing::column(along, indices, &expected)
}

/// Names that the macros above use, which the trait also has.
impl<T: Element> Tensor<T> {
    pub(crate) fn value(&self) -> &Self {
        self
    }

    pub(crate) fn constant(value: Self) -> Self {
        value
    }
}

/// Slicing and related functions for every element type.
impl<T: Element> Tensor<T> {
    slicing_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Tensor<i64> {
        Tensor::arange(6).reshape([2, 3]).unwrap()
    }

    #[test]
    fn pieces_and_wholes() {
        let x = matrix();
        let shapes = |pieces: Vec<Tensor<i64>>| {
            pieces.iter().map(|piece| piece.shape()[1]).collect::<Vec<_>>()
        };
        assert_eq!(shapes(x.split(2, 1).unwrap()), [2, 1]);
        assert_eq!(shapes(x.chunk(2, -1).unwrap()), [2, 1]);
        assert_eq!(shapes(x.split_sizes(&[1, 0, 2], 1).unwrap()), [1, 0, 2]);
        assert_eq!(Tensor::<f32>::zeros([0, 2]).split(3, 0).unwrap().len(), 1);
        assert!(x.split(0, 0).is_err() && x.chunk(0, 0).is_err());
        assert!(x.split_sizes(&[1, 1], 1).is_err());
        assert_eq!(x.unbind(1).unwrap()[2].to_vec(), [2, 5]);
        assert_eq!(x.select(0, -1).unwrap().to_vec(), [3, 4, 5]);
        assert!(x.select(0, 2).is_err() && x.select(0, -3).is_err());
        assert_eq!(*x.unflatten(1, &[3, 1]).unwrap().shape(), [2, 3, 1]);
        assert!(x.unflatten(1, &[2, 2]).is_err());
        assert_eq!(*x.unsqueeze(0).unwrap().movedim(0, -1).unwrap().shape(), [2, 3, 1]);
    }

    #[test]
    fn repetitions() {
        let x = Tensor::from([1, 2_i64]);
        assert_eq!(x.repeat(&[2, 2]).unwrap(), Tensor::from([[1, 2, 1, 2], [1, 2, 1, 2]]));
        assert_eq!(x.repeat(&[0]).unwrap().len(), 0);
        assert_eq!(x.repeat_interleave(3, 0).unwrap().to_vec(), [1, 1, 1, 2, 2, 2]);
        assert!(matrix().repeat(&[2]).is_err() && x.repeat(&[usize::MAX]).is_err());
        assert_eq!(*x.expand(&[3, -1]).unwrap().shape(), [3, 2]);
        assert!(x.expand(&[-1, 2]).is_err() && x.expand(&[-2]).is_err());
        assert!(matrix().expand(&[-1]).is_err());
    }

    #[test]
    fn turns_and_mirrors() {
        let x = matrix();
        assert_eq!(x.flip(&[0, 1]).unwrap().to_vec(), [5, 4, 3, 2, 1, 0]);
        assert_eq!(x.roll(1, 1).unwrap().to_vec(), [2, 0, 1, 5, 3, 4]);
        assert_eq!(x.roll(-4, 1).unwrap().to_vec(), [1, 2, 0, 4, 5, 3]);
        assert_eq!(x.rot90(1, [0, 1]).unwrap(), Tensor::from([[2, 5], [1, 4], [0, 3]]));
        let back = x.rot90(-3, [0, 1]).unwrap().rot90(3, [0, 1]).unwrap();
        assert_eq!(back, x);
        assert!(x.rot90(1, [0, -2]).is_err());
        assert!(Tensor::<f32>::zeros([0]).flip(&[0]).unwrap().is_empty());
        assert!(Tensor::<f32>::zeros([0]).roll(2, 0).unwrap().is_empty());
    }

    #[test]
    fn triangles_and_diagonals() {
        let x = matrix();
        assert_eq!(x.tril(0).unwrap().to_vec(), [0, 0, 0, 3, 4, 0]);
        assert_eq!(x.triu(1).unwrap().to_vec(), [0, 1, 2, 0, 0, 5]);
        assert_eq!(x.diag(1).unwrap().diag(0).unwrap().to_vec(), [1, 0, 0, 5]);
        assert!(x.unsqueeze(0).unwrap().diag(0).is_err());
        assert!(Tensor::from([true]).tril(0).is_err());
    }

    #[test]
    fn selection_by_masks_and_positions() {
        let x = matrix();
        let mask = Tensor::from([[true], [false]]);
        assert_eq!(x.masked_select(&mask).unwrap().to_vec(), [0, 1, 2]);
        let put = x.masked_scatter(&mask, &Tensor::from([7, 8, 9, 10])).unwrap();
        assert_eq!(put.to_vec(), [7, 8, 9, 3, 4, 5]);
        assert!(x.masked_scatter(&mask, &Tensor::from([7, 8])).is_err());
        assert_eq!(x.take(&[4, 0]).unwrap().to_vec(), [4, 0]);
        let wide = Tensor::from([1, 2_i64]).masked_scatter(&mask, &Tensor::from([7, 8])).unwrap();
        assert_eq!(wide, Tensor::from([[7, 8], [1, 2]]));
        let along = x.take_along(1, &Tensor::from([[-1, 0]])).unwrap();
        assert_eq!(along.to_vec(), [2, 0, 5, 3]);
        assert!(x.take_along(1, &Tensor::from([[-4]])).is_err());
        let copied = x.index_copy(1, &[2, 0], &Tensor::from([[10, 20], [30, 40]])).unwrap();
        assert_eq!(copied.to_vec(), [20, 1, 10, 40, 4, 30]);
        assert!(x.index_copy(1, &[3], &Tensor::from([[1], [2]])).is_err());
    }
}
