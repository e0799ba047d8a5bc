//! `Sequential::save` and `load`: round trips and invalid architectures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dendra_nn::autograd::{StateDict, Tape, Var};
use dendra_nn::tensor::{InterpolateMode, Ops, Rng, Tensor};
use dendra_nn::{
    AdaptiveAvgPool3d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, AvgPool3d, BagMode, BatchNorm3d,
    CELU, ChannelShuffle, CircularPad2d, CircularPad3d, ConstantPad1d, Conv1d, Conv2d,
    ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, ELU, Embedding, EmbeddingBag, Flatten, Fold,
    FractionalMaxPool2d, GELU, GroupNorm, Hardtanh, Identity, InstanceNorm1d, InstanceNorm3d,
    LPPool2d, LSTM, LeakyReLU, Linear, LocalResponseNorm, LogSoftmax, MaxPool1d, MaxPool2d,
    MaxPool3d, Module, PReLU, Padding, PaddingMode, Parallel, Parameters, RMSNorm, RNN, RReLU,
    RecurrentNonlinearity, ReflectionPad2d, ReplicationPad2d, Residual, Sequential,
    SequentialBuilder, Softmax, Softmax2d, Softmin, Softplus, StateFile, Threshold, Unfold,
    Upsample, ZeroPad2d, load, save,
};

mod own_layers;
mod settings;

const KEY: &str = "dendra.sequential";

/// Builds a network with many kinds of layers and non-default settings.
fn network() -> Sequential {
    Sequential::input([2, 12, 10])
        .layer(Conv2d::lazy(4, [3, 2]).padding(1).stride((1, 2)).groups(2).bias(false))
        .named("conv")
        .batch_norm2d()
        .relu()
        .layer(MaxPool2d::new(3).stride(2).padding(1).ceil_mode(true))
        .conv2d(3, 2)
        .layer(LeakyReLU::new(0.2))
        .layer(AvgPool2d::new(2).stride(1).count_include_pad(false))
        .layer(ELU::new(0.5))
        .layer(Flatten::axes(-3, 2))
        .flatten()
        .dropout(0.25)
        .layer(Linear::lazy(6).bias(false))
        .batch_norm1d()
        .layer(GELU::default())
        .silu()
        .dense(5)
        .sigmoid()
        .tanh()
        .softplus()
        .layer(Softmax::new(1))
        .layer(Identity)
        .layer(LogSoftmax::default())
        .build(&mut Rng::seed(3))
        .unwrap()
}

