//! Assignment in place to a part of a tensor: to a view, to elements that index
//! tensors select, or to elements where a mask is true.

use super::indexing::Named;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::offsets::Offsets;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A shared buffer is copied first, so other tensors keep their values.
impl<T: Element> Tensor<T> {
    /// Writes `values`, which broadcast, to a view of the tensor: PyTorch's
    /// `x[1:, 0] = values`. The view can be any combination of `slice`,
    /// `narrow`, `select`, `transpose`, `diagonal` and similar functions.
    ///
    /// # Errors
    ///
    /// When `view` fails or returns a copy or a broadcast tensor instead of a
    /// view, or when the values do not broadcast to its shape.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let mut x = Tensor::<i64>::zeros([2, 3]);
    /// x.assign(|x| x.slice(1, 0, None, 2), &Tensor::from([[1], [2]])).unwrap();
    /// assert_eq!(x, Tensor::from([[1, 0, 1], [2, 0, 2]]));
    /// ```
    pub fn assign(
        &mut self,
        view: impl FnOnce(&Self) -> Result<Self>,
        values: &Self,
    ) -> Result<()> {
        *self = self.contiguous();
        let seen = view(self)?;
        let values = values.broadcast_to(seen.shape())?;
        if seen.is_empty() {
            return Ok(());
        }
        let strides = seen.strides();
        let steps = || seen.shape().iter().map(|&length| length as isize - 1).zip(&strides);
        let stretched = steps().any(|(steps, &stride)| steps > 0 && stride == 0);
        let reach = |backwards: bool| -> isize {
            let steps = steps().filter(|(_, stride)| (**stride < 0) == backwards);
            steps.map(|(steps, stride)| steps * stride).sum()
        };
        let ((memory, start), (seen_memory, seen_start)) = (self.storage(), seen.storage());
        let first = seen_start as isize - start as isize;
        let inside = first + reach(true) >= 0 && first + reach(false) < self.len() as isize;
        if memory.as_ptr() != seen_memory.as_ptr() || stretched || !inside {
            let message =
                format!("expected a view of the tensor, got a copy of shape {}", seen.shape());
            return Err(Error::argument("assign", message));
        }
        let offsets = Offsets::new(seen.shape(), &strides, first as usize);
        drop(seen);
        values.with_slice(|values| {
            let out = self.make_mut();
            offsets.zip(values).for_each(|(offset, &value)| out[offset] = value);
        });
        Ok(())
    }

    /// [`index_put`](Self::index_put) in place: PyTorch's
    /// `x[i, :, j] = values`.
    ///
    /// # Errors
    ///
    /// The errors of [`index_put`](Self::index_put).
    pub fn assign_index(&mut self, indices: &[Option<&Tensor<i64>>], values: &Self) -> Result<()> {
        let named = Named::new("assign_index", self.shape(), indices)?;
        let values = values.broadcast_to(&named.result)?;
        let (shape, strides) = (self.shape().clone(), self.shape().contiguous_strides());
        let part = |axes: &[isize]| -> (Shape, Vec<isize>) {
            let lengths = axes.iter().map(|&axis| shape[axis as usize]);
            (lengths.collect(), axes.iter().map(|&axis| strides[axis as usize]).collect())
        };
        let before = part(&named.order[..named.axis as usize]);
        let behind = part(&named.order[named.axis as usize + named.indexed.len()..]);
        let offsets = named.offsets(&shape);
        values.with_slice(|values| {
            let (out, mut values) = (self.make_mut(), values.iter());
            for start in Offsets::new(&before.0, &before.1, 0) {
                for &offset in &offsets {
                    let offsets = Offsets::new(&behind.0, &behind.1, start + offset);
                    offsets.zip(&mut values).for_each(|(offset, &value)| out[offset] = value);
                }
            }
        });
        Ok(())
    }

    /// Writes `values` where a mask over the first axes is true: PyTorch's
    /// `x[mask] = values`. The values broadcast to the slices of the other
    /// axes, one slice for each true element of the mask.
    ///
    /// # Errors
    ///
    /// When the mask is a scalar, its shape is not that of the first axes, or
    /// the values do not broadcast.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let mut x = Tensor::from([1.0, -2.0, -3.0]);
    /// x.assign_mask(&x.lt_scalar(0.0), &Tensor::scalar(0.0)).unwrap();
    /// assert_eq!(x.to_vec(), [1.0, 0.0, 0.0]);
    /// ```
    pub fn assign_mask(&mut self, mask: &Tensor<bool>, values: &Self) -> Result<()> {
        if mask.rank() == 0 || !self.shape().starts_with(mask.shape()) {
            let message =
                format!("a mask of shape {} does not fit shape {}", mask.shape(), self.shape());
            return Err(Error::shape("assign_mask", message));
        }
        let indices = mask.nonzero().unbind(1)?;
        self.assign_index(&indices.iter().map(Some).collect::<Vec<_>>(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube() -> Tensor<i64> {
        Tensor::arange(24).reshape([2, 3, 4]).unwrap()
    }

    fn at<const N: usize>(indices: [i64; N]) -> Tensor<i64> {
        Tensor::from(indices)
    }

    #[test]
    fn views_are_assigned_in_place() {
        let shared = cube();
        let mut x = shared.clone();
        let corner = |x: &Tensor<i64>| x.select(0, 1)?.slice(1, -1, None, -3)?.transpose(0, 1);
        x.assign(corner, &Tensor::from([[1, 2, 3], [4, 5, 6]])).unwrap();
        assert_eq!(x.select(0, 1).unwrap().to_vec(), [4, 13, 14, 1, 5, 17, 18, 2, 6, 21, 22, 3]);
        assert_eq!(shared, cube());
        let mut rows = shared.narrow(0, 1, 1).unwrap();
        rows.assign(|x| x.diagonal(0, 1, 2), &Tensor::scalar(0)).unwrap();
        assert_eq!(rows.to_vec(), [0, 13, 14, 15, 16, 0, 18, 19, 20, 21, 0, 23]);
        assert_eq!(shared, cube());
        let zero = Tensor::scalar(0);
        let error = x.assign(|x| x.index_select(0, &[0]), &zero).unwrap_err().to_string();
        assert_eq!(error, "assign: expected a view of the tensor, got a copy of shape [1, 3, 4]");
        assert!(x.assign(|x| x.narrow(0, 0, 1)?.expand(&[5, -1, -1]), &zero).is_err());
        assert!(rows.assign(|_| Ok(shared.clone()), &zero).is_err());
        assert!(x.assign(|x| x.select(0, 2), &zero).is_err());
        assert!(x.assign(|x| x.select(0, 0), &at([1, 2])).is_err());
        x.assign(|x| x.narrow(0, 2, 0), &zero).unwrap();
    }

    #[test]
    fn masks_are_assigned_in_place() {
        let mut x = Tensor::from([[1, 2], [3, 4], [5, 6_i64]]);
        x.assign_mask(&Tensor::from([true, false, true]), &Tensor::from([[7, 8], [9, 0]])).unwrap();
        assert_eq!(x.to_vec(), [7, 8, 3, 4, 9, 0]);
        x.assign_mask(&x.gt_scalar(7), &at([1, 2])).unwrap();
        assert_eq!(x.to_vec(), [7, 1, 3, 4, 2, 0]);
        assert!(x.assign_mask(&Tensor::from([true, false]), &at([0])).is_err());
        assert!(x.assign_mask(&Tensor::scalar(true), &at([0])).is_err());
        assert!(x.assign_mask(&x.gt_scalar(2), &at([1, 2])).is_err());
    }
}
