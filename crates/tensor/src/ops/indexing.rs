//! Advanced indexing: elements and slices that several index tensors select
//! together, and copies with other values at these positions. The functions are
//! composed of others and written once, for the trait [`Ops`](crate::Ops) and
//! for tensors of any element type.

use super::indexing;
use crate::element::{Element, Number};
use crate::error::{Error, Result};
use crate::kernels::offsets::Offsets;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Functions for every element type, as items of the trait or, with `pub`, of a
/// type.
macro_rules! indexing_functions {
    ($($pub:tt)?) => {
        /// The elements that index tensors select, one tensor for each axis
        /// from the first on; `None`, or a missing tensor, selects a whole
        /// axis: `x.index(&[Some(&i), None, Some(&j)])` is `x[i, :, j]` in
        /// NumPy and PyTorch.
        ///
        /// The index tensors broadcast together. Their axes replace the indexed
        /// axes if those are adjacent; otherwise they come first. A negative
        /// index counts from the end of its axis. `mask.nonzero().unbind(1)`
        /// converts a mask to index tensors.
        ///
        /// # Errors
        ///
        /// When there are more indices than axes, they do not broadcast, or an
        /// index is out of range.
        $($pub)? fn index(&self, indices: &[Option<&Tensor<i64>>]) -> Result<Self> {
            let named = indexing::Named::new("index", self.value().shape(), indices)?;
            let joined = self.permute(&named.order)?.reshape(&named.joined)?;
            joined.index_select(named.axis, &named.positions)?.reshape(named.result)
        }

        /// A copy with `values` at the positions that index tensors select, as
        /// in [`index`](Self::index). The values broadcast to the shape that
        /// `index` returns. Of several values for one position the last one in
        /// row-major order is kept (PyTorch does not specify which).
        ///
        /// # Errors
        ///
        /// The errors of [`index`](Self::index), and when the values do not
        /// broadcast.
        $($pub)? fn index_put(
            &self,
            indices: &[Option<&Tensor<i64>>],
            values: &Self,
        ) -> Result<Self> {
            let named = indexing::Named::new("index_put", self.value().shape(), indices)?;
            let values = values.broadcast_to(&named.result)?.reshape(named.slices())?;
            let shape = named.ordered(self.value().shape());
            let joined = self.permute(&named.order)?.reshape(&named.joined)?;
            let put = joined.index_copy(named.axis, &named.positions, &values)?;
            put.reshape(shape)?.permute(&named.back())
        }

        /// The elements at these row-major positions.
        ///
        /// # Errors
        ///
        /// When a position is out of range.
        $($pub)? fn take(&self, positions: &[usize]) -> Result<Self> {
            self.flatten(0, -1)?.index_select(0, positions)
        }

        /// A copy with the elements of `source` at these row-major positions.
        /// Of several elements for one position the last one is kept.
        ///
        /// # Errors
        ///
        /// When a position is out of range or the source has another number of
        /// elements.
        $($pub)? fn put(&self, positions: &[usize], source: &Self) -> Result<Self> {
            let (shape, flat) = (self.value().shape(), self.flatten(0, -1)?);
            flat.index_copy(0, positions, &source.flatten(0, -1)?)?.reshape(shape)
        }

        /// A copy in which `source` replaces the elements that
        /// [`slice`](Self::slice) returns.
        ///
        /// # Errors
        ///
        /// The errors of [`slice`](Self::slice), and when the source does not
        /// have the shape of the slice.
        $($pub)? fn slice_scatter(
            &self,
            source: &Self,
            axis: isize,
            start: isize,
            end: Option<isize>,
            step: isize,
        ) -> Result<Self> {
            let shape = self.value().shape();
            let indices = Tensor::<usize>::arange(shape[shape.axis("slice_scatter", axis)?]);
            let indices = indices.slice(0, start, end, step)?.to_vec();
            self.index_copy(axis, &indices, source)
        }

        /// A copy in which `source` replaces the elements that
        /// [`select`](Self::select) returns.
        ///
        /// # Errors
        ///
        /// When the axis or the index does not exist, or the source does not
        /// have the shape of the elements that it replaces.
        $($pub)? fn select_scatter(
            &self,
            source: &Self,
            axis: isize,
            index: isize,
        ) -> Result<Self> {
            let replaced = self.value().select(axis, index)?;
            indexing::check_source("select_scatter", replaced.shape(), source.value().shape())?;
            let shape = self.value().shape();
            let along = shape.axis("select_scatter", axis)?;
            let index = index.rem_euclid(shape[along] as isize) as usize;
            self.index_copy(axis, &[index], &source.unsqueeze(along as isize)?)
        }

        /// A copy in which `source` replaces the elements that
        /// [`diagonal`](Self::diagonal) returns.
        ///
        /// # Errors
        ///
        /// The errors of [`diagonal`](Self::diagonal), and when the source does
        /// not have the shape of the diagonal.
        $($pub)? fn diagonal_scatter(
            &self,
            source: &Self,
            offset: isize,
            rows: isize,
            columns: isize,
        ) -> Result<Self> {
            let shape = self.value().shape();
            let positions = Tensor::<usize>::arange(shape.elements()).reshape(shape)?;
            let positions = positions.diagonal(offset, rows, columns)?;
            indexing::check_source("diagonal_scatter", positions.shape(), source.value().shape())?;
            self.put(&positions.to_vec(), source)
        }
    };
}

