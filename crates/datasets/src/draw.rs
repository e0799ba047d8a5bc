//! [`Draw`]: the seed and epoch for the random changes of a data set.

use dendra_tensor::Rng;

/// The seed and the epoch that determine, together with a sample's index, the
/// random changes of the sample. The changes do not depend on the batch of the
/// sample or the thread that gathers it.
///
/// ```
/// use dendra_datasets::Draw;
///
/// let draw = Draw::new(42, 3);
/// assert_eq!(draw.rng(7).next_u64(), Draw::new(42, 3).rng(7).next_u64());
/// assert_ne!(draw.rng(7).next_u64(), draw.rng(8).next_u64());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    seed: u64,
    epoch: u64,
    /// The number of random data sets that passed the draw on.
    depth: u64,
    background: bool,
}

/// The label of the random streams of samples for a seed and an epoch.
const SAMPLES: u64 = 0x5341_4d50_4c45;

impl Draw {
    /// The draw of an epoch.
    pub fn new(seed: u64, epoch: u64) -> Self {
        Self { seed, epoch, depth: 0, background: false }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The random stream of a sample.
    pub fn rng(&self, index: usize) -> Rng {
        let epoch = Rng::seed(self.seed).fork(self.epoch).fork(SAMPLES);
        epoch.fork(self.depth).fork(index as u64)
    }

    /// The draw for the data set inside a random one, with its own random
    /// streams.
    #[must_use]
    pub fn inner(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Whether a background thread of a loader gathers the batch. If so, the
    /// work should stay on that thread, because the other cores are used for
    /// training.
    pub fn is_background(&self) -> bool {
        self.background
    }

    /// The same draw under another seed.
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same draw on a background thread.
    pub(crate) fn in_background(self) -> Self {
        Self { background: true, ..self }
    }
}
