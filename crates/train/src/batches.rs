//! The batches of an epoch, gathered ahead on background threads where that
//! pays.

use std::iter::Skip;
use std::num::NonZero;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use dendra_datasets::{DataLoader, Dataset, Prefetch};
use dendra_tensor::Result;

/// How many batches are timed, after a first one that meets cold caches.
const TIMED: u32 = 8;

/// Handing a batch from one thread to another costs some microseconds, and the
/// cores are busy with the training as it is.
const WORTH_A_THREAD: Duration = Duration::from_micros(100);

/// The most threads that are used unasked: each has batches in memory.
const MOST_WORKERS: usize = 8;

/// How many background threads gather batches: what was asked for, or what the
/// time of the first batches recommends.
#[derive(Clone, Copy)]
pub(crate) struct Gathering {
    workers: usize,
    /// What is known so far, unless there is nothing left to find out.
    timing: Option<Timing>,
}

#[derive(Clone, Copy, Default)]
struct Timing {
    since: Option<Instant>,
    batches: u32,
    gathering: Duration,
}

impl Gathering {
    /// So many threads, or as many as turn out to pay.
    pub(crate) fn new(workers: Option<usize>) -> Self {
        let timing = workers.is_none().then(Timing::default);
        Self { workers: workers.unwrap_or(0), timing }
    }

    /// Gathers a batch on this thread or takes it from another.
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

    /// Whether enough batches were timed just now, and threads will pay.
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

/// How many threads pay when gathering a batch takes this much of the time
/// from one to the next.
fn worthwhile(gathering: Duration, between: Duration) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || gathering < WORTH_A_THREAD || gathering * 20 < between {
        return 0;
    }
    // As many as keep up with the training, which takes the rest.
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

/// The batches of an epoch from one on.
pub(crate) struct Batches<'scope, 'env, 'a, D: Dataset + ?Sized> {
    scope: &'scope Scope<'scope, 'env>,
    loader: DataLoader<'a, D>,
    epoch: u64,
    /// The number of the next batch.
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

    /// What was found out about gathering, for the next epoch.
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
