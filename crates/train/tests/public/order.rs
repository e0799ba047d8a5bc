//! Which samples an epoch has, and that a checkpoint knows it.

use crate::common::{data, state, trainer};
use dendra_autograd::Var;
use dendra_datasets::{TensorDataset, blobs};
use dendra_losses::cross_entropy;
use dendra_nn::Sequential;
use dendra_optim::SGD;
use dendra_tensor::{Rng, Tensor};
use dendra_train::{Checkpoints, EarlyStopping, Fit, Trainer};
use std::sync::Mutex;

/// 90 samples of class 0, 10 of class 1.
fn skewed() -> TensorDataset<i64> {
    let inputs = blobs(100, 2, 4, 0.5, 7).unwrap().inputs().clone();
    let labels = Tensor::from_fn([100], |index| i64::from(index >= 90));
    TensorDataset::classification(inputs, labels, 2).unwrap()
}

/// The labels of every batch that training has seen.
fn seen(data: &TensorDataset<i64>, fit: Fit<'_>) -> Vec<Vec<i64>> {
    let batches = Mutex::new(Vec::new());
    let loss = |output: &Var, labels: &Tensor<i64>| {
        batches.lock().unwrap().push(labels.to_vec());
        cross_entropy(output, labels)
    };
    let model = Sequential::input([4]).dense(2).build(&mut Rng::seed(1)).unwrap();
    let mut trainer: Trainer<_, _, _> = Trainer::new(model, SGD::new(0.1), loss);
    trainer.fit(data, fit.quiet()).unwrap();
    drop(trainer);
    batches.into_inner().unwrap()
}

fn share_of_ones(batches: &[Vec<i64>]) -> f64 {
    let labels = batches.concat();
    labels.iter().sum::<i64>() as f64 / labels.len() as f64
}

#[test]
fn classes_may_be_balanced() {
    let fit = || Fit::epochs(10).batch_size(20);
    assert_eq!(share_of_ones(&seen(&skewed(), fit())), 0.1);
    let batches = seen(&skewed(), fit().balanced());
    assert_eq!(batches.len(), 50);
    // Of a thousand draws: the standard deviation is 0.016.
    assert!((share_of_ones(&batches) - 0.5).abs() < 0.06, "{}", share_of_ones(&batches));
}

#[test]
fn weights_belong_to_the_samples_however_the_data_is_divided() {
    let weights: Vec<f64> = (0..100).map(|index| f64::from(u8::from(index >= 90))).collect();
    let fit = || Fit::epochs(3).batch_size(20).weighted(weights.clone());
    assert_eq!(share_of_ones(&seen(&skewed(), fit())), 1.0);
    // The first epoch; validation comes after it.
    let batches = seen(&skewed(), fit().validation_split(0.3));
    assert_eq!(share_of_ones(&batches[..4]), 1.0);
    assert!(share_of_ones(&batches) < 1.0);

    let mut trainer = trainer();
    for fit in [fit(), fit().validation_split(0.3)] {
        let message = trainer.fit(&data(), fit).unwrap_err().to_string();
        assert!(message.contains("expected 70 weights"), "{message}");
    }
    assert_eq!(trainer.epochs(), 0);
}

#[test]
fn a_last_batch_that_is_not_full_may_be_left_out() {
    let sizes =
        |fit: Fit<'_>| -> Vec<usize> { seen(&skewed(), fit).iter().map(Vec::len).collect() };
    assert_eq!(sizes(Fit::epochs(1).batch_size(40)), [40, 40, 20]);
    assert_eq!(sizes(Fit::epochs(1).batch_size(40).drop_last(true)), [40, 40]);
    let message = trainer().fit(&data(), Fit::steps(1).batch_size(71).drop_last(true).quiet());
    let message = message.unwrap_err().to_string();
    assert!(message.contains("fewer samples than a batch"), "{message}");
}

#[test]
fn a_run_goes_on_in_its_own_order_only() {
    let folder = tempfile::tempdir().unwrap();
    let fit = || Fit::epochs(2).batch_size(8).quiet();
    let weights = |first: f64| [vec![first], vec![1.0; 69]].concat();
    let mut whole = trainer();
    whole.fit(&data(), fit().weighted(weights(2.0))).unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    trainer()
        .fit(&data(), fit().weighted(weights(2.0)).max_steps(5).checkpoints(checkpoints))
        .unwrap();
    for (fit, expected) in [
        (fit(), "and is shuffled"),
        (fit().balanced(), "and is balanced"),
        (fit().weighted(weights(3.0)), "was weighted"),
        (fit().weighted(weights(2.0)).drop_last(true), "drop_last was false and is true"),
    ] {
        let message = trainer().fit(&data(), fit.resume(folder.path())).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut resumed = trainer();
    resumed.fit(&data(), fit().weighted(weights(2.0)).resume(folder.path())).unwrap();
    assert_eq!(state(&resumed), state(&whole));
}

#[test]
fn a_run_that_was_stopped_early_is_through() {
    let folder = tempfile::tempdir().unwrap();
    // No epoch counts as better than the first.
    let stopping = || EarlyStopping::new(2).min_delta(1e9);
    let again = || {
        let fit = Fit::epochs(9).batch_size(8).quiet().callback(stopping());
        fit.checkpoints(Checkpoints::new(folder.path())).resume_if_present(folder.path())
    };
    let (mut stopped, mut started_again) = (trainer(), trainer());
    let history = stopped.fit(&data(), again()).unwrap();
    assert_eq!(history.epochs.len(), 3);
    let same = started_again.fit(&data(), again()).unwrap();
    assert_eq!((same.losses(), same.stopped), (history.losses(), history.stopped));
    assert_eq!(state(&started_again), state(&stopped));
}

#[test]
fn an_epoch_that_is_cut_short_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let stopping = || EarlyStopping::new(2).min_delta(1e9);
    let fit = || Fit::epochs(9).batch_size(8).quiet().callback(stopping());
    let mut whole = trainer();
    let history = whole.fit(&data(), fit()).unwrap();
    // Cut in the second epoch, and in the one that ends the training.
    for steps in [13, 22] {
        let checkpoints = Checkpoints::new(folder.path());
        trainer().fit(&data(), fit().max_steps(steps).checkpoints(checkpoints)).unwrap();
        let mut resumed = trainer();
        let again = resumed.fit(&data(), fit().resume(folder.path())).unwrap();
        assert_eq!((again.losses(), again.stopped), (history.losses(), history.stopped.clone()));
        assert_eq!(state(&resumed), state(&whole));
    }
}
