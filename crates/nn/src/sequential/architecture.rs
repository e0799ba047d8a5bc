//! The architecture of a network in the metadata of its file. With it, `load`
//! rebuilds the network without any code that defines it.

use std::collections::BTreeMap;
use std::path::Path;

use dendra_autograd::Parameters;
use dendra_tensor::{Error, Float, Result, Shape};
use serde::{Deserialize, Serialize};

use super::builder::{SequentialBuilder, is_false};
use super::{Input, Sequential};
use crate::file::StateFile;
use crate::init::Source;

/// The metadata key of the architecture.
const KEY: &str = "dendra.sequential";

/// The format version that is written. It is also the only one that is read.
const VERSION: u64 = 1;

/// The content of the metadata, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    version: u64,
    input: Vec<usize>,
    /// Whether the input is token ids.
    #[serde(default, skip_serializing_if = "is_false")]
    tokens: bool,
    layers: SequentialBuilder,
}

/// The part of the format that is the same in all versions.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl<T: Float> Sequential<T> {
    /// Writes the architecture and the state of the network to a safetensors file.
    /// PyTorch can read the state from it under the same names.
    ///
    /// The file is written under a temporary name and renamed when it is
    /// complete.
    ///
    /// # Errors
    ///
    /// Returns an error if a layer cannot be saved, because it is a closure or a
    /// [`Layer`](crate::Layer) that is not registered as a
    /// [`SavedLayer`](crate::SavedLayer), or if the file cannot be written. An
    /// existing file is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let file = self.to_file().map_err(|error| error.within(path.display().to_string()))?;
        file.write(path)
    }

    /// Returns the contents of the file that [`save`](Self::save) writes, for
    /// programs that add their own metadata.
    ///
    /// # Errors
    ///
    /// When a layer is of a kind that files cannot hold.
    #[inline(never)]
    pub fn to_file(&self) -> Result<StateFile> {
        let metadata = BTreeMap::from([self.architecture()?]);
        Ok(StateFile { state: self.state_dict(), metadata })
    }

    /// Returns the metadata key and the text of the architecture.
    pub(super) fn architecture(&self) -> Result<(String, String)> {
        let layers = self.plan();
        for (index, layer) in layers.layers.iter().enumerate() {
            // Text, as below: each format is compiled for all kinds of layers.
            if let Err(error) = serde_json::to_string(layer) {
                return Err(layer.explain(index, Error::argument("", error.to_string())));
            }
        }
        let Input { shape, tokens } = &self.input;
        let architecture =
            Architecture { version: VERSION, input: shape.to_vec(), tokens: *tokens, layers };
        let json = serde_json::to_string(&architecture)
            .map_err(|error| Error::argument("the architecture", error.to_string()))?;
        Ok((KEY.to_owned(), json))
    }
}

impl Sequential {
    /// Loads a network with its state from a file of [`save`](Self::save) or from
    /// a checkpoint of a training run. All its parameters are trainable.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, is not a valid safetensors
    /// file, has no architecture or one of another version, if the state does not
    /// match the architecture, or if the kind of a layer is not registered; see
    /// [`register_layer`](crate::register_layer).
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

    /// Like [`load`](Self::load), for any float type.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`load`](Self::load).
    pub fn load_as<T: Float>(path: impl AsRef<Path>) -> Result<Sequential<T>> {
        Self::load_path(path.as_ref())
    }

    /// Like [`load`](Self::load), of the bytes of a file: of a network that is part
    /// of a program by [`include_bytes`], or that came over a network.
    ///
    /// # Errors
    ///
    /// Like [`load`](Self::load), with `the model` in the place of the path.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let path = "the model";
        Self::from_file(StateFile::from_bytes(bytes, path)?, path)
    }

    /// Like [`load`](Self::load), for a file that is already in memory. `path` is
    /// used in error messages.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`load`](Self::load).
    pub fn from_file(file: StateFile, path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file_as(file, path.as_ref())
    }

    // What a user's crate calls is not inlined there, so that it is compiled for `f32` in this
    // crate and not once more in that one.

    #[inline(never)]
    fn load_path<T: Float>(path: &Path) -> Result<Sequential<T>> {
        Self::from_file_as(StateFile::read(path)?, path)
    }

    #[inline(never)]
    fn from_file_as<T: Float>(file: StateFile, path: &Path) -> Result<Sequential<T>> {
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
        let Architecture { input, tokens, layers, .. } =
            serde_json::from_str(json).map_err(parse_error)?;
        let builder = layers.with_input(Input { shape: Shape::from(input), tokens });
        // Blank parameters take no memory, so the sizes from the file are compared
        // with its tensors before memory is allocated for them.
        let mut model: Sequential<T> = builder
            .build_from(&mut Source::Blank)
            .map_err(|error| wrong(format!("the architecture: {error}")))?;
        model
            .load_state_dict(&file.into_model_state())
            .map_err(|error| error.within(path.display().to_string()))?;
        Ok(model)
    }
}
