//! Keras's layers: names, axes and gates.

use std::collections::{BTreeMap, HashMap};

use dendra_tensor::{AnyTensor, Error, Result, Tensor};
use serde_json::Value;

use crate::keras::MODEL_CONFIG;
use crate::values::Step;
use crate::weights::{Format, Weight, Weights};

impl Weights {
    /// Converts the weights of a Keras model to the names and layouts of this
    /// library. The name of a layer is a prefix of its parameters:
    /// `dense.weight`.
    ///
    /// - `Dense`: the kernel is transposed.
    /// - Convolutions, including transposed ones: the axes of the kernel change
    ///   from `[…, inputs, outputs]` to `[outputs, inputs, …]`.
    /// - `DepthwiseConv1D`, `DepthwiseConv2D`: the kernel becomes `[channels ·
    ///   multiplier, 1, …]`. `SeparableConv1D` and `SeparableConv2D` become the
    ///   layers `NAME.depthwise` and `NAME.pointwise`.
    /// - `BatchNormalization`: `weight`, `bias`, `running_mean`, `running_var`.
    /// - `LayerNormalization`, `GroupNormalization`, `RMSNormalization`:
    ///   `weight`, `bias`. `Embedding`, `PReLU`: `weight`.
    /// - `LSTM`, `GRU`, `SimpleRNN`, also in `Bidirectional`: `weight_ih_l0`,
    ///   `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`. The gates of a GRU change
    ///   from z, r, h to r, z, n. Where Keras has one bias, the second is zero.
    ///
    /// A layer of another kind keeps its paths and layouts. The state of the
    /// optimizer and of random generators is left out. A linear layer after a
    /// flattening layer needs [`from_channels_last`](Self::from_channels_last),
    /// and a batch normalisation needs Keras's `epsilon`, 0.001 by default.
    ///
    /// # Errors
    ///
    /// When the file is not a Keras file, when a layer does not have the
    /// variables of its kind, or for a GRU with `reset_after=False`, which uses
    /// another formula.
    pub fn from_keras_layout(&self) -> Result<Self> {
        if self.format() != Format::Keras {
            let message =
                format!("expected a file of Keras, {} is {}", self.path().display(), self.format());
            return Err(Error::argument("Weights::from_keras_layout", message));
        }
        let mut classes = HashMap::new();
        if let Some(config) = self.metadata().get(MODEL_CONFIG) {
            collect_classes(config, &mut classes);
        }
        let mut converted = Vec::new();
        for variable in self.variables(&classes) {
            let name = variable.weight.name().to_owned();
            let weights = variable.convert().map_err(|message| {
                Error::file(self.path(), format!("tensor {name:?}: {message}"))
            })?;
            converted.extend(weights);
        }
        self.with(converted)
    }

    /// The variables of layers, in the order of the file.
    fn variables<'a>(&'a self, classes: &HashMap<String, Class>) -> Vec<Variable<'a>> {
        let mut variables = Vec::new();
        // The number of numbered variables of each layer.
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for weight in self.iter() {
            if let Some((owner, _)) = weight.name().split_once("/vars/") {
                *counts.entry(owner).or_default() += 1;
            }
        }
        for weight in self.iter() {
            let path = weight.name();
            let first = path.split('/').next().unwrap_or_default();
            let is_state = matches!(first, "optimizer" | "optimizer_weights")
                || path.split('/').any(|part| part.starts_with("seed_generator"));
            if is_state {
                continue;
            }
            variables.push(match path.split_once("/vars/") {
                Some((owner, number)) => {
                    self.numbered(weight, owner, number, counts[owner], classes)
                }
                None => named(weight, classes),
            });
        }
        variables
    }

    /// A variable of a file of Keras 3, such as `layers/dense/vars/0`.
    fn numbered<'a>(
        &self,
        weight: &'a Weight,
        owner: &str,
        number: &str,
        count: usize,
        classes: &HashMap<String, Class>,
    ) -> Variable<'a> {
        let mut variable = Variable::new(weight);
        let mut prefix = String::new();
        for part in owner.split('/') {
            if !prefix.is_empty() {
                prefix.push('/');
            }
            prefix.push_str(part);
            let given = self.metadata().get(&format!("{prefix}/vars@name"));
            let given = given.and_then(Value::as_str).unwrap_or(part);
            match part {
                "layers" | "_layer_checkpoint_dependencies" | "forward_layer" => {}
                "backward_layer" => variable.backward = true,
                // The enclosing layer may be bidirectional.
                "cell" => {
                    if let Some(class) = kind_of(given).strip_suffix("_cell") {
                        variable.class = class.to_owned();
                    }
                }
                _ => {
                    // The name that the user gave, or the name of the class
                    // with a number.
                    variable.layer.push(given.to_owned());
                    variable.class = kind_of(part).to_owned();
                }
            }
        }
        let class = variable.layer.last().and_then(|name| classes.get(name));
        let names = names_of(&variable.class, count, class);
        let name = number.parse().ok().and_then(|number: usize| names.get(number).copied());
        variable.name = name.unwrap_or_default().to_owned();
        variable
    }
}

