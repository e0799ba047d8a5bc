//! The layout of matrices in memory, and the matrices of a tensor: its last two
//! axes, at each index of the others.

use crate::element::Element;
use crate::tensor::Tensor;

/// Whether a matrix of this many rows and columns, with these strides, is
/// within a slice of this length.
pub(crate) fn fits([rows, columns]: [usize; 2], strides: [usize; 2], length: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    let down = (rows - 1).checked_mul(strides[0]);
    let across = (columns - 1).checked_mul(strides[1]);
    let last = down.zip(across).and_then(|(down, across)| down.checked_add(across));
    last.is_some_and(|last| last < length)
}

/// A tensor whose last two axes have no negative strides, so that products can
/// read it in place.
pub(crate) fn readable<T: Element>(x: &Tensor<T>) -> Tensor<T> {
    let strides = &x.strides()[x.rank() - 2..];
    if strides.iter().any(|&stride| stride < 0) { x.contiguous() } else { x.clone() }
}

/// Matrices in one buffer, with the same strides.
pub(crate) struct Matrices<'a, T> {
    values: &'a [T],
    starts: Vec<usize>,
    strides: [usize; 2],
}

impl<'a, T: Element> Matrices<'a, T> {
    /// The last two axes of a tensor, whose strides there are not negative.
    pub(crate) fn of(x: &'a Tensor<T>) -> Self {
        let (values, offset) = x.storage();
        let (batch, _) = x.shape().split_at(x.rank() - 2);
        let count: usize = batch.iter().product();
        let strides = x.strides();
        let starts = (0..count).map(|mut index| {
            let mut start = offset as isize;
            for (&size, &stride) in batch.iter().zip(&strides).rev() {
                start += (index % size) as isize * stride;
                index /= size;
            }
            start as usize
        });
        let starts = starts.collect();
        let last = &strides[x.rank() - 2..];
        Self { values, starts, strides: [last[0] as usize, last[1] as usize] }
    }

    /// The matrix from one of its rows on, as an operand of a product.
    pub(crate) fn rows(&self, matrix: usize, row: usize) -> (&'a [T], [usize; 2]) {
        (&self.values[self.starts[matrix] + row * self.strides[0]..], self.strides)
    }
}
