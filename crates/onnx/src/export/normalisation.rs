//! Normalisation by the mean and the variance of some axes.

use dendra_nn::Size;
use dendra_tensor::ops::Attribute;
use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::graph::Graph;
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("batch_norm", Write::By(batch_norm)),
    ("layer_norm", Write::By(layer_norm)),
    ("rms_norm", Write::By(rms_norm)),
    ("group_norm", Write::By(group_norm)),
    ("cross_entropy", Write::Never("losses are left out of a model")),
];

fn batch_norm(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let channels = call.length(0, 1)? as usize;
    let [mean, variance] = ["mean", "variance"].map(|name| match call.setting(name) {
        Some(dendra_nn::Setting::Value(Attribute::Values(values))) => Some(values),
        _ => None,
    });
    let (Some(mean), Some(variance)) = (mean, variance) else {
        let axes: Vec<i64> = (0..call.rank(0) as i64).filter(|&axis| axis != 1).collect();
        let y = standardised(graph, call, call.input(0), &axes)?;
        return per_channel(graph, call, &y);
    };
    let prefix = if call.part.is_empty() { String::new() } else { format!("{}.", call.part) };
    let mean = graph.initializer(&format!("{prefix}running_mean"), call.values(mean));
    let variance = graph.initializer(&format!("{prefix}running_var"), call.values(variance));
    let mut parameter = |index: usize, default: f64| match call.optional(index) {
        Some(name) => name.to_owned(),
        None => graph.constant(call.values(&Tensor::full([channels], default))),
    };
    let (weight, bias) = (parameter(1, 1.0), parameter(2, 0.0));
    let inputs = [call.input(0), &weight, &bias, &mean, &variance];
    let settings = vec![("epsilon", call.float("epsilon")?.into())];
    Ok(graph.op_with("BatchNormalization", &inputs, settings))
}

/// (x − mean) / √(variance + ε) over some axes.
fn standardised(graph: &mut Graph, call: &Call<'_>, x: &str, axes: &[i64]) -> Result<String> {
    let mean = graph.reduce("ReduceMean", x, axes);
    let centred = graph.op("Sub", &[x, &mean]);
    unit(graph, call, &centred, axes)
}

/// x / √(mean of x² + ε) over some axes.
fn unit(graph: &mut Graph, call: &Call<'_>, x: &str, axes: &[i64]) -> Result<String> {
    let square = graph.op("Mul", &[x, x]);
    let variance = graph.reduce("ReduceMean", &square, axes);
    let epsilon = call.scalar(graph, call.float("epsilon")?);
    let variance = graph.op("Add", &[&variance, &epsilon]);
    let deviation = graph.op("Sqrt", &[&variance]);
    Ok(graph.op("Div", &[x, &deviation]))
}

/// Multiplies `[N, C, …]` by the weight `[C]` and adds the bias `[C]`, if they
/// exist.
fn per_channel(graph: &mut Graph, call: &Call<'_>, x: &str) -> Result<String> {
    let mut column = vec![Size::Fixed(1); call.rank(0) - 1];
    column[0] = Size::Fixed(-1);
    let mut y = x.to_owned();
    for (index, operator) in [(1, "Mul"), (2, "Add")] {
        if let Some(parameter) = call.optional(index) {
            let parameter = graph.reshape(parameter, &column)?;
            y = graph.op(operator, &[&y, &parameter]);
        }
    }
    Ok(y)
}

fn layer_norm(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let shape = call.ints("normalized_shape")?;
    let sizes: Vec<usize> = shape.iter().map(|&length| length as usize).collect();
    let weight = match call.optional(1) {
        Some(weight) => weight.to_owned(),
        None => graph.constant(call.values(&Tensor::ones(&sizes[..]))),
    };
    let mut inputs = vec![call.input(0), &weight];
    inputs.extend(call.optional(2));
    let settings =
        vec![("axis", (-(shape.len() as i64)).into()), ("epsilon", call.float("epsilon")?.into())];
    Ok(graph.op_with("LayerNormalization", &inputs, settings))
}

fn rms_norm(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let axes: Vec<i64> = (1..=call.ints("normalized_shape")?.len() as i64).map(|i| -i).collect();
    let y = unit(graph, call, call.input(0), &axes)?;
    Ok(match call.optional(1) {
        Some(weight) => graph.op("Mul", &[&y, weight]),
        None => y,
    })
}

/// `GroupNormalization` changed in operator set 21, so the groups are
/// normalised as channels.
fn group_norm(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let groups = call.int("groups")? as usize;
    let shape = graph.ints(&[0, groups as i64, -1]);
    let x = graph.op("Reshape", &[call.input(0), &shape]);
    let [ones, zeros] =
        [1.0, 0.0].map(|value| graph.constant(call.values(&Tensor::full([groups], value))));
    let settings = vec![("epsilon", call.float("epsilon")?.into())];
    let y = graph.op_with("InstanceNormalization", &[&x, &ones, &zeros], settings);
    let y = graph.reshape(&y, call.shape)?;
    per_channel(graph, call, &y)
}
