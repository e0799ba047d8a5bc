//! Moving elements in memory: rows of an axis by a list of indices, and single
//! elements by strides.

use smallvec::SmallVec;

use super::parallel::{for_each_chunk, rows_per_chunk};
use super::simd;
use crate::element::{Element, Number};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// In a list of indices: no row.
pub(crate) const NOWHERE: usize = usize::MAX;

/// An axis of an array in row-major order.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// Elements along the axis.
    pub(crate) size: usize,
    /// Elements in a row, that is, in all axes that follow.
    pub(crate) length: usize,
}

impl Rows {
    pub(crate) fn new(shape: &Shape, axis: usize) -> Self {
        Self { size: shape[axis], length: shape[axis + 1..].iter().product() }
    }

    /// Elements in all rows of the axis.
    pub(crate) fn block(&self) -> usize {
        self.size * self.length
    }
}

/// Copies the rows of an axis given by `indices`, in this order; `fill` where
/// an index is [`NOWHERE`].
pub(crate) fn take_rows<T: Element>(
    x: &Tensor<T>,
    axis: usize,
    indices: &[usize],
    fill: T,
) -> Tensor<T> {
    let rows = Rows::new(x.shape(), axis);
    let target = Rows { size: indices.len(), ..rows };
    x.with_slice(|values| {
        Tensor::build(x.shape().with(axis, indices.len()), |out| {
            let blocks = rows_per_chunk(target.block());
            for_each_chunk(out, blocks * target.block(), 1, |chunk, out| {
                for (i, out) in out.chunks_exact_mut(target.block()).enumerate() {
                    let values = &values[(chunk * blocks + i) * rows.block()..][..rows.block()];
                    if rows.length == 1 {
                        for (out, &index) in out.iter_mut().zip(indices) {
                            *out = if index == NOWHERE { fill } else { values[index] };
                        }
                        continue;
                    }
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

/// Adds each row of `source` to the row of `out`, of this shape, given by
/// `indices`; rows with the index [`NOWHERE`] are left out. The additions are
/// in order, so that sums of several rows always have the same bits.
pub(crate) fn add_rows<T: Number>(
    out: &mut [T],
    shape: &Shape,
    axis: usize,
    indices: &[usize],
    source: &Tensor<T>,
) {
    let rows = Rows::new(shape, axis);
    let from = Rows { size: indices.len(), ..rows };
    source.with_slice(|source| {
        if source.is_empty() || out.is_empty() {
            return;
        }
        let cost = from.size.div_ceil(rows.size);
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

/// The offsets in memory of the elements of a strided array, in row-major
/// order.
pub(crate) struct Offsets {
    axes: SmallVec<[(usize, isize); 4]>,
    coordinates: SmallVec<[usize; 4]>,
    offset: isize,
    left: usize,
}

impl Offsets {
    /// The offsets for a shape, with the first element at `start`.
    pub(crate) fn new(shape: &Shape, strides: &[isize], start: usize) -> Self {
        Self {
            axes: shape.iter().copied().zip(strides.iter().copied()).collect(),
            coordinates: SmallVec::from_elem(0, shape.len()),
            offset: start as isize,
            left: shape.elements(),
        }
    }

    /// The offsets of a tensor's elements.
    pub(crate) fn of<T: Element>(x: &Tensor<T>) -> Self {
        Self::new(x.shape(), &x.strides(), x.storage().1)
    }

    /// The offsets of a tensor's runs of elements, which are `step` apart in
    /// memory (1: consecutive; 0: the same element), and the number of elements
    /// in a run.
    fn of_runs<T: Element>(x: &Tensor<T>, step: isize) -> (Self, usize) {
        let mut offsets = Self::of(x);
        let mut run = 1;
        let belongs = |(size, stride), run| size == 1 || stride == step * run as isize;
        while let Some(&(size, _)) = offsets.axes.last().filter(|&&axis| belongs(axis, run)) {
            run *= size;
            offsets.axes.pop();
            offsets.coordinates.pop();
        }
        let run = run.max(1);
        offsets.left /= run;
        (offsets, run)
    }

    /// The offsets from the element with this index on.
    fn from(&self, index: usize) -> Self {
        let mut offsets = Self {
            axes: self.axes.clone(),
            coordinates: self.coordinates.clone(),
            left: self.left - index,
            offset: self.offset,
        };
        let mut rest = index;
        for (&(size, stride), coordinate) in self.axes.iter().zip(&mut offsets.coordinates).rev() {
            *coordinate = rest % size;
            rest /= size;
            offsets.offset += stride * *coordinate as isize;
        }
        offsets
    }
}

impl Iterator for Offsets {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.offset as usize;
        for (&(size, stride), coordinate) in self.axes.iter().zip(&mut self.coordinates).rev() {
            *coordinate += 1;
            self.offset += stride;
            if *coordinate < size {
                break;
            }
            self.offset -= stride * size as isize;
            *coordinate = 0;
        }
        Some(offset)
    }
}

/// The fewest consecutive elements that are copied as a row.
const MIN_RUN: usize = 8;
/// The size of the squares in which a matrix is transposed, so that source and
/// destination stay in the first-level cache.
const SQUARE: usize = 16;

/// Writes the elements to `out` in row-major order. It is compiled for each element type in this
/// crate and not in each that copies tensors, as is what it calls.
#[inline(never)]
pub(crate) fn copy_in_order<T: Element>(x: &Tensor<T>, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let memory = x.storage().0;
    for step in [1, 0] {
        let (runs, run) = Offsets::of_runs(x, step);
        if run >= MIN_RUN {
            let together = rows_per_chunk(run);
            for_each_chunk(out, together * run, 1, |chunk, out| {
                for (out, offset) in out.chunks_exact_mut(run).zip(runs.from(chunk * together)) {
                    match step {
                        0 => out.fill(memory[offset]),
                        _ => out.copy_from_slice(&memory[offset..][..run]),
                    }
                }
            });
            return;
        }
    }
    // Parts along the first axis with more than one index.
    let all = Offsets::of(x).axes;
    let axis = all.iter().position(|&(size, _)| size > 1).unwrap_or(0);
    let length: usize = all.iter().skip(axis + 1).map(|&(size, _)| size).product();
    // In whole squares, if their rows are along this axis.
    let square = if closest(&all) == Some(axis) { SQUARE } else { 1 };
    let rows = rows_per_chunk(length).next_multiple_of(square);
    for_each_chunk(out, rows * length, 1, |chunk, out| {
        let mut axes = all.clone();
        let mut offset = x.storage().1 as isize;
        if let Some((size, stride)) = axes.get_mut(axis) {
            *size = out.len() / length;
            offset += *stride * (chunk * rows) as isize;
        }
        copy_squares(memory, offset, &axes, out);
    });
}

/// The axis before the last with the smallest stride.
fn closest(axes: &[(usize, isize)]) -> Option<usize> {
    let (_, before) = axes.split_last()?;
    (0..before.len()).min_by_key(|&i| (before[i].0 == 1, before[i].1.unsigned_abs()))
}

/// Writes the elements of some axes to `out` in order, by squares of the last
/// axis and the axis with the smallest stride.
#[inline(never)]
fn copy_squares<T: Copy>(memory: &[T], start: isize, axes: &[(usize, isize)], out: &mut [T]) {
    let Some((&(columns, column), before)) = axes.split_last() else {
        out[0] = memory[start as usize];
        return;
    };
    let closest = closest(axes);
    let (rows, row) = closest.map_or((1, 0), |i| before[i]);
    // The strides of the other axes, before and after.
    let mut step = out.len() as isize;
    let steps = axes.iter().map(|&(size, _)| {
        step /= size as isize;
        step
    });
    let steps: SmallVec<[isize; 4]> = steps.collect();
    let others = || (0..before.len()).filter(|&i| Some(i) != closest);
    let shape: Shape = others().map(|i| before[i].0).collect::<Vec<_>>().into();
    let offsets = |start: isize, stride: &dyn Fn(usize) -> isize| {
        Offsets::new(&shape, &others().map(stride).collect::<SmallVec<[_; 4]>>(), start as usize)
    };
    let (from, to) = (offsets(start, &|i| before[i].1), offsets(0, &|i| steps[i]));
    let to_row = closest.map_or(0, |i| steps[i] as usize);
    for (from, to) in from.zip(to) {
        for i_square in (0..rows).step_by(SQUARE) {
            for j_square in (0..columns).step_by(SQUARE) {
                let length = SQUARE.min(columns - j_square);
                for i in i_square..rows.min(i_square + SQUARE) {
                    let out = &mut out[to + i * to_row + j_square..][..length];
                    let mut offset = from as isize + i as isize * row + j_square as isize * column;
                    for out in out {
                        *out = memory[offset as usize];
                        offset += column;
                    }
                }
            }
        }
    }
}

/// Zeros of this shape, to which `values` are added at the elements that `view`
/// selects: the gradient of a view.
pub(crate) fn add_through<T: Number>(
    shape: &Shape,
    values: &Tensor<T>,
    view: impl FnOnce(&Tensor<T>) -> Tensor<T>,
) -> Tensor<T> {
    let mut sum = Tensor::zeros(shape);
    add_to_view(&mut sum, values, view);
    sum
}

/// Adds `values` to the elements of a row-major tensor that `view` selects.
pub(crate) fn add_to_view<T: Number>(
    sum: &mut Tensor<T>,
    values: &Tensor<T>,
    view: impl FnOnce(&Tensor<T>) -> Tensor<T>,
) {
    let (offsets, run) = Offsets::of_runs(&view(sum), 1);
    let first = sum.storage().1;
    values.with_slice(|values| {
        let sum = sum.make_mut();
        simd::dispatch(
            #[inline(always)]
            || {
                for (offset, values) in offsets.zip(values.chunks_exact(run)) {
                    for (sum, &value) in sum[offset - first..].iter_mut().zip(values) {
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
    fn offsets_follow_the_strides() {
        let x = Tensor::<i64>::arange(24).reshape([2, 3, 4]).unwrap();
        let y = x.permute(&[2, 0, 1]).unwrap().slice(0, 3, None, -2).unwrap();
        let (memory, _) = y.storage();
        let found: Vec<i64> = Offsets::of(&y).map(|offset| memory[offset]).collect();
        assert_eq!(found, y.to_vec());
        assert_eq!(Offsets::of(&Tensor::<f32>::zeros([3, 0])).count(), 0);
        assert_eq!(Offsets::of(&Tensor::scalar(1.0)).collect::<Vec<_>>(), [0]);
        for index in 0..y.len() {
            assert!(Offsets::of(&y).skip(index).eq(Offsets::of(&y).from(index)), "from {index}");
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
                let expected: Vec<i64> = Offsets::of(&view).map(|offset| memory[offset]).collect();
                let mut found = vec![0; expected.len()];
                copy_in_order(&view, &mut found);
                assert!(found == expected, "{axes:?} {:?}", view.shape());
            }
        }
        let row = Tensor::<i64>::arange(9);
        let (rows, column) = (row.expand(&[1000, 7, 9]), row.reshape([9, 1, 1]));
        let columns = column.unwrap().expand(&[9, 700, 90]);
        for (repeated, offset) in [
            (rows, (|i| i % 9) as fn(usize) -> usize),
            (columns, |i| i / 63_000),
            (Tensor::scalar(0).expand(&[300, 1, 200]), |_| 0),
        ] {
            let repeated = repeated.unwrap();
            let mut found = vec![-1; repeated.len()];
            copy_in_order(&repeated, &mut found);
            assert!(found.iter().enumerate().all(|(i, &x)| x == offset(i) as i64));
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
