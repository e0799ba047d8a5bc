//! Sorting, largest elements, medians and running extremes.
//!
//! Indices have no gradient and are plain methods of tensors. The values at
//! these indices have one; those functions are written once, for the trait
//! [`Ops`](crate::Ops) and for tensors of any number type. A NaN counts as
//! larger than any number, and equal elements keep their order.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::reduce::extreme_shape;
use crate::element::{Element, Number};
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The order of numbers, with NaN last.
pub(super) fn compare<T: Number>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

/// Whether a number is NaN.
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
pub(super) fn is_nan<T: Number>(x: T) -> bool {
    x != x
}

/// Calls `work(row, indices)` for all rows along an axis, with room for `count`
/// indices each.
pub(super) fn index_rows<T: Element>(
    x: &Tensor<T>,
    axis: usize,
    count: usize,
    work: impl Fn(&[T], &mut [i64]) + Sync,
) -> Tensor<i64> {
    if x.rank() == 0 {
        let indices = index_rows(&x.at_least_vector(), 0, count, work);
        // All indices of one element, or none.
        return if count == 1 { indices.with_shape(Shape::scalar()) } else { indices };
    }
    let mut order: SmallVec<[usize; 4]> = (0..x.rank()).filter(|&i| i != axis).collect();
    order.push(axis);
    let length = x.shape()[axis];
    let rows = x.permuted(&order).contiguous();
    let shape = rows.shape().clone().with_last(count);
    let indices = rows.with_slice(|values| {
        Tensor::build(shape, |out| {
            let chunk = rows_per_chunk(length.max(1)) * count;
            for_each_chunk(out, chunk, length.div_ceil(count.max(1)), |index, out| {
                for (i, out) in out.chunks_exact_mut(count).enumerate() {
                    let row = index * rows_per_chunk(length.max(1)) + i;
                    work(&values[row * length..][..length], out);
                }
            });
        })
    });
    let mut back: SmallVec<[usize; 4]> = (0..x.rank() - 1).collect();
    back.insert(axis, x.rank() - 1);
    indices.permuted(&back)
}

