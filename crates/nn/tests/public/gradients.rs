//! Comparison of the gradients of whole networks in training mode with central
//! differences, for every parameter and for the input.

use dendra_nn::autograd::{EntryMut, Gradients, Path, Tape, Var};
use dendra_nn::tensor::{Ops, Result, Rng, Tensor};
use dendra_nn::{Conv2d, ELU, LeakyReLU, MaxPool2d, Module, Parameters, Sequential};

/// Computes a scalar from the output of a network, with the same dropout masks in
/// every call.
fn run(model: &Sequential<f64>, x: &Tensor<f64>) -> Result<(Var<f64>, Var<f64>)> {
    let x = Tape::training(7, 3).leaf(x.clone());
    let y = model.forward(&x)?;
    let weights = Tensor::normal(y.shape(), 0.0, 1.0, &mut Rng::seed(8));
    Ok((y.mul(&Var::new(weights))?.sum(), x))
}

fn value(model: &Sequential<f64>, x: &Tensor<f64>) -> f64 {
    run(model, x).unwrap().0.value().item().unwrap()
}

/// Returns the network with one changed parameter.
fn moved(model: &Sequential<f64>, name: &str, by: &Tensor<f64>) -> Sequential<f64> {
    let mut model = model.clone();
    model.visit_mut(&mut Path::default(), &mut |path, entry| {
        if let EntryMut::Param(param) = entry
            && path.as_str() == name
        {
            let value = param.value() + by;
            param.set(value).unwrap();
        }
    });
    model
}

#[track_caller]
fn assert_slope(what: &str, gradient: &Tensor<f64>, difference: impl Fn(&Tensor<f64>) -> f64) {
    let mut rng = Rng::seed(9);
    for _ in 0..3 {
        let direction = Tensor::normal(gradient.shape(), 0.0, 1.0, &mut rng);
        let step = 1e-6;
        let expected = difference(&(&direction * step)) - difference(&(&direction * -step));
        let expected = expected / (2.0 * step);
        let found = (gradient * &direction).sum().item().unwrap();
        let scale = 1.0 + expected.abs().max(found.abs());
        assert!((found - expected).abs() <= 1e-6 * scale, "{what}: {found} for {expected}");
    }
}

fn assert_gradients(model: &Sequential<f64>, x: &Tensor<f64>) {
    let (loss, leaf) = run(model, x).unwrap();
    let gradients: Gradients<f64> = loss.backward().unwrap();
    for (name, param) in model.named_parameters() {
        let gradient = gradients.get(param).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_slope(&name, gradient, |by| value(&moved(model, &name, by), x));
    }
    let gradient = gradients.wrt(&leaf).unwrap();
    assert_slope("input", gradient, |by| value(model, &(x + by)));
}

#[test]
fn of_a_network_of_images() {
    let builder = Sequential::input([2, 9, 8])
        .layer(Conv2d::lazy(4, [3, 2]).padding(1).stride((1, 2)).groups(2))
        .batch_norm2d()
        .silu()
        .layer(MaxPool2d::new(3).stride(2).padding(1))
        .layer(Conv2d::lazy(3, 2).bias(false))
        .layer(LeakyReLU::new(0.2))
        .avg_pool2d(2)
        .flatten()
        .dropout(0.3)
        .dense(5)
        .softplus();
    let mut rng = Rng::seed(1);
    let model = builder.build_as(&mut rng).unwrap();
    assert_gradients(&model, &Tensor::normal([4, 2, 9, 8], 0.0, 1.0, &mut rng));
}

#[test]
fn of_a_network_of_vectors() {
    let builder = Sequential::input([6])
        .dense(8)
        .batch_norm1d()
        .relu()
        .dense(7)
        .layer(ELU::new(0.5))
        .dropout(0.5)
        .dense(6)
        .gelu()
        .dense(5)
        .tanh()
        .dense(4)
        .sigmoid()
        .softmax()
        .dense(3)
        .log_softmax();
    let mut rng = Rng::seed(2);
    let model = builder.build_as(&mut rng).unwrap();
    assert_gradients(&model, &Tensor::normal([10, 6], 0.0, 1.0, &mut rng));
}
