//! The metadata: values that follow the number of their type.

use std::collections::BTreeMap;

use dendra_tensor::Result;
use serde_json::Value;

use super::text;
use crate::source::Reader;

/// The largest depth of nested arrays.
const DEEPEST: usize = 8;

pub(super) fn read(reader: &mut Reader, entries: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = text(reader)?;
        let kind = reader.u32()?;
        let value = value(reader, kind, DEEPEST)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(reader.wrong(format!("GGUF: the metadata key {key:?} occurs twice")));
        }
    }
    Ok(metadata)
}

fn value(reader: &mut Reader, kind: u32, deepest: usize) -> Result<Value> {
    Ok(match kind {
        0 => u8::from_le_bytes(reader.array()?).into(),
        1 => i8::from_le_bytes(reader.array()?).into(),
        2 => u16::from_le_bytes(reader.array()?).into(),
        3 => i16::from_le_bytes(reader.array()?).into(),
        4 => reader.u32()?.into(),
        5 => i32::from_le_bytes(reader.array()?).into(),
        6 => f32::from_le_bytes(reader.array()?).into(),
        7 => (reader.array()? != [0]).into(),
        8 => text(reader)?.into(),
        9 => {
            let (kind, length) = (reader.u32()?, reader.u64()?);
            let least: u64 = match kind {
                0 | 1 | 7 => 1,
                2 | 3 => 2,
                4..=6 => 4,
                _ => 8,
            };
            if length > reader.remaining() / least || deepest == 0 {
                return Err(reader.wrong(format!("GGUF: an array of {length} is too large")));
            }
            let values = (0..length).map(|_| value(reader, kind, deepest - 1));
            values.collect::<Result<Vec<Value>>>()?.into()
        }
        10 => reader.u64()?.into(),
        11 => i64::from_le_bytes(reader.array()?).into(),
        12 => f64::from_le_bytes(reader.array()?).into(),
        other => {
            return Err(reader.wrong(format!("GGUF: metadata values of type {other} are unknown")));
        }
    })
}
