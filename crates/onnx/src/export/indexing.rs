//! Elements at computed positions.

use dendra_tensor::Result;

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("embedding", Write::By(embedding)),
    ("gather", Write::By(gather)),
    ("index_select", Write::By(index_select)),
    ("where_mask", Write::By(where_mask)),
    ("scatter", Write::By(|g, c| scatter(g, c, "none"))),
    ("scatter_add", Write::By(|g, c| scatter(g, c, "add"))),
    ("scatter_reduce", Write::By(scatter_reduce)),
    ("index_add", Write::By(index_add)),
];

fn axis(call: &Call<'_>) -> Result<Settings> {
    Ok(vec![("axis", call.int("axis")?.into())])
}

fn tensor(graph: &mut Graph, call: &Call<'_>, name: &str) -> Result<String> {
    match call.tensor(graph, name)? {
        Some(tensor) => Ok(tensor),
        None => call.refuse(format!("the setting `{name}` is missing")),
    }
}

fn embedding(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let indices = tensor(graph, call, "indices")?;
    Ok(graph.op("Gather", &[call.input(0), &indices]))
}

fn gather(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let index = tensor(graph, call, "index")?;
    Ok(graph.op_with("GatherElements", &[call.input(0), &index], axis(call)?))
}

fn index_select(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let indices = tensor(graph, call, "indices")?;
    Ok(graph.op_with("Gather", &[call.input(0), &indices], axis(call)?))
}

fn where_mask(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let mask = tensor(graph, call, "mask")?;
    Ok(graph.op("Where", &[&mask, call.input(0), call.input(1)]))
}

/// Data with the elements of a source written to, or combined with, some
/// positions.
fn scattered(
    graph: &mut Graph,
    call: &Call<'_>,
    [data, index, source]: [&str; 3],
    reduction: &'static str,
) -> Result<String> {
    let mut settings = axis(call)?;
    if reduction != "none" {
        settings.push(("reduction", reduction.into()));
    }
    Ok(graph.op_with("ScatterElements", &[data, index, source], settings))
}

/// The index, and the source sliced to its shape.
fn targets(graph: &mut Graph, call: &Call<'_>) -> Result<[String; 2]> {
    let index = tensor(graph, call, "index")?;
    let ends = graph.op("Shape", &[&index]);
    let starts = graph.ints(&vec![0; call.rank(0)]);
    let source = graph.op("Slice", &[call.input(1), &starts, &ends]);
    Ok([index, source])
}

fn scatter(graph: &mut Graph, call: &Call<'_>, reduction: &'static str) -> Result<String> {
    let [index, source] = targets(graph, call)?;
    scattered(graph, call, [call.input(0), &index, &source], reduction)
}

fn scatter_reduce(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [index, source] = targets(graph, call)?;
    let includes_self = call.flag("include_self")?;
    let (reduction, identity) = match call.text("reduction")? {
        "prod" => ("mul", 1.0),
        "amax" => ("max", f64::NEG_INFINITY),
        "amin" => ("min", f64::INFINITY),
        _ => ("add", 0.0),
    };
    let zero = call.scalar(graph, 0.0);
    let mut data = call.input(0).to_owned();
    if !includes_self {
        let identity = call.scalar(graph, identity);
        let shape = graph.op("Shape", &[&index]);
        let start = graph.op("Expand", &[&identity, &shape]);
        data = scattered(graph, call, [&data, &index, &start], "none")?;
    }
    let sums = scattered(graph, call, [&data, &index, &source], reduction)?;
    if call.text("reduction")? != "mean" {
        return Ok(sums);
    }
    // Divided by the number of elements at each position, at least 1.
    let one = call.scalar(graph, 1.0);
    let shape = graph.op("Shape", &[&index]);
    let ones = graph.op("Expand", &[&one, &shape]);
    let start = graph.op("Shape", &[call.input(0)]);
    let start = graph.op("Expand", &[if includes_self { &one } else { &zero }, &start]);
    let counts = scattered(graph, call, [&start, &index, &ones], "add")?;
    let counts = graph.op("Max", &[&counts, &one]);
    Ok(graph.op("Div", &[&sums, &counts]))
}

fn index_add(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let indices = tensor(graph, call, "indices")?;
    let along = call.axis(0, call.int("axis")?);
    let others: Vec<i64> = (0..call.rank(0) as i64).filter(|&axis| axis != along as i64).collect();
    let others = graph.ints(&others);
    let index = graph.op("Unsqueeze", &[&indices, &others]);
    let shape = graph.op("Shape", &[call.input(1)]);
    let index = graph.op("Expand", &[&index, &shape]);
    scattered(graph, call, [call.input(0), &index, call.input(1)], "add")
}
