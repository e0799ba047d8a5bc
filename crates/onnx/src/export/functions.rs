//! Functions without a gradient: comparisons, masks, integers, views.

use dendra_nn::Size;
use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("integers", Write::By(|g, c| Ok(cast(g, c.input(0), "i64")))),
    ("cast", Write::By(|g, c| Ok(cast(g, c.input(0), c.text("element")?)))),
    ("eq", Write::By(|g, c| compare(g, c, "Equal"))),
    ("ne", Write::By(not_equal)),
    ("lt", Write::By(|g, c| compare(g, c, "Less"))),
    ("le", Write::By(|g, c| compare(g, c, "LessOrEqual"))),
    ("gt", Write::By(|g, c| compare(g, c, "Greater"))),
    ("ge", Write::By(|g, c| compare(g, c, "GreaterOrEqual"))),
    ("logical_not", Write::As("Not")),
    ("logical_and", Write::As("And")),
    ("logical_or", Write::As("Or")),
    ("argmax", Write::By(|g, c| extreme(g, c, "ArgMax"))),
    ("argmin", Write::By(|g, c| extreme(g, c, "ArgMin"))),
    ("masked_fill", Write::By(masked_fill)),
    ("length_mask", Write::By(length_mask)),
    ("view", Write::By(view)),
    ("max_norm", Write::By(max_norm)),
    ("embedding_bag", Write::By(embedding_bag)),
];

/// Converts a value to another element type.
pub(super) fn cast(graph: &mut Graph, x: &str, element: &str) -> String {
    let code: i64 = match element {
        "f32" => 1,
        "i32" => 6,
        "bool" => 9,
        "f64" => 11,
        _ => 7,
    };
    graph.op_with("Cast", &[x], vec![("to", code.into())])
}

fn compare(graph: &mut Graph, call: &Call<'_>, operator: &'static str) -> Result<String> {
    let second = match call.optional(1) {
        Some(second) => second.to_owned(),
        None => graph.scalar(call.parents[0].element, call.float("number")?),
    };
    Ok(graph.op(operator, &[call.input(0), &second]))
}

fn not_equal(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let equal = compare(graph, call, "Equal")?;
    Ok(graph.op("Not", &[&equal]))
}

fn extreme(graph: &mut Graph, call: &Call<'_>, operator: &'static str) -> Result<String> {
    let settings: Settings = vec![("axis", call.int("axis")?.into()), ("keepdims", 0.into())];
    Ok(graph.op_with(operator, &[call.input(0)], settings))
}

fn masked_fill(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let value = graph.scalar(call.element, call.float("value")?);
    Ok(graph.op("Where", &[call.input(1), &value, call.input(0)]))
}

fn length_mask(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let count = call.int("length")?.max(0) as usize;
    let positions = graph.constant(Tensor::from_fn([count], |index| index as i64));
    let lengths = graph.unsqueeze(call.input(0), 1);
    Ok(graph.op("Less", &[&positions, &lengths]))
}

/// A reshape, or the elements at offset + Σ index · stride.
fn view(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [shape, strides, offset] =
        [call.sizes("shape")?, call.sizes("strides")?, call.sizes("offset")?];
    let count = |shape: &[Size]| shape.iter().map(|size| size.of(2)).product::<i64>();
    let mut dense = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        dense[axis - 1] = dense[axis] * shape[axis].of(2);
    }
    let is_dense = strides
        .iter()
        .zip(&dense)
        .zip(&shape)
        .all(|((stride, &dense), length)| stride.of(2) == dense || length.of(2) == 1);
    if is_dense && offset == [Size::Fixed(0)] && count(&shape) == count(call.parents[0].shape) {
        return graph.reshape(call.input(0), &shape);
    }
    let mut indices = graph.sizes(&offset)?;
    let [zero, one] = [0_i64, 1].map(|number| graph.constant(Tensor::scalar(number)));
    for (axis, (length, stride)) in shape.iter().zip(&strides).enumerate() {
        let length = graph.sizes(&[*length])?;
        let length = graph.squeeze(&length, 0);
        let range = graph.op("Range", &[&zero, &length, &one]);
        let stride = graph.sizes(&[*stride])?;
        let steps = graph.op("Mul", &[&range, &stride]);
        let behind: Vec<i64> = (1..(shape.len() - axis) as i64).collect();
        let behind = graph.ints(&behind);
        let steps = graph.op("Unsqueeze", &[&steps, &behind]);
        indices = graph.op("Add", &[&indices, &steps]);
    }
    if shape.is_empty() {
        indices = graph.squeeze(&indices, 0);
    }
    let flat = graph.ints(&[-1]);
    let flat = graph.op("Reshape", &[call.input(0), &flat]);
    Ok(graph.op("Gather", &[&flat, &indices]))
}