impl<T: Number> Tensor<T> {
    /// The indices that sort an axis.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn argsort(&self, axis: isize, descending: bool) -> Result<Tensor<i64>> {
        let (axis, length) = self.shape().along("argsort", axis)?;
        Ok(index_rows(self, axis, length, |row, out| {
            for (i, slot) in (0..).zip(out.iter_mut()) {
                *slot = i;
            }
            let value = |&i: &i64| row[i as usize];
            match descending {
                false => out.sort_by(|a, b| compare(value(a), value(b))),
                true => out.sort_by(|a, b| compare(value(b), value(a))),
            }
        }))
    }

    /// The index of the `k`-th smallest element of an axis, counted from 1; the
    /// axis is kept with length 1.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has fewer elements, or `k` is 0.
    pub fn kthvalue_indices(&self, k: usize, axis: isize) -> Result<Tensor<i64>> {
        let (index, length) = self.shape().along("kthvalue", axis)?;
        if !(1..=length).contains(&k) {
            let message = format!("axis {axis} of {} has no {k}-th element", self.shape());
            return Err(Error::argument("kthvalue", message));
        }
        Ok(self.ranked(index, k - 1))
    }

    /// The index of the median of an axis, the lower one of two, or of a NaN;
    /// the axis is kept with length 1.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has no elements.
    pub fn median_indices(&self, axis: isize) -> Result<Tensor<i64>> {
        let (index, length) = self.nonempty_axis("median", axis)?;
        let nan = index_rows(self, index, 1, |row, out| {
            out[0] = row.iter().position(|&x| is_nan(x)).map_or(-1, |index| index as i64);
        });
        let median = self.ranked(index, (length - 1) / 2);
        nan.where_mask(&nan.ge_scalar(0), &median)
    }

    /// The index of the median of the elements of an axis that are not NaN, the
    /// lower one of two; the axis is kept with length 1.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has no elements.
    pub fn nanmedian_indices(&self, axis: isize) -> Result<Tensor<i64>> {
        let (index, _) = self.nonempty_axis("nanmedian", axis)?;
        Ok(index_rows(self, index, 1, |row, out| {
            let numbers = row.iter().filter(|&&x| !is_nan(x)).count();
            out[0] = rank(row, numbers.saturating_sub(1) / 2);
        }))
    }

    /// The last index of the most frequent element of an axis, and of the
    /// smallest one if several are equally frequent; the axis is kept with
    /// length 1. Every NaN counts as distinct.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has no elements.
    pub fn mode_indices(&self, axis: isize) -> Result<Tensor<i64>> {
        let (index, _) = self.nonempty_axis("mode", axis)?;
        Ok(index_rows(self, index, 1, |row, out| {
            let mut indices: Vec<usize> = (0..row.len()).collect();
            indices.sort_by(|&a, &b| compare(row[a], row[b]));
            let (mut longest, mut length) = (0, 0);
            for (i, &index) in indices.iter().enumerate() {
                let same = i > 0 && row[indices[i - 1]] == row[index];
                length = if same { length + 1 } else { 1 };
                if length > longest {
                    longest = length;
                    out[0] = index as i64;
                }
            }
        }))
    }

    /// The index and the length of an axis, or an error if it has no elements.
    fn nonempty_axis(&self, context: &str, axis: isize) -> Result<(usize, usize)> {
        extreme_shape(context, self.shape(), &[axis], false)?;
        self.shape().along(context, axis)
    }

    /// The indices of the elements at position `position` of a sorted axis.
    fn ranked(&self, axis: usize, position: usize) -> Tensor<i64> {
        index_rows(self, axis, 1, |row, out| out[0] = rank(row, position))
    }

    /// The indices of the `count` largest or smallest elements of an axis, in
    /// sorted order.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has fewer elements.
    pub fn topk_indices(&self, count: usize, axis: isize, largest: bool) -> Result<Tensor<i64>> {
        let (index, size) = self.shape().along("topk", axis)?;
        if count > size {
            let message =
                format!("axis {axis} of {} has fewer than {count} elements", self.shape());
            return Err(Error::argument("topk", message));
        }
        Ok(index_rows(self, index, count, |row, out| {
            let value = |i: i64| row[i as usize];
            let before = |a: &i64, b: &i64| {
                let order = compare(value(*a), value(*b));
                let order = if largest { order.reverse() } else { order };
                order.then(a.cmp(b))
            };
            let mut indices: Vec<i64> = (0..size as i64).collect();
            if count < size {
                indices.select_nth_unstable_by(count, before);
            }
            indices.truncate(count);
            indices.sort_unstable_by(before);
            out.copy_from_slice(&indices);
        }))
    }

    /// For each element of an axis, the index of the maximum up to it; of equal
    /// elements the last, as in PyTorch.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn cummax_indices(&self, axis: isize) -> Result<Tensor<i64>> {
        self.running_indices("cummax", axis, |new, best| compare(new, best) != Ordering::Less)
    }

    /// For each element of an axis, the index of the minimum up to it, or of a
    /// NaN; of equal elements the last.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn cummin_indices(&self, axis: isize) -> Result<Tensor<i64>> {
        self.running_indices("cummin", axis, |new, best| is_nan(new) || new <= best)
    }

    fn running_indices(
        &self,
        context: &str,
        axis: isize,
        replaces: impl Fn(T, T) -> bool + Sync,
    ) -> Result<Tensor<i64>> {
        let (axis, length) = self.shape().along(context, axis)?;
        Ok(index_rows(self, axis, length, |row, out| {
            let mut best = 0;
            for (i, slot) in out.iter_mut().enumerate() {
                if replaces(row[i], row[best]) {
                    best = i;
                }
                *slot = best as i64;
            }
        }))
    }
}

