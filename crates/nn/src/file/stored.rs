//! The contents of a safetensors file without the values, for readers that read
//! one tensor at a time.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use dendra_autograd::AnyTensor;
use dendra_tensor::{Error, Result, Shape};
/// An element type of tensors in files.
pub use safetensors::Dtype;

use super::header::Header;
use super::{checksum, values};

/// The tensors of a safetensors file, in the order of their values.
#[derive(Clone, Debug)]
pub struct StoredTensors {
    /// The tensors.
    pub tensors: Vec<Stored>,
    /// The other metadata of the file: texts by key.
    pub metadata: BTreeMap<String, String>,
}

/// A tensor in a file, without its values.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The range of its bytes, as offsets from the start of the file.
    pub bytes: Range<u64>,
}

impl StoredTensors {
    /// Reads the header of a file of `length` bytes. The checksum is not
    /// verified, since it covers the values. Errors contain `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if the header is invalid
    /// or does not match the length of the file.
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

/// Creates a tensor from little-endian bytes in row-major order. Floats of 8
/// bits are converted to `f32`.
///
/// # Errors
///
/// Returns an error if the number of bytes does not match the shape, the element
/// type is not supported, or a byte is not a valid value of the type.
pub fn tensor_from_bytes(dtype: Dtype, shape: impl Into<Shape>, bytes: &[u8]) -> Result<AnyTensor> {
    values::from_bytes(dtype, shape.into(), bytes)
        .map_err(|message| Error::data("tensor_from_bytes", message))
}
