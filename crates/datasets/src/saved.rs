//! The preprocessing of the inputs and the names of the classes in the metadata
//! of a model file.

use std::collections::BTreeMap;

use dendra_tensor::{AnyTensor, Error, Result, Shape};
use serde::{Deserialize, Serialize};

#[cfg(feature = "images")]
use crate::image_encoder::ImageEncoder;
use crate::preprocessing::Preprocessing;
#[cfg(feature = "tables")]
use crate::table::{Encoder, Table};
use crate::text_encoder::TextEncoder;

/// The context of errors.
const CONTEXT: &str = "the preprocessing";

/// The key of the preprocessing.
const PREPROCESSING: &str = "dendra.preprocessing";

/// The key of the class names.
const CLASSES: &str = "dendra.classes";

/// The format version that is written. It is also the only one that is read.
const VERSION: u64 = 1;

/// A preprocessing as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<P> {
    version: u64,
    kind: String,
    settings: P,
}

/// The fields that are the same for every kind and version.
#[derive(Deserialize)]
struct Kind {
    version: u64,
    kind: String,
}

/// Converts a preprocessing and the names of the classes to metadata entries:
/// keys and texts.
///
/// # Errors
///
/// When the preprocessing cannot be written as JSON.
pub fn data_to_metadata<P: Preprocessing>(
    preprocessing: &P,
    classes: &[String],
) -> Result<[(String, String); 2]> {
    let failed =
        |error: serde_json::Error| Error::argument(CONTEXT, format!("cannot be written: {error}"));
    let written = Written { version: VERSION, kind: P::KIND.to_owned(), settings: preprocessing };
    let preprocessing = serde_json::to_string(&written).map_err(failed)?;
    let classes = serde_json::to_string(classes).map_err(failed)?;
    Ok([(PREPROCESSING.to_owned(), preprocessing), (CLASSES.to_owned(), classes)])
}

/// Reads the preprocessing from the metadata of a file.
///
/// # Errors
///
/// When there is none, it is of another kind than `P`, or it is invalid.
pub fn preprocessing_from_metadata<P: Preprocessing>(
    metadata: &BTreeMap<String, String>,
) -> Result<P> {
    let json = metadata.get(PREPROCESSING).ok_or_else(|| {
        Error::data(
            CONTEXT,
            "expected a preprocessing, got none: save the model with `Predictor::save`",
        )
    })?;
    let Kind { version, kind } = kind_of(json)?;
    if version != VERSION || kind != P::KIND {
        let message = format!(
            "its preprocessing is `{kind}` of format version {version}, this program reads `{}` of \
             {VERSION}",
            P::KIND
        );
        return Err(Error::data(CONTEXT, message));
    }
    let written: Written<P> = serde_json::from_str(json).map_err(invalid)?;
    written.settings.check().map_err(|error| error.within(CONTEXT))?;
    Ok(written.settings)
}

/// Reads the names of the classes from the metadata of a file, in the order of
/// their labels; empty if there are none.
///
/// # Errors
///
/// When they are invalid.
pub fn classes_from_metadata(metadata: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let Some(json) = metadata.get(CLASSES) else { return Ok(Vec::new()) };
    serde_json::from_str(json)
        .map_err(|error| Error::data("the names of the classes", error.to_string()))
}

fn kind_of(json: &str) -> Result<Kind> {
    serde_json::from_str(json).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::data(CONTEXT, error.to_string())
}

/// A preprocessing whose kind is known at run time, for programs that open any
/// model file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AnyPreprocessing {
    /// No preprocessing: the inputs of the network are the data.
    None,
    /// Texts.
    Text(TextEncoder),
    /// Rows of a table.
    #[cfg(feature = "tables")]
    Table(Encoder),
    /// Pictures.
    #[cfg(feature = "images")]
    Image(ImageEncoder),
    /// A kind with this name that this program does not know, because it is
    /// user-defined or because a feature is disabled.
    Other(String),
}

