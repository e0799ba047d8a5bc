//! A training run with callbacks in Python.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Result};
use dendra_train::{
    BatchReport, Callback, EarlyStopping, EpochReport, Fit, Goal, Moment, NotFinite, Trainer,
    Verbose,
};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyDict};
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::data::{Pairs, Values};
use crate::error::raise;
use crate::named;
use crate::network::{Live, Net, Network, Objective};
use crate::optimizer::AnyOptimizer;

/// The time between two progress reports within an epoch.
const REFRESH: Duration = Duration::from_millis(200);

/// The metrics of each epoch, the skipped steps, and the reason of early
/// stopping.
pub(crate) type Figures = (Vec<Vec<(String, f64)>>, Vec<String>, Option<String>);

/// The settings of a run, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The optimizer; `None` for the optimizer of the previous run.
    optimizer: Option<Value>,
    pub(crate) objective: Objective,
    epochs: u64,
    max_steps: Option<u64>,
    batch_size: usize,
    accumulate: usize,
    seed: u64,
    shuffle: bool,
    drop_last: bool,
    validation_split: Option<f64>,
    validate_every: u64,
    class_weights: Option<Vec<f64>>,
    /// The largest number of consecutive steps that may be skipped because they
    /// are not finite.
    skip_not_finite: usize,
    early_stopping: Option<Stopping>,
    /// Whether to draw a progress bar on the terminal.
    bar: bool,
    /// Whether to call the callback after each step.
    on_batch: bool,
    /// Whether to call the callback at intervals within an epoch.
    progress: bool,
}

/// The settings of early stopping.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopping {
    patience: u64,
    monitor: Option<String>,
    /// `min` or `max`.
    mode: Option<String>,
    min_delta: f64,
    restore_best: bool,
}

impl Stopping {
    fn callback(&self) -> Result<EarlyStopping> {
        let mut stopping = EarlyStopping::new(self.patience)
            .min_delta(self.min_delta)
            .restore_best(self.restore_best);
        if let Some(figure) = &self.monitor {
            stopping = stopping.monitor(figure);
        }
        match self.mode.as_deref() {
            None => {}
            Some("min") => stopping = stopping.goal(Goal::Lowest),
            Some("max") => stopping = stopping.goal(Goal::Highest),
            Some(mode) => {
                let message = format!("mode must be \"min\" or \"max\", got {mode:?}");
                return Err(Error::argument("EarlyStopping", message));
            }
        }
        Ok(stopping)
    }
}

/// Trains the network. Afterwards it has the weights of the last complete step,
/// even after an error.
pub(crate) fn fit(
    live: &mut Live,
    settings: &Settings,
    data: &Pairs<'_>,
    validation: Option<&Pairs<'_>>,
    watcher: Option<Watcher<'_>>,
) -> Result<Figures> {
    let loss = settings.objective.loss()?;
    let metrics = settings.objective.metrics()?;
    metrics.iter().try_for_each(|metric| metric.check(data.targets()))?;
    if let Some(optimizer) = &settings.optimizer {
        let given = Arguments::of_object("optimizer", optimizer.clone())?;
        live.optimizer = Some(named::optimizer(given)?);
        live.epochs = 0;
    }
    let mut fit: Fit<'_, Values, Values> = Fit::epochs(settings.epochs)
        .batch_size(settings.batch_size)
        .accumulate(settings.accumulate)
        .seed(settings.seed)
        .shuffle(settings.shuffle)
        .drop_last(settings.drop_last)
        .validate_every(settings.validate_every)
        .verbose(if settings.bar { Verbose::Bar } else { Verbose::Silent });
    if let Some(steps) = settings.max_steps {
        fit = fit.max_steps(steps);
    }
    if let Some(share) = settings.validation_split {
        fit = fit.validation_split(share);
    }
    if let Some(validation) = validation {
        fit = fit.validate_on(validation);
    }
    if let Some(weights) = &settings.class_weights {
        fit = fit.class_weights(weights.clone());
    }
    if settings.skip_not_finite > 0 {
        fit = fit.not_finite(NotFinite::Skip { limit: settings.skip_not_finite });
    }
    if let Some(stopping) = &settings.early_stopping {
        fit = fit.callback(stopping.callback()?);
    }
    if let Some(watcher) = watcher {
        fit = fit.callback(watcher);
    }
    let Some(AnyOptimizer(optimizer)) = live.optimizer.take() else {
        return Err(Error::argument("fit", "expected an optimizer, got none"));
    };
    let copy = live.net.clone();
    let net = std::mem::replace(&mut live.net, copy);
    let mut trainer = Trainer::new(net, optimizer, loss);
    trainer.set_epochs(live.epochs);
    for metric in metrics {
        trainer = trainer.metric(metric);
    }
    let history = catch_unwind(AssertUnwindSafe(|| trainer.fit(data, fit)));
    live.epochs = trainer.epochs();
    let (net, optimizer, _) = trainer.into_parts();
    live.net = net;
    live.optimizer = Some(AnyOptimizer(optimizer));
    let history = history.unwrap_or_else(|payload| Err(Error::panic("fit", &*payload)))?;
    let figures = history.epochs.iter().map(EpochReport::figures).collect();
    Ok((figures, history.incidents, history.stopped))
}

