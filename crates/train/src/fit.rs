//! The settings of a training run.

use dendra_datasets::Dataset;
use dendra_tensor::Tensor;

/// What a data set for a [`Trainer`](crate::Trainer) gives: batches of inputs
/// with targets of type `Y`.
pub(crate) type Data<'a, Y> = &'a dyn Dataset<Input = Tensor, Target = Y>;

/// How to train; made by [`Fit::epochs`].
#[must_use = "pass the settings to Trainer::fit"]
pub struct Fit<'a, Y = Tensor<i64>> {
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) seed: u64,
    pub(crate) shuffle: bool,
    pub(crate) validation: Option<Data<'a, Y>>,
    pub(crate) quiet: bool,
}

impl<'a, Y> Fit<'a, Y> {
    /// Goes through the data this many times: batches of 32, shuffled.
    pub fn epochs(epochs: usize) -> Self {
        Self { epochs, batch_size: 32, seed: 0, shuffle: true, validation: None, quiet: false }
    }

    /// The number of samples of a step; the last batch of an epoch holds what
    /// is left.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// The seed of all that is random in training: the order of the samples
    /// and dropout. The same seed gives bit-identical weights.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether to shuffle the samples in every epoch; true unless set.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Evaluates on this data after every epoch.
    pub fn validate_on(mut self, data: &'a impl Dataset<Input = Tensor, Target = Y>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Prints nothing.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }
}
