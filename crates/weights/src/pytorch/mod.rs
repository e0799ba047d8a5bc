//! The files of `torch.save`: a pickle of the state dict, in which a tensor
//! names a storage, and the bytes of the storages.
//!
//! The formats are defined by `torch/serialization.py` and by the caffe2
//! serializer in PyTorch's sources.

mod arena;
mod globals;
mod legacy;
mod pickle;
mod tensors;

use std::collections::BTreeMap;

use dendra_nn::Dtype;
use dendra_tensor::{Result, Shape};

use crate::archive::Archive;
use crate::open::Contents;
use crate::source::Source;
use crate::values::{Plain, bytes_of, shape_of};
use crate::weights::{Format, Weight, spelled};
use arena::Tensor;
pub(crate) use legacy::{begins_legacy, read_legacy};

/// Access to the bytes of storages.
trait Storages {
    /// The bytes of the storage with this key.
    fn bytes(&self, key: &str) -> Result<Source>;
}

/// The tensors of a state dict, with the numbers and strings next to it.
fn contents(
    source: &Source,
    pickled: &pickle::Pickled,
    storages: &dyn Storages,
    big_endian: bool,
) -> Result<Contents> {
    let found = tensors::collect(pickled).map_err(|message| source.wrong(message))?;
    let mut weights = Vec::with_capacity(found.tensors.len());
    // A storage that several tensors share is looked up once.
    let mut known: BTreeMap<&str, Source> = BTreeMap::new();
    for (name, tensor) in found.tensors {
        let wrong = |message: String| source.wrong(format!("tensor {name:?}: {message}"));
        let storage = &pickled.arena.storages[tensor.storage as usize];
        let bytes = match known.get(storage.key.as_str()) {
            Some(bytes) => bytes.clone(),
            None => storages.bytes(&storage.key)?,
        };
        known.entry(&storage.key).or_insert_with(|| bytes.clone());
        let dtype = tensor.dtype.or(storage.dtype);
        let dtype = dtype.ok_or_else(|| wrong("its element type is missing".into()))?;
        let Described { shape, strides, offset } = describe(source, tensor, dtype)?;
        let offset = offset.checked_add(storage.offset.saturating_mul(bytes_of(1, dtype)));
        let offset = offset.ok_or_else(|| wrong("its offset is too large".to_owned()))?;
        let values = Plain::strided(&bytes, offset, dtype, shape.clone(), &strides)?;
        let values = values.big_endian(big_endian);
        let mut weight = Weight::new(name, shape, spelled(dtype), values);
        weight.shared = Some((storage.key.clone(), offset));
        weights.push(weight);
    }
    Ok(Contents { format: Format::PyTorch, weights, metadata: found.others })
}

struct Described {
    shape: Shape,
    strides: Vec<usize>,
    /// The offset in bytes.
    offset: u64,
}

fn describe(source: &Source, tensor: &Tensor, dtype: Dtype) -> Result<Described> {
    let wrong = || source.wrong("a tensor has a negative size, stride or offset");
    let natural = |&number: &i64| u64::try_from(number).map_err(|_| wrong());
    let sizes = tensor.sizes.iter().map(natural).collect::<Result<Vec<u64>>>()?;
    let strides = tensor.strides.iter().map(|&n| usize::try_from(n).map_err(|_| wrong()));
    let offset = natural(&tensor.offset)?;
    let offset = offset.checked_mul(bytes_of(1, dtype)).ok_or_else(wrong)?;
    Ok(Described {
        shape: shape_of(source, &sizes)?,
        strides: strides.collect::<Result<_>>()?,
        offset,
    })
}

/// Reads a zip archive with a folder that contains the pickle `data.pkl` and a
/// file for each storage in `data/`.
pub(crate) fn read_zip(source: &Source, archive: &Archive) -> Result<Contents> {
    let pickle = archive.names().filter(|name| name.ends_with("data.pkl"));
    let pickle = pickle.min_by_key(|name| name.len()).unwrap_or("data.pkl").to_owned();
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
    let order = format!("{folder}byteorder");
    let big_endian = archive.has(&order) && archive.head(&order, 8)?.starts_with(b"big");
    let pickled = pickle::read(&mut archive.whole(&pickle)?.reader())?;
    let storages = Members { archive, folder };
    contents(source, &pickled, &storages, big_endian)
}

struct Members<'a> {
    archive: &'a Archive,
    folder: &'a str,
}

impl Storages for Members<'_> {
    fn bytes(&self, key: &str) -> Result<Source> {
        // PyTorch does not compress storages. For archives that other tools
        // compressed, opening takes the memory of the values.
        self.archive.whole(&format!("{}data/{key}", self.folder))
    }
}
