//! Joining tensors.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// Joins tensors along an axis.
    ///
    /// # Errors
    ///
    /// When no tensor is given, or the lengths of their other axes differ.
    pub fn cat(tensors: &[&Self], axis: isize) -> Result<Self> {
        let shapes: Vec<&Shape> = tensors.iter().map(|tensor| tensor.shape()).collect();
        let (index, shape) = Shape::joined(&shapes, axis)?;
        shape.check_memory::<T>("cat")?;
        // A tensor has one contiguous piece for each index of the axes before this one.
        let row = shape[index..].iter().product::<usize>();
        Ok(Self::build(shape, |joined| {
            let mut start = 0;
            for tensor in tensors {
                let piece = tensor.shape()[index..].iter().product::<usize>();
                if piece == 0 || joined.is_empty() {
                    continue;
                }
                tensor.with_slice(|values| {
                    for (row, piece) in joined.chunks_exact_mut(row).zip(values.chunks_exact(piece))
                    {
                        row[start..][..piece.len()].copy_from_slice(piece);
                    }
                });
                start += piece;
            }
        }))
    }

    /// Joins tensors of one shape along a new axis.
    ///
    /// # Errors
    ///
    /// When no tensor is given, or their shapes differ.
    pub fn stack(tensors: &[&Self], axis: isize) -> Result<Self> {
        let Some(first) = tensors.first() else {
            return Err(Error::argument("stack", "expected at least one tensor, got none"));
        };
        if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != first.shape()) {
            return Err(Error::shape(
                "stack",
                format!("shapes {} and {} differ", first.shape(), other.shape()),
            ));
        }
        let axis = first.unsqueezed_axis("stack", axis)? as isize;
        let unsqueezed =
            tensors.iter().map(|tensor| tensor.unsqueeze(axis)).collect::<Result<Vec<_>>>()?;
        Self::cat(&unsqueezed.iter().collect::<Vec<_>>(), axis)
    }
}
