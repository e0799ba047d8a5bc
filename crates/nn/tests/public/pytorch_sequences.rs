//! Layers on sequences against PyTorch: state dict, outputs, and the gradients
//! of all inputs and parameters.

use dendra_nn::autograd::{AnyTensor, Parameters, StateDict, Tape, Var};
use dendra_nn::tensor::{AttentionMask, Element, Float, Ops, Result, Rng, Tensor};
use dendra_nn::{
    Attend, AttentionWeights, BagMode, Decode, Embedding, EmbeddingBag, FeedForwardActivation,
    GRUCell, LSTM, LSTMCell, LayerNorm, MultiheadAttention, RNN, RNNCell, Recurrent, RecurrentCell,
    RecurrentNonlinearity, RecurrentState, Transformer, TransformerDecoderLayer,
    TransformerEncoderLayer, TransformerSettings,
};

use serde_json::Value;

use crate::fixtures::{Case, Comparison, Fixture, Settings, Stored};

#[test]
fn layers_agree_with_pytorch() {
    agree::<f32>(1e-5, 1e-4);
}

#[test]
fn layers_agree_with_pytorch_in_double_precision() {
    agree::<f64>(1e-12, 1e-11);
}

fn agree<T: Float + Stored>(forward: f64, gradient: f64) {
    let fixture = Fixture::open::<T>("sequences");
    let mut comparison = Comparison::default();
    for case in fixture.cases() {
        let mut run = Run::<T> {
            case,
            tape: Tape::training(0, 0),
            inputs: Vec::new(),
            comparison: &mut comparison,
            tolerances: [forward, gradient],
        };
        if let Err(error) = run.layer() {
            comparison.fail(format!("{}: {error}", case.key));
        }
    }
    comparison.finish();
    fixture.assert_all_read();
}

/// A case while it runs.
struct Run<'a, T: Float> {
    case: Case<'a>,
    tape: Tape<T>,
    /// The inputs taken so far.
    inputs: Vec<(String, Var<T>)>,
    comparison: &'a mut Comparison,
    /// Of outputs and of gradients, relative to the largest value of a tensor.
    tolerances: [f64; 2],
}

