//! Batches of matrices, processed one matrix at a time in double precision.

use super::{Ops, Term};
use crate::element::{Element, Float};
use crate::error::{Error, Result};
use crate::kernels::linear_algebra::Matrix;
use crate::kernels::parallel::for_each_chunk;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The number of rows and columns of square matrices `[…, n, n]`.
pub(super) fn square(context: &str, shape: &Shape) -> Result<usize> {
    match shape[..] {
        [.., rows, columns] if rows == columns => Ok(rows),
        _ => Err(Error::shape(
            context,
            format!("expected square matrices […, n, n], got shape {shape}"),
        )),
    }
}

/// The rows and columns of matrices `[…, m, n]`.
pub(super) fn rectangle(context: &str, shape: &Shape) -> Result<[usize; 2]> {
    match shape[..] {
        [.., rows, columns] => Ok([rows, columns]),
        _ => Err(Error::shape(context, format!("expected matrices […, m, n], got shape {shape}"))),
    }
}

/// The axes before the last two.
pub(super) fn batch(shape: &Shape) -> &[usize] {
    &shape[..shape.len() - 2]
}

/// The shape of the results for a batch, one of shape `of_each` per matrix.
pub(super) fn per_matrix(shape: &Shape, of_each: &[usize]) -> Shape {
    batch(shape).iter().chain(of_each).copied().collect()
}

/// An operand, with the rows and columns of its part for each matrix of the
/// batch.
pub(super) type Operand<'a, T> = (&'a Tensor<T>, [usize; 2]);

/// The matrices `[…, m, n]` of a tensor.
pub(super) fn matrices<T: Element>(x: &Tensor<T>) -> Operand<'_, T> {
    let shape = x.shape();
    (x, [shape[shape.len() - 2], shape[shape.len() - 1]])
}

/// A tensor of the results of `work` for the operands at each of `count`
/// indices of the batch.
pub(super) fn each<T: Float>(
    count: usize,
    operands: &[Operand<'_, T>],
    shape: Shape,
    work: &(dyn Fn(&[Matrix]) -> Vec<f64> + Sync),
) -> Tensor<T> {
    if shape.contains(&0) {
        return Tensor::zeros(shape);
    }
    let length = shape.elements() / count;
    let steps: usize = operands.iter().map(|(_, [m, n])| m * n * m.min(n)).sum();
    let operands: Vec<(Tensor<T>, [usize; 2])> =
        operands.iter().map(|(x, sizes)| (x.contiguous(), *sizes)).collect();
    Tensor::build(shape, |out| {
        for_each_chunk(out, length, steps.div_ceil(length), |index, out| {
            let matrix = |(x, [rows, columns]): &(Tensor<T>, [usize; 2])| {
                let values = x.as_slice().expect("it was made contiguous");
                let values = &values[index * rows * columns..][..rows * columns];
                let values = values.iter().map(|x| x.to_f64()).collect();
                Matrix { rows: *rows, columns: *columns, values }
            };
            let values = work(&operands.iter().map(matrix).collect::<Vec<_>>());
            for (slot, value) in out.iter_mut().zip(values) {
                *slot = T::from_f64(value);
            }
        });
    })
}

/// The next matrix of several that are stored one after the other.
pub(super) fn part(packed: &mut &[f64], rows: usize, columns: usize) -> Matrix {
    let (values, rest) = packed.split_at(rows * columns);
    *packed = rest;
    Matrix { rows, columns, values: values.to_vec() }
}

/// A quotient that is 0 wherever the numerator is 0, so that a gradient of 0
/// stays 0 at a degenerate point.
pub(super) fn quotient(numerator: f64, denominator: f64) -> f64 {
    if numerator == 0.0 { 0.0 } else { numerator / denominator }
}

/// (A + Aᵀ) / 2
pub(super) fn symmetric(a: &Matrix) -> Matrix {
    Matrix::from_fn(a.rows, a.rows, |i, j| 0.5 * a[(i, j)] + 0.5 * a[(j, i)])
}

/// Aᵀ for a term.
pub(super) fn transposed<T: Float>(a: &Term<T>) -> Result<Term<T>> {
    a.transpose(-2, -1)
}

/// [`quotient`] for terms.
pub(super) fn quotient_term<T: Float>(
    numerator: &Term<T>,
    denominator: &Term<T>,
) -> Result<Term<T>> {
    let [none, degenerate] = [numerator, denominator].map(|x| x.value().eq_scalar(T::ZERO));
    let none = none.logical_and(&degenerate)?;
    numerator.div(&denominator.masked_fill(&none, 1.0)?)?.masked_fill(&none, 0.0)
}

/// [`symmetric`] for a term.
pub(super) fn symmetric_term<T: Float>(a: &Term<T>) -> Result<Term<T>> {
    Ok(a.add(&transposed(a)?)? * 0.5)
}

/// NaN, for a matrix that has no result.
pub(super) fn nothing(length: usize) -> Vec<f64> {
    vec![f64::NAN; length]
}

/// Random matrices of the given shapes.
pub(super) fn samples<T: Float>(shapes: &[&[usize]]) -> Vec<Tensor<T>> {
    let mut rng = Rng::seed(21);
    shapes.iter().map(|shape| Tensor::normal(*shape, 0.0, 1.0, &mut rng)).collect()
}
