//! The singular value decomposition, and operations based on it.

use super::batches::{
    batch, each, matrices, nothing, part, per_matrix, quotient, quotient_term, rectangle, samples,
    transposed,
};
use super::linear_algebra::Packed;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::linear_algebra::{Matrix, svd};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A = U·diag(S)·Vᵀ for A of `[…, m, n]`: U of `m × k`, S of k = min(m, n)
/// singular values, descending, and Vᵀ of `k × n`; the elements of U, S and Vᵀ
/// concatenated, as `[…, m·k + k + k·n]`.
#[derive(Clone, Copy, Debug)]
pub struct Svd;

fn length([m, n]: [usize; 2]) -> usize {
    m.min(n) * (m + 1 + n)
}

impl<T: Float> Op<T> for Svd {
    type Saved = ();
    const NAME: &'static str = "svd";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(per_matrix(inputs[0], &[length(rectangle("svd", inputs[0])?)]))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, sizes) = matrices(inputs[0]);
        let length = length(sizes);
        let count = batch(x.shape()).iter().product();
        let packed = each(count, &[(x, sizes)], per_matrix(x.shape(), &[length]), &|m| {
            let packed =
                svd(&m[0]).map(|parts| [parts.u.values, parts.s, parts.vt.values].concat());
            packed.unwrap_or_else(|| nothing(length))
        });
        (packed, ())
    }

    /// J. Townsend, "Differentiating the singular value decomposition", 2016.
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, [m, n]) = matrices(&call.inputs[0]);
        let packed = [1, length([m, n])];
        let operands = [(call.output, packed), (&call.cotangent, packed)];
        let gradient = |operands: &[Matrix]| {
            let [output, cotangent] = operands else { unreachable!("two operands") };
            let k = m.min(n);
            let unpacked = |mut values: &[f64]| {
                [part(&mut values, m, k), part(&mut values, 1, k), part(&mut values, k, n)]
            };
            let ([u, s, vt], [gu, gs, gvt]) =
                (unpacked(&output.values), unpacked(&cotangent.values));
            let s = s.values;
            let (left, right) = (u.transposed_times(&gu), vt.times(&gvt.transposed()));
            let inner = Matrix::from_fn(k, k, |i, j| {
                if i == j {
                    return gs.values[i];
                }
                let gap = (s[j] - s[i]) * (s[j] + s[i]);
                quotient(left[(i, j)] - left[(j, i)], gap) * s[j]
                    + quotient(right[(i, j)] - right[(j, i)], gap) * s[i]
            });
            let mut gradient = u.times(&inner).times(&vt);
            // The part outside the span of U and V.
            if m > k {
                let outside = gu.zip(&u.times(&left), |x, y| x - y);
                let scaled = Matrix::from_fn(m, k, |i, j| quotient(outside[(i, j)], s[j]));
                gradient = gradient.zip(&scaled.times(&vt), |x, y| x + y);
            }
            if n > k {
                let outside = gvt.zip(&right.transposed_times(&vt), |x, y| x - y);
                let scaled = Matrix::from_fn(k, n, |i, j| quotient(outside[(i, j)], s[i]));
                gradient = gradient.zip(&u.times(&scaled), |x, y| x + y);
            }
            gradient.values
        };
        let count = batch(x.shape()).iter().product();
        call.each(|_| each(count, &operands, x.shape().clone(), &gradient))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let [m, n] = rectangle("svd", shape)?;
        let k = m.min(n);
        let unpacked = |packed: &Term<T>| {
            let mut packed = Packed::of(packed.clone(), shape);
            Ok((packed.next(&[m, k])?, packed.next(&[k])?, packed.next(&[k, n])?))
        };
        let ((u, s, vt), (gu, gs, gvt)) = (unpacked(call.output)?, unpacked(call.cotangent)?);
        let (of_row, of_column) = (s.unsqueeze(-1)?, s.unsqueeze(-2)?);
        let (left, right) = (transposed(&u)?.matmul(&gu)?, vt.matmul(&transposed(&gvt)?)?);
        let gaps = (&of_column - &of_row) * (&of_column + &of_row);
        let turned = |x: &Term<T>| quotient_term(&x.sub(&transposed(x)?)?, &gaps);
        let inner = turned(&left)? * &of_column + turned(&right)? * &of_row + gs.diag_embed(0)?;
        let mut gradient = u.matmul(&inner)?.matmul(&vt)?;
        // The part outside the span of U and V.
        if m > k {
            let outside = gu - u.matmul(&left)?;
            gradient = gradient + quotient_term(&outside, &of_column)?.matmul(&vt)?;
        }
        if n > k {
            let outside = gvt - transposed(&right)?.matmul(&vt)?;
            gradient = gradient + u.matmul(&quotient_term(&outside, &of_row)?)?;
        }
        call.each(|_| Ok(gradient.clone()))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let shapes: [&[usize]; 5] = [&[3, 3], &[2, 4, 2], &[2, 4], &[0, 2, 2], &[3, 0]];
        shapes.map(|shape| (Self, samples(&[shape]))).into()
    }
}

