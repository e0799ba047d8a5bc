//! The format before PyTorch 1.6: several pickles, then the storages.

use std::collections::HashMap;

use dendra_nn::Dtype;
use dendra_tensor::Result;

use super::arena::{Arena, Item};
use super::pickle::{self, Pickled};
use super::{Storages, contents};
use crate::open::Contents;
use crate::source::Source;
use crate::values::bytes_of;

/// `0x1950a86a20f9469cfc6c`, the number at the start of a file, as a pickle of
/// protocol 2 to 4 writes it after the opcode `LONG1` and its length.
const MAGIC: [u8; 12] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a file starts like one of this format, or like any other pickle,
/// which is read for its error message.
pub(crate) fn begins_legacy(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

pub(crate) fn read_legacy(source: &Source) -> Result<Contents> {
    let reader = &mut source.reader();
    if !source.head(32)?.windows(MAGIC.len()).any(|bytes| bytes == MAGIC) {
        // The error for an unknown object is more useful than the following
        // one.
        pickle::read(reader)?;
        return Err(source.wrong("the pickle was not written by torch.save"));
    }
    // The magic number and the version of the protocol.
    pickle::read(reader)?;
    let version = pickle::read(reader)?;
    if version.top != Item::Int(1001) {
        return Err(source.wrong("PyTorch: expected version 1001 of the format"));
    }
    let system = pickle::read(reader)?;
    let little = entry(&system, "little_endian");
    let pickled = pickle::read(reader)?;
    let keys = pickle::read(reader)?;
    let invalid = || source.wrong("PyTorch: the list of storages is invalid");
    let listed = keys.arena.as_list(keys.top).ok_or_else(invalid)?;
    let dtypes = dtypes(&pickled.arena);
    let mut found = HashMap::new();
    for &key in listed {
        let key = keys.arena.as_text(key).ok_or_else(invalid)?;
        let count = reader.u64()?;
        // A storage that no tensor uses cannot be skipped, because its element
        // size is not known.
        let dtype = *dtypes.get(key).ok_or_else(invalid)?;
        let length = usize::try_from(count).ok().filter(|&count| count <= isize::MAX as usize / 16);
        let length = bytes_of(length.ok_or_else(invalid)?, dtype.unwrap_or(Dtype::U8));
        let bytes = source.part(reader.position(), length)?;
        reader.skip(length);
        if found.insert(key.to_owned(), bytes).is_some() {
            return Err(invalid());
        }
    }
    let storages = Parts { source, found };
    contents(source, &pickled, &storages, little == Some(Item::Bool(false)))
}

/// The element type of each storage.
fn dtypes(arena: &Arena) -> HashMap<&str, Option<Dtype>> {
    arena.storages.iter().map(|storage| (storage.key.as_str(), storage.dtype)).collect()
}

/// The value of a key in the pickled dict.
fn entry(pickled: &Pickled, wanted: &str) -> Option<Item> {
    let Item::Dict(dict) = pickled.top else { return None };
    let entries = &pickled.arena.dicts[dict as usize].entries;
    let found = entries.iter().find(|(key, _)| pickled.arena.as_text(*key) == Some(wanted));
    found.map(|&(_, value)| value)
}

struct Parts<'a> {
    source: &'a Source,
    found: HashMap<String, Source>,
}

impl Storages for Parts<'_> {
    fn bytes(&self, key: &str) -> Result<Source> {
        let found = self.found.get(key).cloned();
        found.ok_or_else(|| self.source.wrong(format!("PyTorch: the storage {key:?} is missing")))
    }
}
