//! The queue of requests for a model and the threads that compute them, several
//! requests in one batch if this changes no bit of the results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use dendra_deploy::{Network, Value};
use dendra_tensor::{Error, Result};
use tokio::sync::oneshot;

use crate::failure::{Answered, Failure};
use crate::metrics::ModelMetrics;
use crate::settings::Settings;

/// The inputs that a network computes for one request.
struct Job {
    network: Arc<Network>,
    inputs: Vec<(String, Value)>,
    /// The number of samples, if they may be batched with those of other
    /// requests.
    samples: Option<usize>,
    arrived: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Answered<Vec<Value>>>,
}

impl Job {
    /// Whether the two may be computed in one batch.
    fn goes_with(&self, other: &Self) -> bool {
        let same = |(a, b): (&(String, Value), &(String, Value))| {
            a.0 == b.0 && a.1.element() == b.1.element() && a.1.shape()[1..] == b.1.shape()[1..]
        };
        self.samples.is_some()
            && other.samples.is_some()
            && Arc::ptr_eq(&self.network, &other.network)
            && self.inputs.len() == other.inputs.len()
            && self.inputs.iter().zip(&other.inputs).all(same)
    }

    /// Whether the client no longer waits for the result.
    fn is_obsolete(&self) -> bool {
        self.reply.is_closed() || Instant::now() >= self.deadline
    }
}

/// The queue of a model.
pub(crate) struct Queue {
    sender: SyncSender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Requests that have arrived and are still in the queue.
    coming: AtomicUsize,
    /// Jobs in the channel.
    length: AtomicUsize,
    most: usize,
    delay: Duration,
    metrics: Arc<ModelMetrics>,
}

struct Waiting {
    receiver: Receiver<Job>,
    /// A job that did not fit the last batch.
    next: Option<Job>,
}

/// A request that is about to enter the queue; threads wait for it for a
/// moment.
pub(crate) struct Coming(Arc<Shared>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// A queue with its threads, which end when it is dropped.
    pub(crate) fn start(settings: &Settings, metrics: Arc<ModelMetrics>) -> Self {
        let (sender, receiver) = sync_channel(settings.queue.max(1));
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting { receiver, next: None }),
            coming: AtomicUsize::new(0),
            length: AtomicUsize::new(0),
            most: settings.batch.max(1),
            delay: settings.batch_delay,
            metrics,
        });
        for _ in 0..settings.workers.max(1) {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work());
        }
        Self { sender, shared }
    }

    /// Announces a request.
    pub(crate) fn announce(&self) -> Coming {
        self.shared.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(&self.shared))
    }

    /// The number of waiting requests.
    pub(crate) fn len(&self) -> usize {
        self.shared.length.load(Ordering::Relaxed)
    }

    /// The outputs for the inputs of a request.
    pub(crate) async fn compute(
        &self,
        network: Arc<Network>,
        inputs: Vec<(String, Value)>,
        coming: Coming,
        deadline: Instant,
    ) -> Answered<Vec<Value>> {
        let (reply, answer) = oneshot::channel();
        let samples = samples_of(&network, &inputs);
        let arrived = Instant::now();
        let job = Job { network, inputs, samples, arrived, deadline, reply };
        self.shared.length.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.sender.try_send(job) {
            self.shared.length.fetch_sub(1, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many requests wait for this model",
                ),
                TrySendError::Disconnected(_) => Failure::unavailable("the model was removed"),
            });
        }
        drop(coming);
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Err(_) => Err(Failure::unavailable("the model did not answer in time")),
            Ok(Err(_)) => Err(Failure::unavailable("the request was dropped")),
            Ok(Ok(outputs)) => outputs,
        }
    }
}

/// The number of samples of a request that may be batched with other requests.
fn samples_of(network: &Network, inputs: &[(String, Value)]) -> Option<usize> {
    if !network.has_independent_samples() {
        return None;
    }
    let mut counts = inputs.iter().map(|(_, value)| value.shape().first().copied());
    let first = counts.next()??;
    counts.all(|count| count == Some(first)).then_some(first).filter(|&count| count > 0)
}

impl Shared {
    /// The loop of each thread.
    fn work(&self) {
        while let Some(batch) = self.take() {
            self.metrics.batch(batch.iter().map(|job| job.samples.unwrap_or(1)).sum());
            let started = Instant::now();
            for job in &batch {
                self.metrics.waited(started.duration_since(job.arrived));
            }
            run(batch, self.most);
            self.metrics.computed(started.elapsed());
        }
    }

