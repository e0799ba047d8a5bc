//! The files for the test in Node.js.

use std::fs;
use std::path::PathBuf;

use dendra_nn::{Module, Sequential, SequentialBuilder};
use dendra_tensor::{Rng, Tensor};

use crate::{Builder, Trainer};

/// Writes models, inputs, and the outputs computed on this machine, if the
/// variable names a folder.
#[test]
fn models_for_node() {
    let Some(folder) = std::env::var_os("DENDRA_WASM_MODELS").map(PathBuf::from) else { return };
    let write = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    let model = |name: &str, builder: SequentialBuilder| {
        let model = builder.build(&mut Rng::seed(1)).unwrap();
        model.save(folder.join(format!("{name}.safetensors"))).unwrap();
        let batch: Vec<usize> = [&[7], &model.input_shape()[..]].concat();
        let x = Tensor::normal(batch, 0.0, 1.0, &mut Rng::seed(2));
        write(&format!("{name}.input"), &x.to_vec());
        write(&format!("{name}.output"), &model.forward(&x.into()).unwrap().value().to_vec());
    };
    model("linear", Sequential::input([37]).dense(64).relu().dense(10));
    let pictures = Sequential::input([1, 28, 28]).conv2d(32, 3).relu().max_pool2d(2);
    let pictures = pictures.conv2d(16, 3).batch_norm2d().relu().avg_pool2d(2);
    model("pictures", pictures.flatten().dense(128).relu().dense(10));
    let functions = Sequential::input([19]).dense(32).tanh().dense(32).gelu().dense(32).sigmoid();
    model("functions", functions.dense(32).silu().dense(8).softmax());

    let network = Builder::new(&[4]).dense(16).relu().dense(3).build(5).ok().unwrap();
    let mut trainer = Trainer::new(network, true, 0.01, 9);
    let x = Tensor::<f32>::normal([30, 4], 0.0, 1.0, &mut Rng::seed(3)).to_vec();
    let target: Vec<f32> = (0..30).map(|index| (index % 3) as f32).collect();
    let losses: Vec<f32> = (0..50).map(|_| trainer.train(&x, &target).unwrap()).collect();
    assert!(losses[49] < losses[0]);
    write("training.input", &x);
    write("training.target", &target);
    write("training.losses", &losses);
}
