//! Statistics of batches, running averages, settings and errors.

use dendra_autograd::{Parameters, Tape, check_gradient};
use dendra_tensor::{Rng, Tensor};

use super::*;
use crate::sequential::{Sequential, SequentialBuilder};

fn layer<const D: usize>(settings: BatchNormSettings<D>) -> BatchNorm<f64, D> {
    settings.init_as(&mut Rng::seed(0)).unwrap()
}

/// One step of training on a batch.
fn step<const D: usize>(layer: &mut BatchNorm<f64, D>, batch: &Tensor<f64>) -> Tensor<f64> {
    let y = layer.forward(&Tape::training(0, 0).leaf(batch.clone())).unwrap();
    layer.apply_updates(&y.sum().backward().unwrap()).unwrap();
    y.into_value()
}

#[test]
fn the_state_has_pytorchs_names() {
    let names = |layer: BatchNorm<f64, 2>| -> Vec<String> {
        layer.state_dict().iter().map(|(name, _)| name.to_owned()).collect()
    };
    let all = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"];
    assert_eq!(names(layer(BatchNorm2d::new(3))), all);
    assert_eq!(names(layer(BatchNorm2d::new(3).affine(false))), all[1..4]);
    assert_eq!(names(layer(BatchNorm2d::new(3).bias(false))), all[1..]);
    let own = BatchNorm2d::new(3).track_running_stats(false);
    assert_eq!(names(layer(own)), ["bias", "weight"]);
}

fn values(buffer: &Option<Buffer<f64>>) -> Vec<f64> {
    buffer.as_ref().unwrap().value().to_vec()
}

/// PyTorch 2.15, `BatchNorm1d(2, momentum=None)` on `[[1, 2], [3, i]]`.
#[test]
fn without_momentum_running_statistics_are_averages() {
    let mut layer = layer(BatchNorm1d::new(2).momentum(None));
    let batch = |i| Tensor::from([[1.0, 2.0], [3.0, i]]);
    step(&mut layer, &batch(0.0));
    assert_eq!(values(&layer.running_mean), [2.0, 1.0]);
    // Two passes of one step update the statistics one after the other.
    let pass = |i| layer.forward(&Tape::training(0, 0).leaf(batch(i))).unwrap();
    let mut both = pass(1.0).sum().backward().unwrap();
    both.accumulate(pass(2.0).sum().backward().unwrap());
    layer.apply_updates(&both).unwrap();
    assert_eq!(values(&layer.running_mean), [2.0, 1.5]);
    let variance = values(&layer.running_var);
    assert!((variance[0] - 2.0).abs() < 1e-12 && (variance[1] - 2.5 / 3.0).abs() < 1e-12);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().value(), 3);
}

#[test]
fn without_running_statistics_the_batch_counts_always() {
    let layer = layer(BatchNorm1d::new(2).track_running_stats(false).eps(0.0));
    let x = Tensor::from([[1.0, 2.0], [3.0, 5.0]]);
    for x in [Var::new(x.clone()), Tape::training(0, 0).input(x)] {
        assert_eq!(layer.forward(&x).unwrap().value().to_vec(), [-1.0, -1.0, 1.0, 1.0]);
    }
    assert!(layer.forward(&Var::new(Tensor::zeros([1, 2]))).is_err());
}

#[test]
fn running_statistics_follow_the_formula() {
    let mut layer = layer(BatchNorm1d::new(1).momentum(0.25));
    // Mean 3, biased variance 8/3, unbiased 4.
    let batch = Tensor::from([[1.0], [3.0], [5.0]]);
    step(&mut layer, &batch);
    assert_eq!(values(&layer.running_mean), [0.75]);
    assert_eq!(values(&layer.running_var), [0.75 + 0.25 * 4.0]);
    step(&mut layer, &batch);
    assert_eq!(values(&layer.running_mean), [0.75 * 0.75 + 0.75]);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().value(), 2);
}

#[test]
fn training_normalises_by_the_batch_and_evaluation_by_the_running_statistics() {
    let mut layer = layer(BatchNorm2d::new(2).eps(0.0));
    let mut rng = Rng::seed(1);
    let batch = Tensor::normal([4, 2, 3, 3], 7.0, 3.0, &mut rng);
    let y = step(&mut layer, &batch);
    let statistics = ChannelStatistics::of(&y).unwrap();
    for (mean, variance) in statistics.mean.to_vec().into_iter().zip(statistics.variance.to_vec()) {
        assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
    }
    *layer.running_mean.as_mut().unwrap().value_mut() = Tensor::from([1.0, 2.0]);
    *layer.running_var.as_mut().unwrap().value_mut() = Tensor::from([4.0, 9.0]);
    let x = Tensor::full([1, 2, 1, 1], 5.0);
    for x in [Var::new(x.clone()), Tape::evaluation().input(x)] {
        assert_eq!(layer.forward(&x).unwrap().value().to_vec(), [2.0, 1.0]);
    }
}

