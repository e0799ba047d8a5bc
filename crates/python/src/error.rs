//! Errors, panics and Ctrl-C as exceptions of Python.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Result};
use pyo3::exceptions::{
    PyFloatingPointError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError,
};
use pyo3::prelude::*;

/// How often a computation looks for Ctrl-C, at most.
const PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    /// When this thread looked for signals last.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The exception that ended the computation on this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The exception for an error: `ValueError` for what a caller can put right,
/// `OSError` for files, `FloatingPointError` for numbers that are not finite.
pub(crate) fn exception(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Io { path, source } => match source.raw_os_error() {
            // Python chooses the class by the number, such as FileNotFoundError.
            Some(code) => {
                let text = source.to_string();
                let text = text.split(" (os error").next().unwrap_or_default().to_owned();
                PyOSError::new_err((code, text, path.display().to_string()))
            }
            None => PyOSError::new_err(message),
        },
        Error::NotFinite { .. } => PyFloatingPointError::new_err(message),
        Error::Panic { .. } => PyRuntimeError::new_err(message),
        Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(message),
        _ => PyValueError::new_err(message),
    }
}

/// Runs a computation without the interpreter's lock. A panic becomes a
/// `RuntimeError`; an exception that [`raise`] has kept is raised.
pub(crate) fn compute<R: Send>(
    py: Python<'_>,
    context: &str,
    work: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    RAISED.take();
    let result = py.detach(|| {
        // What a panic leaves half changed is dropped or, for a network in
        // training, has the weights of a step that was complete.
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|payload| Err(Error::panic(context, &*payload)))
    });
    match RAISED.take() {
        Some(raised) if result.is_err() => Err(raised),
        _ => result.map_err(exception),
    }
}

/// Ends a computation with an exception of Python.
pub(crate) fn raise(raised: PyErr) -> Error {
    RAISED.set(Some(raised));
    Error::interrupted("an exception of Python")
}

/// Ends a computation when Ctrl-C was pressed. Called often; it looks seldom,
/// since it needs the interpreter's lock.
pub(crate) fn check_signals() -> Result<()> {
    let now = Instant::now();
    if LOOKED.get().is_some_and(|looked| now.duration_since(looked) < PAUSE) {
        return Ok(());
    }
    LOOKED.set(Some(now));
    Python::attach(|py| py.check_signals()).map_err(raise)
}
