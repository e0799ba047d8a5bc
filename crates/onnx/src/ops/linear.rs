//! Matrix products.

use dendra_autograd::Var;
use dendra_tensor::kernels::gemm::Panels;
use dendra_tensor::ops::linear::Linear;
use dendra_tensor::ops::matmul::MatMul;
use dendra_tensor::{Float, Ops, Result, Tensor};

use super::arithmetic::{add_two, mul_two};
use super::{Operator, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, each, float, floats};

pub(super) const TABLE: &[Operator] =
    &[one("Det", det), one("Einsum", einsum), one("Gemm", gemm), one("MatMul", matmul)];

fn matmul(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    if call.is_special() && a.rank() > 1 && b.rank() > 1 {
        let [a, b] = [a.f32()?.value(), b.f32()?.value()];
        let panels = call.packed(|| vec![panels(b, false)]).first();
        return Ok(MatMul.forward_then([a, b], panels, call.then())?.into());
    }
    product(a, b)
}

/// A constant weight, which is contiguous, or its transpose in the layout of the
/// kernels.
fn panels(weight: &Tensor<f32>, is_turned: bool) -> Panels<f32> {
    let &[rows, columns] = &weight.shape()[..] else { return Panels::none() };
    match weight.as_slice() {
        Some(elements) if is_turned => f32::gemm_panels([columns, rows], (elements, [1, columns])),
        Some(elements) => f32::gemm_panels([rows, columns], (elements, [columns, 1])),
        None => Panels::none(),
    }
}

/// The matrix product; integers are exact up to 2⁵³.
pub(super) fn product(a: &TypedTensor, b: &TypedTensor) -> Result<TypedTensor> {
    if a.element().is_float() {
        return floats!(a, [b], |x, others| x.matmul(others[0])?);
    }
    let product = Ops::matmul(&a.reals()?, &b.reals()?)?;
    Ok(TypedTensor::whole(a.element(), product.map(|x| x as i64)))
}

fn gemm(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b, c) = (call.tensor(0)?, call.tensor(1)?, call.optional(2)?);
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    let a = if call.flag("transA") { &turned(a)? } else { a };
    if call.flag("transB") && alpha == 1.0 && beta == 1.0 && a.element().is_float() {
        // A linear layer.
        if let Some(bias) = c.filter(|c| c.rank() == 1 && c.shape()[0] == b.shape()[0]) {
            if call.is_special() {
                let inputs = [a.f32()?.value(), b.f32()?.value(), bias.f32()?.value()];
                let panels = call.packed(|| vec![panels(inputs[1], true)]).first();
                return Ok(Linear.forward_then(&inputs, panels, call.then())?.into());
            }
            return floats!(a, [b, bias], |x, others| x.linear(others[0], Some(others[1]))?);
        }
    }
    let b = if call.flag("transB") { &turned(b)? } else { b };
    let product = scaled(&product(a, b)?, alpha)?;
    match c {
        Some(c) => add_two(&product, &scaled(c, beta)?),
        None => Ok(product),
    }
}

fn turned(x: &TypedTensor) -> Result<TypedTensor> {
    Ok(each!(x, x => x.transpose(0, 1)?))
}

fn scaled(x: &TypedTensor, factor: f64) -> Result<TypedTensor> {
    if factor == 1.0 {
        return Ok(x.clone());
    }
    if x.element().is_float() {
        return float!(x, x => x.mul_scalar(factor));
    }
    mul_two(x, &TypedTensor::whole(x.element(), Tensor::scalar(factor as i64)))
}

fn einsum(call: &Call<'_>) -> Result<TypedTensor> {
    let equation: String =
        call.text("equation", "").chars().filter(|letter| !letter.is_whitespace()).collect();
    let operands = call.tensors()?;
    let Some(first) = operands.first() else {
        return call.refuse("expected at least one input");
    };
    match &first.data {
        Data::F32(_) => {
            let operands = operands.iter().map(|x| x.f32()).collect::<Result<Vec<_>>>()?;
            Ok(first.rounded(Var::einsum(&equation, &operands)?))
        }
        Data::F64(_) => {
            let operands = operands.iter().map(|x| x.f64()).collect::<Result<Vec<_>>>()?;
            Ok(first.with(Data::F64(Var::einsum(&equation, &operands)?)))
        }
        _ => {
            let operands = operands.iter().map(|x| x.reals()).collect::<Result<Vec<_>>>()?;
            let sum = Tensor::einsum(&equation, &operands.iter().collect::<Vec<_>>())?;
            Ok(TypedTensor::real(first.element(), sum))
        }
    }
}

/// The determinant, by elimination with the largest pivot of each column.
fn det(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let &[ref batch @ .., rows, columns] = &x.shape()[..] else {
        return call.refuse(format!("expected matrices, got shape {}", x.shape()));
    };
    if rows != columns {
        return call.refuse(format!("expected square matrices, got shape {}", x.shape()));
    }
    let mut values = x.reals()?.to_vec();
    let matrices = values.chunks_mut((rows * rows).max(1));
    let determinants: Vec<f64> = matrices.map(|matrix| determinant(matrix, rows)).collect();
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(determinants, batch)?))
}

fn determinant(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        if matrix[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            (0..n).for_each(|i| matrix.swap(pivot * n + i, column * n + i));
            product = -product;
        }
        product *= matrix[column * n + column];
        for row in column + 1..n {
            let factor = matrix[row * n + column] / matrix[column * n + column];
            for i in column..n {
                matrix[row * n + i] -= factor * matrix[column * n + i];
            }
        }
    }
    product
}
