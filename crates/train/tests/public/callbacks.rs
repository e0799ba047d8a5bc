//! Callbacks, and the settings of a run.

use crate::common::{data, state, trainer};
use dendra_autograd::StateDict;
use dendra_datasets::{Dataset, moons};
use dendra_losses::{CrossEntropy, MSELoss};
use dendra_nn::{Parameters, Sequential};
use dendra_optim::{Optimizer, SGD};
use dendra_tensor::{Error, Result, Rng};
use dendra_train::{
    Accuracy, BatchReport, Callback, EarlyStopping, EpochReport, Fit, Moment, NotFinite, Trainer,
};

fn fit<'a>(epochs: u64) -> Fit<'a> {
    Fit::epochs(epochs).batch_size(8).seed(5).quiet()
}

/// Records every call.
#[derive(Default)]
struct Diary(Vec<String>);

impl Callback for Diary {
    fn on_start(&mut self, now: &mut Moment<'_>) -> Result<()> {
        self.0.push(format!("start {}", now.step));
        Ok(())
    }

    fn on_batch(&mut self, now: &mut Moment<'_>, batch: &BatchReport<'_>) -> Result<()> {
        let (epoch, done) = (now.epoch, now.batch);
        self.0.push(format!("epoch {epoch}, batch {done}, {} samples", batch.samples));
        assert!(batch.loss.is_finite() && batch.gradients.first_not_finite().is_none());
        Ok(())
    }

    fn on_epoch(&mut self, now: &mut Moment<'_>, epoch: &EpochReport) -> Result<()> {
        assert_eq!(now.history.last(), Some(epoch));
        self.0.push(format!("epoch {} after {} steps", epoch.number, now.step));
        Ok(())
    }

    fn on_end(&mut self, now: &mut Moment<'_>) -> Result<()> {
        self.0.push(format!("end {}", now.epoch));
        Ok(())
    }
}

#[test]
fn callbacks_hear_of_every_moment_in_order() {
    let data = data();
    let part = data.take(20);
    let mut diary = Diary::default();
    trainer().fit(&part, fit(2).accumulate(2).callback(&mut diary)).unwrap();
    assert_eq!(
        diary.0,
        [
            "start 0",
            "epoch 1, batch 2, 16 samples",
            "epoch 1, batch 3, 4 samples",
            "epoch 1 after 2 steps",
            "epoch 2, batch 2, 16 samples",
            "epoch 2, batch 3, 4 samples",
            "epoch 2 after 4 steps",
            "end 2",
        ]
    );
}

