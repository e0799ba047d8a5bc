//! Decompositions of matrices in double precision, for matrices of moderate
//! size (up to some hundreds of rows), for the feature `linalg`.
//!
//! All of them end for any input: iterations are bounded, and comparisons with
//! NaN end loops. A matrix is processed by one thread, so the bits do not
//! depend on the number of threads.

use std::ops::{Index, IndexMut};

use super::gemm::{Plus, multiply};

mod eigen;
mod exponential;
mod factors;
mod svd;

pub(crate) use eigen::eigh;
pub(crate) use exponential::exponential;
pub(crate) use factors::{Lu, cholesky, qr, solve_triangular};
pub(crate) use svd::svd;

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    pub(crate) fn identity(n: usize) -> Self {
        Self::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 })
    }

    pub(crate) fn from_fn(
        rows: usize,
        columns: usize,
        mut f: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let mut matrix = Self::zeros(rows, columns);
        for i in 0..rows {
            for j in 0..columns {
                matrix[(i, j)] = f(i, j);
            }
        }
        matrix
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..][..self.columns]
    }

    fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.columns..][..self.columns]
    }

    /// Row `i` and a later row `j`.
    fn two_rows(&mut self, i: usize, j: usize) -> (&mut [f64], &mut [f64]) {
        let (before, after) = self.values.split_at_mut(j * self.columns);
        (&mut before[i * self.columns..][..self.columns], &mut after[..self.columns])
    }

    /// The rows in another order.
    fn with_rows(&self, order: &[usize]) -> Self {
        let values = order.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { rows: order.len(), columns: self.columns, values }
    }

    pub(crate) fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self[(j, i)])
    }

    pub(crate) fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|x| *x = f(*x));
        self
    }

    pub(crate) fn zip(mut self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(x, &y)| *x = f(*x, y));
        self
    }

    /// Each column times its factor.
    pub(crate) fn scale_columns(mut self, factors: &[f64]) -> Self {
        for row in 0..self.rows {
            self.row_mut(row).iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
        }
        self
    }

    /// The matrix product.
    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut product = Self::zeros(self.rows, other.columns);
        if !product.values.is_empty() && self.columns > 0 {
            multiply(
                [self.rows, self.columns, other.columns],
                (&self.values, [self.columns, 1]),
                (&other.values, [other.columns, 1]),
                &mut product.values,
                Plus::Nothing,
            );
        }
        product
    }

    /// The product of the transposed matrix with another.
    pub(crate) fn transposed_times(&self, other: &Self) -> Self {
        self.transposed().times(other)
    }

    /// The largest absolute value, as a power of two so that dividing by it is
    /// exact; 1 for a matrix of zeros.
    fn magnitude(&self) -> f64 {
        let largest = self.values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        if largest > 0.0 && largest.is_finite() {
            // 2¹⁰²³ is the largest power of two, and its inverse must be a
            // normal number.
            largest.log2().floor().clamp(-1000.0, 1000.0).exp2()
        } else {
            1.0
        }
    }
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.values[i * self.columns + j]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut f64 {
        &mut self.values[i * self.columns + j]
    }
}

/// The scalar product, in eight independent sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_whole, b_whole) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_whole.remainder().iter().zip(b_whole.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_whole.zip(b_whole) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `y += factor · x`
fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

/// The index of the element with the largest absolute value, the first of equal
/// ones.
pub(crate) fn largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, -1.0);
    for (i, x) in values.enumerate() {
        if x.abs() > best.1 {
            best = (i, x.abs());
        }
    }
    best.0
}

#[cfg(test)]
mod tests;