/// The pseudoinverse of `[…, m, n]` (R. Penrose, 1955), as `[…, n, m]`.
#[derive(Clone, Copy, Debug)]
pub struct Pinv {
    /// The bound below which singular values count as 0, relative to the
    /// largest.
    pub rtol: f64,
}

impl<T: Float> Op<T> for Pinv {
    type Saved = ();
    const NAME: &'static str = "pinv";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [m, n] = rectangle("pinv", inputs[0])?;
        Ok(per_matrix(inputs[0], &[n, m]))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, [m, n]) = matrices(inputs[0]);
        let count = batch(x.shape()).iter().product();
        let inverse = each(count, &[(x, [m, n])], per_matrix(x.shape(), &[n, m]), &|a| {
            let Some(parts) = svd(&a[0]) else { return nothing(m * n) };
            let least = self.rtol * parts.s.first().copied().unwrap_or(0.0);
            let inverse = |&s: &f64| if s > least { 1.0 / s } else { 0.0 };
            let factors: Vec<f64> = parts.s.iter().map(inverse).collect();
            parts.vt.transposed().scale_columns(&factors).times(&parts.u.transposed()).values
        });
        (inverse, ())
    }

    /// G. Golub and V. Pereyra, "The differentiation of pseudo-inverses", 1973,
    /// for a rank that does not change.
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let x = &call.inputs[0];
        let operands = [matrices(x), matrices(call.output), matrices(&call.cotangent)];
        let gradient = |operands: &[Matrix]| {
            let [a, p, g] = operands else { unreachable!("three operands") };
            let (pt, gt) = (p.transposed(), g.transposed());
            let minus = |x: Matrix, y: &Matrix| x.zip(y, |x, y| x - y);
            let direct = pt.times(g).times(&pt);
            // (I − A·P)·Gᵀ·P·Pᵀ and Pᵀ·P·Gᵀ·(I − P·A)
            let rows = minus(gt.clone(), &a.times(&p.times(&gt))).times(p).times(&pt);
            let inner = pt.times(p).times(&gt);
            let columns = minus(inner.clone(), &inner.times(p).times(a));
            minus(rows.zip(&columns, |x, y| x + y), &direct).values
        };
        let count = batch(x.shape()).iter().product();
        call.each(|_| each(count, &operands, x.shape().clone(), &gradient))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (a, p) = (&call.inputs[0], call.output);
        let (pt, gt) = (transposed(p)?, transposed(call.cotangent)?);
        let direct = pt.matmul(call.cotangent)?.matmul(&pt)?;
        // As in `vjp`.
        let rows = (&gt - a.matmul(&p.matmul(&gt)?)?).matmul(p)?.matmul(&pt)?;
        let inner = pt.matmul(p)?.matmul(&gt)?;
        let columns = &inner - inner.matmul(p)?.matmul(a)?;
        call.each(|_| Ok(&rows + &columns - &direct))
    }

    fn attributes(&self) -> Attributes {
        vec![("rtol", self.rtol.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let shapes: [&[usize]; 4] = [&[3, 3], &[2, 4, 2], &[2, 4], &[0, 2, 2]];
        shapes.map(|shape| (Self { rtol: 1e-12 }, samples(&[shape]))).into()
    }
}
