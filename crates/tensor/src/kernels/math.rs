//! Exponentials, logarithms, trigonometric functions and their inverses,
//! hyperbolic tangent, logistic and error function and the length of a
//! hypotenuse in `f32`, without branches, so that loops over them vectorise. Sine,
//! cosine and tangent of large angles are the exception.
//!
//! Range reductions and polynomials of `exp` and `ln` follow Cephes (Moshier,
//! `expf.c` and `logf.c`): x = n·ln 2 + r with |r| ≤ ln 2 / 2, and exp(x) =
//! 2ⁿ·exp(r); x = 2ⁿ·m with √½ ≤ m < √2, and ln(x) = n·ln 2 + ln(m). The tests
//! state the errors.
#![expect(clippy::excessive_precision, reason = "the constants as the sources give them")]

use std::f32::consts::{FRAC_PI_2, PI};

/// ln 2 in two parts, the first of which has so few bits that its product
/// with an exponent is exact.
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// c₀ + c₁·x + c₂·x² + c₃·x³, where `square` is x². It is computed in pairs (G.
/// Estrin, 1960), because in Horner's scheme each step waits for the previous
/// one.
#[inline(always)]
fn cubic(c: [f32; 4], x: f32, square: f32) -> f32 {
    (c[0] + c[1] * x) + (c[2] + c[3] * x) * square
}

/// Adding 1.5·2²³ rounds to the nearest integer n, and the low bits of the sum
/// are then n + 254.
const ROUND: f32 = 12_582_912.0 + 254.0;

/// exp(r) − 1, and n + 254 in the low bits, for x = n·ln 2 + r with |r| ≤ ln 2
/// / 2, where x is not far outside the exponents of `f32`.
#[inline(always)]
fn reduced_exp_m1(x: f32) -> (f32, u32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    (exp_m1_polynomial(r), shifted.to_bits())
}

/// exp(r) − 1 for |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp_m1_polynomial(r: f32) -> f32 {
    let square = r * r;
    let low = cubic([5.000_000_1e-1, 1.666_666_5e-1, 4.166_579_6e-2, 8.333_452e-3], r, square);
    let high = 1.398_199_9e-3 + 1.987_569_1e-4 * r;
    (low + high * (square * square)) * square + r
}

/// exp(x), within 2 units in the last place, including subnormal results.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    let (p, bits) = reduced_exp_m1(x.clamp(-104.0, 89.0));
    scaled_by_power(p, f32::from_bits(bits))
}

/// (p + 1)·2ⁿ, where the low bits of `shifted` are n + 254.
#[inline(always)]
fn scaled_by_power(p: f32, shifted: f32) -> f32 {
    let bits = shifted.to_bits();
    // 2ⁿ as two factors, because n may be outside the exponents of normal
    // numbers at both ends: half of n + 254 is the exponent of one factor, the
    // rest that of the other. NaN is propagated by `p`.
    let half = (bits << 22) & (255 << 23);
    let rest = (bits << 23).wrapping_sub(half);
    (p + 1.0) * f32::from_bits(half) * f32::from_bits(rest)
}

/// 2ˢ·exp(x), for results within the exponents of normal numbers.
#[inline(always)]
fn scaled_exp<const S: i32>(x: f32) -> f32 {
    let (p, bits) = reduced_exp_m1(x);
    (p + 1.0) * f32::from_bits(bits.wrapping_add_signed(S - 127) << 23)
}

/// exp(x) − 1, within 3 units in the last place.
#[inline(always)]
pub(crate) fn exp_m1_f32(x: f32) -> f32 {
    // Below −18 the result is −1.
    let (p, bits) = reduced_exp_m1(x.clamp(-18.0, 89.0));
    // 2ⁿ·exp(r) − 1 = 2ⁿ·(exp(r) − 1) + (2ⁿ − 1), computed at half its size,
    // because 2ⁿ may be just above the largest number: its exponent is n + 126.
    let scale = f32::from_bits(bits.wrapping_sub(128) << 23);
    let result = 2.0 * (scale * p + (scale - 0.5));
    if x == 0.0 { x } else { result }
}