/// Functions for numbers, as items of the trait or, with `pub`, of a type.
macro_rules! accumulating_functions {
    ($($pub:tt)?) => {
        /// Like [`index_put`](Self::index_put), but adds the values to the
        /// elements; several values for one position are all added (PyTorch's
        /// `accumulate=True`).
        ///
        /// # Errors
        ///
        /// The errors of [`index_put`](Self::index_put).
        $($pub)? fn index_put_accumulate(
            &self,
            indices: &[Option<&Tensor<i64>>],
            values: &Self,
        ) -> Result<Self> {
            let context = "index_put_accumulate";
            let named = indexing::Named::new(context, self.value().shape(), indices)?;
            let values = values.broadcast_to(&named.result)?.reshape(named.slices())?;
            let shape = named.ordered(self.value().shape());
            let joined = self.permute(&named.order)?.reshape(&named.joined)?;
            let put = joined.index_add(named.axis, &named.positions, &values)?;
            put.reshape(shape)?.permute(&named.back())
        }

        /// Like [`put`](Self::put), but adds to the elements; several values for
        /// one position are all added.
        ///
        /// # Errors
        ///
        /// The errors of [`put`](Self::put).
        $($pub)? fn put_accumulate(&self, positions: &[usize], source: &Self) -> Result<Self> {
            let (shape, flat) = (self.value().shape(), self.flatten(0, -1)?);
            flat.index_add(0, positions, &source.flatten(0, -1)?)?.reshape(shape)
        }
    };
}

pub(super) use {accumulating_functions, indexing_functions};

/// The elements that index tensors select: the indexed axes are moved next to
/// each other and merged into one, and the elements are positions along this
/// axis.
pub(super) struct Named {
    /// The axes in the order that makes the indexed ones adjacent.
    pub(super) order: Vec<isize>,
    /// The shape with its axes in that order and the indexed ones merged.
    pub(super) joined: Shape,
    /// The merged axis.
    pub(super) axis: isize,
    /// The positions along it.
    pub(super) positions: Vec<usize>,
    /// The shape of the selected elements.
    pub(super) result: Shape,
    /// The indexed axes.
    pub(super) indexed: Vec<usize>,
}

