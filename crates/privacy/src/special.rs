//! Functions of probability theory in logarithms.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

/// `ln(erfc(x))`, also where `erfc(x)` underflows.
pub(crate) fn log_erfc(x: f64) -> f64 {
    if x < 20.0 {
        return libm::erfc(x).ln();
    }
    // The asymptotic series erfc(x) = e^(−x²) / (x·√π) · Σ (−1)^n (2n − 1)!! / (2x²)^n, whose terms
    // fall below the precision here.
    let step = -0.5 / (x * x);
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..8 {
        term *= step * f64::from(2 * n - 1);
        sum += term;
    }
    sum.ln() - x * x - (x * PI.sqrt()).ln()
}

/// The logarithm of the distribution function of the standard normal
/// distribution.
pub(crate) fn log_normal_cdf(x: f64) -> f64 {
    log_erfc(-x * FRAC_1_SQRT_2) - LN_2
}

/// The logarithm of a sum of terms `sign · e^log`; NaN where the sum is
/// negative.
pub(crate) fn log_of_sum(terms: &[(f64, f64)]) -> f64 {
    let largest = terms.iter().fold(f64::NEG_INFINITY, |largest, (_, log)| largest.max(*log));
    if largest.is_infinite() {
        return largest;
    }
    let sum: f64 = terms.iter().map(|(sign, log)| sign * (log - largest).exp()).sum();
    sum.ln() + largest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `scipy.special.log_ndtr(−x·√2) + ln 2`.
    #[test]
    fn log_erfc_is_accurate_in_the_tail() {
        for (x, expected) in [
            (-3.0, 0.693_136_135_250_446_8),
            (0.5, -0.735_011_129_837_084_8),
            (19.9, -399.574_343_308_275_1),
            (20.1, -407.584_318_545_200_63),
            (40.0, -1_604.261_556_653_274_3),
            (300.0, -90_006.276_152_973_09),
        ] {
            let found = log_erfc(x);
            assert!((found - expected).abs() < 1e-13 * f64::abs(expected), "{x}: {found}");
        }
    }
}
