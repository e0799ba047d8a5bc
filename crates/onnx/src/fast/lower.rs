//! Lowers a plan: its parameters become constants.

use std::collections::HashMap;

use dendra_autograd::Param;
use dendra_tensor::{Result, Tensor};

use crate::element::ElementType;
use crate::fold::{Dequantise, fold};
use crate::plan::{Action, Node, Plan, Setting, Step};
use crate::tensor::TypedTensor;
use crate::value::Value;

/// Copies a plan with the values of the parameters, and folds normalisations
/// and factors after a convolution into its weight. The slots of inputs and
/// outputs are unchanged.
pub(super) fn lower(plan: &Plan, parameters: &[(String, Param<f32>)]) -> Plan {
    let values = plan
        .parameters
        .iter()
        .map(|&(slot, index)| (slot, Value::from(parameters[index].1.value().clone())));
    let mut lowered = Plan {
        steps: plan.steps.clone(),
        slots: plan.slots,
        inputs: plan.inputs.clone(),
        outputs: plan.outputs.clone(),
        constants: plan.constants.iter().cloned().chain(values).collect(),
        parameters: Vec::new(),
    };
    super::quantised::join(&mut lowered);
    fold(&mut lowered, Dequantise::Yes);
    fold_into_convolutions(&mut lowered);
    lowered.free_early();
    lowered
}

/// The number of reads of each slot, including the outputs of the plan.
pub(super) fn readers(plan: &Plan) -> Vec<usize> {
    let mut counts = vec![0; plan.slots];
    for step in &plan.steps {
        step.reads().for_each(|slot| counts[slot] += 1);
    }
    plan.outputs.iter().for_each(|&slot| counts[slot] += 1);
    counts
}

/// The name of a standard operator.
pub(super) fn name(node: &Node) -> &'static str {
    match &node.action {
        Action::Operator(operator) if operator.is_standard() => operator.name,
        _ => "",
    }
}

/// A factor and a term for each channel that follow a convolution.
pub(super) struct Scale {
    pub(super) factors: Vec<f64>,
    pub(super) terms: Vec<f64>,
}

fn fold_into_convolutions(plan: &mut Plan) {
    let readers = readers(plan);
    let mut constants: HashMap<usize, TypedTensor> = HashMap::new();
    for (slot, value) in &plan.constants {
        if let (Value::Tensor(x), false) = (value, plan.inputs.contains(slot)) {
            constants.insert(*slot, x.clone());
        }
    }
    let mut steps: Vec<Option<Step>> = plan.steps.drain(..).map(Some).collect();
    // The only step that reads a slot.
    let mut next: HashMap<usize, usize> = HashMap::new();
    for (index, step) in steps.iter().flatten().enumerate() {
        next.extend(step.inputs.iter().flatten().map(|&slot| (slot, index)));
    }
    for index in 0..steps.len() {
        let Some(mut conv) = steps[index].take() else { continue };
        while let Some((follower, scale)) = follower(&conv, &steps, (&readers, &next), &constants) {
            let Ok([weight, bias]) = scaled(&conv, &constants, &scale) else { break };
            conv.inputs.resize(3, None);
            for (input, value) in [(1, weight), (2, bias)] {
                constants.insert(plan.slots, value.clone());
                plan.constants.push((plan.slots, value.into()));
                conv.inputs[input] = Some(plan.slots);
                plan.slots += 1;
            }
            let taken = steps[follower].take().expect("a step that was found");
            conv.outputs = taken.outputs;
        }
        steps[index] = Some(conv);
    }
    plan.steps = steps.into_iter().flatten().collect();
    let mut is_read = vec![false; plan.slots];
    plan.steps.iter().flat_map(Step::reads).for_each(|slot| is_read[slot] = true);
    plan.outputs.iter().for_each(|&slot| is_read[slot] = true);
    plan.constants.retain(|(slot, _)| is_read[*slot]);
}

