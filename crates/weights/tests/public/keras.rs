//! Networks that were trained in Keras predict the same here.

use std::io::Read;
use std::path::{Path, PathBuf};

use dendra_autograd::Tape;
use dendra_nn::layers::{BatchNorm2d, Conv2d, ConvTranspose2d, LSTM, LayerNorm, PReLU};
use dendra_nn::{Model, Output, Sequential, StateFile};
use dendra_tensor::{Result, Rng, Tensor};
use dendra_weights::Weights;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Keras writes the same model in three formats.
const ENDINGS: [&str; 3] = [".keras", ".weights.h5.gz", ".h5.gz"];

fn open(name: &str) -> Weights {
    if !name.ends_with(".gz") {
        return Weights::open(fixture(name)).unwrap();
    }
    let mut bytes = Vec::new();
    let packed = std::fs::File::open(fixture(name)).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    Weights::from_bytes(bytes).unwrap()
}

fn inputs_and_outputs<T: dendra_tensor::Element>(name: &str) -> (Tensor<T>, Tensor) {
    let file = StateFile::read(fixture(&format!("{name}.keras.right.safetensors"))).unwrap();
    let inputs = file.state.typed("inputs").unwrap().clone();
    (inputs, file.state.typed("outputs").unwrap().clone())
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape());
    for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
        assert!((found - expected).abs() < 1e-5, "found {found}, expected {expected}");
    }
}

#[test]
fn convolutions_predict_the_same() -> Result<()> {
    let (inputs, outputs) = inputs_and_outputs::<f32>("images");
    let inputs = inputs.permute(&[0, 3, 1, 2])?;
    for ending in ENDINGS {
        let mut model = Sequential::input([2, 6, 6])
            .conv2d(3, 3)
            .named("first")
            .relu()
            .layer(BatchNorm2d::lazy().eps(1e-3))
            .named("batch_normalization")
            .sequential(|inner| inner.layer(Conv2d::lazy(6, 3).groups(3)).named("each"))
            .named("inner")
            .layer(ConvTranspose2d::lazy(4, 2).stride(2))
            .named("up")
            .sequential(|apart| {
                let depthwise = Conv2d::lazy(4, 2).groups(4).bias(false);
                apart.layer(depthwise).named("depthwise").conv2d(3, 1).named("pointwise")
            })
            .named("apart")
            .layer(PReLU::new(3))
            .named("p_re_lu")
            .flatten()
            .dense(2)
            .named("head")
            .build(&mut Rng::seed(1))?;
        let weights = open(&format!("images{ending}")).from_keras_layout()?;
        let weights = weights.from_channels_last("head.weight", &[3, 3, 3])?;
        weights.load_into(&mut model)?;
        assert_close(&model.run(&inputs, &Tape::inference())?.into_values(), &outputs);
    }
    Ok(())
}

#[test]
fn recurrent_layers_predict_the_same() -> Result<()> {
    let (inputs, outputs) = inputs_and_outputs::<i32>("tokens");
    let inputs: Tensor<i64> = inputs.cast();
    for ending in ENDINGS {
        let mut model = Sequential::tokens([5])
            .embedding(7, 3)
            .named("embedding")
            .layer(LSTM::lazy(2).batch_first(true).bidirectional(true))
            .named("bidirectional")
            .layer(LayerNorm::lazy())
            .named("layer_normalization")
            .gru(3)
            .named("gru")
            .rnn(2)
            .named("simple_rnn")
            .last_step()
            .dense(2)
            .named("dense")
            .build(&mut Rng::seed(1))?;
        let weights = open(&format!("tokens{ending}")).from_keras_layout()?;
        weights.load_into(&mut model)?;
        assert_close(model.forward_tokens(&inputs, None)?.value(), &outputs);
    }
    Ok(())
}

#[test]
fn what_cannot_be_converted_is_told() {
    let error = open("reset_before.weights.h5.gz").from_keras_layout().unwrap_err().to_string();
    assert!(error.contains("reset_after=False uses another formula"), "{error}");
    let weights = open("images.keras").from_keras_layout().unwrap();
    for (name, sizes) in [("head.weight", [2, 3, 3]), ("no", [3, 3, 3]), ("head.bias", [1, 1, 2])] {
        assert!(weights.from_channels_last(name, &sizes).is_err(), "{name}");
    }
    let error = Weights::open(fixture("matrix.npy")).unwrap().from_keras_layout().unwrap_err();
    assert!(error.to_string().contains("expected a file of Keras"), "{error}");
}
