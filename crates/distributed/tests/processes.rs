//! Runs on 1, 2, 4 and 8 processes, which are threads here, end alike.

use std::thread;
use std::time::Duration;

use dendra_autograd::{Gradients, Parameters};
use dendra_datasets::{Dataset, TensorDataset, moons};
use dendra_distributed::{Communicator, Compression, DataParallel, Threads, weights_hash};
use dendra_losses::{CrossEntropy, MSELoss};
use dendra_nn::Sequential;
use dendra_optim::{AdamW, Optimizer, SGD};
use dendra_tensor::{Error, Result, Rng, Tensor};
use dendra_train::{
    Accuracy, BatchReport, Callback, Checkpoint, Checkpoints, Every, F1, Fit, History, Moment,
    NotFinite, RocAuc, StopFlag, Trainer,
};

type Classifier = Trainer<Sequential, AdamW, CrossEntropy>;

const SAMPLES: usize = 90;

fn data() -> TensorDataset<i64> {
    moons(SAMPLES, 0.1, 7).unwrap()
}

/// With dropout, batch normalisation, and clipping over all gradients.
fn trainer() -> Classifier {
    let model = Sequential::input([2]).dense(12).batch_norm1d().relu().dropout(0.3).dense(2);
    let model = model.build(&mut Rng::seed(1)).unwrap();
    let optimizer = AdamW::new(1e-2).clip_norm(0.5);
    Trainer::new(model, optimizer, CrossEntropy::new())
        .metric(Accuracy::new())
        .metric(F1::new())
        .metric(RocAuc::new())
}

fn fit<'a>() -> Fit<'a> {
    Fit::epochs(3).batch_size(32).seed(5).quiet()
}

