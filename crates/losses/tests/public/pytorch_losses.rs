//! Comparison of every loss with PyTorch: the values for plain tensors and for
//! variables, and the gradients of all outputs.

use dendra_autograd::{Tape, Var};
use dendra_losses::{
    BCELoss, BCEWithLogitsLoss, CTCLoss, CTCTarget, ClassTarget, Classes, CosineEmbeddingLoss,
    CrossEntropy, DiceLoss, FocalLoss, GaussianNLLLoss, HingeEmbeddingLoss, HingeLoss, HuberLoss,
    KLDivLoss, L1Loss, Loss, MSELoss, MarginRankingLoss, MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss, Reduction,
    SigmoidFocalLoss, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::fixtures::{Case, Comparison, Fixture, Stored};

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

/// Compares values and gradients with PyTorch for outputs that are NaN, infinite or
/// at kinks. All targets of a case are the same number.
#[test]
fn outputs_at_the_edges_agree_with_pytorch() {
    use std::f64::consts::{E, LN_2};
    const NONE: Reduction = Reduction::None;
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;
    type Case<'a> = (&'a dyn Loss<Tensor<f64>, f64>, f64, [f64; 6], [f64; 6]);
    let outputs = [NAN, INF, -INF, 0.0, 1.0, -1.0];
    let cases: [Case<'_>; 23] = [
        (
            &MSELoss::new().reduction(NONE),
            0.0,
            [NAN, INF, INF, 0.0, 1.0, 1.0],
            [NAN, INF, -INF, 0.0, 2.0, -2.0],
        ),
        (
            &L1Loss::new().reduction(NONE),
            0.0,
            [NAN, INF, INF, 0.0, 1.0, 1.0],
            [0.0, 1.0, -1.0, 0.0, 1.0, -1.0],
        ),
        (
            &SmoothL1Loss::new(1.0).reduction(NONE),
            0.0,
            [NAN, INF, INF, 0.0, 0.5, 0.5],
            [NAN, 1.0, -1.0, 0.0, 1.0, -1.0],
        ),
        (
            &HuberLoss::new(1.0).reduction(NONE),
            0.0,
            [NAN, INF, INF, 0.0, 0.5, 0.5],
            [NAN, 1.0, -1.0, 0.0, 1.0, -1.0],
        ),
        (
            &MSELoss::new().reduction(NONE),
            INF,
            [NAN, NAN, INF, INF, INF, INF],
            [NAN, NAN, -INF, -INF, -INF, -INF],
        ),
        (
            &L1Loss::new().reduction(NONE),
            INF,
            [NAN, NAN, INF, INF, INF, INF],
            [0.0, 0.0, -1.0, -1.0, -1.0, -1.0],
        ),
        (
            &SmoothL1Loss::new(1.0).reduction(NONE),
            INF,
            [NAN, NAN, INF, INF, INF, INF],
            [NAN, NAN, -1.0, -1.0, -1.0, -1.0],
        ),
        (
            &HuberLoss::new(1.0).reduction(NONE),
            INF,
            [NAN, NAN, INF, INF, INF, INF],
            [NAN, NAN, -1.0, -1.0, -1.0, -1.0],
        ),
        (
            &SmoothL1Loss::new(0.0).reduction(NONE),
            0.0,
            [NAN, INF, INF, 0.0, 1.0, 1.0],
            [0.0, 1.0, -1.0, 0.0, 1.0, -1.0],
        ),
        (
            &KLDivLoss::new().reduction(NONE),
            0.0,
            [NAN, NAN, NAN, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ),
        (
            &KLDivLoss::new().reduction(NONE),
            1.0,
            [NAN, -INF, INF, 0.0, -1.0, 1.0],
            [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0],
        ),
        (
            &KLDivLoss::new().reduction(NONE),
            -1.0,
            [NAN, NAN, NAN, NAN, NAN, NAN],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        ),
        (
            &KLDivLoss::new().log_target(true).reduction(NONE),
            0.0,
            [NAN, -INF, INF, 0.0, -1.0, 1.0],
            [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0],
        ),
        (
            &KLDivLoss::new().log_target(true).reduction(NONE),
            -INF,
            [NAN, NAN, NAN, NAN, NAN, NAN],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ),
        (
            &HingeEmbeddingLoss::new().reduction(NONE),
            1.0,
            [NAN, INF, -INF, 0.0, 1.0, -1.0],
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        ),
        (
            &HingeLoss::new().reduction(NONE),
            1.0,
            [NAN, 0.0, INF, 1.0, 0.0, 2.0],
            [0.0, 0.0, -1.0, -1.0, 0.0, -1.0],
        ),
        (
            &HingeEmbeddingLoss::new().reduction(NONE),
            -1.0,
            [NAN, 0.0, INF, 1.0, 0.0, 2.0],
            [0.0, 0.0, -1.0, -1.0, 0.0, -1.0],
        ),
        (
            &HingeLoss::new().reduction(NONE),
            -1.0,
            [NAN, INF, 0.0, 1.0, 2.0, 0.0],
            [0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
        ),
        (
            &BCEWithLogitsLoss::new().reduction(NONE),
            0.0,
            [NAN, INF, NAN, LN_2, 1.3132616875182228, 0.3132616875182228],
            [NAN, 1.0, 0.0, 0.5, 0.7310585786300049, 0.2689414213699951],
        ),
        (
            &PoissonNLLLoss::new().log_input(true).full(true).reduction(NONE),
            0.0,
            [NAN, NAN, NAN, 1.0, E, 0.36787944117144233],
            [NAN, INF, 0.0, 1.0, E, 0.36787944117144233],
        ),
        (
            &PoissonNLLLoss::new().log_input(false).full(true).reduction(NONE),
            0.0,
            [NAN, NAN, NAN, 0.0, 1.0, NAN],
            [NAN, 1.0, 1.0, 1.0, 1.0, 1.0],
        ),
        (
            &PoissonNLLLoss::new().log_input(true).full(true).reduction(NONE),
            2.0,
            [NAN, NAN, INF, 1.651806484604536, 1.370088313063581, 3.0196859257759785],
            [NAN, INF, -2.0, -1.0, 0.7182818284590451, -1.6321205588285577],
        ),
        (
            &PoissonNLLLoss::new().log_input(false).full(true).reduction(NONE),
            2.0,
            [NAN, NAN, NAN, 37.49316797250927, 1.6518064646045363, NAN],
            [NAN, 1.0, 1.0, -199999999.0, -0.9999999800000003, 3.0000000200000003],
        ),
    ];
    let same =
        |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() < 1e-12 * b.abs();
    for (index, (loss, target, values, slopes)) in cases.into_iter().enumerate() {
        let x = Tape::training(0, 0).leaf(Tensor::from(outputs));
        let losses = loss.forward(&x, &Tensor::full([6], target)).unwrap();
        let found = losses.value().to_vec();
        assert!(found.iter().zip(values).all(|(&a, b)| same(a, b)), "{index}: {found:?}");
        let gradients = losses.sum().backward().unwrap();
        let found = gradients.wrt(&x).unwrap().to_vec();
        assert!(found.iter().zip(slopes).all(|(&a, b)| same(a, b)), "gradient {index}: {found:?}");
    }
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
    let names = ["input", "input2", "input3"].into_iter().filter(|name| case.has(name));
    let inputs: Vec<Tensor<T>> = names.clone().map(|name| case.tensor(name)).collect();
    let expected = case.tensor("out");
    let out = compute::<T, _>(case, &inputs)?;
    comparison.close(format!("{key} of tensors"), &out, &expected, tolerance.forward);

    let tape = Tape::training(0, 0);
    let leaves: Vec<Var<T>> = inputs.into_iter().map(|input| tape.leaf(input)).collect();
    let out = compute::<T, _>(case, &leaves)?;
    comparison.close(format!("{key} of variables"), out.value(), &expected, tolerance.forward);
    let Some(cotangent) = case.find("cotangent") else { return Ok(()) };
    let gradients = out.mul(&Var::new(cotangent))?.sum().backward()?;
    for (name, leaf) in names.zip(&leaves) {
        let name = name.replace("input", "grad");
        let expected = case.tensor(&name);
        match gradients.wrt(leaf) {
            Some(found) => {
                comparison.close(format!("{key} {name}"), found, &expected, tolerance.gradient);
            }
            None => comparison.fail(format!("{key} has no {name}")),
        }
    }
    Ok(())
}

/// The target of a case: labels or probabilities.
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

fn compute<T: Float + Stored, V: Ops<Element = T>>(case: &Case, outputs: &[V]) -> Result<V> {
    let output = &outputs[0];
    let reduction = match case.text("reduction") {
        "mean" | "batchmean" => Reduction::Mean,
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
            let mut loss = NLLLoss::new().reduction(reduction);
            if let Some(weights) = class_weights {
                loss = loss.class_weights(weights);
            }
            if let Some(label) = case.find_setting("ignore_index") {
                loss = loss.ignore_index(label.as_i64().unwrap());
            }
            loss.compute(output, &labels())
        }
        "mse" => MSELoss::new().reduction(reduction).compute(output, &target()),
        "l1" => L1Loss::new().reduction(reduction).compute(output, &target()),
        "huber" => {
            HuberLoss::new(case.number("delta")).reduction(reduction).compute(output, &target())
        }
        "smooth_l1" => {
            SmoothL1Loss::new(case.number("beta")).reduction(reduction).compute(output, &target())
        }
        "bce" => {
            let mut loss = BCELoss::new().reduction(reduction);
            if let Some(weight) = &weight {
                loss = loss.weight(weight);
            }
            loss.compute(output, &target())
        }
        "bce_with_logits" => {
            let mut loss = BCEWithLogitsLoss::new().reduction(reduction);
            if let Some(weight) = &weight {
                loss = loss.weight(weight);
            }
            if let Some(weight) = &case.find::<T>("pos_weight") {
                loss = loss.pos_weight(weight);
            }
            loss.compute(output, &target())
        }
        "hinge" => {
            let loss = HingeLoss::new().margin(case.number("margin")).squared(case.flag("squared"));
            loss.reduction(reduction).compute(output, &target())
        }
        "hinge_embedding" => {
            let loss = HingeEmbeddingLoss::new().margin(case.number("margin"));
            loss.reduction(reduction).compute(output, &target())
        }
        "soft_margin" => SoftMarginLoss::new().reduction(reduction).compute(output, &target()),
        "margin_ranking" => {
            let loss = MarginRankingLoss::new().margin(case.number("margin"));
            loss.reduction(reduction).compute(output, &outputs[1], &target())
        }
        "cosine_embedding" => {
            let loss = CosineEmbeddingLoss::new().margin(case.number("margin"));
            loss.reduction(reduction).compute(output, &outputs[1], &target())
        }
        "triplet_margin" => {
            let loss = TripletMarginLoss::new().p(case.number("p")).eps(case.number("eps"));
            let loss = loss.margin(case.number("margin")).swap(case.flag("swap"));
            loss.reduction(reduction).compute(output, &outputs[1], &outputs[2])
        }
        "poisson_nll" => {
            let loss = PoissonNLLLoss::new().log_input(case.flag("log_input"));
            let loss = loss.full(case.flag("full")).eps(case.number("eps"));
            loss.reduction(reduction).compute(output, &target())
        }
        "gaussian_nll" => {
            let loss = GaussianNLLLoss::new().full(case.flag("full")).eps(case.number("eps"));
            loss.reduction(reduction).compute(output, &target(), &outputs[1])
        }
        "kl_div" => {
            let loss = match case.text("reduction") {
                "batchmean" => KLDivLoss::batch_mean(),
                _ => KLDivLoss::new().reduction(reduction),
            };
            loss.log_target(case.flag("log_target")).compute(output, &target())
        }
        "multi_margin" => {
            let loss = MultiMarginLoss::new().p(case.integer("p") as u32);
            let mut loss = loss.margin(case.number("margin")).reduction(reduction);
            if let Some(weights) = class_weights {
                loss = loss.class_weights(weights);
            }
            loss.compute(output, &labels())
        }
        "multilabel_margin" => {
            MultiLabelMarginLoss::new().reduction(reduction).compute(output, &labels())
        }
        "multilabel_soft_margin" => {
            let mut loss = MultiLabelSoftMarginLoss::new().reduction(reduction);
            if let Some(weight) = &weight {
                loss = loss.weight(weight);
            }
            loss.compute(output, &target())
        }
        "sigmoid_focal" => {
            let alpha = Some(case.number("alpha")).filter(|alpha| *alpha >= 0.0);
            let loss = SigmoidFocalLoss::new().alpha(alpha).gamma(case.number("gamma"));
            loss.reduction(reduction).compute(output, &target())
        }
        "focal" => {
            let mut loss = FocalLoss::new().gamma(case.number("gamma")).reduction(reduction);
            if let Some(weights) = class_weights {
                loss = loss.class_weights(weights);
            }
            if let Some(label) = case.find_setting("ignore_index") {
                loss = loss.ignore_index(label.as_i64().unwrap());
            }
            loss.compute(output, &labels())
        }
        "dice" => {
            let loss = DiceLoss::new().squared(case.flag("squared")).smooth(case.number("smooth"));
            let loss = match case.text("activation") {
                "sigmoid" => loss.sigmoid(),
                "softmax" => loss.softmax(),
                _ => loss,
            };
            let target = Target { labels: None, probabilities: Some(target()) };
            loss.reduction(reduction).compute(output, &target)
        }
        "ctc" => {
            let (inputs, targets) = (case.sizes("input_lengths"), case.sizes("target_lengths"));
            let loss = CTCLoss::new().blank(case.integer("blank") as usize);
            let loss = loss.zero_infinity(case.flag("zero_infinity")).reduction(reduction);
            loss.compute(&output.log_softmax(-1)?, &CTCTarget::new(labels(), inputs, targets))
        }
        other => panic!("no loss {other}"),
    }
}
