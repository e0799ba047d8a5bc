//! The [`Trainer`]: model, optimizer and loss, and the loop that joins them.

use std::time::Instant;

use dendra_autograd::{Tape, Var};
use dendra_datasets::{DataLoader, Dataset};
use dendra_losses::Loss;
use dendra_nn::Module;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Tensor};

use crate::fit::{Data, Fit};
use crate::history::{EpochReport, Evaluation, History};
use crate::metrics::Metric;
use crate::progress::Progress;

/// How many samples go through the model at once when nothing is trained.
const EVALUATION_BATCH: usize = 128;

/// Trains, evaluates and applies a model.
///
/// `Y` is the type of a batch's targets: `Tensor<i64>` for class labels,
/// `Tensor<f32>` for regression. See the [crate's documentation](crate) for an
/// example.
pub struct Trainer<M, O, L, Y = Tensor<i64>> {
    model: M,
    optimizer: O,
    loss: L,
    metrics: Vec<Box<dyn Metric<Y>>>,
    epochs: usize,
}

impl<M: Module, O: Optimizer, L: Loss<Y>, Y: Send> Trainer<M, O, L, Y> {
    /// Puts model, optimizer and loss together.
    pub fn new(mut model: M, optimizer: O, loss: L) -> Self {
        model.name_parameters();
        Self { model, optimizer, loss, metrics: Vec::new(), epochs: 0 }
    }

