//! Custom layers, networks and closures inside a network: their names, their
//! error messages, and their representation in files.

use dendra_nn::autograd::{Tape, Var};
use dendra_nn::tensor::{Error, Ops, Result, Rng, Shape, Tensor};
use dendra_nn::{
    Layer, Linear, Module, Parameters, SavedLayer, Sequential, TransformerEncoderLayer, load,
    register_layer, save,
};

/// Multiplies each channel of an image by a number that depends on all channels
/// (Hu et al., "Squeeze-and-excitation networks", 2018).
#[derive(Clone, Parameters)]
#[parameters(crate = dendra_nn)]
struct SqueezeExcite {
    fc1: Linear,
    fc2: Linear,
}

impl SqueezeExcite {
    fn new(channels: usize, squeezed: usize, rng: &mut Rng) -> Result<Self> {
        let (fc1, fc2) = (Linear::new(channels, squeezed), Linear::new(squeezed, channels));
        Ok(Self { fc1: fc1.init(rng)?, fc2: fc2.init(rng)? })
    }
}

impl Module for SqueezeExcite {
    fn forward(&self, x: &Var) -> Result<Var> {
        let means = x.mean_axes(&[2, 3], false)?;
        let gates = self.fc2.forward(&self.fc1.forward(&means)?.relu())?.sigmoid();
        x.mul(&gates.unsqueeze(2)?.unsqueeze(3)?)
    }
}

impl Layer for SqueezeExcite {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let channels = self.fc1.weight.value().shape()[1];
        match input[..] {
            [first, _, _] if first == channels => Ok(input.clone()),
            _ => Err(Error::shape("", format!("expected [{channels}, H, W], got {input}"))),
        }
    }
}

impl SavedLayer for SqueezeExcite {
    const KIND: &'static str = "SqueezeExcite";
    type Settings = (usize, usize);

    fn settings(&self) -> (usize, usize) {
        let shape = self.fc1.weight.value().shape();
        (shape[1], shape[0])
    }

    fn from_settings((channels, squeezed): (usize, usize)) -> Result<Self> {
        Self::new(channels, squeezed, &mut Rng::seed(0))
    }
}

fn network(rng: &mut Rng) -> Result<Sequential> {
    let block = Sequential::input([4, 3, 3]).conv2d(4, 1).relu().build(rng)?;
    Sequential::input([1, 4, 4])
        .conv2d(4, 2)
        .layer(SqueezeExcite::new(4, 2, rng)?)
        .layer(block)
        .sequential(|block| block.batch_norm2d().named("norm").relu())
        .residual(|block| block.layer(Linear::lazy(3)))
        .flatten()
        .dense(2)
        .build(rng)
}

#[test]
fn layers_of_ones_own_and_networks_stand_in_a_network() {
    let model = network(&mut Rng::seed(1)).unwrap();
    let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "0.weight",
            "0.bias",
            "1.fc1.weight",
            "1.fc1.bias",
            "1.fc2.weight",
            "1.fc2.bias",
            "2.0.weight",
            "2.0.bias",
            "3.norm.weight",
            "3.norm.bias",
            "4.0.weight",
            "4.0.bias",
            "6.weight",
            "6.bias",
        ]
    );
    assert_eq!(
        format!("{model:?}"),
        "Sequential [N, 1, 4, 4] {\n    0: Conv2d 1 → 4, 2×2\n    1: SqueezeExcite\n    \
         2: Sequential of 2 layers\n    3: Sequential of 2 layers\n    4: Residual of 1 layer\n    \
         5: Flatten\n    6: Linear 36 → 2\n}"
    );
    assert_eq!(model.layer_kind("1.fc1.weight"), Some("SqueezeExcite"));
    let x = Tape::training(0, 0).input(Tensor::normal([5, 1, 4, 4], 0.0, 1.0, &mut Rng::seed(2)));
    let gradients = model.forward(&x).unwrap().sum().backward().unwrap();
    assert!(model.named_parameters().iter().all(|(_, param)| gradients.get(param).is_some()));
}

