//! Values at zeros, infinities and NaN.

use std::f32::consts::FRAC_PI_2;

use super::super::Ops;
use super::*;

/// The value of each function for zeros, infinities and NaN.
#[test]
fn special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    type Function = fn(&Tensor<f32>) -> Tensor<f32>;
    let table: [(&str, Function, [f32; 5]); 26] = [
        // at                              −∞    −0.0   0.0   ∞    NaN
        ("relu", Tensor::relu, [0.0, 0.0, 0.0, inf, nan]),
        ("sigmoid", Tensor::sigmoid, [0.0, 0.5, 0.5, 1.0, nan]),
        ("tanh", Tensor::tanh, [-1.0, -0.0, 0.0, 1.0, nan]),
        ("exp", Tensor::exp, [0.0, 1.0, 1.0, inf, nan]),
        ("ln", Tensor::ln, [nan, -inf, -inf, inf, nan]),
        ("ln_1p", Tensor::ln_1p, [nan, -0.0, 0.0, inf, nan]),
        ("sqrt", Tensor::sqrt, [nan, -0.0, 0.0, inf, nan]),
        ("rsqrt", Tensor::rsqrt, [nan, -inf, inf, 0.0, nan]),
        ("reciprocal", Tensor::reciprocal, [-0.0, -inf, inf, 0.0, nan]),
        ("abs", Ops::abs, [inf, 0.0, 0.0, inf, nan]),
        ("square", Tensor::square, [inf, 0.0, 0.0, inf, nan]),
        ("softplus", Tensor::softplus, [0.0, 2f32.ln(), 2f32.ln(), inf, nan]),
        ("log_sigmoid", Tensor::log_sigmoid, [-inf, -2f32.ln(), -2f32.ln(), 0.0, nan]),
        ("erf", Tensor::erf, [-1.0, -0.0, 0.0, 1.0, nan]),
        ("erfc", Tensor::erfc, [2.0, 1.0, 1.0, 0.0, nan]),
        ("log2", Tensor::log2, [nan, -inf, -inf, inf, nan]),
        ("asinh", Tensor::asinh, [-inf, -0.0, 0.0, inf, nan]),
        ("atan", Tensor::atan, [-FRAC_PI_2, -0.0, 0.0, FRAC_PI_2, nan]),
        ("sinc", Tensor::sinc, [nan, 1.0, 1.0, nan, nan]),
        ("sign", Tensor::sign, [-1.0, 0.0, 0.0, 1.0, 0.0]),
        ("round", Tensor::round, [-inf, -0.0, 0.0, inf, nan]),
        ("mish", Tensor::mish, [nan, -0.0, 0.0, inf, nan]),
        ("hardswish", Tensor::hardswish, [nan, -0.0, 0.0, inf, nan]),
        ("hardsigmoid", Tensor::hardsigmoid, [0.0, 0.5, 0.5, 1.0, nan]),
        ("relu6", Tensor::relu6, [0.0, 0.0, 0.0, 6.0, nan]),
        ("selu", Tensor::selu, [-1.758_099_3, 0.0, 0.0, inf, nan]),
    ];
    let x = Tensor::from([-inf, -0.0, 0.0, inf, nan]);
    for (name, function, expected) in table {
        for (found, expected) in function(&x).to_vec().into_iter().zip(expected) {
            let same = (found.is_nan() && expected.is_nan())
                || (found == expected
                    && (found != 0.0
                        || !name.contains("tan")
                        || found.is_sign_negative() == expected.is_sign_negative()))
                || (found - expected).abs() < 1e-6;
            assert!(same, "{name}: expected {expected}, found {found}");
        }
    }
}

#[test]
fn numbers_replace_values_that_are_not_finite() {
    let x = Tensor::from([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5]);
    assert_eq!(x.nan_to_num(0.0, 9.0, -9.0).to_vec(), [0.0, 9.0, -9.0, 2.5]);
}

#[test]
fn clamp_keeps_nan() {
    let y = Tensor::from([f64::NAN, -3.0, 3.0]).clamp(-1.0, 1.0).to_vec();
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [-1.0, 1.0]);
}