/// 2ˣ, within 2 units in the last place; exact for whole numbers, and including
/// subnormal results.
#[inline(always)]
pub(crate) fn exp2_f32(x: f32) -> f32 {
    let x = x.clamp(-151.0, 129.0);
    let shifted = x + ROUND;
    scaled_by_power(exp_m1_polynomial((x - (shifted - ROUND)) * std::f32::consts::LN_2), shifted)
}

/// ln(x) in double precision, within 1e-11 of the result, for normal numbers above
/// 0.
#[inline(always)]
pub(crate) fn wide_ln(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

    let bits = x.to_bits();
    let n = (bits.wrapping_sub(SQRT_HALF) as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((n << 52) as u64));
    // ln(m) = 2·artanh(s), whose series has odd powers.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let p = 1.0 / 13.0;
    let p = p * square + 1.0 / 11.0;
    let p = p * square + 1.0 / 9.0;
    let p = p * square + 1.0 / 7.0;
    let p = p * square + 1.0 / 5.0;
    let p = p * square + 1.0 / 3.0;
    let p = 2.0 * s * (p * square + 1.0);
    f64::from(n as i32) * std::f64::consts::LN_2 + p
}

/// The logarithm to the base 10, within 1 unit in the last place.
#[inline(always)]
pub(crate) fn log10_f32(x: f32) -> f32 {
    logarithm_at_ends(x, (wide_ln(f64::from(x)) * std::f64::consts::LOG10_E) as f32)
}

/// The logarithm to the base 2, within 2 units in the last place.
#[inline(always)]
pub(crate) fn log2_f32(x: f32) -> f32 {
    // log₂ e − 1; the other part of the product is the sum itself.
    const LOG2_E_LOW: f32 = 0.442_695_04;

    let (n, f, p) = reduced_ln(x);
    let p = p - 0.5 * (f * f);
    logarithm_at_ends(x, (((p * LOG2_E_LOW + f * LOG2_E_LOW) + p) + f) + n)
}

/// The logarithm of x: `finite`, unless x is 0, negative, infinite or NaN.
#[inline(always)]
fn logarithm_at_ends(x: f32, finite: f32) -> f32 {
    let result = if x < f32::INFINITY { finite } else { x };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if x < 0.0 { f32::NAN } else { result }
}

/// √(x² + y²), within 1 unit in the last place; infinite if x or y is.
#[inline(always)]
pub(crate) fn hypot_f32(x: f32, y: f32) -> f32 {
    let (wide_x, wide_y) = (f64::from(x), f64::from(y));
    let length = (wide_x * wide_x + wide_y * wide_y).sqrt() as f32;
    let infinite = (x.abs() == f32::INFINITY) | (y.abs() == f32::INFINITY);
    if infinite { f32::INFINITY } else { length }
}

/// ln(x), within 2 units in the last place, including subnormal arguments.
#[inline(always)]
pub(crate) fn ln_f32(x: f32) -> f32 {
    let (n, f, p) = reduced_ln(x);
    let p = p + (n * LN2_LOW - 0.5 * (f * f));
    logarithm_at_ends(x, f + p + n * LN2_HIGH)
}

/// n, f and p of ln(x) = n·ln 2 + f − f²/2 + p, for x = 2ⁿ·(1 + f).
#[inline(always)]
fn reduced_ln(x: f32) -> (f32, f32, f32) {
    const SQRT_HALF: u32 = 0x3f35_04f3;

    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    let n = (bits.wrapping_sub(SQRT_HALF) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((n << 23) as u32));
    let n = n as f32 - if subnormal { 23.0 } else { 0.0 };
    let f = m - 1.0;
    let square = f * f;
    let fourth = square * square;
    let low = [3.333_333_11e-1, -2.499_999_39e-1, 2.000_071_47e-1, -1.666_805_76e-1];
    let high = [1.424_932_27e-1, -1.242_014_08e-1, 1.167_699_87e-1, -1.151_461_03e-1];
    let high = cubic(high, f, square) + 7.037_683_6e-2 * fourth;
    let p = cubic(low, f, square) + high * fourth;
    (n, f, p * (f * square))
}

