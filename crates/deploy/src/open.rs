//! Opening files and detecting their format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use dendra_datasets::{AnyPreprocessing, classes_from_metadata};
use dendra_nn::{Sequential, StateFile};
use dendra_tensor::{Error, Result};

use crate::ElementType;
use crate::describe::{Format, TensorInfo};
use crate::network::{Kind, Network};

/// The number of bytes at the start of a file that identify its format.
const START: usize = 9;

/// The path of models in memory in error messages.
const IN_MEMORY: &str = "the model";

impl Network {
    /// Opens a model file: a safetensors file of a `Sequential` or a
    /// `Predictor`, a checkpoint of its training, or an ONNX model (feature
    /// `onnx`), whose external data must be in the same folder or below.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has another format, is invalid, or
    /// contains a layer or an operator that this program does not know, or
    /// needs a disabled feature.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |error| Error::io(path, error);
        let mut start = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(START as u64).read_to_end(&mut start).map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => Error::file(path, "expected a file, got a folder"),
            _ => failed(error),
        })?;
        match format_of(&start) {
            Some(Format::Safetensors) => Self::from_file(StateFile::read(path)?, path),
            Some(Format::Onnx) => Self::load_onnx(path),
            None => Err(Error::file(path, unknown(&start))),
        }
    }

    /// Opens a model in memory. It cannot have external data.
    ///
    /// # Errors
    ///
    /// The errors of [`load`](Self::load).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let start = &bytes[..bytes.len().min(START)];
        match format_of(start) {
            Some(Format::Safetensors) => {
                let path = Path::new(IN_MEMORY);
                Self::from_file(StateFile::from_bytes(bytes, path)?, path)
            }
            Some(Format::Onnx) => Self::parse_onnx(bytes),
            None => Err(Error::file(IN_MEMORY, unknown(start))),
        }
    }

    fn from_file(file: StateFile, path: &Path) -> Result<Self> {
        let in_file = |error: Error| Error::file(path, error.to_string());
        let preprocessing = AnyPreprocessing::from_metadata(&file.metadata).map_err(in_file)?;
        let classes = classes_from_metadata(&file.metadata).map_err(in_file)?;
        let metadata = file.metadata.clone();
        #[cfg(feature = "quantised")]
        if dendra_quant::Quantised::is_in(&metadata) {
            return Self::of_quantised(file, preprocessing, classes, path);
        }
        let model = Sequential::from_file(file, path)?;
        if let Some(made) = preprocessing.input_shape()
            && made != *model.input_shape()
        {
            let taken = model.input_shape();
            let message =
                format!("expected a preprocessing for inputs of shape {taken}, got one for {made}");
            return Err(Error::file(path, message));
        }
        let element = if model.takes_tokens() { ElementType::I64 } else { ElementType::F32 };
        let input = TensorInfo::batch("input", element, model.input_shape());
        let output = TensorInfo::batch("output", ElementType::F32, model.output_shape());
        Ok(Self {
            inputs: vec![input],
            outputs: vec![output],
            model: Kind::Sequential(Box::new(model)),
            preprocessing,
            classes: classes.into(),
            metadata: own(metadata),
        })
    }

    #[cfg(not(feature = "onnx"))]
    fn load_onnx(path: &Path) -> Result<Self> {
        Err(Error::file(path, NO_ONNX))
    }

    #[cfg(not(feature = "onnx"))]
    fn parse_onnx(_: &[u8]) -> Result<Self> {
        Err(Error::file(IN_MEMORY, NO_ONNX))
    }
}

#[cfg(not(feature = "onnx"))]
const NO_ONNX: &str = "it seems to be an ONNX model, and this program was built without the \
                       feature `onnx`";

/// The metadata that is not Dendra's.
pub(crate) fn own(metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata.into_iter().filter(|(key, _)| !key.starts_with("dendra.")).collect()
}

/// The format of a file that starts with these bytes.
fn format_of(start: &[u8]) -> Option<Format> {
    match start {
        // The length of a header in JSON.
        [.., 0, b'{'] if start.len() == START => Some(Format::Safetensors),
        // A message whose first field is a field of `ModelProto`: a number (the
        // version), or a string or message with a field number below 32.
        [key, _, ..] => match (key >> 3, key & 7) {
            (1 | 5, 0) | (2..=4 | 6..=8 | 14 | 20 | 25, 2) => Some(Format::Onnx),
            _ => None,
        },
        _ => None,
    }
}

/// The reason why a file that starts with these bytes cannot be opened.
fn unknown(start: &[u8]) -> String {
    let what = match start {
        [] => "it is empty".to_owned(),
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => {
            "it is a PyTorch file, which contains weights without the network".to_owned()
        }
        [0x89, b'H', b'D', b'F', ..] => "it is a Keras or HDF5 file".to_owned(),
        [b'G', b'G', b'U', b'F', ..] => "it is a GGUF file".to_owned(),
        start => format!("it starts with \"{}\"", start.escape_ascii()),
    };
    format!("expected a safetensors file or an ONNX model: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_the_first_bytes() {
        let safetensors = [200, 1, 0, 0, 0, 0, 0, 0, b'{'];
        assert_eq!(format_of(&safetensors), Some(Format::Safetensors));
        assert_eq!(format_of(&[8, 10, 18, 7, b'p', b'y', b't', b'o', b'r']), Some(Format::Onnx));
        for (start, expected) in [
            (&b""[..], "empty"),
            (b"PK\x03\x04....", "PyTorch"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"GGUF\x03", "GGUF"),
            (b"hello", "starts with \"hello\""),
        ] {
            assert_eq!(format_of(start), None, "{start:?}");
            assert!(unknown(start).contains(expected), "{}", unknown(start));
        }
    }
}
