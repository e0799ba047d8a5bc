//! Checkpoints: everything that a training run needs to continue, in one file.
//!
//! A checkpoint is a safetensors file. The tensors `model.…` are the model's
//! state, `optimizer.…` is the optimizer's state with its counts of steps, on
//! which the schedule depends, and `callbacks.N.…` is that of the callbacks.
//! The metadata has the position in the data, the settings, the history and the
//! names of the callbacks as JSON. Random numbers depend only on the seed and
//! the position, so these two are the state of all random streams. The metadata
//! also has the architecture of a [`Sequential`](dendra_nn::Sequential), so
//! that [`Sequential::load`](dendra_nn::Sequential::load) can read a
//! checkpoint.

mod about;
mod keeper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dendra_autograd::{Parameters, StateDict};
use dendra_nn::{CHECKPOINT_KEY as KEY, StateFile};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::history::History;
use about::About;
pub use about::{Position, RunSettings};
pub(crate) use keeper::Keeper;
pub use keeper::{Checkpoints, Every};

/// The contents of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The state of the model.
    pub model: StateDict,
    /// Other data of the model: its architecture, if it has one
    /// ([`Parameters::metadata`]).
    pub metadata: BTreeMap<String, String>,
    /// The state of the optimizer.
    pub optimizer: StateDict,
    /// The names and states of the callbacks that have a state.
    pub callbacks: Vec<(String, StateDict)>,
    /// The position of the run in the data.
    pub position: Position,
    /// The settings that determine the order of the data and the random
    /// numbers.
    pub settings: RunSettings,
    /// The epochs so far.
    pub history: History,
    /// The best value for [`Checkpoints`] so far.
    pub(crate) best: Option<f64>,
}

impl Checkpoint {
    /// Reads a checkpoint, or the last one in a folder of [`Checkpoints`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged or is not a checkpoint. The
    /// error names the newest valid checkpoint in the same folder, if there is
    /// one.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = file_of(path.as_ref());
        Self::read_file(&path).map_err(|error| match keeper::newest_sound(&path) {
            None => error,
            Some(sound) => {
                let reason = error.to_string();
                let prefix = format!("{}: ", path.display());
                let reason = reason.strip_prefix(&prefix).unwrap_or(&reason);
                let message = format!(
                    "{reason}. The newest valid checkpoint in its folder is {}",
                    sound.display()
                );
                Error::file(&path, message)
            }
        })
    }

    fn read_file(path: &Path) -> Result<Self> {
        let StateFile { mut state, mut metadata } = StateFile::read(path)?;
        let wrong = |message: String| Error::file(path, message);
        let json = metadata.remove(KEY).ok_or_else(|| {
            wrong(
                "is not a checkpoint: a run cannot be resumed from a file with only weights"
                    .to_owned(),
            )
        })?;
        let about = About::from_json(&json).map_err(|error| wrong(error.to_string()))?;
        let mut callbacks = state.split_off("callbacks");
        let states = about.callbacks.into_iter().enumerate();
        let checkpoint = Self {
            model: state.split_off("model"),
            metadata,
            optimizer: state.split_off("optimizer"),
            callbacks: states
                .map(|(index, name)| (name, callbacks.split_off(&index.to_string())))
                .collect(),
            position: about.position,
            settings: about.settings,
            history: about.history,
            best: about.best,
        };
        let left = state.iter().chain(callbacks.iter()).map(|(name, _)| name);
        match left.collect::<Vec<_>>()[..] {
            [] => Ok(checkpoint),
            ref names => Err(wrong(format!("holds unknown tensors: {}", names.join(", ")))),
        }
    }

    /// Writes the checkpoint to a temporary file, which replaces an older file
    /// once it is complete.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; an older file is then unchanged.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut state = StateDict::new();
        state.extend("model", &self.model);
        state.extend("optimizer", &self.optimizer);
        for (index, (_, of_callback)) in self.callbacks.iter().enumerate() {
            state.extend(&format!("callbacks.{index}"), of_callback);
        }
        let about = About {
            position: self.position,
            settings: self.settings.clone(),
            callbacks: self.callbacks.iter().map(|(name, _)| name.clone()).collect(),
            history: self.history.clone(),
            best: self.best,
        };
        let json = about.to_json().map_err(|error| Error::file(path, error.to_string()))?;
        let mut metadata = self.metadata.clone();
        metadata.insert(KEY.to_owned(), json);
        StateFile { state, metadata }.write(path)
    }

    /// Returns an error when a value of the model or the optimizer is not
    /// finite, so that the checkpoint on disk stays valid.
    pub(crate) fn check_finite(&self) -> Result<()> {
        for (part, state) in [("model", &self.model), ("optimizer", &self.optimizer)] {
            for (name, tensor) in state.iter() {
                let finite = tensor.downcast::<f32>().is_none_or(|values| values.is_finite())
                    && tensor.downcast::<f64>().is_none_or(|values| values.is_finite());
                if !finite {
                    return Err(Error::not_finite(
                        format!("checkpoint after step {}", self.position.step),
                        format!("the value of `{part}.{name}`; the last checkpoint is kept"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Loads the model's and the optimizer's state.
    ///
    /// # Errors
    ///
    /// When one of them does not match; both are then unchanged.
    pub fn restore<T: Float>(
        &self,
        model: &mut dyn Parameters<T>,
        optimizer: &mut dyn Optimizer<T>,
    ) -> Result<()> {
        let before = model.state_dict();
        model.load_state_dict(&self.model).map_err(|error| error.within("the model"))?;
        optimizer.load_state_dict(&self.optimizer).map_err(|error| {
            // This cannot fail: the state came from this model.
            let _ = model.load_state_dict(&before);
            error.within("the optimizer")
        })
    }
}

/// The checkpoint file of a path; for a folder, its last one.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(keeper::LAST) } else { path.to_owned() }
}
