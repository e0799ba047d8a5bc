//! A state dict written by Dendra and loaded by the installed PyTorch: it must
//! match strictly and produce the same logits. The test runs if
//! `DENDRA_PEER_PYTHON` is the path of a Python with torch and safetensors.

use std::path::{Path, PathBuf};
use std::process::Command;

use dendra_nn::autograd::{StateDict, Tape, Var};
use dendra_nn::tensor::{Ops, Rng, Tensor};
use dendra_nn::{Conv2d, Module, Parameters, Sequential, StateFile, save};

/// The network of `tests/fixtures/interchange/network.py`, after a few training
/// batches.
fn network(seed: u64) -> Sequential {
    let rng = &mut Rng::seed(seed);
    let builder = Sequential::input([1, 8, 8]).layer(Conv2d::lazy(4, 3).padding(1)).named("conv1");
    let builder = builder.batch_norm2d().named("bn1").relu().max_pool2d(2).flatten();
    let builder = builder.dense(8).named("fc1").relu().dense(3).named("fc2");
    let mut network = builder.build(rng).unwrap();
    for step in 0..3 {
        let x = Tensor::normal([16, 1, 8, 8], 0.5, 2.0, rng);
        let loss = network.forward(&Tape::training(0, step).input(x)).unwrap().sum();
        network.apply_updates(&loss.backward().unwrap()).unwrap();
    }
    network
}

/// Writes an input of the network and its logits to the file that the check
/// reads.
fn write_answer(network: &Sequential, path: &Path) {
    let input = Tensor::normal([5, 1, 8, 8], 0.0, 1.0, &mut Rng::seed(5));
    let mut state = StateDict::new();
    state.insert("logits", network.forward(&Var::new(input.clone())).unwrap().into_value());
    state.insert("input", input);
    let beside = path.with_file_name("network_logits.safetensors");
    StateFile { state, ..StateFile::default() }.write(beside).unwrap();
}

#[test]
fn pytorch_gives_the_same_logits() {
    let Some(python) = std::env::var_os("DENDRA_PEER_PYTHON") else {
        return eprintln!("skipped: DENDRA_PEER_PYTHON names no Python with PyTorch");
    };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/interchange/check_from_dendra.py");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    // -B: do not write compiled files next to the script.
    let check = || Command::new(&python).arg("-B").arg(&script).arg(&path).output().unwrap();

    let model = network(1);
    write_answer(&model, &path);
    model.save(&path).unwrap();
    let output = check();
    assert!(output.status.success(), "with architecture: {output:?}");
    save(&model, &path).unwrap();
    let output = check();
    assert!(output.status.success(), "state alone: {output:?}");

    // The check fails for the weights of another network.
    save(&network(2), &path).unwrap();
    assert_eq!(check().status.code(), Some(1));
}
