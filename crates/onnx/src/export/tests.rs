//! Exported files compute the same as the models. `check_exports.py` in the
//! folder `tests` repeats the comparison with ONNX Runtime.

mod integers;
#[path = "../../../nn/tests/public/traces/networks.rs"]
mod networks;
mod operations;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use dendra_autograd::{Parameters, Tape, Var};
use dendra_nn::layers::*;
use dendra_nn::{Module, Sequential};
use dendra_tensor::{AttentionMask, Ops, Rng, Shape, Tensor};

use super::*;
use crate::Value;

/// The operations that at least one test exported.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Exports a function of a model, imports the file, and compares the outputs
/// for several batch sizes. Returns the operations and the largest difference,
/// relative to the largest output, or 0 for equal bits.
#[track_caller]
fn difference<I: Tensors>(
    name: &str,
    model: &dyn Parameters,
    axes: &[Option<usize>],
    inputs: impl Fn(usize, u64) -> I,
    function: impl Fn(&I, &Tape) -> Result<Vec<Var>>,
) -> (f32, BTreeSet<String>) {
    let trace = Trace::along(axes, model, &inputs(2, 1), &function).unwrap();
    let computed = trace.nodes().iter().filter(|node| node.is_computed());
    let operations: BTreeSet<String> = computed.map(|node| node.name().to_owned()).collect();
    SEEN.lock().unwrap().extend(operations.iter().cloned());
    let export = Export::of_trace(&trace).unwrap_or_else(|error| panic!("{error}\n{trace}"));
    let file = export.to_bytes().unwrap();
    let found = crate::Model::parse(&file).unwrap_or_else(|error| panic!("{error}\n{trace}"));
    let mut largest = 0.0_f32;
    for samples in [1, 2, 5] {
        let x = inputs(samples, 7);
        let expected = function(&x, &Tape::inference()).unwrap();
        let x = x.tensors().unwrap();
        let names: Vec<String> = found.inputs().map(|input| input.name.clone()).collect();
        let named = || names.iter().map(String::as_str).zip(x.iter().map(value));
        // The first run builds the plan of the second.
        found.run(named()).unwrap_or_else(|error| panic!("{name}: {error}\n{trace}"));
        let outputs = found.run(named()).unwrap_or_else(|error| panic!("{name}: {error}\n{trace}"));
        let outputs: Vec<Tensor> =
            outputs.into_values().iter().map(|output| output.to().unwrap()).collect();
        assert_eq!(outputs.len(), expected.len());
        for (found, expected) in outputs.iter().zip(&expected) {
            let expected = expected.value();
            assert_eq!(found.shape(), expected.shape(), "{name}\n{trace}");
            let scale = expected.to_vec().into_iter().fold(1e-3_f32, |a, b| a.max(b.abs()));
            for (a, b) in found.to_vec().into_iter().zip(expected.to_vec()) {
                if a.to_bits() != b.to_bits() {
                    let gap = ((a - b) / scale).abs().max(f32::MIN_POSITIVE);
                    assert!(gap < 3e-6, "{name}, {samples} samples: {a} for {b}\n{trace}");
                    largest = largest.max(gap);
                }
            }
        }
        if samples == 5 {
            keep(name, &file, &x, &expected);
        }
    }
    (largest, operations)
}

fn value(x: &AnyTensor) -> Value {
    match x {
        AnyTensor::F32(x) => x.clone().into(),
        AnyTensor::F64(x) => x.clone().into(),
        AnyTensor::I64(x) => x.clone().into(),
        AnyTensor::Bool(x) => x.clone().into(),
        other => panic!("no test has inputs of type {}", other.element()),
    }
}

/// Writes a file with inputs and outputs for `check_exports.py` to the folder
/// in an environment variable.
fn keep(name: &str, file: &[u8], inputs: &[AnyTensor], outputs: &[Var]) {
    let Some(folder) = std::env::var_os("DENDRA_ONNX_EXPORTS") else { return };
    let folder = PathBuf::from(folder).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), file).unwrap();
    let outputs: Vec<AnyTensor> = outputs.iter().map(|y| y.value().clone().into()).collect();
    for (kind, tensors) in [("input", inputs), ("output", &outputs)] {
        for (index, tensor) in tensors.iter().enumerate() {
            let bytes = encode::tensor("", tensor);
            std::fs::write(folder.join(format!("{kind}_{index}.pb")), bytes).unwrap();
        }
    }
}

