//! Networks of integers.

use dendra_autograd::Var;
use dendra_nn::{Conv2d, Residual, Sequential};
use dendra_quant::{Quantised, Quantizer, Scheme};
use dendra_tensor::{Ops, Rng, Tensor};

use super::keep;
use crate::{Export, Model};

/// The outputs of the file of a network. ONNX Runtime has to give those of the
/// network, too.
fn exported(name: &str, network: &Quantised, x: &Tensor<f32>) -> Tensor<f32> {
    let file = Export::of_quantised(network).unwrap().to_bytes().unwrap();
    let expected = Var::new(network.predict(x).unwrap());
    keep(name, &file, &[x.clone().into()], &[expected]);
    let outputs = Model::parse(&file).unwrap().run([("input", x.clone())]).unwrap();
    outputs.get("output").unwrap().to::<f32>().unwrap()
}

/// The largest difference, in parts of the largest element of `b`.
fn difference(a: &Tensor<f32>, b: &Tensor<f32>) -> f32 {
    let largest = |x: &Tensor<f32>| x.abs().max().unwrap().item().unwrap();
    largest(&a.sub(b).unwrap()) / largest(b)
}

#[test]
fn files_compute_the_integers_of_the_network() {
    let rng = &mut Rng::seed(1);
    let net = Sequential::input([3, 12, 12])
        .layer(Conv2d::lazy(8, 3).padding(1))
        .batch_norm2d()
        .relu()
        .max_pool2d(2)
        .layer(Conv2d::lazy(8, 3).groups(8).stride(2))
        .relu6()
        .conv2d(6, 1)
        .flatten()
        .dense(10)
        .relu()
        .dense(4)
        .build(rng)
        .unwrap();
    let x = Tensor::<f32>::normal([5, 3, 12, 12], 0.0, 1.0, rng);
    let mut quantizer = Quantizer::of(&net, &x).unwrap();
    quantizer.observe(&x).unwrap();
    let network = quantizer.finish(Scheme::Static).unwrap();
    assert_eq!(exported("integers", &network, &x), network.predict(&x).unwrap());

    // Layers that stay float, and networks without integers.
    quantizer.keep_float(["4", "8"]).unwrap();
    let network = quantizer.finish(Scheme::Static).unwrap();
    let y = exported("integers_and_floats", &network, &x);
    let expected = network.predict(&x).unwrap();
    assert!(difference(&y, &expected) < 0.02);
    let dynamic = quantizer.finish(Scheme::Dynamic).unwrap();
    assert!(Export::of_quantised(&dynamic).is_err());
}

#[test]
fn residual_blocks_keep_bytes() {
    let rng = &mut Rng::seed(2);
    let block = Residual::new(|block| {
        let block = block.layer(Conv2d::lazy(6, 3).padding(1)).batch_norm2d().relu();
        block.layer(Conv2d::lazy(6, 3).padding(1)).batch_norm2d()
    });
    let net = Sequential::input([3, 10, 10]).layer(Conv2d::lazy(6, 3).stride(2)).relu();
    let net = net.layer(block).relu().flatten().dense(5).build(rng).unwrap();
    let x = Tensor::<f32>::normal([4, 3, 10, 10], 0.0, 1.0, rng);
    let mut quantizer = Quantizer::of(&net, &x).unwrap();
    quantizer.observe(&x).unwrap();
    let network = quantizer.finish(Scheme::Static).unwrap();
    // The sum is one of floats when Dendra reads the file, and may be rounded to the
    // next byte.
    let y = exported("integers_residual", &network, &x);
    assert!(difference(&y, &network.predict(&x).unwrap()) < 0.01);
}
