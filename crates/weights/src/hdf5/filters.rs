//! The filters of chunks.

use std::io::Read;

use dendra_tensor::Result;
use flate2::read::ZlibDecoder;

use super::fields::Fields;

/// A filter to undo.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter {
    Deflate,
    /// Shuffle: the first bytes of all elements, then the second, and so on.
    Shuffle,
    /// A checksum of four bytes at the end.
    Fletcher32,
}

impl Filter {
    /// The filters in a message, in the order in which they were applied.
    pub(super) fn all(fields: &mut Fields<'_>) -> Result<Vec<Self>> {
        let (version, count) = (fields.number(1)?, fields.number(1)?);
        if version == 1 {
            fields.skip(6)?;
        }
        let mut filters = Vec::new();
        for _ in 0..count {
            let id = fields.number(2)?;
            let name = if version == 1 || id >= 256 { fields.number(2)? } else { 0 };
            fields.skip(2)?;
            let numbers = fields.number(2)?;
            let padded = if version == 1 { name.next_multiple_of(8) } else { name };
            fields.skip(padded as usize)?;
            fields.skip(numbers as usize * 4)?;
            if version == 1 && numbers % 2 == 1 {
                fields.skip(4)?;
            }
            filters.push(match id {
                1 => Self::Deflate,
                2 => Self::Shuffle,
                3 => Self::Fletcher32,
                32000 => return Err(fields.wrong("compression by LZF is not supported, use gzip")),
                other => return Err(fields.wrong(format!("filter {other} is not supported"))),
            });
        }
        Ok(filters)
    }

    /// Undoes the filter. `most` is the length of a whole chunk, `size` that of
    /// an element.
    pub(super) fn undo(self, mut bytes: Vec<u8>, most: usize, size: usize) -> Option<Vec<u8>> {
        match self {
            Self::Deflate => {
                let mut out = Vec::new();
                // The end may contain the checksum of an earlier filter.
                let most = most as u64 + 5;
                ZlibDecoder::new(&bytes[..]).take(most).read_to_end(&mut out).ok()?;
                ((out.len() as u64) < most).then_some(out)
            }
            Self::Shuffle => {
                let count = bytes.len() / size;
                let mut out = bytes.clone();
                for (i, element) in out.chunks_exact_mut(size).enumerate() {
                    for (j, byte) in element.iter_mut().enumerate() {
                        *byte = bytes[j * count + i];
                    }
                }
                Some(out)
            }
            Self::Fletcher32 => {
                let at = bytes.len().checked_sub(4)?;
                let stored = bytes.split_off(at);
                (stored == fletcher32(&bytes).to_le_bytes()).then_some(bytes)
            }
        }
    }
}

/// HDF5's checksum: Fletcher's checksum of 16-bit words whose first byte is the
/// upper one.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0_u32, 0_u32);
    for word in bytes.chunks(2) {
        let upper = u32::from(word[0]) << 8;
        low = (low + (upper | word.get(1).copied().map_or(0, u32::from))) % 65535;
        high = (high + low) % 65535;
    }
    high << 16 | low
}
