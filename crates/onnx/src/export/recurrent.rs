//! Recurrent layers in one direction.

use dendra_nn::Setting;
use dendra_tensor::ops::Attribute;
use dendra_tensor::{AnyTensor, Result};

use super::call::{Call, Known};
use super::graph::Graph;
use super::{Row, Write, functions};

pub(super) const TABLE: &[Row] = &[
    ("lstm", Write::By(|g, c| recurrent(g, c, &LSTM))),
    ("gru", Write::By(|g, c| recurrent(g, c, &GRU))),
    ("rnn", Write::By(|g, c| recurrent(g, c, &RNN))),
];

/// A kind of cell.
struct Cell {
    operator: &'static str,
    /// For each gate in ONNX's order, its index in the order of traces.
    gates: &'static [i64],
    states: usize,
}

/// The order i, o, f, c from i, f, g, o.
const LSTM: Cell = Cell { operator: "LSTM", gates: &[0, 3, 1, 2], states: 2 };
/// The order z, r, h from r, z, n.
const GRU: Cell = Cell { operator: "GRU", gates: &[1, 0, 2], states: 1 };
const RNN: Cell = Cell { operator: "RNN", gates: &[0], states: 1 };

fn recurrent(graph: &mut Graph, call: &Call<'_>, cell: &Cell) -> Result<String> {
    let hidden = call.length(1, 1)?;
    let first = 1 + cell.states;
    let weights = [first, first + 1].map(|index| {
        let weight = reordered(graph, call, index, cell);
        graph.unsqueeze(&weight, 0)
    });
    let bias = if call.parents.len() > first + 2 {
        let [b, d] = [first + 2, first + 3].map(|index| reordered(graph, call, index, cell));
        let both = graph.op_with("Concat", &[&b, &d], vec![("axis", 0.into())]);
        graph.unsqueeze(&both, 0)
    } else {
        String::new()
    };
    let lengths = match call.setting("lengths") {
        None | Some(Setting::Value(Attribute::None)) => String::new(),
        _ => {
            let lengths = call.tensor(graph, "lengths")?.unwrap_or_default();
            functions::cast(graph, &lengths, "i32")
        }
    };
    let mut inputs = vec![call.input(0).to_owned(), weights[0].clone(), weights[1].clone()];
    inputs.extend([bias, lengths]);
    for state in 1..first {
        inputs.push(graph.unsqueeze(call.input(state), 0));
    }
    let mut settings = vec![("hidden_size", hidden.into())];
    if call.flag("reverse")? {
        settings.push(("direction", "reverse".into()));
    }
    match cell.operator {
        // The reset gate is applied after the product.
        "GRU" => settings.push(("linear_before_reset", 1.into())),
        "RNN" => {
            let is_relu = call.text("nonlinearity")? == "relu";
            settings.push(("activations", vec![if is_relu { "Relu" } else { "Tanh" }].into()));
        }
        _ => {}
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut outputs = Vec::new();
    if cell.states == 2 {
        outputs.extend::<[String; 3]>(graph.ops_with(cell.operator, &inputs, settings));
    } else {
        outputs.extend::<[String; 2]>(graph.ops_with(cell.operator, &inputs, settings));
    }
    let steps = graph.squeeze(&outputs[0], 1);
    let mut parts = vec![(call.length(0, 0)?, steps)];
    parts.extend(outputs.drain(1..).map(|state| (1, state)));
    Ok(graph.join(parts))
}

/// A weight or bias with its gates in ONNX's order.
fn reordered(graph: &mut Graph, call: &Call<'_>, index: usize, cell: &Cell) -> String {
    if cell.gates.len() == 1 {
        return call.input(index).to_owned();
    }
    let Known { shape, .. } = call.parents[index];
    let rows = shape[0].of(1) / cell.gates.len() as i64;
    let order = cell.gates.iter().flat_map(|gate| gate * rows..(gate + 1) * rows);
    let order: Vec<usize> = order.map(|row| row as usize).collect();
    let Some(value) = &call.parents[index].value else {
        let order: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let order = graph.ints(&order);
        return graph.op("Gather", &[call.input(index), &order]);
    };
    match value.index_select(0, &order) {
        Ok(value) => named(graph, call.input(index), value),
        Err(_) => call.input(index).to_owned(),
    }
}

/// A changed parameter, named after the original one.
fn named(graph: &mut Graph, parameter: &str, value: AnyTensor) -> String {
    graph.initializer(&format!("{parameter}/reordered"), value)
}
