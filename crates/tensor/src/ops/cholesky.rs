//! The Cholesky factor of a positive definite matrix.

use super::batches::{
    batch, each, matrices, nothing, samples, square, symmetric, symmetric_term, transposed,
};
use super::solve::SolveTriangular;
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Matrix, cholesky, solve_triangular};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The lower triangular L of `[…, n, n]` with L·Lᵀ = (A + Aᵀ) / 2; NaN if that
/// is not positive definite.
#[derive(Clone, Copy, Debug)]
pub struct Cholesky;

impl<T: Float> Op<T> for Cholesky {
    type Saved = ();
    const NAME: &'static str = "cholesky";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        square("cholesky", inputs[0])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[0].shape();
        let count = batch(shape).iter().product();
        let l = each(count, &[matrices(inputs[0])], shape.clone(), &|m| {
            cholesky(&symmetric(&m[0])).map_or_else(|| nothing(m[0].values.len()), |l| l.values)
        });
        (l, ())
    }

    /// I. Murray, "Differentiation of the Cholesky decomposition", 2016.
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let count = batch(shape).iter().product();
        let operands = [matrices(call.output), matrices(&call.cotangent)];
        call.each(|_| {
            each(count, &operands, shape.clone(), &|m| {
                let [l, g] = [&m[0], &m[1]];
                let n = l.rows;
                let lower = Matrix::from_fn(n, n, |i, j| if i >= j { g[(i, j)] } else { 0.0 });
                let product = l.transposed_times(&lower);
                let half = Matrix::from_fn(n, n, |i, j| {
                    let factor = [0.0, 0.5, 1.0][1 + usize::from(i > j) - usize::from(i < j)];
                    factor * product[(i, j)]
                });
                let upper = l.transposed();
                let left = solve_triangular(&upper, half, true, false);
                symmetric(&solve_triangular(&upper, left.transposed(), true, false)).values
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let upper = transposed(call.output)?;
        let product = upper.matmul(&call.cotangent.tril(0)?)?;
        let half = (product.tril(0)? + product.tril(-1)?) * 0.5;
        let solve = SolveTriangular { upper: true, unitriangular: false };
        let left = Term::try_apply(solve, &[&upper, &half])?;
        let both = Term::try_apply(solve, &[&upper, &transposed(&left)?])?;
        call.each(|_| symmetric_term(&both))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let definite = |shape: &[usize]| {
            let x = samples::<T>(&[shape]).remove(0);
            let square = super::matmul::product(&x, &super::matmul::transposed(&x));
            (Self, vec![&square + &Tensor::eye(shape[shape.len() - 1])])
        };
        vec![definite(&[3, 3]), definite(&[2, 4, 4]), definite(&[0, 2, 2])]
    }
}