impl Named {
    pub(super) fn new(
        context: &str,
        shape: &Shape,
        indices: &[Option<&Tensor<i64>>],
    ) -> Result<Self> {
        if indices.len() > shape.len() {
            let message = format!(
                "expected at most {} indices for shape {shape}, got {}",
                shape.len(),
                indices.len()
            );
            return Err(Error::shape(context, message));
        }
        let named =
            || indices.iter().enumerate().filter_map(|(axis, index)| Some((axis, (*index)?)));
        let indexed: Vec<usize> = named().map(|(axis, _)| axis).collect();
        let together = named().try_fold(Shape::scalar(), |together, (_, index)| {
            together.broadcast(index.shape(), context)
        })?;
        let positions = positions(context, shape, named(), &together)?;
        let neighbours = indexed.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let axis = if neighbours { indexed.first().copied().unwrap_or(0) } else { 0 };
        let mut order: Vec<usize> = (0..shape.len()).filter(|i| !indexed.contains(i)).collect();
        order.splice(axis..axis, indexed.iter().copied());
        let before = || order[..axis].iter().map(|&axis| shape[axis]);
        let behind = || order[axis + indexed.len()..].iter().map(|&axis| shape[axis]);
        // The positions were computed, so this product does not overflow.
        let joined = indexed.iter().map(|&axis| shape[axis]).product();
        Ok(Self {
            joined: before().chain([joined]).chain(behind()).collect(),
            result: before().chain(together.iter().copied()).chain(behind()).collect(),
            order: order.iter().map(|&axis| axis as isize).collect(),
            axis: axis as isize,
            positions,
            indexed,
        })
    }

    /// The shape of the slices selected along the merged axis.
    pub(super) fn slices(&self) -> Shape {
        self.joined.with(self.axis as usize, self.positions.len())
    }

    /// The shape with its axes in that order.
    pub(super) fn ordered(&self, shape: &Shape) -> Shape {
        self.order.iter().map(|&axis| shape[axis as usize]).collect()
    }

    /// The inverse order.
    pub(super) fn back(&self) -> Vec<isize> {
        let mut back = vec![0; self.order.len()];
        for (position, &axis) in (0..).zip(&self.order) {
            back[axis as usize] = position;
        }
        back
    }

    /// For each position, the offset of its elements from those of position 0
    /// in a row-major tensor of this shape.
    pub(super) fn offsets(&self, shape: &Shape) -> Vec<usize> {
        let strides = shape.contiguous_strides();
        let offset = |&position: &usize| {
            let (mut rest, mut offset) = (position, 0);
            for &axis in self.indexed.iter().rev() {
                offset += rest % shape[axis] * strides[axis] as usize;
                rest /= shape[axis];
            }
            offset
        };
        self.positions.iter().map(offset).collect()
    }
}

/// The positions along the merged axis that index tensors select, which
/// broadcast to one shape.
fn positions<'a>(
    context: &str,
    shape: &Shape,
    named: impl Iterator<Item = (usize, &'a Tensor<i64>)>,
    together: &Shape,
) -> Result<Vec<usize>> {
    together.check_memory::<usize>(context)?;
    let mut positions = vec![0; together.elements()];
    let mut joined = 1_usize;
    for (axis, index) in named {
        let length = shape[axis];
        joined = joined.checked_mul(length).ok_or_else(|| {
            Error::shape(context, format!("the indexed axes of {shape} have too many elements"))
        })?;
        let index = index.stretched(together.clone());
        let (values, _) = index.storage();
        for (position, at) in positions.iter_mut().zip(Offsets::of(&index)) {
            let named = values[at];
            let from_start = if named < 0 { named + length as i64 } else { named };
            if !(0..length as i64).contains(&from_start) {
                let message = format!("index {named} is out of range for axis {axis} of {shape}");
                return Err(Error::argument(context, message));
            }
            *position = *position * length + from_start as usize;
        }
    }
    Ok(positions)
}

/// An error when a source does not have the shape of the elements that it
/// replaces.
pub(super) fn check_source(context: &str, replaced: &Shape, source: &Shape) -> Result<()> {
    if replaced == source {
        return Ok(());
    }
    Err(Error::shape(context, format!("expected a source of shape {replaced}, got {source}")))
}

/// Indices of an axis as an index tensor of the shape of a source.
pub(super) fn column(axis: usize, indices: &[usize], source: &Shape) -> Result<Tensor<i64>> {
    let mut column = vec![1; source.len()];
    // A scalar has no axis, but one index.
    column.iter_mut().skip(axis).take(1).for_each(|length| *length = indices.len());
    Tensor::from_fn(column, |i| indices[i] as i64).broadcast_to(source)
}

