//! Distinct values, their counts, and positions in a sorted vector. These
//! functions have no gradient, so they are plain methods of tensors.

use std::cmp::Ordering;

use super::order::{compare, is_nan};
use crate::element::{Element, Number};
use crate::error::{Error, Result};
use crate::kernels::offsets::Offsets;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// The distinct values in ascending order, for each element the index of
    /// its value among them, and how often each value occurs. Every NaN counts
    /// as distinct.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let (values, inverse, counts) = Tensor::from([3, 1, 3, 2_i64]).unique();
    /// assert_eq!(values.to_vec(), [1, 2, 3]);
    /// assert_eq!(inverse.to_vec(), [2, 0, 2, 1]);
    /// assert_eq!(counts.to_vec(), [1, 1, 2]);
    /// ```
    pub fn unique(&self) -> (Self, Tensor<i64>, Tensor<i64>) {
        let flat = self.reshape([self.len()]).expect("the same elements");
        let order = flat.argsort(0, false).expect("a vector has one axis");
        let sorted = flat.gather(0, &order).expect("indices of the vector");
        let (values, runs, counts) = sorted.unique_consecutive();
        let inverse = Tensor::zeros([self.len()]).scatter(0, &order, &runs);
        let inverse = inverse.and_then(|inverse| inverse.reshape(self.shape()));
        (values, inverse.expect("an index for each element"), counts)
    }

    /// Like [`unique`](Self::unique), but merges only equal neighbours in
    /// row-major order, and keeps the order.
    pub fn unique_consecutive(&self) -> (Self, Tensor<i64>, Tensor<i64>) {
        let (mut values, mut counts) = (Vec::<T>::new(), Vec::<i64>::new());
        let mut inverse = Vec::with_capacity(self.len());
        self.with_slice(|elements| {
            for &x in elements {
                match counts.last_mut() {
                    Some(count) if values.last() == Some(&x) => *count += 1,
                    _ => {
                        values.push(x);
                        counts.push(1);
                    }
                }
                inverse.push(values.len() as i64 - 1);
            }
        });
        let inverse = Tensor::from_vec(inverse, self.shape()).expect("one for each element");
        let different = [values.len()];
        let values = Self::from_vec(values, different).expect("as many as there are");
        (values, inverse, Tensor::from_vec(counts, different).expect("one for each value"))
    }

    /// For each value, the index in the sorted last axis of `self` at which it
    /// would be inserted: before equal elements, or with `right` after them.
    /// The axes before the last are those of `values`, or `self` is one vector
    /// for all values.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let bounds = Tensor::from([1.0, 3.0, 5.0]);
    /// let indices = bounds.searchsorted(&Tensor::from([3.0, 0.0, 9.0]), false).unwrap();
    /// assert_eq!(indices.to_vec(), [1, 0, 3]);
    /// ```
    pub fn searchsorted(&self, values: &Self, right: bool) -> Result<Tensor<i64>> {
        let fits = match (self.shape().split_last(), values.shape().split_last()) {
            (Some((_, [])), _) => true,
            (Some((_, batch)), Some((_, other))) => batch == other,
            _ => false,
        };
        if !fits {
            let message = format!(
                "values of shape {} do not fit a sorted tensor of shape {}",
                values.shape(),
                self.shape()
            );
            return Err(Error::shape("searchsorted", message));
        }
        let length = self.shape()[self.rank() - 1];
        let per_row = match self.rank() {
            1 => values.len(),
            _ => values.shape()[values.rank() - 1],
        };
        let shape = values.shape();
        Ok(self.with_slice(|sorted| {
            values.with_slice(|values| {
                Tensor::build(shape, |out| {
                    for (i, (slot, &value)) in out.iter_mut().zip(values).enumerate() {
                        let row = &sorted[i / per_row * length..][..length];
                        let position = row.partition_point(|&x| match compare(x, value) {
                            Ordering::Less => true,
                            Ordering::Equal => right,
                            Ordering::Greater => false,
                        });
                        *slot = position as i64;
                    }
                })
            })
        }))
    }

    /// For each element, the index at which it would be inserted into ascending
    /// boundaries: [`searchsorted`](Self::searchsorted) with the arguments
    /// exchanged.
    ///
    /// # Errors
    ///
    /// When the boundaries are not a vector.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let buckets = Tensor::from([3, 0, 9]).bucketize(&Tensor::from([1, 3, 5]), false).unwrap();
    /// assert_eq!(buckets.to_vec(), [1, 0, 3]);
    /// ```
    pub fn bucketize(&self, boundaries: &Self, right: bool) -> Result<Tensor<i64>> {
        if boundaries.rank() != 1 {
            let message = format!("expected a vector of boundaries, got {}", boundaries.shape());
            return Err(Error::shape("bucketize", message));
        }
        boundaries.searchsorted(self, right)
    }

    /// Whether each element is one of `elements`.
    pub fn isin(&self, elements: &[T]) -> Tensor<bool> {
        let mut sorted = elements.to_vec();
        sorted.sort_by(|&a, &b| compare(a, b));
        self.map(|x| !is_nan(x) && sorted.binary_search_by(|&other| compare(other, x)).is_ok())
    }

    /// The number of elements in each of `bins` equal parts of `low ..= high`.
    ///
    /// # Errors
    ///
    /// When `bins` is 0 or too large for the memory, or the bounds are not
    /// finite and ascending.
    pub fn histc(&self, bins: usize, low: f64, high: f64) -> Result<Tensor<i64>> {
        if bins == 0 || !(low < high && (high - low).is_finite()) {
            let message = format!(
                "expected at least 1 bin and ascending bounds, got {bins} bins from {low} to {high}"
            );
            return Err(Error::argument("histc", message));
        }
        let shape = Shape::from([bins]);
        shape.check_memory::<i64>("histc")?;
        let mut counts = Tensor::<i64>::zeros(shape);
        let slots = counts.make_mut();
        self.with_slice(|values| {
            let values = values.iter().map(|x| x.to_f64());
            for x in values.filter(|x| (low..=high).contains(x)) {
                let bin = ((x - low) / (high - low) * bins as f64) as usize;
                slots[bin.min(bins - 1)] += 1;
            }
        });
        Ok(counts)
    }
}