/// ln(1 + x), within 3 units in the last place.
#[inline(always)]
pub(crate) fn ln_1p_f32(x: f32) -> f32 {
    let u = 1.0 + x;
    // The rounding error of the sum, to first order (W. Kahan; the HP-15C's
    // manual, 1982).
    let lost = x - (u - 1.0);
    let ln = ln_f32(u);
    let result = if ln.is_finite() { ln + lost / u } else { ln };
    if u == 1.0 { x } else { result }
}

/// The error function, within 7 units in the last place: x times a quotient of
/// polynomials in x², fitted to erf(x) / x by iteratively reweighted least
/// squares, relative error 7e-8.
#[inline(always)]
pub(crate) fn erf_f32(x: f32) -> f32 {
    // From here on the result rounds to 1.
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let p = 1.910_884_6e-8;
    let p = p * square - 1.941_952_2e-6;
    let p = p * square + 1.472_367_6e-4;
    let p = p * square + 3.988_847_6e-3;
    let p = p * square + 5.151_961_4e-2;
    let p = p * square + 2.070_877_4e-1;
    let p = p * square + std::f32::consts::FRAC_2_SQRT_PI;
    let q = 1.020_667_5e-3;
    let q = q * square + 1.495_466_1e-2;
    let q = q * square + 1.179_549_7e-1;
    let q = q * square + 5.168_58e-1;
    let q = q * square + 1.0;
    (x * p / q).clamp(-1.0, 1.0)
}

/// Adding 1.5·2⁵² rounds to the nearest integer, which the low bits of the sum
/// hold in two's complement.
const WIDE_ROUND: f64 = 6_755_399_441_055_744.0;