#[test]
fn a_network_inside_keeps_its_weights_and_trains_apart() {
    let rng = &mut Rng::seed(1);
    let body = Sequential::input([3]).dense(4).relu().build(rng).unwrap();
    let model = Sequential::input([3]).layer(body.clone()).dense(2).build(rng).unwrap();
    let expected = body.state_dict();
    let mut found = model.state_dict();
    assert_eq!(found.split_off("0"), expected);
    let x = Tape::training(0, 0).input(Tensor::ones([1, 3]));
    let gradients = model.forward(&x).unwrap().sum().backward().unwrap();
    assert!(body.named_parameters().iter().all(|(_, param)| gradients.get(param).is_none()));
}

#[test]
fn a_registered_kind_is_saved_and_loaded_with_the_architecture() {
    register_layer::<SqueezeExcite>().unwrap();
    register_layer::<SqueezeExcite>().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let model = network(&mut Rng::seed(1)).unwrap();
    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert_eq!(again.state_dict(), model.state_dict());
    assert_eq!(format!("{again:?}"), format!("{model:?}"));
    let x = Var::new(Tensor::normal([2, 1, 4, 4], 0.0, 1.0, &mut Rng::seed(2)));
    assert_eq!(again.forward(&x).unwrap().value(), model.forward(&x).unwrap().value());
}

/// A layer kind that is never registered.
#[derive(Clone, Parameters)]
#[parameters(crate = dendra_nn)]
struct Shift {
    linear: Linear,
}

impl Module for Shift {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.linear.forward(x)
    }
}

impl Layer for Shift {}

fn shift(width: usize) -> Shift {
    Shift { linear: Linear::new(width, 2 * width).init(&mut Rng::seed(3)).unwrap() }
}

#[test]
fn what_a_file_cannot_hold_is_told_when_it_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let build = |seed: u64| {
        let builder = Sequential::input([3]).layer(shift(3)).named("shift").dense(2);
        builder.build(&mut Rng::seed(seed)).unwrap()
    };
    let model = build(1);
    assert_eq!(*model.output_shape(), [2]);
    let error = model.save(&path).unwrap_err().to_string();
    let expected = "layer shift (Shift): Shift is not a registered kind of layer, so it cannot \
                    be saved: implement SavedLayer and call register_layer::<Shift>(), or save \
                    only the state with `save`, and `load` it into a model built in code";
    assert!(error.ends_with(expected), "{error}");
    assert!(error.contains("network.safetensors") && !path.exists(), "{error}");
    // Saving only the state works.
    save(&model, &path).unwrap();
    let mut again = build(2);
    load(&mut again, &path).unwrap();
    assert_eq!(again.state_dict(), model.state_dict());

    let inner = Sequential::input([3]).residual(|block| block.layer(shift(3)).dense(3));
    let error = inner.build(&mut Rng::seed(1)).unwrap().save(&path).unwrap_err().to_string();
    assert!(error.contains("layer 0 (Residual): Shift is not a registered kind"), "{error}");
    let closure = Sequential::input([3]).map("scale", |x| Ok(x * 0.5));
    let error = closure.build(&mut Rng::seed(1)).unwrap().save(&path).unwrap_err().to_string();
    assert!(error.contains("layer 0 (scale): a closure cannot be saved"), "{error}");
}

#[test]
fn an_unknown_kind_and_a_taken_name_are_told() {
    #[derive(Clone, Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Named<const LINEAR: bool>;

    impl<const LINEAR: bool> Module for Named<LINEAR> {
        fn forward(&self, x: &Var) -> Result<Var> {
            Ok(x.clone())
        }
    }

    impl<const LINEAR: bool> Layer for Named<LINEAR> {}

    impl<const LINEAR: bool> SavedLayer for Named<LINEAR> {
        const KIND: &'static str = if LINEAR { "Linear" } else { "SqueezeExcite" };
        type Settings = ();

        fn settings(&self) {}

        fn from_settings((): ()) -> Result<Self> {
            Ok(Self)
        }
    }

    register_layer::<SqueezeExcite>().unwrap();
    let message = register_layer::<Named<true>>().unwrap_err().to_string();
    assert_eq!(message, "register_layer: another kind of layer is already named \"Linear\"");
    assert!(register_layer::<Named<false>>().unwrap_err().to_string().contains("SqueezeExcite"));
}