/// A variable of a file of Keras 2, such as
/// `model_weights/gru/sequential/gru/gru_cell/kernel:0`.
fn named<'a>(weight: &'a Weight, classes: &HashMap<String, Class>) -> Variable<'a> {
    let mut variable = Variable::new(weight);
    let path = weight.name().strip_prefix("model_weights/").unwrap_or(weight.name());
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    variable.name = name.split(':').next().unwrap_or_default().to_owned();
    variable.backward = parts.iter().any(|part| part.starts_with("backward_"));
    let Some(&layer) = parts.first() else { return variable };
    variable.layer.push(layer.to_owned());
    let mut inner = layer;
    if classes.get(layer).is_some_and(|class| class.is_model) {
        // The last part that is a layer is the one in the inner model.
        let known = parts.iter().rev().find(|part| classes.contains_key(**part));
        inner = known.copied().unwrap_or(layer);
        variable.layer.push(inner.to_owned());
    }
    let class = classes.get(inner).map(|class| class.name.clone());
    variable.class = class.unwrap_or_else(|| kind_of(inner).to_owned());
    if variable.class == "bidirectional"
        && let Some(cell) = parts.last()
    {
        variable.class = kind_of(cell.trim_end_matches("_cell")).to_owned();
    }
    variable
}

/// The configuration of a layer.
struct Class {
    /// The class, such as `conv2d`.
    name: String,
    /// Whether the layer contains layers.
    is_model: bool,
    /// `scale` and `center` of a normalisation.
    scale: bool,
    center: bool,
}

/// The class of each layer by name. The depth of the JSON is limited.
fn collect_classes(config: &Value, classes: &mut HashMap<String, Class>) {
    match config {
        Value::Array(values) => values.iter().for_each(|value| collect_classes(value, classes)),
        Value::Object(object) => {
            let settings = object.get("config");
            let setting = |name: &str| settings?.get(name);
            let class = object.get("class_name").and_then(Value::as_str);
            if let (Some(class), Some(name)) = (class, setting("name").and_then(Value::as_str)) {
                let on = |name| setting(name).and_then(Value::as_bool).unwrap_or(true);
                let is_model = setting("layers").is_some();
                let class = Class {
                    name: snake_case(class),
                    is_model,
                    scale: on("scale"),
                    center: on("center"),
                };
                classes.insert(name.to_owned(), class);
            }
            object.values().for_each(|value| collect_classes(value, classes));
        }
        _ => {}
    }
}