fn normal(shape: &Shape, seed: u64) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

/// Operations that the import computes differently from the model: with several
/// operators, or in another order.
const OTHER_KERNELS: [&str; 9] = [
    "adaptive_avg_pool2d",
    "batch_norm",
    "embedding_bag",
    "fold",
    "group_norm",
    "hardsigmoid",
    "layer_norm",
    "max_norm",
    "rms_norm",
];

/// Expects equal bits unless an operation uses another kernel.
fn check_network(name: &str, model: &Sequential, sample: impl Fn(&Shape, u64) -> Tensor) {
    let inputs = |samples: usize, seed: u64| {
        let shape = [samples].into_iter().chain(model.input_shape().iter().copied());
        sample(&shape.collect(), seed)
    };
    let (gap, operations) = difference(name, model, &[Some(0)], inputs, |x, tape| {
        Ok(vec![model.forward(&tape.input(x.clone()))?])
    });
    let may_differ = OTHER_KERNELS.iter().any(|&name| operations.contains(name));
    assert!(may_differ || gap == 0.0, "{name} differs by {gap}: {operations:?}");
}

/// Networks with every kind of layer.
fn check_layers() {
    for (index, builder) in networks::networks().into_iter().enumerate() {
        let model = builder.build(&mut Rng::seed(3)).unwrap();
        check_network(&format!("layers_{index:02}"), &model, normal);
    }
    let ids = |shape: &Shape, seed| Tensor::uniform(shape, 0.0, 6.99, &mut Rng::seed(seed)).floor();
    for (index, builder) in networks::networks_of_ids().into_iter().enumerate() {
        let model = builder.build(&mut Rng::seed(3)).unwrap();
        check_network(&format!("ids_{index:02}"), &model, ids);
    }
}

#[test]
fn every_layer_and_every_operation() {
    check_layers();
    operations::check_all();
    check_sequences();
    check_attention();
    let seen = SEEN.lock().unwrap();
    // The determinant is behind a feature that this crate does not enable.
    let is_tested = |(name, write): &&Row| !matches!(write, Write::Never(_)) && *name != "det";
    let rows = TABLES.into_iter().flatten().filter(is_tested);
    let unseen: Vec<&str> =
        rows.map(|(name, _)| *name).filter(|&name| !seen.contains(name)).collect();
    assert!(unseen.is_empty(), "no test exports {unseen:?}");
}

fn check_attention() {
    let plain = MultiheadAttention::new(4, 2).batch_first(true);
    let settings =
        [plain.clone(), plain.clone().add_bias_kv(true).add_zero_attn(true), plain.rotary(100.0)];
    for (kind, settings) in settings.into_iter().enumerate() {
        let attention = settings.init(&mut Rng::seed(3)).unwrap();
        let keep = Tensor::from_fn([5, 5], |place| place % 3 != 1);
        let add = Tensor::from_fn([5, 5], |place| (place % 4) as f32);
        let masks = [AttentionMask::None, AttentionMask::Keep(keep), AttentionMask::Add(add)];
        for (index, mask) in masks.into_iter().enumerate() {
            let is_added = matches!(mask, AttentionMask::Add(_));
            let inputs = |samples, seed| {
                let padding =
                    Tensor::from_fn([samples, 5], |place| (place as u64 * 7 + seed) % 5 == 1);
                (normal(&[samples, 5, 4].into(), seed), padding)
            };
            let attend = |(x, padding): &(Tensor, Tensor<bool>), tape: &Tape| {
                let x = tape.input(x.clone());
                let options = Attend {
                    key_padding_mask: (!is_added).then_some(padding),
                    is_causal: index == 1,
                    mask: mask.clone(),
                    ..Attend::default()
                };
                Ok(vec![attention.attend(&x, &x, &x, options)?])
            };
            let name = format!("attention_{kind}_{index}");
            difference(&name, &attention, &[Some(0), Some(0)], inputs, attend);
        }
    }
}

