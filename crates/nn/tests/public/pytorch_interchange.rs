//! Exchange of state dicts between PyTorch and Dendra in both directions: names,
//! types, values, and the logits of one network.
//!
//! `tests/fixtures/README.md` describes how the files are created and how PyTorch
//! checks the files of Dendra.

use std::fs;
use std::path::{Path, PathBuf};

use dendra_nn::autograd::{StateDict, Tape, Var};
use dendra_nn::tensor::{Ops, Pool2dOptions, Result, Rng, Tensor};
use dendra_nn::{
    BatchNorm2d, Conv2d, Linear, Module, Parameters, Sequential, StateFile, load, save,
};

use crate::fixtures::Comparison;

/// The network of `tests/fixtures/interchange/network.py`.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Network {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    fc1: Linear,
    fc2: Linear,
}

impl Network {
    fn new(seed: u64) -> Result<Self> {
        let rng = &mut Rng::seed(seed);
        Ok(Self {
            conv1: Conv2d::new(1, 4, 3).padding(1).init(rng)?,
            bn1: BatchNorm2d::new(4).init(rng)?,
            fc1: Linear::new(4 * 4 * 4, 8).init(rng)?,
            fc2: Linear::new(8, 3).init(rng)?,
        })
    }
}

impl Module for Network {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.bn1.forward(&self.conv1.forward(x)?)?.relu();
        let x = x.max_pool2d(Pool2dOptions::new([2, 2]))?.flatten(1, -1)?;
        self.fc2.forward(&self.fc1.forward(&x)?.relu())
    }
}

/// The same network as a `Sequential` with the same names.
fn sequential(seed: u64) -> Result<Sequential> {
    let convolution = Conv2d::lazy(4, 3).padding(1);
    let builder = Sequential::input([1, 8, 8]).layer(convolution).named("conv1");
    let builder = builder.batch_norm2d().named("bn1").relu().max_pool2d(2).flatten();
    let builder = builder.dense(8).named("fc1").relu().dense(3).named("fc2");
    builder.build(&mut Rng::seed(seed))
}

fn file(name: &str) -> PathBuf {
    crate::fixtures::folder().join("interchange").join(name)
}

/// Reads the input and the logits from `NAME_logits.safetensors`.
fn answer(name: &str) -> (Tensor, Tensor) {
    let state = StateFile::read(file(&format!("{name}_logits.safetensors"))).unwrap().state;
    let typed = |name| state.typed::<f32>(name).unwrap().clone();
    (typed("input"), typed("logits"))
}

#[track_caller]
fn assert_answers(model: &dyn Module, name: &str) {
    let (input, logits) = answer(name);
    let mut comparison = Comparison::default();
    for x in [Var::new(input.clone()), Tape::evaluation().input(input)] {
        comparison.close(name, model.forward(&x).unwrap().value(), &logits, 1e-5);
    }
    comparison.finish();
}

#[test]
fn a_state_dict_of_pytorch_gives_pytorchs_logits() {
    let mut network = Network::new(1).unwrap();
    load(&mut network, file("pytorch_cnn.safetensors")).unwrap();
    assert_eq!(network.bn1.num_batches_tracked.as_ref().unwrap().value(), 12);
    assert_answers(&network, "pytorch_cnn");
}

#[test]
fn a_sequential_with_the_same_names_takes_it_too() {
    let mut network = sequential(1).unwrap();
    load(&mut network, file("pytorch_cnn.safetensors")).unwrap();
    assert_answers(&network, "pytorch_cnn");
}

#[test]
fn what_pytorch_wrote_is_written_as_it_came() {
    let original = StateFile::read(file("pytorch_cnn.safetensors")).unwrap();
    assert_eq!(original.state.len(), 11);
    let mut network = Network::new(1).unwrap();
    network.load_state_dict(&original.state).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.safetensors");
    save(&network, &path).unwrap();
    assert_eq!(StateFile::read(&path).unwrap().state, original.state);
}

/// PyTorch accepted `dendra_cnn.safetensors` and computed the same logits
/// (`check_from_dendra.py`). This test checks that Dendra still writes the same
/// file and computes the same logits.
#[test]
fn what_pytorch_has_accepted_is_still_what_is_written() {
    let path = file("dendra_cnn.safetensors");
    if std::env::var_os("DENDRA_WRITE_FIXTURES").is_some() {
        write_for_pytorch(&path);
    }
    let mut network = Network::new(1).unwrap();
    load(&mut network, &path).unwrap();
    assert_eq!(network.bn1.num_batches_tracked.as_ref().unwrap().value(), 12);
    assert_answers(&network, "dendra_cnn");

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.safetensors");
    save(&network, &copy).unwrap();
    assert!(
        fs::read(copy).unwrap() == fs::read(&path).unwrap(),
        "the bytes have changed: write {} anew and check it in PyTorch",
        path.display()
    );
}

/// Trains a network for a few steps, so that weights, statistics and counter
/// change, and writes its state and an output.
fn write_for_pytorch(path: &Path) {
    let rng = &mut Rng::seed(11);
    let mut network = Network::new(3).unwrap();
    for step in 0..12 {
        let x = Tape::training(0, step).input(Tensor::normal([16, 1, 8, 8], 0.0, 1.0, rng));
        let wanted = Var::new(Tensor::normal([16, 3], 0.0, 1.0, rng));
        let loss = network.forward(&x).unwrap().sub(&wanted).unwrap().square().mean();
        let gradients = loss.backward().unwrap();
        network.visit_mut(&mut Default::default(), &mut |_, entry| {
            if let dendra_nn::autograd::EntryMut::Param(param) = entry {
                let step = gradients.get(param).unwrap() * 0.1;
                *param.value_mut() = param.value() - step;
            }
        });
        network.apply_updates(&gradients).unwrap();
    }
    save(&network, path).unwrap();

    let input = Tensor::normal([5, 1, 8, 8], 0.0, 1.0, rng);
    let logits = network.forward(&Var::new(input.clone())).unwrap().into_value();
    let mut state = StateDict::new();
    state.insert("input", input);
    state.insert("logits", logits);
    let answer = StateFile { state, ..StateFile::default() };
    answer.write(file("dendra_cnn_logits.safetensors")).unwrap();
}
