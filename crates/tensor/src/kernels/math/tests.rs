//! The errors of the functions, and their exact values.

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
        .chain((0..2_000_000).map(|i| i as f32 * 1e-5 - 10.0))
        .chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 0.625, -0.625, 88.72, -103.9])
        .map(|x| (ulps(ours(x), exact(f64::from(x))), x))
        .fold((0.0, 0.0), |worst, next| if next.0 > worst.0 { next } else { worst })
}

#[test]
fn powers_have_whole_logarithms() {
    for n in -149..=127 {
        let power = exp2_f32(n as f32);
        assert_eq!((power, log2_f32(power)), (2f64.powi(n) as f32, n as f32));
    }
    for n in 0..=10 {
        assert_eq!(log10_f32(10f32.powi(n)), n as f32);
    }
    assert_eq!(hypot_f32(f32::NAN, f32::NEG_INFINITY), f32::INFINITY);
}

#[test]
fn remainders_are_exact_and_angles_keep_the_sign_of_zero() {
    let numbers = || (0..=u32::MAX).step_by(9_500_009).map(f32::from_bits);
    let near = (1..400).map(|i| i as f32 * 0.7);
    for (a, b) in numbers()
        .flat_map(|a| numbers().map(move |b| (a, b)))
        .chain(near.clone().flat_map(|a| near.clone().map(move |b| (a.mul_add(1e4, b), b))))
    {
        let (ours, exact) = (fmod_f32(a, b), a % b);
        let same = ours.to_bits() == exact.to_bits() || (ours.is_nan() && exact.is_nan());
        assert!(same, "{a} mod {b} is {exact}, not {ours}");
    }
    for function in [sin_f32, tan_f32] {
        assert_eq!(function(-0.0).to_bits(), (-0.0_f32).to_bits());
    }
    for (y, x) in [(0.0, 0.0), (0.0, -0.0), (-0.0, 0.0), (-0.0, -0.0), (-0.0, -1.0)] {
        assert_eq!(atan2_f32(y, x).to_bits(), y.atan2(x).to_bits(), "arctan2({y}, {x})");
    }
}

#[test]
fn functions_keep_their_stated_errors() {
    let (error, x) = worst(exp_f32, f64::exp);
    assert!(error <= 2.0, "exp({x}) is {error} units off");
    let (error, x) = worst(exp_m1_f32, f64::exp_m1);
    assert!(error <= 3.0, "exp({x}) − 1 is {error} units off");
    let (error, x) = worst(ln_f32, f64::ln);
    assert!(error <= 2.0, "ln({x}) is {error} units off");
    let (error, x) = worst(ln_1p_f32, f64::ln_1p);
    assert!(error <= 3.0, "ln(1 + {x}) is {error} units off");
    let (error, x) = worst(exp2_f32, f64::exp2);
    assert!(error <= 2.0, "2^{x} is {error} units off");
    let (error, x) = worst(log2_f32, f64::log2);
    assert!(error <= 2.0, "log2({x}) is {error} units off");
    let (error, x) = worst(log10_f32, f64::log10);
    assert!(error <= 1.0, "log10({x}) is {error} units off");
    let (error, x) = worst(|x| hypot_f32(x, 1.5), |x| x.hypot(1.5));
    assert!(error <= 1.0, "hypot({x}, 1.5) is {error} units off");
    let (error, x) = worst(asin_f32, f64::asin);
    assert!(error <= 3.0, "arcsin({x}) is {error} units off");
    let (error, x) = worst(acos_f32, f64::acos);
    assert!(error <= 3.0, "arccos({x}) is {error} units off");
    let (error, x) = worst(atan_f32, f64::atan);
    assert!(error <= 3.0, "arctan({x}) is {error} units off");
    let (error, x) = worst(atanh_f32, f64::atanh);
    assert!(error <= 4.0, "artanh({x}) is {error} units off");
    let (error, x) = worst(erf_f32, libm::erf);
    assert!(error <= 7.0, "erf({x}) is {error} units off");
    let (error, x) = worst(erfc_f32, libm::erfc);
    assert!(error <= 8.0, "erfc({x}) is {error} units off");
    let (error, x) = worst(sin_f32, f64::sin);
    assert!(error <= 2.0, "sin({x}) is {error} units off");
    let (error, x) = worst(cos_f32, f64::cos);
    assert!(error <= 2.0, "cos({x}) is {error} units off");
    let (error, x) = worst(tan_f32, f64::tan);
    assert!(error <= 4.0, "tan({x}) is {error} units off");
    for other in [1.5_f32, f32::NEG_INFINITY, -0.0] {
        let (error, y) = worst(|y| atan2_f32(y, other), |y| y.atan2(other.into()));
        assert!(error <= 4.0, "arctan2({y}, {other}) is {error} units off");
        let (error, x) = worst(|x| atan2_f32(other, x), |x| f64::from(other).atan2(x));
        assert!(error <= 4.0, "arctan2({other}, {x}) is {error} units off");
    }
    let (error, x) = worst(tanh_f32, f64::tanh);
    assert!(error <= 4.0, "tanh({x}) is {error} units off");
    let (error, x) = worst(sigmoid_f32, |x| 1.0 / (1.0 + (-x).exp()));
    assert!(error <= 4.0, "sigmoid({x}) is {error} units off");
}
