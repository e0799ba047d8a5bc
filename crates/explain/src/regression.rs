//! Linear models that are fitted to weighted points, in double precision.

/// Points in rows of equal width, with their values and weights.
pub(crate) struct Points<'a> {
    pub(crate) rows: &'a [Vec<f64>],
    pub(crate) values: &'a [f64],
    pub(crate) weights: &'a [f64],
}

impl Points<'_> {
    /// The coefficients β that minimise Σ w·(value − row·β)², without an
    /// intercept.
    pub(crate) fn least_squares(&self) -> Vec<f64> {
        let width = self.rows.first().map_or(0, Vec::len);
        let mut matrix = vec![vec![0.0; width]; width];
        let mut right = vec![0.0; width];
        for ((row, value), weight) in self.rows.iter().zip(self.values).zip(self.weights) {
            for i in (0..width).filter(|&i| row[i] != 0.0) {
                right[i] += weight * row[i] * value;
                for j in 0..width {
                    matrix[i][j] += weight * row[i] * row[j];
                }
            }
        }
        solve(matrix, right)
    }

    /// The coefficients β that minimise
    /// Σ w·(value − intercept − row·β)² / 2Σw + alpha·Σ|β|, by coordinate
    /// descent (Friedman et al., 2010), like scikit-learn's `Lasso`.
    pub(crate) fn lasso(&self, alpha: f64) -> Vec<f64> {
        const ROUNDS: usize = 10_000;
        let width = self.rows.first().map_or(0, Vec::len);
        let total: f64 = self.weights.iter().sum();
        let mean = |of: &dyn Fn(usize) -> f64| {
            self.weights.iter().enumerate().map(|(i, weight)| weight * of(i)).sum::<f64>() / total
        };
        let middle = mean(&|i| self.values[i]);
        let middles: Vec<f64> = (0..width).map(|j| mean(&|i| self.rows[i][j])).collect();
        let centred = |i: usize, j: usize| self.rows[i][j] - middles[j];
        let scales: Vec<f64> = (0..width).map(|j| mean(&|i| centred(i, j).powi(2))).collect();
        let mut rest: Vec<f64> = self.values.iter().map(|value| value - middle).collect();
        let mut coefficients = vec![0.0_f64; width];
        for _ in 0..ROUNDS {
            let mut largest = 0.0_f64;
            for j in (0..width).filter(|&j| scales[j] > 0.0) {
                let old = coefficients[j];
                let pull = mean(&|i| centred(i, j) * rest[i]) + scales[j] * old;
                let new = pull.signum() * (pull.abs() - alpha).max(0.0) / scales[j];
                if new != old {
                    rest.iter_mut()
                        .enumerate()
                        .for_each(|(i, r)| *r -= (new - old) * centred(i, j));
                    coefficients[j] = new;
                }
                largest = largest.max((new - old).abs());
            }
            if largest <= 1e-14 {
                break;
            }
        }
        coefficients
    }
}

/// Solves a symmetric system by Gaussian elimination with pivots. A variable
/// that the others determine is set to 0.
pub(crate) fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    let scale = matrix.iter().flatten().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let mut row_of = vec![None; n];
    let mut row = 0;
    for column in 0..n {
        let largest =
            (row..n).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()));
        let Some(pivot) = largest.filter(|&i| matrix[i][column].abs() > 1e-13 * scale) else {
            continue;
        };
        matrix.swap(row, pivot);
        right.swap(row, pivot);
        for other in (0..n).filter(|&other| other != row) {
            let factor = matrix[other][column] / matrix[row][column];
            if factor != 0.0 {
                let pivot = matrix[row].clone();
                matrix[other].iter_mut().zip(&pivot).for_each(|(x, y)| *x -= factor * y);
                right[other] -= factor * right[row];
            }
        }
        row_of[column] = Some(row);
        row += 1;
    }
    let value = |(column, row): (usize, &Option<usize>)| {
        row.map_or(0.0, |row| right[row] / matrix[row][column])
    };
    row_of.iter().enumerate().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_with_pivots_and_without_full_rank() {
        let x = solve(vec![vec![0.0, 2.0], vec![3.0, 1.0]], vec![4.0, 5.0]);
        assert_eq!(x, [1.0, 2.0]);
        assert_eq!(solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![2.0, 2.0]), [2.0, 0.0]);
    }

    /// Expected values: scikit-learn's `Lasso(alpha=0.05)` and
    /// `LinearRegression(fit_intercept=False)` with the same weights.
    #[test]
    fn lasso_and_least_squares_are_those_of_scikit_learn() {
        let rows = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.to_vec()).collect();
        let points =
            Points { rows: &rows, values: &[1.0, 2.0, 4.0, -1.0], weights: &[1.0, 0.5, 2.0, 0.25] };
        let close = |found: Vec<f64>, expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(points.lasso(0.05), LASSO);
        close(points.least_squares(), LEAST_SQUARES);
    }

    const LASSO: [f64; 3] = [1.25, 2.25, -0.65625];
    const LEAST_SQUARES: [f64; 3] = [1.5384615384615383, 2.487179487179488, -0.5897435897435892];
}
