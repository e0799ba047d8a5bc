//! Rewrites operators to a form that suits the kernels.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_tensor::{Shape, Tensor};

use super::lower::{name, scale_of};
use super::specialise::Known;
use crate::element::ElementType;
use crate::ops::{self, reordered_weights, with_reordered_weights};
use crate::plan::{Action, Node, Step};
use crate::tensor::TypedTensor;

/// Steps that compute the same result.
pub(super) fn rewrite(steps: Vec<Step>, known: &mut Vec<Known>) -> Vec<Step> {
    let steps = steps.into_iter().flat_map(|step| normalisation(step, known));
    let mut steps: Vec<Step> = steps.collect();
    steps.iter_mut().for_each(|step| reorder(step, known));
    steps
}

/// Rewrites a batch normalization with constants as a product and a sum.
fn normalisation(step: Step, known: &mut Vec<Known>) -> Vec<Step> {
    let constant = |index: usize| {
        let id = (*step.inputs.get(index)?)?;
        known[id].constant.as_ref()?.tensor().ok()
    };
    let rank = step.inputs.first().copied().flatten();
    let rank = rank.and_then(|id| match known[id].form.as_ref()? {
        (ElementType::F32, shape) if shape.len() >= 2 => Some(shape.len()),
        _ => None,
    });
    let settings = [1, 2, 3, 4].map(constant);
    let ([Some(scale), Some(bias), Some(mean), Some(variance)], Some(rank)) = (settings, rank)
    else {
        return vec![step];
    };
    let scale = match (name(&step.node), &step.outputs[..]) {
        ("BatchNormalization", [Some(_)]) => scale_of(&step.node, [scale, bias, mean, variance]),
        _ => None,
    };
    let Some(scale) = scale else { return vec![step] };
    let shape: Shape = [scale.factors.len()].into_iter().chain(vec![1; rank - 2]).collect();
    let form = known[step.outputs[0].expect("one output")].form.clone();
    let mut steps = Vec::new();
    let mut x = step.inputs[0];
    for (operator, numbers) in [("Mul", scale.factors), ("Add", scale.terms)] {
        let numbers = numbers.into_iter().map(|x| x as f32).collect();
        let Ok(numbers) = Tensor::from_vec(numbers, &shape) else { return vec![step] };
        let numbers = TypedTensor::from(numbers);
        let numbers_form = Some((numbers.element(), shape.clone()));
        known.push(Known { constant: Some(numbers.into()), form: numbers_form });
        let inputs = vec![x, Some(known.len() - 1)];
        x = if operator == "Add" {
            step.outputs[0]
        } else {
            known.push(Known { constant: None, form: form.clone() });
            Some(known.len() - 1)
        };
        let node = Node {
            action: Action::Operator(ops::find("", operator).expect("a standard operator")),
            name: step.node.name.clone(),
            operator: operator.to_owned(),
            version: 14,
            attributes: BTreeMap::new(),
        };
        let (graphs, last) = (BTreeMap::new(), Vec::new());
        steps.push(Step { node: Arc::new(node), inputs, outputs: vec![x], graphs, last });
    }
    steps
}

/// Reorders the gates in the weights of a recurrent layer as the kernels need
/// them.
fn reorder(step: &mut Step, known: &mut Vec<Known>) {
    let constant = |index: usize| {
        let id = (*step.inputs.get(index)?)?;
        known[id].constant.as_ref()?.tensor().ok()
    };
    let is_missing = |index: usize| step.inputs.get(index).is_none_or(Option::is_none);
    let Some(operator) = with_reordered_weights(&step.node).filter(|_| is_missing(7)) else {
        return;
    };
    let mut inputs = Vec::new();
    for index in [1, 2, 3] {
        match constant(index).map(|x| reordered_weights(&step.node, x)) {
            Some(Ok(x)) => inputs.push((index, x)),
            None if index == 3 && is_missing(3) => {}
            _ => return,
        }
    }
    for (index, x) in inputs {
        step.inputs[index] = Some(known.len());
        known.push(Known { constant: Some(x.into()), form: None });
    }
    step.node = Arc::new(Node {
        action: Action::Operator(operator),
        name: step.node.name.clone(),
        operator: step.node.operator.clone(),
        version: step.node.version,
        attributes: step.node.attributes.clone(),
    });
}
