//! Eigenvalues of symmetric matrices: Householder's reduction to a tridiagonal
//! matrix and the implicit QL algorithm (H. Bowdler, R. Martin, C. Reinsch and
//! J. Wilkinson, Handbook for Automatic Computation II, 1971, as in EISPACK's
//! `tred2` and `tql2`).

use super::{Matrix, add_scaled, dot};

/// The largest number of steps of the QL algorithm for an eigenvalue; three are
/// usual.
const MOST_STEPS: usize = 60;

/// The eigenvalues of a symmetric matrix, ascending, and the eigenvectors as
/// rows; `None` when the iteration does not converge. Only the lower triangle is
/// read.
pub(crate) fn eigh(a: &Matrix) -> Option<(Vec<f64>, Matrix)> {
    let n = a.rows;
    if n == 0 {
        return Some((Vec::new(), Matrix::zeros(0, 0)));
    }
    let scale = a.magnitude();
    let mut vectors = Matrix::from_fn(n, n, |i, j| a[(i.max(j), i.min(j))] / scale);
    let (mut values, mut off) = tridiagonal(&mut vectors);
    implicit_ql(&mut values, &mut off, &mut vectors)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let sorted = order.iter().map(|&i| values[i] * scale).collect();
    Some((sorted, vectors.with_rows(&order)))
}

/// Reduces a symmetric matrix to a tridiagonal one: returns its diagonal, and
/// the elements beside the diagonal from index 1 on. The matrix becomes the
/// transposed orthogonal transformation, so that all loops run along rows.
fn tridiagonal(v: &mut Matrix) -> (Vec<f64>, Vec<f64>) {
    let n = v.rows;
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    for (j, d) in d.iter_mut().enumerate() {
        *d = v[(j, n - 1)];
    }
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for (j, d) in d[..i].iter_mut().enumerate() {
                *d = v[(j, i - 1)];
                v[(j, i)] = 0.0;
                v[(i, j)] = 0.0;
            }
        } else {
            // The reflection.
            d[..i].iter_mut().for_each(|x| *x /= scale);
            h = dot(&d[..i], &d[..i]);
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            // The product of the matrix and the vector of the reflection.
            e[..i].fill(0.0);
            for j in 0..i {
                let f = d[j];
                v[(i, j)] = f;
                let row = &v.row(j)[j + 1..i];
                e[j] += v[(j, j)] * f + dot(row, &d[j + 1..i]);
                add_scaled(&mut e[j + 1..i], f, row);
            }
            e[..i].iter_mut().for_each(|x| *x /= h);
            let half = dot(&e[..i], &d[..i]) / (h + h);
            add_scaled(&mut e[..i], -half, &d[..i]);
            // The similarity transformation.
            for j in 0..i {
                let (f, g) = (d[j], e[j]);
                let row = &mut v.row_mut(j)[j..i];
                add_scaled(row, -f, &e[j..i]);
                add_scaled(row, -g, &d[j..i]);
                d[j] = v[(j, i - 1)];
                v[(j, i)] = 0.0;
            }
        }
        d[i] = h;
    }
    // The product of all reflections.
    for i in 0..n - 1 {
        v[(i, n - 1)] = v[(i, i)];
        v[(i, i)] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            for (d, x) in d.iter_mut().zip(&v.row(i + 1)[..=i]) {
                *d = x / h;
            }
            for j in 0..=i {
                let (row, reflection) = v.two_rows(j, i + 1);
                let g = dot(&reflection[..=i], &row[..=i]);
                add_scaled(&mut row[..=i], -g, &d[..=i]);
            }
        }
        v.row_mut(i + 1)[..=i].fill(0.0);
    }
    for (j, d) in d.iter_mut().enumerate() {
        *d = v[(j, n - 1)];
        v[(j, n - 1)] = 0.0;
    }
    v[(n - 1, n - 1)] = 1.0;
    e[0] = 0.0;
    (d, e)
}

/// Converts the diagonal `d` of a tridiagonal matrix to its eigenvalues, and
/// rotates the rows of `v` accordingly.
fn implicit_ql(d: &mut [f64], e: &mut [f64], v: &mut Matrix) -> Option<()> {
    let n = d.len();
    e.rotate_left(1);
    let (mut shift, mut size) = (0.0, 0.0_f64);
    for l in 0..n {
        size = size.max(d[l].abs() + e[l].abs());
        // The last element of `e` is 0.
        let m = (l..n).find(|&m| m == n - 1 || e[m].abs() <= f64::EPSILON * size)?;
        let (mut steps, mut converged) = (0, m == l);
        while !converged {
            steps += 1;
            if steps > MOST_STEPS {
                return None;
            }
            let g = d[l];
            let p = (d[l + 1] - g) / (2.0 * e[l]);
            let r = p.hypot(1.0).copysign(p);
            d[l] = e[l] / (p + r);
            d[l + 1] = e[l] * (p + r);
            let next = d[l + 1];
            let h = g - d[l];
            d[l + 2..].iter_mut().for_each(|x| *x -= h);
            shift += h;
            let mut p = d[m];
            let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
            let (mut s, mut s2) = (0.0, 0.0);
            let beside = e[l + 1];
            for i in (l..m).rev() {
                (c3, c2, s2) = (c2, c, s);
                let g = c * e[i];
                let h = c * p;
                let r = p.hypot(e[i]);
                e[i + 1] = s * r;
                s = e[i] / r;
                c = p / r;
                p = c * d[i] - s * g;
                d[i + 1] = h + s * (c * g + s * d[i]);
                let (first, second) = v.two_rows(i, i + 1);
                rotate(first, second, c, s);
            }
            p = -s * s2 * c3 * beside * e[l] / next;
            e[l] = s * p;
            d[l] = c * p;
            converged = e[l].abs() <= f64::EPSILON * size;
        }
        d[l] += shift;
        e[l] = 0.0;
    }
    Some(())
}

/// Rotates two rows by the angle with this cosine and sine.
pub(super) fn rotate(first: &mut [f64], second: &mut [f64], c: f64, s: f64) {
    for (x, y) in first.iter_mut().zip(second) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}