/// Converts the name of a class as Keras does: `BatchNormalization` to
/// `batch_normalization`, `Conv2DTranspose` to `conv2d_transpose`.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().collect();
    let mut out = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let after_small = before.is_some_and(|c| c.is_ascii_lowercase());
        let before_small = letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
        let starts = letter.is_ascii_uppercase()
            && i > 0
            && (after_small || (before_small && before.is_some_and(|c| c.is_ascii_alphanumeric())));
        if starts {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The class in a name that Keras generated: `conv2d_1` is a `conv2d`.
fn kind_of(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((class, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => class,
        _ => name,
    }
}

/// The names of the numbered variables of a layer; none for an unknown class.
fn names_of(class: &str, count: usize, config: Option<&Class>) -> Vec<&'static str> {
    let names: &[&str] = match class {
        "lstm" | "gru" | "simple_rnn" => &["kernel", "recurrent_kernel", "bias"],
        "embedding" => &["embeddings"],
        "prelu" | "p_re_lu" => &["alpha"],
        "rms_normalization" => &["gamma"],
        "batch_normalization" | "layer_normalization" | "group_normalization" => {
            let moving = class == "batch_normalization";
            let (scale, center) = match (config, count - if moving { 2.min(count) } else { 0 }) {
                (Some(class), _) => (class.scale, class.center),
                (None, 2) => (true, true),
                (None, 0) => (false, false),
                // Without the configuration it is not known which one is
                // missing.
                (None, _) => return Vec::new(),
            };
            let all = [
                ("gamma", scale),
                ("beta", center),
                ("moving_mean", moving),
                ("moving_variance", moving),
            ];
            return all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        }
        class if class.starts_with("separable_conv") => {
            &["depthwise_kernel", "pointwise_kernel", "bias"]
        }
        class if class == "dense" || is_convolution(class) => &["kernel", "bias"],
        _ => &[],
    };
    names.to_vec()
}

fn is_convolution(class: &str) -> bool {
    let class = class.strip_prefix("depthwise_").unwrap_or(class);
    matches!(class.strip_suffix("_transpose").unwrap_or(class), "conv1d" | "conv2d" | "conv3d")
}

/// A variable of a layer.
struct Variable<'a> {
    weight: &'a Weight,
    /// The names of the layer and of the models around it.
    layer: Vec<String>,
    /// The class of the layer, in lower case.
    class: String,
    /// Whether it belongs to the backward part of a bidirectional layer.
    backward: bool,
    /// The name in the layer, such as `kernel`; empty if it is not known.
    name: String,
}

impl<'a> Variable<'a> {
    fn new(weight: &'a Weight) -> Self {
        let (layer, class, name) = Default::default();
        Self { weight, layer, class, backward: false, name }
    }

    /// The tensor or tensors of this library, or an error message.
    fn convert(&self) -> Result<Vec<Weight>, String> {
        let weight = self.weight;
        let rank = weight.shape().len();
        let layer = self.layer.join(".");
        let one = |name: &str, weight: Weight| Ok(vec![weight.named(format!("{layer}.{name}"))]);
        let expect = |wanted: std::ops::RangeInclusive<usize>| match wanted.contains(&rank) {
            true => Ok(()),
            false => Err(format!("shape {} is not valid for a {}", weight.shape(), self.class)),
        };
        if matches!(self.class.as_str(), "lstm" | "gru" | "simple_rnn") {
            return self.recurrent(&layer);
        }
        let depthwise = self.class.starts_with("depthwise_") && self.name == "kernel";
        match self.name.as_str() {
            "depthwise_kernel" | "kernel" if depthwise || self.name == "depthwise_kernel" => {
                expect(3..=4)?;
                let separable = self.class.starts_with("separable_");
                one(if separable { "depthwise.weight" } else { "weight" }, depthwise_kernel(weight))
            }
            "pointwise_kernel" => {
                expect(3..=4)?;
                one("pointwise.weight", outputs_first(weight))
            }
            "bias" if self.class.starts_with("separable_") => one("pointwise.bias", weight.clone()),
            "kernel" if self.class == "dense" || is_convolution(&self.class) => {
                expect(2..=5)?;
                one("weight", outputs_first(weight))
            }
            "alpha" => {
                let channels = weight.shape().last().copied().unwrap_or(1);
                match weight.shape().elements() == channels {
                    true => one("weight", weight.changed(Step::Reshape(vec![channels]))),
                    false => one("weight", weight.clone()),
                }
            }
            "gamma" | "embeddings" => one("weight", weight.clone()),
            "beta" => one("bias", weight.clone()),
            "moving_mean" => one("running_mean", weight.clone()),
            "moving_variance" => one("running_var", weight.clone()),
            "bias" if self.class == "dense" || is_convolution(&self.class) => {
                one("bias", weight.clone())
            }
            _ if self.class == "batch_normalization" => {
                Err("the variables of this batch normalisation cannot be told apart without the \
                 model's configuration; open the .keras file"
                    .to_owned())
            }
            _ => Ok(vec![weight.clone()]),
        }
    }