/// The index of the element at position `position` of the sorted row.
fn rank<T: Number>(row: &[T], position: usize) -> i64 {
    let mut indices: Vec<i64> = (0..row.len() as i64).collect();
    let value = |i: i64| row[i as usize];
    let before = |a: &i64, b: &i64| compare(value(*a), value(*b)).then(a.cmp(b));
    *indices.select_nth_unstable_by(position, before).1
}

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! order_functions {
    ($($pub:tt)?) => {
        /// The elements at `indices`, which has length 1 along an axis, and the
        /// indices; the axis is removed unless `keep` is set.
        ///
        /// # Errors
        ///
        /// The errors of `gather`, and when the length is not 1.
        $($pub)? fn pick(
            &self,
            axis: isize,
            indices: Tensor<i64>,
            keep: bool,
        ) -> Result<(Self, Tensor<i64>)> {
            let values = self.gather(axis, &indices)?;
            if keep {
                return Ok((values, indices));
            }
            Ok((values.squeeze(axis)?, indices.squeeze(axis)?))
        }

        /// The elements along an axis in ascending or descending order, and
        /// their indices.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn sort(&self, axis: isize, descending: bool) -> Result<(Self, Tensor<i64>)> {
            let indices = self.value().argsort(axis, descending)?;
            Ok((self.gather(axis, &indices)?, indices))
        }

        /// The `count` largest or smallest elements of an axis, in sorted
        /// order, and their indices.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has fewer elements.
        $($pub)? fn topk(
            &self,
            count: usize,
            axis: isize,
            largest: bool,
        ) -> Result<(Self, Tensor<i64>)> {
            let indices = self.value().topk_indices(count, axis, largest)?;
            Ok((self.gather(axis, &indices)?, indices))
        }

        /// The `k`-th smallest element of an axis, counted from 1, and its index.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has fewer elements, or `k` is 0.
        $($pub)? fn kthvalue(
            &self,
            k: usize,
            axis: isize,
            keep: bool,
        ) -> Result<(Self, Tensor<i64>)> {
            self.pick(axis, self.value().kthvalue_indices(k, axis)?, keep)
        }

        /// The median of an axis, the lower one of two, and its index; NaN when
        /// an element is NaN.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has no elements.
        $($pub)? fn median(&self, axis: isize, keep: bool) -> Result<(Self, Tensor<i64>)> {
            self.pick(axis, self.value().median_indices(axis)?, keep)
        }

        /// The median of the elements of an axis that are not NaN, the lower
        /// one of two, and its index.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has no elements.
        $($pub)? fn nanmedian(&self, axis: isize, keep: bool) -> Result<(Self, Tensor<i64>)> {
            self.pick(axis, self.value().nanmedian_indices(axis)?, keep)
        }

        /// The most frequent element of an axis, or the smallest one if several
        /// are equally frequent, and its last index.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has no elements.
        $($pub)? fn mode(&self, axis: isize, keep: bool) -> Result<(Self, Tensor<i64>)> {
            self.pick(axis, self.value().mode_indices(axis)?, keep)
        }

        /// The largest element of an axis and its index. Of equal elements it
        /// is the first, which gets the gradient (PyTorch's `max` along an
        /// axis).
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has no elements.
        $($pub)? fn max_along(&self, axis: isize, keep: bool) -> Result<(Self, Tensor<i64>)> {
            let shape = self.value().shape();
            let kept = shape.reduced(&[shape.along("max_along", axis)?.0], true);
            self.pick(axis, self.value().argmax(axis)?.reshape(kept)?, keep)
        }

        /// The smallest element of an axis and its index, as `max_along`.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or has no elements.
        $($pub)? fn min_along(&self, axis: isize, keep: bool) -> Result<(Self, Tensor<i64>)> {
            let shape = self.value().shape();
            let kept = shape.reduced(&[shape.along("min_along", axis)?.0], true);
            self.pick(axis, self.value().argmin(axis)?.reshape(kept)?, keep)
        }

        /// The running maximum along an axis, and the index of each; of equal
        /// elements the last.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn cummax(&self, axis: isize) -> Result<(Self, Tensor<i64>)> {
            let indices = self.value().cummax_indices(axis)?;
            Ok((self.gather(axis, &indices)?, indices))
        }

        /// The running minimum along an axis, as `cummax`.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        $($pub)? fn cummin(&self, axis: isize) -> Result<(Self, Tensor<i64>)> {
            let indices = self.value().cummin_indices(axis)?;
            Ok((self.gather(axis, &indices)?, indices))
        }
    };
}

pub(super) use order_functions;

/// Sorting and selection for every number type.
impl<T: Number> Tensor<T> {
    order_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    const NAN: f32 = f32::NAN;

    /// The elements as text, so that NaN can be compared.
    fn bits(x: &Tensor<f32>) -> Vec<String> {
        x.to_vec().iter().map(f32::to_string).collect()
    }

