//! The settings of a run, with which it can be repeated.

use std::fs;
use std::path::{Path, PathBuf};

use dendra_nn::write_whole;
use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::choose::Plan;

/// The version of the file format; only this version is read.
const VERSION: u32 = 1;

/// The task: the kind of prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// One of several classes
    Classification,
    /// A number
    Regression,
}

/// Random changes of pictures during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Augment {
    /// No changes
    None,
    /// Shifted and rotated a little
    Shift,
    /// Also mirrored, and with changed brightness and contrast
    All,
}

/// The format of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Format {
    pub(crate) delimiter: char,
    pub(crate) decimal: char,
    pub(crate) header: bool,
}

/// The source of the inputs and their preprocessing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Inputs {
    Table {
        format: Format,
        /// Numeric columns, which are standardised.
        numbers: Vec<String>,
        /// Categorical columns, which become one-hot inputs.
        categories: Vec<String>,
    },
    Pictures {
        /// Height and width.
        size: [usize; 2],
        grey: bool,
        augment: Augment,
        skip_damaged: bool,
    },
    Texts {
        /// The column of a table; `None` for a folder of text files.
        column: Option<String>,
        format: Option<Format>,
        /// The largest number of words in the vocabulary.
        words: usize,
        /// The number of words used of each text.
        length: usize,
    },
}

/// Everything that a run depends on, except the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    version: u32,
    pub(crate) data: PathBuf,
    /// The SHA-256 of the data.
    pub(crate) data_sha256: String,
    pub(crate) output: PathBuf,
    /// The target column; `None` for folders, whose names are the classes.
    pub(crate) target: Option<String>,
    pub(crate) task: Task,
    pub(crate) inputs: Inputs,
    pub(crate) seed: u64,
    /// The fraction of the data for validation.
    pub(crate) validation: f64,
    /// Whether all classes are drawn equally often.
    pub(crate) balanced: bool,
    pub(crate) training: Plan,
}

impl Settings {
    pub(crate) fn new(
        task: Task,
        target: Option<String>,
        inputs: Inputs,
        validation: f64,
        training: Plan,
    ) -> Self {
        Self {
            version: VERSION,
            data: PathBuf::new(),
            data_sha256: String::new(),
            output: PathBuf::new(),
            target,
            task,
            inputs,
            seed: 42,
            validation,
            balanced: false,
            training,
        }
    }

    /// The name of the data without its folder.
    pub(crate) fn data_name(&self) -> String {
        let name = self.data.file_name().unwrap_or(self.data.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let wrong = |error: serde_json::Error| {
            Error::file(path, format!("expected the settings of a run: {error}"))
        };
        let settings: Self = serde_json::from_str(&text).map_err(wrong)?;
        if settings.version != VERSION {
            let message = format!("has version {}, this program reads {VERSION}", settings.version);
            return Err(Error::file(path, message));
        }
        Ok(settings)
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        let failed = |error: serde_json::Error| Error::argument("settings", error.to_string());
        Ok(serde_json::to_string_pretty(self).map_err(failed)? + "\n")
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_json()?;
        write_whole(path, |writer| writer.write_all(text.as_bytes()))
    }
}
