//! Training that knows of the rounding.

use dendra_datasets::{Dataset, Mnist};
use dendra_losses::CrossEntropy;
use dendra_nn::autograd::{Tape, Var};
use dendra_nn::{Conv2d, Module, Parameters, Residual, Sequential};
use dendra_optim::Adam;
use dendra_quant::aware;
use dendra_tensor::{Ops, Rng, Tensor};
use dendra_train::{Fit, Trainer};

#[test]
fn a_trainer_trains_networks_that_know_of_the_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let digits = Mnist::synthetic(400, 100, 1);
    let model = Sequential::input([1, 28, 28]).conv2d(4, 5).batch_norm2d().relu().max_pool2d(4);
    let model = model.flatten().dense(10).build(&mut Rng::seed(1)).unwrap();
    let prepared = aware::prepare(&model).unwrap();
    let mut trainer = Trainer::new(prepared, Adam::new(0.01), CrossEntropy::new());
    let before = trainer.evaluate(&digits.test).unwrap().loss;
    trainer.fit(&digits.train, Fit::epochs(3).quiet()).unwrap();
    let after = trainer.evaluate(&digits.test).unwrap().loss;
    assert!(after < 0.5 * before, "{before} became {after}");

    // Files hold such networks.
    let path = folder.path().join("aware.safetensors");
    trainer.model().save(&path).unwrap();
    let aware = Sequential::load(&path).unwrap();
    let indices: Vec<usize> = (0..100).collect();
    let x = digits.test.batch(&indices).unwrap().0;
    let output = aware.forward(&Var::new(x.clone())).unwrap().into_value();
    assert_eq!(output, trainer.model().forward(&Var::new(x.clone())).unwrap().into_value());

    // The network of integers computes what training saw.
    let (plain, ranges) = aware::restore(&aware).unwrap();
    assert_eq!(ranges.keys().collect::<Vec<_>>(), ["0", "5"]);
    assert!(ranges["5"][1] > 0.0 && ranges["0"] == [0.0, 1.0], "{ranges:?}");
    assert_eq!(plain.layer_kind("0.weight"), Some("Conv2d"));
    let integers = aware::finish(&aware, &x).unwrap().predict(&x).unwrap();
    let change = integers.sub(&output).unwrap().abs().max().unwrap().item().unwrap();
    let size = output.abs().max().unwrap().item().unwrap();
    assert!(change < 0.03 * size, "{change} of {size}");
}

#[test]
fn gradients_pass_through_the_rounding() {
    let rng = &mut Rng::seed(2);
    let model = Sequential::input([6]).dense(3).build(rng).unwrap();
    let aware = aware::prepare(&model).unwrap();
    let x = Tensor::<f32>::uniform([5, 6], -1.0, 1.0, rng);
    let gradient = |model: &Sequential| {
        let x = Tape::training(0, 0).input(x.clone());
        let gradients = model.forward(&x).unwrap().sum().backward().unwrap();
        gradients.get(model.named_parameters()[0].1).unwrap().clone()
    };
    // That of the weight is the sum of the rounded inputs.
    let difference = gradient(&aware).sub(&gradient(&model)).unwrap().abs().max().unwrap();
    assert!(difference.item().unwrap() < 5.0 * 1.0 / 255.0);
}

#[test]
fn inner_layers_keep_their_names() {
    let rng = &mut Rng::seed(3);
    let model = Sequential::input([2, 6, 6])
        .layer(Residual::new(|block| block.layer(Conv2d::lazy(2, 3).padding(1)).relu()))
        .sequential(|inner| inner.flatten().dense(4).named("fc"))
        .build(rng)
        .unwrap();
    let aware = aware::prepare(&model).unwrap();
    let state = aware.state_dict();
    for name in ["0.0.weight", "0.0.input_range", "1.fc.bias", "1.fc.input_range"] {
        assert!(state.get(name).is_some(), "{name}");
    }
    let (plain, _) = aware::restore(&aware).unwrap();
    assert_eq!(plain.state_dict(), model.state_dict());
    assert_eq!(plain.summary(), model.summary());
    assert!(aware::restore(&model).is_err());
}
