//! The singular value decomposition by one-sided Jacobi rotations (M. Hestenes,
//! 1958), which compute small singular values with the same relative accuracy
//! as large ones. They start from the eigenvectors of Aᵀ·A, so that few
//! rotations are needed.

use super::eigen::rotate;
use super::{Matrix, dot, eigh, largest};

/// The largest number of passes over all pairs of columns; three are usual.
const MOST_SWEEPS: usize = 60;
/// Singular values below this share of the largest one are set to 0.
const NEGLIGIBLE: f64 = 1e-100;

/// A = U·diag(S)·Vᵀ for A of `m × n` and k = min(m, n) singular values.
pub(crate) struct Svd {
    /// `m × k`. In each column, the element with the largest absolute value is
    /// positive.
    pub(crate) u: Matrix,
    /// The singular values in descending order.
    pub(crate) s: Vec<f64>,
    /// `k × n`.
    pub(crate) vt: Matrix,
}

/// The decomposition; `None` when an iteration does not converge.
pub(crate) fn svd(a: &Matrix) -> Option<Svd> {
    let (mut ut, s, mut vt) = match a.rows < a.columns {
        false => tall(a)?,
        true => {
            let (ut, s, vt) = tall(&a.transposed())?;
            (vt, s, ut)
        }
    };
    for i in 0..s.len() {
        let column = ut.row(i);
        if column.get(largest(column.iter().copied())).is_some_and(|&x| x < 0.0) {
            ut.row_mut(i).iter_mut().for_each(|x| *x = -*x);
            vt.row_mut(i).iter_mut().for_each(|x| *x = -*x);
        }
    }
    Some(Svd { u: ut.transposed(), s, vt })
}

/// Uᵀ, S and Vᵀ of a matrix that has at least as many rows as columns.
fn tall(a: &Matrix) -> Option<(Matrix, Vec<f64>, Matrix)> {
    let n = a.columns;
    let scale = a.magnitude();
    let at = a.transposed().map(|x| x / scale);
    let (_, ascending) = eigh(&at.times(&at.transposed()))?;
    let mut vt = ascending.with_rows(&(0..n).rev().collect::<Vec<_>>());
    // The columns of A·V as rows, which become orthogonal.
    let mut columns = vt.times(&at);
    orthogonalise(&mut columns, &mut vt)?;

    let norms: Vec<f64> = (0..n).map(|i| dot(columns.row(i), columns.row(i)).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let (mut ut, vt) = (columns.with_rows(&order), vt.with_rows(&order));
    let mut s: Vec<f64> = order.iter().map(|&i| norms[i]).collect();
    let least = s.first().map_or(0.0, |first| first * NEGLIGIBLE);
    for (i, s) in s.iter_mut().enumerate() {
        if *s > least {
            ut.row_mut(i).iter_mut().for_each(|x| *x /= *s);
        } else {
            *s = 0.0;
            complete(&mut ut, i);
        }
        *s *= scale;
    }
    Some((ut, s, vt))
}

/// Rotates pairs of rows until all are orthogonal, and the rows of `vt` in the
/// same way. Negligible rows are not changed.
fn orthogonalise(columns: &mut Matrix, vt: &mut Matrix) -> Option<()> {
    let n = columns.rows;
    let tolerance = 4.0 * f64::EPSILON * (columns.columns as f64).sqrt();
    let square = |columns: &Matrix, i| dot(columns.row(i), columns.row(i));
    let mut squares: Vec<f64> = (0..n).map(|i| square(columns, i)).collect();
    let least = squares.iter().fold(0.0, |most: f64, x| most.max(*x)) * NEGLIGIBLE.powi(2);
    for _ in 0..MOST_SWEEPS {
        let mut rotated = false;
        for i in 0..n {
            for j in i + 1..n {
                let (a, b) = (squares[i], squares[j]);
                let product = dot(columns.row(i), columns.row(j));
                // False for NaN.
                let orthogonal = product.abs() <= tolerance * a.sqrt() * b.sqrt();
                if orthogonal || a <= least || b <= least {
                    continue;
                }
                rotated = true;
                let zeta = (b - a) / (2.0 * product);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let c = 1.0 / tangent.hypot(1.0);
                let s = c * tangent;
                for matrix in [&mut *columns, &mut *vt] {
                    let (first, second) = matrix.two_rows(i, j);
                    rotate(first, second, c, s);
                }
                squares[i] = square(columns, i);
                squares[j] = square(columns, j);
            }
        }
        if !rotated {
            return Some(());
        }
    }
    None
}

/// Makes row `i` a unit vector that is orthogonal to the rows before it.
fn complete(rows: &mut Matrix, i: usize) {
    let covered = |k: usize| (0..i).map(|j| rows[(j, k)].powi(2)).sum::<f64>();
    // The unit vector that the previous rows cover least.
    let k = largest((0..rows.columns).map(|k| (1.0 - covered(k)).max(0.0)));
    rows.row_mut(i).fill(0.0);
    rows[(i, k)] = 1.0;
    // Done twice, because rounding leaves an error the first time.
    for _ in 0..2 {
        for j in 0..i {
            let (before, row) = rows.two_rows(j, i);
            let product = dot(before, row);
            super::add_scaled(row, -product, before);
        }
        let norm = dot(rows.row(i), rows.row(i)).sqrt();
        rows.row_mut(i).iter_mut().for_each(|x| *x /= norm);
    }
}
