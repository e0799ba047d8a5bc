//! Functions of single elements, as the cases of the fixtures call them.

use dendra_tensor::{Ops, Result, Rounding};

use crate::fixtures::Case;

/// Applies a case's operation, if it is one of these.
pub(crate) fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Option<Result<V>> {
    let number = |name| case.number(name);
    Some(match (case.kind(), inputs) {
        ("exp2", [x]) => Ok(x.exp2()),
        ("log2", [x]) => Ok(x.log2()),
        ("log10", [x]) => Ok(x.log10()),
        ("logit", [x]) => Ok(x.logit(case.find_setting("epsilon").map(|_| number("epsilon")))),
        ("asin", [x]) => Ok(x.asin()),
        ("acos", [x]) => Ok(x.acos()),
        ("atan", [x]) => Ok(x.atan()),
        ("sinh", [x]) => Ok(x.sinh()),
        ("cosh", [x]) => Ok(x.cosh()),
        ("asinh", [x]) => Ok(x.asinh()),
        ("acosh", [x]) => Ok(x.acosh()),
        ("atanh", [x]) => Ok(x.atanh()),
        ("sinc", [x]) => Ok(x.sinc()),
        ("erfc", [x]) => Ok(x.erfc()),
        ("erf_inv", [x]) => Ok(x.erf_inv()),
        ("lgamma", [x]) => Ok(x.lgamma()),
        ("digamma", [x]) => Ok(x.digamma()),
        ("sign", [x]) => Ok(x.sign()),
        ("floor", [x]) => Ok(x.floor()),
        ("ceil", [x]) => Ok(x.ceil()),
        ("round", [x]) => Ok(x.round()),
        ("trunc", [x]) => Ok(x.trunc()),
        ("frac", [x]) => Ok(x.frac()),
        ("nan_to_num", [x]) => Ok(x.nan_to_num(0.0, 1.0, -1.0)),
        ("clamp_min", [x]) => Ok(x.clamp_min(number("low"))),
        ("clamp_max", [x]) => Ok(x.clamp_max(number("high"))),

        ("relu6", [x]) => Ok(x.relu6()),
        ("hardtanh", [x]) => Ok(x.hardtanh(number("low"), number("high"))),
        ("hardswish", [x]) => Ok(x.hardswish()),
        ("hardsigmoid", [x]) => Ok(x.hardsigmoid()),
        ("hardshrink", [x]) => Ok(x.hardshrink(number("bound"))),
        ("softshrink", [x]) => Ok(x.softshrink(number("bound"))),
        ("tanhshrink", [x]) => Ok(x.tanhshrink()),
        ("softsign", [x]) => Ok(x.softsign()),
        ("celu", [x]) => Ok(x.celu(number("alpha"))),
        ("selu", [x]) => Ok(x.selu()),
        ("mish", [x]) => Ok(x.mish()),
        ("threshold", [x]) => Ok(x.threshold(number("threshold"), number("value"))),
        ("softplus_scaled", [x]) => Ok(x.softplus_scaled(number("beta"), number("threshold"))),
        ("prelu", [x, weight]) => x.prelu(weight),
        ("glu", [x]) => x.glu(case.integer("axis")),
        ("softmin", [x]) => x.softmin(case.integer("axis")),

        ("atan2", [y, x]) => y.atan2(x),
        ("hypot", [x, y]) => x.hypot(y),
        ("remainder", [x, divisor]) => x.remainder(divisor),
        ("fmod", [x, divisor]) => x.fmod(divisor),
        ("div_rounded", [x, y]) => x.div_rounded(
            y,
            match case.text("rounding") {
                "floor" => Rounding::Floor,
                _ => Rounding::Trunc,
            },
        ),
        ("fmax", [x, y]) => x.fmax(y),
        ("fmin", [x, y]) => x.fmin(y),
        ("logaddexp2", [x, y]) => x.logaddexp2(y),
        ("ldexp", [x, exponent]) => x.ldexp(exponent),
        ("xlogy", [x, y]) => x.xlogy(y),
        ("logaddexp", [x, y]) => x.logaddexp(y),
        ("lerp", [start, end]) => start.lerp(end, number("weight")),
        ("addcmul", [x, a, b]) => x.addcmul(a, b, number("value")),
        ("addcdiv", [x, a, b]) => x.addcdiv(a, b, number("value")),
        _ => return None,
    })
}
