//! IDX files, the format of MNIST: arrays of any rank, gzipped or not.
//!
//! A file starts with two zero bytes, the element type (8: unsigned bytes) and
//! the rank. Then follow the length of each axis as a big-endian 32-bit number,
//! and the big-endian elements, with the last axis varying fastest
//! (<https://yann.lecun.com/exdb/mnist/>, "The IDX file format").
//!
//! A file is not trusted: before memory is allocated, the sizes in the header
//! are checked against the most that a file of its size can contain, and never
//! more bytes are decompressed than the header states.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use dendra_tensor::{Number, Result, Shape, Tensor};

use crate::fault::Fault;
use crate::gzip::{self, GzipReader};

/// The largest size of an array in bytes, four times that of the largest common
/// data set.
const MOST_BYTES: u64 = 1 << 31;

/// Deflate cannot compress data by more than this factor
/// (<https://zlib.net/zlib_tech.html>).
pub(crate) const DEFLATE_FACTOR: u64 = 1032;

/// Reads an IDX file of unsigned bytes. Whether it is gzipped is detected from
/// its contents. [`read_idx_as`] reads the other element types.
///
/// # Errors
///
/// An [`Error`](dendra_tensor::Error) with the path, when the file cannot be
/// read or is not exactly one such array: it is neither IDX nor gzip, has
/// another element type, is truncated or invalid, or has fewer or more bytes
/// than its header states.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor<u8>> {
    open(path.as_ref(), read_bytes)
}

/// Reads an IDX file of any element type, gzipped or not, as numbers of type
/// `T`. The element types are signed and unsigned bytes, integers of 16 and 32
/// bits, and floats of 32 and 64 bits.
///
/// An integer type requires whole numbers in its range; a float type rounds.
///
/// # Errors
///
/// The errors of [`read_idx`], and when `T` cannot represent an element; the
/// error names the element.
pub fn read_idx_as<T: IdxElement>(path: impl AsRef<Path>) -> Result<Tensor<T>> {
    open(path.as_ref(), read_numbers)
}

/// Reads an IDX array in memory, gzipped or not, for example one that is
/// included in the program.
///
/// ```
/// let array = dendra_datasets::parse_idx(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9])?;
/// assert_eq!(array.to_vec(), [7, 9]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// The errors of [`read_idx`], without a path.
pub fn parse_idx(bytes: &[u8]) -> Result<Tensor<u8>> {
    read(bytes, bytes.len() as u64, read_bytes).map_err(|fault| fault.in_memory("parse_idx"))
}

/// Reads an IDX array in memory as numbers of type `T`, like [`read_idx_as`].
///
/// ```
/// // Two integers of 16 bits, 0x0102 and -1.
/// let bytes = [0, 0, 0x0b, 1, 0, 0, 0, 2, 1, 2, 0xff, 0xff];
/// let array = dendra_datasets::parse_idx_as::<i64>(&bytes)?;
/// assert_eq!(array.to_vec(), [258, -1]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// The errors of [`read_idx_as`], without a path.
pub fn parse_idx_as<T: IdxElement>(bytes: &[u8]) -> Result<Tensor<T>> {
    read(bytes, bytes.len() as u64, read_numbers).map_err(|fault| fault.in_memory("parse_idx_as"))
}

/// A number type for the elements of an IDX array.
pub trait IdxElement: Number + private::Sealed {
    /// Whether numbers that the type cannot represent are rounded.
    #[doc(hidden)]
    const ROUNDS: bool;
}

mod private {
    pub trait Sealed {}
}

macro_rules! idx_elements {
    ($($type:ident $rounds:literal),*) => {$(
        impl private::Sealed for $type {}
        impl IdxElement for $type {
            const ROUNDS: bool = $rounds;
        }
    )*};
}
idx_elements!(u8 false, i32 false, i64 false, f32 true, f64 true);

/// Reads the file at `path` with `array`, which gets the contents and their
/// largest possible number of bytes.
fn open<T>(path: &Path, array: impl FnOnce(&mut dyn Read, u64) -> Result<T, Fault>) -> Result<T> {
    let open = || {
        let file = File::open(path).map_err(Fault::Io)?;
        let size = file.metadata().map_err(Fault::Io)?.len();
        read(BufReader::with_capacity(1 << 16, file), size, array)
    };
    open().map_err(|fault| fault.at(path))
}

fn read<T>(
    mut file: impl BufRead,
    size: u64,
    array: impl FnOnce(&mut dyn Read, u64) -> Result<T, Fault>,
) -> Result<T, Fault> {
    match file.fill_buf()? {
        [] => Err("it is empty".to_string().into()),
        start if start.starts_with(&gzip::MAGIC) => {
            let most = size.saturating_mul(DEFLATE_FACTOR).min(MOST_BYTES);
            array(&mut GzipReader::new(file), most)
        }
        [0, ..] => array(&mut file, size.min(MOST_BYTES)),
        start => {
            let start = start[..start.len().min(16)].escape_ascii();
            Err(format!("it is neither an IDX nor a gzip file, it starts with \"{start}\"").into())
        }
    }
}

