//! Every loss against PyTorch: its value on plain tensors and on variables, and
//! the gradient of the output.

use dendra_autograd::{Tape, Var};
use dendra_losses::{
    BceLoss, BceWithLogitsLoss, CrossEntropy, HuberLoss, L1Loss, MseLoss, NllLoss, Reduction,
    SmoothL1Loss,
};
use dendra_losses::{ClassTarget, Classes};
use dendra_tensor::{Float, Ops, Result, Tensor};

#[path = "../../../tests/fixtures/reader.rs"]
mod fixtures;

use fixtures::{Case, Comparison, Fixture, Stored};

/// Tolerances relative to the largest value of the compared tensor.
struct Tolerance {
    forward: f64,
    gradient: f64,
}

#[test]
fn losses_agree_with_pytorch() {
    agree::<f32>(&Tolerance { forward: 1e-5, gradient: 1e-4 });
}

#[test]
fn losses_agree_with_pytorch_in_double_precision() {
    agree::<f64>(&Tolerance { forward: 1e-12, gradient: 1e-11 });
}

fn agree<T: Float + Stored>(tolerance: &Tolerance) {
    let fixture = Fixture::open::<T>("losses");
    let mut comparison = Comparison::default();
    for case in fixture.cases() {
        if let Err(error) = compare::<T>(&case, tolerance, &mut comparison) {
            comparison.fail(format!("{}: {error}", case.key));
        }
    }
    comparison.finish();
    fixture.assert_all_read();
}

fn compare<T: Float + Stored>(
    case: &Case,
    tolerance: &Tolerance,
    comparison: &mut Comparison,
) -> Result<()> {
    let key = case.key;
    let input = case.tensor::<T>("input");
    let expected = case.tensor("out");
    let out = compute::<T, _>(case, &input)?;
    comparison.close(format!("{key} of tensors"), &out, &expected, tolerance.forward);

    let leaf = Tape::training(0, 0).leaf(input);
    let out = compute::<T, _>(case, &leaf)?;
    comparison.close(format!("{key} of variables"), out.value(), &expected, tolerance.forward);
    let Some(cotangent) = case.find("cotangent") else { return Ok(()) };
    let gradients = out.mul(&Var::new(cotangent))?.sum().backward()?;
    let expected = case.tensor("grad");
    match gradients.wrt(&leaf) {
        Some(gradient) => {
            comparison.close(format!("{key}, gradient"), gradient, &expected, tolerance.gradient);
        }
        None => comparison.fail(format!("{key} has no gradient")),
    }
    Ok(())
}

/// The target of a case, of either kind.
struct Target<T: Float> {
    labels: Option<Tensor<i64>>,
    probabilities: Option<Tensor<T>>,
}

impl<T: Float> ClassTarget<T> for Target<T> {
    fn classes(&self) -> Classes<'_, T> {
        match (&self.labels, &self.probabilities) {
            (Some(labels), None) => Classes::Labels(labels),
            (None, Some(probabilities)) => Classes::Probabilities(probabilities),
            _ => panic!("one kind of target"),
        }
    }
}

fn compute<T: Float + Stored, V: Ops<Element = T>>(case: &Case, output: &V) -> Result<V> {
    let reduction = match case.text("reduction") {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        other => panic!("no reduction {other}"),
    };
    let weight = case.find::<T>("weight");
    let class_weights = weight.as_ref().map(|weight| weight.cast().to_vec());
    let target = || case.tensor::<T>("target");
    let labels = || case.tensor::<i64>("target");
    match case.text("loss") {
        "cross_entropy" => {
            let mut loss = CrossEntropy::new().reduction(reduction);
            if let Some(weights) = class_weights {
                loss = loss.class_weights(weights);
            }
            if let Some(smoothing) = case.find_setting("label_smoothing") {
                loss = loss.label_smoothing(smoothing.as_f64().unwrap());
            }
            if let Some(label) = case.find_setting("ignore_index") {
                loss = loss.ignore_index(label.as_i64().unwrap());
            }
            let target = match case.text("target") {
                "index" => Target { labels: Some(labels()), probabilities: None },
                _ => Target { labels: None, probabilities: Some(target()) },
            };
            loss.compute(output, &target)
        }
        "nll" => {
            let mut loss = NllLoss::new().reduction(reduction);
            if let Some(weights) = class_weights {
                loss = loss.class_weights(weights);
            }
            if let Some(label) = case.find_setting("ignore_index") {
                loss = loss.ignore_index(label.as_i64().unwrap());
            }
            loss.compute(output, &labels())
        }
        "mse" => MseLoss::new().reduction(reduction).compute(output, &target()),
        "l1" => L1Loss::new().reduction(reduction).compute(output, &target()),
        "huber" => {
            HuberLoss::new(case.number("delta")).reduction(reduction).compute(output, &target())
        }
        "smooth_l1" => {
            SmoothL1Loss::new(case.number("beta")).reduction(reduction).compute(output, &target())
        }
        "bce" => {
            let mut loss = BceLoss::new().reduction(reduction);
            if let Some(weight) = &weight {
                loss = loss.weight(weight);
            }
            loss.compute(output, &target())
        }
        "bce_with_logits" => {
            let mut loss = BceWithLogitsLoss::new().reduction(reduction);
            if let Some(weight) = &weight {
                loss = loss.weight(weight);
            }
            if let Some(weight) = &case.find::<T>("pos_weight") {
                loss = loss.pos_weight(weight);
            }
            loss.compute(output, &target())
        }
        other => panic!("no loss {other}"),
    }
}
