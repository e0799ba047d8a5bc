//! [`DataLoader`]: a data set in batches, in a new order in every epoch.

use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Scope;

use dendra_derive::Setters;
use dendra_tensor::{Error, Result};

use crate::dataset::{Batch, Dataset, known_labels};
use crate::draw::Draw;

mod prefetch;
mod sampling;

pub use prefetch::Prefetch;
use sampling::Sampling;

/// Divides a data set into batches.
///
/// The order of the samples, and the random changes of augmentation, depend
/// only on the seed and the number of the epoch. So an epoch can be repeated,
/// or continued in the middle with `epoch(n).skip(batches)`, which does not
/// gather the skipped batches.
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
///
/// An error or panic in the data set becomes an error that names the sample.
/// The loader and the data set can be used afterwards.
#[derive(Debug, Setters)]
pub struct DataLoader<'a, D: ?Sized> {
    dataset: &'a D,
    /// The number of samples in a batch. The last batch of an epoch has the rest.
    ///
    /// With a size of 0, [`epoch`](Self::epoch) yields an error as its only
    /// item.
    #[set(default = 1)]
    batch_size: usize,
    /// The seed of random changes in the data set, such as augmentation, for
    /// loaders that do not shuffle. The seed of [`shuffle`](Self::shuffle),
    /// [`weighted`](Self::weighted) or [`balanced`](Self::balanced) is used for
    /// both.
    #[set(default = 0)]
    seed: u64,
    #[set(skip, default = Sampling::InOrder)]
    sampling: Sampling,
    /// The number of samples in an epoch: the first of the shuffled samples
    /// (all, if there are fewer), or this many draws of a weighted loader.
    #[set]
    samples: Option<usize>,
    /// Whether to leave out the last batch if it is not full.
    #[set(default = false)]
    drop_last: bool,
    /// The number of background threads that [`prefetch`](Self::prefetch) uses.
    /// With 0, each batch is gathered on demand.
    #[set(default = 1)]
    workers: usize,
    #[set(skip, default = 2)]
    prefetch_factor: usize,
}

impl<'a, D: Dataset + ?Sized> DataLoader<'a, D> {
    /// A loader of single samples in the order of the data set.
    pub fn new(dataset: &'a D) -> Self {
        Self::with_defaults(dataset)
    }

    /// Shuffles the samples, differently in every epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.sampling = Sampling::Shuffled;
        self.seed = seed;
        self
    }

    /// Draws the samples at random, with replacement, in proportion to their
    /// weights, like PyTorch's `WeightedRandomSampler`. An epoch has as many
    /// draws as the data set has samples, unless [`samples`](Self::samples)
    /// sets another number.
    ///
    /// ```
    /// use dendra_datasets::{DataLoader, moons};
    ///
    /// let data = moons(4, 0.1, 7)?;
    /// let loader = DataLoader::new(&data).weighted(&[0.0, 1.0, 0.0, 3.0], 42)?;
    /// # assert_eq!(loader.len(), 4);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is not one weight for each sample, a weight is negative or
    /// not finite, or all are 0.
    pub fn weighted(mut self, weights: &[f64], seed: u64) -> Result<Self> {
        self.sampling = Sampling::weighted(weights, self.dataset.len())?;
        self.seed = seed;
        Ok(self)
    }

    /// Draws the samples at random, with replacement, so that all classes are
    /// equally frequent.
    ///
    /// # Errors
    ///
    /// When the data set does not know its [`labels`](Dataset::labels), or is
    /// empty.
    pub fn balanced(self, seed: u64) -> Result<Self> {
        let labels = known_labels("DataLoader::balanced", self.dataset)?;
        self.weighted(&sampling::balancing_weights(&labels), seed)
    }

    /// The number of batches that each background thread gathers ahead; 2 by
    /// default, and at least 1.
    #[must_use]
    pub fn prefetch_factor(mut self, batches: usize) -> Self {
        self.prefetch_factor = batches.max(1);
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        self.epoch_len(self.sampling.count(self.dataset.len(), self.samples))
    }

    /// The number of samples in the batch with this index: the batch size for
    /// all but the last, and 0 beyond it.
    pub fn batch_len(&self, index: usize) -> usize {
        if index >= self.len() {
            return 0;
        }
        let samples = self.sampling.count(self.dataset.len(), self.samples);
        samples.saturating_sub(index.saturating_mul(self.batch_size)).min(self.batch_size)
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The indices of an epoch's samples in the order of its batches, for a
    /// program that gathers parts of batches itself.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        self.sampling.order(self.dataset.len(), self.samples, self.seed, epoch)
    }

    /// The batches of an epoch, as `(inputs, targets)`, each gathered on
    /// demand.
    pub fn epoch(&self, epoch: u64) -> Epoch<'a, D> {
        let order = self.order(epoch);
        Epoch {
            dataset: self.dataset,
            draw: Draw::new(self.seed, epoch),
            batch_size: self.batch_size,
            left: self.epoch_len(order.len()),
            order,
            next: 0,
        }
    }

    /// The same batches as those of [`epoch`](Self::epoch), gathered ahead on
    /// background threads in `scope`.
    ///
    /// The threads start with the first call of `next`, pause when each is
    /// [`prefetch_factor`](Self::prefetch_factor) batches ahead, and end when
    /// the iterator is dropped.
    ///
    /// ```
    /// use dendra_datasets::{DataLoader, moons};
    ///
    /// let data = moons(100, 0.1, 7)?;
    /// let loader = DataLoader::new(&data).batch_size(32).shuffle(42).workers(2);
    /// std::thread::scope(|scope| {
    ///     for epoch in 0..2 {
    ///         for batch in loader.prefetch(scope, epoch) {
    ///             let (x, y) = batch?;
    ///             assert_eq!(x.shape()[0], y.shape()[0]);
    ///         }
    ///     }
    ///     Ok::<(), dendra_tensor::Error>(())
    /// })?;
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn prefetch<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        epoch: u64,
    ) -> Prefetch<'scope, 'env, 'a, D>
    where
        'a: 'scope,
    {
        Prefetch::new(scope, self.epoch(epoch), self.workers, self.prefetch_factor)
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
        Self { sampling: self.sampling.clone(), ..*self }
    }
}

