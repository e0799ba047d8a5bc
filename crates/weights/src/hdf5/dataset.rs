//! Datasets: the positions of their values.

use std::sync::Arc;

use dendra_nn::Dtype;
use dendra_tensor::{AnyTensor, Result, Shape};

use super::chunks::{Chunks, Index};
use super::filters::Filter;
use super::object::{DATASPACE, DATATYPE, FILTERS, LAYOUT, Message};
use super::{File, NOWHERE, datatype};
use crate::source::Source;
use crate::values::{Plain, Values, bytes_of, decode, elements, shape_of, swap};

/// A dataset of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    pub(crate) shape: Shape,
    pub(crate) dtype: Dtype,
    pub(crate) values: Arc<dyn Values>,
}

impl File<'_> {
    /// A dataset, if its elements are numbers. `path` is for error messages.
    pub(super) fn dataset(&self, messages: &[Message], path: &str) -> Result<Option<Dataset>> {
        let find = |kind| messages.iter().find(|message| message.kind == kind);
        let wrong = |message: &str| self.wrong(format!("dataset {path:?}: {message}"));
        let (Some(space), Some(kind), Some(layout)) =
            (find(DATASPACE), find(DATATYPE), find(LAYOUT))
        else {
            return Err(wrong("its description is incomplete"));
        };
        if kind.shared {
            return Err(wrong("named types are not supported"));
        }
        let number = datatype::number(&mut self.fields(&kind.bytes, "datatype"))?;
        let (Some((dtype, big_endian)), Some(sizes)) = (number, self.dataspace(&space.bytes)?)
        else {
            return Ok(None);
        };
        let shape = shape_of(self.source, &sizes)?;
        let length = bytes_of(elements(self.source, &shape)?, dtype);
        let plain = |source: &Source, offset: u64| -> Result<Arc<dyn Values>> {
            let plain = Plain::new(source, offset, dtype, shape.clone())?;
            Ok(Arc::new(plain.big_endian(big_endian)))
        };
        let mut fields = self.fields(&layout.bytes, "layout");
        let version = fields.number(1)?;
        if !(3..=5).contains(&version) {
            return Err(wrong(&format!("layout {version} is not supported")));
        }
        let values = match fields.number(1)? {
            // In the object header itself.
            0 => {
                let length = fields.number(2)? as usize;
                let bytes = fields.take(length)?;
                plain(&Source::memory(self.source.path(), bytes), 0)?
            }
            1 => match fields.number(8)? {
                _ if length == 0 => plain(&self.source.part(0, 0)?, 0)?,
                NOWHERE => return Err(wrong("its values were never written")),
                address => plain(self.source, address.saturating_add(self.base))?,
            },
            2 => {
                let index = match version {
                    3 => Index::tree(&mut fields, shape.len())?,
                    _ => Index::newer(&mut fields, shape.len())?,
                };
                let filters = match find(FILTERS) {
                    Some(message) => Filter::all(&mut self.fields(&message.bytes, "filters"))?,
                    None => Vec::new(),
                };
                let sizes = shape.to_vec();
                let source = self.source.clone();
                let chunks = Chunks::new(source, self.base, index, filters, sizes, dtype)?;
                Arc::new(Chunked { chunks, shape: shape.clone(), dtype, big_endian })
            }
            other => return Err(wrong(&format!("a layout of class {other} is not supported"))),
        };
        Ok(Some(Dataset { shape, dtype, values }))
    }
}

/// Values in chunks.
#[derive(Debug)]
struct Chunked {
    chunks: Chunks,
    shape: Shape,
    dtype: Dtype,
    big_endian: bool,
}

impl Values for Chunked {
    fn read(&self) -> Result<AnyTensor> {
        let mut bytes = self.chunks.read()?;
        if self.big_endian {
            swap(&mut bytes, self.dtype);
        }
        decode(self.chunks.source(), self.dtype, self.shape.clone(), &bytes)
    }
}