impl<T: Element> Tensor<T> {
    /// The coordinates of the elements that are not 0 (or false), as one row
    /// each.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let coordinates = Tensor::from([[0, 5], [7, 0_i64]]).nonzero();
    /// assert_eq!(coordinates, Tensor::from([[0, 1], [1, 0]]));
    /// ```
    pub fn nonzero(&self) -> Tensor<i64> {
        let found = self.with_slice(|values| {
            let found = values.iter().enumerate().filter(|(_, x)| **x != T::default());
            found.map(|(index, _)| index).collect::<Vec<_>>()
        });
        Tensor::build([found.len(), self.rank()], |out| {
            if self.rank() == 0 {
                return;
            }
            for (row, mut position) in out.chunks_exact_mut(self.rank()).zip(found) {
                for (slot, &length) in row.iter_mut().zip(self.shape().iter()).rev() {
                    *slot = (position % length) as i64;
                    position /= length;
                }
            }
        })
    }

    /// The number of elements that are not 0 (or false).
    pub fn count_nonzero(&self) -> usize {
        let (values, _) = self.storage();
        Offsets::of(self).filter(|&offset| values[offset] != T::default()).count()
    }
}

impl Tensor<i64> {
    /// For each label, a row of `classes` elements with 1 at the label's index
    /// and 0 elsewhere.
    ///
    /// # Errors
    ///
    /// When a label is not below `classes`, or the rows do not fit into memory.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let rows: Tensor<f32> = Tensor::from([2, 0_i64]).one_hot(3).unwrap();
    /// assert_eq!(rows, Tensor::from([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]));
    /// ```
    pub fn one_hot<T: Number>(&self, classes: usize) -> Result<Tensor<T>> {
        let labels = self.checked_labels("one_hot", classes)?;
        let mut shape = self.shape().to_vec();
        shape.push(classes);
        let shape = Shape::from(shape);
        shape.check_memory::<T>("one_hot")?;
        let mut rows = Tensor::zeros(shape);
        for (row, label) in rows.make_mut().chunks_exact_mut(classes.max(1)).zip(labels) {
            row[label] = T::ONE;
        }
        Ok(rows)
    }

