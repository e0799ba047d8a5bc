//! The checksum of a file: CRC-32 as in PNG and gzip (ISO 3309), which finds
//! every change of up to 32 bits in a row.
//!
//! It is kept in the file's metadata, and covers the header, in which zeros
//! stand for its own digits, and all values.

use std::io::{self, Write};

use crc32fast::Hasher;

/// The metadata's key.
pub(super) const KEY: &str = "dendra.checksum";

/// What stands for the digits while the checksum is computed.
pub(super) const BLANK: &str = "00000000";

/// The checksum of what was written to it.
pub(super) struct Checksum(Hasher);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(Hasher::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Eight hexadecimal digits.
    pub(super) fn digits(&self) -> String {
        format!("{:08x}", self.0.clone().finalize())
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in a header's JSON the digits of its checksum are.
pub(super) fn digits_in(json: &[u8], digits: &str) -> Option<std::ops::Range<usize>> {
    let entry = format!("\"{KEY}\":\"{digits}\"");
    let start = json.windows(entry.len()).position(|window| window == entry.as_bytes())?;
    let end = start + entry.len() - 1;
    Some(end - digits.len()..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crc_32_of_png() {
        let of = |bytes: &[u8]| {
            let mut checksum = Checksum::new();
            checksum.update(bytes);
            checksum.digits()
        };
        // Python's `zlib.crc32`.
        assert_eq!(of(b""), "00000000");
        assert_eq!(of(b"123456789"), "cbf43926");
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(of(&bytes), "29058c73");
        let mut parts = Checksum::new();
        bytes.chunks(13).for_each(|part| parts.update(part));
        assert_eq!(parts.digits(), "29058c73");
    }
}
