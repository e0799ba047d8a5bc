//! Functions of single elements, of two that broadcast, and comparisons.

use dendra_autograd::Var;
use dendra_tensor::Float;
use dendra_tensor::{Ops, Result, Rounding, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::Any;

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = arithmetic();
    rows.extend(functions());
    rows.extend(comparisons());
    rows.extend(integers());
    rows
}

fn arithmetic<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "add" | "__radd__" (input: Var<T>, other: Var<T>, alpha: f64 = 1.0) => {
            input.add(&other.mul_scalar(alpha))
        };
        "sub" (input: Var<T>, other: Var<T>, alpha: f64 = 1.0) => {
            input.sub(&other.mul_scalar(alpha))
        };
        "rsub" | "__rsub__" (input: Var<T>, other: Var<T>, alpha: f64 = 1.0) => {
            other.sub(&input.mul_scalar(alpha))
        };
        "mul" | "__rmul__" (input: Var<T>, other: Var<T>) => input.mul(&other);
        "div" | "true_divide" (input: Var<T>, other: Var<T>, rounding_mode: Option<String> = None)
            => match rounding_mode.as_deref() {
                None => input.div(&other),
                Some("trunc") => input.div_rounded(&other, Rounding::Trunc),
                Some(_) => input.div_rounded(&other, Rounding::Floor),
            };
        "floor_divide" (input: Var<T>, other: Var<T>) => input.floor_divide(&other);
        "__rdiv__" (input: Var<T>, other: Var<T>) => other.div(&input);
        "remainder" (input: Var<T>, other: Var<T>) => input.remainder(&other);
        "__rmod__" (input: Var<T>, other: Var<T>) => other.remainder(&input);
        "fmod" (input: Var<T>, other: Var<T>) => input.fmod(&other);
        "pow" | "float_power" (input: Var<T>, exponent: Var<T>) => input.pow(&exponent);
        "fmax" (input: Var<T>, other: Var<T>) => input.fmax(&other);
        "fmin" (input: Var<T>, other: Var<T>) => input.fmin(&other);
        "copysign" (input: Var<T>, other: Var<T>) => input.copysign(&other);
        "logaddexp2" (input: Var<T>, other: Var<T>) => input.logaddexp2(&other);
        "ldexp" (input: Var<T>, other: Var<T>) => input.ldexp(&other);
        "heaviside" (input: Var<T>, values: Var<T>) => input.value().heaviside(values.value());
        "__rpow__" (input: Var<T>, base: Var<T>) => base.pow(&input);
        "maximum" | "max.binary" (input: Var<T>, other: Var<T>) => input.maximum(&other);
        "minimum" | "min.binary" (input: Var<T>, other: Var<T>) => input.minimum(&other);
        "atan2" (input: Var<T>, other: Var<T>) => input.atan2(&other);
        "hypot" (input: Var<T>, other: Var<T>) => input.hypot(&other);
        "xlogy" (input: Var<T>, other: Var<T>) => input.xlogy(&other);
        "logaddexp" (input: Var<T>, other: Var<T>) => input.logaddexp(&other);
        "lerp" (input: Var<T>, end: Var<T>, weight: Value) => match weight {
            Value::Number(_) => {
                let weight: f64 = call.argument("weight", None)?;
                input.lerp(&end, weight)
            }
            _ => {
                let weight: Var<T> = call.argument("weight", None)?;
                input.add(&end.sub(&input)?.mul(&weight)?)
            }
        };
        "addcmul" (input: Var<T>, tensor1: Var<T>, tensor2: Var<T>, value: f64 = 1.0) => {
            input.addcmul(&tensor1, &tensor2, value)
        };
        "addcdiv" (input: Var<T>, tensor1: Var<T>, tensor2: Var<T>, value: f64 = 1.0) => {
            input.addcdiv(&tensor1, &tensor2, value)
        };
        "clamp" (input: Var<T>, min: Option<Var<T>> = None, max: Option<Var<T>> = None) => {
            let raised = min.map_or(Ok(input.clone()), |min| input.maximum(&min))?;
            max.map_or(Ok(raised.clone()), |max| raised.minimum(&max))
        };
        "clamp_min" (input: Var<T>, min: Var<T>) => input.maximum(&min);
        "clamp_max" (input: Var<T>, max: Var<T>) => input.minimum(&max);
    }
}

