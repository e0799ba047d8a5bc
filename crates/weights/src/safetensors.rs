//! safetensors files.

use std::collections::BTreeMap;

use dendra_nn::{CHECKPOINT_KEY, StoredTensors};
use dendra_tensor::{Result, Shape};
use serde_json::Value;

use crate::open::Contents;
use crate::source::Source;
use crate::values::Plain;
use crate::weights::{Format, Weight, spelled};

/// Whether a file starts like a safetensors file: with the length of a JSON
/// object and its first byte.
pub(crate) fn begins(head: &[u8]) -> bool {
    matches!(head, [_, _, _, _, _, 0, 0, 0, b'{', ..])
}

pub(crate) fn read(source: &Source) -> Result<Contents> {
    let StoredTensors { tensors, metadata } =
        StoredTensors::read(&mut source.reader(), source.length(), source.path())?;
    // From a checkpoint of a training run, only the tensors of the model are
    // read.
    let prefix = if metadata.contains_key(CHECKPOINT_KEY) { "model." } else { "" };
    let mut weights = Vec::new();
    for stored in &tensors {
        let Some(name) = stored.name.strip_prefix(prefix) else { continue };
        let shape = Shape::from(stored.shape.clone());
        let values = Plain::new(source, stored.bytes.start, stored.dtype, shape.clone())?;
        weights.push(Weight::new(name, shape, spelled(stored.dtype), values));
    }
    let metadata: BTreeMap<String, Value> =
        metadata.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
    Ok(Contents { format: Format::Safetensors, weights, metadata })
}
