//! The [`Trainer`]: a model, an optimizer and a loss, and the loop over them.

use std::fmt;
use std::thread;

use dendra_autograd::Tape;
use dendra_datasets::{DataLoader, Dataset, Samples};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::{Model, Output};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result, Rng, Tensor};

use crate::batches::{Batches, Gathering, Ready};
use crate::fit::{Data, Fit};
use crate::history::{Evaluation, History};
use crate::metrics::Metric;
use crate::run::Run;
use crate::stage::Work;

/// The number of samples in a batch for evaluation and prediction.
pub(crate) const EVALUATION_BATCH: usize = 128;

/// The values of the outputs of a model for inputs `I`.
pub(crate) type Values<M, I, T> = <<M as Model<I, T>>::Output as Output>::Values;

/// The metrics of a trainer.
pub(crate) type Metrics<Y, P> = Vec<Box<dyn Metric<Y, P>>>;

/// Trains, evaluates and applies a model.
///
/// `Y` and `I` are the types of a batch's targets and inputs, by default class
/// labels and a tensor, and `T` is the number type of the model. They are
/// inferred from the data set, so they must be written only where a trainer
/// appears in a signature: `Trainer<Net, Adam, MSELoss, Tensor>` for a
/// regression, `Trainer<Gpt, AdamW, CrossEntropy, Tensor<i64>, Tensor<i64>>`
/// for token ids. See the [crate's documentation](crate) for an example, and
/// [`Model`] for models with any input.
pub struct Trainer<M, O, L, Y = Tensor<i64>, I = Tensor, T = f32>
where
    M: Model<I, T>,
    T: Float,
{
    pub(crate) model: M,
    pub(crate) optimizer: O,
    pub(crate) loss: L,
    pub(crate) metrics: Metrics<Y, Values<M, I, T>>,
    pub(crate) epochs: u64,
}

