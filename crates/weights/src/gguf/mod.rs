//! GGUF, the format of llama.cpp:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod metadata;
mod quantised;

use dendra_nn::Dtype;
use dendra_tensor::{AnyTensor, Result, Shape, Tensor};

use crate::open::Contents;
use crate::source::{Reader, Source};
use crate::values::{Plain, Values, elements, shape_of};
use crate::weights::{Format, Weight, spelled};
use quantised::Kind;

/// The fewest bytes that describe a tensor or an entry of the metadata.
const LEAST_ENTRY: u64 = 12;

pub(crate) fn read(source: &Source) -> Result<Contents> {
    let reader = &mut source.reader();
    reader.skip(4);
    match reader.u32()? {
        2 | 3 => {}
        1 => return Err(source.wrong("GGUF: version 1 is not supported, only 2 and 3")),
        other if other.swap_bytes() <= 3 => {
            return Err(source.wrong("GGUF: a big-endian file, which is not supported"));
        }
        other => return Err(source.wrong(format!("GGUF: version {other} is unknown"))),
    }
    let (tensors, entries) = (count(reader, "tensors")?, count(reader, "entries")?);
    let metadata = metadata::read(reader, entries)?;
    let described: Vec<Described> =
        (0..tensors).map(|_| describe(reader)).collect::<Result<_>>()?;
    let alignment = match metadata.get("general.alignment").map(|value| value.as_u64()) {
        None => 32,
        Some(Some(alignment)) if alignment.is_power_of_two() => alignment,
        Some(_) => return Err(source.wrong("GGUF: general.alignment is not a power of two")),
    };
    let start = reader.position().checked_next_multiple_of(alignment);
    let start = start.ok_or_else(|| source.wrong("GGUF: general.alignment is too large"))?;
    let weights = described.into_iter().map(|tensor| tensor.weight(source, start));
    Ok(Contents { format: Format::Gguf, weights: weights.collect::<Result<_>>()?, metadata })
}

/// Reads the number of items that follow, each of which takes some bytes.
fn count(reader: &mut Reader, what: &str) -> Result<u64> {
    let count = reader.u64()?;
    if count > reader.remaining() / LEAST_ENTRY {
        return Err(reader.wrong(format!("GGUF: {count} {what} do not fit into the file")));
    }
    Ok(count)
}

fn text(reader: &mut Reader) -> Result<String> {
    let length = reader.u64()?;
    let bytes = reader.exactly(length)?;
    String::from_utf8(bytes).map_err(|_| reader.wrong("GGUF: a text is not UTF-8"))
}

/// The description of a tensor in the header.
struct Described {
    name: String,
    /// The axis lengths, innermost first.
    sizes: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn describe(reader: &mut Reader) -> Result<Described> {
    let name = text(reader)?;
    let rank = reader.u32()?;
    // The format allows 4.
    if rank > 8 {
        return Err(reader.wrong(format!("GGUF: tensor {name:?} has {rank} axes")));
    }
    let sizes = (0..rank).map(|_| reader.u64()).collect::<Result<_>>()?;
    Ok(Described { name, sizes, kind: reader.u32()?, offset: reader.u64()? })
}

impl Described {
    fn weight(mut self, source: &Source, start: u64) -> Result<Weight> {
        self.sizes.reverse();
        let wrong = |message| source.wrong(format!("tensor {:?}: {message}", self.name));
        let shape = shape_of(source, &self.sizes)?;
        let offset = start
            .checked_add(self.offset)
            .ok_or_else(|| wrong("its offset is too large".to_owned()))?;
        if let Some(dtype) = plain(self.kind) {
            let values = Plain::new(source, offset, dtype, shape.clone())?;
            return Ok(Weight::new(self.name, shape, spelled(dtype), values));
        }
        let Some(kind) = quantised::of_number(self.kind) else {
            return Err(wrong(format!("the element type {} is unknown", self.kind)));
        };
        if shape.last().is_none_or(|&row| row % kind.elements != 0) {
            let message = format!(
                "rows of shape {shape} are not a multiple of the {} elements of a block of {}",
                kind.elements, kind.name
            );
            return Err(wrong(message));
        }
        let blocks = (elements(source, &shape)? / kind.elements) as u64;
        let values = source.part(offset, blocks * kind.bytes as u64)?;
        let values = Quantised { source: values, kind, shape: shape.clone() };
        Ok(Weight::new(self.name, shape, kind.name, values))
    }
}

/// The element types that are plain numbers.
fn plain(kind: u32) -> Option<Dtype> {
    Some(match kind {
        0 => Dtype::F32,
        1 => Dtype::F16,
        24 => Dtype::I8,
        25 => Dtype::I16,
        26 => Dtype::I32,
        27 => Dtype::I64,
        28 => Dtype::F64,
        30 => Dtype::BF16,
        _ => return None,
    })
}

/// Blocks of elements that share scales.
#[derive(Debug)]
struct Quantised {
    source: Source,
    kind: &'static Kind,
    shape: Shape,
}

/// The number of blocks that are read at once.
const BLOCKS: usize = 1 << 12;

impl Values for Quantised {
    fn read(&self) -> Result<AnyTensor> {
        let Some(dequantise) = self.kind.dequantise else {
            let message = format!(
                "elements of type {} cannot be dequantised; llama.cpp's `llama-quantize \
                 --allow-requantize` makes Q8_0 of them",
                self.kind.name
            );
            return Err(self.source.wrong(message));
        };
        let mut values = vec![0.0; self.shape.elements()];
        let (mut offset, step) = (0, self.kind.elements * BLOCKS);
        for values in values.chunks_mut(step) {
            let length = values.len() / self.kind.elements * self.kind.bytes;
            let bytes = self.source.read(offset, length as u64)?;
            offset += length as u64;
            let blocks = bytes.chunks_exact(self.kind.bytes);
            for (block, values) in blocks.zip(values.chunks_exact_mut(self.kind.elements)) {
                dequantise(block, values);
            }
        }
        Ok(Tensor::from_vec(values, self.shape.clone())?.into())
    }
}
