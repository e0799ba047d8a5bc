//! Systems of equations, decompositions of matrices, and functions based on
//! them.

use dendra_autograd::Var;
use dendra_tensor::{Float, LinearAlgebra, Ops, Tensor};

use super::{Row, rows};
use crate::call::Stop;

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = systems();
    rows.extend(values());
    rows
}

fn transposed<T: Float>(x: &Var<T>) -> dendra_tensor::Result<Var<T>> {
    x.transpose(-2, -1)
}

#[expect(non_snake_case, reason = "the names of PyTorch's arguments")]
fn systems<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "linalg.solve" (A: Var<T>, B: Var<T>, left: bool = true) => match left {
            // A batch of vectors, which PyTorch distinguishes from a matrix by
            // the shapes.
            true if B.value().rank() > 1 && B.shape()[..] == A.shape()[..A.value().rank() - 1] => {
                A.solve(&B.unsqueeze(-1)?)?.squeeze(-1)
            }
            true => A.solve(&B),
            false => transposed(&transposed(&A)?.solve(&transposed(&B)?)?),
        };
        "linalg.solve_triangular" (
            A: Var<T>, B: Var<T>, upper: bool, left: bool = true, unitriangular: bool = false,
        ) => match left {
            true => A.solve_triangular(&B, upper, unitriangular),
            false => {
                let (a, b) = (transposed(&A)?, transposed(&B)?);
                transposed(&a.solve_triangular(&b, !upper, unitriangular)?)
            }
        };
        "linalg.inv" (A: Var<T>) => A.inv();
        "linalg.pinv" | "pinverse" (A: Var<T>, rtol: Option<f64> = None) => A.pinv(rtol);
        "linalg.pinv.singular" (A: Var<T>, B: Var<T>) => A.matmul(&transposed(&B)?)?.pinv(None);
        "linalg.lstsq.grad_oriented" (A: Var<T>, B: Var<T>, driver: Option<String> = None) => {
            let _ = driver;
            A.lstsq(&B)
        };
        "linalg.cholesky" (A: Var<T>, upper: bool = false) => match upper {
            false => A.cholesky(),
            true => transposed(&A.cholesky()?),
        };
        "cholesky_solve" (B: Var<T>, L: Var<T>, upper: bool = false) => {
            B.cholesky_solve(&if upper { transposed(&L)? } else { L })
        };
        "cholesky_inverse" (L: Var<T>, upper: bool = false) => {
            let order = L.value().shape().last().copied().unwrap_or(0);
            let identity = Var::constant(Tensor::eye(order)).broadcast_to(L.value().shape())?;
            identity.cholesky_solve(&if upper { transposed(&L)? } else { L })
        };
        "linalg.matrix_power" (A: Var<T>, n: isize) => {
            let power = n.unsigned_abs();
            if n < 0 { A.inv()?.matrix_power(power) } else { A.matrix_power(power) }
        };
    }
}

/// A symmetric matrix computed from another one, as the comparison does for
/// PyTorch.
fn symmetric<T: Float>(x: &Var<T>) -> dendra_tensor::Result<Var<T>> {
    x.add(&transposed(x)?)
}

#[expect(non_snake_case, reason = "the names of PyTorch's arguments")]
fn values<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "linalg.det" (A: Var<T>) => A.det();
        "linalg.slogdet" (A: Var<T>) => A.slogdet();
        "logdet" (A: Var<T>) => {
            let (sign, logarithm) = A.slogdet()?;
            let negative = sign.value().lt_scalar(T::ZERO);
            logarithm.masked_fill(&negative, f64::NAN)
        };
        "linalg.qr" (A: Var<T>, mode: String = "reduced".into()) => match &*mode {
            "reduced" => Ok(A.qr()?),
            other => Err(Stop::inexpressible(format!("the mode {other}"))),
        };
        "linalg.eigh" (A: Var<T>, UPLO: String = "L".into()) => {
            let _ = UPLO;
            // The sign of a vector is ignored.
            symmetric(&A)?.eigh().map(|(values, vectors)| (values, vectors.abs()))
        };
        "linalg.eigvalsh" (A: Var<T>, UPLO: String = "L".into()) => {
            let _ = UPLO;
            symmetric(&A)?.eigvalsh()
        };
        "linalg.svdvals" (A: Var<T>) => A.svdvals();
        "linalg.matrix_rank" | "linalg.matrix_rank.hermitian" (
            A: Var<T>, rtol: Option<f64> = None, hermitian: bool = false,
        ) => {
            let _ = hermitian;
            A.value().matrix_rank(rtol)
        };
        "matrix_exp" (A: Var<T>) => A.matrix_exp();
    }
}
