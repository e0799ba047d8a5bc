//! [`SharedRun`]: a training run that several processes share.

use std::ops::Range;
use std::sync::Arc;

use dendra_autograd::{
    Entry, Gradients, Param, ParamId, Parameters, Path, SharedBatchNorm, StateDict, Tape, Var,
};
use dendra_datasets::{DataLoader, Draw};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::{Model, Output};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor};

use crate::fit::Data;
use crate::history::Evaluation;
use crate::metrics::Metric;
use crate::step::{Step, loss_not_finite};
use crate::trainer::{EVALUATION_BATCH, Gathered, Metrics, Trainer, Values};

/// The label of the random streams of shards.
const SHARDS: u64 = 0x5348_4152_4453;

/// A training run whose batches several processes share. Each process calls
/// [`Trainer::fit`] with the same settings, model and data, and computes a part
/// of each batch; all of them end with the same weights and the same history.
///
/// A [`GradientRule`](crate::GradientRule) returns it from
/// [`shared`](crate::GradientRule::shared); `dendra-distributed` implements it.
/// All processes call the methods in the same order, so each of them may wait
/// for the other processes.
pub trait SharedRun<T: Float = f32> {
    /// How batches are divided, such as `8 shards`. The gradients depend on it,
    /// so a run can be resumed only with the same division.
    fn division(&self) -> String;

    /// Whether this is the one process that prints and writes files.
    fn leads(&self) -> bool;

    /// Called before the first step with the settings of the run and the states
    /// of model and optimizer, which must be equal in all processes.
    ///
    /// # Errors
    ///
    /// When they differ, or a process does not answer. The run does not start.
    fn begin(&mut self, settings: &str, states: [&StateDict; 2]) -> Result<()>;

    /// The gradients of a batch from the gradients of its shards. `stop` says
    /// whether this process was asked to stop.
    ///
    /// # Errors
    ///
    /// When a shard fails in any process; all processes return the same error.
    /// Also when a process does not answer.
    fn step(
        &mut self,
        model: &dyn Parameters<T>,
        batch: &dyn SharedBatch<T>,
        stop: bool,
    ) -> Result<SharedStep<T>>;

    /// Updates the model.
    ///
    /// # Errors
    ///
    /// Those of [`Optimizer::step`], and when a process does not answer.
    fn update(
        &mut self,
        optimizer: &mut dyn Optimizer<T>,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
    ) -> Result<()>;

    /// The state of the whole optimizer, of which each process may have a part.
    ///
    /// # Errors
    ///
    /// When a process does not answer.
    fn optimizer_state(&mut self, optimizer: &dyn Optimizer<T>) -> Result<StateDict>;

    /// The figures of all parts of the data, in their order. `figures` computes
    /// those of one part; each process computes some of them.
    ///
    /// # Errors
    ///
    /// When a part fails in any process, or a process does not answer.
    fn gather(
        &mut self,
        parts: usize,
        figures: &mut dyn FnMut(usize) -> Result<Figures>,
    ) -> Result<Vec<Figures>>;

    /// Waits for all processes, and returns an error if one of them has one.
    ///
    /// # Errors
    ///
    /// That of `result`, or that of another process.
    fn agree(&mut self, result: Result<()>) -> Result<()>;

    /// Called after the run, with the error that ended it.
    fn end(&mut self, error: Option<&Error>);
}

/// Called during a backward pass with each parameter, its gradient and
/// [`Shard::weight`], as soon as the gradient is complete.
pub type GradientSeen<T> = Arc<dyn Fn(ParamId, &Tensor<T>, f64) + Send + Sync>;

/// The batch of a step, of which a process computes some shards. Several threads
/// may compute shards at the same time.
pub trait SharedBatch<T: Float = f32>: Sync {
    /// The number of samples.
    fn samples(&self) -> usize;

    /// Computes a shard: the gradients of the mean loss of these samples of the
    /// batch. Random numbers, such as those of dropout, depend on the seed, the
    /// position in the data and the index of the shard.
    ///
    /// With `norm`, layers of batch normalisation use the statistics of all
    /// shards, so the gradients of a shard contain parts of the losses of the
    /// others. Then the gradients are already multiplied by the divisor of the
    /// loss, and their weight is 1.
    ///
    /// # Errors
    ///
    /// When the data, the model, the loss or a metric fails, or the loss is not
    /// finite.
    fn shard(
        &self,
        index: usize,
        samples: Range<usize>,
        seen: Option<GradientSeen<T>>,
        norm: Option<Arc<dyn SharedBatchNorm<T>>>,
    ) -> Result<Shard<T>>;
}

