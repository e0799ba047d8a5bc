//! Activations: each is a function of one element, with its derivative.

use std::f64::consts::FRAC_1_SQRT_2;

use super::unary::{
    backward, c, constant, forward, mask, sample_inputs, settings, unary, where_true,
};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// 1/√(2π), the density of the normal distribution at 0.
const NORMAL_DENSITY: f64 = 0.398_942_280_401_432_7;
/// √(2/π).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

/// Scale and alpha of SELU, which keep mean 0 and variance 1 (Klambauer et
/// al., 2017).
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

unary! {
    with forward, backward;

    Relu in -2.0..2.0:
        |x| x.max_nan(T::ZERO),
        |_, y| if y <= T::ZERO { T::ZERO } else { T::ONE },
        |_, y| constant(y, |y| if y <= T::ZERO { T::ZERO } else { T::ONE });
    LeakyRelu { negative_slope = 0.1 } in -2.0..2.0:
        |x| if x > T::ZERO { x } else { negative_slope * x },
        |x, _| if x > T::ZERO { T::ONE } else { negative_slope },
        |x, _| constant(x, |x| if x > T::ZERO { T::ONE } else { c(negative_slope) });
    Elu { alpha = 1.3 } in -2.0..2.0:
        |x| if x > T::ZERO { x } else { alpha * x.exp_m1() },
        |x, _| if x <= T::ZERO { alpha * x.exp() } else { T::ONE },
        |x, _| where_true(&x.value().le_scalar(T::ZERO), x, |x| x.exp() * alpha, 1.0)?;
    Gelu in -2.0..2.0:
        |x| x * c::<T>(0.5) * (T::ONE + (x * c(FRAC_1_SQRT_2)).erf()),
        |x, _| {
            c::<T>(0.5) * (T::ONE + (x * c(FRAC_1_SQRT_2)).erf())
                + x * c(NORMAL_DENSITY) * (x * x * c(-0.5)).exp()
        },
        |x, _| {
            let below = ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
            below + x * (x.square() * -0.5).exp() * NORMAL_DENSITY
        };
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    GeluTanh in -2.0..2.0:
        |x| {
            let inner = c::<T>(GELU_SCALE) * (x + c::<T>(GELU_CUBIC) * x * x * x);
            c::<T>(0.5) * x * (T::ONE + inner.tanh())
        },
        |x, _| {
            // Beyond ±10 tanh is ±1, and powers of x would overflow.
            let inner = x.max_nan(c(-10.0)).min_nan(c(10.0));
            let square = inner * inner;
            let t = (c::<T>(GELU_SCALE) * (inner + c::<T>(GELU_CUBIC) * square * inner)).tanh();
            let slope = c::<T>(GELU_SCALE) * (T::ONE + c::<T>(3.0 * GELU_CUBIC) * square);
            c::<T>(0.5) * (T::ONE + t) + c::<T>(0.5) * x * (T::ONE - t * t) * slope
        },
        |x, _| {
            let inner = x.clamp(-10.0, 10.0);
            let square = inner.square();
            let t = ((&inner + &square * &inner * GELU_CUBIC) * GELU_SCALE).tanh();
            let slope = (square * (3.0 * GELU_CUBIC) + 1.0) * GELU_SCALE;
            (&t + 1.0) * 0.5 + x * (-t.square() + 1.0) * slope * 0.5
        };
    Silu in -2.0..2.0:
        |x| x * x.sigmoid(),
        |x, y| { let s = x.sigmoid(); s + y * (T::ONE - s) },
        |x, y| { let s = x.sigmoid(); &s + y * (-&s + 1.0) };
    Softplus in -2.0..2.0:
        |x| x.max_nan(T::ZERO) + (-x.abs()).exp().ln_1p(),
        |x, _| x.sigmoid(),
        |x, _| x.sigmoid();
    Sigmoid in -2.0..2.0: |x| x.sigmoid(), |_, y| y * (T::ONE - y),
        |_, y| y * (-y + 1.0);
    LogSigmoid in -2.0..2.0:
        |x| x.min_nan(T::ZERO) - (-x.abs()).exp().ln_1p(),
        |x, _| (-x).sigmoid(),
        |x, _| (-x).sigmoid();
    Hardswish in -4.0..4.0:
        |x| x * ((x + c(3.0)).max_nan(T::ZERO).min_nan(c(6.0)) / c(6.0)),
        |x, _| {
            if x <= c(-3.0) {
                T::ZERO
            } else if x < c(3.0) {
                x / c(3.0) + c(0.5)
            } else {
                T::ONE
            }
        },
        |x, _| {
            let inside = mask(x, |x| x > c(-3.0) && x < c(3.0));
            let ends = constant(x, |x| if x <= c(-3.0) { T::ZERO } else { T::ONE });
            (x / 3.0 + 0.5).where_mask(&inside, &ends)?
        };
    Hardsigmoid in -4.0..4.0:
        |x| (x + c(3.0)).max_nan(T::ZERO).min_nan(c(6.0)) / c(6.0),
        |x, _| if x > c(-3.0) && x < c(3.0) { c(1.0 / 6.0) } else { T::ZERO },
        |x, _| {
            constant(x, |x| if x > c(-3.0) && x < c(3.0) { c(1.0 / 6.0) } else { T::ZERO })
        };
    Hardtanh { low = -0.8, high = 0.9 } in -2.0..2.0:
        |x| x.max_nan(low).min_nan(high),
        |x, _| if x <= low || x >= high { T::ZERO } else { T::ONE },
        |x, _| {
            let (low, high) = (c(low), c(high));
            constant(x, |x| if x <= low || x >= high { T::ZERO } else { T::ONE })
        };
    Hardshrink { lambda = 0.4 } in -2.0..2.0:
        |x| if x >= -lambda && x <= lambda { T::ZERO } else { x },
        |x, _| if x >= -lambda && x <= lambda { T::ZERO } else { T::ONE },
        |x, _| {
            let lambda: T = c(lambda);
            constant(x, |x| if x >= -lambda && x <= lambda { T::ZERO } else { T::ONE })
        };
    Softshrink { lambda = 0.4 } in -2.0..2.0:
        |x| {
            if x > lambda {
                x - lambda
            } else if x < -lambda {
                x + lambda
            } else {
                // NaN remains NaN.
                x * T::ZERO
            }
        },
        |x, _| if x >= -lambda && x <= lambda { T::ZERO } else { T::ONE },
        |x, _| {
            let lambda: T = c(lambda);
            constant(x, |x| if x >= -lambda && x <= lambda { T::ZERO } else { T::ONE })
        };
    Tanhshrink in -2.0..2.0: |x| x - x.tanh(), |x, _| { let t = x.tanh(); t * t },
        |x, _| x.tanh().square();
    Softsign in -2.0..2.0:
        |x| x / (T::ONE + x.abs()),
        // At ±∞ the value is NaN, and so is the slope.
        |x, y| { let r = T::ONE / (T::ONE + x.abs()); r * r + y * T::ZERO },
        |x, y| (x.abs() + 1.0).reciprocal().square() + constant(y, |y| y * T::ZERO);
    Mish in -2.0..2.0:
        |x| x * tanh_softplus(x),
        |x, _| {
            let t = tanh_softplus(x);
            t + x * (T::ONE - t * t) * x.sigmoid()
        },
        |x, _| {
            let t = x.softplus().tanh();
            &t + x * (-t.square() + 1.0) * x.sigmoid()
        };
    Threshold { threshold = 0.4, value = -1.5 } in -2.0..2.0:
        |x| if x <= threshold { value } else { x },
        |x, _| if x <= threshold { T::ZERO } else { T::ONE },
        |x, _| constant(x, |x| if x <= c(threshold) { T::ZERO } else { T::ONE });
    SoftplusScaled { beta = 1.5, threshold = 2.0 } in -1.0..1.0:
        |x| {
            let z = beta * x;
            if z > threshold {
                x
            } else {
                (z.max_nan(T::ZERO) + (-z.abs()).exp().ln_1p()) / beta
            }
        },
        |x, _| if beta * x > threshold { T::ONE } else { (beta * x).sigmoid() },
        |x, _| {
            let above = mask(x, |x| c::<T>(beta) * x > c(threshold));
            (x * beta).sigmoid().masked_fill(&above, 1.0)?
        };
    Celu { alpha = 1.3 } in -2.0..2.0:
        |x| if x > T::ZERO { x } else { alpha * (x / alpha).exp_m1() },
        |x, _| if x <= T::ZERO { (x / alpha).exp() } else { T::ONE },
        |x, _| where_true(&x.value().le_scalar(T::ZERO), x, |x| (x / alpha).exp(), 1.0)?;
    /// scale · x where x > 0, else scale · alpha · (exp(x) − 1)
    Selu in -2.0..2.0:
        |x| {
            let scaled = if x > T::ZERO { x } else { c::<T>(SELU_ALPHA) * x.exp_m1() };
            c::<T>(SELU_SCALE) * scaled
        },
        |x, _| {
            if x <= T::ZERO { c::<T>(SELU_SCALE * SELU_ALPHA) * x.exp() } else { c(SELU_SCALE) }
        },
        |x, _| {
            let negative = x.value().le_scalar(T::ZERO);
            where_true(&negative, x, |x| x.exp() * (SELU_SCALE * SELU_ALPHA), SELU_SCALE)?
        };
}

/// tanh(ln(1 + exp(x))) with one exponential that does not overflow: with n =
/// (1 + eˣ)² − 1 it is n / (n + 2), and for x > 0 numerator and denominator are
/// divided by e²ˣ.
#[inline(always)]
fn tanh_softplus<T: Float>(x: T) -> T {
    let e = (-x.abs()).exp();
    let positive = T::ONE + e + e;
    let negative = e * (e + c(2.0));
    if x > T::ZERO {
        positive / (positive + c::<T>(2.0) * e * e)
    } else {
        negative / (negative + c(2.0))
    }
}
