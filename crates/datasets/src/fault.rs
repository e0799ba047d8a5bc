//! Errors of reading a file whose path is added later.

use std::io;
use std::path::Path;

use dendra_tensor::Error;

/// The reason why data could not be read, without a path.
pub(crate) enum Fault {
    Io(io::Error),
    Contents(String),
}

impl Fault {
    /// The error for the file at `path`.
    pub(crate) fn at(self, path: &Path) -> Error {
        match self {
            Fault::Io(error) => Error::io(path, error),
            Fault::Contents(message) => Error::file(path, message),
        }
    }

    /// The error for bytes in memory.
    pub(crate) fn in_memory(self, context: &str) -> Error {
        match self {
            Fault::Io(error) => Error::data(context, error.to_string()),
            Fault::Contents(message) => Error::data(context, message),
        }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Contents(message)
    }
}

impl From<io::Error> for Fault {
    /// Distinguishes errors of the operating system from those that a decoder
    /// finds in the bytes.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if error.raw_os_error().is_some() => Fault::Io(error),
            io::ErrorKind::UnexpectedEof => Fault::Contents("it is truncated".into()),
            _ => Fault::Contents(format!("it is invalid: {error}")),
        }
    }
}
