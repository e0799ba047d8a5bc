//! The results of training and evaluation.

use std::fmt;

use dendra_tensor::{Error, Result};

/// Loss and metrics over a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The loss of all samples as a single batch: their mean, or their sum if
    /// the loss is a sum; NaN when all samples are ignored.
    pub loss: f64,
    /// The metrics with their names, in the order in which they were added to
    /// the trainer.
    pub metrics: Vec<(String, f64)>,
}

impl Evaluation {
    /// A metric by its name.
    ///
    /// # Errors
    ///
    /// When the trainer has no such metric. The error lists the metrics that it
    /// has.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let found = self.metrics.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = self.metrics.iter().map(|(name, _)| name.as_str()).collect();
            let message = match names[..] {
                [] => format!("there is no metric `{name}`: the trainer was given none"),
                _ => format!("there is no metric `{name}`, only `{}`", names.join("`, `")),
            };
            Error::argument("Evaluation::metric", message)
        })
    }
}

/// Prints `loss 0.0468  accuracy 98.61%`.
impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.loss)?;
        for (name, value) in &self.metrics {
            write!(f, "  {name} {}", shown(name, *value))?;
        }
        Ok(())
    }
}

/// Whether the figure of this name is shown as percent.
pub(crate) fn is_percent(name: &str) -> bool {
    name.ends_with("accuracy")
}

/// A figure as it is printed in lines and tables.
pub(crate) fn shown(name: &str, value: f64) -> String {
    if is_percent(name) { format!("{:.2}%", 100.0 * value) } else { format!("{value:.4}") }
}

/// One pass through the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochReport {
    /// The number of the epoch, counted from 1.
    pub number: u64,
    /// Loss and metrics on the training data. They are gathered during the
    /// epoch, while the weights change.
    pub training: Evaluation,
    /// Loss and metrics on the validation data, after the epoch.
    pub validation: Option<Evaluation>,
    /// How long the training part took, in seconds.
    pub seconds: f64,
    /// The number of training samples per second.
    pub samples_per_second: f64,
    /// The learning rate of the last step of the epoch.
    pub learning_rate: f64,
}

impl EpochReport {
    /// A figure by its name: `loss`, a metric, or one of these with the prefix
    /// `validation `; `None` when the epoch was not validated.
    ///
    /// # Errors
    ///
    /// When there is no such figure. The error lists those that exist.
    pub fn figure(&self, name: &str) -> Result<Option<f64>> {
        let (part, name) = match name.strip_prefix("validation ") {
            Some(name) => (self.validation.as_ref(), name),
            None => (Some(&self.training), name),
        };
        match part {
            Some(part) if name == "loss" => Ok(Some(part.loss)),
            Some(part) => part.metric(name).map(Some),
            None => Ok(None),
        }
    }
}

impl EpochReport {
    /// All figures with their names: `epoch`, `loss`, the metrics, those of the
    /// validation with the prefix `validation `, `learning rate`, `seconds` and
    /// `samples per second`.
    pub fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![("epoch".to_owned(), self.number as f64)];
        for (prefix, part) in
            [("", Some(&self.training)), ("validation ", self.validation.as_ref())]
        {
            let Some(part) = part else { continue };
            figures.push((format!("{prefix}loss"), part.loss));
            let metrics = part.metrics.iter();
            figures.extend(metrics.map(|(name, value)| (format!("{prefix}{name}"), *value)));
        }
        let rest = [
            ("learning rate", self.learning_rate),
            ("seconds", self.seconds),
            ("samples per second", self.samples_per_second),
        ];
        figures.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        figures
    }
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  {}", self.number, self.training)?;
        if let Some(validation) = &self.validation {
            write!(f, "  |  validation {validation}")?;
        }
        write!(f, "  |  {:.2} s, {:.0} samples/s", self.seconds, self.samples_per_second)
    }
}

/// The epochs of a training run, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The epochs, including one that a limit of steps or a callback cut short.
    pub epochs: Vec<EpochReport>,
    /// The steps that were skipped or rolled back because they were not finite,
    /// each with its epoch and batch.
    pub incidents: Vec<String>,
    /// The reason, when a callback ended the training early.
    pub stopped: Option<String>,
}

impl History {
    /// The training loss of every epoch.
    pub fn losses(&self) -> Vec<f64> {
        self.epochs.iter().map(|epoch| epoch.training.loss).collect()
    }