/// exp(x) in double precision, within 2e-9 of the result, for −700 ≤ x ≤ 700: a
/// polynomial fitted for |r| ≤ ln 2 / 2.
#[inline(always)]
fn wide_exp(x: f64) -> f64 {
    let shifted = x * std::f64::consts::LOG2_E + WIDE_ROUND;
    let r = x - (shifted - WIDE_ROUND) * std::f64::consts::LN_2;
    let p = 1.383_684_935_48e-3;
    let p = p * r + 8.374_824_352_56e-3;
    let p = p * r + 4.166_822_595_95e-2;
    let p = p * r + 0.166_664_200_682;
    let p = p * r + 0.499_999_920_76;
    let p = p * r + 1.000_000_036_35;
    let p = p * r + 1.000_000_000_55;
    p * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// 1 − erf(x), within 8 units in the last place, including subnormal results:
/// t·exp(−x²)·p(t − 0.625) with t = 1 / (1 + 0.3·|x|). The polynomial p is fitted to
/// exp(x²)·erfc(x) / t, relative error 1.7e-8.
#[inline(always)]
pub(crate) fn erfc_f32(x: f32) -> f32 {
    // From 11 on the result rounds to 0. NaN is kept.
    let z = x.abs().clamp(0.0, 11.0);
    let t = 1.0 / (1.0 + 0.3 * z);
    let u = t - 0.625;
    let p = 3.214_779_926e-3;
    let p = p * u - 0.129_398_795_5;
    let p = p * u - 0.163_048_878_3;
    let p = p * u + 0.195_371_126_2;
    let p = p * u + 0.839_094_136_1;
    let p = p * u + 1.380_993_512;
    let p = p * u + 1.517_929_302;
    let p = p * u + 1.250_463_997;
    let p = p * u + 0.804_314_623_2;
    let p = p * u + 0.408_633_086_3;
    let wide = f64::from(z);
    let result = (f64::from(t * p) * wide_exp(-wide * wide)) as f32;
    if x < 0.0 { 2.0 - result } else { result }
}

/// The largest angle for [`near_sin`] and its like: fewer than 2²⁰ quarter turns,
/// whose products with the first part of π/2 are exact.
pub(crate) const NEAR_ANGLE: f32 = 1e6;

/// What is left of `x` after whole quarter turns, |r| ≤ π/4, and the number of
/// these turns in the low bits. π/2 has two parts, 33 bits and the rest.
#[inline(always)]
fn reduced_angle(x: f32) -> (f32, u32) {
    let x = f64::from(x);
    let shifted = x * std::f64::consts::FRAC_2_PI + WIDE_ROUND;
    let turns = shifted - WIDE_ROUND;
    let r = (x - turns * 1.570_796_310_901_641_845_703_125) - turns * 1.589_325_477_352_819_6e-8;
    (r as f32, shifted.to_bits() as u32)
}

/// Sine and cosine for |r| ≤ π/4 (Cephes `sinf.c`).
#[inline(always)]
fn near_sin_cos(r: f32) -> (f32, f32) {
    let square = r * r;
    let sin = (-1.951_529_589_1e-4 * square + 8.332_160_873_6e-3) * square - 1.666_665_461_1e-1;
    // With the sign of r, so that −0 stays.
    let sin = (sin * square * r + r).copysign(r);
    let cos = (2.443_315_711_809_948e-5 * square - 1.388_731_625_493_765e-3) * square
        + 4.166_664_568_298_827e-2;
    let cos = cos * (square * square) - 0.5 * square + 1.0;
    (sin, cos)
}

/// The sine of `x` plus `QUARTERS` quarter turns.
#[inline(always)]
fn shifted_sin<const QUARTERS: u32>(x: f32) -> f32 {
    let (r, turns) = reduced_angle(x);
    let (sin, cos) = near_sin_cos(r);
    let turns = turns.wrapping_add(QUARTERS);
    let value = if turns & 1 == 0 { sin } else { cos };
    f32::from_bits(value.to_bits() ^ ((turns & 2) << 30))
}

/// sin(x) for |x| ≤ [`NEAR_ANGLE`], within 2 units in the last place.
#[inline(always)]
pub(crate) fn near_sin_f32(x: f32) -> f32 {
    shifted_sin::<0>(x)
}

/// cos(x) for |x| ≤ [`NEAR_ANGLE`], within 2 units in the last place.
#[inline(always)]
pub(crate) fn near_cos_f32(x: f32) -> f32 {
    shifted_sin::<1>(x)
}

/// tan(x) for |x| ≤ [`NEAR_ANGLE`], within 4 units in the last place.
#[inline(always)]
pub(crate) fn near_tan_f32(x: f32) -> f32 {
    let (r, turns) = reduced_angle(x);
    let (sin, cos) = near_sin_cos(r);
    if turns & 1 == 1 { -cos / sin } else { sin / cos }
}

/// sin(x), within 2 units in the last place.
#[inline(always)]
pub(crate) fn sin_f32(x: f32) -> f32 {
    if x.abs() > NEAR_ANGLE { x.sin() } else { near_sin_f32(x) }
}

/// cos(x), within 2 units in the last place.
#[inline(always)]
pub(crate) fn cos_f32(x: f32) -> f32 {
    if x.abs() > NEAR_ANGLE { x.cos() } else { near_cos_f32(x) }
}

/// tan(x), within 4 units in the last place.
#[inline(always)]
pub(crate) fn tan_f32(x: f32) -> f32 {
    if x.abs() > NEAR_ANGLE { x.tan() } else { near_tan_f32(x) }
}

/// a − b·trunc(a / b), which is exact. Where the quotient is not huge, double
/// precision has all its digits: for |a| ≥ |b|, a quotient that is not whole
/// differs from a whole number by at least 2⁻²⁴.
#[inline(always)]
pub(crate) fn fmod_f32(a: f32, b: f32) -> f32 {
    let (wide_a, wide_b) = (f64::from(a), f64::from(b));
    let quotient = wide_a / wide_b;
    if quotient.abs() < 134_217_728.0 && b.is_finite() {
        ((wide_a - f64::from(quotient as i32) * wide_b) as f32).copysign(a)
    } else {
        a % b
    }
}

/// arcsin(x), within 3 units in the last place; NaN beyond ±1 (Cephes `asinf.c`).
#[inline(always)]
pub(crate) fn asin_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let large = magnitude > 0.5;
    let result = small_asin(magnitude, large);
    (if large { FRAC_PI_2 - 2.0 * result } else { result }).copysign(x)
}

/// arccos(x), within 3 units in the last place; NaN beyond ±1.
#[inline(always)]
pub(crate) fn acos_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let large = magnitude > 0.5;
    let result = small_asin(magnitude, large);
    let twice = 2.0 * result;
    let far = if x < 0.0 { PI - twice } else { twice };
    if large { far } else { FRAC_PI_2 - result.copysign(x) }
}

