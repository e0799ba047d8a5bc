//! The native part of the Python package `dendra`: networks, their training and
//! ONNX models, on NumPy arrays.
//!
//! The package itself is in `python/dendra`: its public classes call the
//! functions of this crate, which check all arguments. Settings of layers,
//! optimizers, losses and metrics are passed as JSON. Layers are created by
//! name from the table of `dendra-nn`, which `build.rs` reads together with the
//! documentation of all settings; optimizers, losses and metrics have one row
//! each in `named.rs`. `table` returns all of this to Python, which generates
//! functions and docstrings from it, and to the program that writes the stubs.
//!
//! Computations release the GIL. `error.rs` converts errors, panics and Ctrl-C
//! to exceptions.

mod arguments;
mod array;
mod data;
mod error;
mod fit;
mod layers;
mod model;
mod named;
mod network;
mod objective;
mod optimizer;
mod table;

use pyo3::prelude::*;

/// The native part of `dendra`.
#[pymodule]
mod _dendra {
    use pyo3::prelude::*;
    use serde_json::{Map, Value};

    #[pymodule_export]
    use crate::fit::Training;
    #[pymodule_export]
    use crate::model::Onnx;
    #[pymodule_export]
    use crate::network::Network;

    use crate::arguments::{Arguments, Refusal};
    use crate::error::exception;
    use crate::{layers, named};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// The named objects as JSON: layers, optimizers, schedules, losses and
    /// metrics with their settings and documentation.
    #[pyfunction]
    fn table() -> String {
        crate::table::table().to_string()
    }

    /// The layer of a kind with these settings, as JSON.
    #[pyfunction]
    fn layer(kind: &str, settings: &str) -> PyResult<String> {
        let given = object(settings)?;
        Ok(layers::layer(kind, Arguments::new(kind.to_owned(), given))?.to_string())
    }

    /// Checks the settings of an optimizer, a schedule, a loss or a metric.
    #[pyfunction]
    fn check(group: &str, name: &str, settings: &str) -> PyResult<()> {
        let given = Arguments::new(name.to_owned(), object(settings)?);
        match group {
            "optimizers" => named::optimizer(given).map(|_| ())?,
            "schedules" => named::schedule(given).map(|_| ())?,
            "losses" => named::loss(given).map(|_| ())?,
            "metrics" => named::metric(given).map(|_| ())?,
            _ => return Err(Refusal::unknown("group", group).into()),
        }
        Ok(())
    }

    /// The number of threads for computations.
    #[pyfunction]
    fn num_threads() -> usize {
        dendra_tensor::num_threads()
    }

    /// Sets the number of threads for computations.
    #[pyfunction]
    fn set_num_threads(threads: usize) -> PyResult<()> {
        dendra_tensor::set_num_threads(threads).map_err(exception)
    }

    fn object(text: &str) -> Result<Map<String, Value>, Refusal> {
        serde_json::from_str(text).map_err(|error| Refusal::Value(format!("settings: {error}")))
    }
}
