//! Event files that TensorBoard opens.

mod events;
mod protobuf;

use std::path::PathBuf;

use dendra_autograd::Parameters;
use dendra_tensor::{Error, Float, Result};

use crate::callback::{BatchReport, Callback, Moment};
use crate::history::EpochReport;
pub use events::EventWriter;

/// Writes a run into a folder that `tensorboard --logdir` shows: loss, metrics
/// and learning rate as curves, weights and their gradients as histograms.
///
/// The step of every point is that of the run. To add pictures or figures of
/// your own, write with an [`EventWriter`] into the same folder.
///
/// ```
/// use dendra_train::{Fit, TensorBoard};
///
/// let fit: Fit = Fit::epochs(10).callback(TensorBoard::new("runs/first").histograms_every(500));
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    scalars_every: u64,
    histograms_every: Option<u64>,
    writer: Option<EventWriter>,
}

impl TensorBoard {
    /// Writes into this folder, which is made when it is not there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { folder, scalars_every: 50, histograms_every: None, writer: None }
    }

    /// After how many steps the loss of a batch is written; 50 unless set.
    #[must_use]
    pub fn scalars_every(mut self, steps: u64) -> Self {
        self.scalars_every = steps;
        self
    }

    /// Also writes histograms of all weights and gradients after every so many
    /// steps.
    #[must_use]
    pub fn histograms_every(mut self, steps: u64) -> Self {
        self.histograms_every = Some(steps);
        self
    }

    fn writer(&mut self) -> Result<&mut EventWriter> {
        let none = || Error::argument("TensorBoard", "the training has not started");
        self.writer.as_mut().ok_or_else(none)
    }
}

impl<T: Float> Callback<T> for TensorBoard {
    fn on_start(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        if self.scalars_every == 0 || self.histograms_every == Some(0) {
            return Err(Error::argument("TensorBoard", "steps must be at least 1, got 0"));
        }
        self.writer = Some(EventWriter::create(&self.folder)?);
        Ok(())
    }

    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        let step = now.step;
        let (scalars, histograms) = (self.scalars_every, self.histograms_every);
        if step.is_multiple_of(scalars) {
            let learning_rate = now.optimizer.learning_rate();
            let writer = self.writer()?;
            writer.scalar("loss/batch", batch.loss, step)?;
            writer.scalar("learning rate", learning_rate, step)?;
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
        let writer = self.writer()?;
        let parts =
            [("training", Some(&epoch.training)), ("validation", epoch.validation.as_ref())];
        for (part, evaluation) in parts {
            let Some(evaluation) = evaluation else { continue };
            writer.scalar(&format!("loss/{part}"), evaluation.loss, step)?;
            for (name, value) in &evaluation.metrics {
                writer.scalar(&format!("{name}/{part}"), *value, step)?;
            }
        }
        writer.scalar("samples per second", epoch.samples_per_second, step)?;
        writer.flush()
    }

    fn on_end(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        self.writer()?.flush()
    }
}
