//! A reader for consecutive fields of fixed lengths.

use dendra_tensor::{Error, Result};

use crate::source::Source;

/// Reads fields from the front of some bytes.
pub(super) struct Fields<'a> {
    source: Source,
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(source: &Source, bytes: &'a [u8], what: &'static str) -> Self {
        Self { source: source.clone(), bytes, what }
    }

    pub(super) fn wrong(&self, message: impl std::fmt::Display) -> Error {
        self.source.wrong(format!("HDF5, {}: {message}", self.what))
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| self.wrong("the file is truncated"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<()> {
        self.take(length).map(drop)
    }

    /// A little-endian number of at most 8 bytes.
    pub(super) fn number(&mut self, length: usize) -> Result<u64> {
        let mut all = [0; 8];
        all[..length].copy_from_slice(self.take(length)?);
        Ok(u64::from_le_bytes(all))
    }

    /// A list of numbers of the same length.
    pub(super) fn numbers(&mut self, count: usize, length: usize) -> Result<Vec<u64>> {
        (0..count).map(|_| self.number(length)).collect()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A string up to the first zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
