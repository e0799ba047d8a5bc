//! Functions of one element, or of two that broadcast.

use dendra_tensor::Result;

use super::call::Call;
use super::graph::Graph;
use super::{Row, Write};

const NO_OPERATOR: Write = Write::Never("ONNX has no operator for it");

pub(super) const TABLE: &[Row] = &[
    ("relu", Write::As("Relu")),
    ("leaky_relu", Write::By(|g, c| with(g, c, "LeakyRelu", &[("alpha", "negative_slope")]))),
    ("elu", Write::By(|g, c| with(g, c, "Elu", &[("alpha", "alpha")]))),
    ("gelu", Write::As("Gelu")),
    ("gelu_tanh", Write::By(gelu_tanh)),
    ("silu", Write::By(silu)),
    ("softplus", Write::As("Softplus")),
    ("sigmoid", Write::As("Sigmoid")),
    ("log_sigmoid", Write::By(log_sigmoid)),
    ("softplus_scaled", Write::By(softplus_scaled)),
    ("hardswish", Write::As("HardSwish")),
    ("hardsigmoid", Write::By(hardsigmoid)),
    ("hardtanh", Write::By(clamp)),
    ("hardshrink", Write::By(hardshrink)),
    (
        "softshrink",
        Write::By(|g, c| with(g, c, "Shrink", &[("lambd", "lambda"), ("bias", "lambda")])),
    ),
    ("tanhshrink", Write::By(tanhshrink)),
    ("softsign", Write::As("Softsign")),
    ("celu", Write::By(|g, c| with(g, c, "Celu", &[("alpha", "alpha")]))),
    ("selu", Write::As("Selu")),
    ("mish", Write::As("Mish")),
    ("threshold", Write::By(threshold)),
    ("tanh", Write::As("Tanh")),
    ("exp", Write::As("Exp")),
    ("exp_m1", Write::By(|g, c| then(g, c, "Exp", "Sub", 1.0))),
    ("ln", Write::As("Log")),
    ("ln1p", Write::By(|g, c| before(g, c, 1.0, "Add", "Log"))),
    ("exp2", Write::By(exp2)),
    ("log2", Write::By(|g, c| then(g, c, "Log", "Div", std::f64::consts::LN_2))),
    ("log10", Write::By(|g, c| then(g, c, "Log", "Div", std::f64::consts::LN_10))),
    ("sqrt", Write::As("Sqrt")),
    ("rsqrt", Write::By(rsqrt)),
    ("square", Write::By(square)),
    ("reciprocal", Write::As("Reciprocal")),
    ("abs", Write::As("Abs")),
    ("negate", Write::As("Neg")),
    ("sin", Write::As("Sin")),
    ("cos", Write::As("Cos")),
    ("tan", Write::As("Tan")),
    ("asin", Write::As("Asin")),
    ("acos", Write::As("Acos")),
    ("atan", Write::As("Atan")),
    ("sinh", Write::As("Sinh")),
    ("cosh", Write::As("Cosh")),
    ("asinh", Write::As("Asinh")),
    ("acosh", Write::As("Acosh")),
    ("atanh", Write::As("Atanh")),
    ("sinc", Write::By(sinc)),
    ("erf", Write::As("Erf")),
    ("erfc", Write::By(erfc)),
    ("erf_inv", NO_OPERATOR),
    ("lgamma", NO_OPERATOR),
    ("digamma", NO_OPERATOR),
    ("sign", Write::As("Sign")),
    ("floor", Write::As("Floor")),
    ("ceil", Write::As("Ceil")),
    ("round", Write::As("Round")),
    ("trunc", Write::By(|g, c| Ok(truncated(g, c.input(0))))),
    ("frac", Write::By(frac)),
    ("nan_to_num", Write::By(nan_to_num)),
    ("powf", Write::By(|g, c| scalar(g, c, "Pow", "exponent"))),
    ("clamp", Write::By(clamp)),
    ("logit", Write::By(logit)),
    ("mul_scalar", Write::By(|g, c| scalar(g, c, "Mul", "factor"))),
    ("add_scalar", Write::By(|g, c| scalar(g, c, "Add", "term"))),
    ("add", Write::By(|g, c| binary(g, c, "Add"))),
    ("sub", Write::By(|g, c| binary(g, c, "Sub"))),
    ("mul", Write::By(|g, c| binary(g, c, "Mul"))),
    ("div", Write::As("Div")),
    ("div_rounded", Write::By(div_rounded)),
    ("maximum", Write::As("Max")),
    ("minimum", Write::As("Min")),
    ("pow", Write::As("Pow")),
    ("atan2", Write::By(atan2)),
    ("hypot", Write::By(hypot)),
    ("remainder", Write::By(remainder)),
    ("fmod", Write::By(fmod)),
    ("xlogy", Write::By(xlogy)),
    ("log_add_exp", Write::By(log_add_exp)),
    ("prelu", Write::As("PRelu")),
];

