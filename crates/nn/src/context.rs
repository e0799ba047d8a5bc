//! The context in the errors of a layer.

use std::fmt::Display;

use dendra_autograd::Param;
use dendra_tensor::{Error, Float};

/// Derives the path of a layer in its model from the path of one of its parameters:
/// `encoder.fc1` for `encoder.fc1.weight`.
pub(crate) fn path<T: Float>(param: &Param<T>) -> Option<&str> {
    param.name()?.rsplit_once('.').map(|(path, _)| path)
}

/// Sets the layer that called an operation as the context of its error:
/// `fc1 (Linear 784 → 64)`, or `Linear 784 → 64` if the path is not known.
pub(crate) fn in_layer(error: Error, path: Option<&str>, layer: &impl Display) -> Error {
    let context = match path {
        Some(path) => format!("{path} ({layer})"),
        None => layer.to_string(),
    };
    at(error, context)
}

/// Replaces the context of an error.
pub(crate) fn at(error: Error, context: String) -> Error {
    match error {
        Error::Shape { message, .. } => Error::Shape { context, message },
        Error::Argument { message, .. } => Error::Argument { context, message },
        Error::Data { message, .. } => Error::Data { context, message },
        other => other.within(context),
    }
}