    fn recurrent(&self, layer: &str) -> Result<Vec<Weight>, String> {
        let (weight, gates) = (self.weight, gates(&self.class));
        let suffix = if self.backward { "_l0_reverse" } else { "_l0" };
        let named = |weight: Weight, name: &str| weight.named(format!("{layer}.{name}{suffix}"));
        let invalid = || format!("shape {} is not valid for a {}", weight.shape(), self.class);
        let columns = weight.shape().last().copied().unwrap_or(0);
        if columns % gates != 0 {
            return Err(invalid());
        }
        let reordered = |weight: Weight| match self.class == "gru" {
            true => weight.changed(Step::Select(0, exchange_gates(columns / 3))),
            false => weight,
        };
        match (self.name.as_str(), weight.shape().len()) {
            (name @ ("kernel" | "recurrent_kernel"), 2) => {
                let name = if name == "kernel" { "weight_ih" } else { "weight_hh" };
                Ok(vec![named(reordered(weight.changed(Step::Permute(vec![1, 0]))), name)])
            }
            ("bias", 1) if self.class == "gru" => {
                Err("a GRU with reset_after=False uses another formula than this library"
                    .to_owned())
            }
            // Keras has one bias where this library has two; the second is
            // zero.
            ("bias", 1) => {
                let zeros: AnyTensor = Tensor::<f32>::zeros([columns]).into();
                let zeros = Weight::new("", [columns].into(), "f32", zeros);
                Ok(vec![named(weight.clone(), "bias_ih"), named(zeros, "bias_hh")])
            }
            ("bias", 2) if weight.shape()[0] == 2 && self.class == "gru" => {
                let row = |row| {
                    let row = weight.changed(Step::Select(0, vec![row]));
                    reordered(row.changed(Step::Reshape(vec![columns])))
                };
                Ok(vec![named(row(0), "bias_ih"), named(row(1), "bias_hh")])
            }
            _ => Err(invalid()),
        }
    }
}

fn gates(class: &str) -> usize {
    match class {
        "lstm" => 4,
        "gru" => 3,
        _ => 1,
    }
}

/// Reorders the rows of z, r, h to r, z, h.
fn exchange_gates(units: usize) -> Vec<usize> {
    (units..2 * units).chain(0..units).chain(2 * units..3 * units).collect()
}

/// Converts a kernel `[…, inputs, outputs]` to `[outputs, inputs, …]`.
fn outputs_first(weight: &Weight) -> Weight {
    let rank = weight.shape().len() as isize;
    let axes = [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect();
    weight.changed(Step::Permute(axes))
}

/// Converts a kernel `[…, channels, multiplier]` to
/// `[channels · multiplier, 1, …]`.
fn depthwise_kernel(weight: &Weight) -> Weight {
    let rank = weight.shape().len() as isize;
    let axes = [rank - 2, rank - 1].into_iter().chain(0..rank - 2).collect();
    let ordered = weight.changed(Step::Permute(axes));
    let [channels, multiplier, spatial @ ..] = &ordered.shape()[..] else { return ordered };
    let shape = [&[channels * multiplier, 1][..], spatial].concat();
    ordered.changed(Step::Reshape(shape))
}
