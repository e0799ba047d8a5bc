//! Distinct slices of an axis, and counts along axes. These functions have no
//! gradient, so they are plain methods of tensors.

use std::cmp::Ordering;

use super::order::compare;
use super::reduce::output_shape;
use crate::element::{Element, Number};
use crate::error::Result;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// The distinct slices of an axis in lexicographic order, for each slice
    /// its index among them, and how often each occurs. A slice with a NaN
    /// counts as distinct.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::from([[2, 1], [0, 5], [2, 1_i64]]);
    /// let (rows, inverse, counts) = x.unique_axis(0).unwrap();
    /// assert_eq!(rows, Tensor::from([[0, 5], [2, 1]]));
    /// assert_eq!(inverse.to_vec(), [1, 0, 1]);
    /// assert_eq!(counts.to_vec(), [1, 2]);
    /// ```
    pub fn unique_axis(&self, axis: isize) -> Result<(Self, Tensor<i64>, Tensor<i64>)> {
        self.different_slices("unique_axis", axis, true)
    }

    /// Like [`unique_axis`](Self::unique_axis), but merges only equal neighbours
    /// and keeps the order.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn unique_consecutive_axis(&self, axis: isize) -> Result<(Self, Tensor<i64>, Tensor<i64>)> {
        self.different_slices("unique_consecutive_axis", axis, false)
    }

    fn different_slices(
        &self,
        context: &str,
        axis: isize,
        sort: bool,
    ) -> Result<(Self, Tensor<i64>, Tensor<i64>)> {
        let along = self.shape().axis(context, axis)?;
        let count = self.shape()[along];
        let slices = self.movedim(along as isize, 0)?.contiguous();
        let length = slices.len() / count.max(1);
        let (mut first, mut counts) = (Vec::<usize>::new(), Vec::<i64>::new());
        let mut inverse = vec![0; count];
        slices.with_slice(|values| {
            let slice = |index: usize| &values[index * length..][..length];
            let mut order: Vec<usize> = (0..count).collect();
            if sort {
                order.sort_by(|&a, &b| {
                    let orders = slice(a).iter().zip(slice(b)).map(|(&a, &b)| compare(a, b));
                    orders.fold(Ordering::Equal, Ordering::then)
                });
            }
            for index in order {
                match (counts.last_mut(), first.last()) {
                    (Some(count), Some(&run)) if slice(run) == slice(index) => *count += 1,
                    _ => {
                        first.push(index);
                        counts.push(1);
                    }
                }
                inverse[index] = first.len() as i64 - 1;
            }
        });
        let (inverse, runs) = (Tensor::from_vec(inverse, [count])?, [counts.len()]);
        Ok((self.index_select(axis, &first)?, inverse, Tensor::from_vec(counts, runs)?))
    }
}

impl<T: Element> Tensor<T> {
    /// The number of elements that are not 0 (or false) over some axes, which
    /// are kept with length 1 or removed.
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::from([[0, 5], [7, 8_i64]]);
    /// assert_eq!(x.count_nonzero_axes(&[0], false).unwrap().to_vec(), [1, 2]);
    /// ```
    pub fn count_nonzero_axes(&self, axes: &[isize], keep: bool) -> Result<Tensor<i64>> {
        output_shape("count_nonzero_axes", self.shape(), axes, keep)?;
        self.map(|x| i64::from(x != T::default())).sum_axes(axes, keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: PyTorch's.
    #[test]
    fn different_slices_of_an_axis() {
        let x = Tensor::from([[1, 0, 1, 1], [2, 9, 2, 1], [3, 0, 3, 1_i64]]);
        let (columns, inverse, counts) = x.unique_axis(1).unwrap();
        assert_eq!(columns, Tensor::from([[0, 1, 1], [9, 1, 2], [0, 1, 3]]));
        assert_eq!((inverse.to_vec(), counts.to_vec()), (vec![2, 0, 2, 1], vec![1, 1, 2]));
        let cube = Tensor::cat(&[&x, &x.narrow(0, 2, 1).unwrap()], 0).unwrap();
        let (rows, inverse, counts) = cube.unique_consecutive_axis(-2).unwrap();
        assert_eq!(rows, x);
        assert_eq!((inverse.to_vec(), counts.to_vec()), (vec![0, 1, 2, 2], vec![1, 1, 2]));
        let nan = Tensor::from([[f32::NAN], [1.0], [f32::NAN], [1.0]]);
        let (rows, inverse, counts) = nan.unique_axis(0).unwrap();
        assert_eq!((rows.len(), counts.to_vec()), (3, vec![2, 1, 1]));
        assert_eq!(inverse.to_vec(), [1, 0, 2, 0]);
        assert!(x.unique_axis(2).is_err());
        let nothing = Tensor::<i64>::zeros([0, 3]).unique_axis(0).unwrap();
        assert_eq!((*nothing.0.shape() == [0, 3], nothing.2.len()), (true, 0));
        let narrow = Tensor::<i64>::zeros([3, 0]).unique_axis(0).unwrap();
        assert_eq!((*narrow.0.shape() == [1, 0], narrow.2.to_vec()), (true, vec![3]));
    }

    #[test]
    fn counts_along_axes() {
        let x = Tensor::from([[0.0, 2.0, f32::NAN], [0.0, -0.0, 1.0]]);
        assert_eq!(x.count_nonzero_axes(&[1], true).unwrap(), Tensor::from([[2], [1]]));
        assert_eq!(x.count_nonzero_axes(&[0, 1], false).unwrap().item().unwrap(), 3);
        assert!(x.count_nonzero_axes(&[2], false).is_err());
        let flags = Tensor::from([[true, false], [true, true]]);
        assert_eq!(flags.count_nonzero_axes(&[0], false).unwrap().to_vec(), [2, 1]);
    }
}