    #[test]
    fn sorting_is_stable_and_puts_nan_last() {
        let x = Tensor::from([[2.0, NAN, -1.0, 2.0], [0.0, -0.0, NAN, -3.0]]);
        let (values, indices) = x.sort(1, false).unwrap();
        assert_eq!(bits(&values), ["-1", "2", "2", "NaN", "-3", "0", "-0", "NaN"]);
        assert_eq!(indices.to_vec(), [2, 0, 3, 1, 3, 0, 1, 2]);
        assert_eq!(x.argsort(1, true).unwrap().to_vec(), [1, 0, 3, 2, 2, 0, 1, 3]);
        let columns = Tensor::from([[3, 1], [2, 5], [2, 4_i64]]);
        assert_eq!(columns.sort(0, false).unwrap().0.to_vec(), [2, 1, 2, 4, 3, 5]);
        assert_eq!(columns.argsort(0, false).unwrap().to_vec(), [1, 0, 2, 2, 0, 1]);
        assert!(Tensor::<f32>::zeros([0, 2]).sort(0, false).unwrap().0.is_empty());
    }

    #[test]
    fn a_row_with_nan_has_no_quantiles() {
        let x = Tensor::from([[1.0, NAN, 3.0], [0.0, 4.0, 2.0]]);
        let quantiles = x.quantiles(&[0.0, 0.5], 1, false).unwrap();
        assert_eq!(bits(&quantiles), ["NaN", "0", "NaN", "2"]);
    }

    #[test]
    fn the_largest_few_are_the_first_of_a_sort() {
        let mut rng = crate::Rng::seed(3);
        let x = Tensor::from_fn([7, 40], |_| rng.below(9) as i64);
        for largest in [false, true] {
            for count in [0, 1, 5, 40] {
                let (values, indices) = x.topk(count, 1, largest).unwrap();
                let (sorted, order) = x.sort(1, largest).unwrap();
                assert_eq!(values, sorted.narrow(1, 0, count).unwrap());
                assert_eq!(indices, order.narrow(1, 0, count).unwrap());
            }
        }
        assert!(x.topk(41, 1, true).is_err());
    }

    #[test]
    fn medians_extremes_and_running_ones() {
        let x = Tensor::from([[3, 1, 2, 2], [9, 8, 7, 6_i64]]);
        let (median, index) = x.median(1, false).unwrap();
        assert_eq!((median.to_vec(), index.to_vec()), (vec![2, 7], vec![2, 2]));
        assert_eq!(*x.kthvalue(4, 1, true).unwrap().0.shape(), [2, 1]);
        assert!(x.kthvalue(0, 1, true).is_err() && x.kthvalue(5, 1, true).is_err());
        assert_eq!(x.max_along(0, false).unwrap().1.to_vec(), [1, 1, 1, 1]);
        assert_eq!(x.min_along(-1, false).unwrap().0.to_vec(), [1, 6]);
        let (running, at) = x.cummin(1).unwrap();
        assert_eq!(running.to_vec(), [3, 1, 1, 1, 9, 8, 7, 6]);
        assert_eq!(at.to_vec(), [0, 1, 1, 1, 0, 1, 2, 3]);
        let nan = Tensor::from([1.0, NAN, 3.0]);
        assert_eq!(bits(&nan.cummax(0).unwrap().0), ["1", "NaN", "NaN"]);
        assert_eq!(bits(&nan.cummin(0).unwrap().0), ["1", "NaN", "NaN"]);
        assert_eq!(bits(&nan.median(0, false).unwrap().0), ["NaN"]);
        assert_eq!(bits(&nan.nanmedian(0, false).unwrap().0), ["1"]);
        assert_eq!(bits(&nan.narrow(0, 1, 1).unwrap().nanmedian(0, false).unwrap().0), ["NaN"]);
        let often = Tensor::from([[4, 2, 4, 2, 3], [5, 1, 7, 9, 8_i64]]);
        let (mode, at) = often.mode(1, false).unwrap();
        assert_eq!((mode.to_vec(), at.to_vec()), (vec![2, 1], vec![3, 1]));
        let nans = Tensor::from([NAN, 3.0, NAN, 3.0]);
        assert_eq!(bits(&nans.mode(0, false).unwrap().0), ["3"]);
        assert!(Tensor::<f32>::zeros([2, 0]).mode(1, false).is_err());
        assert_eq!(Tensor::from([1, 1_i64]).cummax(0).unwrap().1.to_vec(), [0, 1]);
    }
}
