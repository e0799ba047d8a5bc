//! Training that knows of the rounding: fake quantisation.
//!
//! [`prepare`] gives each linear layer and each 2-d convolution of a network
//! inputs and weights that are rounded as they will be, while gradients pass
//! through the rounding as if it were none (Jacob et al., "Quantization and
//! training of neural networks for efficient integer-arithmetic-only inference",
//! 2018). The network is trained by a `Trainer` like any other, and
//! [`finish`] makes a [`Quantised`] network of it.

use std::collections::BTreeMap;
use std::fmt;

use dendra_autograd::{AnyTensor, Buffer, Entry, EntryMut, Param, Parameters, Path, Var};
use dendra_nn::layers::{ConvSettings, LinearSettings};
use dendra_nn::{
    Conv2d, Layer, Linear, Module, SavedLayer, Sequential, Source, StateFile, register_layer,
};
use dendra_tensor::{Error, Ops, Result, Tensor};
use serde_json::{Map, Value, json};

use crate::affine::{Affine, SEVEN_BITS, by_filter};
use crate::kernels::{dequantise, quantise};
use crate::quantised::Quantised;
use crate::quantizer::{Quantizer, Scheme};

/// The metadata key of a network's architecture.
const ARCHITECTURE: &str = "dendra.sequential";
/// The name of the buffer that has the range of a layer's inputs.
const RANGE: &str = "input_range";
/// How far the range moves towards that of a batch.
const MOMENTUM: f64 = 0.05;
/// The kinds of layers that are prepared, with the names of what they become.
const KINDS: [(&str, &str); 2] =
    [("Linear", "QuantisationAwareLinear"), ("Conv2d", "QuantisationAwareConv2d")];

/// A layer with a weight, in which it is linear.
trait Weighted: Module + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static {
    fn weight(&self) -> &Param;
    /// The layer with another weight, which is not trained, and no bias.
    fn with_constant(&self, weight: Tensor<f32>) -> Self;
}

macro_rules! weighted {
    ($($layer:ty)*) => {$(
        impl Weighted for $layer {
            fn weight(&self) -> &Param {
                &self.weight
            }

            fn with_constant(&self, weight: Tensor<f32>) -> Self {
                let mut layer = self.clone();
                layer.weight = Param::new(weight);
                layer.weight.set_trainable(false);
                layer.bias = None;
                layer
            }
        }
    )*};
}
weighted! { Linear Conv2d }

/// A layer whose inputs and weights are rounded as they will be when it is
/// quantised, with the range of its inputs.
#[derive(Clone, Debug)]
struct Aware<L, S> {
    layer: L,
    settings: S,
    /// The least and the largest input: `[2]`, both 0 before training.
    range: Buffer,
}

impl<L: Weighted, S: Clone + Send + Sync + 'static> Parameters for Aware<L, S> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
        self.layer.visit(path, visitor);
        path.enter(RANGE, |path| visitor(path, Entry::Buffer(&self.range)));
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
    ) {
        self.layer.visit_mut(path, visitor);
        path.enter(RANGE, |path| visitor(path, EntryMut::Buffer(&mut self.range)));
    }
}

impl<L: Weighted, S: Clone + Send + Sync + 'static> Module for Aware<L, S> {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.rounded_input(x)?;
        let weight = self.layer.weight().value();
        let (integers, scales) = by_filter(&weight.to_vec(), weight.shape()[0], SEVEN_BITS);
        let depth = integers.len() / scales.len().max(1);
        let values = weight.to_vec();
        let change = Tensor::from_fn(weight.shape().clone(), |index| {
            f32::from(integers[index]) * scales[index / depth] - values[index]
        });
        // The layer is linear in its weight, so the change by rounding, which is a
        // constant for gradients, can be added to the output.
        let change = self.layer.with_constant(change).forward(&x)?;
        self.layer.forward(&x)?.add(&change)
    }
}