impl<T: Element> Tensor<T> {
    indexing_functions! { pub }
}

impl<T: Number> Tensor<T> {
    accumulating_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    fn cube() -> Tensor<i64> {
        Tensor::arange(24).reshape([2, 3, 4]).unwrap()
    }

    fn at<const N: usize>(indices: [i64; N]) -> Tensor<i64> {
        Tensor::from(indices)
    }

    /// Expected values: PyTorch's.
    #[test]
    fn index_tensors_name_elements_and_slices() {
        let x = cube();
        let (i, j) = (at([0, 1, -1]), at([3, 0, -2]));
        let picked = x.index(&[Some(&i), None, Some(&j)]).unwrap();
        assert_eq!(picked, Tensor::from([[3, 7, 11], [12, 16, 20], [14, 18, 22]]));
        // Adjacent axes stay in their position.
        let picked = x.index(&[None, Some(&i), Some(&j)]).unwrap();
        assert_eq!(picked, Tensor::from([[3, 4, 10], [15, 16, 22]]));
        let grid = x.index(&[Some(&Tensor::from([[0], [1]])), Some(&at([2, 0]))]).unwrap();
        assert_eq!(*grid.shape(), [2, 2, 4]);
        assert_eq!(grid.select(2, 0).unwrap(), Tensor::from([[8, 0], [20, 12]]));
        let one = x.index(&[None, Some(&Tensor::scalar(-1))]).unwrap();
        assert_eq!(one, Tensor::from([[8, 9, 10, 11], [20, 21, 22, 23]]));
        assert_eq!(x.index(&[]).unwrap(), x);
        assert_eq!(*x.index(&[Some(&at([]))]).unwrap().shape(), [0, 3, 4]);
        let mask = x.gt_scalar(20);
        let named = mask.nonzero().unbind(1).unwrap();
        let named: Vec<_> = named.iter().map(Some).collect();
        assert_eq!(x.index(&named).unwrap().to_vec(), [21, 22, 23]);
    }

    /// Expected values: PyTorch's.
    #[test]
    fn index_tensors_name_where_values_go() {
        let x = Tensor::<i64>::zeros([2, 3, 2]);
        let (i, j) = (at([0, 1]), at([1, -2]));
        let values = Tensor::from([[1, 2, 3], [4, 5, 6]]);
        let expected = [0, 1, 0, 2, 0, 3, 4, 0, 5, 0, 6, 0];
        let put = x.index_put(&[Some(&i), None, Some(&j)], &values).unwrap();
        assert_eq!(put.to_vec(), expected);
        let mut assigned = x.clone();
        assigned.assign_index(&[Some(&i), None, Some(&j)], &values).unwrap();
        assert_eq!((assigned.to_vec(), x.sum().item().unwrap()), (expected.to_vec(), 0));
        let twice = at([1, 1, 0]);
        let rows = Tensor::from([[1], [2], [3]]);
        let named = [None, Some(&twice)];
        let last = x.index_put(&named, &rows).unwrap();
        assert_eq!(last.to_vec(), [3, 3, 2, 2, 0, 0, 3, 3, 2, 2, 0, 0]);
        let mut assigned = x.transpose(0, 2).unwrap();
        assigned.assign_index(&named, &rows).unwrap();
        assert_eq!(assigned, last);
        let sum = x.index_put_accumulate(&named, &rows).unwrap();
        assert_eq!(sum.to_vec(), [3, 3, 3, 3, 0, 0, 3, 3, 3, 3, 0, 0]);
        let all = x.index_put_accumulate(&[], &Tensor::scalar(7)).unwrap();
        assert_eq!(all, Tensor::full([2, 3, 2], 7));
    }

