//! Reductions, running sums and softmax.

use dendra_tensor::Result;

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("sum", Write::By(|g, c| reduce(g, c, "ReduceSum"))),
    ("prod", Write::By(|g, c| reduce(g, c, "ReduceProd"))),
    ("max", Write::By(|g, c| reduce(g, c, "ReduceMax"))),
    ("min", Write::By(|g, c| reduce(g, c, "ReduceMin"))),
    ("norm", Write::By(norm_axes)),
    ("cumsum", Write::By(cumsum)),
    ("cumprod", Write::By(cumprod)),
    ("logcumsumexp", Write::Never("ONNX has no operator for it")),
    ("softmax", Write::By(|g, c| along(g, c, "Softmax"))),
    ("log_softmax", Write::By(|g, c| along(g, c, "LogSoftmax"))),
];

fn along(graph: &mut Graph, call: &Call<'_>, operator: &'static str) -> Result<String> {
    Ok(graph.op_with(operator, &[call.input(0)], vec![("axis", call.int("axis")?.into())]))
}

fn reduce(graph: &mut Graph, call: &Call<'_>, operator: &'static str) -> Result<String> {
    let axes = graph.ints(&call.axes("axes")?);
    let settings: Settings = vec![
        ("keepdims", i64::from(call.flag("keep")?).into()),
        // A reduction over no axes changes nothing.
        ("noop_with_empty_axes", 1.into()),
    ];
    Ok(graph.op_with(operator, &[call.input(0), &axes], settings))
}

fn norm_axes(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let axes = call.axes("axes")?;
    if axes.is_empty() {
        return Ok(graph.op("Abs", &[call.input(0)]));
    }
    let norm = norm(graph, call.element, call.input(0), call.float("p")?, &axes);
    if call.flag("keep")? {
        return Ok(norm);
    }
    let axes = graph.ints(&axes);
    Ok(graph.op("Squeeze", &[&norm, &axes]))
}

/// (Σ |x|ᵖ)^(1/p) over some axes, which are kept.
pub(super) fn norm(graph: &mut Graph, element: &str, x: &str, p: f64, axes: &[i64]) -> String {
    match p {
        1.0 => graph.reduce("ReduceL1", x, axes),
        2.0 => graph.reduce("ReduceL2", x, axes),
        f64::INFINITY => {
            let sizes = graph.op("Abs", &[x]);
            graph.reduce("ReduceMax", &sizes, axes)
        }
        _ => {
            let [power, root] = [p, 1.0 / p].map(|number| graph.scalar(element, number));
            let sizes = graph.op("Abs", &[x]);
            let powers = graph.op("Pow", &[&sizes, &power]);
            let sums = graph.reduce("ReduceSum", &powers, axes);
            graph.op("Pow", &[&sums, &root])
        }
    }
}

fn cumsum(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let axis = graph.scalar("i64", call.int("axis")? as f64);
    Ok(graph.op("CumSum", &[call.input(0), &axis]))
}

/// Multiplies each element by the one 1, 2, 4 … positions before it. After k
/// steps it is the product of 2ᵏ elements.
fn cumprod(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let axis = call.axis(0, call.int("axis")?);
    let length = call.length(0, axis)?;
    let one = call.scalar(graph, 1.0);
    let axes = graph.ints(&[axis as i64]);
    let mut y = call.input(0).to_owned();
    let mut distance = 1;
    while distance < length {
        let pads = graph.ints(&[distance, -distance]);
        let earlier = graph.op("Pad", &[&y, &pads, &one, &axes]);
        y = graph.op("Mul", &[&y, &earlier]);
        distance *= 2;
    }
    Ok(if length > 1 { y } else { graph.op("Identity", &[&y]) })
}