impl<M, O, L, Y, I, T> fmt::Debug for Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T> + fmt::Debug,
    O: fmt::Debug,
    L: fmt::Debug,
    T: Float,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Trainer");
        debug.field("model", &self.model).field("optimizer", &self.optimizer);
        debug.field("loss", &self.loss).field("epochs", &self.epochs).finish_non_exhaustive()
    }
}

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    T: Float,
{
    /// A trainer of this model, optimizer and loss.
    pub fn new(mut model: M, optimizer: O, loss: L) -> Self {
        model.name_parameters();
        Self { model, optimizer, loss, metrics: Vec::new(), epochs: 0 }
    }

    /// Adds a metric.
    #[must_use]
    pub fn metric(mut self, metric: impl Metric<Y, Values<M, I, T>> + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, mutable.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// The model, which consumes the trainer.
    pub fn into_model(self) -> M {
        self.model
    }

    /// Model, optimizer and loss, which consumes the trainer.
    pub fn into_parts(self) -> (M, O, L) {
        (self.model, self.optimizer, self.loss)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The optimizer, mutable.
    pub fn optimizer_mut(&mut self) -> &mut O {
        &mut self.optimizer
    }

    /// The number of epochs trained, including one that was cut short. A call
    /// of [`fit`](Self::fit) continues from here, so two calls with 5 epochs do
    /// the same as one with 10.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Makes [`fit`](Self::fit) continue as after this number of epochs, for a
    /// model and an optimizer whose states were restored.
    pub fn set_epochs(&mut self, epochs: u64) {
        self.epochs = epochs;
    }

    /// Trains the model.
    ///
    /// # Errors
    ///
    /// Before anything changes: when a data set is empty, the samples of
    /// training and validation data differ in shape, or a checkpoint cannot be
    /// resumed from. During the training: when the model, the loss, a metric or
    /// the optimizer rejects a batch; when a callback or the data set fails or
    /// panics; and when the loss or a gradient is no longer finite. In the last
    /// case, the error names the step and the first operation whose output was
    /// not finite, and the weights are those before the step. The training up
    /// to the error is kept, and the trainer can be used again.
    pub fn fit<D>(&mut self, data: &D, mut fit: Fit<'_, Y, I, T>) -> Result<History>
    where
        M: 'static,
        I: Send,
        Y: Send,
        D: Dataset<Input = I, Target = Y>,
    {
        check_data("the training data", data)?;
        let plan = &mut fit.plan;
        plan.check(fit.validation.is_some())?;
        // Checks the number of weights before the data is split.
        plan.sampling.apply(DataLoader::new(data), plan.seed)?;
        let Some(share) = plan.validation_split else {
            let validation = fit.validation;
            return self.fit_on(data, validation, fit);
        };
        // A stream of its own, which is independent of the order of the samples
        // in the epochs.
        let mut rng = Rng::seed(plan.seed).fork(u64::MAX);
        let (train, validation) = data
            .split(1.0 - share, &mut rng)
            .map_err(|error| error.within(format!("validation_split of {share}")))?;
        plan.sampling = plan.sampling.of_part(train.indices());
        self.fit_on(&train, Some(&validation), fit)
    }

    fn fit_on(
        &mut self,
        data: Data<'_, I, Y>,
        validation: Option<Data<'_, I, Y>>,
        fit: Fit<'_, Y, I, T>,
    ) -> Result<History>
    where
        M: 'static,
        I: Send,
        Y: Send,
    {
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
        let mut plan = fit.plan;
        let mut work = Work::new(self, data, validation, &mut plan)?;
        Run::begin(&mut work, plan)?.train(&mut work)
    }

    /// Loss and metrics over a data set, without training. The loss is that of
    /// all samples as one batch, and NaN when all samples are ignored.
    ///
    /// # Errors
    ///
    /// When the data set is empty, or the model, the loss or a metric rejects a
    /// batch.
    pub fn evaluate<D>(&self, data: &D) -> Result<Evaluation>
    where
        I: Send,
        Y: Send,
        D: Dataset<Input = I, Target = Y>,
    {
        check_data("the evaluation data", data)?;
        self.evaluate_any(data)
    }

    pub(crate) fn evaluate_any(&self, data: Data<'_, I, Y>) -> Result<Evaluation>
    where
        I: Send,
        Y: Send,
    {
        let mut gathered = Gathered::new(&self.metrics);
        let loader = DataLoader::new(data).batch_size(EVALUATION_BATCH);
        let mut add = |batch: Result<Ready<I, Y>>| {
            let Ready { samples, inputs, targets } = batch?;
            let output = self.model.run(&inputs, &Tape::inference())?;
            let value = self.loss.forward(&output, &targets)?.value().item()?.to_f64();
            let divisor = self.loss.divisor(&output, &targets, samples);
            gathered.add(value, divisor, samples, &output.into_values(), &targets)
        };
        thread::scope(|scope| {
            let batches = Batches::new(scope, loader, 0, 0, Gathering::new(None));
            for (index, batch) in batches.enumerate() {
                let in_batch =
                    |error: Error| error.within(format!("evaluation, batch {}", index + 1));
                add(batch).map_err(in_batch)?;
            }
            Ok(())
        })?;
        Ok(gathered.evaluation())
    }

    /// The values of the model's outputs for some samples, computed in batches.
    ///
    /// # Errors
    ///
    /// When the model rejects the inputs.
    pub fn predict(&self, inputs: &I) -> Result<Values<M, I, T>>
    where
        I: Samples,
        Values<M, I, T>: Samples,
    {
        values_of(&self.model, inputs)
    }
}

/// The values of a model's outputs for some samples, computed in batches.
pub(crate) fn values_of<M, I, T>(model: &M, inputs: &I) -> Result<Values<M, I, T>>
where
    M: Model<I, T>,
    I: Samples,
    Values<M, I, T>: Samples,
    T: Float,
{
    let run = |inputs: &I| Ok(model.run(inputs, &Tape::inference())?.into_values());
    let samples = inputs.count();
    if samples <= EVALUATION_BATCH {
        return run(inputs);
    }
    let starts = (0..samples).step_by(EVALUATION_BATCH);
    let outputs = starts.map(|start| {
        let indices: Vec<usize> = (start..samples.min(start + EVALUATION_BATCH)).collect();
        run(&inputs.choose(&indices)?)
    });
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    Samples::join(&outputs.iter().collect::<Vec<_>>())
}

/// Checks that a data set has samples.
fn check_data<Y>(what: &str, data: &(impl Dataset<Target = Y> + ?Sized)) -> Result<()> {
    if data.is_empty() {
        return Err(Error::data("Trainer", format!("{what} has no samples")));
    }
    Ok(())
}

/// Loss and metrics so far.
pub(crate) struct Gathered<Y, P> {
    pub(crate) loss: RunningLoss,
    pub(crate) samples: usize,
    pub(crate) metrics: Metrics<Y, P>,
}

impl<Y, P> Gathered<Y, P> {
    pub(crate) fn new(metrics: &[Box<dyn Metric<Y, P>>]) -> Self {
        let metrics = metrics.iter().map(|metric| metric.fresh()).collect();
        Self { loss: RunningLoss::default(), samples: 0, metrics }
    }

    pub(crate) fn add(
        &mut self,
        loss: f64,
        divisor: Option<f64>,
        samples: usize,
        output: &P,
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
