//! [`FixedPoint`]: numbers as integers modulo 2⁶⁴.

use dendra_tensor::{Error, Result};

/// The limits of a limit. Beyond them, a scale is not a normal number.
const LIMITS: (f64, f64) = (1e-30, 1e30);

/// Numbers as integers modulo 2⁶⁴, each a multiple of a power of two. A sum of
/// them does not depend on the order, and masks that cancel leave no rounding
/// error in it.
///
/// ```
/// use dendra_privacy::federated::FixedPoint;
///
/// let ring = FixedPoint::for_sum(8.0, 100)?;
/// let terms = [0.1, -7.5, 3.25];
/// let sum = terms.iter().try_fold(0_u64, |sum, &term| Ok(sum.wrapping_add(ring.encode(term)?)));
/// assert!((ring.decode(sum?) + 4.15).abs() <= 3.0 * ring.resolution());
/// assert!(ring.resolution() < 1e-15);
/// assert!(ring.encode(8.1).is_err());
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    limit: f64,
    /// Numbers are multiples of 2 to the power of minus this.
    exponent: i32,
}

impl FixedPoint {
    /// The finest scale at which a sum of `terms` numbers of at most `limit` in
    /// magnitude cannot overflow.
    ///
    /// # Errors
    ///
    /// When there are no terms, or the limit is not between 10⁻³⁰ and 10³⁰.
    pub fn for_sum(limit: f64, terms: usize) -> Result<Self> {
        if terms == 0 || !(LIMITS.0..=LIMITS.1).contains(&limit) {
            let (low, high) = LIMITS;
            let message = format!(
                "expected terms and a limit from {low} to {high}, got {terms} terms and {limit}"
            );
            return Err(Error::argument("FixedPoint::for_sum", message));
        }
        // The sum is below 2 to the power of this, whatever the platform's logarithm.
        let above = ((limit * terms as f64).to_bits() >> 52) as i32 - 1022;
        Ok(Self { limit, exponent: 62 - above })
    }

    /// The number as a multiple of [`resolution`](Self::resolution), rounded to
    /// the nearest; negative ones count down from 2⁶⁴.
    ///
    /// # Errors
    ///
    /// When the number is beyond the limit or not a number.
    pub fn encode(&self, value: f64) -> Result<u64> {
        if value.abs() <= self.limit {
            return Ok((value * power(self.exponent)).round_ties_even() as i64 as u64);
        }
        let message =
            format!("expected a number of at most {} in magnitude, got {value}", self.limit);
        Err(Error::data("FixedPoint::encode", message))
    }

    /// The number that a sum stands for.
    pub fn decode(&self, sum: u64) -> f64 {
        sum as i64 as f64 * power(-self.exponent)
    }

    /// The distance between two numbers; half of it is the largest error of
    /// [`encode`](Self::encode).
    pub fn resolution(&self) -> f64 {
        power(-self.exponent)
    }
}

/// A power of two, exactly.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_the_largest_terms_does_not_overflow() {
        for limit in [1e-30, 0.3, 1.0, 1.5, 8.0, 1e30] {
            for terms in [1, 2, 3, 100, 65_535] {
                let ring = FixedPoint::for_sum(limit, terms).unwrap();
                for sign in [1.0, -1.0] {
                    let one = ring.encode(sign * limit).unwrap();
                    let sum = ring.decode(one.wrapping_mul(terms as u64));
                    let expected = sign * limit * terms as f64;
                    assert!((sum - expected).abs() <= 1e-12 * expected.abs(), "{limit} {terms}");
                }
                // The scale is the finest one, up to a factor of two.
                let largest = limit * terms as f64 / ring.resolution();
                assert!((2_f64.powi(61)..2_f64.powi(63)).contains(&largest), "{largest}");
            }
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        let ring = FixedPoint::for_sum(2_f64.powi(60), 2).unwrap();
        assert_eq!(ring.resolution(), 1.0);
        for (value, rounded) in [(2.4, 2.0), (-2.4, -2.0), (2.5, 2.0), (3.5, 4.0), (-0.2, 0.0)] {
            assert_eq!(ring.decode(ring.encode(value).unwrap()), rounded);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ring = FixedPoint::for_sum(1.0, 4).unwrap();
        for value in [1.0 + f64::EPSILON, -1.1, f64::NAN, f64::INFINITY] {
            let error = ring.encode(value).unwrap_err().to_string();
            assert!(error.contains("at most 1 in magnitude"), "{error}");
        }
        for (limit, terms) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1.0, 0)] {
            assert!(FixedPoint::for_sum(limit, terms).is_err());
        }
    }
}
