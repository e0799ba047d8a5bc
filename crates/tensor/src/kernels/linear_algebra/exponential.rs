//! The exponential of a matrix, by scaling and squaring of a Padé approximant
//! (N. Higham, "The scaling and squaring method for the matrix exponential
//! revisited", 2005).

use super::{Lu, Matrix};

/// The coefficients of the numerator of order 13, divided by the first one.
const PADE: [f64; 14] = [
    1.0,
    0.5,
    0.12,
    1.833_333_333_333_333_3e-2,
    1.992_753_623_188_405_8e-3,
    1.630_434_782_608_695_7e-4,
    1.035_196_687_370_600_4e-5,
    5.175_983_436_853_002e-7,
    2.043_151_356_652_501e-8,
    6.306_022_705_717_595e-10,
    1.483_770_048_404_14e-11,
    2.529_153_491_597_966e-13,
    2.810_170_546_219_962_3e-15,
    1.544_049_750_670_309e-17,
];
/// The largest norm for which this order is exact up to rounding.
const THETA: f64 = 5.371_920_351_148_152;

/// exp(A).
pub(crate) fn exponential(a: &Matrix) -> Matrix {
    let n = a.rows;
    let norm = (0..n).map(|j| (0..n).map(|i| a[(i, j)].abs()).sum::<f64>()).fold(0.0, f64::max);
    // 2¹⁰⁶⁰ is larger than all sums of finite numbers, and its inverse is not
    // 0.
    let squarings = (norm / THETA).log2().ceil().clamp(0.0, 1060.0) as i32;
    let a = a.clone().map(|x| x * 0.5_f64.powi(squarings));
    let identity = Matrix::identity(n);
    let powers = {
        let a2 = a.times(&a);
        let a4 = a2.times(&a2);
        let a6 = a4.times(&a2);
        [identity, a2, a4, a6]
    };
    let sum = |coefficients: [f64; 4]| {
        let terms = powers.iter().zip(coefficients);
        terms.fold(Matrix::zeros(n, n), |sum, (power, c)| sum.zip(power, |s, p| s + c * p))
    };
    let b = &PADE;
    let a6 = &powers[3];
    let odd = a6.times(&sum([0.0, b[9], b[11], b[13]]));
    let odd = a.times(&odd.zip(&sum([b[1], b[3], b[5], b[7]]), |x, y| x + y));
    let even = a6.times(&sum([0.0, b[8], b[10], b[12]]));
    let even = even.zip(&sum([b[0], b[2], b[4], b[6]]), |x, y| x + y);
    let denominator = even.clone().zip(&odd, |even, odd| even - odd);
    let numerator = even.zip(&odd, |even, odd| even + odd);
    let mut result = Lu::of(denominator).solve(&numerator);
    for _ in 0..squarings {
        result = result.times(&result);
    }
    result
}