/// An element type of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        match code {
            0x08 => Some(Self::U8),
            0x09 => Some(Self::I8),
            0x0b => Some(Self::I16),
            0x0c => Some(Self::I32),
            0x0d => Some(Self::F32),
            0x0e => Some(Self::F64),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "unsigned bytes",
            Self::I8 => "signed bytes",
            Self::I16 => "16-bit integers",
            Self::I32 => "32-bit integers",
            Self::F32 => "32-bit floats",
            Self::F64 => "64-bit floats",
        }
    }

    /// The number of bytes of an element.
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The value of these bytes, which `f64` represents exactly.
    fn number(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Self::I8, &[a]) => f64::from(a as i8),
            (Self::I16, &[a, b]) => f64::from(i16::from_be_bytes([a, b])),
            (Self::I32, &[a, b, c, d]) => f64::from(i32::from_be_bytes([a, b, c, d])),
            (Self::F32, &[a, b, c, d]) => f64::from(f32::from_be_bytes([a, b, c, d])),
            (Self::F64, &[a, b, c, d, e, f, g, h]) => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
            (_, bytes) => f64::from(bytes[0]),
        }
    }
}

/// Reads a header: the element type, and the shape of an array whose elements
/// need at most `most` bytes.
fn header(bytes: &mut dyn Read, most: u64) -> Result<(Kind, Shape), Fault> {
    let mut magic = [0; 4];
    bytes.read_exact(&mut magic)?;
    let kind = match magic {
        [0, 0, code, 1..=255] => Kind::of(code),
        _ => None,
    };
    let (Some(kind), rank) = (kind, magic[3]) else {
        return Err(format!(
            "it has the magic number 0x{:08x}, expected that of an IDX file: 0x0000, the element \
             type (08 for unsigned bytes) and the rank",
            u32::from_be_bytes(magic)
        )
        .into());
    };
    let mut lengths = Vec::with_capacity(rank.into());
    for _ in 0..rank {
        let mut length = [0; 4];
        bytes.read_exact(&mut length)?;
        lengths.push(u32::from_be_bytes(length) as usize);
    }
    let shape = Shape::from(lengths);
    let size = shape.checked_elements().and_then(|count| count.checked_mul(kind.bytes()));
    if size.is_none_or(|size| size as u64 > most) {
        let name = if kind == Kind::U8 { "bytes" } else { kind.name() };
        let message =
            format!("its header states {shape} {name}, but it can contain at most {most} bytes");
        return Err(message.into());
    }
    Ok((kind, shape))
}

/// Reads an array of unsigned bytes, of which the file can contain at most
/// `most`.
fn read_bytes(bytes: &mut dyn Read, most: u64) -> Result<Tensor<u8>, Fault> {
    let (kind, shape) = header(bytes, most)?;
    if kind != Kind::U8 {
        let message = format!(
            "it contains {}, expected unsigned bytes; `read_idx_as` reads other types",
            kind.name()
        );
        return Err(message.into());
    }
    // Decompresses directly into the tensor: copying the array would double the
    // time and the memory.
    let mut filled = Ok(0);
    let array = Tensor::build(&shape, |out: &mut [u8]| filled = fill(bytes, out));
    match filled? {
        count if count < array.len() => {
            let message = format!("its header states {shape} bytes, but it contains {count}");
            Err(format!("it is truncated: {message}").into())
        }
        _ => at_end(bytes, &shape).map(|()| array),
    }
}

/// Reads an array of any element type, of which the file can contain at most
/// `most` bytes.
fn read_numbers<T: IdxElement>(bytes: &mut dyn Read, most: u64) -> Result<Tensor<T>, Fault> {
    /// How many elements are converted at once.
    const CHUNK: usize = 4096;

    let (kind, shape) = header(bytes, most)?;
    // Lengths before one of 0 may have a product that is too large.
    let count = shape.checked_elements().unwrap_or_default();
    // The vector grows with the contents of the file, not with the size in the
    // header.
    let mut numbers: Vec<T> = Vec::new();
    let mut raw = vec![0; CHUNK.min(count) * kind.bytes()];
    while numbers.len() < count {
        let raw = &mut raw[..CHUNK.min(count - numbers.len()) * kind.bytes()];
        let filled = fill(bytes, raw)?;
        if filled < raw.len() {
            let (name, held) = (kind.name(), numbers.len() + filled / kind.bytes());
            let message = format!("its header states {shape} {name}, but it contains {held}");
            return Err(format!("it is truncated: {message}").into());
        }
        for raw in raw.chunks_exact(kind.bytes()) {
            let number = kind.number(raw);
            let element = T::from_f64(number);
            if !T::ROUNDS && element.to_f64() != number {
                let message = format!("element {} is {number}, which is not a ", numbers.len());
                return Err((message + T::NAME).into());
            }
            numbers.push(element);
        }
    }
    at_end(bytes, &shape)?;
    Tensor::from_vec(numbers, shape).map_err(|error| error.to_string().into())
}

/// Returns an error for a file with data after its array.
fn at_end(bytes: &mut dyn Read, shape: &Shape) -> Result<(), Fault> {
    match bytes.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(format!("it has data after the {shape} elements that its header states").into()),
    }
}

/// Fills `out`, and returns the number of bytes read, which is smaller at the
/// end of the file.
fn fill(bytes: &mut dyn Read, out: &mut [u8]) -> Result<usize, Fault> {
    let mut filled = 0;
    while filled < out.len() {
        match bytes.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
