//! Eigenvalues of symmetric matrices.

use super::batches::{
    batch, each, matrices, nothing, part, per_matrix, quotient, quotient_term, samples, square,
    symmetric, symmetric_term, transposed,
};
use super::linear_algebra::Packed;
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Matrix, eigh, largest};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The eigenvalues of (A + Aᵀ) / 2 for A of `[…, n, n]`, ascending, then its
/// unit eigenvectors as the columns of an `n × n` matrix, concatenated as `[…,
/// n + n²]`. The element of an eigenvector with the largest absolute value is
/// positive.
#[derive(Clone, Copy, Debug)]
pub struct Eigh;

impl<T: Float> Op<T> for Eigh {
    type Saved = ();
    const NAME: &'static str = "eigh";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let n = square("eigh", inputs[0])?;
        Ok(per_matrix(inputs[0], &[n + n * n]))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, [n, _]) = matrices(inputs[0]);
        let count = batch(x.shape()).iter().product();
        let shape = per_matrix(x.shape(), &[n + n * n]);
        let packed = each(count, &[(x, [n, n])], shape, &|m| {
            let Some((values, rows)) = eigh(&symmetric(&m[0])) else { return nothing(n + n * n) };
            let sign = |i: usize| {
                let row = rows.row(i);
                row[largest(row.iter().copied())].signum()
            };
            let signs: Vec<f64> = (0..n).map(sign).collect();
            [values, rows.transposed().scale_columns(&signs).values].concat()
        });
        (packed, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, [n, _]) = matrices(&call.inputs[0]);
        let packed = [1, n + n * n];
        let gradient = |operands: &[Matrix]| {
            let [output, cotangent] = operands else { unreachable!("two operands") };
            let unpacked =
                |mut values: &[f64]| (part(&mut values, 1, n).values, part(&mut values, n, n));
            let ((values, v), (g_values, gv)) =
                (unpacked(&output.values), unpacked(&cotangent.values));
            let product = v.transposed_times(&gv);
            let inner = Matrix::from_fn(n, n, |i, j| match i == j {
                true => g_values[i],
                // A rotation of two eigenvectors contributes half to each.
                false => {
                    let turned = 0.5 * (product[(i, j)] - product[(j, i)]);
                    quotient(turned, values[j] - values[i])
                }
            });
            symmetric(&v.times(&inner).times(&v.transposed())).values
        };
        let count = batch(x.shape()).iter().product();
        let operands = [(call.output, packed), (&call.cotangent, packed)];
        call.each(|_| each(count, &operands, x.shape().clone(), &gradient))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let n = square("eigh", shape)?;
        let unpacked = |packed: &Term<T>| {
            let mut packed = Packed::of(packed.clone(), shape);
            Ok((packed.next(&[n])?, packed.next(&[n, n])?))
        };
        let ((values, v), (g_values, gv)) = (unpacked(call.output)?, unpacked(call.cotangent)?);
        let product = transposed(&v)?.matmul(&gv)?;
        let turned = (&product - transposed(&product)?) * 0.5;
        let gaps = values.unsqueeze(-2)? - values.unsqueeze(-1)?;
        let inner = quotient_term(&turned, &gaps)? + g_values.diag_embed(0)?;
        call.each(|_| symmetric_term(&v.matmul(&inner)?.matmul(&transposed(&v)?)?))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let shapes: [&[usize]; 3] = [&[3, 3], &[2, 4, 4], &[0, 2, 2]];
        shapes.map(|shape| (Self, samples(&[shape]))).into()
    }
}
