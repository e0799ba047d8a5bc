//! The checksum of a file: CRC-32 as in PNG and gzip (ISO 3309). It detects every
//! burst of errors of up to 32 bits.
//!
//! The checksum is stored in the metadata of the file. It covers the header and
//! all values; its own digits in the header count as zeros.
//!
//! This module implements CRC-32 itself, because a crate would be one more
//! dependency of every program that only predicts.

use std::io::{self, Write};

/// The metadata key of the checksum.
pub(super) const KEY: &str = "dendra.checksum";

/// The placeholder for the digits while the checksum is computed.
pub(super) const BLANK: &str = "00000000";

/// The number of bytes that one iteration of [`Checksum::update`] processes.
const STRIDE: usize = 8;

/// `TABLES[n][byte]` is the remainder of a byte followed by `n` zero bytes
/// (Kounavis and Berry, "A Systematic Approach to Building High Performance
/// Software-Based CRC Generators", 2005).
static TABLES: [[u32; 256]; STRIDE] = tables();

const fn tables() -> [[u32; 256]; STRIDE] {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let (mut remainder, mut bit) = (byte as u32, 0);
        while bit < 8 {
            remainder = (remainder >> 1) ^ ((remainder & 1) * POLYNOMIAL);
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut n = 1;
    while n < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = before >> 8 ^ tables[0][before as u8 as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// The checksum of all bytes passed to `update`.
#[derive(Clone, Copy)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(!0)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut state = self.0;
        let (strides, rest) = bytes.as_chunks::<STRIDE>();
        for stride in strides {
            let [a, b, c, d, tail @ ..] = *stride;
            let head = (u32::from_le_bytes([a, b, c, d]) ^ state).to_le_bytes();
            state = 0;
            for (n, byte) in head.into_iter().chain(tail).rev().enumerate() {
                state ^= TABLES[n][usize::from(byte)];
            }
        }
        for &byte in rest {
            state = state >> 8 ^ TABLES[0][usize::from(state as u8 ^ byte)];
        }
        self.0 = state;
    }

    /// Returns the checksum as eight hexadecimal digits.
    pub(super) fn digits(self) -> String {
        format!("{:08x}", !self.0)
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

/// Returns the range of the checksum's digits in the JSON of a header.
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
        // Expected values from Python's `zlib.crc32`.
        assert_eq!(of(b""), "00000000");
        assert_eq!(of(b"123456789"), "cbf43926");
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(of(&bytes), "29058c73");
        let mut parts = Checksum::new();
        bytes.chunks(13).for_each(|part| parts.update(part));
        assert_eq!(parts.digits(), "29058c73");
    }
}
