//! Box and Muller's method for many numbers at a time: loops without branches,
//! which the compiler turns into vector instructions.

use std::f64::consts::{FRAC_PI_2, LN_2, SQRT_2};

/// The pairs that are computed at a time.
pub(super) const PAIRS: usize = 128;

/// Adding 1.5·2⁵² rounds to the nearest integer, which is then in the low bits.
pub(super) const ROUND: f64 = 6_755_399_441_055_744.0;

/// Two independent numbers of the standard normal distribution for each radius
/// and angle, from 64 random bits of each.
#[inline(always)]
pub(super) fn pairs(radii: &[u64; PAIRS], angles: &[u64; PAIRS]) -> [[f64; 2]; PAIRS] {
    let (mut radius, mut turns) = ([0.0; PAIRS], [0.0; PAIRS]);
    for i in 0..PAIRS {
        radius[i] = 1.0 - uniform(radii[i]);
        turns[i] = uniform(angles[i]);
    }
    for radius in &mut radius {
        *radius = (-2.0 * ln(*radius)).sqrt();
    }
    let mut values = [[0.0; 2]; PAIRS];
    for i in 0..PAIRS {
        let [cos, sin] = cos_sin(turns[i]);
        values[i] = [radius[i] * cos, radius[i] * sin];
    }
    values
}

/// A number in `0 .. 1` with 53 random bits.
#[inline(always)]
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// ln(x) for normal numbers above 0, by 2·artanh((m − 1) / (m + 1)) for x = m·2ⁿ
/// with m from √½ to √2.
#[inline(always)]
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits());
    let large = mantissa > SQRT_2;
    let mantissa = if large { 0.5 * mantissa } else { mantissa };
    let exponent = (bits >> 52) as i32 - 1023 + i32::from(large);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 1.0 / 21.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    f64::from(exponent) * LN_2 + 2.0 * s * series
}

/// Cosine and sine of an angle from 0 to 1 turns, by their series around the
/// nearest quarter.
#[inline(always)]
fn cos_sin(turns: f64) -> [f64; 2] {
    let shifted = 4.0 * turns + ROUND;
    let quarter = shifted.to_bits();
    let x = (4.0 * turns - (shifted - ROUND)) * FRAC_PI_2;
    let square = x * x;
    let (mut cos, mut sin) = (1.0, 1.0);
    for n in [16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0] {
        cos = 1.0 - cos * square * (1.0 / (n * (n - 1.0)));
    }
    for n in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sin = 1.0 - sin * square * (1.0 / (n * (n - 1.0)));
    }
    sin *= x;
    let (a, b) = if quarter & 1 == 0 { (cos, sin) } else { (sin, cos) };
    // The cosine is negative in quarters 1 and 2, the sine in 2 and 3.
    let sign = |negative: u64| f64::from_bits(1.0_f64.to_bits() | (negative & 1) << 63);
    [a * sign((quarter + 1) >> 1), b * sign(quarter >> 1)]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn functions_are_those_of_the_standard_library() {
        for i in 0..=4000 {
            let turns = f64::from(i) / 4001.0;
            let [cos, sin] = cos_sin(turns);
            let expected = (turns * TAU).sin_cos();
            assert!((cos - expected.1).abs() < 1e-15, "cos {turns}: {cos}");
            assert!((sin - expected.0).abs() < 1e-15, "sin {turns}: {sin}");
            for x in [f64::from(i + 1) / 4001.0, f64::from(i + 1) * 2_f64.powi(-53)] {
                assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs() + 1e-17, "ln {x}");
            }
        }
    }

    /// The largest number is that of the smallest radius, and none is infinite.
    #[test]
    fn the_ends_are_finite() {
        let values = pairs(&[u64::MAX; PAIRS], &[0; PAIRS]);
        assert!((values[0][0] - (106.0 * LN_2).sqrt()).abs() < 1e-12, "{values:?}");
        assert_eq!(pairs(&[0; PAIRS], &[u64::MAX; PAIRS])[0].map(f64::abs), [0.0; 2]);
    }
}
