//! Networks of integers: floats that are quantised and dequantised around each
//! operation, which runtimes join to operators of integers.

use std::collections::HashMap;

use dendra_quant::{Affine, IntegerLayer, Quantised};
use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::elementwise::clipped;
use super::graph::{Graph, Settings};
use super::windows::convolution;

/// The layers of a network by the node that has their inputs, and the nodes that
/// they replace besides that one.
#[derive(Default)]
pub(super) struct Integers<'a> {
    network: Option<&'a Quantised>,
    layers: HashMap<usize, IntegerLayer<'a>>,
    /// The node of a layer's inputs, by a node that belongs to the layer.
    members: HashMap<usize, usize>,
}

impl<'a> Integers<'a> {
    pub(super) fn of(network: &'a Quantised) -> Self {
        let layers: HashMap<usize, IntegerLayer<'a>> =
            network.integer_layers().map(|layer| (layer.node, layer)).collect();
        let members = layers
            .values()
            .flat_map(|layer| layer.nodes.iter().skip(1).map(|&node| (node, layer.node)));
        Self { network: Some(network), members: members.collect(), layers }
    }

    pub(super) fn layer(&self, node: usize) -> Option<&IntegerLayer<'a>> {
        self.layers.get(&node)
    }

    /// The node whose value a part of a layer has, such as its activation.
    pub(super) fn within(&self, node: usize) -> Option<usize> {
        self.members.get(&node).copied()
    }

    pub(super) fn unit(&self, node: usize) -> Option<Affine> {
        self.network?.unit(node)
    }
}

/// A value as its bytes tell it.
pub(super) fn rounded(graph: &mut Graph, x: &str, unit: Affine) -> String {
    let scale = graph.constant(Tensor::scalar(unit.scale));
    let zero = graph.constant(Tensor::scalar(unit.zero));
    let bytes = graph.op("QuantizeLinear", &[x, &scale, &zero]);
    graph.op("DequantizeLinear", &[&bytes, &scale, &zero])
}

/// A layer of integers. `is_rounded` says that its input is told by bytes.
pub(super) fn write(
    graph: &mut Graph,
    call: &Call<'_>,
    layer: &IntegerLayer<'_>,
    is_rounded: bool,
    operation: &str,
) -> Result<String> {
    let mut x = call.input(0).to_owned();
    if !is_rounded {
        x = rounded(graph, &x, layer.input);
    }
    let is_matrix = operation == "linear" && call.rank(0) != 2;
    let mut integers = layer.weights.integers.clone();
    if is_matrix {
        integers = integers.permute(&[1, 0])?.contiguous();
    }
    let filters = if is_matrix { 1 } else { 0 };
    let scales = layer.weights.scales.clone();
    let units = scales.map(|scale| layer.input.scale * scale);
    let bias = Tensor::from_vec(layer.bias.to_vec(), [layer.bias.len()])?;
    let weight = graph.initializer(&format!("{}.weight", layer.name), integers.into());
    let scales = graph.initializer(&format!("{}.weight.scale", layer.name), scales.into());
    let along = |axis: i64| -> Settings { vec![("axis", axis.into())] };
    let weight = graph.op_with("DequantizeLinear", &[&weight, &scales], along(filters));
    let bias = graph.initializer(&format!("{}.bias", layer.name), bias.into());
    let units = graph.initializer(&format!("{}.bias.scale", layer.name), units.into());
    let bias = graph.op_with("DequantizeLinear", &[&bias, &units], along(0));
    let mut y = match operation {
        "linear" if is_matrix => {
            let y = graph.op("MatMul", &[&x, &weight]);
            graph.op("Add", &[&y, &bias])
        }
        "linear" => graph.op_with("Gemm", &[&x, &weight, &bias], vec![("transB", 1.into())]),
        _ => graph.op_with("Conv", &[&x, &weight, &bias], convolution(call)?),
    };
    y = match layer.limits {
        [low, high] if low == 0.0 && high == f32::INFINITY => graph.op("Relu", &[&y]),
        [low, high] if low > f32::NEG_INFINITY || high < f32::INFINITY => {
            clipped(graph, call, &y, [low, high].map(f64::from))
        }
        _ => y,
    };
    if let Some(unit) = layer.output {
        y = rounded(graph, &y, unit);
    }
    if operation == "conv2d_relu" && call.flag("max_pool")? {
        let settings = vec![("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
        y = graph.op_with("MaxPool", &[&y], settings);
        if let Some(unit) = layer.output {
            y = rounded(graph, &y, unit);
        }
    }
    Ok(y)
}
