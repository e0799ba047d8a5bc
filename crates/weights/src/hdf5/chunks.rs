//! Values that are stored in chunks of equal shape.

use std::collections::HashSet;

use dendra_nn::Dtype;
use dendra_tensor::{Error, Result};

use super::NOWHERE;
use super::fields::Fields;
use super::filters::Filter;
use crate::source::Source;
use crate::values::bytes_of;

/// The largest number of bytes to which one byte of a chunk can expand.
const MOST_GROWTH: u64 = 1032;

/// How the chunks are listed.
#[derive(Debug)]
pub(super) struct Index {
    kind: Kind,
    /// The shape of a chunk.
    shape: Vec<u64>,
}

#[derive(Debug)]
enum Kind {
    /// A B-tree of version 1 at this address.
    Tree(u64),
    /// A single chunk, with its length if it is filtered.
    Single(u64, Option<u64>),
    /// All chunks, one after the other.
    Implicit(u64),
    /// A list of addresses.
    FixedArray(u64),
}

impl Index {
    /// The index of a layout of version 3, after its class.
    pub(super) fn tree(fields: &mut Fields<'_>, rank: usize) -> Result<Self> {
        let axes = fields.number(1)? as usize;
        let address = fields.number(8)?;
        let shape = chunk_shape(fields, axes, rank, 4)?;
        Ok(Self { kind: Kind::Tree(address), shape })
    }

    /// The index of a layout of version 4 or 5, after its class.
    pub(super) fn newer(fields: &mut Fields<'_>, rank: usize) -> Result<Self> {
        let (flags, axes) = (fields.number(1)?, fields.number(1)? as usize);
        let width = fields.number(1)? as usize;
        if !(1..=8).contains(&width) {
            return Err(fields.wrong("the lengths of chunks are invalid"));
        }
        let shape = chunk_shape(fields, axes, rank, width)?;
        let kind = match fields.number(1)? {
            1 => {
                let filtered = flags & 2 != 0;
                let length = filtered.then(|| fields.number(8)).transpose()?;
                fields.skip(if filtered { 4 } else { 0 })?;
                Kind::Single(fields.number(8)?, length)
            }
            2 => Kind::Implicit(fields.number(8)?),
            3 => {
                fields.skip(1)?;
                Kind::FixedArray(fields.number(8)?)
            }
            _ => {
                return Err(fields.wrong(
                    "chunks of a dataset that can grow are not supported in this version of the \
                     format; write it with h5py's default `libver`",
                ));
            }
        };
        Ok(Self { kind, shape })
    }
}

/// The shape of a chunk, which is followed by the length of an element.
fn chunk_shape(
    fields: &mut Fields<'_>,
    axes: usize,
    rank: usize,
    width: usize,
) -> Result<Vec<u64>> {
    if axes != rank + 1 {
        return Err(fields.wrong(format!("chunks of {axes} axes in a dataset of {rank}")));
    }
    let shape = fields.numbers(rank, width)?;
    fields.skip(width)?;
    if shape.contains(&0) {
        return Err(fields.wrong("a chunk has no elements"));
    }
    Ok(shape)
}

/// A chunk in the file.
struct Chunk {
    /// The indices of the first element.
    start: Vec<u64>,
    address: u64,
    length: u64,
    /// Bits of the filters that were skipped.
    mask: u64,
}

/// The chunks of a dataset.
#[derive(Debug)]
pub(super) struct Chunks {
    source: Source,
    base: u64,
    index: Index,
    filters: Vec<Filter>,
    shape: Vec<u64>,
    dtype: Dtype,
    /// The length of a chunk in bytes.
    chunk: u64,
}

