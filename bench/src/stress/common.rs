//! The network that is trained, and a hash of its weights.

use std::hash::{DefaultHasher, Hasher};

use dendra::datasets::Subset;
use dendra::prelude::*;

pub(crate) type Digits = Trainer<Sequential, Adam, CrossEntropy>;

/// A small convolutional network with dropout and batch norm, Adam and a schedule.
pub(crate) fn trainer() -> Result<Digits> {
    let model = Sequential::input([1, 28, 28])
        .conv2d(8, 3)
        .batch_norm2d()
        .relu()
        .max_pool2d(2)
        .flatten()
        .dropout(0.2)
        .dense(32)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(42))?;
    let optimizer = Adam::new(1e-3).schedule(CosineAnnealingLR::new(1000));
    Ok(Trainer::new(model, optimizer, CrossEntropy::new()).metric(Accuracy::new()))
}

/// Generated digits.
pub(crate) fn data(samples: usize) -> ImageDataset {
    digits(samples, 9)
}

/// The first samples of a data set.
pub(crate) fn part(data: &ImageDataset, samples: usize) -> Subset<&ImageDataset> {
    data.take(samples)
}

/// A hash of every bit of the weights and the buffers.
pub(crate) fn hash(model: &Sequential) -> u64 {
    let mut hasher = DefaultHasher::new();
    let state = model.state_dict();
    for (name, tensor) in state.iter() {
        hasher.write(name.as_bytes());
        if let Some(values) = tensor.downcast::<f32>() {
            values.to_vec().iter().for_each(|value| hasher.write_u32(value.to_bits()));
        }
    }
    hasher.finish()
}

/// The message of an error.
pub(crate) fn words(error: Error) -> String {
    error.to_string()
}