/// The batches of one epoch; see [`DataLoader::epoch`].
#[derive(Debug)]
pub struct Epoch<'a, D: ?Sized> {
    dataset: &'a D,
    draw: Draw,
    batch_size: usize,
    order: Vec<usize>,
    /// The position in `order` of the next batch's first sample.
    next: usize,
    /// The number of batches that are left.
    left: usize,
}

impl<D: Dataset + ?Sized> Epoch<'_, D> {
    /// Gathers the batch after `skipped` others.
    fn gather(&self, skipped: usize, draw: &Draw) -> Result<Batch<D>> {
        if self.batch_size == 0 {
            let message = "the batch size must be at least 1, got 0";
            return Err(Error::argument("DataLoader", message));
        }
        let start = self.next.saturating_add(skipped.saturating_mul(self.batch_size));
        let start = self.order.len().min(start);
        let end = self.order.len().min(start.saturating_add(self.batch_size));
        let indices = &self.order[start..end];
        attempt(self.dataset, indices, draw)
            .map_err(|error| blame(self.dataset, indices, draw, error))
    }

    /// Skips this many batches.
    fn pass(&mut self, batches: usize) {
        let batches = batches.min(self.left);
        self.left -= batches;
        let samples = batches.saturating_mul(self.batch_size);
        self.next = self.order.len().min(self.next.saturating_add(samples));
    }
}

impl<D: Dataset + ?Sized> Iterator for Epoch<'_, D> {
    type Item = Result<Batch<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = self.gather(0, &self.draw);
        self.pass(1);
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        self.pass(skipped);
        self.next()
    }
}

impl<D: Dataset + ?Sized> ExactSizeIterator for Epoch<'_, D> {}
impl<D: Dataset + ?Sized> FusedIterator for Epoch<'_, D> {}

/// Gathers a batch; a panic in the data set becomes an error.
fn attempt<D>(dataset: &D, indices: &[usize], draw: &Draw) -> Result<Batch<D>>
where
    D: Dataset + ?Sized,
{
    // The data set is only read, and its locks, if any, record the panic.
    catch_unwind(AssertUnwindSafe(|| dataset.batch_at(indices, draw)))
        .unwrap_or_else(|payload| Err(Error::panic("the data set", &*payload)))
}

/// Adds the sample that causes an error: the first one that also fails alone.
fn blame<D>(dataset: &D, indices: &[usize], draw: &Draw, error: Error) -> Error
where
    D: Dataset + ?Sized,
{
    if let [index] = indices {
        return error.within(format!("sample {index}"));
    }
    for &index in indices {
        if let Err(error) = attempt(dataset, &[index], draw) {
            return error.within(format!("sample {index}"));
        }
    }
    match indices {
        [first, .., last] => error.within(format!("a batch of samples {first} to {last}")),
        _ => error,
    }
}
