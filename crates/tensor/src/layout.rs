//! Functions that change the shape or select elements, for every element type:
//! reshape, permute, slice, broadcast, join, index.
//!
//! Functions that only change shape, strides and offset copy nothing. The
//! differentiable functions in [`Ops`](crate::ops::Ops) call these.

use smallvec::SmallVec;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::offsets::{Offsets, take_rows};
use crate::shape::Shape;
use crate::tensor::{Strides, Tensor};

impl<T: Element> Tensor<T> {
    /// The same elements in row-major order with another shape. Copies only
    /// when the tensor is not contiguous.
    ///
    /// # Errors
    ///
    /// When the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.checked_elements() != Some(self.len()) {
            return Err(Error::shape(
                "reshape",
                format!("{shape} does not fit the {} elements of {}", self.len(), self.shape()),
            ));
        }
        Ok(self.contiguous().with_shape(shape))
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]`.
    ///
    /// # Errors
    ///
    /// When `axes` is not a permutation of the axes.
    pub fn permute(&self, axes: &[isize]) -> Result<Self> {
        let order = axes
            .iter()
            .map(|&axis| self.shape().axis("permute", axis))
            .collect::<Result<SmallVec<[usize; 4]>>>()?;
        self.shape().axes("permute", axes)?;
        if order.len() != self.rank() {
            return Err(Error::shape(
                "permute",
                format!("expected each axis of shape {} once, got {axes:?}", self.shape()),
            ));
        }
        Ok(self.permuted(&order))
    }

    /// Like [`permute`](Self::permute), for an order that is a permutation.
    pub(crate) fn permuted(&self, order: &[usize]) -> Self {
        let shape = order.iter().map(|&axis| self.shape()[axis]).collect();
        let strides = self.strides();
        let strides = order.iter().map(|&axis| strides[axis]).collect();
        self.with_layout(shape, strides, self.storage().1)
    }

    /// Exchanges two axes.
    ///
    /// # Errors
    ///
    /// When one of them does not exist.
    pub fn transpose(&self, first: isize, second: isize) -> Result<Self> {
        let (first, _) = self.shape().along("transpose", first)?;
        let (second, _) = self.shape().along("transpose", second)?;
        if first == second {
            return Ok(self.clone());
        }
        let mut order: SmallVec<[usize; 4]> = (0..self.rank()).collect();
        order.swap(first, second);
        Ok(self.permuted(&order))
    }

    /// Every `step`-th index of one axis from `start` to `end`, exclusive.
    /// Negative bounds count from the end of the axis; `end: None` is the end
    /// of the axis; a negative step goes backwards.
    ///
    /// # Errors
    ///
    /// When the axis does not exist, a bound is out of range, or the step is 0.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::<i64>::arange(6);
    /// assert_eq!(x.slice(0, 1, Some(-1), 2).unwrap().to_vec(), [1, 3]);
    /// assert_eq!(x.slice(0, -1, None, -2).unwrap().to_vec(), [5, 3, 1]);
    /// ```
    pub fn slice(
        &self,
        axis: isize,
        start: isize,
        end: Option<isize>,
        step: isize,
    ) -> Result<Self> {
        let index = self.shape().axis("slice", axis)?;
        let size = self.shape()[index] as isize;
        let absolute = |bound: isize| if bound < 0 { bound + size } else { bound };
        let first = absolute(start);
        let count = match (step, end) {
            (0, _) => return Err(Error::argument("slice", "the step must not be 0")),
            (1.., end) => {
                let end = end.map_or(size, absolute);
                ((0..=size).contains(&first) && (0..=size).contains(&end))
                    .then(|| (end - first).max(0) as usize)
            }
            (_, end) => {
                let end = end.map_or(-1, absolute);
                let empty = size == 0 && end == -1;
                (empty || ((0..size).contains(&first) && (-1..size).contains(&end)))
                    .then(|| if empty { 0 } else { (first - end).max(0) as usize })
            }
        };
        let count = count.ok_or_else(|| {
            let end = end.map_or_else(String::new, |end| end.to_string());
            Error::shape(
                "slice",
                format!("{start}..{end} is out of range for axis {axis} of shape {}", self.shape()),
            )
        })?;
        let count = count.div_ceil(step.unsigned_abs());
        let mut strides = self.strides();
        let offset = match count {
            0 => 0,
            _ => (self.storage().1 as isize + first * strides[index]) as usize,
        };
        strides[index] *= step;
        Ok(self.with_layout(self.shape().with(index, count), strides, offset))
    }

    /// The `length` indices of one axis from `start` on.
    ///
    /// # Errors
    ///
    /// When they are out of range.
    pub fn narrow(&self, axis: isize, start: usize, length: usize) -> Result<Self> {
        let size = self.shape()[self.shape().axis("narrow", axis)?];
        match start.checked_add(length) {
            Some(end) if end <= size => self.slice(axis, start as isize, Some(end as isize), 1),
            _ => Err(Error::shape(
                "narrow",
                format!(
                    "start {start} with length {length} is out of range for axis {axis} of {}",
                    self.shape()
                ),
            )),
        }
    }

    /// Removes an axis of length 1.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or its length is not 1.
    pub fn squeeze(&self, axis: isize) -> Result<Self> {
        let (index, size) = self.shape().along("squeeze", axis)?;
        if self.rank() == 0 {
            return Ok(self.clone());
        }
        if size != 1 {
            return Err(Error::shape(
                "squeeze",
                format!("expected length 1 for axis {axis} of shape {}", self.shape()),
            ));
        }
        let mut strides = self.strides();
        strides.remove(index);
        Ok(self.with_layout(self.shape().reduced(&[index], false), strides, self.storage().1))
    }

    /// Inserts a new axis of length 1 before `axis`; −1 appends it.
    ///
    /// # Errors
    ///
    /// When `axis` is greater than the rank.
    pub fn unsqueeze(&self, axis: isize) -> Result<Self> {
        let index = self.unsqueezed_axis("unsqueeze", axis)?;
        let mut sizes = self.shape().to_vec();
        sizes.insert(index, 1);
        let mut strides = self.strides();
        strides.insert(index, 0);
        Ok(self.with_layout(sizes.into(), strides, self.storage().1))
    }

    /// The index of a new axis in a shape with one more axis.
    pub(crate) fn unsqueezed_axis(&self, context: &str, axis: isize) -> Result<usize> {
        let rank = self.rank() as isize + 1;
        let index = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&index) {
            return Ok(index as usize);
        }
        Err(Error::shape(context, format!("new axis {axis} is out of range for {}", self.shape())))
    }

    /// The axes from `start` to `end` (inclusive) merged into one.
    ///
    /// # Errors
    ///
    /// When they do not exist or `start` is after `end`.
    pub fn flatten(&self, start: isize, end: isize) -> Result<Self> {
        self.reshape(self.shape().flattened(start, end)?)
    }

    /// Broadcasts to `shape` by NumPy's rule; nothing is copied.
    ///
    /// # Errors
    ///
    /// When the tensor does not broadcast to exactly that shape, or its
    /// elements would not fit into memory if they were written out.
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if self.shape().broadcast(&shape, "broadcast_to").ok().as_ref() != Some(&shape) {
            return Err(Error::shape(
                "broadcast_to",
                format!("shape {} does not broadcast to {shape}", self.shape()),
            ));
        }
        shape.check_memory::<T>("broadcast_to")?;
        Ok(self.stretched(shape))
    }

    /// Like [`broadcast_to`](Self::broadcast_to), for a shape that fits.
    pub(crate) fn stretched(&self, shape: Shape) -> Self {
        let mut strides = Strides::from_elem(0, shape.len());
        let new_axes = shape.len() - self.rank();
        for (axis, (&size, stride)) in self.shape().iter().zip(self.strides()).enumerate() {
            if size != 1 {
                strides[new_axes + axis] = stride;
            }
        }
        self.with_layout(shape, strides, self.storage().1)
    }

    /// The elements at some indices of one axis, in the given order.
    ///
    /// # Errors
    ///
    /// When the axis or an index does not exist.
    pub fn index_select(&self, axis: isize, indices: &[usize]) -> Result<Self> {
        let (axis, _) = self.shape().selected("index_select", axis, indices)?;
        if self.rank() == 0 {
            return Ok(self.clone());
        }
        Ok(take_rows(self, axis, indices, T::default()))
    }

    /// For each position of `index`, the element at that position, with the
    /// coordinate along `axis` replaced by the value of `index`.
    ///
    /// # Errors
    ///
    /// When the ranks differ, `index` is longer than the tensor along an axis
    /// other than `axis`, or an index is out of range.
    pub fn gather(&self, axis: isize, index: &Tensor<i64>) -> Result<Self> {
        let axis = self.shape().check_gather("gather", axis, index)?;
        if self.rank() == 0 || index.rank() == 0 {
            let picked = self.at_least_vector().gather(0, &index.at_least_vector())?;
            return picked.reshape(index.shape());
        }
        let mut strides = self.strides();
        let along = std::mem::take(&mut strides[axis]);
        let (values, start) = self.storage();
        let offsets = Offsets::new(index.shape(), &strides, start);
        Ok(index.with_slice(|indices| {
            Self::build(index.shape(), |out| {
                for ((slot, offset), &index) in out.iter_mut().zip(offsets).zip(indices) {
                    *slot = values[(offset as isize + index as isize * along) as usize];
                }
            })
        }))
    }
}

