//! The wire format of protocol buffers: numbered fields of four kinds.
//!
//! ONNX needs 14 message types of this format. The code is shorter than any
//! library would add.

use dendra_tensor::{Error, Result};

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

pub(crate) fn malformed<X>(message: impl Into<String>) -> Result<X> {
    Err(Error::data("onnx", message))
}

/// The fields of a message, in the order of the file.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next field and its number; `None` at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return malformed(format!("a field has the unknown wire type {kind}")),
        };
        Ok(Some((key >> 3, field)))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.bytes = &self.bytes[index + 1..];
                return Ok(value);
            }
        }
        malformed("a variable-length integer is truncated")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let taken = usize::try_from(length).ok().and_then(|n| self.bytes.split_at_checked(n));
        let Some((taken, rest)) = taken else {
            let left = self.bytes.len();
            return malformed(format!("a field of {length} bytes has only {left} left"));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("as many bytes as were taken"))
    }
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => malformed(format!("expected bytes, got {other:?}")),
        }
    }

    pub(crate) fn text(self) -> Result<String> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => malformed("a string is not UTF-8"),
        }
    }

    pub(crate) fn int(self) -> Result<i64> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            other => malformed(format!("expected an integer, got {other:?}")),
        }
    }

    pub(crate) fn float(self) -> Result<f32> {
        match self {
            Self::Fixed32(bits) => Ok(f32::from_bits(bits)),
            other => malformed(format!("expected a float, got {other:?}")),
        }
    }

    /// Adds the integers of a repeated field, packed or not.
    pub(crate) fn ints(self, to: &mut Vec<i64>) -> Result<()> {
        let Self::Bytes(bytes) = self else {
            to.push(self.int()?);
            return Ok(());
        };
        let mut reader = Reader::new(bytes);
        while !reader.bytes.is_empty() {
            to.push(reader.varint()? as i64);
        }
        Ok(())
    }

    /// Adds the floats of a repeated field, packed or not.
    pub(crate) fn floats(self, to: &mut Vec<f32>) -> Result<()> {
        let Self::Bytes(bytes) = self else {
            to.push(self.float()?);
            return Ok(());
        };
        let mut reader = Reader::new(bytes);
        while !reader.bytes.is_empty() {
            to.push(f32::from_le_bytes(reader.array()?));
        }
        Ok(())
    }

    /// Adds the doubles of a repeated field, packed or not.
    pub(crate) fn doubles(self, to: &mut Vec<f64>) -> Result<()> {
        let mut reader = match self {
            Self::Bytes(bytes) => Reader::new(bytes),
            Self::Fixed64(bits) => {
                to.push(f64::from_bits(bits));
                return Ok(());
            }
            other => return malformed(format!("expected doubles, got {other:?}")),
        };
        while !reader.bytes.is_empty() {
            to.push(f64::from_le_bytes(reader.array()?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_all_kinds() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'o', b'k', 0x1d, 0, 0, 0x80, 0x3f];
        let mut reader = Reader::new(&bytes);
        let (number, field) = reader.next().unwrap().unwrap();
        assert_eq!((number, field.int().unwrap()), (1, 150));
        let (number, field) = reader.next().unwrap().unwrap();
        assert_eq!((number, field.text().unwrap()), (2, "ok".to_owned()));
        let (number, field) = reader.next().unwrap().unwrap();
        assert_eq!((number, field.float().unwrap()), (3, 1.0));
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn malformed_fields_are_refused() {
        for bytes in [&[0x0b_u8][..], &[0x80; 11], &[0x12, 5, 1], &[0x0d, 1, 2], &[0x08]] {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
