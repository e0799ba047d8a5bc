//! Moving elements between places: rows of an axis by a list of indices, and
//! single elements by strides.

use smallvec::SmallVec;

use super::parallel::{for_each_chunk, rows_per_chunk};
use crate::element::{Element, Number};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// In a list of indices: no row at all.
pub(crate) const NOWHERE: usize = usize::MAX;

/// An axis of an array in row-major order.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// Elements along the axis.
    pub(crate) extent: usize,
    /// Elements of a row: of all the axes that follow.
    pub(crate) length: usize,
}

impl Rows {
    pub(crate) fn new(shape: &Shape, axis: usize) -> Self {
        Self { extent: shape[axis], length: shape[axis + 1..].iter().product() }
    }

    /// Elements of all rows of the axis.
    pub(crate) fn block(&self) -> usize {
        self.extent * self.length
    }
}

/// The rows of an axis that `indices` names, in that order; `fill` where it
/// says [`NOWHERE`].
pub(crate) fn take_rows<T: Element>(
    x: &Tensor<T>,
    axis: usize,
    indices: &[usize],
    fill: T,
) -> Tensor<T> {
    let rows = Rows::new(x.shape(), axis);
    let target = Rows { extent: indices.len(), ..rows };
    x.with_slice(|values| {
        Tensor::build(x.shape().with(axis, indices.len()), |out| {
            let blocks = rows_per_chunk(target.block());
            for_each_chunk(out, blocks * target.block(), 1, |chunk, out| {
                for (i, out) in out.chunks_exact_mut(target.block()).enumerate() {
                    let values = &values[(chunk * blocks + i) * rows.block()..][..rows.block()];
                    for (out, &index) in out.chunks_exact_mut(rows.length).zip(indices) {
                        match index {
                            NOWHERE => out.fill(fill),
                            _ => out.copy_from_slice(&values[index * rows.length..][..out.len()]),
                        }
                    }
                }
            });
        })
    })
}

/// Adds each row of `source` to the row of `out`, of this shape, that
/// `indices` names; those that go [`NOWHERE`] are left out. In order, so that
/// the sum of several has the same bits every time.
pub(crate) fn add_rows<T: Number>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    indices: &[usize],
    source: &Tensor<T>,
) {
    let rows = Rows::new(shape, axis);
    let from = Rows { extent: indices.len(), ..rows };
    source.with_slice(|source| {
        if source.is_empty() || out.is_empty() {
            return;
        }
        let cost = from.extent.div_ceil(rows.extent);
        for_each_chunk(out, rows.block(), cost, |block, out| {
            let source = &source[block * from.block()..][..from.block()];
            for (source, &index) in source.chunks_exact(rows.length).zip(indices) {
                if index != NOWHERE {
                    let out = &mut out[index * rows.length..][..rows.length];
                    for (sum, &x) in out.iter_mut().zip(source) {
                        *sum += x;
                    }
                }
            }
        });
    });
}

/// The places in memory of a strided array's elements, in row-major order.
pub(crate) struct Places {
    axes: SmallVec<[(usize, isize); 4]>,
    coordinates: SmallVec<[usize; 4]>,
    place: isize,
    left: usize,
}

impl Places {
    /// The places for a shape, with the first element at `start`.
    pub(crate) fn new(shape: &Shape, strides: &[isize], start: usize) -> Self {
        Self {
            axes: shape.iter().copied().zip(strides.iter().copied()).collect(),
            coordinates: SmallVec::from_elem(0, shape.len()),
            place: start as isize,
            left: shape.elements(),
        }
    }

    /// The places of a tensor's elements.
    pub(crate) fn of<T: Element>(x: &Tensor<T>) -> Self {
        Self::new(x.shape(), x.strides(), x.storage().1)
    }
}

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let place = self.place as usize;
        for (&(extent, stride), coordinate) in self.axes.iter().zip(&mut self.coordinates).rev() {
            *coordinate += 1;
            self.place += stride;
            if *coordinate < extent {
                break;
            }
            self.place -= stride * extent as isize;
            *coordinate = 0;
        }
        Some(place)
    }
}

/// Zeros of this shape, with the elements of `values` added where `view`
/// shows them: the gradient of a view.
pub(crate) fn add_through<T: Number>(
    shape: &Shape,
    values: &Tensor<T>,
    view: impl FnOnce(&Tensor<T>) -> Tensor<T>,
) -> Tensor<T> {
    let mut sum = Tensor::zeros(shape);
    let places = Places::of(&view(&sum));
    values.with_slice(|values| {
        let sum = sum.make_mut();
        for (place, &value) in places.zip(values) {
            sum[place] += value;
        }
    });
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_strides() {
        let x = Tensor::<i64>::arange(24).reshape([2, 3, 4]).unwrap();
        let y = x.permute(&[2, 0, 1]).unwrap().slice(0, 3, None, -2).unwrap();
        let (memory, _) = y.storage();
        let found: Vec<i64> = Places::of(&y).map(|place| memory[place]).collect();
        assert_eq!(found, y.to_vec());
        assert_eq!(Places::of(&Tensor::<f32>::zeros([3, 0])).count(), 0);
        assert_eq!(Places::of(&Tensor::scalar(1.0)).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn rows_are_taken_and_given_back() {
        let x = Tensor::<i64>::arange(12).reshape([2, 3, 2]).unwrap();
        let taken = take_rows(&x, 1, &[2, NOWHERE, 2], -1);
        assert_eq!(taken.to_vec(), [4, 5, -1, -1, 4, 5, 10, 11, -1, -1, 10, 11]);
        let mut sums = vec![0; 12];
        add_rows(&mut sums, x.shape(), 1, &[2, NOWHERE, 2], &taken);
        assert_eq!(sums, [0, 0, 0, 0, 8, 10, 0, 0, 0, 0, 20, 22]);
    }
}