/// The shape rules that these functions share with their gradients.
impl Shape {
    /// The shape after merging the axes from `start` to `end` (inclusive).
    ///
    /// # Errors
    ///
    /// When the axes do not exist, or the merged length overflows.
    pub fn flattened(&self, start: isize, end: isize) -> Result<Self> {
        if self.is_empty() {
            return Ok([1].into());
        }
        let (first, last) = (self.axis("flatten", start)?, self.axis("flatten", end)?);
        if first > last {
            return Err(Error::argument(
                "flatten",
                format!("axis {start} of shape {self} comes after axis {end}"),
            ));
        }
        let middle = Shape::from(&self[first..=last]).checked_elements().ok_or_else(|| {
            Error::shape("flatten", format!("the number of elements of {self} overflows"))
        })?;
        Ok(self[..first]
            .iter()
            .copied()
            .chain([middle])
            .chain(self[last + 1..].iter().copied())
            .collect())
    }

    /// The index of the axis and the shape of the result of joining tensors of
    /// these shapes.
    pub(crate) fn joined(shapes: &[&Self], axis: isize) -> Result<(usize, Self)> {
        let Some(first) = shapes.first() else {
            return Err(Error::argument("cat", "expected at least one tensor, got none"));
        };
        let index = first.axis("cat", axis)?;
        for other in shapes {
            if other.len() != first.len() || other.with(index, 0) != first.with(index, 0) {
                return Err(Error::shape(
                    "cat",
                    format!("shapes {first} and {other} differ outside axis {axis}"),
                ));
            }
        }
        let lengths = || shapes.iter().map(|shape| shape[index]);
        let length = lengths().try_fold(0, |sum: usize, length| sum.checked_add(length));
        let length = length
            .ok_or_else(|| Error::shape("cat", format!("the length of axis {axis} overflows")))?;
        Ok((index, first.with(index, length)))
    }

