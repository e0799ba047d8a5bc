//! Bytes of a file that are read on demand.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dendra_tensor::{Error, Result};

/// A part of a file, or of bytes in memory. Clones share the file.
///
/// Files are read, not memory-mapped: if another program truncates a mapped
/// file, the process is killed, while a read returns an error.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: Arc<Path>,
    bytes: Bytes,
    start: u64,
    length: u64,
}

#[derive(Clone, Debug)]
enum Bytes {
    File(Arc<Mutex<File>>),
    Memory(Arc<[u8]>),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(Error::file(path, "expected a file"));
        }
        let bytes = Bytes::File(Arc::new(Mutex::new(file)));
        Ok(Self { path: path.into(), bytes, start: 0, length: about.len() })
    }

    /// Bytes in memory, with a `path` for error messages.
    pub(crate) fn memory(path: &Path, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Self { path: path.into(), bytes: Bytes::Memory(bytes), start: 0, length }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// An error that names the file.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::file(&self.path, message)
    }

    /// A part of the source. Memory is allocated only for bytes that exist.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Result<Self> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length) {
            return Err(self.wrong(format!(
                "the file is truncated: expected {length} bytes at {offset}, the file ends at {}",
                self.length
            )));
        }
        Ok(Self { start: self.start + offset, length, ..self.clone() })
    }

    /// Reads the bytes at `offset`. If there are fewer, it returns an error
    /// without allocating memory.
    pub(crate) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let part = self.part(offset, length)?;
        let mut bytes = vec![0; length as usize];
        part.read_at(0, &mut bytes).map_err(|error| Error::io(&self.path, error))?;
        Ok(bytes)
    }

    /// Reads the bytes from the start, at most `most`.
    pub(crate) fn head(&self, most: u64) -> Result<Vec<u8>> {
        self.read(0, most.min(self.length))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.start + offset;
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let start = start as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                Ok(())
            }
            Bytes::File(file) => {
                // Each use starts with a seek, so a panic in between leaves a
                // usable file.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(buffer)
            }
        }
    }

    /// A buffered reader of all bytes.
    pub(crate) fn reader(&self) -> Reader {
        Reader { source: self.clone(), position: 0, buffer: Vec::new(), buffered: 0 }
    }
}

/// The number of bytes that a [`Reader`] buffers.
const BUFFER: u64 = 1 << 13;

/// Reads a [`Source`] sequentially or at any position.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    source: Source,
    position: u64,
    buffer: Vec<u8>,
    /// The offset of the buffer in the source.
    buffered: u64,
}

impl Reader {
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn skip(&mut self, bytes: u64) {
        self.position = self.position.saturating_add(bytes);
    }

    /// Reads the next `length` bytes. If there are fewer, it returns an error
    /// without allocating memory.
    pub(crate) fn exactly(&mut self, length: u64) -> Result<Vec<u8>> {
        self.source.part(self.position, length)?;
        let mut bytes = vec![0; length as usize];
        self.read_exact(&mut bytes).map_err(|error| Error::io(self.source.path(), error))?;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.source.part(self.position, N as u64)?;
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).map_err(|error| Error::io(self.source.path(), error))?;
        Ok(bytes)
    }

    /// Reads the bytes up to a newline and skips the newline.
    pub(crate) fn line(&mut self, most: u64) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() as u64 <= most {
            match self.array()? {
                [b'\n'] => return Ok(line),
                [byte] => line.push(byte),
            }
        }
        Err(self.wrong(format!("a line of more than {most} bytes")))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.source.length.saturating_sub(self.position)
    }

    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        self.source.wrong(message)
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = self.remaining().min(out.len() as u64);
        if wanted == 0 {
            return Ok(0);
        }
        let end = self.buffered + self.buffer.len() as u64;
        if !(self.buffered..end).contains(&self.position) {
            if wanted >= BUFFER {
                self.source.read_at(self.position, &mut out[..wanted as usize])?;
                self.position += wanted;
                return Ok(wanted as usize);
            }
            self.buffer.resize(self.remaining().min(BUFFER) as usize, 0);
            if let Err(error) = self.source.read_at(self.position, &mut self.buffer) {
                self.buffer.clear();
                return Err(error);
            }
            self.buffered = self.position;
        }
        let from = (self.position - self.buffered) as usize;
        let bytes = &self.buffer[from..];
        let count = bytes.len().min(wanted as usize);
        out[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.source.length.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The name of bytes without a file in error messages.
pub(crate) fn in_memory() -> PathBuf {
    PathBuf::from("bytes in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_parts_end_where_they_say() {
        let source = Source::memory(&in_memory(), (0..100).collect::<Vec<u8>>());
        let part = source.part(10, 20).unwrap().part(5, 10).unwrap();
        assert_eq!(part.read(1, 2).unwrap(), [16, 17]);
        for (offset, length) in [(9, 2), (11, 0), (u64::MAX, 2), (0, u64::MAX)] {
            let error = part.read(offset, length).unwrap_err().to_string();
            assert!(error.contains("the file ends at 10"), "{error}");
        }
        let mut reader = part.reader();
        reader.skip(8);
        assert_eq!(reader.exactly(2).unwrap(), [23, 24]);
        assert!(reader.exactly(1).is_err() && reader.line(9).is_err());
        reader.seek(SeekFrom::End(-10)).unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, (15..25).collect::<Vec<u8>>());
    }

    #[test]
    fn a_file_that_was_shortened_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100).unwrap();
        let source = Source::open(file.path()).unwrap();
        file.as_file().set_len(50).unwrap();
        assert_eq!(source.read(0, 50).unwrap(), [0; 50]);
        assert!(matches!(source.read(0, 51), Err(Error::Io { .. })));
    }
}