#[test]
fn an_evaluation_pass_changes_nothing() {
    let mut layer = layer(BatchNorm1d::new(2));
    let before = layer.state_dict();
    let x = Tape::evaluation().leaf(Tensor::from([[1.0, 2.0], [3.0, 5.0]]));
    let gradients = layer.forward(&x).unwrap().sum().backward().unwrap();
    layer.apply_updates(&gradients).unwrap();
    assert_eq!(layer.state_dict(), before);
}

#[test]
fn gradients_are_right_in_training_and_in_evaluation() {
    let mut rng = Rng::seed(2);
    let layer = layer(BatchNorm1d::new(3).eps(0.01));
    let x = Tensor::normal([5, 3], 1.0, 2.0, &mut rng);
    check_gradient(|v| layer.forward(&v[0]), std::slice::from_ref(&x)).unwrap();

    // check_gradient works on evaluation tapes; training gives the
    // gradient of the operation with the batch's statistics.
    let tape = Tape::training(0, 0);
    let leaf = tape.leaf(x.clone());
    let g = Var::new(Tensor::normal([5, 3], 0.0, 1.0, &mut rng));
    let loss = layer.forward(&leaf).unwrap().mul(&g).unwrap().sum();
    let gradient = loss.backward().unwrap().wrt(&leaf).unwrap().clone();
    let direction = Tensor::<f64>::normal([5, 3], 0.0, 1.0, &mut rng);
    let value = |step: f64| {
        let x = Tape::training(0, 0).input(&x + &direction * step);
        layer.forward(&x).unwrap().mul(&Var::new(g.value().clone())).unwrap().sum()
    };
    let difference = |step: f64| value(step).value().item().unwrap();
    let expected = (difference(1e-6) - difference(-1e-6)) / 2e-6;
    let found = (&gradient * &direction).sum().item().unwrap();
    assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
}

#[test]
fn a_wrong_input_is_told_by_path_and_sizes() {
    let mut layer = vec![layer(BatchNorm1d::new(3))];
    layer.name_parameters();
    let message = |x: Var<f64>| layer[0].forward(&x).unwrap_err().to_string();
    assert_eq!(
        message(Var::new(Tensor::zeros([4, 2]))),
        "0 (BatchNorm1d 3): expected [N, 3] or [N, 3, L], got [4, 2]"
    );
    assert!(message(Var::new(Tensor::zeros([3]))).contains("got [3]"));
    assert!(message(Var::new(Tensor::zeros([4, 3, 2, 2]))).contains("got [4, 3, 2, 2]"));
    let single = message(Tape::training(0, 0).input(Tensor::zeros([1, 3])));
    assert_eq!(
        single,
        "0 (BatchNorm1d 3): expected a batch with at least two elements per \
         channel, got [1, 3]: use larger batches, or leave out a last batch of one sample \
         (`drop_last`)"
    );
}

#[test]
fn wrong_settings_are_told_when_the_layer_is_made() {
    let message =
        |settings: BatchNormSettings<2>| settings.init(&mut Rng::seed(0)).unwrap_err().to_string();
    let new = || BatchNorm2d::new(3);
    assert!(message(new().eps(-1.0)).contains("eps must be"));
    assert!(message(new().eps(f64::NAN)).contains("eps must be"));
    assert!(message(new().momentum(1.5)).contains("momentum must be in 0 ..= 1, got 1.5"));
    assert!(message(BatchNorm2d::lazy()).contains("num_features is not set"));
}

#[test]
fn an_empty_batch_counts_and_moves_nothing() {
    let mut layer = layer(BatchNorm1d::new(2));
    for batch in [Tensor::zeros([0, 2]), Tensor::zeros([3, 2, 0])] {
        assert!(step(&mut layer, &batch).is_empty());
    }
    assert_eq!(values(&layer.running_mean), [0.0; 2]);
    assert_eq!(values(&layer.running_var), [1.0; 2]);
    assert_eq!(layer.num_batches_tracked.as_ref().unwrap().value(), 2);
}

#[test]
fn sequential_finds_out_the_channels() {
    let builder = Sequential::input([1, 8, 8]).conv2d(4, 3).batch_norm2d().relu().flatten();
    let model = builder.dense(5).batch_norm1d().build(&mut Rng::seed(0)).unwrap();
    let state = model.state_dict();
    assert_eq!(state.get("1.running_var").unwrap().shape()[..], [4]);
    assert_eq!(state.get("5.weight").unwrap().shape()[..], [5]);
    let message =
        |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
    assert_eq!(
        message(Sequential::input([4]).batch_norm2d()),
        "layer 0 (BatchNorm2d): expected [C, H, W], got [4]"
    );
    assert_eq!(
        message(Sequential::input([4, 7]).layer(BatchNorm1d::new(3))),
        "layer 0 (BatchNorm1d): expected [3] or [3, L], got [4, 7]"
    );
}
