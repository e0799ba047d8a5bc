//! A small network with everything that is random or has state in it.

use dendra_autograd::StateDict;
use dendra_datasets::{ImageDataset, digits};
use dendra_losses::CrossEntropy;
use dendra_nn::{Parameters, Sequential};
use dendra_optim::{Adam, CosineAnnealingLR, Optimizer};
use dendra_tensor::Rng;
use dendra_train::{Accuracy, Trainer};

pub(crate) type Digits = Trainer<Sequential, Adam, CrossEntropy>;

/// Batch norm, dropout, Adam and a schedule.
pub(crate) fn trainer() -> Digits {
    let model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(12)
        .batch_norm1d()
        .relu()
        .dropout(0.3)
        .dense(10)
        .build(&mut Rng::seed(42))
        .unwrap();
    let optimizer = Adam::new(1e-2).schedule(CosineAnnealingLR::new(60)).clip_norm(5.0);
    Trainer::new(model, optimizer, CrossEntropy::new()).metric(Accuracy::new())
}

/// A ragged last batch of 8: nine batches an epoch.
pub(crate) fn data() -> ImageDataset {
    digits(70, 9)
}

/// Everything that was learned.
pub(crate) fn state(trainer: &Digits) -> (StateDict, StateDict) {
    (trainer.model().state_dict(), trainer.optimizer().state_dict())
}