    #[test]
    fn indices_that_name_nothing_are_refused() {
        let x = cube();
        let message = |indices: &[Option<&Tensor<i64>>]| x.index(indices).unwrap_err().to_string();
        let error = message(&[None, Some(&at([0, 3]))]);
        assert_eq!(error, "index: index 3 is out of range for axis 1 of [2, 3, 4]");
        assert!(message(&[Some(&at([-3]))]).contains("index -3"));
        assert!(message(&[Some(&at([i64::MIN]))]).contains("out of range"));
        assert!(message(&[None; 4]).contains("at most 3 indices for shape [2, 3, 4], got 4"));
        let error = message(&[Some(&at([0, 1])), Some(&at([0, 1, 2]))]);
        assert!(error.starts_with("index: shapes [2] and [3] do not broadcast"), "{error}");
        let huge = Tensor::scalar(0).stretched([1 << 40, 1].into());
        let wide = Tensor::scalar(0).stretched([1, 1 << 20].into());
        assert!(message(&[Some(&huge), Some(&wide)]).starts_with("index: not enough memory"));
        let nothing = Tensor::<f32>::zeros([0, 1 << 40, 1 << 40]);
        let none = at([]);
        assert!(nothing.index(&[None, Some(&none), Some(&none)]).is_err());
        assert!(x.index_put(&[Some(&at([0]))], &at([1, 2])).is_err());
        assert!(x.clone().assign_index(&[Some(&at([2]))], &x).is_err());
    }

    /// Expected values: PyTorch's.
    #[test]
    fn slices_and_diagonals_are_replaced() {
        let x = Tensor::<i64>::zeros([3, 4]);
        let put = x.slice_scatter(&Tensor::from([[1, 2], [3, 4], [5, 6]]), 1, 0, None, 2).unwrap();
        assert_eq!(put.to_vec(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
        let put = x.select_scatter(&at([7, 8, 9]), -1, -2).unwrap();
        assert_eq!(put.to_vec(), [0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0]);
        let put = x.diagonal_scatter(&at([1, 2]), -1, 0, 1).unwrap();
        assert_eq!(put.to_vec(), [0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0]);
        assert!(x.slice_scatter(&at([1]), 0, 0, None, 1).is_err());
        assert!(x.select_scatter(&at([1]), 0, 0).is_err());
        assert!(x.select_scatter(&at([1, 2, 3, 4]), 0, 3).is_err());
        assert!(x.diagonal_scatter(&at([1]), 0, 0, 1).is_err());
        let flags = Tensor::full([2, 2], false);
        let put = flags.diagonal_scatter(&Tensor::from([true, true]), 0, 0, 1).unwrap();
        assert_eq!(put.to_vec(), [true, false, false, true]);
    }

    #[test]
    fn positions_in_row_major_order() {
        let x = Tensor::<i64>::zeros([2, 2]);
        let source = Tensor::from([[1, 2, 3]]);
        assert_eq!(x.put(&[3, 0, 3], &source).unwrap(), Tensor::from([[2, 0], [0, 3]]));
        let sum = x.put_accumulate(&[3, 0, 3], &source).unwrap();
        assert_eq!(sum, Tensor::from([[2, 0], [0, 4]]));
        assert!(x.put(&[4], &at([1])).is_err() && x.put(&[0], &source).is_err());
        assert!(x.put_accumulate(&[usize::MAX], &at([1])).is_err());
    }

    #[test]
    fn slices_are_reduced() {
        use crate::ScatterReduction::{Max, Prod};
        let x = Tensor::from([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let source = Tensor::from([[2.0, 3.0], [7.0, -1.0]]);
        let product = x.index_reduce(0, &[1, 1], &source, Prod, true).unwrap();
        assert_eq!(product.to_vec(), [1.0, 2.0, 42.0, -12.0, 5.0, 6.0]);
        let largest = x.index_reduce(0, &[2, 0], &source, Max, false).unwrap();
        assert_eq!(largest.to_vec(), [7.0, -1.0, 3.0, 4.0, 2.0, 3.0]);
        assert!(x.index_reduce(0, &[3, 0], &source, Max, false).is_err());
        assert!(x.index_reduce(0, &[0], &source, Max, false).is_err());
        assert!(x.index_reduce(2, &[0], &source, Max, false).is_err());
    }
}
