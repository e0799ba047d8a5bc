//! Floats as bytes: all bits of them, or rounded to bf16.

use std::borrow::Cow;

use dendra_tensor::{Error, Float, Result, Tensor, bf16};

/// The elements of a tensor in order; a copy if it is strided.
pub(crate) fn elements<T: Float>(tensor: &Tensor<T>) -> Cow<'_, [T]> {
    tensor.as_slice().map_or_else(|| Cow::Owned(tensor.to_vec()), Cow::Borrowed)
}

/// The values that are written at a time.
const PART: usize = 512;

/// The bytes of a number that follows the values in a message.
const ROOM: usize = 8;

/// How gradients are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// With all bits.
    #[default]
    None,
    /// Rounded to bf16, which has 8 bits of precision: half of the bytes of
    /// `f32`. Every shard's gradient and every sum of two is rounded, also
    /// within a process, so that the result does not depend on the number of
    /// processes.
    Bf16,
}

impl Compression {
    /// The number of bytes of a value.
    pub(crate) fn width<T: Float>(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::None if T::NAME == "f32" => 4,
            Self::None => 8,
        }
    }

    /// Rounds values to those that can be sent.
    pub(crate) fn round<T: Float>(self, values: &mut [T]) {
        if self == Self::Bf16 {
            for value in values {
                *value = T::from_f64(bf16::from_f32(value.to_f64() as f32).into());
            }
        }
    }

    /// The bytes of values.
    pub(crate) fn write<T: Float>(self, values: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append(values, &mut bytes);
        bytes
    }

    /// Appends the bytes of values, and reserves the room for the number of the exchange.
    pub(crate) fn append<T: Float>(self, values: &[T], bytes: &mut Vec<u8>) {
        let width = self.width::<T>();
        bytes.reserve(values.len() * width + ROOM);
        // A part that stays in the cache. Its bytes are appended all at once.
        let mut part = [0_u8; 8 * PART];
        for values in values.chunks(PART) {
            let part = &mut part[..values.len() * width];
            let pairs = part.chunks_exact_mut(width).zip(values);
            match width {
                2 => pairs.for_each(|(bytes, value)| {
                    bytes.copy_from_slice(&bf16::from_f32(value.to_f64() as f32).to_le_bytes());
                }),
                4 => pairs.for_each(|(bytes, value)| {
                    bytes.copy_from_slice(&(value.to_f64() as f32).to_le_bytes());
                }),
                _ => pairs.for_each(|(bytes, value)| {
                    bytes.copy_from_slice(&value.to_f64().to_le_bytes());
                }),
            }
            bytes.extend_from_slice(part);
        }
    }

    /// Calls `change` with each value and the one that was sent for it.
    fn each<T: Float>(
        self,
        values: &mut [T],
        bytes: &[u8],
        change: impl Fn(&mut T, T),
    ) -> Result<()> {
        let width = self.width::<T>();
        if bytes.len() != values.len() * width {
            let (expected, found) = (values.len() * width, bytes.len());
            let message = format!("expected {expected} bytes of values, got {found}");
            return Err(Error::data("DataParallel", message));
        }
        let single = |value: f32| T::from_f64(f64::from(value));
        match width {
            2 => values.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(value, bytes)| {
                change(value, single(bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()));
            }),
            4 => values.iter_mut().zip(bytes.chunks_exact(4)).for_each(|(value, bytes)| {
                let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
                change(value, single(f32::from_le_bytes(bytes)));
            }),
            _ => values.iter_mut().zip(bytes.chunks_exact(8)).for_each(|(value, bytes)| {
                let bytes = bytes.try_into().expect("chunks of eight bytes");
                change(value, T::from_f64(f64::from_le_bytes(bytes)));
            }),
        }
        Ok(())
    }

    /// Adds sent values.
    pub(crate) fn add<T: Float>(self, values: &mut [T], bytes: &[u8]) -> Result<()> {
        self.each(values, bytes, |value, sent| *value += sent)?;
        self.round(values);
        Ok(())
    }

    /// Replaces values by sent ones.
    pub(crate) fn read<T: Float>(self, values: &mut [T], bytes: &[u8]) -> Result<()> {
        self.each(values, bytes, |value, sent| *value = sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_values_are_the_values() {
        let values = [1.5_f32, -0.0, f32::MIN_POSITIVE, 3e38];
        let bytes = Compression::None.write(&values);
        let mut read = [0.0_f32; 4];
        Compression::None.read(&mut read, &bytes).unwrap();
        assert_eq!(read.map(f32::to_bits), values.map(f32::to_bits));
        let doubles = [1.0_f64 / 3.0, -1e300];
        let mut sums = [1.0, 2.0];
        Compression::None.add(&mut sums, &Compression::None.write(&doubles)).unwrap();
        assert_eq!(sums, [1.0 + 1.0 / 3.0, 2.0 - 1e300]);
        let mut rounded = [1.0_f32 / 3.0];
        Compression::Bf16.round(&mut rounded);
        assert_eq!(Compression::Bf16.write(&rounded).len(), 2);
        let mut sent = [0.0_f32];
        Compression::Bf16.read(&mut sent, &Compression::Bf16.write(&rounded)).unwrap();
        assert_eq!(sent, rounded);
        let error = Compression::None.read(&mut sent, &[1, 2]).unwrap_err().to_string();
        assert!(error.contains("expected 4 bytes of values, got 2"), "{error}");
    }
}
