//! Event files that TensorBoard opens.

mod events;
mod protobuf;

use std::fmt;
use std::path::PathBuf;

use dendra_autograd::Parameters;
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Result};

use crate::callback::{BatchReport, Callback, Moment};
use crate::history::{EpochReport, Evaluation};
pub use events::EventWriter;

/// Writes a run into a folder for `tensorboard --logdir`: loss, metrics and
/// learning rate as curves, weights and their gradients as histograms, and the
/// settings as hyperparameters.
///
/// Training and validation are two runs, `training` and `validation` in this
/// folder, so that TensorBoard draws their curves in one chart. The step of
/// every point is that of the run. To add pictures, texts, the model's graph or
/// your own figures, use an [`EventWriter`] on the folder `training`.
///
/// ```
/// use dendra_train::{Fit, TensorBoard};
///
/// let board = TensorBoard::new("runs/first").setting("width", 64).histograms_every(500);
/// let fit: Fit = Fit::epochs(10).callback(board);
/// ```
#[derive(Debug, Setters)]
pub struct TensorBoard {
    folder: PathBuf,
    /// The number of steps between points of the loss of a batch.
    #[set(default = 50)]
    scalars_every: u64,
    /// The number of steps between histograms of all weights and gradients;
    /// none are written by default.
    #[set]
    histograms_every: Option<u64>,
    #[set(skip)]
    settings: Vec<(String, String)>,
    #[set(skip)]
    training: Option<EventWriter>,
    #[set(skip)]
    validation: Option<EventWriter>,
}

impl TensorBoard {
    /// Writes into this folder, which is created if it does not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::with_defaults(folder.into())
    }

    /// Adds a setting of the run, by which TensorBoard compares runs.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    fn writer(&mut self) -> Result<&mut EventWriter> {
        let none = || Error::argument("TensorBoard", "the training has not started");
        self.training.as_mut().ok_or_else(none)
    }
}

impl<T: Float> Callback<T> for TensorBoard {
    fn on_start(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        if self.scalars_every == 0 || self.histograms_every == Some(0) {
            return Err(Error::argument("TensorBoard", "steps must be at least 1, got 0"));
        }
        let mut training = EventWriter::create(self.folder.join("training"))?;
        if !self.settings.is_empty() {
            training.hyperparameters(&self.settings)?;
            training.flush()?;
        }
        (self.training, self.validation) = (Some(training), None);
        Ok(())
    }

    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        let step = now.step;
        let (scalars, histograms) = (self.scalars_every, self.histograms_every);
        if step.is_multiple_of(scalars) {
            let learning_rate = now.optimizer.learning_rate();
            let writer = self.writer()?;
            writer.scalar("batch/loss", batch.loss, step)?;
            writer.scalar("batch/learning rate", learning_rate, step)?;
        }
        if histograms.is_some_and(|every| step.is_multiple_of(every)) {
            let model: &dyn Parameters<T> = &*now.model;
            let writer = self.writer()?;
            for (name, param) in model.named_parameters() {
                writer.histogram(&format!("weights/{name}"), param.value(), step)?;
                if let Some(gradient) = batch.gradients.get(param) {
                    writer.histogram(&format!("gradients/{name}"), gradient, step)?;
                }
            }
        }
        Ok(())
    }

    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        let step = now.step;
        let figures = |writer: &mut EventWriter, part: &Evaluation| {
            writer.scalar("epoch/loss", part.loss, step)?;
            for (name, value) in &part.metrics {
                writer.scalar(&format!("epoch/{name}"), *value, step)?;
            }
            writer.flush()
        };
        if let Some(part) = &epoch.validation {
            let writer = match self.validation.take() {
                Some(writer) => writer,
                None => EventWriter::create(self.folder.join("validation"))?,
            };
            figures(self.validation.insert(writer), part)?;
        }
        let writer = self.writer()?;
        writer.scalar("epoch/samples per second", epoch.samples_per_second, step)?;
        figures(writer, &epoch.training)
    }

    fn on_end(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        self.writer()?.flush()
    }
}