/// The result of a shard.
#[derive(Debug)]
pub struct Shard<T: Float = f32> {
    /// The gradients of the mean loss of its samples.
    pub gradients: Gradients<T>,
    /// The factor of the gradients in the sum over the shards: the gradients of
    /// the batch are Σ weight · gradients / Σ divisor.
    pub weight: f64,
    /// Its loss and its metrics.
    pub figures: Figures,
}

/// Loss and metrics of some samples, in a form that can be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The loss.
    pub loss: f64,
    /// The divisor of the loss; see [`Loss::divisor`].
    pub divisor: Option<f64>,
    /// The number of samples.
    pub samples: usize,
    /// The state of each metric; see [`Metric::state`].
    pub metrics: Vec<Vec<f64>>,
}

/// The result of a shared step.
#[derive(Debug)]
pub struct SharedStep<T: Float = f32> {
    /// The gradients of the batch.
    pub gradients: Gradients<T>,
    /// The figures of the shards, in their order.
    pub figures: Vec<Figures>,
    /// Whether a process was asked to stop.
    pub stop: bool,
}

/// The part of a trainer that computes figures and gradients of samples.
struct Work<'a, M, L: ?Sized, Y, I, T: Float>
where
    M: Model<I, T>,
{
    model: &'a M,
    loss: &'a L,
    metrics: &'a Metrics<Y, Values<M, I, T>>,
}

/// [`SharedBatch`] of a trainer.
struct Batch<'a, M, L: ?Sized, Y, I, T: Float>
where
    M: Model<I, T>,
{
    work: Work<'a, M, L, Y, I, T>,
    data: Data<'a, I, Y>,
    /// The samples of the batch.
    indices: &'a [usize],
    seed: u64,
    epoch: u64,
    /// The index of the batch in its epoch.
    index: usize,
}

impl<M, L, Y, I, T> Work<'_, M, L, Y, I, T>
where
    M: Model<I, T>,
    L: Loss<Y, T, M::Output> + ?Sized,
    T: Float,
{
    /// Loss and output of some samples, with the divisor of the loss.
    fn run(
        &self,
        inputs: &I,
        targets: &Y,
        samples: usize,
        tape: &Tape<T>,
    ) -> Result<(Var<T>, Option<f64>, M::Output)> {
        let output = self.model.run(inputs, tape)?;
        let loss = self.loss.forward(&output, targets)?;
        let divisor = self.loss.divisor(&output, targets, samples);
        Ok((loss, divisor, output))
    }

    fn figures(
        &self,
        loss: f64,
        divisor: Option<f64>,
        samples: usize,
        output: M::Output,
        targets: &Y,
    ) -> Result<Figures> {
        let values = output.into_values();
        let metrics = self.metrics.iter().map(|metric| {
            let mut fresh = metric.fresh();
            fresh.update(&values, targets)?;
            fresh.state().ok_or_else(|| no_state(&metric.name()))
        });
        Ok(Figures { loss, divisor, samples, metrics: metrics.collect::<Result<_>>()? })
    }
}

fn no_state(metric: &str) -> Error {
    let message = "several processes can gather only a metric that implements Metric::state";
    Error::argument(metric, message)
}

/// Returns an error for a metric that several processes cannot gather.
pub(crate) fn check_metrics<Y, P>(metrics: &[Box<dyn Metric<Y, P>>]) -> Result<()> {
    match metrics.iter().find(|metric| metric.fresh().state().is_none()) {
        Some(metric) => Err(no_state(&metric.name())),
        None => Ok(()),
    }
}

/// The parameters of a model.
fn parameters<T: Float>(model: &dyn Parameters<T>) -> Vec<&Param<T>> {
    let mut found = Vec::new();
    model.visit(&mut Path::unwritten(), &mut |_, entry| {
        if let Entry::Param(param) = entry {
            found.push(param);
        }
    });
    found
}

