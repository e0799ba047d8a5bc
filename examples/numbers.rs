//! Parsers of numbers on the command line of an example.

use std::ops::RangeInclusive;

/// A whole number of at least `LEAST`.
pub(crate) fn at_least<const LEAST: u64, N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|&number: &u64| number >= LEAST);
    number
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("expected a whole number of at least {LEAST}"))
}

/// A finite number above 0, such as a learning rate.
#[allow(dead_code, reason = "not every example has one")]
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a finite number above 0".to_owned())
}

/// A finite number of at least 0.
#[allow(dead_code, reason = "not every example has one")]
pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    within(text, 0.0..=f64::MAX).ok_or_else(|| "expected a finite number of at least 0".to_owned())
}

/// A dropout probability.
#[allow(dead_code, reason = "not every example has one")]
pub(crate) fn dropout(text: &str) -> Result<f64, String> {
    let number = within(text, 0.0..=1.0).filter(|&number| number < 1.0);
    number.ok_or_else(|| "expected a number of at least 0 and below 1".to_owned())
}

fn within(text: &str, range: RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}
