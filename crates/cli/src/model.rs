//! Model files that `dendra train` wrote.

use std::path::Path;

use dendra_tensor::Result;
use dendra_weights::Weights;
use serde_json::Value;

/// The key of the metadata that has the column that a model predicts.
pub(crate) const TARGET: &str = "dendra.target";

/// The key of the metadata that has the column whose texts a model reads.
pub(crate) const COLUMN: &str = "dendra.column";

/// An entry of the metadata of a file.
pub(crate) fn entry(path: &Path, key: &str) -> Result<Option<String>> {
    let weights = Weights::open(path)?;
    Ok(match weights.metadata().get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    })
}
