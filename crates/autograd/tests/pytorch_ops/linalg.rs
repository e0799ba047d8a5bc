//! Linear algebra, as the cases of the fixture `linalg` call it.

use dendra_tensor::{LinearAlgebra, Ops, Result};

use crate::fixtures::Case;

/// Applies a case's operation, if it is one of these.
pub(crate) fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Option<Result<V>> {
    let flag = |name| case.flag(name);
    // Of several results the one that the case is about.
    let part = |parts: Vec<V>| parts[case.integer("part") as usize].clone();
    Some(match (case.kind(), inputs) {
        ("inv", [x]) => x.inv(),
        ("det", [x]) => x.det(),
        ("slogdet", [x]) => x.slogdet().map(|(sign, logarithm)| part(vec![sign, logarithm])),
        ("solve", [a, b]) => a.solve(b),
        ("solve_triangular", [a, b]) => a.solve_triangular(b, flag("upper"), flag("unitriangular")),
        ("cholesky", [x]) => x.cholesky(),
        ("cholesky_solve", [b, l]) => b.cholesky_solve(l),
        ("qr", [x]) => x.qr().map(|(q, r)| part(vec![q, r])),
        ("svd", [x]) => x.svd().map(|(u, s, vt)| part(vec![u, s, vt])),
        ("svdvals", [x]) => x.svdvals(),
        ("eigh", [x]) => x.eigh().map(|(values, vectors)| part(vec![values, vectors])),
        ("eigvalsh", [x]) => x.eigvalsh(),
        ("pinv", [x]) => x.pinv(Some(case.number("rtol"))),
        ("lstsq", [a, b]) => a.lstsq(b),
        ("matrix_exp", [x]) => x.matrix_exp(),
        _ => return None,
    })
}