/// Limits the norm of vectors.
fn max_norm(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [p, most] = [call.float("norm_type")?, call.float("max_norm")?];
    shortened(graph, call, call.input(0), p, most)
}

fn shortened(graph: &mut Graph, call: &Call<'_>, x: &str, p: f64, most: f64) -> Result<String> {
    let norm = super::reduce::norm(graph, call.element, x, p, &[-1]);
    let [most, small, one] = [most, 1e-7, 1.0].map(|number| call.scalar(graph, number));
    let is_long = graph.op("Greater", &[&norm, &most]);
    let norm = graph.op("Add", &[&norm, &small]);
    let scale = graph.op("Div", &[&most, &norm]);
    let scale = graph.op("Where", &[&is_long, &scale, &one]);
    Ok(graph.op("Mul", &[x, &scale]))
}

/// Bags `[N, L]`. Bags that are given by offsets have no fixed length.
fn embedding_bag(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    if call.rank(1) != 2 {
        return call.refuse("only bags of shape [N, L] can be exported, not those with offsets");
    }
    let numbers = call.input(1);
    let mut vectors = graph.op("Gather", &[call.input(0), numbers]);
    if let Some(most) = call.optional_float("max_norm")? {
        vectors = shortened(graph, call, &vectors, call.float("norm_type")?, most)?;
    }
    if let Some(weights) = call.optional(2) {
        let weights = graph.unsqueeze(weights, 2);
        vectors = graph.op("Mul", &[&vectors, &weights]);
    }
    let mode = call.text("mode")?;
    let [zero, one] = [0.0, 1.0].map(|number| call.scalar(graph, number));
    let counted = match call.optional_int("padding_idx")? {
        Some(padding) => {
            let padding = graph.constant(Tensor::scalar(padding));
            let is_padding = graph.op("Equal", &[numbers, &padding]);
            let is_padding = graph.unsqueeze(&is_padding, 2);
            let by = if mode == "maximum" { f64::NEG_INFINITY } else { 0.0 };
            let by = call.scalar(graph, by);
            vectors = graph.op("Where", &[&is_padding, &by, &vectors]);
            let counted = graph.op("Not", &[&is_padding]);
            cast(graph, &counted, call.element)
        }
        None => {
            let length = call.length(1, 1)?;
            call.scalar(graph, length.max(1) as f64)
        }
    };
    let axes = graph.ints(&[1]);
    let no_axis: Settings = vec![("keepdims", 0.into())];
    let operator = if mode == "maximum" { "ReduceMax" } else { "ReduceSum" };
    let bags = graph.op_with(operator, &[&vectors, &axes], no_axis.clone());
    if call.optional_int("padding_idx")?.is_none() {
        return Ok(if mode == "mean" { graph.op("Div", &[&bags, &counted]) } else { bags });
    }
    let count = graph.op_with("ReduceSum", &[&counted, &axes], no_axis);
    Ok(match mode {
        "mean" => {
            let count = graph.op("Max", &[&count, &one]);
            graph.op("Div", &[&bags, &count])
        }
        // An empty bag gives 0.
        "maximum" => {
            let is_empty = graph.op("Equal", &[&count, &zero]);
            graph.op("Where", &[&is_empty, &zero, &bags])
        }
        _ => bags,
    })
}
