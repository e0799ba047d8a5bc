//! Losses.

use dendra_tensor::{Ops, Result, Tensor};

use super::arithmetic::mul_two;
use super::{Operator, many, one};
use crate::call::Call;
use crate::tensor::{TypedTensor, each, float};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("NegativeLogLikelihoodLoss", negative_log_likelihood),
    many("SoftmaxCrossEntropyLoss", softmax_cross_entropy),
];

fn negative_log_likelihood(call: &Call<'_>) -> Result<TypedTensor> {
    likelihood(call, call.tensor(0)?)
}

fn softmax_cross_entropy(call: &Call<'_>) -> Result<Vec<Value>> {
    let log_probabilities = float!(call.tensor(0)?, x => x.log_softmax(1)?)?;
    Ok(vec![likelihood(call, &log_probabilities)?.into(), log_probabilities.into()])
}

/// The negative log-probabilities of the targets, weighted and reduced.
fn likelihood(call: &Call<'_>, x: &TypedTensor) -> Result<TypedTensor> {
    let target = call.tensor(1)?;
    let &[_, classes, ..] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [N, C, …], got {}", x.shape()));
    };
    let ignored = call.optional_int("ignore_index");
    let targets = target.wholes()?;
    let is_class = |class: &i64| Some(*class) == ignored || (0..classes as i64).contains(class);
    if let Some(wrong) = targets.to_vec().iter().find(|class| !is_class(class)) {
        return call.refuse(format!("target {wrong} is not one of {classes} classes"));
    }
    let class_weights = call.optional(2)?.map(TypedTensor::reals).transpose()?;
    let class_weights = class_weights.map(|weights| weights.to_vec());
    if class_weights.as_ref().is_some_and(|weights| weights.len() != classes) {
        return call.refuse(format!("expected {classes} weights"));
    }
    let weight = |class: i64| match &class_weights {
        _ if Some(class) == ignored => 0.0,
        Some(weights) => weights[class as usize],
        None => 1.0,
    };
    let weights = Tensor::from_vec(
        targets.to_vec().into_iter().map(weight).collect(),
        target.shape().clone(),
    )?;
    let total: f64 = weights.to_vec().iter().sum();
    let inside = targets.map(|class| class.clamp(0, classes as i64 - 1)).unsqueeze(1)?;
    let found = each!(x, x => x.gather(1, &inside)?.squeeze(1)?);
    let losses = mul_two(&float!(&found, x => x.neg())?, &TypedTensor::real(x.element(), weights))?;
    match call.text("reduction", "mean") {
        "none" => Ok(losses),
        "sum" => float!(&losses, x => x.sum()),
        _ => float!(&losses, x => x.sum().mul_scalar(1.0 / total)),
    }
}
