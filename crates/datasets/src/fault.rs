//! Why a file could not be read, before it is known which file it is.

use std::io;
use std::path::Path;

use dendra_tensor::Error;

/// Why something could not be read; the path comes later.
pub(crate) enum Fault {
    Io(io::Error),
    Contents(String),
}

impl Fault {
    /// The error about the file at `path`.
    pub(crate) fn at(self, path: &Path) -> Error {
        match self {
            Fault::Io(error) => Error::io(path, error),
            Fault::Contents(message) => Error::file(path, message),
        }
    }

    /// The error about bytes that are in memory.
    pub(crate) fn in_memory(self, place: &str) -> Error {
        match self {
            Fault::Io(error) => Error::data(place, error.to_string()),
            Fault::Contents(message) => Error::data(place, message),
        }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Contents(message)
    }
}

impl From<io::Error> for Fault {
    /// Sorts what the operating system reports from what a decoder finds in
    /// the bytes.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if error.raw_os_error().is_some() => Fault::Io(error),
            io::ErrorKind::UnexpectedEof => Fault::Contents("it is truncated".into()),
            _ => Fault::Contents(format!("it is damaged: {error}")),
        }
    }
}