impl<L: Weighted, S> Aware<L, S> {
    /// The input as its bytes tell it. In training its range is learnt.
    fn rounded_input(&self, x: &Var) -> Result<Var> {
        let mut range = [0, 1].map(|index| self.range.value().to_vec()[index]);
        if let Some(tape) = x.tape().filter(|tape| tape.is_training()) {
            let values = x.value().to_vec();
            let batch =
                values.iter().fold([0.0_f32; 2], |[low, high], &x| [low.min(x), high.max(x)]);
            let is_first = range == [0.0; 2];
            let weight = if is_first { 1.0 } else { MOMENTUM };
            tape.update_towards(&self.range, Tensor::from(batch), weight);
            if is_first {
                range = batch;
            }
        }
        if range == [0.0; 2] || !range.iter().all(|bound| bound.is_finite()) {
            return Ok(x.clone());
        }
        let unit = Affine::of_range(range[0], range[1]);
        let value = |byte: u8| f64::from((f32::from(byte) - f32::from(unit.zero)) * unit.scale);
        // Outside of the range the gradient is 0.
        let limited = x.clamp(value(0), value(255));
        let values = limited.value().to_vec();
        let mut bytes = vec![0; values.len()];
        quantise(&values, unit.scale, unit.zero, &mut bytes);
        let mut rounded = vec![0.0; values.len()];
        dequantise(&bytes, unit.scale, unit.zero, &mut rounded);
        let change = rounded.iter().zip(&values).map(|(rounded, x)| rounded - x).collect();
        limited.add(&Var::new(Tensor::from_vec(change, x.shape().clone())?))
    }
}

macro_rules! aware_layers {
    ($($layer:ty, $settings:ty, $index:literal;)*) => {$(
        impl Layer for Aware<$layer, $settings> {
            fn description(&self) -> String {
                format!("{} (quantisation-aware)", self.layer)
            }
        }

        impl SavedLayer for Aware<$layer, $settings> {
            const KIND: &'static str = KINDS[$index].1;
            type Settings = $settings;

            fn settings(&self) -> $settings {
                self.settings.clone()
            }

            fn from_settings(settings: $settings) -> Result<Self> {
                let layer = settings.init_from(&mut Source::Blank)?;
                Ok(Self { layer, settings, range: Buffer::new(Tensor::zeros([2])) })
            }
        }
    )*};
}
aware_layers! {
    Linear, LinearSettings, 0;
    Conv2d, ConvSettings<2>, 1;
}

/// Makes the layers of a network aware of quantisation: its linear layers and
/// 2-d convolutions, also those in residual blocks, branches and nested networks.
/// Parameters keep their names and values; each such layer has the range of its
/// inputs besides, which training finds.
///
/// # Errors
///
/// When the network has a layer that files cannot hold.
///
/// ```
/// use dendra_nn::autograd::Tape;
/// use dendra_nn::tensor::{Ops, Rng, Tensor};
/// use dendra_nn::{Module, Parameters, Sequential};
/// use dendra_quant::aware;
///
/// let rng = &mut Rng::seed(1);
/// let model = Sequential::input([4]).dense(8).relu().dense(3).build(rng)?;
/// let mut model = aware::prepare(&model)?;
/// let x = Tensor::<f32>::normal([32, 4], 0.0, 1.0, rng);
/// let output = model.forward(&Tape::training(0, 0).input(x.clone()))?;
/// let gradients = output.square().mean().backward()?;
/// model.apply_updates(&gradients)?; // what a `Trainer` does
/// let quantised = aware::finish(&model, &x)?;
/// assert_eq!(*quantised.predict(&x)?.shape(), [32, 3]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
pub fn prepare(model: &Sequential) -> Result<Sequential> {
    register()?;
    let StateFile { mut state, metadata } = model.to_file()?;
    let metadata = rewritten(metadata, &mut |path, layer| {
        let kind = layer.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let Some((_, aware)) = KINDS.iter().find(|(known, _)| *known == kind) {
            layer.remove("kind");
            let settings = std::mem::take(layer);
            layer.insert("kind".to_owned(), json!(aware));
            layer.insert("settings".to_owned(), Value::Object(settings));
            state.insert(format!("{path}.{RANGE}"), Tensor::<f32>::zeros([2]));
        }
    })?;
    Sequential::from_file(StateFile { state, metadata }, "aware::prepare")
}

