//! [`DataLoader`]: a data set in batches, shuffled anew in every epoch.

use std::iter::FusedIterator;

use dendra_tensor::{Error, Result, Rng};

use crate::dataset::{Batch, Dataset};

/// Deals a data set out in batches.
///
/// The order depends on the seed and the epoch's number only, so an epoch can
/// be repeated, or continued in its middle with `epoch(n).skip(batches)`, which
/// gathers nothing for the skipped batches.
///
/// ```
/// use dendra_datasets::{DataLoader, moons};
///
/// let data = moons(100, 0.1, 7)?;
/// let loader = DataLoader::new(&data).batch_size(32).shuffle(42);
/// assert_eq!(loader.len(), 4);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch) {
///         let (x, y) = batch?;
///         assert_eq!(x.shape()[0], y.shape()[0]);
///     }
/// }
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct DataLoader<'a, D: ?Sized> {
    dataset: &'a D,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
}

impl<'a, D: Dataset + ?Sized> DataLoader<'a, D> {
    /// A loader of single samples in the data set's own order.
    pub fn new(dataset: &'a D) -> Self {
        Self { dataset, batch_size: 1, seed: None, drop_last: false }
    }

    /// The number of samples in a batch, 1 unless set. The last batch of an
    /// epoch holds what is left.
    ///
    /// A size of 0 is an error, which [`epoch`](Self::epoch) yields as its
    /// first and only item.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Shuffles the samples, differently in every epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether to leave out a last batch that is not full; false unless set.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// The number of items of an epoch.
    pub fn len(&self) -> usize {
        self.epoch_len(self.dataset.len())
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch, as `(inputs, targets)`.
    pub fn epoch(&self, epoch: u64) -> Epoch<'a, D> {
        let samples = self.dataset.len();
        let order = match self.seed {
            Some(seed) => Rng::seed(seed).fork(epoch).permutation(samples),
            None => (0..samples).collect(),
        };
        Epoch {
            dataset: self.dataset,
            batch_size: self.batch_size,
            left: self.epoch_len(samples),
            order,
            next: 0,
        }
    }

    fn epoch_len(&self, samples: usize) -> usize {
        match (self.batch_size, self.drop_last) {
            (0, _) => 1,
            (size, false) => samples.div_ceil(size),
            (size, true) => samples / size,
        }
    }
}

impl<D: ?Sized> Clone for DataLoader<'_, D> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// The batches of one epoch; see [`DataLoader::epoch`].
#[derive(Debug)]
pub struct Epoch<'a, D: ?Sized> {
    dataset: &'a D,
    batch_size: usize,
    order: Vec<usize>,
    /// The position in `order` of the next batch's first sample.
    next: usize,
    /// The number of items still to come.
    left: usize,
}

impl<D: Dataset + ?Sized> Iterator for Epoch<'_, D> {
    type Item = Result<Batch<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.batch_size == 0 {
            let message = "the batch size must be at least 1, got 0";
            return Some(Err(Error::argument("DataLoader", message)));
        }
        let end = self.order.len().min(self.next.saturating_add(self.batch_size));
        let indices = &self.order[self.next..end];
        self.next = end;
        Some(self.dataset.batch(indices))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        let skipped = skipped.min(self.left);
        self.left -= skipped;
        let samples = skipped.saturating_mul(self.batch_size);
        self.next = self.order.len().min(self.next.saturating_add(samples));
        self.next()
    }
}

impl<D: Dataset + ?Sized> ExactSizeIterator for Epoch<'_, D> {}
impl<D: Dataset + ?Sized> FusedIterator for Epoch<'_, D> {}
