//! Products of matrices and functions composed of them.

use dendra_autograd::Var;
use dendra_tensor::Float;
use dendra_tensor::Ops;
use serde_json::Value;

use super::shapes::borrowed;
use super::{Row, rows};
use crate::call::Stop;

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "matmul" (input: Var<T>, other: Var<T>) => input.matmul(&other);
        "mm" (input: Var<T>, other: Var<T>) => input.mm(&other);
        "mv" (input: Var<T>, other: Var<T>) => input.mv(&other);
        "addmm" (
            input: Var<T>, mat1: Var<T>, mat2: Var<T>, beta: f64 = 1.0, alpha: f64 = 1.0,
        ) => input.addmm(&mat1, &mat2, beta, alpha);
        "addmv" (
            input: Var<T>, mat: Var<T>, vec: Var<T>, beta: f64 = 1.0, alpha: f64 = 1.0,
        ) => input.addmv(&mat, &vec, beta, alpha);
        "addr" (
            input: Var<T>, vec1: Var<T>, vec2: Var<T>, beta: f64 = 1.0, alpha: f64 = 1.0,
        ) => input.addr(&vec1, &vec2, beta, alpha);
        "addbmm" (
            input: Var<T>, batch1: Var<T>, batch2: Var<T>, beta: f64 = 1.0, alpha: f64 = 1.0,
        ) => input.addbmm(&batch1, &batch2, beta, alpha);
        "baddbmm" (
            input: Var<T>, batch1: Var<T>, batch2: Var<T>, beta: f64 = 1.0, alpha: f64 = 1.0,
        ) => input.baddbmm(&batch1, &batch2, beta, alpha);
        "linalg.vecdot" (input: Var<T>, other: Var<T>, dim: isize = -1) => {
            input.vecdot(&other, dim)
        };
        "inner" (input: Var<T>, other: Var<T>) => input.inner(&other);
        "__rmatmul__" (input: Var<T>, other: Var<T>) => other.matmul(&input);
        "bmm" (input: Var<T>, other: Var<T>) => input.bmm(&other);
        "dot" | "vdot" (input: Var<T>, other: Var<T>) => input.dot(&other);
        "outer" (input: Var<T>, other: Var<T>) => input.outer(&other);
        "kron" (input: Var<T>, other: Var<T>) => input.kron(&other);
        "trace" (input: Var<T>) => input.trace();
        "cross" | "linalg.cross" (input: Var<T>, other: Var<T>, dim: isize = -1) => {
            input.cross(&other, dim)
        };
        "cdist" (
            x1: Var<T>, x2: Var<T>, p: f64 = 2.0, compute_mode: Option<String> = None,
        ) => {
            let _ = compute_mode;
            x1.cdist(&x2, p)
        };
        "einsum" (operands: Vec<Var<T>>, equation: String) => {
            Var::einsum(&equation, &borrowed(&operands))
        };
        "tensordot" (input: Var<T>, other: Var<T>, dims: Value) => match dims.as_u64() {
            Some(count) => {
                let (rank, count) = (input.value().rank() as isize, count as isize);
                let axes: Vec<isize> = (rank - count..rank).collect();
                input.tensordot(&other, &axes, &(0..count).collect::<Vec<_>>())
            }
            None => {
                let dims: Vec<Vec<isize>> = call.argument("dims", None)?;
                let [axes, others] = &dims[..] else {
                    return Err(Stop::inexpressible("a number of axes"));
                };
                input.tensordot(&other, axes, others)
            }
        };
        "linalg.multi_dot" (tensors: Vec<Var<T>>) => match &tensors[..] {
            [first, rest @ ..] => {
                Ok(rest.iter().try_fold(first.clone(), |product, x| product.matmul(x))?)
            }
            [] => Err(Stop::inexpressible("a product of nothing")),
        };
    }
}
