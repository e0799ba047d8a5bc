//! Model files.

/// The key of the metadata that has the column that a model predicts.
pub(crate) const TARGET: &str = "dendra.target";
