//! Stopping when a model no longer improves.

use dendra_autograd::StateDict;
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::callback::{Callback, Moment};
use crate::history::EpochReport;
use crate::monitor::{Goal, Monitor};

/// Ends the training when a figure has not improved for some epochs. This is
/// Keras's callback of the same name, except that the best weights are restored
/// by default.
///
/// It watches the validation loss, or the training loss when there is no
/// validation data.
///
/// ```
/// use dendra_train::{EarlyStopping, Fit};
///
/// let stopping = EarlyStopping::new(5).monitor("validation accuracy").min_delta(0.001);
/// let fit: Fit = Fit::epochs(100).callback(stopping);
/// ```
#[derive(Clone, Debug, Setters)]
pub struct EarlyStopping {
    #[set(skip, default = Monitor::new())]
    monitor: Monitor,
    patience: u64,
    /// Whether the weights of the best epoch are restored when the training
    /// ends, except when an error ends it. This keeps a copy of the model in
    /// memory and in checkpoints.
    #[set(default = true)]
    restore_best: bool,
    /// Epochs since the best one.
    #[set(skip)]
    waited: u64,
    #[set(skip)]
    best_epoch: u64,
    #[set(skip)]
    best_weights: Option<StateDict>,
}

impl EarlyStopping {
    /// Stops after `patience` epochs in a row without improvement. When only
    /// some epochs are validated, only those count.
    pub fn new(patience: u64) -> Self {
        Self::with_defaults(patience)
    }

    /// Watches this figure: `loss`, the name of a metric, or one of these with
    /// the prefix `validation `.
    #[must_use]
    pub fn monitor(mut self, figure: impl Into<String>) -> Self {
        self.monitor.watch(figure.into());
        self
    }

    /// Whether low or high values are good; the name of the figure decides by
    /// default.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.monitor.aim(goal);
        self
    }

    /// By how much a value must be better than the best to count as an
    /// improvement; 0 by default.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// The best value so far and its epoch.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.monitor.best.map(|best| (best, self.best_epoch))
    }
}

impl<T: Float> Callback<T> for EarlyStopping {
    fn on_start(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        self.monitor.best = None;
        (self.waited, self.best_epoch, self.best_weights) = (0, 0, None);
        self.monitor.check("EarlyStopping", now.validates, now.metrics)
    }

    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        let better = self.monitor.better(epoch, now.validates);
        let Some(better) = better.map_err(|error| error.within("EarlyStopping"))? else {
            return Ok(());
        };
        if better {
            self.waited = 0;
            self.best_epoch = epoch.number;
            self.best_weights = self.restore_best.then(|| now.model.state_dict());
            return Ok(());
        }
        self.waited += 1;
        if self.waited >= self.patience.max(1) {
            let best = match self.monitor.best {
                Some(_) => format!("the best was epoch {}", self.best_epoch),
                None => "its value was never a number".to_owned(),
            };
            now.stop(format!("no improvement for {} epochs; {best}", self.waited));
        }
        Ok(())
    }

    fn on_end(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        match &self.best_weights {
            Some(weights) if self.waited > 0 => now.model.load_state_dict(weights),
            _ => Ok(()),
        }
    }

    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        state.insert("waited", Tensor::scalar(self.waited as i64));
        state.insert("best_epoch", Tensor::scalar(self.best_epoch as i64));
        if let Some(best) = self.monitor.best {
            state.insert("best", Tensor::scalar(best));
        }
        if let Some(weights) = &self.best_weights {
            state.extend("weights", weights);
        }
        state
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let count = |name: &str| {
            let value = state.typed::<i64>(name).and_then(|value| value.item().ok());
            value.and_then(|value| u64::try_from(value).ok()).ok_or_else(|| {
                Error::state(format!("EarlyStopping: expected a count under `{name}`"))
            })
        };
        let (waited, best_epoch) = (count("waited")?, count("best_epoch")?);
        self.waited = waited;
        self.best_epoch = best_epoch;
        self.monitor.best = state.typed::<f64>("best").map(Tensor::item).transpose()?;
        let weights = state.clone().split_off("weights");
        self.best_weights = (self.restore_best && !weights.is_empty()).then_some(weights);
        Ok(())
    }
}
