//! The batches of an epoch. Background threads gather them ahead when that
//! saves time.

use std::iter::Skip;
use std::num::NonZero;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use dendra_datasets::{DataLoader, Dataset, Prefetch};
use dendra_tensor::Result;

/// How many batches are timed, after a first one that is slow because the
/// caches are cold.
const TIMED: u32 = 8;

/// The least gathering time of a batch for which a background thread is used.
/// Below it, handing the batch from one thread to another costs as much, and
/// the cores are busy with training.
const WORTH_A_THREAD: Duration = Duration::from_micros(100);

/// The largest number of threads that is chosen automatically. Each thread
/// holds batches in memory.
const MOST_WORKERS: usize = 8;

/// How many background threads gather batches: the number that the user set, or
/// the number that the time of the first batches suggests.
#[derive(Clone, Copy)]
pub(crate) struct Gathering {
    workers: usize,
    /// The measurements so far; `None` once the number of workers is decided.
    timing: Option<Timing>,
}

#[derive(Clone, Copy, Default)]
struct Timing {
    since: Option<Instant>,
    batches: u32,
    gathering: Duration,
}

impl Gathering {
    /// Gathering with this number of threads; with `None`, the number is
    /// measured.
    pub(crate) fn new(workers: Option<usize>) -> Self {
        let timing = workers.is_none().then(Timing::default);
        Self { workers: workers.unwrap_or(0), timing }
    }

    /// Gathers a batch on this thread, or receives it from a background thread,
    /// and measures the time.
    fn time<B>(&mut self, gather: impl FnOnce() -> B) -> B {
        let Some(timing) = &mut self.timing else { return gather() };
        let start = Instant::now();
        let batch = gather();
        let end = Instant::now();
        match timing.since {
            None => timing.since = Some(end),
            Some(_) => {
                timing.batches += 1;
                timing.gathering += end - start;
            }
        }
        batch
    }

    /// Whether enough batches have been timed now and background threads will
    /// save time.
    fn decide(&mut self) -> bool {
        match self.timing {
            Some(Timing { since: Some(since), batches: TIMED, gathering }) => {
                self.workers = worthwhile(gathering / TIMED, since.elapsed() / TIMED);
                self.timing = None;
                self.workers > 0
            }
            _ => false,
        }
    }
}

/// The number of threads that saves time, given the time to gather a batch and
/// the time from one batch to the next.
fn worthwhile(gathering: Duration, between: Duration) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || gathering < WORTH_A_THREAD || gathering * 20 < between {
        return 0;
    }
    // As many threads as keep up with the training alone, without the
    // gathering.
    let training = between.saturating_sub(gathering).as_secs_f64();
    let needed = (gathering.as_secs_f64() / training).ceil();
    (needed as usize).clamp(1, cores.min(MOST_WORKERS))
}

/// A batch with the number of its samples.
pub(crate) struct Ready<I, Y> {
    pub(crate) samples: usize,
    pub(crate) inputs: I,
    pub(crate) targets: Y,
}

/// The batches of an epoch, from any batch on.
pub(crate) struct Batches<'scope, 'env, 'a, D: Dataset + ?Sized> {
    scope: &'scope Scope<'scope, 'env>,
    loader: DataLoader<'a, D>,
    epoch: u64,
    /// The index of the next batch.
    next: usize,
    gathering: Gathering,
    source: Skip<Prefetch<'scope, 'env, 'a, D>>,
}

impl<'scope, 'env, 'a, D> Batches<'scope, 'env, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        loader: DataLoader<'a, D>,
        epoch: u64,
        first: usize,
        gathering: Gathering,
    ) -> Self {
        let loader = loader.workers(gathering.workers);
        let source = loader.prefetch(scope, epoch).skip(first);
        Self { scope, loader, epoch, next: first, gathering, source }
    }

    /// The measurements, which the next epoch starts from.
    pub(crate) fn gathering(&self) -> Gathering {
        self.gathering
    }
}

impl<'scope, 'a, D> Iterator for Batches<'scope, '_, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
    type Item = Result<Ready<D::Input, D::Target>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.gathering.decide() {
            self.loader = self.loader.clone().workers(self.gathering.workers);
            self.source = self.loader.prefetch(self.scope, self.epoch).skip(self.next);
        }
        let samples = self.loader.batch_len(self.next);
        self.next += 1;
        let batch = self.gathering.time(|| self.source.next())?;
        Some(batch.map(|(inputs, targets)| Ready { samples, inputs, targets }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_pay_where_gathering_takes_long() {
        let workers = |gathering, between| {
            worthwhile(Duration::from_micros(gathering), Duration::from_micros(between))
        };
        assert_eq!(workers(90, 100), 0, "a thread would cost as much");
        assert_eq!(workers(200, 5_000), 0, "there is nothing to gain");
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        if cores > 1 {
            assert_eq!(workers(1_000, 5_000), 1);
            assert_eq!(workers(1_000, 1_000), cores.min(MOST_WORKERS));
        }
    }
}
