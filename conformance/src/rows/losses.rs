//! Losses, as functions and as modules. Their targets and weights get no gradient.

use dendra_autograd::Var;
use dendra_losses::{
    BCELoss, BCEWithLogitsLoss, CTCLoss, CTCTarget, ClassTarget, Classes, CosineEmbeddingLoss,
    CrossEntropy, GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss,
    MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss,
    PoissonNLLLoss, Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
use dendra_tensor::{Float, Ops, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Argument, Constant};
use crate::call::{Call, Given, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = of_numbers();
    rows.extend(of_classes());
    rows.extend(of_pairs());
    rows
}

fn of_numbers<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.mse_loss" | "nn.MSELoss" (
            input: Var<T>, target: Constant<T>, reduction: Reduction = Reduction::Mean,
        ) => MSELoss::new().reduction(reduction).compute(&input, &target.0);
        "nn.functional.l1_loss" | "nn.L1Loss" (
            input: Var<T>, target: Constant<T>, reduction: Reduction = Reduction::Mean,
        ) => L1Loss::new().reduction(reduction).compute(&input, &target.0);
        "nn.functional.smooth_l1_loss" | "nn.SmoothL1Loss" (
            input: Var<T>, target: Constant<T>, reduction: Reduction = Reduction::Mean,
            beta: f64 = 1.0,
        ) => SmoothL1Loss::new(beta).reduction(reduction).compute(&input, &target.0);
        "nn.functional.huber_loss" | "nn.HuberLoss" (
            input: Var<T>, target: Constant<T>, reduction: Reduction = Reduction::Mean,
            delta: f64 = 1.0,
        ) => HuberLoss::new(delta).reduction(reduction).compute(&input, &target.0);
        "nn.functional.binary_cross_entropy" | "nn.BCELoss" (
            input: Var<T>, target: Constant<T>, weight: Option<Constant<T>> = None,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = BCELoss::new().reduction(reduction);
            let loss = weight.map_or(loss.clone(), |weight| loss.weight(&weight.0));
            loss.compute(&input, &target.0)
        };
        "nn.functional.binary_cross_entropy_with_logits" | "nn.BCEWithLogitsLoss" (
            input: Var<T>, target: Constant<T>, weight: Option<Constant<T>> = None,
            reduction: Reduction = Reduction::Mean, pos_weight: Option<Constant<T>> = None,
        ) => {
            let loss = BCEWithLogitsLoss::new().reduction(reduction);
            let loss = weight.map_or(loss.clone(), |weight| loss.weight(&weight.0));
            let loss = pos_weight.map_or(loss.clone(), |weight| loss.pos_weight(&weight.0));
            loss.compute(&input, &target.0)
        };
        "nn.functional.hinge_embedding_loss" | "nn.HingeEmbeddingLoss" (
            input: Var<T>, target: Constant<T>, margin: f64 = 1.0,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = HingeEmbeddingLoss::new().margin(margin).reduction(reduction);
            loss.compute(&input, &target.0)
        };
        "nn.functional.soft_margin_loss" | "nn.SoftMarginLoss" (
            input: Var<T>, target: Constant<T>, reduction: Reduction = Reduction::Mean,
        ) => SoftMarginLoss::new().reduction(reduction).compute(&input, &target.0);
        "nn.functional.poisson_nll_loss" | "nn.PoissonNLLLoss" (
            input: Var<T>, target: Constant<T>, log_input: bool = true, full: bool = false,
            eps: f64 = 1e-8, reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = PoissonNLLLoss::new().log_input(log_input).full(full).eps(eps);
            loss.reduction(reduction).compute(&input, &target.0)
        };
        "nn.functional.gaussian_nll_loss" | "nn.GaussianNLLLoss" (
            input: Var<T>, target: Constant<T>, var: Var<T>, full: bool = false, eps: f64 = 1e-6,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = GaussianNLLLoss::new().full(full).eps(eps);
            loss.reduction(reduction).compute(&input, &target.0, &var)
        };
        "nn.functional.kl_div" | "nn.KLDivLoss" (
            input: Var<T>, target: Constant<T>, reduction: String = "mean".into(),
            log_target: bool = false,
        ) => {
            let loss = match &*reduction {
                "batchmean" => KLDivLoss::batch_mean(),
                "sum" => KLDivLoss::new().reduction(Reduction::Sum),
                "none" => KLDivLoss::new().reduction(Reduction::None),
                _ => KLDivLoss::new(),
            };
            loss.log_target(log_target).compute(&input, &target.0)
        };
    }
}