    /// How often each number from 0 on occurs, for at least `at_least` numbers.
    ///
    /// # Errors
    ///
    /// When an element is negative, or the counts up to the largest element do
    /// not fit into memory.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let counts = Tensor::from([2, 0, 2_i64]).bincount(5).unwrap();
    /// assert_eq!(counts.to_vec(), [1, 0, 2, 0, 0]);
    /// ```
    pub fn bincount(&self, at_least: usize) -> Result<Tensor<i64>> {
        let labels = self.checked_labels("bincount", i64::MAX as usize)?;
        let bins = labels.iter().max().map_or(0, |&largest| largest + 1).max(at_least);
        let shape = Shape::from([bins]);
        shape.check_memory::<i64>("bincount")?;
        let mut counts = Tensor::<i64>::zeros(shape);
        let slots = counts.make_mut();
        labels.into_iter().for_each(|label| slots[label] += 1);
        Ok(counts)
    }

    fn checked_labels(&self, context: &str, classes: usize) -> Result<Vec<usize>> {
        let label = |label: i64| {
            let class = usize::try_from(label).ok().filter(|&class| class < classes);
            class.ok_or_else(|| {
                let message = format!("expected numbers from 0 to below {classes}, got {label}");
                Error::data(context, message)
            })
        };
        self.with_slice(|labels| labels.iter().map(|&x| label(x)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    #[test]
    fn distinct_values_and_positions_in_a_sorted_vector() {
        let (values, inverse, counts) = Tensor::from([[2.0, NAN], [2.0, -1.0]]).unique();
        assert_eq!(values.map(|x| if x.is_nan() { 9.0 } else { x }).to_vec(), [-1.0, 2.0, 9.0]);
        assert_eq!(inverse, Tensor::from([[1, 2], [1, 0]]));
        assert_eq!(counts.to_vec(), [1, 2, 1]);
        let (values, _, counts) = Tensor::from([1, 1, 3, 1_i64]).unique_consecutive();
        assert_eq!((values.to_vec(), counts.to_vec()), (vec![1, 3, 1], vec![2, 1, 1]));
        assert!(Tensor::<i64>::zeros([0]).unique().0.is_empty());

        let sorted = Tensor::from([[1, 3, 3, 5], [0, 0, 0, 9_i64]]);
        let values = Tensor::from([[3, 9], [0, 1]]);
        let indices = |right| sorted.searchsorted(&values, right).unwrap().to_vec();
        assert_eq!(indices(false), [1, 4, 0, 3]);
        assert_eq!(indices(true), [3, 4, 3, 3]);
        assert!(sorted.searchsorted(&Tensor::from([1]), false).is_err());
        assert_eq!(Tensor::from([1, 5, 2_i64]).isin(&[2, 1]).to_vec(), [true, false, true]);
        let found = Tensor::from([NAN, -0.0, 3.0]).isin(&[NAN, 3.0, 0.0, NAN]);
        assert_eq!(found.to_vec(), [false, true, true]);
        let counts = Tensor::from([0.0, 1.0, 1.5, 4.0, 9.0, NAN]).histc(4, 0.0, 4.0).unwrap();
        assert_eq!(counts.to_vec(), [1, 2, 0, 1]);
        assert!(counts.histc(0, 0.0, 1.0).is_err() && counts.histc(2, 1.0, 0.0).is_err());
    }

    #[test]
    fn counts_and_positions() {
        let x = Tensor::from([[0, 5], [7, 0_i64]]).transpose(0, 1).unwrap();
        assert_eq!(x.nonzero(), Tensor::from([[0, 1], [1, 0]]));
        assert_eq!(x.count_nonzero(), 2);
        assert_eq!(*Tensor::scalar(true).nonzero().shape(), [1, 0]);
        assert_eq!(Tensor::from([true, false, true]).nonzero().to_vec(), [0, 2]);
        let error = Tensor::from([3]).one_hot::<f32>(3).unwrap_err();
        assert_eq!(error.to_string(), "one_hot: expected numbers from 0 to below 3, got 3");
        assert!(Tensor::from([-1]).bincount(0).is_err());
        assert!(Tensor::<i64>::zeros([0]).bincount(0).unwrap().is_empty());
        assert_eq!(*Tensor::<i64>::zeros([2, 0]).one_hot::<u8>(4).unwrap().shape(), [2, 0, 4]);
    }
}