#[test]
fn a_module_after_init_is_a_layer() {
    let rng = &mut Rng::seed(1);
    let encoder = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
    let head = Linear::new(8, 3).init(rng).unwrap();
    let builder =
        Sequential::tokens([5]).embedding(7, 8).module(encoder.init_encoder(rng).unwrap());
    let model = builder.module(head.clone()).named("head").build(rng).unwrap();
    assert_eq!(*model.output_shape(), [5, 3]);
    assert_eq!(model.state_dict().typed("head.weight"), Some(head.weight.value()));
    assert_eq!(model.layer_kind("1.norm1.weight"), Some("TransformerEncoderLayer"));
    let ids = Tensor::from([[1, 2, 3, 4, 5]]);
    let y = model.forward_tokens(&ids, Some(&Tape::evaluation())).unwrap();
    let gradients = y.sum().backward().unwrap();
    assert!(model.named_parameters().iter().all(|(_, param)| gradients.get(param).is_some()));
}

#[test]
fn a_closure_is_a_layer() {
    let model = Sequential::input([2, 3])
        .map("scale", |x| Ok(x * 0.5))
        .map("last row", |x| x.narrow(1, 1, 1)?.squeeze(1))
        .build(&mut Rng::seed(0))
        .unwrap();
    assert_eq!(*model.output_shape(), [3]);
    let x = Var::new(Tensor::from([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]));
    assert_eq!(model.forward(&x).unwrap().value(), &Tensor::from([[2.0, 2.5, 3.0]]));
    let double = Sequential::input([3]).map_as::<f64>("negate", |x| Ok(x.neg())).dense(2);
    assert!(double.build_as::<f64>(&mut Rng::seed(0)).is_ok());
}

#[test]
fn mistakes_with_layers_of_ones_own_are_told() {
    let input = || Sequential::input([3]);
    let message = |builder: dendra_nn::SequentialBuilder| {
        builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
    };
    assert_eq!(
        message(input().layer(SqueezeExcite::new(3, 2, &mut Rng::seed(0)).unwrap())),
        "layer 0 (SqueezeExcite): expected [3, H, W], got [3]"
    );
    assert_eq!(
        message(input().dense(4).layer(shift(3))),
        "layer 1 (Shift): expected input of shape […, 3], got [2, 4]"
    );
    assert_eq!(
        message(input().map("mean", |x| x.mean_axes(&[0], false))),
        "layer 0 (mean): maps [2, 3] to [3], but axis 0 must remain the batch axis"
    );
    let body = Sequential::input([4]).dense(2).build(&mut Rng::seed(0)).unwrap();
    assert_eq!(message(input().layer(body)), "layer 0 (Sequential): expected [4], got [3]");
    assert_eq!(
        message(input().sequential(|block| block.relu().conv2d(1, 1))),
        "layer 0 (Sequential): layer 1 (Conv2d): expected [C, H, W], got [3]"
    );
    let error = input().layer(shift(3)).build_as::<f64>(&mut Rng::seed(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 0 (Shift): the layer has elements of type f32, the network of type f64"
    );
    let large = Sequential::input([1 << 30]).map("scale", |x| Ok(x * 0.5));
    assert!(message(large).contains("too large for a trial run of the layer"));
}

/// Errors of a layer contain its path, or its index in the network.
#[test]
fn errors_of_the_forward_pass_name_the_layer() {
    #[derive(Clone, Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Refuses;

    impl Module for Refuses {
        fn forward(&self, x: &Var) -> Result<Var> {
            match x.value().to_vec()[0] {
                0.0 => Ok(x.clone()),
                value => Err(Error::data("Refuses", format!("{value} is not 0"))),
            }
        }
    }

    impl Layer for Refuses {}

    let builder = Sequential::input([2]).sequential(|block| block.layer(Refuses)).named("body");
    let model = builder.build(&mut Rng::seed(0)).unwrap();
    let error = model.forward(&Var::new(Tensor::ones([1, 2]))).unwrap_err().to_string();
    assert_eq!(error, "layer body: layer 0: Refuses: 1 is not 0");
}
