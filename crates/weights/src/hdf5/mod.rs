//! The part of HDF5 that h5py writes: groups, datasets of numbers, and string
//! attributes.
//!
//! The format is that of the HDF5 File Format Specification 3.0,
//! <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>.
//! Supported are superblocks 0 to 3; groups with symbol tables, with links in
//! their header and in a fractal heap; datasets that are compact, contiguous,
//! or chunked and compressed by gzip, with the shuffle filter and checksums.

mod chunks;
mod dataset;
mod datatype;
mod fields;
mod filters;
mod groups;
mod heaps;
mod object;

use std::collections::{BTreeMap, HashSet};

use dendra_tensor::{Error, Result};

use crate::source::Source;
pub(crate) use dataset::Dataset;
use fields::Fields;

/// The first bytes of a file.
pub(crate) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The address of an object that does not exist.
const NOWHERE: u64 = u64::MAX;

/// The largest depth of nested groups.
const DEEPEST: usize = 64;

/// The longest path of a dataset, in bytes.
const LONGEST_PATH: usize = 2048;

/// A file, with limits on the work for a malicious one.
struct File<'a> {
    source: &'a Source,
    /// The position that addresses are relative to.
    base: u64,
    /// The blocks that were read; none is read twice.
    visited: HashSet<u64>,
    /// The number of header bytes that may still be read.
    budget: u64,
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The datasets with their paths.
    pub(crate) datasets: Vec<(String, Dataset)>,
    /// The string attributes of groups, by the path of the group.
    pub(crate) attributes: BTreeMap<String, BTreeMap<String, String>>,
}

pub(crate) fn read(source: &Source) -> Result<Tree> {
    let budget = source.length().saturating_mul(4);
    let mut file = File { source, base: 0, visited: HashSet::new(), budget };
    let root = file.superblock()?;
    let mut tree = Tree::default();
    let mut groups = vec![(String::new(), root)];
    file.visited.insert(root);
    while let Some((path, address)) = groups.pop() {
        if path.matches('/').count() > DEEPEST || path.len() > LONGEST_PATH {
            return Err(file.wrong("groups are nested too deep, or have too long names"));
        }
        let messages = file.object(address)?;
        if messages.iter().any(|message| message.kind == object::LAYOUT) {
            // A dataset without numbers, such as one of strings, has no tensor.
            if let Some(dataset) = file.dataset(&messages, &path)? {
                tree.datasets.push((path, dataset));
            }
            continue;
        }
        let attributes = file.attributes(&messages)?;
        if !attributes.is_empty() {
            tree.attributes.insert(path.clone(), attributes);
        }
        let mut links = file.links(&messages)?;
        // Processed from the end.
        links.reverse();
        for (name, address) in links {
            // An object with two names is read once.
            if file.visited.insert(address) {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                groups.push((path, address));
            }
        }
    }
    Ok(tree)
}

impl File<'_> {
    fn wrong(&self, message: impl std::fmt::Display) -> Error {
        self.source.wrong(format!("HDF5: {message}"))
    }

    /// The bytes at an address.
    fn bytes(&mut self, address: u64, length: u64) -> Result<Vec<u8>> {
        let spent = self.budget.checked_sub(length);
        self.budget =
            spent.ok_or_else(|| self.wrong("headers overlap, or the file is truncated"))?;
        let start = self.base.checked_add(address);
        self.source.read(start.ok_or_else(|| self.wrong("an address is too large"))?, length)
    }

    /// The bytes of a block after its signature of four letters.
    fn block(&mut self, address: u64, letters: &'static str, length: u64) -> Result<Vec<u8>> {
        let bytes = self.bytes(address, length.max(4))?;
        match bytes.strip_prefix(letters.as_bytes()) {
            Some(rest) => Ok(rest.to_vec()),
            None => Err(self.wrong(format!("expected {letters} at {address}"))),
        }
    }

    /// Like [`block`](Self::block), for a block that may be read only once.
    fn new_block(&mut self, address: u64, letters: &'static str, length: u64) -> Result<Vec<u8>> {
        if !self.visited.insert(address) {
            return Err(self.wrong(format!("two objects share the block at {address}")));
        }
        self.block(address, letters, length)
    }

    fn fields<'b>(&self, bytes: &'b [u8], what: &'static str) -> Fields<'b> {
        Fields::new(self.source, bytes, what)
    }

    /// Reads the superblock and returns the address of the root group.
    fn superblock(&mut self) -> Result<u64> {
        let head = self.source.head(128)?;
        let mut fields = self.fields(&head, "superblock");
        fields.skip(SIGNATURE.len())?;
        let version = fields.number(1)?;
        let sizes = match version {
            0 | 1 => {
                fields.skip(4)?;
                let sizes = [fields.number(1)?, fields.number(1)?];
                fields.skip(if version == 0 { 9 } else { 13 })?;
                sizes
            }
            2 | 3 => {
                let sizes = [fields.number(1)?, fields.number(1)?];
                fields.skip(1)?;
                sizes
            }
            other => return Err(self.wrong(format!("superblock {other} is not supported"))),
        };
        if sizes != [8, 8] {
            return Err(self.wrong(format!("addresses of {sizes:?} bytes are not supported")));
        }
        self.base = fields.number(8)?;
        // The addresses of free space or an extension.
        fields.skip(8)?;
        let end = fields.number(8)?;
        if end > self.source.length() {
            let length = self.source.length();
            return Err(
                self.wrong(format!("the file is truncated: expected {end} bytes, got {length}"))
            );
        }
        if version < 2 {
            // The address of the driver, and the offset of the name of the
            // root.
            fields.skip(16)?;
        }
        fields.number(8)
    }
}
