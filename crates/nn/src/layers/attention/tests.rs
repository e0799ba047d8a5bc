//! Attention: names, caches, masks, weights and errors.

use approx::assert_abs_diff_eq;
use dendra_autograd::{Parameters, Tape};

use super::*;

fn layer(settings: MultiheadAttentionSettings) -> MultiheadAttention<f64> {
    settings.batch_first(true).init_as(&mut Rng::seed(1)).unwrap()
}

#[test]
fn the_state_has_pytorchs_names() {
    let names = |settings| -> Vec<String> {
        layer(settings).named_parameters().into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(
        names(MultiheadAttention::new(4, 2)),
        ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    );
    assert_eq!(
        names(MultiheadAttention::new(4, 2).add_bias_kv(true)),
        ["in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias"]
    );
    assert_eq!(
        names(MultiheadAttention::new(4, 2).kdim(3).bias(false)),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    );
}

/// A key of zeros has the score 0, and its value adds nothing.
#[test]
fn a_key_of_zeros_takes_its_share() {
    let (plain, zero) = (MultiheadAttention::new(4, 2), MultiheadAttention::new(4, 2));
    let (plain, zero) = (layer(plain), layer(zero.add_zero_attn(true)));
    let x = Var::new(Tensor::normal([2, 3, 4], 0.0, 1.0, &mut Rng::seed(2)));
    let weights = |layer: &MultiheadAttention<f64>| {
        let options = Attend { is_causal: true, ..Attend::default() };
        layer
            .attend_with_weights(&x, &x, &x, options, AttentionWeights::PerHead)
            .unwrap()
            .1
            .into_value()
    };
    let weights = [weights(&plain), weights(&zero)];
    assert_eq!(*weights[1].shape(), [2, 2, 3, 4]);
    // The other keys share the rest in the same proportions.
    let others = weights[1].narrow(-1, 0, 3).unwrap();
    let sums = others.sum_axes(&[-1], true).unwrap();
    assert_abs_diff_eq!(weights[0], others.div(&sums).unwrap(), epsilon = 1e-12);
    assert!(sums.to_vec().iter().all(|&sum| sum < 1.0));

    // With all other keys masked, only the zeros are left.
    let nothing = AttentionMask::Keep(Tensor::full([3, 3], false));
    let y = zero.attend(&x, &x, &x, Attend { mask: nothing, ..Attend::default() }).unwrap();
    assert_abs_diff_eq!(*y.value(), Tensor::zeros([2, 3, 4]), epsilon = 1e-12);
}

/// Several calls with a cache give the same result as one call.
#[test]
fn a_cache_changes_nothing() {
    for settings in [MultiheadAttention::new(8, 2), MultiheadAttention::new(8, 2).rotary(1e4)] {
        let layer = layer(settings);
        let x = Tensor::normal([2, 7, 8], 0.0, 1.0, &mut Rng::seed(2));
        let causal = || Attend { is_causal: true, ..Attend::default() };
        let whole = Var::new(x.clone());
        let all = layer.attend(&whole, &whole, &whole, causal()).unwrap();
        let mut cache = KeyValueCache::default();
        for (start, count) in [(0, 3), (3, 1), (4, 2), (6, 1)] {
            let x = Var::new(x.narrow(1, start, count).unwrap());
            let options = Attend { cache: Some(&mut cache), ..causal() };
            let y = layer.attend(&x, &x, &x, options).unwrap();
            assert_abs_diff_eq!(
                *y.value(),
                all.value().narrow(1, start, count).unwrap(),
                epsilon = 1e-12
            );
        }
        assert_eq!(cache.len(), 7);
        cache.keep_last(3).unwrap();
        assert_eq!(cache.len(), 3);
    }
}

#[test]
fn padding_changes_nothing() {
    let layer = layer(MultiheadAttention::new(8, 4));
    let x = Tensor::normal([2, 5, 8], 0.0, 1.0, &mut Rng::seed(3));
    let padding = Tensor::from_fn([2, 5], |i| i % 5 >= 3);
    let cut = Var::new(x.narrow(1, 0, 3).unwrap());
    let x = Var::new(x);
    let expected = layer.attend(&x, &cut, &cut, Attend::default()).unwrap();
    let masks = [
        AttentionMask::None,
        AttentionMask::Keep(Tensor::full([5, 5], true)),
        AttentionMask::Add(Tensor::zeros([1, 5])),
    ];
    for mask in masks {
        let options = Attend { mask, key_padding_mask: Some(&padding), ..Attend::default() };
        let y = layer.attend(&x, &x, &x, options).unwrap();
        assert_abs_diff_eq!(*y.value(), *expected.value(), epsilon = 1e-12);
    }
}

/// Attention with weights gives the result of the tiled kernel, and the output
/// is the sum of the values with these weights.
#[test]
fn weights_are_those_of_the_output() {
    for settings in [MultiheadAttention::new(8, 2), MultiheadAttention::new(8, 2).add_bias_kv(true)]
    {
        assert_weights(&layer(settings));
    }
}

fn assert_weights(layer: &MultiheadAttention<f64>) {
    let x = Var::new(Tensor::normal([2, 5, 8], 0.0, 1.0, &mut Rng::seed(3)));
    let keep = Tensor::from_fn([5, 5], |i| i % 3 > 0 && i / 5 != 2);
    let add = keep.map(|keep| if keep { 0.5 } else { f64::NEG_INFINITY });
    let masks = [AttentionMask::None, AttentionMask::Keep(keep), AttentionMask::Add(add)];
    for (mask, is_causal) in
        masks.into_iter().flat_map(|mask| [(mask.clone(), false), (mask, true)])
    {
        let options = || Attend { mask: mask.clone(), is_causal, ..Attend::default() };
        let expected = layer.attend(&x, &x, &x, options()).unwrap();
        let (y, each) =
            layer.attend_with_weights(&x, &x, &x, options(), AttentionWeights::PerHead).unwrap();
        assert_abs_diff_eq!(*y.value(), *expected.value(), epsilon = 1e-12);
        let (_, mean) =
            layer.attend_with_weights(&x, &x, &x, options(), AttentionWeights::Averaged).unwrap();
        assert_abs_diff_eq!(
            *mean.value(),
            each.value().mean_axes(&[1], false).unwrap(),
            epsilon = 1e-12
        );
        assert!(each.value().to_vec().iter().all(|weight| (0.0..=1.0).contains(weight)));
    }
    let mask = AttentionMask::Keep(Tensor::full([3, 5, 5], true));
    let options = Attend { mask, ..Attend::default() };
    let error = layer
        .attend_with_weights(&x, &x, &x, options, AttentionWeights::PerHead)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a mask of shape [3, 5, "), "{error}");
}

#[test]
fn dropout_is_in_training_alone() {
    let layer = layer(MultiheadAttention::new(8, 2).dropout(0.5));
    let x = Tensor::normal([2, 5, 8], 0.0, 1.0, &mut Rng::seed(3));
    let run = |x: Var<f64>| layer.forward(&x).unwrap().into_value();
    let plain = run(Var::new(x.clone()));
    assert_eq!(run(Tape::evaluation().input(x.clone())), plain);
    let training = |step| run(Tape::training(1, step).input(x.clone()));
    assert!(training(0) != plain && training(0) != training(1) && training(1) == training(1));
}

#[test]
fn the_batch_axis_may_be_missing() {
    let mut rng = Rng::seed(4);
    for batch_first in [false, true] {
        let layer: MultiheadAttention<f64> =
            MultiheadAttention::new(8, 2).batch_first(batch_first).init_as(&mut rng).unwrap();
        let mut of = |length| Tensor::normal([length, 8], 0.0, 1.0, &mut rng);
        let (query, key) = (Var::new(of(3)), Var::new(of(4)));
        let axis = if batch_first { 0 } else { 1 };
        let batch = |x: &Var<f64>| x.unsqueeze(axis).unwrap();
        let padding = Tensor::from([false, true, false, false]);
        let with = |padding| Attend { key_padding_mask: Some(padding), ..Attend::default() };
        let one = layer
            .attend_with_weights(&query, &key, &key, with(&padding), AttentionWeights::Averaged)
            .unwrap();
        let paddings = padding.unsqueeze(0).unwrap();
        let (q, k) = (batch(&query), batch(&key));
        let all = layer
            .attend_with_weights(&q, &k, &k, with(&paddings), AttentionWeights::Averaged)
            .unwrap();
        assert_eq!(one.0.value(), all.0.squeeze(axis).unwrap().value());
        assert_eq!(one.1.value(), all.1.squeeze(0).unwrap().value());
        let alone = layer.attend(&query, &key, &key, with(&padding)).unwrap();
        let beside = layer.attend(&q, &k, &k, with(&paddings)).unwrap();
        assert_eq!(alone.value(), beside.squeeze(axis).unwrap().value());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let mut rng = Rng::seed(0);
    let error = MultiheadAttention::new(8, 3).init(&mut rng).unwrap_err().to_string();
    assert_eq!(error, "MultiheadAttention 8, 3 heads: embed_dim must be a multiple of num_heads");
    let layer = MultiheadAttention::new(8, 2).init(&mut rng).unwrap();
    let message =
        |shape: &[usize]| layer.forward(&Var::new(Tensor::zeros(shape))).unwrap_err().to_string();
    assert_eq!(
        message(&[8]),
        "MultiheadAttention 8, 2 heads: expected inputs of shape [L, N, E], got [8]"
    );
    assert!(message(&[5, 2, 7]).contains("expected input of shape […, 8]"));
}
