//! The parts of a checkpoint that are not tensors, as JSON.

use dendra_losses::RunningLoss;
use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::history::{EpochReport, Evaluation, History};

/// The version of the format: written, and the only one that is read.
const VERSION: u64 = 3;

/// The position of a run in its data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The number of epochs trained before this run.
    pub first_epoch: u64,
    /// The number of completed epochs.
    pub epoch: u64,
    /// The number of completed batches of the next epoch.
    pub batch: usize,
    /// The number of steps of the run, including skipped ones.
    pub step: u64,
    /// The number of samples of the epoch that were trained on.
    pub samples: usize,
    /// The loss of these samples so far.
    #[serde(with = "RunningLossParts")]
    pub loss: RunningLoss,
}

/// The form in which a [`RunningLoss`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RunningLoss", deny_unknown_fields)]
struct RunningLossParts {
    #[serde(with = "exact")]
    sum: f64,
    #[serde(with = "exact")]
    divisor: f64,
}

/// The settings that determine the order of the data and the random numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// The number of samples.
    pub samples: usize,
    /// The number of samples in a batch.
    pub batch_size: usize,
    /// The number of batches in a step.
    pub accumulate: usize,
    /// The largest number of batches in an epoch.
    pub batches_per_epoch: Option<usize>,
    /// The seed.
    pub seed: u64,
    /// The order of the samples: `shuffled`, `in order`, `balanced`, or
    /// `weighted` with the SHA-256 of the weights.
    pub sampling: String,
    /// Whether the last batch is left out when it is not full.
    pub drop_last: bool,
    /// The share that was split off for validation.
    pub validation_split: Option<f64>,
    /// The weights of the classes.
    pub class_weights: Option<Vec<f64>>,
    /// The type to which operands of products are rounded: `f16` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autocast: Option<String>,
}

impl RunSettings {
    /// Returns an error that lists all settings that differ.
    pub(crate) fn check_same(&self, now: &Self) -> Result<()> {
        let mut differences = Vec::new();
        let mut compare = |name: &str, before: String, now: String| {
            if before != now {
                differences.push(format!("{name} was {before} and is {now}"));
            }
        };
        let (a, b) = (self, now);
        compare("the number of samples", a.samples.to_string(), b.samples.to_string());
        compare("batch_size", a.batch_size.to_string(), b.batch_size.to_string());
        compare("accumulate", a.accumulate.to_string(), b.accumulate.to_string());
        let limit = |settings: &Self| {
            settings.batches_per_epoch.map_or("unset".to_owned(), |limit| limit.to_string())
        };
        compare("batches_per_epoch", limit(a), limit(b));
        compare("seed", a.seed.to_string(), b.seed.to_string());
        compare("the order of the samples", a.sampling.clone(), b.sampling.clone());
        compare("drop_last", a.drop_last.to_string(), b.drop_last.to_string());
        let split = |settings: &Self| format!("{:?}", settings.validation_split);
        compare("validation_split", split(a), split(b));
        let weights = |settings: &Self| format!("{:?}", settings.class_weights);
        compare("class_weights", weights(a), weights(b));
        let autocast = |settings: &Self| settings.autocast.clone().unwrap_or("unset".to_owned());
        compare("autocast", autocast(a), autocast(b));
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!(
            "its run had other settings: {}. To begin a new run with its weights, use \
             Checkpoint::read and restore",
            differences.join(", ")
        );
        Err(Error::argument("resume", message))
    }
}

/// Everything in a checkpoint except tensors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    pub(super) position: Position,
    pub(super) settings: RunSettings,
    pub(super) callbacks: Vec<String>,
    pub(super) history: History,
    pub(super) best: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    position: Position,
    settings: RunSettings,
    callbacks: Vec<String>,
    epochs: Vec<WrittenEpoch>,
    incidents: Vec<String>,
    stopped: Option<String>,
    best: Option<Exact>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEpoch {
    number: u64,
    training: WrittenEvaluation,
    validation: Option<WrittenEvaluation>,
    seconds: Exact,
    samples_per_second: Exact,
    learning_rate: Exact,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEvaluation {
    loss: Exact,
    metrics: Vec<(String, Exact)>,
}

/// The part of the format that is the same in all versions.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// A float as text, because numbers in JSON are not exact enough and cannot be
/// NaN or infinite.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Exact(#[serde(with = "exact")] f64);

mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(format!("expected a number, found {text:?}")))
    }
}

