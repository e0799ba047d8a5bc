//! Watching one figure of the epochs for its best value.

use dendra_tensor::{Error, Result};

use crate::history::EpochReport;

/// Whether low or high values of a figure are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Low values, as for a loss.
    Lowest,
    /// High values, as for an accuracy.
    Highest,
}

impl Goal {
    /// The goal that the name of a figure suggests: low for losses and errors,
    /// high for everything else (accuracy, F1, R²).
    pub fn of(figure: &str) -> Self {
        const LOW: [&str; 8] =
            ["loss", "error", "mae", "mse", "rmse", "perplexity", "deviation", "distance"];
        let figure = figure.to_lowercase();
        if LOW.iter().any(|low| figure.contains(low)) { Self::Lowest } else { Self::Highest }
    }
}

/// A figure and its best value so far.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    figure: Option<String>,
    goal: Option<Goal>,
    pub(crate) min_delta: f64,
    pub(crate) best: Option<f64>,
}

impl Monitor {
    /// Watches the validation loss if there is one, and the training loss
    /// otherwise.
    pub(crate) fn new() -> Self {
        Self { figure: None, goal: None, min_delta: 0.0, best: None }
    }

    pub(crate) fn watch(&mut self, figure: String) {
        self.figure = Some(figure);
    }

    pub(crate) fn aim(&mut self, goal: Goal) {
        self.goal = Some(goal);
    }

    /// Updates the best value with an epoch of a run that `validates` or does
    /// not. Returns whether the value is better than the best so far by more
    /// than `min_delta`; `None` for an epoch without validation.
    ///
    /// # Errors
    ///
    /// When the epoch has no such figure.
    pub(crate) fn better(&mut self, epoch: &EpochReport, validates: bool) -> Result<Option<bool>> {
        let by_default = if validates { "validation loss" } else { "loss" };
        let name = self.figure.as_deref().unwrap_or(by_default);
        let Some(value) = epoch.figure(name)? else { return Ok(None) };
        let better = match (self.best, self.goal.unwrap_or_else(|| Goal::of(name))) {
            _ if value.is_nan() => false,
            (None, _) => true,
            (Some(best), Goal::Lowest) => value < best - self.min_delta,
            (Some(best), Goal::Highest) => value > best + self.min_delta,
        };
        if better {
            self.best = Some(value);
        }
        Ok(Some(better))
    }

    /// Checks the settings for a run with these metrics.
    ///
    /// # Errors
    ///
    /// When there is no such figure, or `min_delta` is negative or NaN.
    pub(crate) fn check(&self, context: &str, validates: bool, metrics: &[String]) -> Result<()> {
        if self.min_delta.is_nan() || self.min_delta < 0.0 {
            let message = format!("min_delta must not be negative, got {}", self.min_delta);
            return Err(Error::argument(context, message));
        }
        let Some(name) = &self.figure else { return Ok(()) };
        let parts: &[&str] = if validates { &["", "validation "] } else { &[""] };
        let names = || std::iter::once("loss").chain(metrics.iter().map(String::as_str));
        let all = parts.iter().flat_map(|part| names().map(move |name| format!("{part}{name}")));
        let all: Vec<String> = all.collect();
        if all.contains(name) {
            return Ok(());
        }
        let message = match name.strip_prefix("validation ") {
            Some(figure) if !validates && names().any(|name| name == figure) => {
                format!("there is no `{name}`: the training has no validation data")
            }
            _ => format!("there is no figure `{name}`, only `{}`", all.join("`, `")),
        };
        Err(Error::argument(context, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Evaluation;

    fn epoch(loss: f64, accuracy: f64) -> EpochReport {
        let metrics = vec![("accuracy".to_owned(), accuracy)];
        let training = Evaluation { loss, metrics };
        EpochReport {
            number: 1,
            training,
            validation: None,
            seconds: 1.0,
            samples_per_second: 1.0,
            learning_rate: 0.1,
        }
    }

    #[test]
    fn losses_fall_and_accuracies_rise() {
        for (name, goal) in [
            ("validation loss", Goal::Lowest),
            ("RMSE", Goal::Lowest),
            ("accuracy", Goal::Highest),
            ("top-5 accuracy", Goal::Highest),
        ] {
            assert_eq!(Goal::of(name), goal, "{name}");
        }
        let mut loss = Monitor::new();
        let mut accuracy = Monitor::new();
        accuracy.watch("accuracy".to_owned());
        for (of_loss, of_accuracy, better) in
            [(1.0, 0.5, true), (0.5, 0.6, true), (0.5, 0.6, false), (f64::NAN, f64::NAN, false)]
        {
            let epoch = epoch(of_loss, of_accuracy);
            assert_eq!(loss.better(&epoch, false).unwrap(), Some(better));
            assert_eq!(accuracy.better(&epoch, false).unwrap(), Some(better));
        }
        assert_eq!((loss.best, accuracy.best), (Some(0.5), Some(0.6)));
    }

    #[test]
    fn a_small_improvement_may_not_count() {
        let mut monitor = Monitor::new();
        monitor.min_delta = 0.1;
        let better: Vec<bool> = [1.0, 0.95, 0.89, 0.85]
            .map(|loss| monitor.better(&epoch(loss, 0.0), false).unwrap().unwrap())
            .into();
        assert_eq!(better, [true, false, true, false]);
    }

    #[test]
    fn an_unknown_figure_is_named_before_training() {
        let mut monitor = Monitor::new();
        let metrics = ["accuracy".to_owned()];
        let check = |monitor: &Monitor, validates| {
            let checked = monitor.check("EarlyStopping", validates, &metrics);
            checked.err().map(|error| error.to_string())
        };
        assert_eq!(check(&monitor, false), None);
        for (name, validates, expected) in [
            ("val_loss", false, "there is no figure `val_loss`, only `loss`, `accuracy`"),
            ("f1", true, "only `loss`, `accuracy`, `validation loss`, `validation accuracy`"),
            ("validation loss", false, "there is no `validation loss`: the training has no"),
        ] {
            monitor.watch(name.to_owned());
            let error = check(&monitor, validates).unwrap();
            assert!(error.starts_with("EarlyStopping: ") && error.contains(expected), "{error}");
        }
        for name in ["loss", "accuracy", "validation loss", "validation accuracy"] {
            monitor.watch(name.to_owned());
            assert_eq!(check(&monitor, true), None);
        }
        assert_eq!(monitor.better(&epoch(1.0, 1.0), true).unwrap(), None);
        monitor.min_delta = f64::NAN;
        assert!(check(&monitor, true).unwrap().contains("min_delta"));
    }
}