impl<T: Float + Stored> Run<'_, T> {
    /// An input of the case on the tape.
    fn input(&mut self, name: &str) -> Var<T> {
        self.find(name).unwrap_or_else(|| panic!("{} has no input {name}", self.case.key))
    }

    fn find(&mut self, name: &str) -> Option<Var<T>> {
        let x = self.tape.leaf(self.case.find(&format!("input/{name}"))?);
        self.inputs.push((name.to_owned(), x.clone()));
        Some(x)
    }

    fn mask(&self, name: &str) -> Option<Tensor<bool>> {
        self.rows(name, |x| x.as_bool().unwrap())
    }

    fn added(&self, name: &str) -> Option<Tensor<T>> {
        self.rows(name, |x| T::from_f64(x.as_f64().unwrap()))
    }

    /// A matrix among the settings.
    fn rows<E: Element>(&self, name: &str, value: impl Fn(&Value) -> E) -> Option<Tensor<E>> {
        let rows = self.case.find_setting(name)?.as_array()?;
        let values: Vec<E> =
            rows.iter().flat_map(|row| row.as_array().unwrap()).map(value).collect();
        let columns = values.len() / rows.len();
        Some(Tensor::from_vec(values, [rows.len(), columns]).unwrap())
    }

    /// Builds the layer of the case, loads its state and calls it.
    fn layer(&mut self) -> Result<()> {
        let rng = &mut Rng::seed(0);
        let arguments = self.case.nested("arguments");
        let size = |name| arguments.integer(name) as usize;
        let padding_idx = arguments.find_setting("padding_idx").and_then(Value::as_u64);
        let padding_idx = padding_idx.map(|padding| padding as usize);
        match self.case.text("layer") {
            "LSTM" if arguments.find_setting("proj_size").is_some() => {
                let layer = LSTM::new(size("input_size"), size("hidden_size"))
                    .proj_size(size("proj_size"))
                    .num_layers(size("num_layers"))
                    .bias(arguments.flag("bias"))
                    .batch_first(arguments.flag("batch_first"))
                    .bidirectional(arguments.flag("bidirectional"));
                self.sequence(layer.init_as(rng)?)
            }
            "LSTM" => self.recurrent::<4>(&arguments),
            "GRU" => self.recurrent::<3>(&arguments),
            "RNN" if arguments.text("nonlinearity") == "relu" => {
                let settings = RNN::new(size("input_size"), size("hidden_size"));
                self.sequence(settings.nonlinearity(RecurrentNonlinearity::ReLU).init_as(rng)?)
            }
            "RNN" => self.recurrent::<1>(&arguments),
            "LSTMCell" => {
                let settings = LSTMCell::new(size("input_size"), size("hidden_size"));
                self.step(settings.bias(arguments.flag("bias")).init_as(rng)?)
            }
            "GRUCell" => {
                let settings = GRUCell::new(size("input_size"), size("hidden_size"));
                self.step(settings.bias(arguments.flag("bias")).init_as(rng)?)
            }
            "RNNCell" => {
                let settings = RNNCell::new(size("input_size"), size("hidden_size"));
                self.step(settings.nonlinearity(RecurrentNonlinearity::ReLU).init_as(rng)?)
            }
            "EmbeddingBag" => {
                let layer = EmbeddingBag::new(size("num_embeddings"), size("embedding_dim"));
                let mut layer = layer.mode(match arguments.text("mode") {
                    "sum" => BagMode::Sum,
                    "mean" => BagMode::Mean,
                    _ => BagMode::Max,
                });
                if let Some(padding) = padding_idx {
                    layer = layer.padding_idx(padding);
                }
                let mut layer = layer.init_as(rng)?;
                self.load(&mut layer)?;
                let offsets = self.case.find_setting("offsets").and_then(Value::as_array);
                let offsets = offsets.map(|_| self.case.sizes("offsets"));
                let weights = self.find("weights");
                let numbers = self.case.tensor("input/x");
                let tape = Some(&self.tape);
                let y = layer.lookup(&numbers, offsets.as_deref(), weights.as_ref(), tape)?;
                self.compare(&layer, &[("y", &y)])
            }
            "Embedding" => {
                let mut layer = Embedding::new(size("num_embeddings"), size("embedding_dim"));
                if let Some(padding) = padding_idx {
                    layer = layer.padding_idx(padding);
                }
                let mut layer = layer.init_as(rng)?;
                self.load(&mut layer)?;
                let y = layer.lookup(&self.case.tensor("input/x"), Some(&self.tape))?;
                self.compare(&layer, &[("y", &y)])
            }
            "MultiheadAttention" => self.attention(&arguments),
            "TransformerEncoderLayer" => {
                let mut layer = settings(&arguments).init_encoder_as(rng)?;
                self.load(&mut layer)?;
                let y = self.encode(|x, options| layer.encode(x, options))?;
                self.compare(&layer, &[("y", &y)])
            }
            "TransformerEncoder" => {
                let mut model = settings(&arguments).stack_encoder(size("num_layers"), rng)?;
                if arguments.flag("norm") {
                    model.norm = Some(LayerNorm::new([size("d_model")]).init_as(rng)?);
                }
                self.load(&mut model)?;
                let y = self.encode(|x, options| model.encode(x, &options))?;
                self.compare(&model, &[("y", &y)])
            }
            "Transformer" => {
                let mut model: Transformer<T> = settings(&arguments)
                    .num_encoder_layers(size("num_encoder_layers"))
                    .num_decoder_layers(size("num_decoder_layers"))
                    .init_as(rng)?;
                self.load(&mut model)?;
                let [source, target] = ["source", "target"].map(|name| self.input(name));
                let padding = self.mask("memory_padding");
                let encode = Attend { key_padding_mask: padding.as_ref(), ..Attend::default() };
                let decode = Decode {
                    is_causal: self.case.flag("is_causal"),
                    memory_key_padding_mask: padding.as_ref(),
                    ..Decode::default()
                };
                let y = model.forward(&source, &target, &encode, decode)?;
                self.compare(&model, &[("y", &y)])
            }
            "TransformerDecoderLayer" => {
                let mut layer = settings(&arguments).init_decoder_as(rng)?;
                self.load(&mut layer)?;
                let y = self.decode(|x, memory, options| layer.decode(x, memory, options))?;
                self.compare(&layer, &[("y", &y)])
            }
            "TransformerDecoder" => {
                let mut model = settings(&arguments).stack_decoder(size("num_layers"), rng)?;
                self.load(&mut model)?;
                let y = self.decode(|x, memory, options| model.decode(x, memory, options))?;
                self.compare(&model, &[("y", &y)])
            }
            other => panic!("this test does not know the layer {other}"),
        }
    }

    fn recurrent<const GATES: usize>(&mut self, arguments: &Settings) -> Result<()> {
        let size = |name| arguments.integer(name) as usize;
        let layer = Recurrent::<f32, GATES>::new(size("input_size"), size("hidden_size"))
            .num_layers(size("num_layers"))
            .bias(arguments.flag("bias"))
            .batch_first(arguments.flag("batch_first"))
            .bidirectional(arguments.flag("bidirectional"));
        self.sequence(layer.init_as(&mut Rng::seed(0))?)
    }

    /// A recurrent layer on the whole sequence.
    fn sequence<const GATES: usize>(&mut self, mut layer: Recurrent<T, GATES>) -> Result<()> {
        self.load(&mut layer)?;
        let x = self.input("x");
        let state = self.state();
        let lengths = self.case.find_setting("lengths").filter(|lengths| !lengths.is_null());
        let lengths = lengths.map(|_| self.case.sizes("lengths"));
        let (y, last) = layer.run(&x, state.as_ref(), lengths.as_deref())?;
        let mut outputs = vec![("y", &y), ("h", &last.h)];
        outputs.extend(last.c.as_ref().map(|c| ("c", c)));
        self.compare(&layer, &outputs)
    }

    fn step<const GATES: usize>(&mut self, mut cell: RecurrentCell<T, GATES>) -> Result<()> {
        self.load(&mut cell)?;
        let x = self.input("x");
        let state = self.state();
        let last = cell.step(&x, state.as_ref())?;
        let mut outputs = vec![("h", &last.h)];
        outputs.extend(last.c.as_ref().map(|c| ("c", c)));
        self.compare(&cell, &outputs)
    }

    fn state(&mut self) -> Option<RecurrentState<T>> {
        let h = self.find("h")?;
        Some(RecurrentState { h, c: self.find("c") })
    }

    fn attention(&mut self, arguments: &Settings) -> Result<()> {
        let size = |name| arguments.integer(name) as usize;
        let mut layer = MultiheadAttention::new(size("embed_dim"), size("num_heads"))
            .bias(arguments.flag("bias"))
            .add_bias_kv(arguments.flag("add_bias_kv"))
            .add_zero_attn(arguments.flag("add_zero_attn"))
            .batch_first(arguments.flag("batch_first"));
        if arguments.find_setting("kdim").is_some_and(|width| !width.is_null()) {
            layer = layer.kdim(size("kdim")).vdim(size("vdim"));
        }
        let mut layer = layer.init_as(&mut Rng::seed(0))?;
        self.load(&mut layer)?;
        let [query, key, value] = ["query", "key", "value"].map(|name| self.input(name));
        let padding = self.mask("padding");
        let mask = match (self.mask("mask"), self.added("add")) {
            (Some(keep), _) => AttentionMask::Keep(keep),
            (None, Some(add)) => AttentionMask::Add(add),
            (None, None) => AttentionMask::None,
        };
        let options = Attend {
            mask,
            key_padding_mask: padding.as_ref(),
            is_causal: self.case.flag("is_causal"),
            cache: None,
        };
        let Some(weights) = self.case.find_setting("weights").and_then(|kind| kind.as_str()) else {
            let y = layer.attend(&query, &key, &value, options)?;
            return self.compare(&layer, &[("y", &y)]);
        };
        let which = match weights {
            "mean" => AttentionWeights::Averaged,
            _ => AttentionWeights::PerHead,
        };
        let (y, weights) = layer.attend_with_weights(&query, &key, &value, options, which)?;
        self.compare(&layer, &[("y", &y), ("weights", &weights)])
    }

    fn encode(
        &mut self,
        encode: impl Fn(&Var<T>, Attend<'_, T>) -> Result<Var<T>>,
    ) -> Result<Var<T>> {
        let x = self.input("x");
        let padding = self.mask("padding");
        let is_causal = self.case.flag("is_causal");
        encode(&x, Attend { key_padding_mask: padding.as_ref(), is_causal, ..Attend::default() })
    }

    fn decode(
        &mut self,
        decode: impl Fn(&Var<T>, &Var<T>, Decode<'_, T>) -> Result<Var<T>>,
    ) -> Result<Var<T>> {
        let [x, memory] = ["x", "memory"].map(|name| self.input(name));
        let (padding, memory_padding) = (self.mask("padding"), self.mask("memory_padding"));
        let options = Decode {
            key_padding_mask: padding.as_ref(),
            memory_key_padding_mask: memory_padding.as_ref(),
            is_causal: self.case.flag("is_causal"),
            ..Decode::default()
        };
        decode(&x, &memory, options)
    }

    fn load(&self, layer: &mut impl Parameters<T>) -> Result<()> {
        let mut state = StateDict::new();
        for name in self.case.names("state/") {
            let tensor = self.case.tensor::<T>(&format!("state/{name}"));
            state.insert(name, AnyTensor::upcast(&tensor).unwrap());
        }
        layer.load_state_dict(&state)
    }

    /// Compares the outputs, and the gradients of their weighted sum.
    fn compare(&mut self, layer: &impl Parameters<T>, outputs: &[(&str, &Var<T>)]) -> Result<()> {
        let key = self.case.key;
        let mut total = None;
        for (name, output) in outputs {
            let expected = self.case.tensor(&format!("output/{name}"));
            let what = format!("{key}, {name}");
            self.comparison.close(what, output.value(), &expected, self.tolerances[0]);
            let cotangent = Var::new(self.case.tensor(&format!("cotangent/{name}")));
            let part = output.mul(&cotangent)?.sum();
            total = Some(match total {
                None => part,
                Some(total) => part + total,
            });
        }
        let gradients = total.expect("a layer has an output").backward()?;
        let parameters = layer.named_parameters();
        for name in self.case.names("grad/") {
            let what = format!("{key}, gradient of {name}");
            let input = self.inputs.iter().find(|(of, _)| *of == name).map(|(_, x)| x);
            let param = parameters.iter().find(|(of, _)| *of == name).map(|(_, param)| param);
            let found = match (input, param) {
                (Some(x), _) => gradients.wrt(x),
                (None, Some(param)) => gradients.get(param),
                (None, None) => None,
            };
            match found {
                Some(found) => {
                    let expected = self.case.tensor(&format!("grad/{name}"));
                    self.comparison.close(what, found, &expected, self.tolerances[1]);
                }
                None => self.comparison.fail(format!("{what}: there is none")),
            }
        }
        Ok(())
    }
}

/// The settings of a transformer's layer.
fn settings(arguments: &Settings) -> TransformerSettings {
    let size = |name| arguments.integer(name) as usize;
    let settings = TransformerEncoderLayer::new(size("d_model"), size("nhead"))
        .dim_feedforward(size("dim_feedforward"))
        .dropout(arguments.number("dropout"))
        .layer_norm_eps(arguments.number("layer_norm_eps"))
        .batch_first(arguments.flag("batch_first"))
        .norm_first(arguments.flag("norm_first"))
        .bias(arguments.flag("bias"));
    match arguments.text("activation") {
        "gelu" => settings.activation(FeedForwardActivation::GELU),
        _ => settings,
    }
}

/// A decoder's settings are an encoder's.
#[test]
fn both_layers_have_the_same_defaults() {
    let rng = &mut Rng::seed(0);
    let encoder = TransformerEncoderLayer::new(8, 2).init_encoder(rng).unwrap();
    let decoder = TransformerDecoderLayer::new(8, 2).init_decoder(rng).unwrap();
    assert_eq!(encoder.linear1.weight.value().shape(), decoder.linear1.weight.value().shape());
    assert_eq!(*encoder.linear1.weight.value().shape(), [2048, 8]);
}
