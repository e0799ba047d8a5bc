//! [`Draw`]: what the random part of a data set depends on.

use dendra_tensor::Rng;

/// The seed and the epoch that decide, together with a sample's index, how the
/// sample is changed at random. Nothing else does: not the batch it is in, nor
/// the thread that gathers it.
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
    /// How many random data sets handed it on.
    depth: u64,
    background: bool,
}

/// The label of the streams for samples among those of a seed and an epoch.
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

    /// The draw for the data set within a random one: with streams of its own.
    #[must_use]
    pub fn inner(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Whether a background thread of a loader asks. What it does should stay
    /// on that thread, so that the other cores train.
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