fn functions<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "abs" (input: Var<T>) => input.abs();
        "neg" (input: Var<T>) => Ops::neg(&input);
        "acos" (input: Var<T>) => input.acos();
        "acosh" (input: Var<T>) => input.acosh();
        "asin" (input: Var<T>) => input.asin();
        "asinh" (input: Var<T>) => input.asinh();
        "atan" (input: Var<T>) => input.atan();
        "atanh" (input: Var<T>) => input.atanh();
        "ceil" (input: Var<T>) => input.ceil();
        "cos" (input: Var<T>) => input.cos();
        "cosh" (input: Var<T>) => input.cosh();
        "digamma" (input: Var<T>) => input.digamma();
        "erf" (input: Var<T>) => input.erf();
        "erfc" (input: Var<T>) => input.erfc();
        "erfinv" (input: Var<T>) => input.erf_inv();
        "exp" (input: Var<T>) => input.exp();
        "exp2" (input: Var<T>) => input.exp2();
        "expm1" (input: Var<T>) => input.exp_m1();
        "floor" (input: Var<T>) => input.floor();
        "frac" (input: Var<T>) => input.frac();
        "lgamma" (input: Var<T>) => input.lgamma();
        "log" (input: Var<T>) => input.ln();
        "log10" (input: Var<T>) => input.log10();
        "log1p" (input: Var<T>) => input.ln_1p();
        "log2" (input: Var<T>) => input.log2();
        "logit" (input: Var<T>, eps: Option<f64> = None) => input.logit(eps);
        "nan_to_num" (
            input: Var<T>, nan: f64 = 0.0, posinf: Option<f64> = None, neginf: Option<f64> = None,
        ) => input.nan_to_num(
            nan,
            posinf.unwrap_or(largest::<T>()),
            neginf.unwrap_or(-largest::<T>()),
        );
        "reciprocal" (input: Var<T>) => input.reciprocal();
        "round" | "round.decimals_0" | "round.decimals_3" | "round.decimals_neg_3"
            (input: Var<T>, decimals: i64 = 0) => match decimals {
                0 => input.round(),
                _ => input.round_decimals(decimals as i32),
            };
        "rad2deg" (input: Var<T>) => input.rad2deg();
        "deg2rad" (input: Var<T>) => input.deg2rad();
        "signbit" (input: Var<T>) => input.value().signbit();
        "rsqrt" (input: Var<T>) => input.rsqrt();
        "sigmoid" (input: Var<T>) => input.sigmoid();
        "sign" (input: Var<T>) => input.sign();
        "sgn" (input: Var<T>) => input.sgn();
        "sin" (input: Var<T>) => input.sin();
        "sinc" (input: Var<T>) => input.sinc();
        "sinh" (input: Var<T>) => input.sinh();
        "sqrt" (input: Var<T>) => input.sqrt();
        "square" (input: Var<T>) => input.square();
        "tan" (input: Var<T>) => input.tan();
        "tanh" (input: Var<T>) => input.tanh();
        "trunc" (input: Var<T>) => input.trunc();
        "clone" | "contiguous" | "positive" (input: Var<T>) => input;
    }
}

/// The largest number of the type.
fn largest<T: Float>() -> f64 {
    if size_of::<T>() == 4 { f64::from(f32::MAX) } else { f64::MAX }
}