impl About {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Written {
            version: VERSION,
            position: self.position,
            settings: self.settings.clone(),
            callbacks: self.callbacks.clone(),
            epochs: self.history.epochs.iter().map(WrittenEpoch::of).collect(),
            incidents: self.history.incidents.clone(),
            stopped: self.history.stopped.clone(),
            best: self.best.map(Exact),
        })
    }

    pub(super) fn from_json(json: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| Error::data("the checkpoint", error.to_string());
        let Versioned { version } = serde_json::from_str(json).map_err(wrong)?;
        if version != VERSION {
            let message = format!("has format version {version}, this program reads {VERSION}");
            return Err(Error::data("the checkpoint", message));
        }
        let written: Written = serde_json::from_str(json).map_err(wrong)?;
        Ok(Self {
            position: written.position,
            settings: written.settings,
            callbacks: written.callbacks,
            history: History {
                epochs: written.epochs.into_iter().map(WrittenEpoch::report).collect(),
                incidents: written.incidents,
                stopped: written.stopped,
            },
            best: written.best.map(|Exact(best)| best),
        })
    }
}

impl WrittenEpoch {
    fn of(epoch: &EpochReport) -> Self {
        Self {
            number: epoch.number,
            training: WrittenEvaluation::of(&epoch.training),
            validation: epoch.validation.as_ref().map(WrittenEvaluation::of),
            seconds: Exact(epoch.seconds),
            samples_per_second: Exact(epoch.samples_per_second),
            learning_rate: Exact(epoch.learning_rate),
        }
    }

    fn report(self) -> EpochReport {
        EpochReport {
            number: self.number,
            training: self.training.evaluation(),
            validation: self.validation.map(WrittenEvaluation::evaluation),
            seconds: self.seconds.0,
            samples_per_second: self.samples_per_second.0,
            learning_rate: self.learning_rate.0,
        }
    }
}

impl WrittenEvaluation {
    fn of(evaluation: &Evaluation) -> Self {
        let metrics = evaluation.metrics.iter();
        let metrics = metrics.map(|(name, value)| (name.clone(), Exact(*value))).collect();
        Self { loss: Exact(evaluation.loss), metrics }
    }

    fn evaluation(self) -> Evaluation {
        let metrics = self.metrics.into_iter().map(|(name, Exact(value))| (name, value)).collect();
        Evaluation { loss: self.loss.0, metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        let training = Evaluation { loss: 0.1 + 0.2, metrics: vec![("f1".into(), f64::NAN)] };
        let epoch = EpochReport {
            number: 3,
            validation: Some(training.clone()),
            training,
            seconds: 1e-300,
            samples_per_second: f64::INFINITY,
            learning_rate: 1e-3,
        };
        About {
            position: Position {
                first_epoch: 1,
                epoch: 3,
                batch: 7,
                step: 99,
                samples: 5,
                loss: RunningLoss { sum: 0.1, divisor: 0.3 },
            },
            settings: RunSettings {
                samples: 10,
                batch_size: 2,
                accumulate: 1,
                batches_per_epoch: None,
                seed: u64::MAX,
                sampling: "shuffled".into(),
                drop_last: false,
                validation_split: Some(0.1),
                class_weights: Some(vec![0.1, 2.0]),
                autocast: Some("f16".into()),
            },
            callbacks: vec!["EarlyStopping".into()],
            history: History {
                epochs: vec![epoch],
                incidents: vec!["step 3".into()],
                stopped: Some("enough".into()),
            },
            best: Some(-0.0),
        }
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let json = about().to_json().unwrap();
        let again = About::from_json(&json).unwrap();
        // The values are compared as text, because NaN is not equal to itself.
        assert_eq!(format!("{again:?}"), format!("{:?}", about()));
        let losses = |about: &About| about.history.epochs[0].training.loss.to_bits();
        assert_eq!(losses(&again), losses(&about()));
    }

    #[test]
    fn every_difference_of_settings_is_named() {
        let before = about().settings;
        before.check_same(&before).unwrap();
        let now = RunSettings { seed: 1, batch_size: 4, ..before.clone() };
        let error = before.check_same(&now).unwrap_err().to_string();
        assert!(error.contains("seed was 18446744073709551615 and is 1"), "{error}");
        assert!(error.contains("batch_size was 2 and is 4"), "{error}");
        assert!(!error.contains("order"), "{error}");
    }

    #[test]
    fn another_version_and_invalid_text_are_errors() {
        let json = about().to_json().unwrap();
        let newer = json.replacen("\"version\":3", "\"version\":4", 1);
        let error = About::from_json(&newer).unwrap_err().to_string();
        assert!(error.contains("version 4, this program reads 3"), "{error}");
        for wrong in ["", "{}", "[]", "{\"version\":3}", &json[..json.len() - 1]] {
            assert!(About::from_json(wrong).is_err(), "{wrong:?}");
        }
    }
}