/// Panics at one of its moments.
struct Panics(&'static str);

impl Panics {
    fn at(&self, moment: &str) -> Result<()> {
        assert!(self.0 != moment, "at {moment}");
        Ok(())
    }
}

impl Callback for Panics {
    fn on_start(&mut self, _: &mut Moment<'_>) -> Result<()> {
        self.at("start")
    }

    fn on_batch(&mut self, _: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        self.at("batch")
    }

    fn on_epoch(&mut self, _: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
        self.at("epoch")
    }

    fn on_end(&mut self, _: &mut Moment<'_>) -> Result<()> {
        self.at("end")
    }

    fn state_dict(&self) -> StateDict {
        self.at("state").unwrap();
        StateDict::new()
    }
}

#[test]
fn a_panic_in_a_callback_is_an_error_and_the_trainer_goes_on() {
    let data = data();
    let mut one = trainer();
    for moment in ["start", "batch", "epoch", "end"] {
        let error = one.fit(&data, fit(1).callback(Panics(moment))).unwrap_err();
        assert!(matches!(error, Error::Panic { .. }), "{error}");
        assert_eq!(error.to_string(), format!("callback Panics: panicked: at {moment}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = dendra_train::Checkpoints::new(folder.path());
    let fit_with = fit(1).callback(Panics("state")).checkpoints(checkpoints);
    let error = one.fit(&data, fit_with).unwrap_err().to_string();
    assert_eq!(error, "callback Panics: panicked: at state");
    one.fit(&data, fit(1)).unwrap();
}

/// Ends the training.
struct Enough(u64);

impl Callback for Enough {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            now.stop("enough");
        }
        Ok(())
    }
}

#[test]
fn a_callback_may_end_the_training() {
    let mut one = trainer();
    let history = one.fit(&data(), fit(5).callback(Enough(13))).unwrap();
    assert_eq!(history.stopped.as_deref(), Some("enough"));
    assert_eq!(one.optimizer().steps(), 13);
    // The epoch that was cut short is reported, and the next fit begins a new one.
    assert_eq!(history.epochs.len(), 2);
    assert_eq!(one.epochs(), 2);
    let mut other = trainer();
    other.fit(&data(), fit(5).max_steps(13)).unwrap();
    assert_eq!(state(&one), state(&other));
    let mut third = trainer();
    third.fit(&data(), Fit::steps(13).batch_size(8).seed(5).quiet()).unwrap();
    assert_eq!(state(&one), state(&third));
}

#[test]
fn an_epoch_may_be_shorter_than_the_data() {
    let mut one = trainer();
    let history = one.fit(&data(), fit(3).batches_per_epoch(4)).unwrap();
    assert_eq!((history.epochs.len(), one.optimizer().steps()), (3, 12));
}

#[test]
fn early_stopping_gives_the_best_weights_back() {
    let data = data();
    // A step this large makes the loss rise after a while.
    let model = Sequential::input([1, 28, 28]).flatten().dense(10);
    let model = model.build(&mut Rng::seed(1)).unwrap();
    let mut one = Trainer::new(model, SGD::new(0.5), CrossEntropy::new()).metric(Accuracy::new());
    let (train, validation) = data.split(0.3, &mut Rng::seed(2)).unwrap();
    let mut stopping = EarlyStopping::new(3);
    let run = fit(200).validate_on(&validation).callback(&mut stopping);
    let history = one.fit(&train, run).unwrap();
    let (best, epoch) = stopping.best().unwrap();
    let curve = history.curve("validation loss");
    assert_eq!(curve.len() as u64, epoch + 3, "{curve:?}");
    assert!(curve.iter().all(|(_, loss)| *loss >= best), "{curve:?}");
    assert!(history.stopped.unwrap().contains("no improvement for 3 epochs"));
    assert_eq!(one.evaluate(&validation).unwrap().loss, best);
}

#[test]
fn several_batches_make_the_step_of_a_large_one() {
    let data = moons(64, 0.1, 3).unwrap();
    let train = |batch_size, accumulate| {
        let model = Sequential::input([2]).dense(8).tanh().dense(2).build(&mut Rng::seed(1));
        let mut one: Trainer<_, _, _> =
            Trainer::new(model.unwrap(), SGD::new(0.1), CrossEntropy::new());
        let fit = Fit::epochs(5).batch_size(batch_size).accumulate(accumulate).seed(3).quiet();
        let loss = one.fit(&data, fit).unwrap().losses()[4];
        let weights = one.model().state_dict();
        (loss, weights.typed::<f32>("0.weight").unwrap().to_vec(), one.optimizer().steps())
    };
    let (whole, parts) = (train(32, 1), train(8, 4));
    assert_eq!(whole.2, parts.2);
    assert!((whole.0 - parts.0).abs() < 1e-6, "{} and {}", whole.0, parts.0);
    for (a, b) in whole.1.iter().zip(&parts.1) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
}

#[test]
fn class_weights_are_those_of_the_loss_and_need_one_that_knows_classes() {
    let data = data();
    let weights: Vec<f64> = (1..=10).map(f64::from).collect();
    let mut by_fit = trainer();
    by_fit.fit(&data, fit(1).class_weights(weights.clone())).unwrap();
    let model = trainer().into_model();
    let loss = CrossEntropy::new().class_weights(weights);
    let optimizer = trainer();
    let mut by_loss: crate::common::Digits = Trainer::new(model, take_optimizer(optimizer), loss);
    by_loss.fit(&data, fit(1)).unwrap();
    assert_eq!(state(&by_fit), state(&by_loss));

    let mut unweighted = trainer();
    unweighted.fit(&data, fit(1)).unwrap();
    assert_ne!(state(&by_fit), state(&unweighted));

    let message = trainer().fit(&data, fit(1).class_weights([1.0])).unwrap_err().to_string();
    assert!(message.contains("expected 10 class weights"), "{message}");
    let targets = dendra_datasets::friedman(20, 1);
    let model = Sequential::input([5]).dense(1).build(&mut Rng::seed(1)).unwrap();
    let mut regression = Trainer::new(model, SGD::new(0.1), MSELoss::new());
    let fit = Fit::epochs(1).class_weights([1.0]).quiet();
    let message = regression.fit(&targets, fit).unwrap_err().to_string();
    assert!(message.contains("does not support class weights"), "{message}");
}

/// The optimizer of a trainer made only for it.
fn take_optimizer(trainer: crate::common::Digits) -> dendra_optim::Adam {
    trainer.into_parts().1
}

#[test]
fn a_share_is_kept_for_validation() {
    let history = trainer().fit(&data(), fit(2).validation_split(0.2)).unwrap();
    assert_eq!(history.curve("validation accuracy").len(), 2);
    let every = trainer().fit(&data(), fit(5).validation_split(0.2).validate_every(2)).unwrap();
    let epochs: Vec<u64> = every.curve("validation loss").iter().map(|(e, _)| *e).collect();
    assert_eq!(epochs, [2, 4, 5]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let data = data();
    let message = |fit: Fit<'_>| trainer().fit(&data, fit).unwrap_err().to_string();
    assert!(message(fit(1).accumulate(0)).contains("accumulate must be at least 1"));
    assert!(message(fit(1).validate_every(0)).contains("validate_every"));
    assert!(message(fit(1).validation_split(1.5)).contains("validation_split"));
    assert!(message(fit(1).validation_split(0.2).validate_on(&data)).contains("got both"));
    for share in [1e-6, 1.0 - 1e-6] {
        let error = message(fit(1).validation_split(share));
        assert!(error.contains(&format!("validation_split of {share}")), "{error}");
        assert!(error.contains("a part is empty"), "{error}");
    }
    assert!(message(fit(1).callback(EarlyStopping::new(1).min_delta(-1.0))).contains("min_delta"));
    let unknown = fit(1).callback(EarlyStopping::new(1).monitor("f1"));
    assert!(message(unknown).contains("there is no figure `f1`, only `loss`, `accuracy`"));
    let unvalidated = fit(1).callback(EarlyStopping::new(1).monitor("validation loss"));
    assert!(message(unvalidated).contains("no validation data"));
}

/// 300 samples of two classes, of which many in a row are ignored: whole batches of 8, and of
/// the 128 of an evaluation.
fn partly_ignored() -> dendra_datasets::TensorDataset<i64> {
    let all = moons(300, 0.1, 3).unwrap();
    let labels = all.targets().to_vec();
    let counts = |index: usize| index % 5 < 2 && !(8..24).contains(&index) && index < 250;
    let label = |index: usize| if counts(index) { labels[index] } else { -100 };
    let labels = dendra_tensor::Tensor::from_fn([300], label);
    dendra_datasets::TensorDataset::new(all.inputs().clone(), labels).unwrap()
}

fn small<L: dendra_losses::Loss<dendra_tensor::Tensor<i64>>>(
    loss: L,
) -> Trainer<Sequential, SGD, L> {
    let model = Sequential::input([2]).dense(8).tanh().dense(2).build(&mut Rng::seed(1));
    Trainer::new(model.unwrap(), SGD::new(0.02), loss)
}

#[test]
fn batches_count_as_much_as_their_losses_were_divided_by() {
    let data = partly_ignored();
    let plain = CrossEntropy::new;
    let sum = || plain().reduction(dendra_tensor::Reduction::Sum);
    for (index, loss) in [plain(), plain().class_weights([0.3, 2.0]), sum()].into_iter().enumerate()
    {
        let train = |batch_size, accumulate| {
            let mut one = small(loss.clone());
            let fit = Fit::epochs(3).batch_size(batch_size).accumulate(accumulate);
            let history = one.fit(&data, fit.shuffle(false).quiet()).unwrap();
            let weights = one.model().state_dict().typed::<f32>("0.weight").unwrap().to_vec();
            (history.losses(), weights)
        };
        let (whole, parts) = (train(40, 1), train(8, 5));
        for (a, b) in whole.0.iter().zip(&parts.0).chain(std::iter::empty()) {
            assert!((a - b).abs() < 1e-5 * a.abs(), "loss {index}: {a} and {b}");
        }
        for (a, b) in whole.1.iter().zip(&parts.1) {
            assert!((a - b).abs() < 1e-5, "loss {index}: {a} and {b}");
        }

        // An evaluation goes through 128 samples at a time.
        let one = small(loss.clone());
        let output = one.predict(data.inputs()).unwrap();
        let expected = loss.compute(&output, data.targets()).unwrap().item().unwrap();
        let found = one.evaluate(&data).unwrap().loss;
        assert!((found - f64::from(expected)).abs() < 1e-5 * found, "{found} for {expected}");
    }
}

#[test]
fn a_batch_of_which_nothing_counts_changes_nothing() {
    let data = partly_ignored();
    let ignored = data.subset((8..24).collect()).unwrap();
    let mut one = small(CrossEntropy::new());
    let before = one.model().state_dict();
    // An epoch without any sample that counts is an error, or an incident.
    let error = one.fit(&ignored, fit(9)).unwrap_err().to_string();
    assert!(error.starts_with("epoch 1: the loss is NaN: all samples are ignored"), "{error}");
    let error = one.fit(&data, fit(9).validate_on(&ignored)).unwrap_err().to_string();
    assert!(error.contains("the validation loss is NaN"), "{error}");
    let mut one = small(CrossEntropy::new());
    let mut stopping = EarlyStopping::new(2);
    let run = fit(9).validate_on(&ignored).callback(&mut stopping);
    let run = run.not_finite(NotFinite::Skip { limit: 1 });
    let history = one.fit(&ignored, run).unwrap();
    assert_eq!((one.model().state_dict(), one.optimizer().steps()), (before, 4));
    assert!(history.losses().iter().all(|loss| loss.is_nan()));
    assert_eq!(history.incidents.len(), 4, "{:?}", history.incidents);
    assert_eq!(stopping.best(), None);
    let why = history.stopped.unwrap();
    assert_eq!(why, "no improvement for 2 epochs; its value was never a number");
    assert!(one.evaluate(&ignored).unwrap().loss.is_nan());
    // Learning rates are tried on what counts.
    let rates = dendra_train::LearningRates::between(1e-4, 1.0).steps(40).batch_size(8);
    let curve = one.find_learning_rate(&data, rates).unwrap();
    assert!(curve.points.len() > 10 && curve.points.iter().all(|(_, loss)| loss.is_finite()));
}