impl Chunks {
    pub(super) fn new(
        source: Source,
        base: u64,
        index: Index,
        filters: Vec<Filter>,
        shape: Vec<usize>,
        dtype: Dtype,
    ) -> Result<Self> {
        let shape = shape.into_iter().map(|size| size as u64).collect();
        let size = bytes_of(1, dtype);
        let chunk = index.shape.iter().try_fold(size, |all, &size| all.checked_mul(size));
        match chunk.filter(|&chunk| chunk <= 1 << 32) {
            Some(chunk) => Ok(Self { source, base, index, filters, shape, dtype, chunk }),
            None => Err(source.wrong("HDF5: a chunk is longer than 4 GiB")),
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn wrong(&self, message: &str) -> Error {
        self.source.wrong(format!("HDF5, chunks: {message}"))
    }

    fn bytes(&self, address: u64, length: u64) -> Result<Vec<u8>> {
        self.source.read(address.saturating_add(self.base), length)
    }

    fn block(&self, address: u64, letters: &[u8; 4], length: u64) -> Result<Vec<u8>> {
        let bytes = self.bytes(address, length)?;
        match bytes.strip_prefix(letters) {
            Some(rest) => Ok(rest.to_vec()),
            None => Err(self.wrong("an index is invalid")),
        }
    }

    /// The number of chunks along each axis.
    fn grid(&self) -> Vec<u64> {
        self.shape
            .iter()
            .zip(&self.index.shape)
            .map(|(size, chunk)| size.div_ceil(*chunk))
            .collect()
    }

    /// The bytes of all values, in row-major order.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        let needed = self.shape.iter().product::<u64>() * bytes_of(1, self.dtype);
        if needed == 0 {
            return Ok(Vec::new());
        }
        let chunks = self.chunks()?;
        let grid = self.grid();
        let mut seen = HashSet::new();
        let mut stored: u64 = 0;
        for chunk in &chunks {
            let on_grid = chunk.start.iter().zip(&self.index.shape).zip(&self.shape);
            let on_grid = { on_grid }.all(|((at, step), size)| at % step == 0 && at < size);
            if !on_grid || !seen.insert(&chunk.start) {
                return Err(self.wrong("a chunk is outside the dataset, or occurs twice"));
            }
            stored = stored.saturating_add(chunk.length);
        }
        // Missing chunks would have a fill value, which weights do not use.
        if chunks.len() as u64 != grid.iter().product::<u64>() {
            return Err(self.wrong("some chunks were never written"));
        }
        if needed > stored.saturating_mul(MOST_GROWTH) {
            return Err(self.wrong("the chunks are too short for the values"));
        }
        let mut out = vec![0; needed as usize];
        for chunk in &chunks {
            let bytes = self.unfiltered(chunk)?;
            self.copy(chunk, &bytes, &mut out);
        }
        Ok(out)
    }

    fn unfiltered(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        if self.chunk > chunk.length.saturating_mul(MOST_GROWTH) {
            return Err(self.wrong("a chunk is too short"));
        }
        let mut bytes = self.bytes(chunk.address, chunk.length)?;
        let size = bytes_of(1, self.dtype) as usize;
        for (i, filter) in self.filters.iter().enumerate().rev() {
            if chunk.mask >> i & 1 == 0 {
                let undone = filter.undo(bytes, self.chunk as usize, size);
                bytes = undone.ok_or_else(|| self.wrong("a chunk cannot be decompressed"))?;
            }
        }
        match bytes.len() as u64 == self.chunk {
            true => Ok(bytes),
            false => Err(self.wrong("the length of a chunk does not match its shape")),
        }
    }

    /// Copies the rows of a chunk to their position in the dataset. At the
    /// edges, a chunk extends beyond the dataset.
    fn copy(&self, chunk: &Chunk, bytes: &[u8], out: &mut [u8]) {
        let size = bytes_of(1, self.dtype) as usize;
        let Some((&row, outer)) = self.index.shape.split_last() else {
            return out.copy_from_slice(bytes);
        };
        let last = outer.len();
        let inside = row.min(self.shape[last] - chunk.start[last]) as usize * size;
        let mut at = vec![0_u64; last];
        for row in bytes.chunks_exact(row as usize * size) {
            let indices = at.iter().zip(&chunk.start).map(|(at, start)| at + start);
            let indices: Vec<u64> = indices.collect();
            if indices.iter().zip(&self.shape).all(|(index, size)| index < size) {
                let row_at = indices.iter().zip(&self.shape).fold(0, |all, (i, n)| all * n + i);
                let first = (row_at * self.shape[last] + chunk.start[last]) as usize * size;
                out[first..first + inside].copy_from_slice(&row[..inside]);
            }
            for (at, &size) in at.iter_mut().zip(outer).rev() {
                *at += 1;
                if *at < size {
                    break;
                }
                *at = 0;
            }
        }
    }

    /// All chunks that the index lists.
    fn chunks(&self) -> Result<Vec<Chunk>> {
        let rank = self.shape.len();
        match self.index.kind {
            Kind::Tree(NOWHERE)
            | Kind::Single(NOWHERE, _)
            | Kind::Implicit(NOWHERE)
            | Kind::FixedArray(NOWHERE) => Err(self.wrong("the chunks were never written")),
            Kind::Tree(address) => {
                let (mut chunks, mut visited) = (Vec::new(), HashSet::new());
                self.tree(address, None, &mut visited, &mut chunks)?;
                Ok(chunks)
            }
            Kind::Single(address, length) => {
                let length = length.unwrap_or(self.chunk);
                Ok(vec![Chunk { start: vec![0; rank], address, length, mask: 0 }])
            }
            Kind::Implicit(address) => self.numbered(|number| {
                let offset = number.saturating_mul(self.chunk);
                Ok((address.saturating_add(offset), self.chunk, 0))
            }),
            Kind::FixedArray(address) => self.fixed_array(address),
        }
    }

    /// The chunks in row-major order. `find` returns the address, the length
    /// and the mask of each.
    fn numbered(&self, mut find: impl FnMut(u64) -> Result<(u64, u64, u64)>) -> Result<Vec<Chunk>> {
        let grid = self.grid();
        let count: u64 = grid.iter().product();
        if count > self.source.length() {
            return Err(self.wrong("there are more chunks than the file can contain"));
        }
        let mut chunks = Vec::new();
        for number in 0..count {
            let (address, length, mask) = find(number)?;
            let mut start = vec![0; grid.len()];
            let mut rest = number;
            for ((start, count), step) in start.iter_mut().zip(&grid).zip(&self.index.shape).rev() {
                *start = rest % count * step;
                rest /= count;
            }
            chunks.push(Chunk { start, address, length, mask });
        }
        Ok(chunks)
    }

    fn fixed_array(&self, address: u64) -> Result<Vec<Chunk>> {
        let head = self.block(address, b"FAHD", 24)?;
        let mut fields = Fields::new(&self.source, &head, "fixed array");
        fields.skip(2)?;
        let (entry, page) = (fields.number(1)?, fields.number(1)?);
        let (count, block) = (fields.number(8)?, fields.number(8)?);
        // A longer list would be split into pages.
        if page >= 32 || count > 1 << page || !(8..=20).contains(&entry) {
            return Err(self.wrong(&format!("{count} in one list are too many")));
        }
        let block = self.block(block, b"FADB", 14 + count * entry)?;
        let mut fields = Fields::new(&self.source, &block[10..], "fixed array");
        self.numbered(|_| {
            let address = fields.number(8)?;
            Ok(match entry {
                8 => (address, self.chunk, 0),
                _ => {
                    let length = fields.number(entry.saturating_sub(12) as usize)?;
                    (address, length, fields.number(4)?)
                }
            })
        })
    }

    /// The chunks of a B-tree of version 1. The level decreases from node to
    /// node.
    fn tree(
        &self,
        address: u64,
        below: Option<u64>,
        visited: &mut HashSet<u64>,
        chunks: &mut Vec<Chunk>,
    ) -> Result<()> {
        if !visited.insert(address) {
            return Err(self.wrong("the index refers to itself"));
        }
        let head = self.block(address, b"TREE", 24)?;
        let mut fields = Fields::new(&self.source, &head, "B-tree");
        let (kind, level, count) = (fields.number(1)?, fields.number(1)?, fields.number(2)?);
        if kind != 1 || below.is_some_and(|below| level >= below) {
            return Err(self.wrong("an index is invalid"));
        }
        let rank = self.shape.len();
        let bytes = self.bytes(address + 24, count * (8 + 8 * (rank as u64 + 1) + 8))?;
        let mut fields = Fields::new(&self.source, &bytes, "B-tree");
        for _ in 0..count {
            let (length, mask) = (fields.number(4)?, fields.number(4)?);
            let start = fields.numbers(rank, 8)?;
            fields.skip(8)?;
            let address = fields.number(8)?;
            match level {
                0 => chunks.push(Chunk { start, address, length, mask }),
                _ => self.tree(address, Some(level), visited, chunks)?,
            }
        }
        Ok(())
    }
}