    /// The index of the axis, if `index` can be gathered along it.
    pub(crate) fn check_gather(
        &self,
        context: &str,
        axis: isize,
        index: &Tensor<i64>,
    ) -> Result<usize> {
        let (along, size) = self.along(context, axis)?;
        let [shape, other] = [self, index.shape()].map(Self::at_least_vector);
        let fits = shape.len() == other.len()
            && (0..shape.len()).all(|axis| axis == along || other[axis] <= shape[axis]);
        if !fits {
            return Err(Error::shape(
                context,
                format!(
                    "an index of shape {} does not fit shape {self} along axis {axis}",
                    index.shape()
                ),
            ));
        }
        let size = size as i64;
        match index
            .with_slice(|index| index.iter().copied().find(|index| !(0..size).contains(index)))
        {
            None => Ok(along),
            Some(bad) => Err(Error::argument(
                context,
                format!("index {bad} is out of range for axis {axis} of shape {self}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube() -> Tensor<i64> {
        Tensor::arange(24).reshape([2, 3, 4]).unwrap()
    }

    #[test]
    fn views_share_the_buffer() {
        let x = cube();
        let start = x.storage().0.as_ptr();
        let y = x.permute(&[2, 0, 1]).unwrap().narrow(0, 1, 2).unwrap().unsqueeze(-1).unwrap();
        assert_eq!(y.storage().0.as_ptr(), start);
        assert_eq!(*y.shape(), [2, 2, 3, 1]);
        assert_eq!(y.to_vec(), [1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22]);
    }

    #[test]
    fn a_strided_tensor_reshapes_by_its_order() {
        let x = Tensor::from([[1, 2, 3], [4, 5, 6_i64]]).transpose(0, 1).unwrap();
        assert_eq!(x.reshape([6]).unwrap().to_vec(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(*cube().flatten(1, -1).unwrap().shape(), [2, 12]);
        assert_eq!(*Tensor::scalar(1.0_f32).flatten(0, -1).unwrap().shape(), [1]);
    }

    #[test]
    fn slices_step_both_ways_and_are_checked() {
        let x = Tensor::<i64>::arange(7);
        let slice = |start, end, step| x.slice(0, start, end, step).map(|slice| slice.to_vec());
        assert_eq!(slice(0, None, 3).unwrap(), [0, 3, 6]);
        assert_eq!(slice(-2, Some(0), -2).unwrap(), [5, 3, 1]);
        assert_eq!(slice(-1, None, -3).unwrap(), [6, 3, 0]);
        assert!(slice(3, Some(3), 1).unwrap().is_empty());
        assert!(slice(4, Some(2), 1).unwrap().is_empty());
        assert!(slice(7, None, 1).unwrap().is_empty());
        for (start, end, step) in [(0, Some(8), 1), (8, None, 1), (0, None, 0), (7, None, -1)] {
            assert!(slice(start, end, step).is_err(), "{start}..{end:?} by {step}");
        }
        let twice = x.slice(0, 1, None, 2).unwrap().slice(0, -1, None, -1).unwrap();
        assert_eq!(twice.to_vec(), [5, 3, 1]);
    }

    #[test]
    fn joining_and_picking() {
        let x = cube();
        let y = Tensor::cat(&[&x, &x.narrow(1, 0, 1).unwrap()], 1).unwrap();
        assert_eq!(*y.shape(), [2, 4, 4]);
        assert_eq!(y.narrow(1, 3, 1).unwrap().to_vec(), [0, 1, 2, 3, 12, 13, 14, 15]);
        let rows = Tensor::stack(&[&Tensor::from([1, 2_i64]), &Tensor::from([3, 4])], -1).unwrap();
        assert_eq!(rows.to_vec(), [1, 3, 2, 4]);
        assert_eq!(
            x.index_select(2, &[3, 0]).unwrap().narrow(0, 0, 1).unwrap().to_vec(),
            [3, 0, 7, 4, 11, 8]
        );
        let picked = x.gather(1, &Tensor::from([[[2, 0, 1, 2_i64]]])).unwrap();
        assert_eq!(picked.to_vec(), [8, 1, 6, 11]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_shapes() {
        let x = cube();
        let message = |result: Result<Tensor<i64>>| result.unwrap_err().to_string();
        assert_eq!(
            message(x.reshape([5])),
            "reshape: [5] does not fit the 24 elements of [2, 3, 4]"
        );
        assert_eq!(
            message(x.broadcast_to([3, 4])),
            "broadcast_to: shape [2, 3, 4] does not broadcast to [3, 4]"
        );
        assert_eq!(
            message(x.narrow(1, 2, 2)),
            "narrow: start 2 with length 2 is out of range for axis 1 of [2, 3, 4]"
        );
        assert!(message(x.permute(&[0, 1])).contains("expected each axis of shape [2, 3, 4] once"));
        assert!(message(x.squeeze(0)).contains("expected length 1"));
        assert!(message(x.index_select(0, &[2])).contains("index 2 is out of range"));
        assert!(message(x.gather(0, &Tensor::from([[[-1_i64]]]))).contains("index -1"));
        assert!(message(Tensor::cat(&[&x, &cube().flatten(0, 1).unwrap()], 0)).contains("differ"));
        assert!(message(Tensor::cat(&[], 0)).contains("at least one tensor"));
    }

    #[test]
    fn more_elements_than_can_be_counted_are_refused() {
        let error = Tensor::scalar(1.0_f32).broadcast_to([usize::MAX, 2]).unwrap_err();
        assert!(error.to_string().contains("not enough memory"), "{error}");
    }

    #[test]
    fn empty_tensors_pass_through() {
        let x = Tensor::<f32>::zeros([2, 0, 3]);
        assert_eq!(*x.permute(&[1, 2, 0]).unwrap().contiguous().shape(), [0, 3, 2]);
        assert_eq!(*x.slice(1, 0, None, 1).unwrap().reshape([0, 7]).unwrap().shape(), [0, 7]);
        assert_eq!(*Tensor::cat(&[&x, &x], 0).unwrap().shape(), [4, 0, 3]);
    }
}
