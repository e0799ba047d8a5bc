//! Functions of one and two elements where they are hard: zeros, kinks,
//! infinities, NaN, and numbers near the ends of `f32`.

use std::path::Path;

use dendra_autograd::{Tape, Var};
use dendra_tensor::{Float, Ops, Result, Tensor};
use serde_json::Value;

/// Calls a function by the name of its cases.
fn call<V: Ops>(name: &str, inputs: &[V]) -> Option<Result<V>> {
    let (function, setting) = name.split_once(' ').unwrap_or((name, ""));
    let number = || setting.parse::<f64>().expect("a number behind the name");
    Some(Ok(match (function, inputs) {
        ("relu", [x]) => x.relu(),
        ("leaky_relu", [x]) => x.leaky_relu(0.125),
        ("elu", [x]) => x.elu(2.0),
        ("gelu", [x]) => x.gelu(),
        ("gelu_tanh", [x]) => x.gelu_tanh(),
        ("silu", [x]) => x.silu(),
        ("softplus", [x]) => x.softplus(),
        ("softplus_scaled", [x]) => x.softplus_scaled(2.0, 20.0),
        ("sigmoid", [x]) => x.sigmoid(),
        ("log_sigmoid", [x]) => x.log_sigmoid(),
        ("hardswish", [x]) => x.hardswish(),
        ("hardsigmoid", [x]) => x.hardsigmoid(),
        ("hardshrink", [x]) => x.hardshrink(0.5),
        ("softshrink", [x]) => x.softshrink(0.5),
        ("tanhshrink", [x]) => x.tanhshrink(),
        ("softsign", [x]) => x.softsign(),
        ("celu", [x]) => x.celu(2.0),
        ("selu", [x]) => x.selu(),
        ("mish", [x]) => x.mish(),
        ("threshold", [x]) => x.threshold(0.5, -1.0),
        ("relu6", [x]) => x.relu6(),
        ("hardtanh", [x]) => x.hardtanh(-1.0, 1.0),
        ("tanh", [x]) => x.tanh(),
        ("exp", [x]) => x.exp(),
        ("exp_m1", [x]) => x.exp_m1(),
        ("ln", [x]) => x.ln(),
        ("ln_1p", [x]) => x.ln_1p(),
        ("exp2", [x]) => x.exp2(),
        ("log2", [x]) => x.log2(),
        ("log10", [x]) => x.log10(),
        ("sqrt", [x]) => x.sqrt(),
        ("rsqrt", [x]) => x.rsqrt(),
        ("square", [x]) => x.square(),
        ("reciprocal", [x]) => x.reciprocal(),
        ("abs", [x]) => x.abs(),
        ("neg", [x]) => x.neg(),
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tan", [x]) => x.tan(),
        ("asin", [x]) => x.asin(),
        ("acos", [x]) => x.acos(),
        ("atan", [x]) => x.atan(),
        ("sinh", [x]) => x.sinh(),
        ("cosh", [x]) => x.cosh(),
        ("asinh", [x]) => x.asinh(),
        ("acosh", [x]) => x.acosh(),
        ("atanh", [x]) => x.atanh(),
        ("sinc", [x]) => x.sinc(),
        ("erf", [x]) => x.erf(),
        ("erfc", [x]) => x.erfc(),
        ("erf_inv", [x]) => x.erf_inv(),
        ("lgamma", [x]) => x.lgamma(),
        ("digamma", [x]) => x.digamma(),
        ("sign", [x]) => x.sign(),
        ("floor", [x]) => x.floor(),
        ("ceil", [x]) => x.ceil(),
        ("round", [x]) => x.round(),
        ("trunc", [x]) => x.trunc(),
        ("frac", [x]) => x.frac(),
        ("nan_to_num", [x]) => x.nan_to_num(0.5, 9.0, -9.0),
        ("powf", [x]) => x.powf(number()),
        ("clamp", [x]) if setting == "crossed" => x.clamp(2.0, -0.5),
        ("clamp", [x]) => x.clamp(-0.5, 2.0),
        ("clamp_min", [x]) => x.clamp_min(0.5),
        ("clamp_max", [x]) => x.clamp_max(0.5),
        ("logit", [x]) => x.logit((!setting.is_empty()).then(number)),
        ("mul_scalar", [x]) => x.mul_scalar(2.0),
        ("add_scalar", [x]) => x.add_scalar(2.0),
        ("add", [a, b]) => return Some(a.add(b)),
        ("sub", [a, b]) => return Some(a.sub(b)),
        ("mul", [a, b]) => return Some(a.mul(b)),
        ("div", [a, b]) => return Some(a.div(b)),
        ("maximum", [a, b]) => return Some(a.maximum(b)),
        ("minimum", [a, b]) => return Some(a.minimum(b)),
        ("pow", [a, b]) => return Some(a.pow(b)),
        ("atan2", [a, b]) => return Some(a.atan2(b)),
        ("hypot", [a, b]) => return Some(a.hypot(b)),
        ("remainder", [a, b]) => return Some(a.remainder(b)),
        ("fmod", [a, b]) => return Some(a.fmod(b)),
        ("xlogy", [a, b]) => return Some(a.xlogy(b)),
        ("logaddexp", [a, b]) => return Some(a.logaddexp(b)),
        // A weight for each element, by the operation beneath.
        ("prelu", [a, b]) => return Some(V::try_apply(dendra_tensor::ops::binary::Prelu, &[a, b])),
        _ => return None,
    }))
}