fn of_classes<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.cross_entropy" | "nn.CrossEntropyLoss" (
            input: Var<T>, target: Target<T>, weight: Option<Constant<T>> = None,
            ignore_index: i64 = -100, reduction: Reduction = Reduction::Mean,
            label_smoothing: f64 = 0.0,
        ) => {
            let loss = CrossEntropy::new().ignore_index(ignore_index).reduction(reduction);
            let loss = loss.label_smoothing(label_smoothing);
            let loss = weight.map_or(loss.clone(), |weight| loss.class_weights(numbers(&weight)));
            loss.compute(&input, &target)
        };
        "nn.functional.nll_loss" | "nn.NLLLoss" (
            input: Var<T>, target: Tensor<i64>, weight: Option<Constant<T>> = None,
            ignore_index: i64 = -100, reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = NLLLoss::new().ignore_index(ignore_index).reduction(reduction);
            let loss = weight.map_or(loss.clone(), |weight| loss.class_weights(numbers(&weight)));
            loss.compute(&input, &target)
        };
        "nn.functional.multi_margin_loss" | "nn.MultiMarginLoss" (
            input: Var<T>, target: Tensor<i64>, p: usize = 1, margin: f64 = 1.0,
            weight: Option<Constant<T>> = None, reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = MultiMarginLoss::new().p(p as u32).margin(margin).reduction(reduction);
            let loss = weight.map_or(loss.clone(), |weight| loss.class_weights(numbers(&weight)));
            loss.compute(&input, &target)
        };
        "nn.functional.multilabel_margin_loss" | "nn.MultiLabelMarginLoss" (
            input: Var<T>, target: Tensor<i64>, reduction: Reduction = Reduction::Mean,
        ) => MultiLabelMarginLoss::new().reduction(reduction).compute(&input, &target);
        "nn.functional.multilabel_soft_margin_loss" | "nn.MultiLabelSoftMarginLoss" (
            input: Var<T>, target: Constant<T>, weight: Option<Constant<T>> = None,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = MultiLabelSoftMarginLoss::new().reduction(reduction);
            let loss = weight.map_or(loss.clone(), |weight| loss.weight(&weight.0));
            loss.compute(&input, &target.0)
        };
        "nn.functional.ctc_loss" | "nn.CTCLoss" (
            log_probs: Var<T>, targets: Tensor<i64>, input_lengths: Lengths,
            target_lengths: Lengths, blank: usize = 0, reduction: Reduction = Reduction::Mean,
            zero_infinity: bool = false,
        ) => {
            let loss = CTCLoss::new().blank(blank).zero_infinity(zero_infinity);
            let target = CTCTarget::new(targets, input_lengths.0, target_lengths.0);
            // PyTorch's gradient is already that with respect to the logits.
            loss.reduction(reduction).compute(&log_probs.log_softmax(-1)?, &target)
        };
    }
}

fn of_pairs<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.margin_ranking_loss" | "nn.MarginRankingLoss" (
            input1: Var<T>, input2: Var<T>, target: Signs<T>, margin: f64 = 0.0,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = MarginRankingLoss::new().margin(margin).reduction(reduction);
            loss.compute(&input1, &input2, &target.0)
        };
        "nn.functional.cosine_embedding_loss" | "nn.CosineEmbeddingLoss" (
            input1: Var<T>, input2: Var<T>, target: Signs<T>, margin: f64 = 0.0,
            reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = CosineEmbeddingLoss::new().margin(margin).reduction(reduction);
            loss.compute(&input1, &input2, &target.0)
        };
        "nn.functional.triplet_margin_loss" | "nn.TripletMarginLoss" (
            anchor: Var<T>, positive: Var<T>, negative: Var<T>, margin: f64 = 1.0, p: f64 = 2.0,
            eps: f64 = 1e-6, swap: bool = false, reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = TripletMarginLoss::new().margin(margin).p(p).eps(eps).swap(swap);
            loss.reduction(reduction).compute(&anchor, &positive, &negative)
        };
        "nn.functional.triplet_margin_with_distance_loss" | "nn.TripletMarginWithDistanceLoss" (
            anchor: Var<T>, positive: Var<T>, negative: Var<T>, distance_function: Value,
            margin: f64 = 1.0, swap: bool = false, reduction: Reduction = Reduction::Mean,
        ) => {
            let loss = TripletMarginLoss::new().margin(margin).swap(swap).reduction(reduction);
            match distance_function["callable"].as_str() {
                Some("PairwiseDistance") => Ok(loss.compute(&anchor, &positive, &negative)?),
                other => Err(Stop::inexpressible(format!("the distance {other:?}"))),
            }
        };
    }
}

fn numbers<T: Float>(weight: &Constant<T>) -> Vec<f64> {
    weight.0.cast::<f64>().to_vec()
}

/// Class labels or probabilities.
enum Target<T: Float> {
    Labels(Tensor<i64>),
    Probabilities(Tensor<T>),
}

impl<T: Float> ClassTarget<T> for Target<T> {
    fn classes(&self) -> Classes<'_, T> {
        match self {
            Self::Labels(labels) => Classes::Labels(labels),
            Self::Probabilities(shares) => Classes::Probabilities(shares),
        }
    }
}

impl<T: Float> Argument<T> for Target<T> {
    const KIND: &str = "labels or probabilities";
    const CONSTANT: bool = true;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match call.given(value)? {
            Given::Int(labels) => Some(Self::Labels(labels.clone())),
            Given::Float(shares) => Some(Self::Probabilities(shares.value().clone())),
            Given::Bool(_) => None,
        }
    }
}

/// 1 and −1, as integers or floats.
struct Signs<T: Float>(Tensor<T>);

impl<T: Float> Argument<T> for Signs<T> {
    const KIND: &str = "a target";
    const CONSTANT: bool = true;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match call.given(value)? {
            Given::Int(signs) => Some(Self(signs.cast())),
            Given::Float(signs) => Some(Self(signs.value().clone())),
            Given::Bool(_) => None,
        }
    }
}

/// Lengths, as a list or a tensor.
pub(super) struct Lengths(pub(super) Vec<usize>);

impl<T: Float> Argument<T> for Lengths {
    const KIND: &str = "lengths";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match call.given(value) {
            Some(Given::Int(lengths)) => {
                let lengths = lengths.to_vec().into_iter().map(|length| length.try_into().ok());
                lengths.collect::<Option<_>>().map(Self)
            }
            _ => Argument::<T>::read(value, call).map(Self),
        }
    }
}
