//! JSON in files of weights.

use serde_json::Value;

/// Parses JSON; what is wrong otherwise. `serde_json` refuses values that are
/// nested more than 128 deep.
pub(crate) fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| format!("not sound JSON: {error}"))
}