/// arcsin(x) for 0 ≤ x ≤ ½; for `large` x arcsin(√((1 − x) / 2)).
#[inline(always)]
fn small_asin(x: f32, large: bool) -> f32 {
    let half = 0.5 * (1.0 - x);
    let square = if large { half } else { x * x };
    let root = if large { half.sqrt() } else { x };
    let p = 4.216_319_9e-2;
    let p = p * square + 2.418_131_1e-2;
    let p = p * square + 4.547_002_6e-2;
    let p = p * square + 7.495_300_3e-2;
    let p = p * square + 1.666_675_2e-1;
    p * square * root + root
}

/// arctan(x), within 3 units in the last place (Cephes `atanf.c`).
#[inline(always)]
pub(crate) fn atan_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let (far, near) = (magnitude > 2.414_213_5, magnitude <= 0.414_213_57);
    let numerator = if far { -1.0 } else { magnitude - 1.0 };
    let divisor = if far { magnitude } else { magnitude + 1.0 };
    let reduced = if near { magnitude } else { numerator / divisor };
    let start = if far { FRAC_PI_2 } else { std::f32::consts::FRAC_PI_4 };
    let start = if near { 0.0 } else { start };
    let square = reduced * reduced;
    let p = 8.053_744_5e-2;
    let p = p * square - 1.387_768_56e-1;
    let p = p * square + 1.997_771_06e-1;
    let p = p * square - 3.333_294_91e-1;
    (start + (p * square * reduced + reduced)).copysign(x)
}

/// The angle of the point (x, y), within 4 units in the last place.
#[inline(always)]
pub(crate) fn atan2_f32(y: f32, x: f32) -> f32 {
    let steep = y.abs() > x.abs();
    let small = if steep { x.abs() } else { y.abs() };
    let large = if steep { y.abs() } else { x.abs() };
    let ratio = if small == large { 1.0 } else { small / large };
    let angle = atan_f32(if large == 0.0 { 0.0 } else { ratio });
    let angle = if steep { FRAC_PI_2 - angle } else { angle };
    let angle = if x.is_sign_negative() { PI - angle } else { angle }.copysign(y);
    if x.is_nan() | y.is_nan() { f32::NAN } else { angle }
}

/// artanh(x), within 4 units in the last place; NaN beyond ±1.
#[inline(always)]
pub(crate) fn atanh_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    (0.5 * ln_1p_f32(2.0 * magnitude / (1.0 - magnitude))).copysign(x)
}

/// tanh(x), within 4 units in the last place.
///
/// Below 0.625 an odd polynomial (Cephes `tanhf.c`), above it
/// 1 − 2 / (exp(2|x|) + 1).
#[inline(always)]
pub(crate) fn tanh_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let fourth = square * square;
    let low = [-3.333_328_2e-1, 1.333_144_2e-1, -5.373_971_6e-2, 2.063_908_9e-2];
    let p = cubic(low, square, fourth) - 5.704_988_7e-3 * (fourth * fourth);
    let small = p * (square * x) + x;
    // From 10 on the result rounds to 1. NaN is kept.
    let bounded = if magnitude > 10.0 { 10.0 } else { magnitude };
    let large = (1.0 - 2.0 / (scaled_exp::<0>(2.0 * bounded) + 1.0)).copysign(x);
    if magnitude < 0.625 { small } else { large }
}

/// 1 / (1 + exp(−x)), within 4 units in the last place.
#[inline(always)]
pub(crate) fn sigmoid_f32(x: f32) -> f32 {
    // 2⁻³² / (2⁻³² + 2⁻³²·exp(−x)): nothing overflows before the result is 0,
    // and from 30 on the result is 1.
    const SCALE: f32 = 1.0 / 4_294_967_296.0;
    SCALE / (SCALE + scaled_exp::<-32>(-x.clamp(-104.0, 30.0)))
}

/// a − b·trunc(a / b) in `f64`.
#[inline(always)]
pub(crate) fn fmod_f64(a: f64, b: f64) -> f64 {
    a % b
}

/// 1 / (1 + exp(−x)) in `f64`.
#[inline(always)]
pub(crate) fn sigmoid_f64(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[cfg(test)]
mod tests;
