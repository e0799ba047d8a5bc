//! The header of a safetensors file: names, types, shapes and offsets.
//!
//! Header fields are untrusted: they are checked against the length of the file
//! before use.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::Read;
use std::path::Path;

use dendra_autograd::{AnyTensor, StateDict};
use dendra_tensor::{Error, Result, Shape};
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::checksum::{self, Checksum};
use super::values;

/// The maximum length of a header in the format, in bytes.
const MAX_LENGTH: u64 = 100_000_000;

/// The number of bytes that store the length of the header.
pub(super) const LENGTH: usize = 8;

/// The name of the header entry that contains the metadata.
const METADATA: &str = "__metadata__";

/// The header of a file; the tensors are in the order of their values.
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// Returns the header of a state dict, and the tensors in the order of their
    /// values. Larger elements come first, so that all are aligned.
    pub(super) fn of<'a>(
        state: &'a StateDict,
        metadata: &BTreeMap<String, String>,
    ) -> (Self, Vec<&'a AnyTensor>) {
        let mut entries: Vec<(&str, &AnyTensor)> = state.iter().collect();
        entries.sort_by_key(|(_, tensor)| std::cmp::Reverse(values::dtype(tensor)));
        let mut start = 0;
        let describe = |&(name, tensor): &(&str, &AnyTensor)| {
            let (dtype, shape) = (values::dtype(tensor), tensor.shape().to_vec());
            let end = start + tensor.shape().elements() * dtype.bitsize() / 8;
            let data_offsets = (start, end);
            start = end;
            (name.to_owned(), TensorInfo { dtype, shape, data_offsets })
        };
        let tensors = entries.iter().map(describe).collect();
        let header = Self { metadata: metadata.clone(), tensors };
        (header, entries.into_iter().map(|(_, tensor)| tensor).collect())
    }

    /// Returns the length and the header, which are the start of a file, or an
    /// error message.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        if self.tensors.iter().any(|(name, _)| name == METADATA) {
            return Err(format!("a tensor cannot be named {METADATA}"));
        }
        let mut json = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        // The values begin at a multiple of 8 bytes.
        json.resize(json.len().next_multiple_of(8), b' ');
        let length = json.len() as u64;
        if length > MAX_LENGTH {
            return Err(format!("the header has {length} bytes, more than the format allows"));
        }
        Ok([&length.to_le_bytes()[..], &json].concat())
    }

    /// Reads the header of a file of `length` bytes. `file` is then at the first
    /// value, and the returned checksum covers the header.
    pub(super) fn read(file: &mut impl Read, length: u64, path: &Path) -> Result<(Self, Checksum)> {
        let failed = |error| Error::io(path, error);
        let wrong = |message: String| Error::file(path, message);
        let Some(rest) = length.checked_sub(LENGTH as u64) else {
            return Err(wrong(format!("not a safetensors file: {length} bytes are too few")));
        };
        let mut bytes = [0; LENGTH];
        file.read_exact(&mut bytes).map_err(failed)?;
        let header_length = u64::from_le_bytes(bytes);
        if header_length > rest.min(MAX_LENGTH) {
            return Err(wrong(match bytes {
                [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => {
                    "not a safetensors file, but a file of `torch.save`: convert it in Python with \
                     `safetensors.torch.save_file(model.state_dict(), path)`"
                        .to_owned()
                }
                _ => format!(
                    "not a safetensors file, or truncated: it has {length} bytes, but declares a \
                     header of {header_length}"
                ),
            }));
        }
        let mut json = vec![0; header_length as usize];
        file.read_exact(&mut json).map_err(failed)?;
        let header: Self = serde_json::from_slice(&json)
            .map_err(|error| wrong(format!("invalid safetensors header: {error}")))?;
        let values = header.check().map_err(wrong)?;
        if values != rest - header_length {
            return Err(wrong(format!(
                "truncated or damaged: the header declares {values} bytes of values, got {}",
                rest - header_length
            )));
        }
        let mut checksum = Checksum::new();
        if let Some(digits) = header.metadata.get(checksum::KEY) {
            if let Some(range) = checksum::digits_in(&json, digits)
                && digits.len() == checksum::BLANK.len()
            {
                json[range].copy_from_slice(checksum::BLANK.as_bytes());
            }
            checksum.update(&json);
        }
        Ok((header, checksum))
    }

    /// Returns the total number of bytes of the values. Returns an error message
    /// if there are gaps or overlaps between values, or a shape does not match
    /// its number of bytes.
    fn check(&self) -> Result<u64, String> {
        for (name, info) in &self.tensors {
            // The product of the other axes can overflow even if one axis has length 0.
            let sizes = info.shape.iter().copied().filter(|&size| size != 0);
            let elements = sizes.collect::<Shape>().checked_elements();
            if elements.is_none_or(|elements| elements > isize::MAX as usize / 8) {
                return Err(format!("tensor {name:?}: shape {:?} is too large", info.shape));
            }
        }
        let metadata = Metadata::new(None, self.tensors.clone())
            .map_err(|error| format!("invalid safetensors header: {error}"))?;
        Ok(metadata.data_len() as u64)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
                // JSON allows duplicate names, so they are refused explicitly.
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("duplicate name {name:?}")));
                    }
                    if name == METADATA {
                        // Some programs write null if there is no metadata.
                        let metadata: Option<BTreeMap<String, String>> = map.next_value()?;
                        header.metadata = metadata.unwrap_or_default();
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                header.tensors.sort_by_key(|(_, info)| info.data_offsets);
                Ok(header)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
