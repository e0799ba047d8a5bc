//! The memory of a tensor's elements, which identifies them.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Strides, Tensor};

/// The memory of a tensor's elements, with shape and strides. While two tensors
/// are alive, equal `Memory` means that they are the same elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    address: usize,
    shape: Shape,
    strides: Strides,
}

impl<T: Element> Tensor<T> {
    /// The memory of the elements; `None` for a tensor without elements.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::from([[1, 2], [3, 4_i64]]);
    /// assert_eq!(x.memory(), x.clone().memory());
    /// assert_ne!(x.memory(), x.transpose(0, 1)?.memory());
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn memory(&self) -> Option<Memory> {
        if self.is_empty() {
            return None;
        }
        Some(Memory {
            address: self.address(),
            shape: self.shape().clone(),
            strides: self.strides(),
        })
    }

    /// The address of the first element.
    fn address(&self) -> usize {
        let (elements, offset) = self.storage();
        elements[offset..].as_ptr() as usize
    }

    /// Whether two tensors share memory, in part or as a whole; a view has no
    /// memory of its own.
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|x| x.storage().0.as_ptr_range());
        !self.is_empty() && !other.is_empty() && a.start < b.end && b.start < a.end
    }

    /// The offset in elements of the first element within `base`, if this
    /// tensor is a view of `base` and `base` is row-major:
    /// [`as_strided`](Self::as_strided) of `base` with this shape, these
    /// strides and this offset gives the same view.
    pub fn offset_in(&self, base: &Self) -> Option<usize> {
        if self.is_empty() || base.is_empty() || !base.is_contiguous() {
            return None;
        }
        let offset = self.address().checked_sub(base.address())? / size_of::<T>();
        let view = base.as_strided(self.shape(), &self.strides(), offset).ok()?;
        (view.address() == self.address()).then_some(offset)
    }

    /// A view of a row-major tensor with another shape, strides and offset, in
    /// elements.
    ///
    /// # Errors
    ///
    /// When this tensor is not in row-major order, the lengths of `shape` and
    /// `strides` differ, or an index would be out of range.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::<f32>::arange(6);
    /// assert_eq!(x.as_strided([2, 2], &[1, 2], 1)?.to_vec(), [1.0, 3.0, 2.0, 4.0]);
    /// assert!(x.as_strided([4], &[2], 0).is_err());
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn as_strided(
        &self,
        shape: impl Into<Shape>,
        strides: &[isize],
        offset: usize,
    ) -> Result<Self> {
        let shape = shape.into();
        let refuse = || {
            let message = format!(
                "shape {shape} with strides {strides:?} and offset {offset} does not fit into {}",
                self.shape()
            );
            Error::argument("as_strided", message)
        };
        if !self.is_contiguous() || strides.len() != shape.len() {
            return Err(refuse());
        }
        shape.check_memory::<T>("as_strided")?;
        let length = self.len() as i128;
        let (mut low, mut high) = (offset as i128, offset as i128);
        for (&size, &stride) in shape.iter().zip(strides) {
            let reach = (size as i128 - 1) * stride as i128;
            low += reach.min(0);
            high += reach.max(0);
        }
        if shape.elements() > 0 && (low < 0 || high >= length) {
            return Err(refuse());
        }
        Ok(self.with_layout(shape, strides.into(), self.storage().1 + offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_found_in_its_tensor() {
        let x = Tensor::<i64>::arange(24).reshape([2, 3, 4]).unwrap();
        let views = [
            x.clone(),
            x.transpose(0, 2).unwrap(),
            x.narrow(1, 1, 2).unwrap(),
            x.slice(2, -1, None, -2).unwrap(),
            x.narrow(0, 0, 1).unwrap().broadcast_to([5, 3, 4]).unwrap(),
        ];
        for view in views {
            let offset = view.offset_in(&x).unwrap();
            let again = x.as_strided(view.shape(), &view.strides(), offset).unwrap();
            assert_eq!((again.memory(), &again), (view.memory(), &view));
        }
        assert_eq!(x.contiguous().offset_in(&x), Some(0));
        assert_eq!((&x + 1).offset_in(&x), None);
        assert!(x.shares_memory_with(&x.narrow(0, 1, 1).unwrap()));
        assert!(!x.shares_memory_with(&(&x + 1)));
        assert_eq!(Tensor::<i64>::zeros([0]).memory(), None);
        let part = x.narrow(0, 1, 1).unwrap();
        assert_eq!(part.offset_in(&x.narrow(0, 0, 1).unwrap()), None, "it is past the end");
    }

    #[test]
    fn views_stay_inside() {
        let x = Tensor::<f32>::arange(6);
        let huge = usize::MAX / 2;
        for (shape, strides, offset) in [
            ([3, 1], [3, 1], 0),
            ([1, 1], [0, 0], 6),
            ([2, 1], [-1, 0], 0),
            ([huge, 2], [isize::MAX, 1], huge),
        ] {
            assert!(x.as_strided(shape, &strides, offset).is_err(), "{shape:?} {strides:?}");
        }
        assert!(x.as_strided([2], &[1, 1], 0).is_err());
        assert_eq!(x.as_strided([0], &[1], 99).unwrap().len(), 0);
    }
}
