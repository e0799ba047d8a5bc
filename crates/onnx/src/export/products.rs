//! Matrix products and attention.

use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::graph::Graph;
use super::{Row, Write};

const NO_OPERATOR: Write = Write::Never("ONNX has no operator for it");

pub(super) const TABLE: &[Row] = &[
    ("matmul", Write::As("MatMul")),
    ("linear", Write::By(linear)),
    ("scaled_dot_product_attention", Write::By(attention)),
    ("det", Write::As("Det")),
    ("solve", NO_OPERATOR),
    ("solve_triangular", NO_OPERATOR),
    ("cholesky", NO_OPERATOR),
    ("slogdet", NO_OPERATOR),
    ("qr", NO_OPERATOR),
    ("eigh", NO_OPERATOR),
    ("svd", NO_OPERATOR),
    ("pinv", NO_OPERATOR),
    ("matrix_exp", NO_OPERATOR),
    ("rfft", Write::Never("complex numbers have another layout in ONNX")),
    ("irfft", Write::Never("complex numbers have another layout in ONNX")),
    ("fft", Write::Never("complex numbers have another layout in ONNX")),
];

fn linear(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    if call.rank(0) == 2 {
        return Ok(graph.op_with("Gemm", &call.inputs(), vec![("transB", 1.into())]));
    }
    let weight = graph.transpose(call.input(1), vec![1, 0]);
    let y = graph.op("MatMul", &[call.input(0), &weight]);
    Ok(match call.optional(2) {
        Some(bias) => graph.op("Add", &[&y, bias]),
        None => y,
    })
}

fn attention(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let rank = call.rank(0);
    let width = call.length(0, rank - 1)?;
    let scale = call.optional_float("scale")?.unwrap_or_else(|| 1.0 / (width as f64).sqrt());
    let scale = call.scalar(graph, scale);
    let mut axes: Vec<i64> = (0..rank as i64).collect();
    axes.swap(rank - 2, rank - 1);
    let query = graph.op("Mul", &[call.input(0), &scale]);
    let key = graph.transpose(call.input(1), axes);
    let mut scores = graph.op("MatMul", &[&query, &key]);
    let is_added = matches!(
        call.setting("mask"),
        Some(dendra_nn::Setting::Value(dendra_tensor::ops::Attribute::Values(_)))
    );
    let mut keep = call.tensor(graph, "mask")?;
    if let (Some(mask), true) = (&keep, is_added) {
        scores = graph.op("Add", &[&scores, mask]);
        let nothing = call.scalar(graph, f64::NEG_INFINITY);
        keep = Some(graph.op("Greater", &[mask, &nothing]));
    }
    if call.flag("is_causal")? {
        let (queries, keys) = (call.length(0, rank - 2)?, call.length(1, rank - 2)?);
        let keys = keys as usize;
        let earlier = Tensor::from_fn([queries as usize, keys], |i| i % keys <= i / keys);
        let earlier = graph.constant(earlier);
        keep = Some(match keep {
            Some(keep) => graph.op("And", &[&keep, &earlier]),
            None => earlier,
        });
    }
    // The output is 0 for a query without a used score: its scores are made
    // equal, and then all weights are set to 0.
    let Some(keep) = keep else {
        let weights = graph.op_with("Softmax", &[&scores], vec![("axis", (-1).into())]);
        return Ok(graph.op("MatMul", &[&weights, call.input(2)]));
    };
    let [least, zero] = [-1e30, 0.0].map(|number| call.scalar(graph, number));
    let scores = graph.op("Where", &[&keep, &scores, &least]);
    let weights = graph.op_with("Softmax", &[&scores], vec![("axis", (-1).into())]);
    let weights = graph.op("Where", &[&keep, &weights, &zero]);
    Ok(graph.op("MatMul", &[&weights, call.input(2)]))
}
