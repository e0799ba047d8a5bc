//! Model files that `dendra train` has written.

use std::path::Path;

use dendra_tensor::Result;
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