fn comparisons<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "eq" (input: Var<T>, other: Var<T>) => input.value().eq_elements(other.value());
        "ne" (input: Var<T>, other: Var<T>) => input.value().ne_elements(other.value());
        "lt" (input: Var<T>, other: Var<T>) => input.value().lt(other.value());
        "le" (input: Var<T>, other: Var<T>) => input.value().le(other.value());
        "gt" (input: Var<T>, other: Var<T>) => input.value().gt(other.value());
        "ge" (input: Var<T>, other: Var<T>) => input.value().ge(other.value());
        "equal" (input: Var<T>, other: Var<T>) => input.value() == other.value();
        "isnan" (input: Var<T>) => input.value().isnan();
        "isinf" (input: Var<T>) => input.value().isinf();
        "isfinite" (input: Var<T>) => input.value().isfinite();
        "isposinf" (input: Var<T>) => input.value().eq_scalar(T::from_f64(f64::INFINITY));
        "isneginf" (input: Var<T>) => input.value().eq_scalar(T::from_f64(f64::NEG_INFINITY));
        "isclose" (
            input: Var<T>, other: Var<T>, rtol: f64 = 1e-5, atol: f64 = 1e-8,
            equal_nan: bool = false,
        ) => close(&input, &other, rtol, atol, equal_nan);
        "allclose" (
            input: Var<T>, other: Var<T>, rtol: f64 = 1e-5, atol: f64 = 1e-8,
            equal_nan: bool = false,
        ) => close(&input, &other, rtol, atol, equal_nan).map(|close| close.all());
        "logical_not" (input: Any<T>) => input.truth().logical_not();
        "logical_and" (input: Any<T>, other: Any<T>) => input.truth().logical_and(&other.truth());
        "logical_or" (input: Any<T>, other: Any<T>) => input.truth().logical_or(&other.truth());
        "logical_xor" (input: Any<T>, other: Any<T>) => input.truth().logical_xor(&other.truth());
        "where" (input: Var<T>, condition: Tensor<bool>, other: Var<T>) => {
            input.where_mask(&condition, &other)
        };
        "masked_fill" (input: Var<T>, mask: Tensor<bool>, value: f64) => {
            input.masked_fill(&mask, value)
        };
    }
}

/// Whether two values are close; with `nan`, NaN is close to NaN.
fn close<T: Float>(
    a: &Var<T>,
    b: &Var<T>,
    relative: f64,
    absolute: f64,
    nan: bool,
) -> Result<Tensor<bool>> {
    let (a, b) = (a.value(), b.value());
    let close = a.isclose(b, relative, absolute)?;
    if nan { close.logical_or(&a.isnan().logical_and(&b.isnan())?) } else { Ok(close) }
}

fn integers<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "bitwise_left_shift" (input: Tensor<i64>, other: Tensor<i64>) => {
            input.bitwise_left_shift(&other)
        };
        "bitwise_right_shift" (input: Tensor<i64>, other: Tensor<i64>) => {
            input.bitwise_right_shift(&other)
        };
        "gcd" (input: Tensor<i64>, other: Tensor<i64>) => input.gcd(&other);
        "lcm" (input: Tensor<i64>, other: Tensor<i64>) => input.lcm(&other);
        "bitwise_not" (input: Tensor<i64>) => input.bitwise_not();
        "bitwise_and" | "__rand__" (input: Tensor<i64>, other: Tensor<i64>) => {
            input.bitwise_and(&other)
        };
        "bitwise_or" | "__ror__" (input: Tensor<i64>, other: Tensor<i64>) => {
            input.bitwise_or(&other)
        };
        "bitwise_xor" | "__rxor__" (input: Tensor<i64>, other: Tensor<i64>) => {
            input.bitwise_xor(&other)
        };
    }
}

impl<T: Float> Any<T> {
    /// Whether the element is not 0.
    pub(super) fn truth(&self) -> Tensor<bool> {
        match self {
            Self::Float(x) => x.value().ne_scalar(T::ZERO),
            Self::Int(x) => x.ne_scalar(0),
            Self::Bool(x) => x.clone(),
        }
    }
}