/// The network of [`prepare`] without awareness, and the ranges that training
/// found, by layer.
///
/// # Errors
///
/// When the network was not made by [`prepare`].
pub fn restore(model: &Sequential) -> Result<(Sequential, BTreeMap<String, [f32; 2]>)> {
    let StateFile { mut state, metadata } = model.to_file()?;
    let mut ranges = BTreeMap::new();
    let metadata = rewritten(metadata, &mut |path, layer| {
        let kind = layer.get("kind").and_then(Value::as_str).unwrap_or_default();
        let Some((kind, _)) = KINDS.iter().find(|(_, known)| *known == kind) else { return };
        if let Some(Value::Object(mut settings)) = layer.remove("settings") {
            settings.insert("kind".to_owned(), json!(kind));
            *layer = settings;
        }
        if let Some(AnyTensor::F32(range)) = state.remove(&format!("{path}.{RANGE}"))
            && let [low, high] = range.to_vec()[..]
        {
            ranges.insert(path.to_owned(), [low, high]);
        }
    })?;
    if ranges.is_empty() {
        let message = "expected a network of `aware::prepare`";
        return Err(Error::argument("aware::restore", message));
    }
    Ok((Sequential::from_file(StateFile { state, metadata }, "aware::restore")?, ranges))
}

/// The static network of integers of a trained network of [`prepare`]. The ranges
/// of the inputs of layers are those that training found; others, such as those
/// of sums, are those of `inputs`.
///
/// # Errors
///
/// When the network was not made by [`prepare`], or does not accept the inputs.
pub fn finish(model: &Sequential, inputs: &Tensor<f32>) -> Result<Quantised> {
    let (plain, ranges) = restore(model)?;
    let mut quantizer = Quantizer::of(&plain, inputs)?;
    quantizer.observe(inputs)?;
    for (layer, range) in ranges.into_iter().filter(|(_, range)| *range != [0.0; 2]) {
        quantizer.give_range(&layer, range);
    }
    quantizer.finish(Scheme::Static)
}

/// Lets files hold the layers of [`prepare`], so that `Sequential::load` and
/// checkpoints read them. [`prepare`] calls it.
///
/// # Errors
///
/// When another kind of layer has one of the names.
pub fn register() -> Result<()> {
    register_layer::<Aware<Linear, LinearSettings>>()?;
    register_layer::<Aware<Conv2d, ConvSettings<2>>>()
}

/// The metadata with an architecture in which `change` changed each layer, which
/// it gets with its path.
fn rewritten(
    mut metadata: BTreeMap<String, String>,
    change: &mut dyn FnMut(&str, &mut Map<String, Value>),
) -> Result<BTreeMap<String, String>> {
    let text = metadata.get(ARCHITECTURE).map_or("null", String::as_str);
    let wrong = |error: serde_json::Error| Error::argument("aware", error.to_string());
    let mut architecture: Value = serde_json::from_str(text).map_err(wrong)?;
    if let Some(layers) = architecture.get_mut("layers") {
        walk(layers, "", change);
    }
    metadata.insert(ARCHITECTURE.to_owned(), architecture.to_string());
    Ok(metadata)
}

fn walk(layers: &mut Value, path: &str, change: &mut dyn FnMut(&str, &mut Map<String, Value>)) {
    for (index, planned) in layers.as_array_mut().into_iter().flatten().enumerate() {
        let name = planned.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| index.to_string(), str::to_owned);
        let path = if path.is_empty() { name } else { format!("{path}.{name}") };
        let Some(Value::Object(layer)) = planned.get_mut("layer") else { continue };
        // The blocks of nested networks, residual blocks and branches.
        for inner in ["layers", "block"] {
            if let Some(layers) = layer.get_mut(inner) {
                walk(layers, &path, change);
            }
        }
        let branches = layer.get_mut("branches").and_then(Value::as_array_mut);
        for (index, branch) in branches.into_iter().flatten().enumerate() {
            walk(branch, &format!("{path}.{index}"), change);
        }
        change(&path, layer);
    }
}