    /// A figure of every epoch that has it, with the number of the epoch; see
    /// [`EpochReport::figure`].
    pub fn curve(&self, name: &str) -> Vec<(u64, f64)> {
        let value = |epoch: &EpochReport| Some((epoch.number, epoch.figure(name).ok()??));
        self.epochs.iter().filter_map(value).collect()
    }

    /// All figures as CSV, with one row for each epoch.
    pub fn to_csv(&self) -> String {
        // A figure may be missing in the first epochs, for example that of a
        // validation.
        let mut names: Vec<String> = Vec::new();
        for (name, _) in self.epochs.iter().flat_map(EpochReport::figures) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let quoted = |name: &String| match name.contains([',', '"', '\n']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.clone(),
        };
        let mut text = names.iter().map(quoted).collect::<Vec<_>>().join(",");
        for epoch in &self.epochs {
            let figures = epoch.figures();
            let cell = |name: &String| {
                let value = figures.iter().find(|(found, _)| found == name);
                value.map_or_else(String::new, |(_, value)| value.to_string())
            };
            text += "\n";
            text += &names.iter().map(cell).collect::<Vec<_>>().join(",");
        }
        text + "\n"
    }

    /// All figures as JSON: an object with `epochs` (an array of objects that
    /// hold the figures by name), `incidents` and `stopped`. A figure that is
    /// not finite is `null`.
    pub fn to_json(&self) -> String {
        let epochs = self.epochs.iter().map(|epoch| {
            let figures = epoch.figures().into_iter().map(|(name, value)| (name, value.into()));
            serde_json::Value::Object(figures.collect())
        });
        let history = serde_json::json!({
            "epochs": epochs.collect::<Vec<_>>(),
            "incidents": self.incidents,
            "stopped": self.stopped,
        });
        format!("{history:#}\n")
    }

    /// The last epoch; `None` when there is none.
    pub fn last(&self) -> Option<&EpochReport> {
        self.epochs.last()
    }
}

/// One line for each epoch.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.epochs.iter().try_for_each(|epoch| writeln!(f, "{epoch}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        let metrics = vec![("accuracy".to_owned(), 0.986_149), ("perplexity".to_owned(), 1.5)];
        Evaluation { loss: 0.04684, metrics }
    }

    #[test]
    fn figures_print_in_one_line() {
        assert_eq!(evaluation().to_string(), "loss 0.0468  accuracy 98.61%  perplexity 1.5000");
        let epoch = EpochReport {
            number: 3,
            training: evaluation(),
            validation: Some(Evaluation { loss: 0.5, metrics: vec![] }),
            seconds: 2.5,
            samples_per_second: 24_000.0,
            learning_rate: 0.1,
        };
        assert_eq!(epoch.figure("validation loss").unwrap(), Some(0.5));
        assert_eq!(epoch.figure("perplexity").unwrap(), Some(1.5));
        assert!(epoch.figure("validation perplexity").is_err());
        assert!(
            epoch.to_string().ends_with("|  validation loss 0.5000  |  2.50 s, 24000 samples/s")
        );
    }

    #[test]
    fn a_history_is_a_table_and_an_object() {
        let epoch = |number, loss, validation: Option<f64>| EpochReport {
            number,
            training: Evaluation { loss, metrics: vec![("a, b".into(), 0.5)] },
            validation: validation.map(|loss| Evaluation { loss, metrics: vec![] }),
            seconds: 2.0,
            samples_per_second: 10.0,
            learning_rate: 0.1,
        };
        let epochs = vec![epoch(1, 1.5, None), epoch(2, f64::NAN, Some(0.25))];
        let history = History { epochs, stopped: Some("enough".into()), ..History::default() };
        assert_eq!(
            history.to_csv(),
            "epoch,loss,\"a, b\",learning rate,seconds,samples per second,validation loss\n\
             1,1.5,0.5,0.1,2,10,\n2,NaN,0.5,0.1,2,10,0.25\n"
        );
        let json: serde_json::Value = serde_json::from_str(&history.to_json()).unwrap();
        assert_eq!(json["epochs"][0]["loss"], 1.5);
        assert!(json["epochs"][1]["loss"].is_null());
        assert_eq!(json["epochs"][1]["validation loss"], 0.25);
        assert_eq!(json["stopped"], "enough");
    }

    #[test]
    fn an_unknown_metric_is_answered_with_the_known_ones() {
        assert_eq!(evaluation().metric("perplexity").unwrap(), 1.5);
        let error = evaluation().metric("f1").unwrap_err().to_string();
        assert!(
            error.ends_with("there is no metric `f1`, only `accuracy`, `perplexity`"),
            "{error}"
        );
    }
}