impl AnyPreprocessing {
    /// Reads the preprocessing from the metadata of a file.
    ///
    /// # Errors
    ///
    /// When the kind is known and the settings are invalid.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self> {
        let Some(json) = metadata.get(PREPROCESSING) else { return Ok(Self::None) };
        match &*kind_of(json)?.kind {
            TextEncoder::KIND => preprocessing_from_metadata(metadata).map(Self::Text),
            #[cfg(feature = "tables")]
            Encoder::KIND => preprocessing_from_metadata(metadata).map(Self::Table),
            #[cfg(feature = "images")]
            ImageEncoder::KIND => preprocessing_from_metadata(metadata).map(Self::Image),
            other => Ok(Self::Other(other.to_owned())),
        }
    }

    /// The name in files; `None` if there is no preprocessing.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Text(_) => Some(TextEncoder::KIND),
            #[cfg(feature = "tables")]
            Self::Table(_) => Some(Encoder::KIND),
            #[cfg(feature = "images")]
            Self::Image(_) => Some(ImageEncoder::KIND),
            Self::Other(kind) => Some(kind),
        }
    }

    /// The shape of an input, without the batch axis, if it is known.
    pub fn input_shape(&self) -> Option<Shape> {
        match self {
            Self::None | Self::Other(_) => None,
            Self::Text(encoder) => Some(encoder.input_shape()),
            #[cfg(feature = "tables")]
            Self::Table(encoder) => Some(encoder.input_shape()),
            #[cfg(feature = "images")]
            Self::Image(encoder) => Some(encoder.input_shape()),
        }
    }

    /// The inputs for some texts, `[texts, length]`.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for texts, or rejects one.
    pub fn texts<X: AsRef<str>>(&self, texts: &[X]) -> Result<AnyTensor> {
        match self {
            Self::Text(encoder) => Ok(encoder.inputs(texts)?.into()),
            other => Err(other.takes_no("texts")),
        }
    }

    /// The inputs for the rows of a table, `[rows, inputs]`.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for tables, or rejects this one.
    #[cfg(feature = "tables")]
    pub fn table(&self, table: &Table) -> Result<AnyTensor> {
        match self {
            Self::Table(encoder) => Ok(encoder.inputs(table)?.into()),
            other => Err(other.takes_no("tables")),
        }
    }

    /// The inputs for the contents of some PNG or JPEG files, `[files, channels,
    /// height, width]`.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for pictures, or one cannot be decoded.
    #[cfg(feature = "images")]
    pub fn images<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<AnyTensor> {
        match self {
            Self::Image(encoder) => Ok(encoder.decode(files)?.into()),
            other => Err(other.takes_no("pictures")),
        }
    }

    /// The error for raw data of another kind.
    fn takes_no(&self, what: &str) -> Error {
        let message = match self.kind() {
            None => format!(
                "it has no preprocessing that takes {what}: give it the numbers of its inputs"
            ),
            Some(kind) => format!("its preprocessing is of kind `{kind}`, which takes no {what}"),
        };
        Error::argument("the model", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Vocabulary;

    fn encoder() -> TextEncoder {
        TextEncoder::new(Vocabulary::words(["good bad"], 10), 3).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let classes = ["no".to_owned(), "yes \"indeed\"".to_owned()];
        let metadata = BTreeMap::from(data_to_metadata(&encoder(), &classes).unwrap());
        assert_eq!(preprocessing_from_metadata::<TextEncoder>(&metadata).unwrap(), encoder());
        assert_eq!(classes_from_metadata(&metadata).unwrap(), classes);
        let any = AnyPreprocessing::from_metadata(&metadata).unwrap();
        assert_eq!(any, AnyPreprocessing::Text(encoder()));
        let ids = any.texts(&["bad good"]).unwrap();
        assert_eq!(ids.downcast::<i64>().unwrap().to_vec(), [0, 2, 3]);
    }

    #[test]
    fn other_kinds_and_damage_are_told() {
        let none = BTreeMap::new();
        assert_eq!(AnyPreprocessing::from_metadata(&none).unwrap(), AnyPreprocessing::None);
        assert!(classes_from_metadata(&none).unwrap().is_empty());
        let error = AnyPreprocessing::None.texts(&["a"]).unwrap_err().to_string();
        assert!(error.contains("no preprocessing that takes texts"), "{error}");

        let of = |json: &str| BTreeMap::from([(PREPROCESSING.to_owned(), json.to_owned())]);
        let own = of(r#"{"version":1,"kind":"celsius","settings":{"mean":5}}"#);
        let own = AnyPreprocessing::from_metadata(&own).unwrap();
        assert_eq!((own.kind(), own.input_shape()), (Some("celsius"), None));
        let error = own.texts(&["a"]).unwrap_err().to_string();
        assert!(error.contains("`celsius`, which takes no texts"), "{error}");

        for (json, expected) in [
            ("{", "EOF"),
            (r#"{"version":2,"kind":"text","settings":0}"#, "`text` of format version 2"),
            (r#"{"version":1,"kind":"text","settings":0}"#, "invalid type"),
            (
                r#"{"version":1,"kind":"text","settings":{"vocabulary":"bytes","length":0}}"#,
                "expected a length of 1",
            ),
        ] {
            let error = AnyPreprocessing::from_metadata(&of(json)).unwrap_err().to_string();
            assert!(error.starts_with(CONTEXT) && error.contains(expected), "{json}: {error}");
        }
        let classes = BTreeMap::from([(CLASSES.to_owned(), "[1]".to_owned())]);
        assert!(classes_from_metadata(&classes).is_err());
    }
}
