//! Determinants and their logarithms.

use super::batches::{batch, each, matrices, nothing, per_matrix, samples, square, transposed};
use super::linear_algebra::LinearAlgebra;
use super::solve::Solve;
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Lu, Matrix, svd};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The determinants of `[…, n, n]`, as `[…]`.
#[derive(Clone, Copy, Debug)]
pub struct Det;

/// The signs of the determinants of `[…, n, n]` and the logarithms of their
/// absolute values, as `[…, 2]`.
#[derive(Clone, Copy, Debug)]
pub struct SlogDet;

/// det(A)·A⁻ᵀ, which also exists for a singular matrix, computed from the
/// products of all singular values but one.
fn cofactors(a: &Matrix) -> Option<Matrix> {
    let parts = svd(a)?;
    let n = parts.s.len();
    let others = |i: usize| (0..n).filter(|&j| j != i).map(|j| parts.s[j]).product::<f64>();
    let determinant = |x: &Matrix| Lu::of(x.clone()).determinant();
    let sign = determinant(&parts.u) * determinant(&parts.vt);
    let factors: Vec<f64> = (0..n).map(|i| sign * others(i)).collect();
    Some(parts.u.scale_columns(&factors).times(&parts.vt))
}

/// A⁻ᵀ for a term.
fn inverse_transposed<T: Float>(a: &Term<T>) -> Result<Term<T>> {
    let shape = a.shape();
    let identity = Tensor::eye(square("inverse", shape)?).broadcast_to(shape.clone())?;
    Term::try_apply(Solve, &[&transposed(a)?, &Term::constant(identity)])
}

fn count<T: Float>(x: &Tensor<T>) -> usize {
    batch(x.shape()).iter().product()
}

/// Constant matrices L of `[…, n, r]` and R of `[…, r, n]` such that A + L·R is
/// regular for singular matrices A: the small singular values of A are raised
/// to the largest.
struct Filler<T: Float> {
    left: Term<T>,
    right: Term<T>,
}

impl<T: Float> Filler<T> {
    /// `None` when the inverses of all matrices can be computed.
    fn of(a: &Tensor<T>) -> Result<Option<Self>> {
        let n = square("det", a.shape())?;
        if a.is_empty() {
            return Ok(None);
        }
        let (u, s, vt) = a.svd()?;
        let largest = s.narrow(-1, 0, 1)?;
        let small = s.le(&largest.mul_scalar(T::EPSILON.to_f64().powf(0.25)))?.cast::<T>();
        // The small singular values are the last ones.
        let r = small.sum_axes(&[-1], false)?.max()?.item()?.to_f64() as usize;
        if r == 0 {
            return Ok(None);
        }
        let size = largest.map(|largest| if largest == T::ZERO { T::ONE } else { largest });
        let factors = small.narrow(-1, n - r, r)?.mul(&size)?.unsqueeze(-2)?;
        let left = Term::constant(u.narrow(-1, n - r, r)?.mul(&factors)?);
        Ok(Some(Self { left, right: Term::constant(vt.narrow(-2, n - r, r)?) }))
    }

    /// det(A) = det(B)·det(I − R·B⁻¹·L) for the regular B = A + L·R (the matrix
    /// determinant lemma). Every part has gradients of any order.
    fn determinant(&self, a: &Term<T>) -> Result<Term<T>> {
        let Self { left, right } = self;
        let regular = a.add(&left.matmul(right)?)?;
        let solved = Term::try_apply(Solve, &[&regular, left])?;
        let r = left.shape()[left.shape().len() - 1];
        let rest = Term::constant(Tensor::eye(r)).sub(&right.matmul(&solved)?)?;
        Term::try_apply(Det, &[&regular])?.mul(&small_determinant(&rest)?)
    }
}

/// The determinant of small matrices as a polynomial of their elements, by the
/// algorithm of D. Faddeev and U. Le Verrier.
fn small_determinant<T: Float>(a: &Term<T>) -> Result<Term<T>> {
    let r = a.shape()[a.shape().len() - 1];
    let identity = Term::constant(Tensor::eye(r));
    let mut product = a.clone();
    for k in 1..r {
        let trace = product.diagonal(0, -2, -1)?.sum_axes(&[-1], true)?.unsqueeze(-1)?;
        product = a.matmul(&product.sub(&identity.mul(&trace)?.mul_scalar(1.0 / k as f64))?)?;
    }
    let trace = product.diagonal(0, -2, -1)?.sum_axes(&[-1], false)?;
    let sign = if r % 2 == 1 { 1.0 } else { -1.0 };
    Ok(trace.mul_scalar(sign / r as f64))
}

impl<T: Float> Op<T> for Det {
    type Saved = ();
    const NAME: &'static str = "det";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        square("det", inputs[0])?;
        Ok(batch(inputs[0]).into())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let x = inputs[0];
        let determinant = |m: &[Matrix]| vec![Lu::of(m[0].clone()).determinant()];
        (each(count(x), &[matrices(x)], batch(x.shape()).into(), &determinant), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let x = &call.inputs[0];
        call.each(|_| {
            each(count(x), &[matrices(x), (&call.cotangent, [1, 1])], x.shape().clone(), &|m| {
                let g = m[1].values[0];
                let cofactors = cofactors(&m[0]);
                cofactors.map_or_else(|| nothing(m[0].values.len()), |c| c.map(|c| g * c).values)
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let a = &call.inputs[0];
        if let Some(filler) = Filler::of(a.value())? {
            return call.compose(|inputs| filler.determinant(&inputs[0]));
        }
        let g = call.cotangent.mul(call.output)?.reshape(per_matrix(a.shape(), &[1, 1]))?;
        call.each(|_| inverse_transposed(a)?.mul(&g))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        // The second batch is singular, of ranks 2 and 1, and regular.
        let matrices = [
            [1., 2., 3., 4., 5., 6., 7., 8., 9.],
            [1., 2., 3., 2., 4., 6., -1., -2., -3.],
            [1., 0., 2., 0., 1., 0., -1., 0., 3.],
        ];
        let singular = Tensor::from_fn([3, 3, 3], |i| T::from_f64(matrices[i / 9][i % 9]));
        vec![
            (Self, samples(&[&[2, 3, 3]])),
            (Self, vec![singular]),
            (Self, samples(&[&[0, 2, 2]])),
            (Self, samples(&[&[2, 0, 0]])),
        ]
    }
}

impl<T: Float> Op<T> for SlogDet {
    type Saved = ();
    const NAME: &'static str = "slogdet";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        square("slogdet", inputs[0])?;
        Ok(per_matrix(inputs[0], &[2]))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let x = inputs[0];
        let both = each(count(x), &[matrices(x)], per_matrix(x.shape(), &[2]), &|m| {
            let (sign, logarithm) = Lu::of(m[0].clone()).log_determinant();
            vec![sign, logarithm]
        });
        (both, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let x = &call.inputs[0];
        call.each(|_| {
            each(count(x), &[matrices(x), (&call.cotangent, [1, 2])], x.shape().clone(), &|m| {
                let g = m[1].values[1];
                let inverse = Lu::of(m[0].transposed()).solve(&Matrix::identity(m[0].rows));
                inverse.map(|x| g * x).values
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let g = call.cotangent.narrow(-1, 1, 1)?.unsqueeze(-1)?;
        call.each(|_| inverse_transposed(&call.inputs[0])?.mul(&g))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![(Self, samples(&[&[2, 3, 3]])), (Self, samples(&[&[0, 2, 2]]))]
    }
}
