//! The architecture of a network in the metadata of its file: `save` and
//! `load` need no code.

use std::collections::BTreeMap;
use std::path::Path;

use dendra_autograd::Parameters;
use dendra_tensor::{Error, Float, Result, Shape};
use serde::{Deserialize, Serialize};

use super::builder::{PlannedLayer, SequentialBuilder};
use super::{Part, Sequential};
use crate::file::StateFile;
use crate::init::Source;

/// The metadata's key.
const KEY: &str = "dendra.sequential";

/// The version of the format that is written, and the only one that is read.
const VERSION: u64 = 1;

/// What the metadata holds, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    version: u64,
    input: Vec<usize>,
    layers: SequentialBuilder,
}

/// The part of the format that no version changes.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl<T: Float> Sequential<T> {
    /// Writes the network, architecture and state, to a safetensors file.
    /// PyTorch reads the state from it under the same names.
    ///
    /// The file is written beside and moved into place when it is complete.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; what was there before stays.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut layers = SequentialBuilder::new(self.input.clone());
        layers.layers.extend(self.parts.iter().map(|Part { name, settings, .. }| PlannedLayer {
            name: name.clone(),
            settings: settings.clone(),
        }));
        let architecture = Architecture { version: VERSION, input: self.input.to_vec(), layers };
        let json = serde_json::to_string(&architecture)
            .map_err(|error| Error::file(&path, format!("the architecture: {error}")))?;
        let metadata = BTreeMap::from([(KEY.to_owned(), json)]);
        StateFile { state: self.state_dict(), metadata }.write(path)
    }
}

impl Sequential {
    /// Builds the network that [`save`](Self::save) wrote, with its state. All
    /// parameters are trainable.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not a sound safetensors file, holds no
    /// architecture or one of another version, or when architecture and state
    /// do not fit.
    ///
    /// ```
    /// use dendra_nn::tensor::Rng;
    /// use dendra_nn::{Parameters, Sequential};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("net.safetensors");
    /// let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
    /// model.save(&path)?;
    /// let again = Sequential::load(&path)?;
    /// assert_eq!(again.summary(), model.summary());
    /// assert_eq!(again.state_dict(), model.state_dict());
    /// # Ok(())
    /// # }
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_as(path)
    }

    /// As [`load`](Self::load), for any number type, which must be the file's.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_as<T: Float>(path: impl AsRef<Path>) -> Result<Sequential<T>> {
        let path = path.as_ref();
        let file = StateFile::read(path)?;
        let wrong = |message: String| Error::file(path, message);
        let json = file.metadata.get(KEY).ok_or_else(|| {
            wrong("holds no architecture; build the model and load its state into it".to_owned())
        })?;
        let parse_error = |error: serde_json::Error| wrong(format!("the architecture: {error}"));
        let Versioned { version } = serde_json::from_str(json).map_err(parse_error)?;
        if version != VERSION {
            return Err(wrong(format!(
                "the architecture has format version {version}, this program reads {VERSION}"
            )));
        }
        let Architecture { input, layers, .. } = serde_json::from_str(json).map_err(parse_error)?;
        let builder = layers.with_input(Shape::from(input));
        // Blank parameters take no memory, so sizes may be compared with the
        // tensors of the file before anything believes them.
        let mut model: Sequential<T> = builder
            .build_from(&mut Source::Blank)
            .map_err(|error| wrong(format!("the architecture: {error}")))?;
        model
            .load_state_dict(&file.state)
            .map_err(|error| error.within(path.display().to_string()))?;
        Ok(model)
    }
}