/// The results of `work` in each process of worlds of this size.
fn on<R: Send>(size: usize, work: impl Fn(Threads) -> R + Sync) -> Vec<R> {
    let work = &work;
    let world = Threads::world(size).unwrap();
    thread::scope(|scope| {
        let running: Vec<_> = world.into_iter().map(|own| scope.spawn(move || work(own))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    })
}

/// The hash of the weights after a run with these settings, and the history.
fn run(world: &Threads, set: impl Fn(DataParallel<'_>) -> DataParallel<'_>) -> (String, History) {
    let (train, test) = (data(), moons(300, 0.1, 8).unwrap());
    let mut trainer = trainer();
    let rule = set(DataParallel::new(world));
    let history = trainer.fit(&train, fit().validate_on(&test).gradients(rule)).unwrap();
    (weights_hash(trainer.model()), without_times(history))
}

fn without_times(mut history: History) -> History {
    for epoch in &mut history.epochs {
        (epoch.seconds, epoch.samples_per_second) = (0.0, 0.0);
    }
    history
}

#[test]
fn any_number_of_processes_gives_the_same_weights_and_figures() {
    let alone = run(&Threads::alone(), |rule| rule);
    assert_eq!(alone.1.epochs.len(), 3);
    for size in [2, 4, 8] {
        for found in on(size, |world| run(&world, |rule| rule)) {
            assert_eq!(found, alone, "{size} processes");
        }
    }
    // How the work is done changes nothing, what is computed does.
    for found in on(2, |world| run(&world, |rule| rule.overlap(false).shard_optimizer(true))) {
        assert_eq!(found, alone);
    }
    assert_ne!(run(&Threads::alone(), |rule| rule.shards(4)).0, alone.0);
    let rounded = run(&Threads::alone(), |rule| rule.compression(Compression::Bf16));
    assert_ne!(rounded.0, alone.0);
    for found in on(4, |world| run(&world, |rule| rule.compression(Compression::Bf16))) {
        assert_eq!(found, rounded);
    }
}

#[test]
fn the_gradients_are_those_of_the_whole_batch() {
    /// Keeps the gradients of the first step.
    struct First(Option<Vec<Vec<f32>>>);
    impl Callback for First {
        fn on_batch(&mut self, now: &mut Moment<'_>, batch: &BatchReport<'_>) -> Result<()> {
            let of = |gradients: &Gradients| {
                let parameters = now.model.named_parameters();
                let found = parameters.iter().map(|(_, param)| gradients.get(param).unwrap());
                found.map(|gradient| gradient.to_vec()).collect()
            };
            self.0.get_or_insert_with(|| of(batch.gradients));
            Ok(())
        }
    }
    let first = |fit: Fit<'_>| {
        let model = Sequential::input([2]).dense(8).tanh().dense(2);
        let model = model.build(&mut Rng::seed(1)).unwrap();
        let mut trainer = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
        let mut first = First(None);
        let history = trainer.fit(&data(), fit.callback(&mut first)).unwrap();
        (first.0.unwrap(), history.epochs[0].training.loss)
    };
    let (plain, loss) = first(fit());
    for (gradients, of_shards) in on(4, |world| {
        // Shards of unequal size.
        first(fit().gradients(DataParallel::new(&world).shards(16)))
    }) {
        assert!((of_shards - loss).abs() < 1e-5, "{of_shards} {loss}");
        for (found, expected) in gradients.concat().iter().zip(plain.concat()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

/// A run with two layers of batch normalisation: the hash of its weights and
/// statistics, these numbers, and the loss of the last epoch.
fn normalised(fit: Fit<'_>) -> (String, Vec<f32>, f64) {
    let model = Sequential::input([2]).dense(12).batch_norm1d().relu();
    let model = model.dense(6).batch_norm1d().tanh().dense(2).build(&mut Rng::seed(1)).unwrap();
    let mut trainer = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
    let history = trainer.fit(&data(), fit).unwrap();
    let state = trainer.model().state_dict();
    let numbers = state.iter().filter_map(|(name, _)| state.typed::<f32>(name));
    let numbers = numbers.flat_map(|tensor| tensor.to_vec()).collect();
    (weights_hash(trainer.model()), numbers, history.epochs[2].training.loss)
}

#[test]
fn synchronised_batch_normalisation_is_that_of_the_whole_batch() {
    // The last batch of an epoch has two samples, so most shards have none.
    let fit = || fit().batch_size(44);
    let (_, expected, loss) = normalised(fit());
    let sync = |world: &Threads, set: fn(DataParallel<'_>) -> DataParallel<'_>| {
        normalised(fit().gradients(set(DataParallel::new(world).sync_batch_norm(true))))
    };
    let alone = sync(&Threads::alone(), |rule| rule);
    assert!((alone.2 - loss).abs() < 1e-5, "{} {loss}", alone.2);
    assert_eq!(alone.1.len(), expected.len());
    for (found, expected) in alone.1.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    for size in [2, 4, 8] {
        for found in on(size, |world| sync(&world, |rule| rule)) {
            assert_eq!(found, alone, "{size} processes");
        }
    }
    for found in on(2, |world| sync(&world, |rule| rule.shard_optimizer(true).overlap(false))) {
        assert_eq!(found, alone);
    }
    assert_ne!(sync(&Threads::alone(), |rule| rule.compression(Compression::Bf16)).0, alone.0);
}

#[test]
fn a_shard_that_fails_ends_the_wait_of_the_others() {
    let with_nan = || {
        let inputs = Tensor::from_fn([64, 2], |index| if index == 100 { f32::NAN } else { 1.0 });
        TensorDataset::new(inputs, Tensor::<f32>::zeros([64, 1])).unwrap()
    };
    let errors = on(4, |world| {
        let model = Sequential::input([2]).dense(3).batch_norm1d().dense(1);
        let model = model.build(&mut Rng::seed(1)).unwrap();
        let mut trainer = Trainer::new(model, SGD::new(0.1), MSELoss::new());
        let rule = DataParallel::new(&world).sync_batch_norm(true);
        let fit = Fit::epochs(1).batch_size(16).shuffle(false).quiet().gradients(rule);
        trainer.fit(&with_nan(), fit).unwrap_err().to_string()
    });
    for error in &errors {
        // The mean of the whole batch is NaN, so each loss is.
        assert!(error.contains("batch 4") && error.contains("loss is not finite"), "{error}");
        assert_eq!(error, &errors[0]);
    }
    let (alone, model) = (Threads::alone(), Sequential::input([2]).dense(3).batch_norm1d());
    let model = model.dense(1).build(&mut Rng::seed(1)).unwrap();
    let mut trainer = Trainer::new(model, SGD::new(0.1), MSELoss::new());
    let one =
        TensorDataset::new(Tensor::<f32>::ones([1, 2]), Tensor::<f32>::zeros([1, 1])).unwrap();
    let rule = DataParallel::new(&alone).sync_batch_norm(true);
    let error = trainer.fit(&one, Fit::epochs(1).quiet().gradients(rule)).unwrap_err().to_string();
    assert!(error.contains("at least two elements per channel, got one"), "{error}");
}

#[test]
fn a_run_is_resumed_with_another_number_of_processes() {
    let whole = run(&Threads::alone(), |rule| rule).0;
    for (before, after, sharded) in [(4, 1, true), (1, 2, true), (2, 8, false)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = || Checkpoints::new(folder.path()).every(Every::Steps(1));
        on(before, |world| {
            let rule = DataParallel::new(&world).shard_optimizer(sharded);
            let cut = fit().max_steps(4).checkpoints(checkpoints()).gradients(rule);
            trainer().fit(&data(), cut).unwrap();
        });
        for hash in on(after, |world| {
            let rule = DataParallel::new(&world).shard_optimizer(sharded);
            let mut trainer = trainer();
            let rest = fit().checkpoints(checkpoints()).resume(folder.path()).gradients(rule);
            trainer.fit(&data(), rest).unwrap();
            weights_hash(trainer.model())
        }) {
            assert_eq!(hash, whole, "{before} processes, then {after}");
        }
        let alone = Threads::alone();
        let rule = DataParallel::new(&alone).shards(2);
        let other = fit().resume(folder.path()).gradients(rule);
        let error = trainer().fit(&data(), other).unwrap_err().to_string();
        assert!(error.contains("shuffled, in 8 shards and is shuffled, in 2 shards"), "{error}");
    }
}

#[test]
fn each_process_keeps_the_state_of_its_share() {
    let elements = |optimizer: &AdamW| {
        let state = Optimizer::<f32>::state_dict(optimizer);
        let moments = state.iter().filter(|(name, _)| name.ends_with("exp_avg"));
        moments.map(|(_, moment)| moment.shape().iter().product::<usize>()).sum::<usize>()
    };
    let shares = on(2, |world| {
        let mut trainer = trainer();
        let rule = DataParallel::new(&world).shard_optimizer(true);
        trainer.fit(&data(), fit().gradients(rule)).unwrap();
        elements(trainer.optimizer())
    });
    let all = trainer().model().parameter_count();
    assert_eq!(shares.iter().sum::<usize>(), all);
    assert!(shares.iter().all(|&share| share > 0 && share < all), "{shares:?}");
}

/// Ends its process at a step, as a kill does.
struct Dies(u64);

impl Callback for Dies {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        match now.step == self.0 {
            true => Err(Error::data("Dies", "the power is out")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_process_that_dies_ends_the_run_of_all_and_the_checkpoint_is_good() {
    let whole = run(&Threads::alone(), |rule| rule).0;
    let folder = tempfile::tempdir().unwrap();
    let keep = || fit().checkpoints(Checkpoints::new(folder.path()).every(Every::Steps(1)));
    let errors = on(4, |world| {
        let dies = Dies(if world.rank() == 2 { 5 } else { u64::MAX });
        let rule = DataParallel::new(&world);
        trainer().fit(&data(), keep().callback(dies).gradients(rule)).unwrap_err().to_string()
    });
    for (rank, error) in errors.iter().enumerate() {
        let expected = if rank == 2 { "Dies" } else { "process 2: " };
        assert!(error.contains(expected) && error.contains("the power is out"), "{rank}: {error}");
    }
    // Process 0 may have written that of step 5 before it heard.
    assert!(Checkpoint::read(folder.path()).unwrap().position.step >= 4);
    for hash in on(2, |world| {
        let mut trainer = trainer();
        let rule = DataParallel::new(&world);
        trainer
            .fit(&data(), keep().resume(folder.path()).callback(Dies(u64::MAX)).gradients(rule))
            .unwrap();
        weights_hash(trainer.model())
    }) {
        assert_eq!(hash, whole);
    }
}

#[test]
fn a_process_that_does_not_begin_is_named() {
    let errors = on(2, |world| {
        let world = world.time_limit(Duration::from_secs(20));
        if world.rank() == 1 {
            return String::new();
        }
        let rule = DataParallel::new(&world);
        trainer().fit(&data(), fit().gradients(rule)).unwrap_err().to_string()
    });
    assert!(errors[0].contains("process 1 left before the others"), "{}", errors[0]);
}

#[test]
fn processes_with_other_settings_or_weights_do_not_begin() {
    let errors = on(2, |world| {
        let seed = world.rank() as u64;
        let rule = DataParallel::new(&world);
        trainer().fit(&data(), fit().seed(seed).gradients(rule)).unwrap_err().to_string()
    });
    assert!(
        errors.iter().all(|error| error.contains("process 1 has other settings")),
        "{errors:?}"
    );
    let errors = on(2, |world| {
        let rank = world.rank();
        let mut trainer = trainer();
        if rank == 1 {
            let model =
                Sequential::input([2]).dense(12).batch_norm1d().relu().dropout(0.3).dense(2);
            *trainer.model_mut() = model.build(&mut Rng::seed(2)).unwrap();
        }
        let rule = DataParallel::new(&world);
        trainer.fit(&data(), fit().gradients(rule)).unwrap_err().to_string()
    });
    assert!(errors.iter().all(|error| error.contains("process 1 has another model")), "{errors:?}");
}

#[test]
fn a_shard_that_fails_fails_the_step_in_all_processes() {
    let with_nan = || {
        let inputs = Tensor::from_fn([64, 1], |index| if index == 50 { f32::NAN } else { 1.0 });
        TensorDataset::new(inputs, Tensor::<f32>::zeros([64, 1])).unwrap()
    };
    let regression = || {
        let model = Sequential::input([1]).dense(1).build(&mut Rng::seed(1)).unwrap();
        Trainer::new(model, SGD::new(0.1), MSELoss::new())
    };
    let errors = on(4, |world| {
        let rule = DataParallel::new(&world);
        let fit = Fit::epochs(1).batch_size(16).shuffle(false).quiet().gradients(rule);
        regression().fit(&with_nan(), fit).unwrap_err().to_string()
    });
    for error in &errors {
        assert!(
            error.contains("epoch 1, batch 4") && error.contains("loss is not finite"),
            "{error}"
        );
        assert_eq!(error, &errors[0]);
    }
    let skipped = on(2, |world| {
        let rule = DataParallel::new(&world);
        let skip = NotFinite::Skip { limit: 1 };
        let fit = Fit::epochs(2).batch_size(16).quiet().not_finite(skip).gradients(rule);
        let mut trainer = regression();
        let history = trainer.fit(&with_nan(), fit).unwrap();
        (weights_hash(trainer.model()), history.incidents.len())
    });
    assert_eq!(skipped[0].1, 2);
    assert_eq!(skipped[0], skipped[1]);
}

#[test]
fn a_stop_in_one_process_stops_all_at_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let errors = on(2, |world| {
        let flag = StopFlag::new();
        if world.rank() == 1 {
            flag.set();
        }
        let rule = DataParallel::new(&world);
        let fit = fit().checkpoints(Checkpoints::new(folder.path())).stop_when(&flag);
        trainer().fit(&data(), fit.gradients(rule)).unwrap_err().to_string()
    });
    for error in errors {
        assert!(error.contains("interrupted in epoch 1, after batch 1"), "{error}");
    }
    assert_eq!(Checkpoint::read(folder.path()).unwrap().position.step, 1);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let refused = |world: &Threads, shards: usize, fit: Fit<'_>, part: &str| {
        let rule = DataParallel::new(world).shards(shards);
        let error = trainer().fit(&data(), fit.gradients(rule)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let alone = Threads::alone();
    refused(&alone, 6, fit(), "shards must be a power of two, got 6");
    refused(&alone, 8, fit().accumulate(2), "accumulate cannot be set together");
    refused(&alone, 8, fit().batch_size(0), "batch_size must be at least 1");
    let world = Threads::world(4).unwrap();
    refused(&world[0], 2, fit(), "4 processes need at least as many shards, got 2");
    let three = Threads::world(3).unwrap();
    refused(&three[0], 8, fit(), "processes must be a power of two, got 3");
    // Samples that are drawn are those of the loader.
    let rule = DataParallel::new(&alone);
    trainer().fit(&data(), fit().balanced().gradients(rule)).unwrap();
    assert!(data().len() == SAMPLES);
}
