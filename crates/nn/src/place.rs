//! The place that a layer's error names.

use std::fmt::Display;

use dendra_autograd::Param;
use dendra_tensor::{Error, Float};

/// The path of a layer in its model, from the path of one of its parameters:
/// `encoder.fc1` for `encoder.fc1.weight`.
pub(crate) fn path<T: Float>(param: &Param<T>) -> Option<&str> {
    param.name()?.rsplit_once('.').map(|(path, _)| path)
}

/// `fc1 (Linear 784 → 64)`, or `Linear 784 → 64` while the path is not known.
pub(crate) fn place(path: Option<&str>, layer: &impl Display) -> String {
    match path {
        Some(path) => format!("{path} ({layer})"),
        None => layer.to_string(),
    }
}

/// What an operation refused, as said by the layer that used it.
pub(crate) fn said_by(error: Error, path: Option<&str>, layer: &impl Display) -> Error {
    at(error, place(path, layer))
}

/// The same error with another place.
pub(crate) fn at(error: Error, place: String) -> Error {
    match error {
        Error::Shape { message, .. } => Error::Shape { place, message },
        Error::Argument { message, .. } => Error::Argument { place, message },
        Error::Data { message, .. } => Error::Data { place, message },
        other => other.within(place),
    }
}
