//! Checkpoints: all that a training run needs to go on, in one file.
//!
//! A checkpoint is a safetensors file. The tensors `model.…` are the model's
//! state, `optimizer.…` the optimizer's with its counts, on which the schedule
//! depends, and `callbacks.N.…` that of the callbacks. The metadata holds the
//! position in the data, the settings, the history and the names of the
//! callbacks as JSON. Random numbers depend on the seed and the position
//! alone, so these two are the state of all random streams. The architecture of
//! a [`Sequential`](dendra_nn::Sequential) is there, too, so that
//! [`Sequential::load`](dendra_nn::Sequential::load) reads a checkpoint.

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

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The state of the model.
    pub model: StateDict,
    /// What else the model tells of itself: its architecture, where it has one
    /// ([`Parameters::metadata`]).
    pub metadata: BTreeMap<String, String>,
    /// The state of the optimizer.
    pub optimizer: StateDict,
    /// The callbacks that have state, with it.
    pub callbacks: Vec<(String, StateDict)>,
    /// Where in the data the run is.
    pub position: Position,
    /// The settings on which the order of the data and the random numbers
    /// depend.
    pub settings: RunSettings,
    /// The epochs so far.
    pub history: History,
    /// The best value that [`Checkpoints`] have seen.
    pub(crate) best: Option<f64>,
}

impl Checkpoint {
    /// Reads a checkpoint, or the last one in a folder of [`Checkpoints`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged or is no checkpoint. The error
    /// names the newest sound checkpoint in its folder, where there is one.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = file_of(path.as_ref());
        Self::read_file(&path).map_err(|error| match keeper::newest_sound(&path) {
            None => error,
            Some(sound) => {
                let reason = error.to_string();
                let place = format!("{}: ", path.display());
                let reason = reason.strip_prefix(&place).unwrap_or(&reason);
                let message =
                    format!("{reason}. The newest sound checkpoint there is {}", sound.display());
                Error::file(&path, message)
            }
        })
    }

    fn read_file(path: &Path) -> Result<Self> {
        let StateFile { mut state, mut metadata } = StateFile::read(path)?;
        let wrong = |message: String| Error::file(path, message);
        let json = metadata.remove(KEY).ok_or_else(|| {
            wrong("is no checkpoint: a file of weights alone cannot be resumed from".to_owned())
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

    /// Writes the checkpoint: beside, and moved into place when it is complete.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; what was there before stays.
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

    /// Refuses to be written when a value of the model or the optimizer is not
    /// finite, so that what is on the disk stays good.
    pub(crate) fn check_finite(&self) -> Result<()> {
        for (part, state) in [("model", &self.model), ("optimizer", &self.optimizer)] {
            for (name, tensor) in state.iter() {
                let finite = tensor.downcast::<f32>().is_none_or(|values| values.is_finite())
                    && tensor.downcast::<f64>().is_none_or(|values| values.is_finite());
                if !finite {
                    return Err(Error::not_finite(
                        format!("checkpoint after step {}", self.position.step),
                        format!("the value of `{part}.{name}`; the last checkpoint stays"),
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
    /// When one does not match; both are as they were then.
    pub fn restore<T: Float>(
        &self,
        model: &mut dyn Parameters<T>,
        optimizer: &mut dyn Optimizer<T>,
    ) -> Result<()> {
        let before = model.state_dict();
        model.load_state_dict(&self.model).map_err(|error| error.within("the model"))?;
        optimizer.load_state_dict(&self.optimizer).map_err(|error| {
            // It came out of this model a moment ago.
            let _ = model.load_state_dict(&before);
            error.within("the optimizer")
        })
    }
}

/// The checkpoint that a path means: a folder's last one.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(keeper::LAST) } else { path.to_owned() }
}
