//! Every operation that works element by element, forward and backward, with the settings and the
//! range of inputs of its own samples.

use dendra::tensor::ops::{Call, Op, activation, binary, special, unary};
use dendra::tensor::{Rng, Tensor};

/// A call that is measured.
type Measured = Box<dyn Fn() -> Tensor>;

/// One operation.
pub(crate) struct Row {
    /// The name of its method, which the scripts of other frameworks use too.
    pub(crate) name: &'static str,
    /// The number of its inputs.
    pub(crate) inputs: usize,
    /// The operation on new inputs of a shape.
    pub(crate) forward: fn(&[usize], &mut Rng) -> Measured,
    /// The gradients of all inputs, of which the first is returned.
    pub(crate) gradient: fn(&[usize], &mut Rng) -> Measured,
}

macro_rules! rows {
    ($($name:ident: $operation:ty;)*) => {
        /// All operations.
        pub(crate) fn rows() -> Vec<Row> {
            vec![$(Row {
                name: stringify!($name),
                inputs: sample::<$operation>().1.len(),
                forward: forward::<$operation>,
                gradient: gradient::<$operation>,
            }),*]
        }
    };
}
rows! {
    relu: activation::Relu;
    leaky_relu: activation::LeakyRelu;
    elu: activation::Elu;
    gelu: activation::Gelu;
    gelu_tanh: activation::GeluTanh;
    silu: activation::Silu;
    softplus: activation::Softplus;
    softplus_scaled: activation::SoftplusScaled;
    sigmoid: activation::Sigmoid;
    log_sigmoid: activation::LogSigmoid;
    hardswish: activation::Hardswish;
    hardsigmoid: activation::Hardsigmoid;
    hardtanh: activation::Hardtanh;
    hardshrink: activation::Hardshrink;
    softshrink: activation::Softshrink;
    tanhshrink: activation::Tanhshrink;
    softsign: activation::Softsign;
    celu: activation::Celu;
    selu: activation::Selu;
    mish: activation::Mish;
    threshold: activation::Threshold;
    tanh: unary::Tanh;
    exp: unary::Exp;
    exp_m1: unary::ExpM1;
    exp2: unary::Exp2;
    ln: unary::Ln;
    ln_1p: unary::Ln1p;
    log2: unary::Log2;
    log10: unary::Log10;
    sqrt: unary::Sqrt;
    rsqrt: unary::Rsqrt;
    square: unary::Square;
    reciprocal: unary::Reciprocal;
    abs: unary::Abs;
    neg: unary::Negate;
    sin: unary::Sin;
    cos: unary::Cos;
    tan: unary::Tan;
    asin: unary::Asin;
    acos: unary::Acos;
    atan: unary::Atan;
    sinh: unary::Sinh;
    cosh: unary::Cosh;
    asinh: unary::Asinh;
    acosh: unary::Acosh;
    atanh: unary::Atanh;
    sinc: unary::Sinc;
    erf: unary::Erf;
    erfc: unary::Erfc;
    erf_inv: special::ErfInv;
    lgamma: special::Lgamma;
    digamma: special::Digamma;
    sign: unary::Sign;
    floor: unary::Floor;
    ceil: unary::Ceil;
    round: unary::Round;
    trunc: unary::Trunc;
    frac: unary::Frac;
    nan_to_num: unary::NanToNum;
    powf: unary::Powf;
    clamp: unary::Clamp;
    logit: unary::Logit;
    mul_scalar: unary::MulScalar;
    add_scalar: unary::AddScalar;
    add: binary::Add;
    sub: binary::Sub;
    mul: binary::Mul;
    div: binary::Div;
    maximum: binary::Maximum;
    minimum: binary::Minimum;
    prelu: binary::Prelu;
    xlogy: binary::Xlogy;
    log_add_exp: binary::LogAddExp;
    pow: binary::Pow;
    atan2: binary::Atan2;
    hypot: binary::Hypot;
    remainder: binary::Remainder;
    fmod: binary::Fmod;
}

/// The first sample of an operation.
fn sample<O: Op<f32>>() -> (O, Vec<Tensor>) {
    O::samples().remove(0)
}

/// An operation and inputs of a shape in the range of its samples.
fn problem<O: Op<f32>>(shape: &[usize], rng: &mut Rng) -> (O, Vec<Tensor>) {
    let (operation, samples) = sample::<O>();
    let like = |sample: &Tensor| {
        let values = sample.to_vec();
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Tensor::uniform(shape, f64::from(low), f64::from(high), rng)
    };
    (operation, samples.iter().map(like).collect())
}

fn forward<O: Op<f32>>(shape: &[usize], rng: &mut Rng) -> Measured {
    let (operation, inputs) = problem::<O>(shape, rng);
    Box::new(move || operation.forward(&inputs.iter().collect::<Vec<_>>()).0)
}

fn gradient<O: Op<f32>>(shape: &[usize], rng: &mut Rng) -> Measured {
    let (operation, inputs) = problem::<O>(shape, rng);
    let (output, saved) = operation.forward(&inputs.iter().collect::<Vec<_>>());
    let cotangent = Tensor::normal(shape, 0.0, 1.0, rng);
    Box::new(move || {
        let (inputs, output, saved) = (&inputs[..], &output, &saved);
        let (needs, cotangent) = (&[true; 2][..inputs.len()], cotangent.clone());
        let gradients = operation.vjp(Call { inputs, output, saved, needs, cotangent });
        gradients.into_iter().flatten().next().expect("an input needs a gradient")
    })
}
