//! Settings of networks: layers in evaluation mode, token ids, the last step of a
//! recurrent layer, and the builder methods of all layer kinds.

use dendra_nn::autograd::{Tape, Var};
use dendra_nn::tensor::{Ops, Rng, Tensor};
use dendra_nn::{
    AvgPool3d, Dropout, GRU, GroupNorm, LSTM, Module, Parameters, RNN, Sequential,
    SequentialBuilder, Upsample,
};

fn built(builder: SequentialBuilder) -> Sequential {
    builder.build(&mut Rng::seed(7)).unwrap()
}

fn message(builder: SequentialBuilder) -> String {
    builder.build(&mut Rng::seed(7)).unwrap_err().to_string()
}

#[test]
fn a_part_in_evaluation_mode_keeps_its_statistics_while_gradients_flow() {
    let network = |frozen: bool| {
        let builder = Sequential::input([3]).dense(4).batch_norm1d().named("norm");
        let builder = if frozen { builder.in_evaluation() } else { builder };
        built(builder.layer(Dropout::new(0.5).unwrap()).in_evaluation().dense(2))
    };
    let x = Tensor::normal([6, 3], 1.0, 2.0, &mut Rng::seed(1));
    let state_after_a_step = |model: &mut Sequential| {
        let y = model.forward(&Tape::training(0, 0).input(x.clone())).unwrap();
        let gradients = y.square().sum().backward().unwrap();
        assert!(model.named_parameters().iter().all(|(_, p)| gradients.get(p).is_some()));
        let first = gradients.get(model.named_parameters()[0].1).unwrap();
        assert!(first.to_vec().iter().any(|&g| g != 0.0), "gradients flow through the part");
        model.apply_updates(&gradients).unwrap();
        (y.into_value(), model.state_dict())
    };
    let mut model = network(true);
    let (before, evaluated) = (model.state_dict(), model.forward(&Var::new(x.clone())).unwrap());
    let (y, after) = state_after_a_step(&mut model);
    assert_eq!(after, before);
    assert_eq!(&y, evaluated.value(), "statistics and dropout are those of evaluation");

    let mut training = network(false);
    assert_ne!(state_after_a_step(&mut training).1, before, "the statistics of others move");

    // The layers after it are in training mode.
    let builder = Sequential::input([3]).batch_norm1d().in_evaluation().dropout(0.5);
    let y = built(builder).forward(&Tape::training(0, 0).input(Tensor::ones([50, 3]))).unwrap();
    assert!(y.value().to_vec().contains(&0.0));
}

#[test]
fn evaluation_mode_of_a_part_is_saved_and_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let mut model = built(Sequential::input([3]).dense(4).batch_norm1d().dense(2));
    model.set_evaluation("1", true).unwrap();
    assert!(model.summary().to_string().contains("1  BatchNorm1d 4, in evaluation mode"));
    model.save(&path).unwrap();
    let mut again = Sequential::load(&path).unwrap();
    assert_eq!(again.summary(), model.summary());
    again.set_evaluation("1", false).unwrap();
    assert_ne!(again.summary(), model.summary());
    let error = again.set_evaluation("norm", true).unwrap_err().to_string();
    assert_eq!(
        error,
        "Sequential::set_evaluation: no layer is named \"norm\"; the layers are 0, 1, 2"
    );
    let stray = Sequential::input([3]).in_evaluation().dense(1);
    assert!(message(stray).contains("in_evaluation() refers to the previous layer"));
}

fn classifier() -> Sequential {
    built(Sequential::tokens([4]).embedding(9, 6).gru(5).last_step().dense(2))
}

