//! Determinants and their logarithms.

use super::batches::{batch, each, matrices, nothing, per_matrix, samples, square};
use super::{Call, Cotangents, Op};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Lu, Matrix, svd};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The determinants of `[…, n, n]`, as `[…]`.
#[derive(Clone, Copy, Debug)]
pub struct Det;

/// The signs of the determinants of `[…, n, n]` and the logarithms of their
/// absolute values, side by side as `[…, 2]`.
#[derive(Clone, Copy, Debug)]
pub struct SlogDet;

/// det(A)·A⁻ᵀ, which a singular matrix has as well: from the singular values, the
/// products of all but one.
fn cofactors(a: &Matrix) -> Option<Matrix> {
    let parts = svd(a)?;
    let n = parts.s.len();
    let others = |i: usize| (0..n).filter(|&j| j != i).map(|j| parts.s[j]).product::<f64>();
    let determinant = |x: &Matrix| Lu::of(x.clone()).determinant();
    let sign = determinant(&parts.u) * determinant(&parts.vt);
    let factors: Vec<f64> = (0..n).map(|i| sign * others(i)).collect();
    Some(parts.u.scale_columns(&factors).times(&parts.vt))
}

fn count<T: Float>(x: &Tensor<T>) -> usize {
    batch(x.shape()).iter().product()
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

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        // The second one is singular, of rank 2.
        let singular =
            Tensor::from_fn([3, 3], |i| T::from_f64([1., 2., 3., 4., 5., 6., 7., 8., 9.][i]));
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

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![(Self, samples(&[&[2, 3, 3]])), (Self, samples(&[&[0, 2, 2]]))]
    }
}
