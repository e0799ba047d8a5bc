//! Rewrites operators to a form that suits the kernels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use dendra_tensor::{Shape, Tensor};

use super::fuse::function;
use super::lower::{name, scale_of};
use super::specialise::Known;
use crate::element::ElementType;
use crate::ops::{self, reordered_weights, with_reordered_weights};
use crate::plan::{Action, Node, Step};
use crate::tensor::TypedTensor;

/// Steps that compute the same result.
pub(super) fn rewrite(steps: Vec<Step>, known: &mut Vec<Known>, outputs: &[usize]) -> Vec<Step> {
    let steps = steps.into_iter().flat_map(|step| normalisation(step, known));
    let mut steps: Vec<Step> = steps.collect();
    steps.iter_mut().for_each(|step| reorder(step, known));
    spread_where_read(&mut steps, known, outputs);
    steps
}

/// Removes `Expand` before functions of two elements, which spread their
/// operands themselves.
fn spread_where_read(steps: &mut Vec<Step>, known: &[Known], outputs: &[usize]) {
    let mut sources: HashMap<usize, usize> = HashMap::new();
    for step in &mut *steps {
        if let ("Expand", Some(Some(x)), [Some(y)]) =
            (name(&step.node), step.inputs.first(), &step.outputs[..])
        {
            sources.insert(*y, *x);
        }
        if function(&step.node).is_none() || step.inputs.len() != 2 {
            continue;
        }
        for index in [0, 1] {
            let shape = |id: Option<usize>| Some(&known[id?].form.as_ref()?.1);
            let source = step.inputs[index].and_then(|id| sources.get(&id)).copied();
            let (Some(x), Some(other), Some(output)) =
                (shape(source), shape(step.inputs[1 - index]), shape(step.outputs[0]))
            else {
                continue;
            };
            if x.broadcast(other, "Expand").is_ok_and(|shape| shape == *output) {
                step.inputs[index] = source;
            }
        }
    }
    let read: HashSet<usize> = steps.iter().flat_map(Step::reads).collect();
    steps.retain(|step| {
        name(&step.node) != "Expand"
            || step.writes().any(|id| read.contains(&id) || outputs.contains(&id))
    });
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
            packed: None,
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
    step.node = Arc::new(step.node.with(operator));
}
