//! The same seed gives the same bits: again, with any number of threads, and
//! when stopped, saved and gone on with.

use dendra_autograd::StateDict;
use dendra_datasets::digits;
use dendra_losses::CrossEntropy;
use dendra_nn::{Parameters, Sequential, StateFile, load, save};
use dendra_optim::{Adam, AdamW, CosineAnnealingLR, Optimizer, SGD, StepLR};
use dendra_tensor::Rng;
use dendra_train::{Accuracy, Fit, Trainer};
use rayon::ThreadPoolBuilder;

type Digits = Trainer<Sequential, Box<dyn Optimizer>, CrossEntropy>;

/// Convolution, batch norm, dropout and dense layers, in sizes that are split
/// over threads.
fn network() -> Sequential {
    Sequential::input([1, 28, 28])
        .conv2d(8, 3)
        .batch_norm2d()
        .relu()
        .max_pool2d(2)
        .flatten()
        .dropout(0.2)
        .dense(64)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(42))
        .unwrap()
}

fn trainer(optimizer: Box<dyn Optimizer>) -> Digits {
    Trainer::new(network(), optimizer, CrossEntropy::new()).metric(Accuracy::new())
}

fn fit(epochs: u64) -> Fit<'static> {
    Fit::epochs(epochs).batch_size(32).seed(5).quiet()
}

/// Everything that was learned.
fn state(trainer: &Digits) -> (StateDict, StateDict) {
    (trainer.model().state_dict(), trainer.optimizer().state_dict())
}

#[test]
fn neither_a_second_run_nor_the_number_of_threads_changes_a_bit() {
    let data = digits(160, 9);
    let train = |seed| {
        let mut trainer = trainer(Box::new(Adam::new(1e-3)));
        let history = trainer.fit(&data, fit(1).seed(seed)).unwrap();
        let evaluation = trainer.evaluate(&data).unwrap();
        (state(&trainer), history.losses(), evaluation)
    };
    let with_threads = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(5))
    };
    let first = train(5);
    assert_eq!(train(5), first);
    assert_ne!(train(6), first);
    for threads in [1, 2, 3, 7] {
        assert_eq!(with_threads(threads), first, "{threads} threads");
    }
}

#[test]
fn going_on_from_files_gives_what_not_stopping_gives() {
    let makers: [fn() -> Box<dyn Optimizer>; 3] = [
        || Box::new(Adam::new(1e-3).schedule(CosineAnnealingLR::new(20))),
        || Box::new(AdamW::new(1e-3).amsgrad(true).clip_norm(1.0)),
        || Box::new(SGD::new(1e-2).momentum(0.9).epoch_schedule(StepLR::new(2).gamma(0.5))),
    ];
    // A ragged last batch, so that epochs do not hide a wrong count of steps.
    let data = digits(72, 9);
    let folder = tempfile::tempdir().unwrap();
    let (weights, moments) = (folder.path().join("model"), folder.path().join("optimizer"));
    for make in makers {
        let mut uninterrupted = trainer(make());
        uninterrupted.fit(&data, fit(5)).unwrap();

        let mut stopped = trainer(make());
        stopped.fit(&data, fit(3)).unwrap();
        save(stopped.model(), &weights).unwrap();
        let file = StateFile { state: stopped.optimizer().state_dict(), ..StateFile::default() };
        file.write(&moments).unwrap();

        let mut resumed = trainer(make());
        load(resumed.model_mut(), &weights).unwrap();
        let file = StateFile::read(&moments).unwrap();
        resumed.optimizer_mut().load_state_dict(&file.state).unwrap();
        resumed.set_epochs(stopped.epochs());
        resumed.fit(&data, fit(2)).unwrap();

        assert_eq!(state(&resumed), state(&uninterrupted));
        assert_ne!(state(&resumed), state(&stopped));
    }
}
