//! Zip archives, which PyTorch, Keras and NumPy use as files.

use std::collections::HashMap;
use std::io::Read;

use dendra_tensor::Result;
use zip::{CompressionMethod, ZipArchive};

use crate::source::{Reader, Source};

/// The largest number of bytes to which deflate can expand one byte.
const MOST_GROWTH: u64 = 1032;

/// A zip archive whose members do not overlap.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    source: Source,
    zip: ZipArchive<Reader>,
    members: Vec<Member>,
    indices: HashMap<String, usize>,
}

/// A file in an archive.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// The index in the archive, which also counts folders.
    index: usize,
    /// The bytes as they are stored.
    bytes: Source,
    deflated: bool,
    length: u64,
}

impl Archive {
    pub(crate) fn open(source: &Source) -> Result<Self> {
        let wrong = |error: zip::result::ZipError| source.wrong(format!("zip archive: {error}"));
        let mut zip = ZipArchive::new(source.reader()).map_err(wrong)?;
        let mut members = Vec::with_capacity(zip.len());
        let mut ranges = Vec::with_capacity(zip.len());
        for index in 0..zip.len() {
            let file = zip.by_index_raw(index).map_err(wrong)?;
            if file.is_dir() {
                continue;
            }
            let name = String::from_utf8_lossy(file.name_raw()).into_owned();
            let deflated = match file.compression() {
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                other => {
                    return Err(source.wrong(format!(
                        "zip archive: {name:?} has the unsupported compression {other}"
                    )));
                }
            };
            if file.encrypted() {
                return Err(source.wrong(format!("{name:?} is encrypted")));
            }
            let start = file.data_start().unwrap_or(u64::MAX);
            let bytes = source.part(start, file.compressed_size())?;
            let length = file.size();
            let most = if deflated { MOST_GROWTH.saturating_mul(bytes.length()) } else { 0 };
            if length > most.max(bytes.length()) {
                return Err(
                    source.wrong(format!("zip archive: {name:?} is too short for {length} bytes"))
                );
            }
            if bytes.length() > 0 {
                ranges.push((start, start + bytes.length()));
            }
            members.push(Member { name, index, bytes, deflated, length });
        }
        ranges.sort_unstable();
        if !ranges.is_sorted_by(|before, after| before.1 <= after.0) {
            return Err(source.wrong("zip archive: members overlap"));
        }
        let index = |(index, member): (usize, &Member)| (member.name.clone(), index);
        let indices = members.iter().enumerate().map(index).collect();
        Ok(Self { source: source.clone(), zip, members, indices })
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.indices.contains_key(name)
    }

    fn member(&self, name: &str) -> Result<&Member> {
        let found = self.indices.get(name).map(|&index| &self.members[index]);
        found.ok_or_else(|| self.source.wrong(format!("zip archive: {name:?} is missing")))
    }

    /// A member as a part of the file, if it is not compressed.
    pub(crate) fn stored(&self, name: &str) -> Result<Option<Source>> {
        let member = self.member(name)?;
        Ok((!member.deflated).then(|| member.bytes.clone()))
    }

    /// The length of a member after unpacking, according to the archive.
    pub(crate) fn length(&self, name: &str) -> Result<u64> {
        self.member(name).map(|member| member.length)
    }

    /// Reads at most `most` bytes from the start of a member. The checksum is
    /// verified if the whole member is read.
    pub(crate) fn head(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let index = self.member(name)?.index;
        // A clone shares the list of members.
        let mut zip = self.zip.clone();
        let failed =
            |error: &dyn std::fmt::Display| self.source.wrong(format!("{name:?}: {error}"));
        let file = zip.by_index(index);
        let mut bytes = Vec::new();
        let mut file = file.map_err(|error| failed(&error))?.take(most);
        file.read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        Ok(bytes)
    }

    /// A whole member: a part of the file, or unpacked into memory.
    pub(crate) fn whole(&self, name: &str) -> Result<Source> {
        if let Some(stored) = self.stored(name)? {
            return Ok(stored);
        }
        // Reading one byte more than the length verifies the checksum.
        let bytes = self.head(name, self.member(name)?.length + 1)?;
        Ok(Source::memory(self.source.path(), bytes))
    }
}
