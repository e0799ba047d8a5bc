//! Special functions that the library `libm` does not have.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

use super::unary::{c, call_backward, call_forward, sample_inputs, settings, unary};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::math::wide_ln;
use crate::shape::Shape;
use crate::tensor::Tensor;

unary! {
    with call_forward, call_backward;

    ErfInv in -0.95..0.95:
        |x| inverse_erf(x),
        |_, y| (y * y).exp() / c(FRAC_2_SQRT_PI),
        |_, y| y.square().exp() / FRAC_2_SQRT_PI;
    Lgamma in 0.3..4.0: |x| x.lgamma(), |x, _| digamma(x), |x, _| x.digamma();
    Digamma in 0.3..4.0:
        |x| digamma(x),
        |x, _| polygamma(1.0, x),
        |x, _| Term::apply(Polygamma { order: 1.0 }, &[x]);
    /// the derivative of an order, up to 170, of the digamma function
    Polygamma { order = 2.0 } in 0.3..4.0:
        |x| polygamma(order.to_f64(), x),
        |x, _| polygamma(order.to_f64() + 1.0, x),
        |x, _| Term::apply(Polygamma { order: order + 1.0 }, &[x]);
}

/// The number whose error function is `x`: Giles's approximation, within 3 units
/// in the last place of single precision ("Approximating the erfinv function",
/// 2011), for other types made exact by Halley's steps in double precision.
fn inverse_erf<T: Float>(x: T) -> T {
    const CENTRE: [f64; 9] = [
        2.810_226_36e-08,
        3.432_739_39e-07,
        -3.523_387_7e-06,
        -4.391_506_54e-06,
        0.000_218_580_87,
        -0.001_253_725_03,
        -0.004_177_681_64,
        0.246_640_727,
        1.501_409_41,
    ];
    const TAIL: [f64; 9] = [
        -0.000_200_214_257,
        0.000_100_950_558,
        0.001_349_343_22,
        -0.003_673_428_44,
        0.005_739_507_73,
        -0.007_622_461_3,
        0.009_438_870_47,
        1.001_674_06,
        2.832_976_82,
    ];
    let x = x.to_f64();
    let rest = 1.0 - x.abs();
    if rest.is_nan() || rest <= 0.0 {
        return T::from_f64(if rest == 0.0 { x * f64::INFINITY } else { f64::NAN });
    }
    let w = -wide_ln(rest * (1.0 + x.abs()));
    let (w, coefficients) = if w < 5.0 { (w - 2.5, CENTRE) } else { (w.sqrt() - 3.0, TAIL) };
    let mut y = x * coefficients.into_iter().fold(0.0, |sum, coefficient| sum * w + coefficient);
    if T::EPSILON == T::from_f64(f64::from(f32::EPSILON)) {
        return T::from_f64(y);
    }
    for _ in 0..6 {
        // Near ±1 the small complements are compared.
        let difference = if y.abs() < 0.5 {
            libm::erf(y) - x
        } else {
            y.signum() * (rest - libm::erfc(y.abs()))
        };
        let step = difference / (FRAC_2_SQRT_PI * (-y * y).exp());
        y -= step / (1.0 + y * step);
        // The error of the next step would be its cube.
        if step.abs() < 1e-6 {
            break;
        }
    }
    T::from_f64(y)
}

/// The derivative of ln Γ: the recurrence up to 10, then the asymptotic series
/// (Bernardo, "Psi (digamma) function", 1976); below 0 by reflection.
fn digamma<T: Float>(x: T) -> T {
    let mut x = x.to_f64();
    let mut sum = 0.0;
    if x <= 0.0 {
        if x == x.floor() {
            return T::from_f64(if x == 0.0 { f64::INFINITY.copysign(-x) } else { f64::NAN });
        }
        // The distance to the nearest integer is computed without rounding.
        let distance = x - x.round();
        sum -= PI / (PI * distance).tan();
        x = 1.0 - x;
    }
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = BERNOULLI.iter().zip([14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0]);
    let series = series.fold(0.0, |tail, (number, order)| tail * square + number / order);
    T::from_f64(sum + x.ln() - 0.5 / x - series * square)
}