/// Builds networks with layers for sequences and volumes, and with the other
/// activations.
fn other_networks() -> [(SequentialBuilder, &'static [usize]); 3] {
    let sequence = Sequential::input([4, 40])
        .layer(Conv1d::lazy(8, 4).padding(Padding::Same).dilation(3))
        .layer(PReLU::new(8))
        .layer(MaxPool1d::new(3).stride(2).padding(1))
        .relu6()
        .layer(AvgPool1d::new(2).count_include_pad(false))
        .layer(LocalResponseNorm::new(3).alpha(0.1).beta(0.5).k(2.0))
        .layer(CELU::new(0.5))
        .glu(1)
        .layer(ConstantPad1d::new((1, 2), 0.5))
        .layer(Conv1d::lazy(8, 4).padding_mode(PaddingMode::Reflect).padding(1))
        .layer(ConvTranspose1d::lazy(6, 3).stride(3).output_padding(2).groups(2))
        .dropout1d(0.2)
        .adaptive_avg_pool1d(12)
        .layer(Softplus::new(2.0, 9.0))
        .layer(Threshold::new(0.1, 0.2))
        .global_max_pool1d()
        .layer(Softmin::new(1));
    let image = Sequential::input([8, 6, 6])
        .pixel_shuffle(2)
        .pixel_unshuffle(3)
        .layer(Unfold::new((2, 1)).stride((2, 1)))
        .layer(Fold::new(4, (2, 1)).stride((2, 1)))
        .layer(ZeroPad2d::new((0, 1, -1, 0)))
        .layer(ReflectionPad2d::new(1))
        .layer(ReplicationPad2d::new((1, 0, 0, 2)))
        .layer(CircularPad2d::new(1))
        .layer(Upsample::scale_factors([1.5, 2.0]).mode(InterpolateMode::Linear))
        .layer(Upsample::scale_factor(2.0).mode(InterpolateMode::NearestExact))
        .layer(Upsample::size([5, 6]).mode(InterpolateMode::Cubic).align_corners(true))
        .layer(Upsample::size([7, 6]).mode(InterpolateMode::Linear).antialias(true))
        .layer(FractionalMaxPool2d::size(2, (5, 5)))
        .layer(FractionalMaxPool2d::ratio(1, [0.9, 0.9]))
        .layer(ChannelShuffle::new(2))
        .layer(ConvTranspose2d::lazy(4, (2, 3)).stride(2).padding([0, 1]).bias(false))
        .selu()
        .alpha_dropout(0.1)
        .feature_alpha_dropout(0.1)
        .layer(Residual::new(|block| block.conv2d(4, 1).mish().hardswish()))
        .layer(Parallel::concatenate(1).branch(|b| b.softsign()).branch(|b| b.conv2d(2, 1)))
        .dropout2d(0.1)
        .layer(Hardtanh::new(-2.0, 1.5))
        .adaptive_avg_pool2d((2, 3))
        .layer(Softmax2d)
        .layer(LPPool2d::new(2.0, (1, 2)).stride(1).ceil_mode(true))
        .layer(AdaptiveMaxPool2d::new(2))
        .hardsigmoid()
        .global_avg_pool2d()
        .unflatten([3, 2])
        .log_sigmoid();
    let volume = Sequential::input([2, 4, 5, 6])
        .conv3d(4, (2, 3, 2))
        .batch_norm3d()
        .layer(BatchNorm3d::lazy().momentum(None).bias(false))
        .layer(BatchNorm3d::lazy().track_running_stats(false))
        .layer(InstanceNorm3d::lazy().affine(true).track_running_stats(true).momentum(0.2))
        .layer(MaxPool3d::new(2).stride(1))
        .layer(AvgPool3d::new((1, 2, 1)).stride(1).divisor_override(3))
        .layer(ConvTranspose3d::lazy(4, 2).stride((1, 2, 1)).groups(2))
        .layer(AdaptiveAvgPool3d::new((2, 4, 3)))
        .layer(CircularPad3d::new((0, 1, 0, 0, 1, 0)))
        .layer(RReLU::new(0.1, 0.2).unwrap())
        .dropout3d(0.1)
        .hardshrink(0.1)
        .softshrink(0.01)
        .tanhshrink();
    [(sequence, &[3, 4, 40]), (image, &[3, 8, 6, 6]), (volume, &[3, 2, 4, 5, 6])]
}

#[test]
fn every_other_layer_comes_back_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    for (builder, shape) in other_networks() {
        let model = builder.build(&mut Rng::seed(3)).unwrap();
        model.save(&path).unwrap();
        let again = Sequential::load(&path).unwrap();
        assert_eq!(format!("{again:?}"), format!("{model:?}"));
        assert_eq!(again.state_dict(), model.state_dict());
        let x = Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(4));
        let y = model.forward(&Var::new(x.clone())).unwrap();
        assert_eq!(y.shape()[1..], model.output_shape()[..], "{model:?}");
        assert_eq!(again.forward(&Var::new(x.clone())).unwrap().value(), y.value());
        let y = again.forward(&Tape::training(0, 1).input(x)).unwrap();
        let gradients = y.sum().backward().unwrap();
        assert!(again.named_parameters().iter().all(|(_, p)| gradients.get(p).is_some()));
    }
}

#[test]
fn a_network_comes_back_with_its_weights_and_needs_no_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let mut model = network();
    // Training steps change the running statistics.
    let x = Tensor::normal([4, 2, 12, 10], 1.0, 2.0, &mut Rng::seed(4));
    let y = model.forward(&Tape::training(0, 0).input(x.clone())).unwrap();
    model.apply_updates(&y.sum().backward().unwrap()).unwrap();

    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert_eq!(format!("{again:?}"), format!("{model:?}"));
    assert_eq!(again.summary(), model.summary());
    assert_eq!(again.state_dict(), model.state_dict());
    let answer = |model: &Sequential| model.forward(&Var::new(x.clone())).unwrap().into_value();
    assert_eq!(answer(&again), answer(&model));

    // The loaded network can be trained further.
    let y = again.forward(&Tape::training(0, 1).input(x)).unwrap();
    let gradients = y.sum().backward().unwrap();
    assert!(again.named_parameters().iter().all(|(_, p)| gradients.get(p).is_some()));
}

