//! The Open Inference Protocol (KServe, version 2) over REST, with the
//! extension for binary tensors.

pub(crate) mod data;
pub(crate) mod datatype;
pub(crate) mod request;
pub(crate) mod response;

use dendra_deploy::{Axis, Network, TensorInfo};
use serde_json::{Value as Json, json};

use crate::models::VERSION;

/// The metadata of a model: its inputs and outputs. An axis of any length is
/// −1.
pub(crate) fn metadata(name: &str, network: &Network) -> Json {
    let tensor = |info: &TensorInfo| {
        let length = |axis: &Axis| match axis {
            Axis::Fixed(length) => json!(length),
            Axis::Free(_) => json!(-1),
        };
        let shape: Option<Vec<Json>> =
            info.axes.as_ref().map(|axes| axes.iter().map(length).collect());
        json!({
            "name": info.name,
            "datatype": datatype::name(info.element),
            "shape": shape.unwrap_or_else(|| vec![json!(-1)]),
        })
    };
    json!({
        "name": name,
        "versions": [VERSION],
        "platform": platform(network),
        "inputs": network.inputs().iter().map(tensor).collect::<Vec<_>>(),
        "outputs": network.outputs().iter().map(tensor).collect::<Vec<_>>(),
    })
}

fn platform(network: &Network) -> String {
    format!("dendra_{}", network.format().to_string().to_lowercase())
}

/// The model configuration in the format that Triton's clients expect from
/// `/config`.
pub(crate) fn config(name: &str, network: &Network, batch: usize) -> Json {
    let tensor = |info: &TensorInfo| {
        let length = |axis: &Axis| match axis {
            Axis::Fixed(length) => *length as i64,
            Axis::Free(_) => -1,
        };
        let axes = info.axes.iter().flatten();
        let skipped = usize::from(network.has_independent_samples());
        json!({
            "name": info.name,
            "data_type": match datatype::name(info.element) {
                "BYTES" => "TYPE_STRING".to_owned(),
                name => format!("TYPE_{name}"),
            },
            "dims": axes.skip(skipped).map(length).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": name,
        "platform": platform(network),
        "backend": "dendra",
        "max_batch_size": if network.has_independent_samples() { batch } else { 0 },
        "input": network.inputs().iter().map(tensor).collect::<Vec<_>>(),
        "output": network.outputs().iter().map(tensor).collect::<Vec<_>>(),
    })
}
