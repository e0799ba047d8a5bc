//! The formula that gives weights and inputs, as in `fixtures/filling.py`, and the
//! comparison of what a model makes of them.

use dendra_autograd::{EntryMut, Parameters, Path, Var};
use dendra_tensor::{Ops, Shape, Tensor};
use serde_json::{Map, Value};

/// FNV-1a.
pub(crate) fn hash32(name: &str) -> u32 {
    name.bytes().fold(2_166_136_261, |h, byte| (h ^ u32::from(byte)).wrapping_mul(16_777_619))
}

/// Numbers from −1 up to 1 that 24 bits hold exactly.
pub(crate) fn noise(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = hash32(name);
    (0..count).map(move |index| {
        let mut x = (index as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85EB_CA6B);
        x ^= x >> 13;
        x = x.wrapping_mul(0xC2B2_AE35);
        x ^= x >> 16;
        f64::from(x >> 8) / f64::from(1 << 23) - 1.0
    })
}

/// The values of a parameter or a buffer.
fn values(name: &str, shape: &Shape) -> Tensor {
    let spread = match shape[..] {
        [] | [_] => None,
        [_, ref rest @ ..] => Some((3.0 / rest.iter().product::<usize>() as f64).sqrt()),
    };
    let value = |v: f64| match spread {
        _ if name.ends_with("running_var") => 1.0 + 0.5 * v,
        None if name.ends_with("weight") => 1.0 + 0.2 * v,
        None => 0.1 * v,
        Some(spread) => v * spread,
    };
    let values = noise(name, shape.elements()).map(|v| value(v) as f32).collect();
    Tensor::from_vec(values, shape.clone()).unwrap()
}

/// Gives all state the values of the formula.
pub(crate) fn fill(model: &mut dyn Parameters) {
    model.visit_mut(&mut Path::default(), &mut |path, entry| match entry {
        EntryMut::Param(param) => {
            *param.value_mut() = values(path.as_str(), param.value().shape());
        }
        EntryMut::Buffer(buffer) => {
            *buffer.value_mut() = values(path.as_str(), buffer.value().shape());
        }
        EntryMut::Counter(_) => {}
    });
}

/// An input.
pub(crate) fn image(name: &str, shape: &[usize]) -> Tensor {
    let shape = Shape::from(shape);
    let values = noise(name, shape.elements()).map(|v| v as f32).collect();
    Tensor::from_vec(values, shape).unwrap()
}

/// The cases of a file.
pub(crate) fn read(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// What differs from the expected outputs and gradients by more than 1e-5 of the
/// largest output, or of the norm of a parameter's gradient; by more than 1e-7 of the
/// largest norm where that is more, as of gradients that are 0 but for rounding.
pub(crate) fn differences(case: &Value, model: &dyn Parameters, outputs: &[Var]) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = case["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), expected.len());
    let mut losses = Vec::new();
    for (index, (y, expected)) in outputs.iter().zip(expected).enumerate() {
        let shape: Vec<usize> = numbers(&expected["shape"]).iter().map(|&n| n as usize).collect();
        if y.shape()[..] != shape {
            wrong.push(format!("output {index}: expected {shape:?}, got {}", y.shape()));
            return wrong;
        }
        let expected = numbers(&expected["values"]);
        let scale = expected.iter().fold(1e-3_f64, |scale, x| scale.max(x.abs()));
        for (found, expected) in y.value().to_vec().iter().zip(&expected) {
            let distance = (f64::from(*found) - expected).abs() / scale;
            if distance.is_nan() || distance > 1e-5 {
                wrong.push(format!("output {index}: expected {expected}, got {found}"));
            }
        }
        let weights = image(&format!("loss{index}"), y.shape());
        losses.push(y.mul(&Var::new(weights)).unwrap().sum());
    }
    let loss = losses.into_iter().reduce(|a, b| a.add(&b).unwrap()).unwrap();
    let gradients = loss.backward().unwrap();

    let parameters = model.named_parameters();
    let expected = case["parameters"].as_object().unwrap();
    let largest = expected.values().map(|it| numbers(it)[0]).fold(0.0, f64::max);
    let names: Vec<&String> = parameters.iter().map(|(name, _)| name).collect();
    wrong.extend(
        expected.keys().filter(|name| !names.contains(name)).map(|name| format!("no {name}")),
    );
    for (name, param) in parameters {
        let Some(expected) = expected.get(&name).map(numbers) else {
            wrong.push(format!("unexpected {name}"));
            continue;
        };
        let found = match gradients.get(param) {
            None => vec![0.0; 3],
            Some(gradient) => {
                let values: Vec<f64> = gradient.to_vec().into_iter().map(f64::from).collect();
                let (h, n) = (hash32(&name) as usize, values.len());
                let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
                vec![norm, values[h % n], values[(h >> 8) % n]]
            }
        };
        let scale = expected[0].max(1e-2 * largest);
        let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let distance = distance.fold(0.0, f64::max) / scale;
        if distance.is_nan() || distance > 1e-5 {
            wrong.push(format!("{name}: expected {expected:?}, got {found:?} ({distance:.1e})"));
        }
    }
    wrong
}
