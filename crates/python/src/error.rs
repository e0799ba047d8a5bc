//! Conversion of errors, panics and Ctrl-C to exceptions of Python.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Result};
use pyo3::exceptions::{
    PyFloatingPointError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError,
};
use pyo3::prelude::*;

/// The shortest time between two checks for Ctrl-C.
const PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    /// The time of the last check for signals on this thread.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The exception that ended the computation on this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The exception for an error: `ValueError` for invalid arguments and data,
/// `OSError` for files, `FloatingPointError` for numbers that are not finite.
pub(crate) fn exception(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Io { path, source } => match source.raw_os_error() {
            // Python chooses the subclass by the error number, such as
            // FileNotFoundError.
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

/// Runs a computation without the GIL. A panic becomes a `RuntimeError`; an
/// exception stored by [`raise`] is raised.
pub(crate) fn compute<R: Send>(
    py: Python<'_>,
    context: &str,
    work: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    RAISED.take();
    let result = py.detach(|| {
        // A panic may leave values half changed. They are dropped or, for a
        // network in training, have the weights of a complete step.
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

/// Ends a computation when Ctrl-C was pressed. It is called often, but checks
/// seldom, because the check needs the GIL.
pub(crate) fn check_signals() -> Result<()> {
    let now = Instant::now();
    if LOOKED.get().is_some_and(|looked| now.duration_since(looked) < PAUSE) {
        return Ok(());
    }
    LOOKED.set(Some(now));
    Python::attach(|py| py.check_signals()).map_err(raise)
}
