//! Conversion from and to ndarray: views in both directions without a copy, and
//! arrays.

use ndarray::{Array, ArrayD, ArrayViewD, ArrayViewMutD, Dimension, ShapeBuilder};

use crate::element::Element;
use crate::tensor::Tensor;

impl<T: Element> Tensor<T> {
    /// The tensor as an ndarray view; nothing is copied.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0_f32]]);
    /// assert_eq!(x.view().sum(), 10.0);
    /// ```
    pub fn view(&self) -> ArrayViewD<'_, T> {
        let (buffer, offset) = self.storage();
        if self.is_empty() {
            return ArrayViewD::from_shape(&self.shape()[..], &[])
                .expect("an empty array needs no elements");
        }
        // ndarray accepts strides of either sign, but no offset in safe code.
        // So an axis with a negative stride is first counted from its other end
        // and then inverted.
        let mut start = offset as isize;
        let mut magnitudes = Vec::with_capacity(self.rank());
        for (&size, stride) in self.shape().iter().zip(self.strides()) {
            if stride < 0 {
                start += (size as isize - 1) * stride;
            }
            magnitudes.push(stride.unsigned_abs());
        }
        let shape = self.shape()[..].strides(&magnitudes);
        let mut view = ArrayViewD::from_shape(shape, &buffer[start as usize..])
            .expect("a tensor's layout stays in its buffer");
        for (axis, &stride) in self.strides().iter().enumerate() {
            if stride < 0 {
                view.invert_axis(ndarray::Axis(axis));
            }
        }
        view
    }

    /// The tensor as a mutable, row-major ndarray view. The elements are copied
    /// first when the buffer is shared or strided.
    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let shape = self.shape().clone();
        ArrayViewMutD::from_shape(&shape[..], self.make_mut())
            .expect("the slice has the tensor's shape")
    }
}

/// Takes over the memory of the array; copies only when it is not row-major.
impl<T: Element, D: Dimension> From<Array<T, D>> for Tensor<T> {
    fn from(array: Array<T, D>) -> Self {
        let array = array.into_dyn();
        let shape = array.shape().to_vec();
        let values = if array.is_standard_layout() {
            let length = array.len();
            match array.into_raw_vec_and_offset() {
                (vec, None | Some(0)) if vec.len() == length => vec,
                (vec, offset) => vec[offset.unwrap_or(0)..][..length].to_vec(),
            }
        } else {
            array.iter().copied().collect()
        };
        Self::from_vec(values, shape).expect("the array has its shape's number of elements")
    }
}

impl<T: Element> From<&Tensor<T>> for ArrayD<T> {
    fn from(tensor: &Tensor<T>) -> Self {
        tensor.view().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn arrays_come_in_without_a_copy_and_go_out_as_views() {
        let array = array![[1, 2, 3], [4, 5, 6_i64]];
        let address = array.as_ptr();
        let tensor = Tensor::from(array.clone());
        assert_eq!(tensor.view(), array.view().into_dyn());
        let moved = Tensor::from(array);
        assert_eq!(moved.as_slice().unwrap().as_ptr(), address);
        assert_eq!(moved.view().as_ptr(), address);
    }

    #[test]
    fn strided_and_sliced_arrays_keep_their_values() {
        let array = array![[1, 2, 3], [4, 5, 6_i64]];
        assert_eq!(Tensor::from(array.t().to_owned()).to_vec(), [1, 4, 2, 5, 3, 6]);
        let tail = array.slice_move(ndarray::s![1.., ..]);
        assert_eq!(Tensor::from(tail).to_vec(), [4, 5, 6]);
    }

    #[test]
    fn views_follow_the_layout() {
        let x = Tensor::<i64>::arange(24).reshape([2, 3, 4]).unwrap();
        let y = x.permute(&[2, 0, 1]).unwrap().slice(0, 3, None, -2).unwrap();
        assert_eq!(y.view().iter().copied().collect::<Vec<_>>(), y.to_vec());
        assert_eq!(*y.shape(), [2, 2, 3]);
        assert_eq!(y.to_vec(), [3, 7, 11, 15, 19, 23, 1, 5, 9, 13, 17, 21]);
        let wide = Tensor::from([1, 2_i64]).broadcast_to([3, 2]).unwrap();
        assert_eq!(wide.view(), array![[1, 2], [1, 2], [1, 2]].into_dyn());
        assert_eq!(Tensor::<f32>::zeros([3, 0]).view().shape(), [3, 0]);
    }

    #[test]
    fn a_mutable_view_writes_the_tensor() {
        let mut x = Tensor::<f32>::zeros([2, 2]);
        x.view_mut()[[1, 0]] = 5.0;
        assert_eq!(x.to_vec(), [0.0, 0.0, 5.0, 0.0]);
    }
}
