//! Traces compute what the models compute, to the bit, for any batch.

use dendra_autograd::{AnyTensor, Parameters, Tape, Var};
use dendra_nn::layers::*;
use dendra_nn::{Module, Sequential, SequentialBuilder, Trace};
use dendra_tensor::{Ops, Result, Rng, Shape, Tensor};

/// Traces a model on some samples and replays it on other numbers of them.
#[track_caller]
fn check(model: &Sequential, sample: impl Fn(&Shape, u64) -> Tensor) {
    let shape = |samples: usize| -> Shape {
        [samples].into_iter().chain(model.input_shape().iter().copied()).collect()
    };
    for traced in [1, 2, 4] {
        let trace = Trace::of(model, &sample(&shape(traced), 1)).unwrap();
        for samples in [1, 2, 5] {
            let x = sample(&shape(samples), 7);
            let expected = model.forward(&Var::new(x.clone())).unwrap().into_value();
            let found = trace.replay(&x).unwrap_or_else(|error| panic!("{error}\n{trace}"));
            assert!(found[0].has_bits_of(&expected.into()), "{model:?}\n{trace}");
        }
    }
}

fn normal(shape: &Shape, seed: u64) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

fn ids(shape: &Shape, seed: u64) -> Tensor {
    Tensor::uniform(shape, 0.0, 6.99, &mut Rng::seed(seed)).floor()
}

/// Every kind of layer, with the shape of a sample.
fn networks() -> Vec<SequentialBuilder> {
    let vectors = || Sequential::input([12]);
    let sequences = || Sequential::input([4, 6]);
    let images = || Sequential::input([4, 6, 6]);
    let volumes = || Sequential::input([4, 4, 4, 4]);
    vec![
        vectors().dense(5),
        sequences().layer(Conv1d::lazy(3, 2)),
        images().conv2d(3, 3).relu().max_pool2d(2),
        images().layer(Conv2d::lazy(3, 3).padding(Padding::Same)).layer(ReLU6),
        volumes().layer(Conv3d::lazy(3, 2)),
    ]
}

#[test]
fn every_layer_is_replayed_to_the_bit() {
    for builder in networks() {
        check(&builder.build(&mut Rng::seed(3)).unwrap(), normal);
    }
    let _: Option<AnyTensor> = None;
}

#[test]
fn ids_find_their_vectors_again() {
    let embeddings = [
        Embedding::new(7, 3),
        Embedding::new(7, 3).padding_idx(2).max_norm(1.0),
        Embedding::new(7, 3).max_norm(0.5).norm_type(1.0),
    ];
    for embedding in embeddings {
        let model = Sequential::input([5]).layer(embedding).flatten().dense(2);
        check(&model.build(&mut Rng::seed(3)).unwrap(), ids);
    }
}