#[test]
fn a_network_of_token_ids_trains_and_comes_back() {
    let model = classifier();
    let ids = Tensor::from([[1, 2, 3, 8], [0, 0, 5, 1]]);
    let y = model.forward_tokens(&ids, Some(&Tape::training(0, 0))).unwrap();
    assert_eq!(*y.shape(), [2, 2]);
    let gradients = y.sum().backward().unwrap();
    assert!(model.named_parameters().iter().all(|(_, p)| gradients.get(p).is_some()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert!(again.takes_tokens());
    assert_eq!(again.forward_tokens(&ids, None).unwrap().value(), y.value());
    assert_eq!(model.summary().rows[0].layer, "tokens");
    // A network of tokens inside another network.
    let outer = built(Sequential::tokens([4]).layer(model.clone()).in_evaluation().softmax());
    let inner = outer.forward_tokens(&ids, Some(&Tape::training(0, 0))).unwrap();
    assert_eq!(inner.value(), &y.value().softmax(-1).unwrap());
    assert!(inner.is_training());
}

#[test]
fn ids_and_floats_that_meet_the_wrong_network_are_told() {
    let model = classifier();
    assert_eq!(
        model.forward(&Var::new(Tensor::zeros([2, 4]))).unwrap_err().to_string(),
        "Sequential: expected token ids of shape [N, 4], got floats of shape [2, 4]: \
         Sequential::tokens starts a network of token ids, Sequential::input one of floats"
    );
    let refuse = |ids: &Tensor<i64>| model.forward_tokens(ids, None).unwrap_err().to_string();
    assert_eq!(refuse(&Tensor::from([[1, 2]])), "Sequential: expected [N, 4], got [1, 2]");
    assert_eq!(
        refuse(&Tensor::from([[1, 2, 9, 0]])),
        "0 (Embedding 9 × 6): index 9 at position 2 of [1, 4] is out of range for a table of 9 \
         rows"
    );
    let floats = built(Sequential::input([4]).embedding(9, 6));
    let error = floats.forward_tokens(&Tensor::from([[1, 2, 3, 4]]), None).unwrap_err();
    assert!(error.to_string().contains("expected floats of shape [N, 4], got token ids"));
    assert_eq!(
        message(Sequential::tokens([4]).dense(2)),
        "layer 0 (Linear): expected an Embedding, an EmbeddingBag or a network of tokens as the \
         first layer of a network of token ids"
    );
    assert!(message(Sequential::tokens([4])).contains("no layer takes token ids"));
    assert!(message(Sequential::tokens([0]).embedding(2, 2)).starts_with("Sequential::tokens:"));
}

#[test]
fn recurrent_layers_give_the_last_step_or_the_last_state() {
    let x = Tensor::normal([2, 5, 3], 0.0, 1.0, &mut Rng::seed(3));
    let run = |builder: SequentialBuilder| {
        let model = built(builder);
        let y = model.forward(&Var::new(x.clone())).unwrap().into_value();
        assert_eq!(y.shape()[1..], model.output_shape()[..]);
        y
    };
    let input = || Sequential::input([5, 3]);
    let step = |y: &Tensor, at: usize| y.narrow(1, at, 1).unwrap().squeeze(1).unwrap();
    assert_eq!(run(input().gru(4).last_step()), step(&run(input().gru(4)), 4));
    let gru = |state| GRU::lazy(4).batch_first(true).last_state(state);
    assert_eq!(run(input().layer(gru(true))), step(&run(input().gru(4)), 4));
    // The last state of the backward direction is that of the first step.
    let lstm = || LSTM::lazy(4).batch_first(true).bidirectional(true).num_layers(2);
    let outputs = run(input().layer(lstm()));
    let [forwards, backwards] =
        [(4, 0), (0, 4)].map(|(at, from)| step(&outputs, at).narrow(1, from, 4).unwrap());
    let expected = Tensor::cat(&[&forwards, &backwards], 1).unwrap();
    assert_eq!(run(input().layer(lstm().last_state(true))), expected);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let model = built(input().layer(lstm().last_state(true)).dense(2));
    model.save(&path).unwrap();
    let again = Sequential::load(&path).unwrap();
    assert_eq!(format!("{again:?}"), format!("{model:?}"));
    assert!(format!("{again:?}").contains("both directions, last state"));
    assert_eq!(
        message(Sequential::input([]).last_step()),
        "layer 0 (LastStep): expected [L, …], got []"
    );
}

#[test]
fn methods_add_what_their_rows_say() {
    let input = || Sequential::input([4, 6, 6, 6]);
    let pairs = [
        (input().avg_pool3d(2), input().layer(AvgPool3d::new(2))),
        (input().group_norm(2), input().layer(GroupNorm::lazy(2))),
        (input().upsample(2.0), input().layer(Upsample::scale_factor(2.0))),
        (input().rnn(3), input().layer(RNN::lazy(3).batch_first(true))),
        (input().dropout(0.5), input().layer(Dropout::new(0.5).unwrap())),
    ];
    for (method, layer) in pairs {
        assert_eq!(method, layer);
    }
}