impl<M, L, Y, I, T> SharedBatch<T> for Batch<'_, M, L, Y, I, T>
where
    M: Model<I, T>,
    L: Loss<Y, T, M::Output> + ?Sized,
    Y: Send,
    I: Send,
    T: Float,
{
    fn samples(&self) -> usize {
        self.indices.len()
    }

    fn shard(
        &self,
        index: usize,
        samples: Range<usize>,
        seen: Option<GradientSeen<T>>,
        norm: Option<Arc<dyn SharedBatchNorm<T>>>,
    ) -> Result<Shard<T>> {
        let indices = self.indices.get(samples).unwrap_or_default();
        let (inputs, targets) = self.data.batch_at(indices, &Draw::new(self.seed, self.epoch))?;
        let own = Rng::seed(self.seed).fork(SHARDS).fork(index as u64).next_u64();
        let mut tape = Tape::training(own, self.epoch << 32 | self.index as u64);
        let is_normalised_with_others = norm.is_some();
        if let Some(norm) = norm {
            tape = tape.with_shared_batch_norm(norm);
        }
        let work = &self.work;
        let (loss, divisor, output) = work.run(&inputs, &targets, indices.len(), &tape)?;
        if divisor != Some(0.0) && !loss.value().is_finite() {
            let first = tape.first_not_finite(|id| work.model.name_of(id));
            let place = format!("shard {}", index + 1);
            return Err(Error::not_finite(place, loss_not_finite(&loss, first)));
        }
        // `backward` returns the error of a loss that is not a scalar.
        let value = loss.value().item().map_or(f64::NAN, T::to_f64);
        let weight = divisor.unwrap_or(1.0);
        let (loss, weight) = match is_normalised_with_others {
            true => (loss.mul_scalar(weight), 1.0),
            false => (loss, weight),
        };
        if let Some(seen) = seen {
            // The parameters are on the tape already, where they are first used.
            let on_tape = tape.input(Tensor::scalar(T::ZERO));
            for param in parameters(work.model).into_iter().filter(|param| param.is_trainable()) {
                let (seen, id) = (Arc::clone(&seen), param.id());
                param.on(&on_tape).register_hook(move |gradient| {
                    seen(id, gradient.value(), weight);
                    Ok(None)
                })?;
            }
        }
        let gradients = loss.backward()?;
        let figures = work.figures(value, divisor, indices.len(), output, &targets)?;
        Ok(Shard { gradients, weight, figures })
    }
}

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    Y: Send,
    I: Send,
    T: Float,
{
    /// Trains on a batch that several processes share. If this fails, neither
    /// the weights nor the figures have changed. The second value says whether
    /// a process was asked to stop.
    pub(crate) fn step_shared(
        &mut self,
        shared: &mut dyn SharedRun<T>,
        (data, indices): (Data<'_, I, Y>, &[usize]),
        other_loss: Option<&dyn Loss<Y, T, M::Output>>,
        (seed, epoch, index): (u64, u64, usize),
        stop: bool,
        gathered: &mut Gathered<Y, Values<M, I, T>>,
    ) -> Result<(Step<T>, bool)> {
        let loss: &dyn Loss<Y, T, M::Output> = other_loss.unwrap_or(&self.loss);
        let work = Work { model: &self.model, loss, metrics: &self.metrics };
        let batch = Batch { work, data, indices, seed, epoch, index };
        let SharedStep { gradients, figures, stop } = shared.step(&self.model, &batch, stop)?;
        if let Some(id) = gradients.first_not_finite() {
            let name = self.model.name_of(id).unwrap_or_else(|| "an unnamed parameter".to_owned());
            let step = format!("step {}", self.optimizer.steps() + 1);
            return Err(Error::not_finite(step, format!("the gradient of `{name}` is not finite")));
        }
        shared.update(&mut self.optimizer, &mut self.model, &gradients)?;
        let (mut running, mut samples) = (RunningLoss::default(), 0);
        for figures in &figures {
            running.add(figures.loss, figures.divisor);
            samples += figures.samples;
            gathered.merge(figures)?;
        }
        Ok((Step { gradients, loss: running.value(), samples, skipped: None }, stop))
    }

    /// As [`evaluate`](Self::evaluate), where each process computes some of the
    /// batches.
    pub(crate) fn evaluate_shared(
        &self,
        data: Data<'_, I, Y>,
        shared: &mut dyn SharedRun<T>,
    ) -> Result<Evaluation> {
        let loader = DataLoader::new(data).batch_size(EVALUATION_BATCH);
        let work = Work { model: &self.model, loss: &self.loss, metrics: &self.metrics };
        let one = |index: usize| {
            let batch = loader.epoch(0).nth(index).transpose()?;
            let missing = || Error::data("evaluation", "the data set is shorter than it says");
            let (inputs, targets) = batch.ok_or_else(missing)?;
            let samples = loader.batch_len(index);
            let (loss, divisor, output) =
                work.run(&inputs, &targets, samples, &Tape::inference())?;
            let loss = loss.value().item()?.to_f64();
            work.figures(loss, divisor, samples, output, &targets)
        };
        let mut figures = |index: usize| {
            one(index).map_err(|error| error.within(format!("evaluation, batch {}", index + 1)))
        };
        let mut gathered = Gathered::new(&self.metrics);
        for figures in shared.gather(loader.len(), &mut figures)? {
            gathered.merge(&figures)?;
        }
        Ok(gathered.evaluation())
    }
}

impl<Y, P> Gathered<Y, P> {
    /// Adds the figures of samples that another process may have computed.
    fn merge(&mut self, figures: &Figures) -> Result<()> {
        self.loss.add(figures.loss, figures.divisor);
        self.samples += figures.samples;
        let mut pairs = self.metrics.iter_mut().zip(&figures.metrics);
        pairs.try_for_each(|(metric, state)| metric.merge(state))
    }
}