/// An operator with numbers among its attributes.
fn with(
    graph: &mut Graph,
    call: &Call<'_>,
    operator: &'static str,
    settings: &[(&'static str, &str)],
) -> Result<String> {
    let mut attributes = Vec::new();
    for (attribute, setting) in settings {
        attributes.push((*attribute, call.float(setting)?.into()));
    }
    Ok(graph.op_with(operator, &[call.input(0)], attributes))
}

/// An operator of the input and a setting.
fn scalar(
    graph: &mut Graph,
    call: &Call<'_>,
    operator: &'static str,
    setting: &str,
) -> Result<String> {
    let number = call.scalar(graph, call.float(setting)?);
    Ok(graph.op(operator, &[call.input(0), &number]))
}

/// An operator of two inputs, or of integers and a number.
fn binary(graph: &mut Graph, call: &Call<'_>, operator: &'static str) -> Result<String> {
    match call.optional(1) {
        Some(second) => Ok(graph.op(operator, &[call.input(0), second])),
        None => scalar(graph, call, operator, "number"),
    }
}

/// `second(first(x), number)`.
fn then(
    graph: &mut Graph,
    call: &Call<'_>,
    first: &'static str,
    second: &'static str,
    number: f64,
) -> Result<String> {
    let inner = graph.op(first, &[call.input(0)]);
    let number = call.scalar(graph, number);
    Ok(graph.op(second, &[&inner, &number]))
}

/// `second(first(x, number))`.
fn before(
    graph: &mut Graph,
    call: &Call<'_>,
    number: f64,
    first: &'static str,
    second: &'static str,
) -> Result<String> {
    let number = call.scalar(graph, number);
    let inner = graph.op(first, &[call.input(0), &number]);
    Ok(graph.op(second, &[&inner]))
}

fn gelu_tanh(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    Ok(graph.op_with("Gelu", &[call.input(0)], vec![("approximate", "tanh".into())]))
}

fn silu(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let gate = graph.op("Sigmoid", &[call.input(0)]);
    Ok(graph.op("Mul", &[call.input(0), &gate]))
}

fn log_sigmoid(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let negative = graph.op("Neg", &[call.input(0)]);
    let softplus = graph.op("Softplus", &[&negative]);
    Ok(graph.op("Neg", &[&softplus]))
}

fn softplus_scaled(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [beta, threshold] = [call.float("beta")?, call.float("threshold")?];
    let [beta, threshold] = [beta, threshold].map(|number| call.scalar(graph, number));
    let scaled = graph.op("Mul", &[call.input(0), &beta]);
    let above = graph.op("Greater", &[&scaled, &threshold]);
    let smooth = graph.op("Softplus", &[&scaled]);
    let smooth = graph.op("Div", &[&smooth, &beta]);
    Ok(graph.op("Where", &[&above, call.input(0), &smooth]))
}

fn hardsigmoid(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let settings = vec![("alpha", (1.0 / 6.0).into()), ("beta", 0.5.into())];
    Ok(graph.op_with("HardSigmoid", &[call.input(0)], settings))
}

/// ONNX's `Shrink` sets elements at ±lambda to 0, as this operation does.
fn hardshrink(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let settings = vec![("lambd", call.float("lambda")?.into()), ("bias", 0.0.into())];
    Ok(graph.op_with("Shrink", &[call.input(0)], settings))
}

fn tanhshrink(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let tanh = graph.op("Tanh", &[call.input(0)]);
    Ok(graph.op("Sub", &[call.input(0), &tanh]))
}

fn threshold(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [threshold, value] = [call.float("threshold")?, call.float("value")?];
    let [threshold, value] = [threshold, value].map(|number| call.scalar(graph, number));
    let below = graph.op("LessOrEqual", &[call.input(0), &threshold]);
    Ok(graph.op("Where", &[&below, &value, call.input(0)]))
}

fn exp2(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let two = call.scalar(graph, 2.0);
    Ok(graph.op("Pow", &[&two, call.input(0)]))
}

fn rsqrt(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let root = graph.op("Sqrt", &[call.input(0)]);
    Ok(graph.op("Reciprocal", &[&root]))
}

fn square(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    Ok(graph.op("Mul", &[call.input(0), call.input(0)]))
}

fn sinc(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [pi, zero, one] = [std::f64::consts::PI, 0.0, 1.0].map(|x| call.scalar(graph, x));
    let angle = graph.op("Mul", &[call.input(0), &pi]);
    let sine = graph.op("Sin", &[&angle]);
    let ratio = graph.op("Div", &[&sine, &angle]);
    let is_zero = graph.op("Equal", &[call.input(0), &zero]);
    Ok(graph.op("Where", &[&is_zero, &one, &ratio]))
}

fn erfc(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let erf = graph.op("Erf", &[call.input(0)]);
    let one = call.scalar(graph, 1.0);
    Ok(graph.op("Sub", &[&one, &erf]))
}

fn truncated(graph: &mut Graph, x: &str) -> String {
    let (sign, size) = (graph.op("Sign", &[x]), graph.op("Abs", &[x]));
    let size = graph.op("Floor", &[&size]);
    graph.op("Mul", &[&sign, &size])
}

fn frac(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let whole = truncated(graph, call.input(0));
    Ok(graph.op("Sub", &[call.input(0), &whole]))
}

fn nan_to_num(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let infinite = |positive: i64| {
        vec![("detect_positive", positive.into()), ("detect_negative", (1 - positive).into())]
    };
    let mut y = call.input(0).to_owned();
    for (operator, settings, by) in [
        ("IsNaN", vec![], "nan"),
        ("IsInf", infinite(1), "infinity"),
        ("IsInf", infinite(0), "negative_infinity"),
    ] {
        let found = graph.op_with(operator, &[call.input(0)], settings);
        let by = call.scalar(graph, call.float(by)?);
        y = graph.op("Where", &[&found, &by, &y]);
    }
    Ok(y)
}

fn clamp(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let bounds = [call.float("low")?, call.float("high")?];
    Ok(clipped(graph, call, call.input(0), bounds))
}

pub(super) fn clipped(graph: &mut Graph, call: &Call<'_>, x: &str, bounds: [f64; 2]) -> String {
    // An infinite bound is left out.
    let [low, high] = bounds.map(|bound| match bound.is_finite() {
        true => call.scalar(graph, bound),
        false => String::new(),
    });
    graph.op("Clip", &[x, &low, &high])
}

fn logit(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let bounds = [call.float("low")?, call.float("high")?];
    let x = clipped(graph, call, call.input(0), bounds);
    let one = call.scalar(graph, 1.0);
    let rest = graph.op("Sub", &[&one, &x]);
    let odds = graph.op("Div", &[&x, &rest]);
    Ok(graph.op("Log", &[&odds]))
}

fn div_rounded(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let quotient = graph.op("Div", &[call.input(0), call.input(1)]);
    match call.text("rounding")? {
        "floor" => Ok(graph.op("Floor", &[&quotient])),
        _ => Ok(truncated(graph, &quotient)),
    }
}

/// The angle of (|x|, y), mirrored where x is negative.
fn atan2(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let (y, x) = (call.input(0), call.input(1));
    let pi = std::f64::consts::PI;
    let [zero, half_turn, other_turn] = [0.0, pi, -pi].map(|number| call.scalar(graph, number));
    let width = graph.op("Abs", &[x]);
    let ratio = graph.op("Div", &[y, &width]);
    let is_flat = graph.op("Equal", &[y, &zero]);
    let ratio = graph.op("Where", &[&is_flat, y, &ratio]);
    let angle = graph.op("Atan", &[&ratio]);
    let is_below = graph.op("Less", &[y, &zero]);
    let turn = graph.op("Where", &[&is_below, &other_turn, &half_turn]);
    let mirrored = graph.op("Sub", &[&turn, &angle]);
    let is_left = graph.op("Less", &[x, &zero]);
    Ok(graph.op("Where", &[&is_left, &mirrored, &angle]))
}

fn hypot(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [a, b] = [0, 1].map(|index| graph.op("Mul", &[call.input(index), call.input(index)]));
    let sum = graph.op("Add", &[&a, &b]);
    Ok(graph.op("Sqrt", &[&sum]))
}

fn remainder(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let quotient = graph.op("Div", &[call.input(0), call.input(1)]);
    let whole = graph.op("Floor", &[&quotient]);
    let multiple = graph.op("Mul", &[&whole, call.input(1)]);
    Ok(graph.op("Sub", &[call.input(0), &multiple]))
}

fn fmod(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    Ok(graph.op_with("Mod", &call.inputs(), vec![("fmod", 1.into())]))
}

fn xlogy(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let zero = call.scalar(graph, 0.0);
    let is_zero = graph.op("Equal", &[call.input(0), &zero]);
    let logarithm = graph.op("Log", &[call.input(1)]);
    let product = graph.op("Mul", &[call.input(0), &logarithm]);
    Ok(graph.op("Where", &[&is_zero, &zero, &product]))
}

/// The larger one + ln(1 + exp(−difference)).
fn log_add_exp(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let (a, b) = (call.input(0), call.input(1));
    let larger = graph.op("Max", &[a, b]);
    let difference = graph.op("Sub", &[a, b]);
    let difference = graph.op("Abs", &[&difference]);
    // The difference of equal infinities is not defined.
    let is_same = graph.op("Equal", &[a, b]);
    let zero = call.scalar(graph, 0.0);
    let difference = graph.op("Where", &[&is_same, &zero, &difference]);
    let negative = graph.op("Neg", &[&difference]);
    let power = graph.op("Exp", &[&negative]);
    let one = call.scalar(graph, 1.0);
    let sum = graph.op("Add", &[&power, &one]);
    let logarithm = graph.op("Log", &[&sum]);
    Ok(graph.op("Add", &[&larger, &logarithm]))
}
