//! [`Prefetch`]: the batches of an epoch, gathered ahead on background threads.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use dendra_tensor::{Error, Result};

use super::Epoch;
use crate::dataset::{Batch, Dataset};

/// The batches of one epoch, gathered ahead; see
/// [`DataLoader::prefetch`](super::DataLoader::prefetch).
///
/// Of `n` threads, the first gathers the batches 0, n, 2n, …, the second 1, n +
/// 1, 2n + 1, and so on, each into its own queue. So the batches are in order,
/// regardless of which thread is faster, and each queue has a bounded length.
pub struct Prefetch<'scope, 'env, 'a, D: Dataset + ?Sized> {
    scope: &'scope Scope<'scope, 'env>,
    /// The batches that have not been returned, until the threads start.
    epoch: Epoch<'a, D>,
    workers: usize,
    prefetch_factor: usize,
    running: Vec<Worker<'scope, Batch<D>>>,
    /// The number of batches that the threads have returned.
    delivered: usize,
}

impl<D: Dataset + ?Sized> fmt::Debug for Prefetch<'_, '_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Prefetch");
        debug.field("workers", &self.workers).field("delivered", &self.delivered);
        debug.finish_non_exhaustive()
    }
}

/// A background thread and the queue of its batches.
struct Worker<'scope, B> {
    batches: Receiver<Result<B>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope, 'env, 'a, D> Prefetch<'scope, 'env, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        epoch: Epoch<'a, D>,
        workers: usize,
        prefetch_factor: usize,
    ) -> Self {
        Self { scope, epoch, workers, prefetch_factor, running: Vec::new(), delivered: 0 }
    }

    /// Starts the threads, at most one for each batch.
    fn start(&mut self) -> Result<()> {
        let workers = self.workers.min(self.epoch.left);
        let plan = Arc::new(Epoch { order: std::mem::take(&mut self.epoch.order), ..self.epoch });
        for first in 0..workers {
            let plan = Arc::clone(&plan);
            let (sender, batches) = sync_channel(self.prefetch_factor);
            let work = move || {
                let draw = plan.draw.in_background();
                for index in (first..plan.left).step_by(workers) {
                    // Sending fails when the iterator was dropped.
                    if sender.send(plan.gather(index, &draw)).is_err() {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new()
                .name(format!("dendra loader {first}"))
                .spawn_scoped(self.scope, work)
                .map_err(|error| {
                    let message = format!("cannot start a background thread: {error}");
                    Error::argument("DataLoader", message)
                })?;
            self.running.push(Worker { batches, thread });
        }
        Ok(())
    }
}

impl<D: Dataset + ?Sized> Prefetch<'_, '_, '_, D> {
    /// Stops the threads and waits for them; each completes its current batch.
    fn stop(&mut self) {
        let threads: Vec<_> = self.running.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // The thread caught panics of the data set.
            let _ = thread.join();
        }
    }
}

impl<'scope, 'a, D> Iterator for Prefetch<'scope, '_, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
    type Item = Result<Batch<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.workers == 0 {
            return self.epoch.next();
        }
        if self.epoch.left == 0 {
            self.stop();
            return None;
        }
        if self.running.is_empty()
            && let Err(error) = self.start()
        {
            self.stop();
            self.epoch.left = 0;
            return Some(Err(error));
        }
        let worker = &self.running[self.delivered % self.running.len()];
        self.epoch.left -= 1;
        self.delivered += 1;
        Some(worker.batches.recv().unwrap_or_else(|_| {
            Err(Error::data("DataLoader", "a background thread ended before its last batch"))
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.epoch.size_hint()
    }

    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        if self.running.is_empty() {
            self.epoch.pass(skipped);
        } else {
            (0..skipped).try_for_each(|_| self.next().map(|_| ()))?;
        }
        self.next()
    }
}

impl<'scope, 'a, D> ExactSizeIterator for Prefetch<'scope, '_, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
}
impl<'scope, 'a, D> FusedIterator for Prefetch<'scope, '_, 'a, D>
where
    D: Dataset + ?Sized,
    'a: 'scope,
{
}

impl<D: Dataset + ?Sized> Drop for Prefetch<'_, '_, '_, D> {
    fn drop(&mut self) {
        self.stop();
    }
}