    /// Also reports this metric.
    #[must_use]
    pub fn metric(mut self, metric: impl Metric<Y> + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, to be changed.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// The model alone.
    pub fn into_model(self) -> M {
        self.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The optimizer, to be changed.
    pub fn optimizer_mut(&mut self) -> &mut O {
        &mut self.optimizer
    }

    /// How many epochs were trained. A call of [`fit`](Self::fit) goes on from
    /// here, so two calls of 5 epochs are one call of 10.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// Lets [`fit`](Self::fit) go on as after so many epochs, for a model and
    /// an optimizer whose states were restored.
    pub fn set_epochs(&mut self, epochs: usize) {
        self.epochs = epochs;
    }

    /// Trains.
    ///
    /// # Errors
    ///
    /// When a data set is empty or the samples of training and validation data
    /// differ in shape, before anything is changed; when model, loss, metrics
    /// or optimizer refuse a batch; and when the loss is no longer finite: the
    /// error names the step and the first operation whose output was not, and
    /// the weights are those of the step before.
    pub fn fit<D>(&mut self, data: &D, fit: Fit<'_, Y>) -> Result<History>
    where
        D: Dataset<Input = Tensor, Target = Y>,
    {
        check_data("the training data", data)?;
        self.optimizer.check()?;
        if let Some(validation) = fit.validation {
            check_data("the validation data", validation)?;
            let (expected, found) = (data.input_shape(), validation.input_shape());
            if expected != found {
                let message = format!(
                    "the training samples have shape {expected}, the validation samples {found}"
                );
                return Err(Error::shape("fit", message));
            }
        }
        let loader = DataLoader::new(data).batch_size(fit.batch_size);
        let loader = if fit.shuffle { loader.shuffle(fit.seed) } else { loader };
        let last = self.epochs + fit.epochs;
        let mut history = History::default();
        while self.epochs < last {
            let number = self.epochs + 1;
            let mut progress = Progress::epoch(number, last, data.len(), fit.quiet);
            let start = Instant::now();
            let mut gathered = Gathered::new(&self.metrics);
            for (index, batch) in loader.epoch(self.epochs as u64).enumerate() {
                let place = || format!("epoch {number}, batch {}", index + 1);
                let (inputs, targets) = batch.map_err(|error| error.within(place()))?;
                self.step(fit.seed, inputs, &targets, &mut gathered)
                    .map_err(|error| error.within(place()))?;
                progress.update(gathered.samples, || gathered.evaluation());
            }
            let seconds = start.elapsed().as_secs_f64();
            self.epochs += 1;
            self.optimizer.end_epoch();
            let epoch = EpochReport {
                number,
                training: gathered.evaluation(),
                validation: fit.validation.map(|data| self.evaluate_any(data)).transpose()?,
                seconds,
                samples_per_second: gathered.samples as f64 / seconds,
            };
            progress.finish(&epoch);
            history.epochs.push(epoch);
        }
        Ok(history)
    }

    /// Trains on one batch.
    fn step(
        &mut self,
        seed: u64,
        inputs: Tensor,
        targets: &Y,
        gathered: &mut Gathered<Y>,
    ) -> Result<()> {
        let samples = inputs.shape().first().copied().unwrap_or(1);
        let tape = Tape::training(seed, self.optimizer.steps());
        let output = self.model.forward(&tape.input(inputs))?;
        let loss = self.loss.forward(&output, targets)?;
        if !loss.value().is_finite() {
            let first = tape.first_not_finite(|id| self.model.name_of(id));
            let first = first.unwrap_or_else(|| "the loss itself".to_owned());
            return Err(Error::not_finite(
                format!("step {}", self.optimizer.steps() + 1),
                format!("the loss is not finite ({}); first not finite: {first}", loss.value()),
            ));
        }
        let gradients = loss.backward()?;
        self.optimizer.step(&mut self.model, &gradients)?;
        gathered.add(f64::from(gradients.loss()), samples, output.value(), targets)
    }

    /// Loss and metrics over a data set, without training.
    ///
    /// # Errors
    ///
    /// When the data set is empty, or model, loss or metrics refuse a batch.
    pub fn evaluate<D>(&self, data: &D) -> Result<Evaluation>
    where
        D: Dataset<Input = Tensor, Target = Y>,
    {
        check_data("the evaluation data", data)?;
        self.evaluate_any(data)
    }

    fn evaluate_any(&self, data: Data<'_, Y>) -> Result<Evaluation> {
        let mut gathered = Gathered::new(&self.metrics);
        let loader = DataLoader::new(data).batch_size(EVALUATION_BATCH);
        for (index, batch) in loader.epoch(0).enumerate() {
            let add = || {
                let (inputs, targets) = batch?;
                let samples = inputs.shape().first().copied().unwrap_or(1);
                let output = self.model.forward(&Var::new(inputs))?;
                let loss = self.loss.forward(&output, &targets)?.value().item()?;
                gathered.add(f64::from(loss), samples, output.value(), &targets)
            };
            add()
                .map_err(|error: Error| error.within(format!("evaluation, batch {}", index + 1)))?;
        }
        Ok(gathered.evaluation())
    }

    /// The model's outputs for inputs of shape `[samples, …]`, computed a
    /// batch at a time.
    ///
    /// # Errors
    ///
    /// When the model refuses the inputs.
    pub fn predict(&self, inputs: &Tensor) -> Result<Tensor> {
        let samples = match inputs.shape().first() {
            Some(&samples) if samples > EVALUATION_BATCH => samples,
            _ => return Ok(self.model.forward(&Var::new(inputs.clone()))?.into_value()),
        };
        let outputs = (0..samples)
            .step_by(EVALUATION_BATCH)
            .map(|start| {
                let batch = inputs.narrow(0, start, EVALUATION_BATCH.min(samples - start))?;
                Ok(self.model.forward(&Var::new(batch))?.into_value())
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&outputs.iter().collect::<Vec<_>>(), 0)
    }
}

/// A data set must have samples.
fn check_data<Y>(what: &str, data: &(impl Dataset<Target = Y> + ?Sized)) -> Result<()> {
    if data.is_empty() {
        return Err(Error::data("Trainer", format!("{what} holds no samples")));
    }
    Ok(())
}

/// Loss and metrics so far.
struct Gathered<Y> {
    loss: f64,
    samples: usize,
    metrics: Vec<Box<dyn Metric<Y>>>,
}

impl<Y> Gathered<Y> {
    fn new(metrics: &[Box<dyn Metric<Y>>]) -> Self {
        let metrics = metrics.iter().map(|metric| metric.fresh()).collect();
        Self { loss: 0.0, samples: 0, metrics }
    }

    fn add(&mut self, loss: f64, samples: usize, output: &Tensor, targets: &Y) -> Result<()> {
        self.loss += loss * samples as f64;
        self.samples += samples;
        self.metrics.iter_mut().try_for_each(|metric| metric.update(output, targets))
    }

    fn evaluation(&self) -> Evaluation {
        Evaluation {
            loss: self.loss / self.samples as f64,
            metrics: self.metrics.iter().map(|metric| (metric.name(), metric.value())).collect(),
        }
    }
}
