//! Moving elements between places: rows of an axis by a list of indices, and
//! single elements by strides.

use smallvec::SmallVec;

use super::parallel::{for_each_chunk, rows_per_chunk};
use super::simd;
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
        Self::new(x.shape(), &x.strides(), x.storage().1)
    }

    /// The places of a tensor's runs of elements that lie `step` apart in memory
    /// (1: one behind the other; 0: all in one place), and how many elements a
    /// run has.
    fn of_runs<T: Element>(x: &Tensor<T>, step: isize) -> (Self, usize) {
        let mut places = Self::of(x);
        let mut run = 1;
        let belongs = |(extent, stride), run| extent == 1 || stride == step * run as isize;
        while let Some(&(extent, _)) = places.axes.last().filter(|&&axis| belongs(axis, run)) {
            run *= extent;
            places.axes.pop();
            places.coordinates.pop();
        }
        let run = run.max(1);
        places.left /= run;
        (places, run)
    }

    /// The places from the one with this index on.
    fn from(&self, index: usize) -> Self {
        let mut places = Self {
            axes: self.axes.clone(),
            coordinates: self.coordinates.clone(),
            left: self.left - index,
            place: self.place,
        };
        let mut rest = index;
        for (&(extent, stride), coordinate) in self.axes.iter().zip(&mut places.coordinates).rev() {
            *coordinate = rest % extent;
            rest /= extent;
            places.place += stride * *coordinate as isize;
        }
        places
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

/// Fewest elements that lie together which are copied as a row.
const MIN_RUN: usize = 8;
/// Rows and columns of the squares in which a matrix is transposed, so that
/// what is read and what is written stays in the first-level cache.
const SQUARE: usize = 16;

/// Writes the elements to `out` in row-major order.
pub(crate) fn copy_in_order<T: Element>(x: &Tensor<T>, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let memory = x.storage().0;
    for step in [1, 0] {
        let (runs, run) = Places::of_runs(x, step);
        if run >= MIN_RUN {
            let together = rows_per_chunk(run);
            for_each_chunk(out, together * run, 1, |chunk, out| {
                for (out, place) in out.chunks_exact_mut(run).zip(runs.from(chunk * together)) {
                    match step {
                        0 => out.fill(memory[place]),
                        _ => out.copy_from_slice(&memory[place..][..run]),
                    }
                }
            });
            return;
        }
    }
    // Parts along the first axis that has some.
    let all = Places::of(x).axes;
    let axis = all.iter().position(|&(extent, _)| extent > 1).unwrap_or(0);
    let length: usize = all.iter().skip(axis + 1).map(|&(extent, _)| extent).product();
    // In whole squares, where these have their rows along this axis.
    let square = if closest(&all) == Some(axis) { SQUARE } else { 1 };
    let rows = rows_per_chunk(length).next_multiple_of(square);
    for_each_chunk(out, rows * length, 1, |chunk, out| {
        let mut axes = all.clone();
        let mut place = x.storage().1 as isize;
        if let Some((extent, stride)) = axes.get_mut(axis) {
            *extent = out.len() / length;
            place += *stride * (chunk * rows) as isize;
        }
        copy_squares(memory, place, &axes, out);
    });
}

/// The axis before the last along which elements lie closest.
fn closest(axes: &[(usize, isize)]) -> Option<usize> {
    let (_, before) = axes.split_last()?;
    (0..before.len()).min_by_key(|&i| (before[i].0 == 1, before[i].1.unsigned_abs()))
}

/// Writes the elements at the places of some axes to `out` in order, by
/// squares of the last axis and the one along which they lie closest.
fn copy_squares<T: Copy>(memory: &[T], start: isize, axes: &[(usize, isize)], out: &mut [T]) {
    let Some((&(columns, column), before)) = axes.split_last() else {
        out[0] = memory[start as usize];
        return;
    };
    let closest = closest(axes);
    let (rows, row) = closest.map_or((1, 0), |i| before[i]);
    // Where the other axes lead, before and after.
    let mut step = out.len() as isize;
    let steps = axes.iter().map(|&(extent, _)| {
        step /= extent as isize;
        step
    });
    let steps: SmallVec<[isize; 4]> = steps.collect();
    let others = || (0..before.len()).filter(|&i| Some(i) != closest);
    let shape: Shape = others().map(|i| before[i].0).collect::<Vec<_>>().into();
    let places = |start: isize, stride: &dyn Fn(usize) -> isize| {
        Places::new(&shape, &others().map(stride).collect::<SmallVec<[_; 4]>>(), start as usize)
    };
    let (from, to) = (places(start, &|i| before[i].1), places(0, &|i| steps[i]));
    let to_row = closest.map_or(0, |i| steps[i] as usize);
    for (from, to) in from.zip(to) {
        for i_square in (0..rows).step_by(SQUARE) {
            for j_square in (0..columns).step_by(SQUARE) {
                let length = SQUARE.min(columns - j_square);
                for i in i_square..rows.min(i_square + SQUARE) {
                    let out = &mut out[to + i * to_row + j_square..][..length];
                    let mut place = from as isize + i as isize * row + j_square as isize * column;
                    for out in out {
                        *out = memory[place as usize];
                        place += column;
                    }
                }
            }
        }
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
    add_to_view(&mut sum, values, view);
    sum
}

/// Adds `values` to a row-major tensor where `view` shows its elements.
pub(crate) fn add_to_view<T: Number>(
    sum: &mut Tensor<T>,
    values: &Tensor<T>,
    view: impl FnOnce(&Tensor<T>) -> Tensor<T>,
) {
    let (places, run) = Places::of_runs(&view(sum), 1);
    let first = sum.storage().1;
    values.with_slice(|values| {
        let sum = sum.make_mut();
        simd::dispatch(
            #[inline(always)]
            || {
                for (place, values) in places.zip(values.chunks_exact(run)) {
                    for (sum, &value) in sum[place - first..].iter_mut().zip(values) {
                        *sum += value;
                    }
                }
            },
        );
    });
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
        for index in 0..y.len() {
            assert!(Places::of(&y).skip(index).eq(Places::of(&y).from(index)), "from {index}");
        }
    }

    #[test]
    fn strided_elements_are_copied_in_order() {
        let x = Tensor::<i64>::arange(3 * 40 * 50 * 16).reshape([3, 40, 50, 16]).unwrap();
        for axes in [[0, 2, 1, 3], [2, 0, 1, 3], [3, 2, 1, 0], [0, 1, 3, 2], [1, 0, 2, 3]] {
            for view in [
                x.permute(&axes).unwrap(),
                x.permute(&axes).unwrap().narrow(3, 1, 2).unwrap(),
                x.narrow(0, 1, 1).unwrap().permute(&axes).unwrap(),
                x.slice(2, 40, Some(3), -3).unwrap().permute(&axes).unwrap(),
            ] {
                let (memory, _) = view.storage();
                let expected: Vec<i64> = Places::of(&view).map(|place| memory[place]).collect();
                let mut found = vec![0; expected.len()];
                copy_in_order(&view, &mut found);
                assert!(found == expected, "{axes:?} {:?}", view.shape());
            }
        }
        let row = Tensor::<i64>::arange(9);
        let (rows, column) = (row.expand(&[1000, 7, 9]), row.reshape([9, 1, 1]));
        let columns = column.unwrap().expand(&[9, 700, 90]);
        for (repeated, place) in [
            (rows, (|i| i % 9) as fn(usize) -> usize),
            (columns, |i| i / 63_000),
            (Tensor::scalar(0).expand(&[300, 1, 200]), |_| 0),
        ] {
            let repeated = repeated.unwrap();
            let mut found = vec![-1; repeated.len()];
            copy_in_order(&repeated, &mut found);
            assert!(found.iter().enumerate().all(|(i, &x)| x == place(i) as i64));
        }
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
