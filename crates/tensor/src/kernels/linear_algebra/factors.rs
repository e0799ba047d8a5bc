//! Triangular factors: LU, Cholesky and QR, and systems of equations.

use super::{Matrix, add_scaled, dot, largest};

/// P·A = L·U with the largest pivot in each column: L, whose unit diagonal is
/// not stored, below the diagonal, and U on and above it.
pub(crate) struct Lu {
    factors: Matrix,
    /// For each row of the factors, the index of the row of A.
    order: Vec<usize>,
    /// The determinant of the permutation.
    sign: f64,
}

impl Lu {
    pub(crate) fn of(mut a: Matrix) -> Self {
        let n = a.rows;
        let (mut order, mut sign): (Vec<usize>, _) = ((0..n).collect(), 1.0);
        for k in 0..n {
            let pivot = k + largest((k..n).map(|i| a[(i, k)]));
            if a[(pivot, k)] == 0.0 {
                continue;
            }
            if pivot != k {
                let (upper, lower) = a.two_rows(k, pivot);
                upper.swap_with_slice(lower);
                order.swap(k, pivot);
                sign = -sign;
            }
            for i in k + 1..n {
                let (upper, lower) = a.two_rows(k, i);
                let factor = lower[k] / upper[k];
                lower[k] = factor;
                if factor != 0.0 {
                    add_scaled(&mut lower[k + 1..], -factor, &upper[k + 1..]);
                }
            }
        }
        Self { factors: a, order, sign }
    }

    fn pivots(&self) -> impl Iterator<Item = f64> {
        (0..self.factors.rows).map(|i| self.factors[(i, i)])
    }

    pub(crate) fn determinant(&self) -> f64 {
        self.pivots().fold(self.sign, |product, pivot| product * pivot)
    }

    /// The sign of the determinant, and the logarithm of its absolute value.
    pub(crate) fn log_determinant(&self) -> (f64, f64) {
        self.pivots().fold((self.sign, 0.0), |(sign, sum), pivot| {
            let factor = if pivot == 0.0 { 0.0 } else { pivot.signum() };
            (sign * factor, sum + pivot.abs().ln())
        })
    }

    /// X with A·X = B; its elements are not finite if A is singular.
    pub(crate) fn solve(&self, b: &Matrix) -> Matrix {
        let x = b.with_rows(&self.order);
        let x = solve_triangular(&self.factors, x, false, true);
        solve_triangular(&self.factors, x, true, false)
    }
}

/// X with A·X = B for a triangular A. Only this triangle is read, and not its
/// diagonal if `ones` is set.
pub(crate) fn solve_triangular(a: &Matrix, mut b: Matrix, upper: bool, ones: bool) -> Matrix {
    let n = a.rows;
    for step in 0..n {
        let i = if upper { n - 1 - step } else { step };
        let known = if upper { i + 1..n } else { 0..i };
        for k in known {
            let factor = a[(i, k)];
            if factor != 0.0 {
                let (to, from) = match k < i {
                    true => {
                        let (from, to) = b.two_rows(k, i);
                        (to, from)
                    }
                    false => b.two_rows(i, k),
                };
                add_scaled(to, -factor, from);
            }
        }
        if !ones {
            let pivot = a[(i, i)];
            b.row_mut(i).iter_mut().for_each(|x| *x /= pivot);
        }
    }
    b
}

/// The lower triangular L with L·Lᵀ = A, if A is positive definite. Only the
/// lower triangle of A is read.
pub(crate) fn cholesky(a: &Matrix) -> Option<Matrix> {
    let mut l = Matrix::zeros(a.rows, a.rows);
    for i in 0..a.rows {
        for j in 0..=i {
            let rest = a[(i, j)] - dot(&l.row(i)[..j], &l.row(j)[..j]);
            if i != j {
                l[(i, j)] = rest / l[(j, j)];
            } else if rest > 0.0 {
                l[(i, i)] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(l)
}

/// Q of `m × k` and R of `k × n` with A = Q·R, for k = min(m, n), by
/// Householder reflections with LAPACK's choice of signs.
pub(crate) fn qr(a: &Matrix) -> (Matrix, Matrix) {
    let (m, n) = (a.rows, a.columns);
    let k = m.min(n);
    let scale = a.magnitude();
    // A row is a column of A. The reflections are stored below the diagonal.
    let mut columns = a.transposed().map(|x| x / scale);
    let mut taus = vec![0.0; k];
    for (i, tau) in taus.iter_mut().enumerate() {
        let column = &mut columns.row_mut(i)[i..];
        let (alpha, rest) = column.split_first_mut().expect("i is below k");
        let norm = dot(rest, rest).sqrt();
        if norm == 0.0 {
            continue;
        }
        let beta = -alpha.hypot(norm).copysign(*alpha);
        *tau = (beta - *alpha) / beta;
        rest.iter_mut().for_each(|x| *x /= *alpha - beta);
        *alpha = beta;
        for j in i + 1..n {
            let (reflection, column) = columns.two_rows(i, j);
            reflect(&reflection[i + 1..], *tau, &mut column[i..]);
        }
    }
    let r = Matrix::from_fn(k, n, |i, j| if i <= j { columns[(j, i)] * scale } else { 0.0 });
    // A row is a column of Q.
    let mut q = Matrix::from_fn(k, m, |i, j| if i == j { 1.0 } else { 0.0 });
    for i in (0..k).rev() {
        for j in i..k {
            reflect(&columns.row(i)[i + 1..], taus[i], &mut q.row_mut(j)[i..]);
        }
    }
    (q.transposed(), r)
}

/// `x − tau·v·(v·x)`, where v is 1 and then `rest`.
fn reflect(rest: &[f64], tau: f64, x: &mut [f64]) {
    let (first, others) = x.split_first_mut().expect("a reflection has an element");
    let product = tau * (*first + dot(rest, others));
    *first -= product;
    add_scaled(others, -product, rest);
}
