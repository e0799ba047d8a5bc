//! Traces compute the same bits as the models, for any batch size.

mod networks;
mod of_examples;

use dendra_nn::autograd::{AnyTensor, Parameters, Tape, Var};
use dendra_nn::layers::*;
use dendra_nn::tensor::{AttentionMask, Ops, Result, Rng, Shape, Tensor, Tensors};
use dendra_nn::{LayerSettings, Model, Module, NodeKind, Residual, Sequential, Trace};

use networks::{networks, networks_of_ids};

/// Traces a function of a model and replays it with other numbers of samples.
#[track_caller]
fn check_function<I: Tensors>(
    model: &dyn Parameters,
    axes: &[Option<usize>],
    inputs: impl Fn(usize, u64) -> I,
    function: impl Fn(&I, &Tape) -> Result<Vec<Var>>,
) -> Trace {
    let mut last = None;
    for traced in [1, 2, 4] {
        let trace = Trace::along(axes, model, &inputs(traced, 1), &function);
        let trace = trace.unwrap_or_else(|error| panic!("{error}"));
        for samples in [1, 2, 5] {
            let x = inputs(samples, 7);
            let expected = function(&x, &Tape::inference()).unwrap();
            let found = trace.replay(&x).unwrap_or_else(|error| panic!("{error}\n{trace}"));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let expected = AnyTensor::from(expected.into_value());
                assert_eq!(found.shape(), expected.shape(), "{trace}");
                assert!(found.has_bits_of(&expected), "{samples} samples\n{trace}");
            }
        }
        last = Some(trace);
    }
    last.unwrap()
}

#[track_caller]
fn check(model: &Sequential, sample: impl Fn(&Shape, u64) -> Tensor) -> Trace {
    let inputs = |samples: usize, seed: u64| {
        let shape = [samples].into_iter().chain(model.input_shape().iter().copied());
        sample(&shape.collect(), seed)
    };
    check_function(model, &[Some(0)], inputs, |x, tape| {
        Ok(vec![model.forward(&tape.input(x.clone()))?])
    })
}

fn normal(shape: &Shape, seed: u64) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

fn ids(shape: &Shape, seed: u64) -> Tensor {
    Tensor::uniform(shape, 0.0, 6.99, &mut Rng::seed(seed)).floor()
}

#[test]
fn every_layer_is_replayed_to_the_bit() {
    for builder in networks() {
        check(&builder.build(&mut Rng::seed(3)).unwrap(), normal);
    }
}

#[test]
fn layers_of_ids_are_replayed_to_the_bit() {
    for builder in networks_of_ids() {
        check(&builder.build(&mut Rng::seed(3)).unwrap(), ids);
    }
}

