//! Exponential, hyperbolic tangent and logistic function in `f32`, without
//! branches, so that loops over them vectorise.
//!
//! Range reduction and polynomial of `exp` follow Cephes (Moshier, `expf.c`):
//! x = n·ln 2 + r with |r| ≤ ln 2 / 2, and exp(x) = 2ⁿ·exp(r). The tests
//! state the errors.
#![expect(clippy::excessive_precision, reason = "the constants as the sources give them")]

/// exp(x), within 2 units in the last place; subnormal results included.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_375;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;

    let clamped = x.clamp(-104.0, 89.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = (p * r) * r + r + 1.0;
    // 2ⁿ in two factors, since n may lie beyond the exponents of normal
    // numbers at both ends. Its integer stands in the low bits of `shifted`.
    // NaN stays NaN through `p`.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// tanh(x), within 4 units in the last place.
///
/// Below 0.625 an odd polynomial (Cephes `tanhf.c`), above it
/// 1 − 2 / (exp(2|x|) + 1).
#[inline(always)]
pub(crate) fn tanh_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let p = -5.704_988_7e-3;
    let p = p * square + 2.063_908_9e-2;
    let p = p * square - 5.373_971_6e-2;
    let p = p * square + 1.333_144_2e-1;
    let p = p * square - 3.333_328_2e-1;
    let small = p * square * x + x;
    let large = (1.0 - 2.0 / (exp_f32(2.0 * magnitude) + 1.0)).copysign(x);
    if magnitude < 0.625 { small } else { large }
}

/// 1 / (1 + exp(−x)), within 4 units in the last place.
#[inline(always)]
pub(crate) fn sigmoid_f32(x: f32) -> f32 {
    // exp(−|x|) never overflows, and x < 0 gives e / (1 + e), which keeps its
    // relative accuracy where the value is tiny.
    let e = exp_f32(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// 1 / (1 + exp(−x)) in `f64`.
#[inline(always)]
pub(crate) fn sigmoid_f64(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of `ours` in units in the last place of the exact value.
    fn ulps(ours: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if nearest.is_infinite() || nearest.is_nan() || ours.is_nan() {
            let same = ours == nearest || (ours.is_nan() && nearest.is_nan());
            return if same { 0.0 } else { f64::INFINITY };
        }
        let unit = f64::from(nearest.abs().max(f32::MIN_POSITIVE).next_up())
            - f64::from(nearest.abs().max(f32::MIN_POSITIVE));
        (f64::from(ours) - exact).abs() / unit
    }

    /// The worst error over a sweep of all exponents and both signs.
    fn worst(ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        (0..=u32::MAX)
            .step_by(10_007)
            .map(f32::from_bits)
            .chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 0.625, -0.625, 88.72, -103.9])
            .map(|x| (ulps(ours(x), exact(f64::from(x))), x))
            .fold((0.0, 0.0), |worst, next| if next.0 > worst.0 { next } else { worst })
    }

    #[test]
    fn functions_keep_their_stated_errors() {
        let (error, x) = worst(exp_f32, f64::exp);
        assert!(error <= 2.0, "exp({x}) is {error} units off");
        let (error, x) = worst(tanh_f32, f64::tanh);
        assert!(error <= 4.0, "tanh({x}) is {error} units off");
        let (error, x) = worst(sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(error <= 4.0, "sigmoid({x}) is {error} units off");
    }
}
