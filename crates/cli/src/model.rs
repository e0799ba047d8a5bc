//! Model files that `dendra train` has written.

use std::path::Path;

use dendra_nn::{Sequential, StateFile};
use dendra_quant::Quantised;
use dendra_tensor::{Error, Result};
use dendra_weights::Weights;
use serde_json::Value;

/// The metadata key of the column that a model predicts.
pub(crate) const TARGET: &str = "dendra.target";

/// The metadata key of the column whose texts a model reads.
pub(crate) const COLUMN: &str = "dendra.column";

/// A metadata entry of a file.
pub(crate) fn entry(path: &Path, key: &str) -> Result<Option<String>> {
    let weights = Weights::open(path)?;
    Ok(match weights.metadata().get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    })
}

/// The network of a file, which must be one of floats.
pub(crate) fn of_floats(file: StateFile, path: &Path) -> Result<Sequential> {
    if Quantised::is_in(&file.metadata) {
        return Err(Error::file(path, "it is a network of integers, expected one of floats"));
    }
    Sequential::from_file(file, path)
}
