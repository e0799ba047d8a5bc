//! JSON in weight files.

use serde_json::Value;

/// Parses JSON or returns an error message. `serde_json` returns an error for
/// values that are nested more than 128 deep.
pub(crate) fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| format!("invalid JSON: {error}"))
}