#[test]
fn no_kind_of_layer_is_left_out() {
    let mut seen: Vec<String> = Vec::new();
    for builder in networks().into_iter().chain(networks_of_ids()) {
        let model = builder.build(&mut Rng::seed(3)).unwrap();
        let first = |text: String| text.split([' ', ',']).next().map(str::to_owned);
        seen.extend(model.layers().filter_map(|layer| first(layer.description)));
    }
    let missing: Vec<&&str> =
        LayerSettings::KINDS.iter().filter(|kind| !seen.iter().any(|seen| seen == *kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_network_of_tokens_with_a_closure_is_replayed() {
    let block = Sequential::input([6]).dense(6).relu().build(&mut Rng::seed(4)).unwrap();
    let builder = Sequential::tokens([5]).embedding(7, 3).map("last", |x| x.narrow(1, 3, 2));
    let builder = builder.flatten().layer(block).named("block").dense(2);
    let model = builder.build(&mut Rng::seed(3)).unwrap();
    let inputs = |samples: usize, seed: u64| {
        Tensor::from_fn([samples, 5], |place| (place as i64 * 3 + seed as i64) % 7)
    };
    let run = |ids: &Tensor<i64>, tape: &Tape| Ok(vec![Model::run(&model, ids, tape)?]);
    let trace = check_function(&model, &[Some(0)], inputs, run);
    let parts: Vec<&str> = trace.parts().iter().map(|part| part.path.as_str()).collect();
    assert_eq!(parts, ["0", "1", "2", "block.0", "block.1", "4"], "{trace}");
    let trace = Trace::of(&model, &inputs(1, 2)).unwrap();
    assert_eq!(*trace.replay(&inputs(3, 1)).unwrap()[0].shape(), [3, 2]);
}

#[test]
fn attention_with_masks_that_come_from_data() {
    let rng = &mut Rng::seed(3);
    let plain = MultiheadAttention::new(4, 2).batch_first(true);
    let settings =
        [plain.clone(), plain.clone().add_bias_kv(true).add_zero_attn(true), plain.rotary(100.0)];
    for settings in settings {
        let attention = settings.init(rng).unwrap();
        let keep = Tensor::from_fn([5, 5], |place| place % 3 != 1);
        let add = Tensor::from_fn([5, 5], |place| (place % 4) as f32);
        for (mask, is_causal) in [
            (AttentionMask::None, false),
            (AttentionMask::None, true),
            (AttentionMask::Keep(keep), false),
            (AttentionMask::Add(add), false),
        ] {
            let inputs = |samples, seed| {
                let x = normal(&[samples, 5, 4].into(), seed);
                let padding =
                    Tensor::from_fn([samples, 5], |place| (place as u64 * 7 + seed) % 5 == 1);
                (x, padding)
            };
            let attend = |(x, padding): &(Tensor, Tensor<bool>), tape: &Tape| {
                let x = tape.input(x.clone());
                // Traces do not support padding together with an additive mask.
                let is_added = matches!(mask, AttentionMask::Add(_));
                let key_padding_mask = (!is_added).then_some(padding);
                let mask = mask.clone();
                let options = || Attend {
                    key_padding_mask,
                    is_causal,
                    mask: mask.clone(),
                    ..Attend::default()
                };
                let y = attention.attend(&x, &x, &x, options())?;
                let (z, weights) = attention.attend_with_weights(
                    &x,
                    &x,
                    &x,
                    options(),
                    AttentionWeights::Averaged,
                )?;
                Ok(vec![y, z, weights])
            };
            check_function(&attention, &[Some(0), Some(0)], inputs, attend);
        }
    }
}

#[test]
fn a_transformer_is_replayed_and_its_parts_are_named() {
    #[derive(dendra_nn::Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Gpt {
        tokens: Embedding,
        positions: LearnedPositions,
        blocks: TransformerEncoder,
        head: Linear,
    }

    let rng = &mut Rng::seed(3);
    let block = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
    let gpt = Gpt {
        tokens: Embedding::new(7, 8).init(rng).unwrap(),
        positions: LearnedPositions::new(6, 8, rng).unwrap(),
        blocks: block.stack_encoder(2, rng).unwrap(),
        head: Linear::new(8, 7).init(rng).unwrap(),
    };
    let inputs = |samples: usize, seed: u64| {
        Tensor::from_fn([samples, 5], |place| (place as i64 * 5 + seed as i64) % 7)
    };
    let trace = check_function(&gpt, &[Some(0)], inputs, |ids, tape| {
        let x = gpt.positions.forward(&gpt.tokens.lookup(ids, Some(tape))?)?;
        let causal = Attend { is_causal: true, ..Attend::default() };
        let logits = gpt.head.forward(&gpt.blocks.encode(&x, &causal)?.flatten(0, 1)?)?;
        Ok(vec![logits])
    });
    let text = trace.to_string();
    println!("{}", trace.summary());
    for line in ["embedding(tokens.weight, indices=x, ", "[N, 5, 8]", "[N·5, 7]"] {
        assert!(text.contains(line), "{text}");
    }
    let parts: Vec<&str> = trace.parts().iter().map(|part| part.path.as_str()).collect();
    for part in ["tokens", "positions", "blocks.layers.0.self_attn", "blocks.layers.1", "head"] {
        assert!(parts.contains(&part), "{parts:?}");
    }
}

#[test]
fn sequences_with_lengths_are_replayed() {
    let gru = GRU::new(3, 4).init(&mut Rng::seed(1)).unwrap();
    let inputs = |samples: usize, seed: u64| {
        let lengths: Vec<usize> = (0..samples).map(|i| (i * 3 + seed as usize) % 5 + 1).collect();
        (normal(&[5, samples, 3].into(), seed), lengths)
    };
    let trace = check_function(&gru, &[Some(1), Some(0)], inputs, |(x, lengths), tape| {
        let (y, state) = gru.run(&tape.input(x.clone()), None, Some(lengths))?;
        Ok(vec![y, state.h])
    });
    assert!(trace.to_string().contains("lengths=x1"), "{trace}");
}

#[test]
fn what_no_trace_sees_is_refused_with_its_place() {
    let net = Sequential::input([3]).dense(2).named("fc").build(&mut Rng::seed(1)).unwrap();
    let x = normal(&[4, 3].into(), 1);
    let refused = |function: &dyn Fn(&Var) -> Result<Var>| {
        let trace = Trace::of_function(&net, &x, |x, tape| function(&tape.input(x.clone())));
        trace.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let hidden = refused(&|x| {
        let negative = x.value().lt_scalar(0.0);
        net.forward(x)?.narrow(1, 0, 1)?.where_mask(&negative, x)
    });
    assert_eq!(
        hidden,
        "Trace: the setting `mask` of `where_mask` depends on the inputs through a computation \
         that was not recorded; record it with Tape::note"
    );
    let scaled = refused(&|x| {
        let mean = x.value().mean();
        net.forward(&x.mul(&Var::new(mean))?)
    });
    assert!(scaled.contains("a constant of shape [] in `mul`"), "{scaled}");
    let branch = refused(&|x| {
        let y = net.forward(x)?;
        if x.shape()[0] > 2 { Ok(y.relu()) } else { Ok(y.tanh()) }
    });
    assert!(branch.contains("the number of samples: `tanh`"), "{branch}");
    let none = Trace::of(&net, &Tensor::<f32>::zeros([0, 3])).err().unwrap().to_string();
    assert_eq!(none, "Trace: expected inputs of at least one sample");
    let trace = Trace::of(&net, &x).unwrap();
    let wrong = trace.replay(&Tensor::<f32>::zeros([4, 2])).unwrap_err().to_string();
    assert!(wrong.contains("expected input 0 to be f32 [N, 3], got f32 [4, 2]"), "{wrong}");
}

#[test]
fn a_network_in_a_model_has_its_path_and_frozen_parameters_their_names() {
    #[derive(dendra_nn::Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Twin {
        left: Sequential,
        right: Sequential,
    }

    let net = |seed| {
        let builder = Sequential::input([6]).dense(4).relu().dropout(0.5);
        builder.layer(Residual::new(|b| b.tanh().dense(4))).build(&mut Rng::seed(seed)).unwrap()
    };
    let mut twin = Twin { left: net(1), right: net(2) };
    twin.left.set_trainable(false);
    let trace = check_function(
        &twin,
        &[Some(0)],
        |samples, seed| normal(&[samples, 6].into(), seed),
        |x, tape| {
            let x = tape.input(x.clone());
            Ok(vec![twin.left.forward(&x)?.sub(&twin.right.forward(&x)?)?])
        },
    );
    let parts: Vec<(&str, &str)> =
        trace.parts().iter().map(|part| (part.path.as_str(), part.description.as_str())).collect();
    assert_eq!(parts[..2], [("left.0", "Linear 6 → 4"), ("left.1", "ReLU")], "{trace}");
    assert!(parts.contains(&("right.1", "ReLU")) && parts.contains(&("", "")), "{parts:?}");
    let frozen = trace.nodes().iter().filter_map(|node| match &node.kind {
        NodeKind::Parameter { name, trainable: false, .. } => Some(name.as_str()),
        _ => None,
    });
    let frozen: Vec<&str> = frozen.collect();
    assert_eq!(frozen.len(), 4);
    assert!(frozen.contains(&"left.0.weight"), "{frozen:?}");
}