/// Builds networks with layers for sequences and non-default settings.
#[test]
fn a_network_on_sequences_comes_back() {
    let recurrent = LSTM::lazy(5).batch_first(true).bidirectional(true).num_layers(2);
    let model = Sequential::input([4])
        .layer(Embedding::new(7, 6).padding_idx(2))
        .layer(GroupNorm::lazy(2).eps(0.1))
        .layer(InstanceNorm1d::lazy().affine(true))
        .layer(recurrent.dropout(0.2))
        .layer_norm()
        .gru(4)
        .layer(RMSNorm::lazy().eps(0.2))
        .layer(RNN::lazy(3).batch_first(true).nonlinearity(RecurrentNonlinearity::ReLU).bias(false))
        .build(&mut Rng::seed(3))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert_eq!(again.state_dict(), model.state_dict());
    let x = Tensor::from([[0.0, 3.0, 2.0, 6.0], [5.0, 1.0, 2.0, 2.0]]);
    let answer = |model: &Sequential| model.forward(&Var::new(x.clone())).unwrap().into_value();
    assert_eq!(answer(&again), answer(&model));
    assert_eq!(*answer(&model).shape(), [2, 4, 3]);
}

#[test]
fn a_network_of_bags_comes_back() {
    let bags = EmbeddingBag::new(7, 6).mode(BagMode::Max).padding_idx(2);
    let model = Sequential::input([4]).layer(bags).dense(3).build(&mut Rng::seed(3)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert_eq!(again.state_dict(), model.state_dict());
    assert_eq!(format!("{again:?}"), format!("{model:?}"));
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    network().save(&a).unwrap();
    network().save(&b).unwrap();
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn other_number_types_travel_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("double");
    let model = Sequential::input([3]).dense(2).build_as::<f64>(&mut Rng::seed(0)).unwrap();
    model.save(&path).unwrap();
    let again = Sequential::load_as::<f64>(&path).unwrap();
    assert_eq!(again.state_dict(), model.state_dict());
    // Loading as another float type rounds the values.
    let single = Sequential::load(&path).unwrap().state_dict();
    let rounded = model.state_dict().typed::<f64>("0.weight").unwrap().cast::<f32>();
    assert_eq!(single.typed::<f32>("0.weight").unwrap(), &rounded);
}

#[test]
fn a_state_without_architecture_loads_into_a_model_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let model = network();
    save(&model, &path).unwrap();
    let error = Sequential::load(&path).unwrap_err().to_string();
    assert!(error.contains("holds no architecture"), "{error}");
    let mut other = network();
    other.set_trainable(false);
    load(&mut other, &path).unwrap();
    assert_eq!(other.state_dict(), model.state_dict());
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_works() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"n\xff\xfetwork.safetensors"));
    if let Err(error) = fs::write(&path, "") {
        return eprintln!("skipped: this file system takes no such name ({error})");
    }
    let model = network();
    model.save(&path).unwrap();
    assert_eq!(Sequential::load(&path).unwrap().state_dict(), model.state_dict());
    fs::write(&path, "damaged").unwrap();
    assert!(Sequential::load(&path).unwrap_err().to_string().contains("twork.safetensors"));
}

/// Writes a file of this architecture, with the state of a 3-2 linear layer.
fn write(path: &Path, architecture: &str) {
    let model = Sequential::input([3]).dense(2).build(&mut Rng::seed(0)).unwrap();
    let metadata = BTreeMap::from([(KEY.to_owned(), architecture.to_owned())]);
    StateFile { state: model.state_dict(), metadata }.write(path).unwrap();
}

fn linear(in_features: &str, out_features: &str) -> String {
    format!(
        r#"{{"layer":{{"kind":"Linear","in_features":{in_features},
            "out_features":{out_features},"bias":true}}}}"#
    )
}

