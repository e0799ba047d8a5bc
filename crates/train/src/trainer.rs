//! The [`Trainer`]: model, optimizer and loss, and the loop that joins them.

use std::thread;

use dendra_autograd::Var;
use dendra_datasets::{DataLoader, Dataset};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::Module;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::batches::{Batches, Gathering};
use crate::fit::{Data, Fit};
use crate::history::{Evaluation, History};
use crate::metrics::Metric;
use crate::run::Run;

/// How many samples go through the model at once when nothing is trained.
pub(crate) const EVALUATION_BATCH: usize = 128;

/// Trains, evaluates and applies a model.
///
/// `Y` is the type of a batch's targets: `Tensor<i64>` for class labels,
/// `Tensor<f32>` for regression. See the [crate's documentation](crate) for an
/// example.
pub struct Trainer<M, O, L, Y = Tensor<i64>> {
    pub(crate) model: M,
    pub(crate) optimizer: O,
    pub(crate) loss: L,
    pub(crate) metrics: Vec<Box<dyn Metric<Y>>>,
    pub(crate) epochs: usize,
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

    /// Model, optimizer and loss.
    pub fn into_parts(self) -> (M, O, L) {
        (self.model, self.optimizer, self.loss)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The optimizer, to be changed.
    pub fn optimizer_mut(&mut self) -> &mut O {
        &mut self.optimizer
    }

    /// How many epochs were trained, one that was cut short included. A call of
    /// [`fit`](Self::fit) goes on from here, so two calls of 5 epochs are one
    /// call of 10.
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
    /// differ in shape, or a checkpoint cannot be gone on from, before anything
    /// is changed; when model, loss, metrics or optimizer refuse a batch; when
    /// a callback or the data set fails or panics; and when loss or gradient
    /// are no longer finite: the error names the step and the first operation
    /// whose output was not, and the weights are those of the step before.
    /// What was done until then stays, and the trainer can be used again.
    pub fn fit<D>(&mut self, data: &D, mut fit: Fit<'_, Y>) -> Result<History>
    where
        D: Dataset<Input = Tensor, Target = Y>,
    {
        check_data("the training data", data)?;
        fit.check()?;
        // A wrong number of weights is told before the data is divided.
        fit.sampling.apply(DataLoader::new(data), fit.seed)?;
        let Some(share) = fit.validation_split else {
            let validation = fit.validation;
            return self.fit_on(data, validation, fit);
        };
        // A stream of its own, so that it has nothing in common with the order
        // of the epochs.
        let mut rng = Rng::seed(fit.seed).fork(u64::MAX);
        let (train, validation) = data
            .split(1.0 - share, &mut rng)
            .map_err(|error| error.within(format!("validation_split of {share}")))?;
        fit.sampling = fit.sampling.of_part(train.indices());
        self.fit_on(&train, Some(&validation), fit)
    }

    fn fit_on(
        &mut self,
        data: Data<'_, Y>,
        validation: Option<Data<'_, Y>>,
        fit: Fit<'_, Y>,
    ) -> Result<History> {
        self.optimizer.check()?;
        if let Some(validation) = validation {
            check_data("the validation data", validation)?;
            let (expected, found) = (data.input_shape(), validation.input_shape());
            if expected != found {
                let message = format!(
                    "the training samples have shape {expected}, the validation samples {found}"
                );
                return Err(Error::shape("fit", message));
            }
        }
        Run::begin(self, data, validation, fit)?.train()
    }

    /// Loss and metrics over a data set, without training: the loss is that of
    /// all samples as one batch, and NaN where none of them counts.
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

    pub(crate) fn evaluate_any(&self, data: Data<'_, Y>) -> Result<Evaluation> {
        let mut gathered = Gathered::new(&self.metrics);
        let loader = DataLoader::new(data).batch_size(EVALUATION_BATCH);
        let mut add = |batch: Result<(Tensor, Y)>| {
            let (inputs, targets) = batch?;
            let samples = inputs.shape().first().copied().unwrap_or(1);
            let output = self.model.forward(&Var::new(inputs))?;
            let loss = self.loss.of_batch(&output, &targets, None)?;
            let value = f64::from(loss.value.value().item()?);
            gathered.add(value, loss.divisor, samples, output.value(), &targets)
        };
        thread::scope(|scope| {
            let batches = Batches::new(scope, loader, 0, 0, Gathering::new(None));
            for (index, batch) in batches.enumerate() {
                let place = |error: Error| error.within(format!("evaluation, batch {}", index + 1));
                add(batch).map_err(place)?;
            }
            Ok(())
        })?;
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
pub(crate) struct Gathered<Y> {
    pub(crate) loss: RunningLoss,
    pub(crate) samples: usize,
    metrics: Vec<Box<dyn Metric<Y>>>,
}

impl<Y> Gathered<Y> {
    pub(crate) fn new(metrics: &[Box<dyn Metric<Y>>]) -> Self {
        let metrics = metrics.iter().map(|metric| metric.fresh()).collect();
        Self { loss: RunningLoss::default(), samples: 0, metrics }
    }

    pub(crate) fn add(
        &mut self,
        loss: f64,
        divisor: Option<f64>,
        samples: usize,
        output: &Tensor,
        targets: &Y,
    ) -> Result<()> {
        self.loss.add(loss, divisor);
        self.samples += samples;
        self.metrics.iter_mut().try_for_each(|metric| metric.update(output, targets))
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        Evaluation {
            loss: self.loss.value(),
            metrics: self.metrics.iter().map(|metric| (metric.name(), metric.value())).collect(),
        }
    }
}
