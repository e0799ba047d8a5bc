//! The exponential of a matrix.

use super::batches::{batch, each, matrices, samples, square, transposed};
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Matrix, exponential};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The exponential Σ Aᵏ/k! of `[…, n, n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatrixExp;

impl<T: Float> Op<T> for MatrixExp {
    type Saved = ();
    const NAME: &'static str = "matrix_exp";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        square("matrix_exp", inputs[0])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[0].shape();
        let count = batch(shape).iter().product();
        let operands = [matrices(inputs[0])];
        (each(count, &operands, shape.clone(), &|m| exponential(&m[0]).values), ())
    }

    /// The upper right block of the exponential of a 2 × 2 block matrix of Aᵀ,
    /// the cotangent, 0 and Aᵀ (R. Mathias, 1996).
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let count = batch(shape).iter().product();
        let operands = [matrices(&call.inputs[0]), matrices(&call.cotangent)];
        call.each(|_| {
            each(count, &operands, shape.clone(), &|m| {
                let n = m[0].rows;
                let blocks = Matrix::from_fn(2 * n, 2 * n, |i, j| match (i < n, j < n) {
                    (true, false) => m[1][(i, j - n)],
                    (false, true) => 0.0,
                    _ => m[0][(j % n, i % n)],
                });
                let exponential = exponential(&blocks);
                Matrix::from_fn(n, n, |i, j| exponential[(i, n + j)]).values
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let n = square("matrix_exp", call.inputs[0].shape())?;
        let a = transposed(&call.inputs[0])?;
        let zeros = Term::constant(Tensor::zeros(a.shape()));
        let upper = Term::cat(&[&a, call.cotangent], -1)?;
        let blocks = Term::cat(&[&upper, &Term::cat(&[&zeros, &a], -1)?], -2)?;
        let exponential = Term::try_apply(Self, &[&blocks])?;
        call.each(|_| exponential.narrow(-2, 0, n)?.narrow(-1, n, n))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let shapes: [&[usize]; 3] = [&[3, 3], &[2, 4, 4], &[0, 2, 2]];
        shapes.map(|shape| (Self, samples(&[shape]))).into()
    }
}