fn numbers(list: &Value) -> Vec<f64> {
    let number = |x: &Value| match x.as_str() {
        Some(text) => text.parse().unwrap(),
        None => x.as_f64().unwrap(),
    };
    list.as_array().unwrap().iter().map(number).collect()
}

/// Functions whose value or gradient is a difference of numbers near 1, here as
/// in PyTorch: as exact as the number type is there.
const DIFFERENCES: [&str; 9] =
    ["gelu", "gelu_tanh", "sigmoid", "tanh", "exp_m1", "sinc", "tanhshrink", "softsign", "silu"];

/// Whether Dendra differs from PyTorch on purpose.
fn differs(name: &str, what: &str, at: &[f64]) -> bool {
    match (name, what, at) {
        // PyTorch's NaN where a length is 0 would spoil what depends on a point
        // at the origin.
        ("hypot", "gradient 0" | "gradient 1", [a, b]) => *a == 0.0 && *b == 0.0,
        // The same for an entropy of which a share is 0.
        ("xlogy", "gradient 1", [a, b]) => *a == 0.0 && *b == 0.0,
        // And for paths that are both impossible.
        ("logaddexp", "gradient 0" | "gradient 1", [a, b]) => a == b && a.is_infinite(),
        // It has poles there, of which PyTorch's reflection finds large numbers.
        ("digamma", "gradient 0", [x]) => *x <= 0.0 && *x == x.floor(),
        // Outside of its domain the slope is NaN, as the value is.
        ("acosh", "gradient 0", [x]) => *x <= -1.0,
        // PyTorch's sixth is one of `f32`.
        ("hardsigmoid", "gradient 0", _) => true,
        _ => false,
    }
}

/// Every value and gradient, to within a relative `tolerance` of what PyTorch
/// computes in `f64`, rounded to `T`; what is below the smallest normal number
/// may come out as 0.
fn agree<T: Float>(tolerance: f64, smallest: f64, epsilon: f64) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/special_values.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in fixture["cases"].as_array().unwrap() {
        let (name, out) = (case["name"].as_str().unwrap(), numbers(&case["out"]));
        let gradients: Vec<_> = case["gradients"].as_array().unwrap().iter().map(numbers).collect();
        let group = if gradients.len() == 1 { "of_one" } else { "of_two" };
        let inputs: Vec<_> = fixture[group].as_array().unwrap().iter().map(numbers).collect();
        let tape = Tape::training(0, 0);
        let leaves: Vec<Var<T>> = inputs
            .iter()
            // JSON's numbers may be off by the last bit; those meant are of `f32`.
            .map(|x| x.iter().map(|&x| T::from_f64(f64::from(x as f32))).collect::<Vec<T>>())
            .map(|x| tape.leaf(Tensor::from_vec(x, [out.len()]).unwrap()))
            .collect();
        let y = call(name, &leaves).unwrap_or_else(|| panic!("what is {name}?")).unwrap();
        let found = y.sum().backward().unwrap();
        // PyTorch's trigamma function is only so exact.
        let tolerance = if name == "digamma" { tolerance.max(1e-8) } else { tolerance };
        let absolute = if DIFFERENCES.contains(&name) { 8.0 * epsilon } else { smallest };
        let mut compare = |what: &str, found: &Tensor<T>, expected: &[f64]| {
            for (i, (found, &expected)) in found.to_vec().into_iter().zip(expected).enumerate() {
                let (found, expected) = (found.to_f64(), T::from_f64(expected).to_f64());
                let near = (found - expected).abs() <= tolerance * expected.abs() + absolute;
                compared += 1;
                let same = near || found == expected || (found.is_nan() && expected.is_nan());
                let at: Vec<f64> = inputs.iter().map(|input| input[i]).collect();
                if !same && !differs(name, what, &at) {
                    wrong.push(format!("{what} of {name} at {at:?}: {found:e} for {expected:e}"));
                }
            }
        };
        compare("value", y.value(), &out);
        for (i, (leaf, expected)) in leaves.iter().zip(&gradients).enumerate() {
            compare(&format!("gradient {i}"), found.wrt(leaf).unwrap(), expected);
        }
    }
    assert!(compared > 10_000);
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn special_values_agree_with_pytorch() {
    agree::<f32>(1e-5, f64::from(f32::MIN_POSITIVE), f64::from(f32::EPSILON));
}

#[test]
fn special_values_agree_with_pytorch_in_double_precision() {
    agree::<f64>(1e-11, f64::MIN_POSITIVE, f64::EPSILON);
}
