//! A property that every operation must have at the limits of the number range:
//! single precision gives the result of double precision wherever single
//! precision can represent it, for values and gradients.

use std::collections::{BTreeMap, BTreeSet};

use super::check::Sample;
use super::table;
use crate::element::Float;
use crate::random::Rng;
use crate::tensor::Tensor;

/// Factors for the inputs of the samples: squares overflow or underflow, and
/// the last factor makes the inputs subnormal.
const SCALES: [f64; 5] = [1e20, 1e30, 1e-20, 1e-30, 1e-40];

/// Values that replace one element of an input, in turn.
const SPECIAL: [f64; 4] = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0];

/// Operations whose results differ for huge and tiny inputs, and why.
const EXCEPTIONS: [(&str, &str); 8] = [
    ("batch_norm", "the variance, which is kept, overflows"),
    ("group_norm", "the variance, which is kept, overflows"),
    ("conv2d_relu", "sums of products overflow"),
    ("gru", "sums of products overflow"),
    ("lstm", "sums of products overflow"),
    ("rnn", "sums of products overflow"),
    ("scaled_dot_product_attention", "sums of products overflow"),
    ("pow", "the power with the smaller exponent overflows"),
];

/// The output, then the gradient of each input.
fn answers<T: Float>(sample: &Sample<T>, inputs: &[Tensor<f64>]) -> Vec<Tensor<f64>> {
    let inputs: Vec<Tensor<T>> = inputs.iter().map(|input| input.cast()).collect();
    let run = (sample.run)(&inputs).unwrap();
    let weights = Tensor::<f32>::normal(run.output.shape(), 0.0, 1.0, &mut Rng::seed(12));
    let gradients = (run.vjp)(weights.cast(), &vec![true; inputs.len()]);
    let gradients = gradients.iter().map(|gradient| gradient.as_ref().unwrap().cast());
    [run.output.cast()].into_iter().chain(gradients).collect()
}

/// Whether two results agree, up to cancellation relative to the largest
/// number.
fn agree(single: &Tensor<f64>, double: &Tensor<f64>) -> bool {
    let finite = |x: &f64| x.is_finite();
    let numbers = double.to_vec();
    let largest = numbers.iter().copied().filter(finite).fold(0.0, |a: f64, b| a.max(b.abs()));
    // Single precision cannot represent the result.
    if largest > f64::from(f32::MAX) {
        return true;
    }
    let allowed = |x: f64| 1e-3 * x.abs() + 1e-5 * largest + f64::from(f32::MIN_POSITIVE);
    single.to_vec().into_iter().zip(numbers).all(|(single, double)| {
        single == double
            || (single.is_nan() && double.is_nan())
            || (single - double).abs() <= allowed(double)
    })
}

/// The operations whose results for changed inputs differ, with the first case.
fn differing(
    change: impl Fn(&[Tensor<f64>]) -> Vec<(String, Vec<Tensor<f64>>)>,
) -> BTreeMap<&'static str, String> {
    let mut differing = BTreeMap::new();
    for row in table() {
        for (single, double) in (row.single)().iter().zip((row.samples)()) {
            let inputs: Vec<Tensor<f64>> = single.inputs.iter().map(|x| x.cast()).collect();
            for (what, inputs) in change(&inputs) {
                let answers = answers(single, &inputs).into_iter().zip(answers(&double, &inputs));
                for (result, (single, double)) in answers.enumerate() {
                    if !agree(&single, &double) {
                        let result = match result {
                            0 => "the output".to_owned(),
                            _ => format!("the gradient of input {}", result - 1),
                        };
                        let (single, double) = (single.to_vec(), double.to_vec());
                        let shapes: Vec<_> = inputs.iter().map(|x| x.shape()).collect();
                        differing.entry(row.name).or_insert_with(|| {
                            format!(
                                "{what} {shapes:?}: {result} is {single:?} instead of {double:?}"
                            )
                        });
                    }
                }
            }
        }
    }
    differing
}

fn assert_as_declared(differing: &BTreeMap<&str, String>, exceptions: &[(&str, &str)]) {
    let undeclared = differing.iter().filter(|(name, _)| exceptions.iter().all(|e| e.0 != **name));
    let undeclared: Vec<String> =
        undeclared.map(|(name, what)| format!("{name}, {what}")).collect();
    assert!(undeclared.is_empty(), "{}", undeclared.join("\n"));
    let found: BTreeSet<&str> = differing.keys().copied().collect();
    for (name, reason) in exceptions {
        assert!(found.contains(name), "{name} is listed as an exception, but agrees: {reason}");
    }
}

#[test]
fn huge_and_tiny_inputs() {
    let scaled = |inputs: &[Tensor<f64>]| {
        let mut cases = Vec::new();
        for scale in SCALES {
            // Rounded to single precision.
            let scaled = |x: &Tensor<f64>| x.map(|x| (x * scale) as f32).cast();
            cases.push((format!("times {scale:e}"), inputs.iter().map(scaled).collect()));
            for alone in (0..inputs.len()).filter(|_| inputs.len() > 1) {
                let mut inputs = inputs.to_vec();
                inputs[alone] = scaled(&inputs[alone]);
                cases.push((format!("times {scale:e} in input {alone}"), inputs));
            }
        }
        cases
    };
    assert_as_declared(&differing(scaled), &EXCEPTIONS);
}

#[test]
fn infinities_nan_and_negative_zero() {
    let replaced = |inputs: &[Tensor<f64>]| {
        let mut cases = Vec::new();
        for (index, input) in inputs.iter().enumerate().filter(|(_, input)| !input.is_empty()) {
            for special in SPECIAL {
                let mut values = input.to_vec();
                let place = values.len() / 2;
                values[place] = special;
                let mut inputs = inputs.to_vec();
                inputs[index] = Tensor::from_vec(values, input.shape()).unwrap();
                cases.push((format!("{special} in input {index}"), inputs));
            }
        }
        cases
    };
    assert_as_declared(&differing(replaced), &[]);
}