/// The only step that reads the output of a convolution, if it scales channels.
fn follower(
    conv: &Step,
    steps: &[Option<Step>],
    (readers, next): (&[usize], &HashMap<usize, usize>),
    constants: &HashMap<usize, TypedTensor>,
) -> Option<(usize, Scale)> {
    let constant = |input: &Option<usize>| {
        constants.get(&(*input)?).filter(|x| x.element() == ElementType::F32)
    };
    if name(&conv.node) != "Conv" {
        return None;
    }
    let weight = constant(&conv.inputs[1])?;
    if let Some(Some(bias)) = conv.inputs.get(2) {
        constant(&Some(*bias))?;
    }
    let [Some(output)] = conv.outputs[..] else { return None };
    if readers[output] != 1 {
        return None;
    }
    let index = *next.get(&output)?;
    let step = steps[index].as_ref()?;
    let (channels, rank) = (weight.shape()[0], weight.rank());
    let scale = match name(&step.node) {
        "BatchNormalization" if step.outputs.len() == 1 && step.inputs[0] == Some(output) => {
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| constant(&step.inputs[i]));
            scale_of(&step.node, [scale?, bias?, mean?, variance?])
        }
        function @ ("Add" | "Div" | "Mul" | "Sub") if step.node.version >= 7 => {
            let is_first = step.inputs[0] == Some(output);
            let other = constant(&step.inputs[usize::from(is_first)])?;
            arithmetic(function, is_first, &per_channel(other, channels, rank)?)
        }
        _ => None,
    }?;
    (scale.factors.len() == channels).then_some((index, scale))
}

/// The factor and term of each channel in a batch normalization.
pub(super) fn scale_of(
    node: &Node,
    [scale, bias, mean, variance]: [&TypedTensor; 4],
) -> Option<Scale> {
    if matches!(node.attributes.get("training_mode"), Some(Setting::Int(mode)) if *mode != 0) {
        return None;
    }
    let epsilon = match node.attributes.get("epsilon") {
        Some(Setting::Float(epsilon)) => f64::from(*epsilon),
        _ => f64::from(1e-5_f32),
    };
    let list = |x: &TypedTensor| Some(x.reals().ok()?.to_vec());
    let (scale, bias, mean, variance) = (list(scale)?, list(bias)?, list(mean)?, list(variance)?);
    let factors = scale.iter().zip(&variance).map(|(scale, v)| scale / (v + epsilon).sqrt());
    let factors: Vec<f64> = factors.collect();
    let terms = bias.iter().zip(mean.iter().zip(&factors)).map(|(b, (mean, f))| b - mean * f);
    Some(Scale { terms: terms.collect(), factors })
}

/// A number for each channel from a tensor that broadcasts over images.
fn per_channel(x: &TypedTensor, channels: usize, rank: usize) -> Option<Vec<f64>> {
    let values = x.reals().ok()?.to_vec();
    if values.len() == 1 && x.rank() <= rank {
        return Some(vec![values[0]; channels]);
    }
    let axis = (x.rank() + 1).checked_sub(rank)?;
    let fits = x.rank() <= rank && x.shape().get(axis) == Some(&channels);
    (fits && values.len() == channels).then_some(values)
}

/// The scale of this function of the channels and numbers.
fn arithmetic(function: &str, is_first: bool, numbers: &[f64]) -> Option<Scale> {
    let (ones, zeros) = (vec![1.0; numbers.len()], vec![0.0; numbers.len()]);
    let each = |f: fn(f64) -> f64| numbers.iter().map(|&x| f(x)).collect::<Vec<_>>();
    let [factors, terms] = match (function, is_first) {
        ("Add", _) => [ones, numbers.to_vec()],
        ("Sub", true) => [ones, each(|x| -x)],
        ("Sub", false) => [each(|_| -1.0), numbers.to_vec()],
        ("Mul", _) => [numbers.to_vec(), zeros],
        ("Div", true) => [each(|x| 1.0 / x), zeros],
        _ => return None,
    };
    let is_finite = factors.iter().chain(&terms).all(|x| x.is_finite());
    is_finite.then_some(Scale { factors, terms })
}

/// Folds a scale into the weight and the bias of a convolution.
fn scaled(
    conv: &Step,
    constants: &HashMap<usize, TypedTensor>,
    scale: &Scale,
) -> Result<[TypedTensor; 2]> {
    let constant = |index: usize| Some(&constants[&(*conv.inputs.get(index)?)?]);
    let channels = scale.factors.len();
    let weight = constant(1).expect("a convolution has a weight").f32()?.value();
    let mut scaled = weight.clone();
    let rows = scaled.make_mut().chunks_exact_mut((weight.len() / channels.max(1)).max(1));
    for (row, factor) in rows.zip(&scale.factors) {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    }
    let bias = match constant(2) {
        Some(bias) => bias.reals()?.to_vec(),
        None => vec![0.0; channels],
    };
    let sums = bias.iter().zip(scale.factors.iter().zip(&scale.terms));
    let bias = sums.map(|(bias, (factor, term))| (bias * factor + term) as f32).collect();
    Ok([scaled.into(), Tensor::from_vec(bias, [channels])?.into()])
}
