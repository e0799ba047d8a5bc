//! Decompositions of matrices that are known to be difficult.

use super::svd::Svd;
use super::*;
use crate::random::Rng;

fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
    let mut rng = Rng::seed(seed);
    Matrix::from_fn(rows, columns, |_, _| rng.normal())
}

/// The largest difference of two matrices.
fn distance(a: &Matrix, b: &Matrix) -> f64 {
    assert_eq!((a.rows, a.columns), (b.rows, b.columns));
    let differences = a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, x| if x.is_nan() { f64::INFINITY } else { most.max(x) })
}

fn assert_orthonormal_rows(rows: &Matrix) {
    let error = distance(&rows.times(&rows.transposed()), &Matrix::identity(rows.rows));
    assert!(error < 1e-13, "the products of rows are wrong by {error}");
}

fn hard_matrices() -> Vec<(&'static str, Matrix)> {
    let hilbert = Matrix::from_fn(12, 12, |i, j| 1.0 / (i + j + 1) as f64);
    let low_rank = random(20, 3, 5).times(&random(3, 20, 6));
    let graded = random(12, 12, 10);
    let graded = Matrix::from_fn(12, 12, |i, j| graded[(i, j)] * 10_f64.powi(-2 * i as i32));
    let mut all = vec![
        ("tall", random(30, 12, 3)),
        ("wide", random(9, 25, 4)),
        ("Hilbert", hilbert),
        ("rank 3", low_rank),
        ("graded", graded),
        ("zeros", Matrix::zeros(6, 4)),
        ("ones", Matrix::zeros(8, 8).map(|_| 1.0)),
        ("identity", Matrix::identity(7)),
        ("row", random(1, 9, 7)),
        ("column", random(9, 1, 8)),
        ("tiny", random(7, 7, 11).map(|x| x * 1e-200)),
        ("huge", random(7, 7, 11).map(|x| x * 1e200)),
        ("subnormal", random(4, 4, 11).map(|x| x * 1e-310)),
        ("nilpotent", Matrix::from_fn(10, 10, |i, j| if j == i + 1 { 1.0 } else { 0.0 })),
    ];
    for seed in 0..150 {
        let (m, n) = (1 + seed as usize % 7, 1 + seed as usize / 7 % 7);
        all.push(("small integers", random(m, n, 100 + seed).map(f64::round)));
    }
    all
}

#[test]
fn singular_values_of_hard_matrices() {
    for (name, a) in hard_matrices() {
        let Svd { u, s, vt } = svd(&a).unwrap_or_else(|| panic!("{name} does not converge"));
        assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|&s| s >= 0.0));
        assert_orthonormal_rows(&vt);
        assert_orthonormal_rows(&u.transposed());
        let error = distance(&u.scale_columns(&s).times(&vt), &a);
        let largest = a.values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(error <= 2e-14 * largest + f64::MIN_POSITIVE, "{name}: {error}");
    }
    // The smallest singular value of the Hilbert matrix of order 8, to many
    // digits.
    let hilbert = Matrix::from_fn(8, 8, |i, j| 1.0 / (i + j + 1) as f64);
    let smallest = svd(&hilbert).unwrap().s[7];
    assert!((smallest / 1.111_538_966_372_442e-10 - 1.0).abs() < 1e-5, "{smallest}");
}

#[test]
fn eigenvalues_of_hard_matrices() {
    for (name, a) in hard_matrices() {
        let scale = a.magnitude();
        let a = a.map(|x| x / scale);
        let symmetric = a.times(&a.transposed());
        let symmetric = symmetric.clone().zip(&symmetric.transposed(), |x, y| 0.5 * (x + y));
        let (values, rows) = eigh(&symmetric).unwrap_or_else(|| panic!("{name}"));
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_orthonormal_rows(&rows);
        let again = rows.transposed().scale_columns(&values).times(&rows);
        let largest = symmetric.values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let error = distance(&again, &symmetric);
        assert!(error <= 1e-13 * largest.max(1e-300), "{name}: {error}");
    }
    // 2 − 2·cos(πk / 41) are the eigenvalues of the second differences of 40
    // numbers.
    let n = 40;
    let differences = Matrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
        0 => 2.0,
        1 => -1.0,
        _ => 0.0,
    });
    for (k, value) in eigh(&differences).unwrap().0.into_iter().enumerate() {
        let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
        assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-13);
    }
}

#[test]
fn orthogonal_and_triangular_factors() {
    for (name, a) in hard_matrices() {
        let (q, r) = qr(&a);
        let error = distance(&q.times(&r), &a);
        let largest = a.values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(error <= 2e-14 * largest + f64::MIN_POSITIVE, "{name}: {error}");
        assert_orthonormal_rows(&q.transposed());
    }
}

#[test]
fn systems_and_determinants() {
    let a = random(30, 30, 1);
    let x = random(30, 4, 2);
    let lu = Lu::of(a.clone());
    assert!(distance(&lu.solve(&a.times(&x)), &x) < 1e-11);
    let (sign, logarithm) = lu.log_determinant();
    assert!((sign * logarithm.exp() / lu.determinant() - 1.0).abs() < 1e-12);
    let singular = Lu::of(Matrix::from_fn(3, 3, |i, j| (i + j) as f64));
    assert_eq!((singular.determinant(), singular.log_determinant().0), (0.0, 0.0));
    assert!(cholesky(&Matrix::from_fn(2, 2, |_, _| 1.0).map(|x| -x)).is_none());
}

#[test]
fn exponentials() {
    // A rotation, and a shear, whose powers become 0.
    let angle = 30.0_f64;
    let turn = Matrix { rows: 2, columns: 2, values: vec![0.0, -angle, angle, 0.0] };
    let (sin, cos) = angle.sin_cos();
    let expected = Matrix { rows: 2, columns: 2, values: vec![cos, -sin, sin, cos] };
    assert!(distance(&exponential(&turn), &expected) < 1e-13);
    let shear = Matrix { rows: 2, columns: 2, values: vec![0.0, 1e6, 0.0, 0.0] };
    let expected = Matrix { rows: 2, columns: 2, values: vec![1.0, 1e6, 0.0, 1.0] };
    assert!(distance(&exponential(&shear), &expected) < 1e-6);
    assert_eq!(exponential(&Matrix::zeros(3, 3)), Matrix::identity(3));
}

#[test]
fn every_function_ends_for_nan() {
    for index in 0..9 {
        for bad in [f64::NAN, f64::INFINITY] {
            let mut a = random(3, 3, 9);
            a.values[index] = bad;
            assert!(svd(&a).is_none_or(|parts| parts.s.len() == 3));
            assert!(eigh(&a).is_none_or(|(values, _)| values.len() == 3));
            let _ = (qr(&a), cholesky(&a), exponential(&a), Lu::of(a.clone()).determinant());
        }
    }
}
