//! The error type of all Dendra crates. An error names the function or layer,
//! what was expected and what was given.

use std::error;
use std::fmt;
use std::path::{Path, PathBuf};

/// A result whose error is an [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a Dendra function.
///
/// The `Debug` form is also the message, so that a `main` that returns an error
/// prints readable text.
#[non_exhaustive]
pub enum Error {
    /// A shape, rank or axis that does not fit.
    Shape {
        /// The operation, layer or function that failed.
        context: String,
        /// What was expected and what was given.
        message: String,
    },
    /// Any other wrong argument or setting.
    Argument {
        /// The operation, layer or function that failed.
        context: String,
        /// What was expected and what was given.
        message: String,
    },
    /// Data whose contents are wrong, such as a label out of range.
    Data {
        /// The data set or function that found the error.
        context: String,
        /// What was expected and what was given.
        message: String,
    },
    /// A file whose contents are wrong.
    File {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        message: String,
    },
    /// A file that cannot be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A state dict that does not match the model; all differences at once.
    State {
        /// Every missing, unexpected and mismatched name.
        message: String,
    },
    /// Trainable parameters on which the loss does not depend.
    MissingGradient {
        /// The parameters' names.
        names: Vec<String>,
    },
    /// A matrix for which the result does not exist, such as an inverse.
    Matrix {
        /// The function that failed.
        context: String,
        /// What is wrong with it.
        fault: MatrixFault,
        /// Its index in the batch; empty for a single matrix.
        batch: Vec<usize>,
    },
    /// A NaN or an infinity where training needs a finite number.
    NotFinite {
        /// The step and the layer.
        context: String,
        /// What was found.
        message: String,
    },
    /// A panic in code that the caller supplied, such as a callback.
    Panic {
        /// The code that panicked.
        context: String,
        /// The message of the panic.
        message: String,
    },
    /// Work that was interrupted before its end.
    Interrupted {
        /// Where it was interrupted, and how to continue.
        message: String,
    },
    /// A tape used in a way that gives no gradient.
    Tape {
        /// What was expected and what was given.
        message: String,
    },
}

/// Why a matrix has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatrixFault {
    /// It has no inverse, or one with elements outside the range of the number
    /// type.
    Singular,
    /// It is not symmetric with positive eigenvalues.
    NotPositiveDefinite,
    /// An iteration over it did not converge.
    NotConverged,
}

impl fmt::Display for MatrixFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MatrixFault::Singular => "is singular",
            MatrixFault::NotPositiveDefinite => "is not positive definite",
            MatrixFault::NotConverged => "makes the iteration fail to converge",
        })
    }
}

/// The index of a matrix in its batch, for a message.
pub(crate) fn at(batch: &[usize]) -> String {
    if batch.is_empty() { String::new() } else { format!(" at batch index {batch:?}") }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { context, message }
            | Error::Argument { context, message }
            | Error::Data { context, message }
            | Error::NotFinite { context, message } => write!(f, "{context}: {message}"),
            Error::File { path, message } => write!(f, "{}: {message}", path.display()),
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::State { message } => write!(f, "state dict does not match: {message}"),
            Error::MissingGradient { names } => {
                let (plural, them) = if names.len() == 1 { ("", "it") } else { ("s", "them") };
                write!(
                    f,
                    "no gradient for the trainable parameter{plural} {}: the loss does not depend \
                     on {them}; use them in `forward`, freeze them, or allow missing gradients in \
                     the optimizer",
                    names.join(", ")
                )
            }
            Error::Matrix { context, fault, batch } => {
                write!(f, "{context}: the matrix{} {fault}", at(batch))
            }
            Error::Panic { context, message } => write!(f, "{context}: panicked: {message}"),
            Error::Interrupted { message } | Error::Tape { message } => f.write_str(message),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// A shape, rank or axis that does not fit.
    pub fn shape(context: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Shape { context: context.into(), message: message.into() }
    }

    /// A wrong argument or setting.
    pub fn argument(context: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Argument { context: context.into(), message: message.into() }
    }

    /// Data whose contents are wrong.
    pub fn data(context: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Data { context: context.into(), message: message.into() }
    }

    /// A file whose contents are wrong.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Error::File { path: path.as_ref().into(), message: message.into() }
    }

    /// A file that cannot be read or written.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().into(), source }
    }

    /// A state dict that does not match the model.
    pub fn state(message: impl Into<String>) -> Self {
        Error::State { message: message.into() }
    }

    /// A NaN or an infinity where training needs a finite number.
    pub fn not_finite(context: impl Into<String>, message: impl Into<String>) -> Self {
        Error::NotFinite { context: context.into(), message: message.into() }
    }

    /// A panic in code that the caller supplied, with the payload that
    /// `catch_unwind` returned.
    pub fn panic(context: impl Into<String>, payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let message = text.unwrap_or_else(|| "without a message".to_owned());
        Error::Panic { context: context.into(), message }
    }

    /// Work that was interrupted before its end.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Error::Interrupted { message: message.into() }
    }

    /// A tape used in a way that gives no gradient.
    pub fn tape(message: impl Into<String>) -> Self {
        Error::Tape { message: message.into() }
    }

    /// Prepends `outer` to the context of the error, so that nested layers
    /// report their path.
    ///
    /// ```
    /// use dendra_tensor::Error;
    ///
    /// let error = Error::shape("linear", "expected 64 input features, got 32");
    /// let error = error.within("layer 3");
    /// assert_eq!(error.to_string(), "layer 3: linear: expected 64 input features, got 32");
    /// ```
    #[must_use]
    pub fn within(mut self, outer: impl AsRef<str>) -> Self {
        match &mut self {
            Error::Shape { context, .. }
            | Error::Argument { context, .. }
            | Error::Data { context, .. }
            | Error::Matrix { context, .. }
            | Error::NotFinite { context, .. }
            | Error::Panic { context, .. } => *context = format!("{}: {context}", outer.as_ref()),
            Error::State { message } | Error::Tape { message } | Error::Interrupted { message } => {
                *message = format!("{}: {message}", outer.as_ref());
            }
            Error::File { .. } | Error::Io { .. } | Error::MissingGradient { .. } => {}
        }
        self
    }
}
