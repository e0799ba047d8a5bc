//! The QR decomposition.

use super::batches::{batch, each, matrices, part, per_matrix, rectangle, samples, transposed};
use super::linear_algebra::Packed;
use super::solve::SolveTriangular;
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Matrix, qr, solve_triangular};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Q of `m × k`, whose columns are orthonormal, and the upper triangular R of
/// `k × n` with A = Q·R, for A of `[…, m, n]` and k = min(m, n); the elements
/// of Q, then those of R, as `[…, m·k + k·n]`.
#[derive(Clone, Copy, Debug)]
pub struct Qr;

fn length([m, n]: [usize; 2]) -> usize {
    m.min(n) * (m + n)
}

impl<T: Float> Op<T> for Qr {
    type Saved = ();
    const NAME: &'static str = "qr";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(per_matrix(inputs[0], &[length(rectangle("qr", inputs[0])?)]))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, sizes) = matrices(inputs[0]);
        let shape = per_matrix(x.shape(), &[length(sizes)]);
        let packed = each(batch(x.shape()).iter().product(), &[(x, sizes)], shape, &|m| {
            let (q, r) = qr(&m[0]);
            [q.values, r.values].concat()
        });
        (packed, ())
    }

    /// F. Roberts and A. Roberts, "A differentiable QR decomposition", 2020.
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, [m, n]) = matrices(&call.inputs[0]);
        let packed = [1, length([m, n])];
        let operands = [(x, [m, n]), (call.output, packed), (&call.cotangent, packed)];
        let gradient = |operands: &[Matrix]| {
            let [a, output, cotangent] = operands else { unreachable!("three operands") };
            let k = m.min(n);
            let unpacked = |mut values: &[f64]| (part(&mut values, m, k), part(&mut values, k, n));
            let ((q, r), (mut gq, gr)) = (unpacked(&output.values), unpacked(&cotangent.values));
            // The columns of R after the first k are Qᵀ times those of A.
            let columns = |x: &Matrix, from: usize, to: usize| {
                Matrix::from_fn(x.rows, to - from, |i, j| x[(i, from + j)])
            };
            let beyond = columns(&gr, k, n);
            gq = gq.zip(&columns(a, k, n).times(&beyond.transposed()), |x, y| x + y);
            let (r, gr) = (columns(&r, 0, k), columns(&gr, 0, k));
            let inner = gr.times(&r.transposed());
            let inner = inner.zip(&q.transposed_times(&gq), |x, y| x - y);
            let inner = Matrix::from_fn(k, k, |i, j| inner[(i.min(j), i.max(j))]);
            let left = gq.zip(&q.times(&inner), |x, y| x + y);
            let first = solve_triangular(&r, left.transposed(), true, false).transposed();
            let rest = q.times(&beyond);
            Matrix::from_fn(m, n, |i, j| if j < k { first[(i, j)] } else { rest[(i, j - k)] })
                .values
        };
        let count = batch(x.shape()).iter().product();
        call.each(|_| each(count, &operands, x.shape().clone(), &gradient))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let x = &call.inputs[0];
        let [m, n] = rectangle("qr", x.shape())?;
        let k = m.min(n);
        let unpacked = |packed: &Term<T>| {
            let mut packed = Packed::of(packed.clone(), x.shape());
            Ok((packed.next(&[m, k])?, packed.next(&[k, n])?))
        };
        let ((q, r), (mut gq, gr)) = (unpacked(call.output)?, unpacked(call.cotangent)?);
        // As in `vjp`.
        let beyond = gr.narrow(-1, k, n - k)?;
        if n > k {
            gq = gq + x.narrow(-1, k, n - k)?.matmul(&transposed(&beyond)?)?;
        }
        let (r, gr) = (r.narrow(-1, 0, k)?, gr.narrow(-1, 0, k)?);
        let inner = gr.matmul(&transposed(&r)?)? - transposed(&q)?.matmul(&gq)?;
        let inner = inner.triu(0)? + transposed(&inner.triu(1)?)?;
        let left = gq + q.matmul(&inner)?;
        let solve = SolveTriangular { upper: true, unitriangular: false };
        let first = transposed(&Term::try_apply(solve, &[&r, &transposed(&left)?])?)?;
        let gradient = match n > k {
            true => Term::cat(&[&first, &q.matmul(&beyond)?], -1)?,
            false => first,
        };
        call.each(|_| Ok(gradient.clone()))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let shapes: [&[usize]; 5] = [&[3, 3], &[2, 4, 2], &[2, 4], &[0, 2, 2], &[3, 0]];
        shapes.map(|shape| (Self, samples(&[shape]))).into()
    }
}