fn layers(layers: &[&str]) -> String {
    format!(r#"{{"version":1,"input":[3],"layers":[{}]}}"#, layers.join(","))
}

#[test]
fn architectures_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network");
    let sound = linear("3", "2");
    write(&path, &layers(&[&sound]));
    Sequential::load(&path).unwrap();
    write(&path, &layers(&[&linear("null", "2")]));
    Sequential::load(&path).unwrap();

    let conv = |padding: &str| {
        let layer = format!(
            r#"{{"layer":{{"kind":"Conv2d","in_channels":1,"out_channels":2,"kernel_size":[1,1],
                "stride":[1,1],"padding":[{padding},0],"dilation":[1,1],"groups":1,
                "bias":false}}}}"#
        );
        layers(&[&layer]).replace("[3]", "[1,3,3]")
    };
    let cases = [
        (String::new(), "the architecture: "),
        ("nonsense".to_owned(), "the architecture: "),
        ("[".repeat(100_000), "the architecture: "),
        ("{}".to_owned(), "version"),
        (layers(&[&sound]).replace(":1,", ":2,"), "format version 2, this program reads 1"),
        (layers(&[&sound]).replace(":1,", ":-1,"), "the architecture: "),
        (layers(&[&sound]).replace("\"input\"", "\"inputs\""), "unknown field `inputs`"),
        (layers(&[&sound]).replace("Linear", "Quadratic"), "unknown kind of layer \"Quadratic\""),
        (layers(&[&sound]).replace("bias", "bios"), "unknown field `bios`"),
        (layers(&[&sound]).replace("true", "3"), "the architecture: "),
        (layers(&[&sound]).replace("[3]", "[5]"), "layer 0 (Linear): expected […, 3], got [5]"),
        (layers(&[&sound]).replace("[3]", "[]"), "layer 0 (Linear)"),
        (layers(&[&sound]).replace("[3]", "[18446744073709551615,3]"), "more than"),
        (layers(&[&linear("3", "-2")]), "the architecture: "),
        (layers(&[&linear("3", "18446744073709551615")]), "more than 2147483648 values"),
        (conv("1099511627776"), "layer 0 (Conv2d): a padded input of"),
        (conv("18446744073709551615"), "layer 0 (Conv2d)"),
        // A small output from a huge padded image.
        (
            conv("1099511627776").replace("\"stride\":[1,1]", "\"stride\":[1099511627776,1]"),
            "layer 0 (Conv2d): a padded input of",
        ),
        (
            layers(&[r#"{"layer":{"kind":"AvgPool2d","kernel_size":[65535,65535],"stride":[1,1],
                "padding":[32767,32767],"ceil_mode":false,"count_include_pad":true}}"#])
            .replace("[3]", "[1,3,3]"),
            "layer 0 (AvgPool2d): a padded input of [65537, 65537]",
        ),
        // Valid sizes that differ from those in the file.
        (layers(&[]), "unexpected: 0.bias, 0.weight"),
        (layers(&[&sound, &linear("2", "2")]), "missing: 1.weight, 1.bias"),
        (layers(&[&sound]).replace("{\"layer\"", "{\"name\":\"fc\",\"layer\""), "missing: fc."),
        (
            layers(&[&sound]).replace("{\"layer\"", "{\"name\":\"\",\"layer\""),
            "a name must not be empty",
        ),
        (
            layers(&[&sound, r#"{"layer":{"kind":"Dropout","p":1.5}}"#]),
            "layer 1 (Dropout): expected a probability p in 0 ..= 1, got 1.5",
        ),
        (layers(&[&sound, r#"{"layer":{"kind":"ReLU","p":1.5}}"#]), "the architecture: "),
        (layers(&[&sound, r#"{"layer":{"kind":"Softmax","axis":9}}"#]), "layer 1 (Softmax)"),
        (
            layers(&[
                &sound,
                r#"{"layer":{"kind":"Flatten","start":-9,"end":9223372036854775807}}"#,
            ]),
            "layer 1 (Flatten)",
        ),
        (
            layers(&[
                &sound,
                r#"{"layer":{"kind":"BatchNorm1d","num_features":2,"eps":-1.0,"momentum":0.1,
                    "affine":false}}"#,
            ]),
            "layer 1 (BatchNorm1d): eps must be",
        ),
    ];
    for (architecture, expected) in cases {
        write(&path, &architecture);
        let error = Sequential::load(&path).unwrap_err().to_string();
        let start: String = architecture.chars().take(200).collect();
        assert!(error.contains(expected), "{error}\nfor {start}");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    // 4 TB. Which of the errors comes first depends on the memory of the system.
    write(&path, &layers(&[&linear("3", "1073741824"), &linear("null", "1024")]));
    let error = Sequential::load(&path).unwrap_err().to_string();
    let refusals = ["mismatched: 0.weight", "do not fit into memory"];
    assert!(refusals.iter().any(|refusal| error.contains(refusal)), "{error}");
}

#[test]
fn a_failed_save_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network");
    let model = network();
    model.save(&path).unwrap();
    let before = fs::read(&path).unwrap();
    // A tensor cannot have the name of the metadata.
    let mut state = StateDict::new();
    state.insert("__metadata__", Tensor::from([1.0_f32]));
    let file = StateFile { state, metadata: BTreeMap::new() };
    assert!(file.write(&path).unwrap_err().to_string().contains("cannot be named __metadata__"));
    assert!(model.save(folder.path().join("missing/network")).is_err());
    assert!(model.save(folder.path()).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