fn check_sequences() {
    let gru = GRU::new(3, 4).bidirectional(true).init(&mut Rng::seed(1)).unwrap();
    let inputs = |samples: usize, seed: u64| {
        let lengths: Vec<usize> = (0..samples).map(|i| (i * 3 + seed as usize) % 5 + 1).collect();
        (normal(&[5, samples, 3].into(), seed), lengths)
    };
    difference("lengths", &gru, &[Some(1), Some(0)], inputs, |(x, lengths), tape| {
        let (y, state) = gru.run(&tape.input(x.clone()), None, Some(lengths))?;
        Ok(vec![y, state.h])
    });
    let lstm = LSTM::new(3, 4).init(&mut Rng::seed(1)).unwrap();
    let inputs = |samples: usize, seed: u64| normal(&[5, samples, 3].into(), seed);
    difference("lstm_states", &lstm, &[Some(1)], inputs, |x, tape| {
        let (y, state) = lstm.run(&tape.input(x.clone()), None, None)?;
        Ok([Some(y), Some(state.h), state.c].into_iter().flatten().collect())
    });
}

#[test]
fn a_transformer_of_tokens() {
    let rng = &mut Rng::seed(3);
    let tokens = Embedding::new(7, 8).init(rng).unwrap();
    let block = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
    let blocks = block.stack_encoder(2, rng).unwrap();
    let inputs = |samples: usize, seed: u64| {
        Tensor::from_fn([samples, 5], |place| (place as i64 * 5 + seed as i64) % 7)
    };
    difference("transformer", &blocks, &[Some(0)], inputs, |ids, tape| {
        let causal = Attend { is_causal: true, ..Attend::default() };
        let x = tokens.lookup(ids, Some(tape))?;
        Ok(vec![blocks.encode(&x, &causal)?.flatten(0, 1)?])
    });
}

#[test]
fn names_metadata_and_the_batch_axis() {
    let net = Sequential::input([4]).dense(3).named("fc").build(&mut Rng::seed(1)).unwrap();
    let export = Export::of(&net, &Tensor::<f32>::zeros([1, 4])).unwrap();
    let swapped = export.named(&["output"], &["input"]).unwrap().metadata("classes", "a,b,c");
    let file = swapped.to_bytes().unwrap();
    let model = crate::Model::parse(&file).unwrap();
    assert_eq!((model.metadata("classes"), model.metadata("class")), (Some("a,b,c"), None));
    assert_eq!(model.producer(), "dendra");
    let mut names = Vec::new();
    model.visit(&mut dendra_autograd::Path::default(), &mut |path, _| {
        names.push(path.as_str().to_owned());
    });
    assert_eq!(names, ["fc.weight", "fc.bias"]);
    let mut nodes = Vec::new();
    let watch = &mut |operator: &str, node: &str, seconds: f64| {
        assert!(seconds >= 0.0);
        nodes.push(format!("{operator} {node}"));
    };
    let y = model.run_watched([("output", Tensor::<f32>::ones([6, 4]))], watch).unwrap();
    assert_eq!(nodes, ["Gemm fc/linear/Gemm"]);
    assert_eq!(*y.get("input").unwrap().to::<f32>().unwrap().shape(), [6, 3]);
    let again = || Export::of(&net, &Tensor::<f32>::zeros([1, 4])).unwrap();
    assert!(again().named(&["x", "y"], &["z"]).is_err());
    let taken = again().named(&["fc.weight"], &["y"]).unwrap_err().to_string();
    assert_eq!(taken, "Export::named: the name \"fc.weight\" is in use");
}

#[test]
fn double_precision() {
    let builder = Sequential::input([4, 6]).layer(GroupNorm::lazy(2)).flatten().dense(3).gelu();
    let net = builder.build_as::<f64>(&mut Rng::seed(1)).unwrap();
    let inputs = Tensor::<f64>::uniform([3, 4, 6], -1.0, 1.0, &mut Rng::seed(2));
    let trace = Trace::of(&net, &inputs).unwrap();
    let file = Export::of_trace(&trace).unwrap().to_bytes().unwrap();
    let outputs = crate::Model::parse(&file).unwrap().run([("input", inputs.clone())]).unwrap();
    let expected = net.forward(&Var::new(inputs)).unwrap();
    let gap = outputs[0].to::<f64>().unwrap().sub(expected.value()).unwrap().abs();
    assert!(gap.to_vec().iter().all(|&gap| gap < 1e-10), "{gap:?}");
}

#[test]
fn a_file_holds_what_was_exported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let net = Sequential::input([4]).dense(3).build(&mut Rng::seed(1)).unwrap();
    export(&net, &Tensor::<f32>::zeros([1, 4]), &path).unwrap();
    let x = Tensor::<f32>::ones([2, 4]);
    let expected = net.forward(&Var::new(x.clone())).unwrap();
    let found = crate::Model::load(&path).unwrap().forward(&Var::new(x)).unwrap();
    assert_eq!(found.value(), expected.value());
}
