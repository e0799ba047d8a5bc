//! What a safetensors file holds, without its values: for readers that take one
//! tensor at a time.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use dendra_autograd::AnyTensor;
use dendra_tensor::{Error, Result, Shape};
/// An element type that files can hold.
pub use safetensors::Dtype;

use super::header::Header;
use super::{checksum, values};

/// The tensors of a safetensors file, in the order of their values.
#[derive(Clone, Debug)]
pub struct StoredTensors {
    /// The tensors.
    pub tensors: Vec<Stored>,
    /// The other metadata of the file, as text by key.
    pub metadata: BTreeMap<String, String>,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes are, counted from the start of the file.
    pub bytes: Range<u64>,
}

impl StoredTensors {
    /// Reads the header of a file of `length` bytes. Its checksum, which covers
    /// the values, is not compared. Errors name `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or the header is not sound or does not fit
    /// the length.
    pub fn read(mut file: &mut dyn Read, length: u64, path: &Path) -> Result<Self> {
        let (header, _) = Header::read(&mut file, length, path)?;
        let Header { mut metadata, tensors } = header;
        metadata.remove(checksum::KEY);
        let values: usize = tensors.iter().map(|(_, info)| info.data_offsets.1).max().unwrap_or(0);
        let start = length
            .checked_sub(values as u64)
            .ok_or_else(|| Error::file(path, "the values are longer than the file"))?;
        let describe = |(name, info): (String, safetensors::tensor::TensorInfo)| {
            let (first, last) = info.data_offsets;
            let bytes = start + first as u64..start + last as u64;
            Stored { name, dtype: info.dtype, shape: info.shape, bytes }
        };
        Ok(Self { tensors: tensors.into_iter().map(describe).collect(), metadata })
    }
}

/// A tensor of little-endian bytes in row-major order, as many as its shape
/// needs. Floats of 16 and 8 bits become `f32`.
///
/// # Errors
///
/// When the number of bytes is not that of the shape, when tensors do not have
/// such elements, and when a byte is no value of its type.
pub fn tensor_from_bytes(dtype: Dtype, shape: impl Into<Shape>, bytes: &[u8]) -> Result<AnyTensor> {
    values::from_bytes(dtype, shape.into(), bytes)
        .map_err(|message| Error::data("tensor_from_bytes", message))
}

/// The value of a half-precision float of these little-endian bytes.
pub fn f16_from_bytes(bytes: [u8; 2]) -> f32 {
    values::from_f16(bytes)
}