    /// The next jobs to compute in one batch; `None` at the end.
    fn take(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = loop {
            let job = match waiting.next.take() {
                Some(job) => job,
                None => self.taken(waiting.receiver.recv().ok()?),
            };
            if !job.is_obsolete() {
                break job;
            }
        };
        let mut samples = first.samples.unwrap_or(self.most);
        let mut batch = vec![first];
        let until = Instant::now() + self.delay;
        while samples < self.most {
            // Waits a short time for requests that are about to enter the
            // queue.
            let patience = match self.coming.load(Ordering::Relaxed) {
                0 => Duration::ZERO,
                _ => until.saturating_duration_since(Instant::now()),
            };
            let job = match waiting.receiver.recv_timeout(patience) {
                Ok(job) => self.taken(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            };
            if job.is_obsolete() {
                continue;
            }
            let more = job.samples.unwrap_or(self.most);
            if !job.goes_with(&batch[0]) || samples + more > self.most {
                waiting.next = Some(job);
                break;
            }
            samples += more;
            batch.push(job);
        }
        Some(batch)
    }

    fn taken(&self, job: Job) -> Job {
        self.length.fetch_sub(1, Ordering::Relaxed);
        job
    }
}

/// Computes the jobs in one batch. If this fails, each is computed alone, so
/// that each gets its own error.
fn run(batch: Vec<Job>, most: usize) {
    if batch.len() > 1
        && let Ok(outputs) = together(&batch)
    {
        for (job, outputs) in batch.into_iter().zip(outputs) {
            // A client that has disconnected needs no answer.
            let _ = job.reply.send(Ok(outputs));
        }
        return;
    }
    for job in batch {
        let outputs = alone(&job, most).map_err(Failure::from);
        let _ = job.reply.send(outputs);
    }
}

fn together(batch: &[Job]) -> Result<Vec<Vec<Value>>> {
    let first = &batch[0];
    let join = |index: usize| {
        let parts: Vec<&Value> = batch.iter().map(|job| &job.inputs[index].1).collect();
        Ok((first.inputs[index].0.as_str(), Value::join(&parts)?))
    };
    let inputs = (0..first.inputs.len()).map(join).collect::<Result<Vec<_>>>()?;
    let counts: Vec<usize> = batch.iter().map(|job| job.samples.unwrap_or(0)).collect();
    let mut parts: Vec<Vec<Value>> = batch.iter().map(|_| Vec::new()).collect();
    for output in guarded(&first.network, &inputs)? {
        for (own, part) in parts.iter_mut().zip(output.split(&counts)?) {
            own.push(part);
        }
    }
    Ok(parts)
}

/// The outputs of one request. Many samples are computed in parts to limit the
/// memory.
fn alone(job: &Job, most: usize) -> Result<Vec<Value>> {
    let inputs: Vec<(&str, Value)> =
        job.inputs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let Some(samples) = job.samples.filter(|&samples| samples > most) else {
        return guarded(&job.network, &inputs);
    };
    let counts: Vec<usize> =
        (0..samples).step_by(most).map(|start| most.min(samples - start)).collect();
    let split: Vec<Vec<Value>> =
        inputs.iter().map(|(_, value)| value.split(&counts)).collect::<Result<_>>()?;
    let part = |index: usize| {
        let inputs: Vec<(&str, Value)> = inputs
            .iter()
            .zip(&split)
            .map(|((name, _), parts)| (*name, parts[index].clone()))
            .collect();
        guarded(&job.network, &inputs)
    };
    let parts: Vec<Vec<Value>> = (0..counts.len()).map(part).collect::<Result<_>>()?;
    let joined =
        |output: usize| Value::join(&parts.iter().map(|part| &part[output]).collect::<Vec<_>>());
    (0..parts[0].len()).map(joined).collect()
}

/// Runs a network, which may have custom layers; a panic becomes an error.
fn guarded(network: &Network, inputs: &[(&str, Value)]) -> Result<Vec<Value>> {
    catch_unwind(AssertUnwindSafe(|| network.run(inputs)))
        .unwrap_or_else(|payload| Err(Error::panic("the model", &*payload)))
}
