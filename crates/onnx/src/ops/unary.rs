//! Functions of one element.

use dendra_tensor::{Ops, Result};

use super::{Operator, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, float};

pub(super) const TABLE: &[Operator] = &[
    one("Abs", abs),
    one("Acos", acos),
    one("Acosh", acosh),
    one("Asin", asin),
    one("Asinh", asinh),
    one("Atan", atan),
    one("Atanh", atanh),
    one("Ceil", ceil),
    one("Celu", celu),
    one("Cos", cos),
    one("Cosh", cosh),
    one("Elu", elu),
    one("Erf", erf),
    one("Exp", exp),
    one("Floor", floor),
    one("Gelu", gelu),
    one("HardSigmoid", hard_sigmoid),
    one("HardSwish", hard_swish),
    one("LeakyRelu", leaky_relu),
    one("Log", log),
    one("Mish", mish),
    one("Neg", neg),
    one("Reciprocal", reciprocal),
    one("Relu", relu),
    one("Round", round),
    one("Selu", selu),
    one("Shrink", shrink),
    one("Sigmoid", sigmoid),
    one("Sign", sign),
    one("Sin", sin),
    one("Sinh", sinh),
    one("Softplus", softplus),
    one("Softsign", softsign),
    one("Sqrt", sqrt),
    one("Swish", swish),
    one("Tan", tan),
    one("Tanh", tanh),
    one("ThresholdedRelu", thresholded_relu),
];

/// Functions of floats.
macro_rules! functions {
    ($($name:ident |$x:ident| $result:expr;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            float!(call.tensor(0)?, $x => $result)
        }
    )*};
}

functions! {
    acos |x| x.acos();
    acosh |x| x.acosh();
    asin |x| x.asin();
    asinh |x| x.asinh();
    atan |x| x.atan();
    atanh |x| x.atanh();
    ceil |x| x.ceil();
    cos |x| x.cos();
    cosh |x| x.cosh();
    erf |x| x.erf();
    exp |x| x.exp();
    floor |x| x.floor();
    hard_swish |x| x.hardswish();
    log |x| x.ln();
    mish |x| x.mish();
    reciprocal |x| x.reciprocal();
    round |x| x.round();
    sigmoid |x| x.sigmoid();
    sin |x| x.sin();
    sinh |x| x.sinh();
    softplus |x| x.softplus();
    softsign |x| x.softsign();
    sqrt |x| x.sqrt();
    tan |x| x.tan();
    tanh |x| x.tanh();
}

/// Functions that also support integers.
macro_rules! integer_functions {
    ($($name:ident |$x:ident| $result:expr, |$n:ident| $integer:expr;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            let input = call.tensor(0)?;
            match &input.data {
                Data::F32(_) | Data::F64(_) => float!(input, $x => $result),
                Data::U64(x) => Ok(input.with(Data::U64(x.map(|x| {
                    let $n = i128::from(x);
                    ($integer) as u64
                })))),
                _ => Ok(TypedTensor::whole(input.element(), input.wholes()?.map(|x| {
                    let $n = i128::from(x);
                    ($integer) as i64
                }))),
            }
        }
    )*};
}

integer_functions! {
    abs |x| x.abs(), |n| n.max(-n);
    neg |x| x.neg(), |n| -n;
    relu |x| x.relu(), |n| n.max(0);
    sign |x| x.sign(), |n| n.signum();
}

fn celu(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 1.0);
    float!(call.tensor(0)?, x => x.celu(alpha))
}

fn elu(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 1.0);
    float!(call.tensor(0)?, x => x.elu(alpha))
}

fn gelu(call: &Call<'_>) -> Result<TypedTensor> {
    let is_approximate = call.text("approximate", "none") == "tanh";
    float!(call.tensor(0)?, x => if is_approximate { x.gelu_tanh() } else { x.gelu() })
}

fn hard_sigmoid(call: &Call<'_>) -> Result<TypedTensor> {
    let (alpha, beta) = (call.float("alpha", 0.2_f32.into()), call.float("beta", 0.5));
    float!(call.tensor(0)?, x => x.mul_scalar(alpha).add_scalar(beta).clamp(0.0, 1.0))
}

fn leaky_relu(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 0.01_f32.into());
    float!(call.tensor(0)?, x => x.leaky_relu(alpha))
}

fn selu(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 1.673_263_2_f32.into());
    let gamma = call.float("gamma", 1.050_701_f32.into());
    float!(call.tensor(0)?, x => x.elu(alpha).mul_scalar(gamma))
}

fn shrink(call: &Call<'_>) -> Result<TypedTensor> {
    let (lambda, bias) = (call.float("lambd", 0.5), call.float("bias", 0.0));
    let input = call.tensor(0)?;
    if !input.element().is_float() {
        let x = input.reals()?.map(|x| shrunk(x, lambda, bias));
        return Ok(TypedTensor::real(input.element(), x));
    }
    float!(input, x => {
        let above = x.value().gt_scalar(lambda as _);
        let below = x.value().lt_scalar(-lambda as _);
        let inside = x.mul_scalar(0.0);
        let low = x.add_scalar(bias).where_mask(&below, &inside)?;
        x.add_scalar(-bias).where_mask(&above, &low)?
    })
}

fn shrunk(x: f64, lambda: f64, bias: f64) -> f64 {
    match x {
        _ if x < -lambda => x + bias,
        _ if x > lambda => x - bias,
        _ => 0.0,
    }
}

fn swish(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 1.0);
    float!(call.tensor(0)?, x => x.mul(&x.mul_scalar(alpha).sigmoid())?)
}

fn thresholded_relu(call: &Call<'_>) -> Result<TypedTensor> {
    let alpha = call.float("alpha", 1.0);
    float!(call.tensor(0)?, x => x.threshold(alpha, 0.0))
}