/// The derivatives of the digamma function, computed in the same way:
/// (−1)ⁿ⁺¹·n!·ζ(n + 1, x), with Hurwitz's zeta function by the recurrence up to
/// 10 + n and then by the Euler–Maclaurin series. NaN for orders that are
/// fractions or above 170, whose factorial is infinite.
fn polygamma<T: Float>(order: f64, x: T) -> T {
    if order == 0.0 {
        return digamma(x);
    }
    let mut x = x.to_f64();
    let defined = (1.0..=170.0).contains(&order) && order.fract() == 0.0;
    if !defined || x == f64::NEG_INFINITY {
        return T::from_f64(f64::NAN);
    }
    let sign = if order % 2.0 == 1.0 { 1.0 } else { -1.0 };
    let (mut reflected, mut turned) = (0.0, sign);
    if x <= 0.0 {
        if x == x.floor() {
            return T::from_f64(sign * f64::INFINITY);
        }
        reflected = -PI.powf(order + 1.0) * cotangent_slope(order as usize, x - x.round());
        (turned, x) = (-1.0, 1.0 - x);
    }
    let power = order + 1.0;
    let mut zeta = 0.0;
    while x < 10.0 + order {
        zeta += whole_power(1.0 / x, power);
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let mut factor = power / 2.0;
    let (mut series, mut scale) = (0.0, 1.0);
    for (number, even) in BERNOULLI.iter().rev().zip([2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]) {
        series += number * factor * scale;
        factor *= (power + even - 1.0) * (power + even) / ((even + 1.0) * (even + 2.0));
        scale *= square;
    }
    zeta += whole_power(1.0 / x, order) * (1.0 / order + (0.5 + series / x) / x);
    let factorial: f64 = (1..=order as usize).map(|i| i as f64).product();
    T::from_f64(turned * factorial * zeta + reflected)
}

/// x to the power of a small whole number.
fn whole_power(x: f64, exponent: f64) -> f64 {
    (0..exponent as usize).fold(1.0, |power, _| power * x)
}

/// The derivative of the given order of cot(t) at t = π·x, as a polynomial of
/// the cotangent c; the derivative of cᵏ is −k·cᵏ⁻¹·(1 + c²).
fn cotangent_slope(order: usize, x: f64) -> f64 {
    let cotangent = 1.0 / (PI * x).tan();
    let mut coefficients = vec![0.0, 1.0];
    for _ in 0..order {
        let mut slope = vec![0.0; coefficients.len() + 1];
        for (k, coefficient) in coefficients.iter().enumerate().skip(1) {
            slope[k - 1] -= k as f64 * coefficient;
            slope[k + 1] -= k as f64 * coefficient;
        }
        coefficients = slope;
    }
    let value = coefficients.into_iter().rev().reduce(|sum, next| sum * cotangent + next);
    value.expect("there are at least two coefficients")
}

/// Bernoulli's numbers B₁₄, B₁₂, … B₂.
const BERNOULLI: [f64; 7] =
    [7.0 / 6.0, -691.0 / 2730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0];

#[cfg(test)]
mod tests {
    use super::super::check::check_twice;
    use super::*;

    #[test]
    fn derivatives_of_the_digamma_function_have_gradients() {
        check_twice::<Polygamma>().unwrap();
    }

    #[test]
    fn the_inverse_error_function_undoes_the_error_function() {
        for i in 1..1000 {
            let x = -1.0 + f64::from(i) / 500.0;
            let back = libm::erf(inverse_erf(x));
            assert!((back - x).abs() <= 4.0 * f64::EPSILON, "{x} became {back}");
        }
        // Near 1 the complement is more accurate.
        let tail = 1.0 - f64::EPSILON;
        assert!((libm::erfc(inverse_erf(tail)) / f64::EPSILON - 1.0).abs() < 1e-9);
        let ends = Tensor::from([-1.0, 1.0, 1.5_f32]).erf_inv().to_vec();
        assert!(ends[0] == f32::NEG_INFINITY && ends[1] == f32::INFINITY && ends[2].is_nan());
    }

    /// ψ(1) is less than 0 by Euler's constant, ψ(½) by 2 ln 2 more, and
    /// ψ′(1) is π²/6, ψ′(½) is π²/2.
    #[test]
    fn digamma_and_trigamma_have_their_known_values() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-13 * expected.abs(), "{found} for {expected}");
        };
        near(digamma(1.0), -EULER);
        near(digamma(0.5), -EULER - 2.0 * std::f64::consts::LN_2);
        near(digamma(-0.5), digamma(0.5) + 2.0);
        let square = PI.powi(2);
        let trigamma = |x: f64| polygamma(1.0, x);
        near(trigamma(1.0), square / 6.0);
        near(trigamma(0.5), square / 2.0);
        near(trigamma(-0.5), square / 2.0 + 4.0);
        // Expected values: mpmath.polygamma.
        near(polygamma(2.0, 0.3), -75.272_536_588_726_03);
        near(polygamma(2.0, -1.25), 123.721_366_783_662_36);
        near(polygamma(3.0, 2.5), 0.223_905_848_817_252_05);
        near(polygamma(3.0, -7.3), 769.016_733_981_680_7);
        near(polygamma(4.0, -0.75), -24_483.239_586_168_8);
        near(polygamma(5.0, 40.0), 2.493_894_350_999_67e-7);
        assert!(polygamma(171.0, 1.0).is_nan() && polygamma(1.5, 1.0).is_nan());
        assert_eq!(polygamma(2.0, 0.0_f32), f32::NEG_INFINITY);
        assert_eq!(polygamma(1.0, -1e-310), f64::INFINITY);
        assert!(digamma(-3.0_f32).is_nan() && digamma(0.0_f32) == f32::NEG_INFINITY);
    }
}