/// The state of training, passed to callbacks.
#[pyclass(module = "dendra._dendra")]
pub(crate) struct Training {
    /// The number of the epoch, counted from 1; 0 before the first.
    #[pyo3(get)]
    epoch: u64,
    /// The number of batches of the epoch that have been processed.
    #[pyo3(get)]
    batch: usize,
    /// The number of steps of the run so far.
    #[pyo3(get)]
    step: u64,
    /// The learning rate before schedules; it can be set.
    #[pyo3(get, set)]
    learning_rate: f64,
    figures: Vec<(String, f64)>,
    /// The metrics of an epoch as a line of text.
    #[pyo3(get)]
    line: String,
    reason: Option<String>,
}

#[pymethods]
impl Training {
    /// Loss and metrics by name, of the epoch or of the step.
    #[getter]
    fn figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.figures.clone().into_py_dict(py)
    }

    /// Stops training after this step; the history records the reason.
    #[pyo3(signature = (reason=None))]
    fn stop(&mut self, reason: Option<String>) {
        let reason = reason.unwrap_or_else(|| "stopped by a callback".to_owned());
        self.reason.get_or_insert(reason);
    }
}

/// Calls a Python function during training.
pub(crate) struct Watcher<'a> {
    callback: Py<PyAny>,
    network: &'a Network,
    on_batch: bool,
    progress: bool,
    reported: Instant,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(callback: Py<PyAny>, network: &'a Network, settings: &Settings) -> Self {
        let Settings { on_batch, progress, .. } = *settings;
        Self { callback, network, on_batch, progress, reported: Instant::now() }
    }

    fn call(
        &self,
        event: &str,
        now: &mut Moment<'_>,
        figures: Vec<(String, f64)>,
        line: String,
    ) -> Result<()> {
        if event != "progress" {
            self.network.show(now.model_as::<Net>()?);
        }
        let before = now.optimizer.base_learning_rate();
        let training = Training {
            epoch: now.epoch,
            batch: now.batch,
            step: now.step,
            learning_rate: before,
            figures,
            line,
            reason: None,
        };
        let (learning_rate, reason) = Python::attach(|py| {
            let training = Bound::new(py, training)?;
            self.callback.call1(py, (event, &training))?;
            let training = training.try_borrow()?;
            PyResult::Ok((training.learning_rate, training.reason.clone()))
        })
        .map_err(raise)?;
        if learning_rate != before {
            now.optimizer.set_learning_rate(learning_rate);
        }
        if let Some(reason) = reason {
            now.stop(reason);
        }
        Ok(())
    }
}

impl Callback for Watcher<'_> {
    fn name(&self) -> String {
        "callbacks".to_owned()
    }

    fn on_start(&mut self, now: &mut Moment<'_>) -> Result<()> {
        self.call("start", now, Vec::new(), String::new())
    }

    fn on_batch(&mut self, now: &mut Moment<'_>, batch: &BatchReport<'_>) -> Result<()> {
        let figures = || vec![("loss".to_owned(), batch.loss)];
        if self.on_batch {
            self.call("batch", now, figures(), String::new())?;
        }
        if self.progress && self.reported.elapsed() >= REFRESH {
            self.reported = Instant::now();
            self.call("progress", now, figures(), String::new())?;
        }
        Ok(())
    }

    fn on_epoch(&mut self, now: &mut Moment<'_>, epoch: &EpochReport) -> Result<()> {
        self.call("epoch", now, epoch.figures(), epoch.to_string())
    }

    fn on_end(&mut self, now: &mut Moment<'_>) -> Result<()> {
        self.call("end", now, Vec::new(), String::new())
    }
}
