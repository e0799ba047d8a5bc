//! The format before PyTorch 1.6: one pickle after the other, then the
//! storages.

use std::collections::HashMap;

use dendra_nn::Dtype;
use dendra_tensor::Result;

use super::arena::{Arena, Item};
use super::pickle::{self, Pickled};
use super::{Storages, contents};
use crate::open::Contents;
use crate::source::Source;
use crate::values::bytes_of;

/// `0x1950a86a20f9469cfc6c`, the number that begins a file, as a pickle of
/// protocol 2 to 4 writes it after the opcode `LONG1` and its length.
const MAGIC: [u8; 12] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a file begins as one of this format, or as any other pickle, which
/// is read to say what is wrong with it.
pub(crate) fn begins_legacy(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

pub(crate) fn read_legacy(source: &Source) -> Result<Contents> {
    let reader = &mut source.reader();
    if !source.head(32)?.windows(MAGIC.len()).any(|bytes| bytes == MAGIC) {
        // An object that the pickle should not ask for is a better message than this one.
        pickle::read(reader)?;
        return Err(source.wrong("a pickle that torch.save has not written"));
    }
    // The magic number and the version of the protocol.
    pickle::read(reader)?;
    let version = pickle::read(reader)?;
    if version.top != Item::Int(1001) {
        return Err(source.wrong("PyTorch: the version of the format is not 1001"));
    }
    let system = pickle::read(reader)?;
    let little = entry(&system, "little_endian");
    let pickled = pickle::read(reader)?;
    let keys = pickle::read(reader)?;
    let unsound = || source.wrong("PyTorch: the list of storages is not sound");
    let listed = keys.arena.as_list(keys.top).ok_or_else(unsound)?;
    let dtypes = dtypes(&pickled.arena);
    let mut found = HashMap::new();
    for &key in listed {
        let key = keys.arena.as_text(key).ok_or_else(unsound)?;
        let count = reader.u64()?;
        // What no tensor uses cannot be skipped, for its element size is not known.
        let dtype = *dtypes.get(key).ok_or_else(unsound)?;
        let length = usize::try_from(count).ok().filter(|&count| count <= isize::MAX as usize / 16);
        let length = bytes_of(length.ok_or_else(unsound)?, dtype.unwrap_or(Dtype::U8));
        let bytes = source.part(reader.position(), length)?;
        reader.skip(length);
        if found.insert(key.to_owned(), bytes).is_some() {
            return Err(unsound());
        }
    }
    let storages = Parts { source, found };
    contents(source, &pickled, &storages, little == Some(Item::Bool(false)))
}

/// The type of the elements of each storage.
fn dtypes(arena: &Arena) -> HashMap<&str, Option<Dtype>> {
    arena.storages.iter().map(|storage| (storage.key.as_str(), storage.dtype)).collect()
}

/// The value of a key of the pickled dict.
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
        found.ok_or_else(|| self.source.wrong(format!("PyTorch: there is no storage {key:?}")))
    }
}
