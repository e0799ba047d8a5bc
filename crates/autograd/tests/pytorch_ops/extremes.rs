//! Functions of rows that hold ties, zeros, huge and tiny numbers, ∞ and NaN,
//! against PyTorch; `make_extremes.py` made the values.

use dendra_autograd::Tape;
use dendra_tensor::{Float, Ops, Result, Tensor};
use serde_json::Value;

use crate::fixtures::folder;

/// Rows of three numbers each.
const ROWS: usize = 17;

/// The numbers of a list, in which infinities and NaN are strings; `None` for
/// what is not compared.
fn numbers(list: &Value) -> Vec<Option<f64>> {
    let number = |x: &Value| match x {
        Value::Null => None,
        Value::String(name) => Some(name.parse().unwrap()),
        _ => Some(x.as_f64().unwrap()),
    };
    list.as_array().unwrap().iter().map(number).collect()
}

fn apply<V: Ops>(name: &str, x: &V) -> Result<V> {
    let norm = |p| x.norm_axes(p, &[1], false);
    match name {
        "sum" => x.sum_axes(&[1], false),
        "mean" => x.mean_axes(&[1], false),
        "prod" => x.prod_axes(&[1], false),
        "max" => x.max_axes(&[1], false),
        "min" => x.min_axes(&[1], false),
        "norm_0" => norm(0.0),
        "norm_1" => norm(1.0),
        "norm_2" => norm(2.0),
        "norm_3" => norm(3.0),
        "norm_half" => norm(0.5),
        "norm_inf" => norm(f64::INFINITY),
        "norm_minus_inf" => norm(f64::NEG_INFINITY),
        "var" => x.var_axes(&[1], 1, false),
        "std" => x.std_axes(&[1], 1, false),
        "logsumexp" => x.logsumexp(1, false),
        "cumsum" => x.cumsum(1),
        "cumprod" => x.cumprod(1),
        "logcumsumexp" => x.logcumsumexp(1),
        "softmax" => x.softmax(1),
        "log_softmax" => x.log_softmax(1),
        "normalize" => x.normalize(2.0, 1, 1e-12),
        "cosine_similarity" => {
            let other = V::constant(Tensor::from([[3.0, 1.0, 2.0]]).cast());
            x.cosine_similarity(&other, 1, 1e-8)
        }
        "cdist" => {
            let other = V::constant(Tensor::from([[3.0, 1.0, 2.0]]).cast());
            x.cdist(&other, 2.0)
        }
        _ => panic!("{name} is not a function of this test"),
    }
}

/// Names every number that is not the expected one, as far as this type can
/// hold that.
fn compare<T: Float>(what: &str, found: &Tensor<T>, expected: &Value, failures: &mut Vec<String>) {
    // Where terms cancel, an error relative to the largest of a row is left.
    let cancels = ["var", "std", "softmax", "log", "normalize"];
    let cancels = cancels.iter().any(|name| what.starts_with(name));
    let smallest = 2.0 * T::MIN_POSITIVE.to_f64() * T::EPSILON.to_f64();
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let width = expected.len() / ROWS;
    for (row, (found, expected)) in
        found.to_vec().chunks(width).zip(expected.chunks(width)).enumerate()
    {
        let finite = expected.iter().flatten().filter(|x| x.is_finite());
        let largest = finite.fold(1.0, |largest: f64, x| largest.max(x.abs()));
        let rest = if cancels { 1e-6 * largest } else { smallest };
        for (&found, &expected) in found.iter().zip(expected) {
            let Some(expected) = expected else { continue };
            let (found, expected) = (found.to_f64(), T::from_f64(expected).to_f64());
            let near = (found - expected).abs() <= 1e-5 * expected.abs() + rest;
            if !near && found != expected && !(found.is_nan() && expected.is_nan()) {
                failures.push(format!("{what}, row {row}: {found:e} instead of {expected:e}"));
            }
        }
    }
}

fn agree<T: Float>() {
    let text = std::fs::read_to_string(folder().join("extremes.json")).unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let rows = numbers(&made["rows"]);
    let rows = Tensor::from_fn([ROWS, 3], |i| T::from_f64(rows[i].unwrap()));
    let mut failures = Vec::new();
    for (name, case) in made["cases"].as_object().unwrap() {
        let x = Tape::training(0, 0).leaf(rows.clone());
        let out = apply(name, &x).unwrap();
        compare(name, out.value(), &case["out"], &mut failures);
        // The outputs of a row weigh 1, 2 and 3.
        let columns = out.value().len() / ROWS;
        let weight = |i: usize| T::from_f64((i % columns + 1) as f64);
        let weights = Ops::constant(Tensor::from_fn(out.shape(), weight));
        let gradients = out.mul(&weights).unwrap().sum().backward().unwrap();
        let gradient = gradients.wrt(&x).unwrap();
        compare(&format!("{name} gradient"), gradient, &case["grad"], &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn rows_of_extreme_numbers_agree_with_pytorch() {
    agree::<f32>();
    agree::<f64>();
}
