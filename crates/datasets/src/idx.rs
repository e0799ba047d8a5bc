//! IDX files, the format of MNIST and its relatives: byte arrays of any rank,
//! gzipped or not.
//!
//! A file starts with two zero bytes, the element type (8: unsigned bytes) and
//! the rank, then holds each extent as a big-endian 32-bit number and the
//! elements, the last axis fastest
//! (<https://yann.lecun.com/exdb/mnist/>, "The IDX file format").
//!
//! A file is not trusted: what it announces is checked against what a file of
//! its size can hold before anything is allocated, and no more than the
//! announced bytes are ever decompressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use dendra_tensor::{Result, Shape, Tensor};
use flate2::bufread::MultiGzDecoder;

use crate::fault::Fault;

/// The most bytes an array may hold, four times the largest common set.
const MOST_BYTES: u64 = 1 << 31;

/// Deflate cannot shrink data further than by this factor
/// (<https://zlib.net/zlib_tech.html>).
pub(crate) const DEFLATE_FACTOR: u64 = 1032;

/// Reads an IDX file of unsigned bytes, gzipped or not: the contents tell, not
/// the name.
///
/// # Errors
///
/// An [`Error`](dendra_tensor::Error) with the path, when the file cannot be read or is not exactly
/// one such array: not IDX and not gzip, of another element type, truncated,
/// damaged, announcing more than it holds or holding more than it announces.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor<u8>> {
    let path = path.as_ref();
    let array = File::open(path).map_err(Fault::Io).and_then(|file| {
        let size = file.metadata().map_err(Fault::Io)?.len();
        read(BufReader::with_capacity(1 << 16, file), size)
    });
    array.map_err(|fault| fault.at(path))
}

/// Reads an IDX array that is in memory, gzipped or not: one that a program
/// includes, say.
///
/// ```
/// let array = dendra_datasets::parse_idx(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9])?;
/// assert_eq!(array.to_vec(), [7, 9]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// As [`read_idx`], without a path.
pub fn parse_idx(bytes: &[u8]) -> Result<Tensor<u8>> {
    read(bytes, bytes.len() as u64).map_err(|fault| fault.in_memory("parse_idx"))
}

fn read(mut file: impl BufRead, size: u64) -> Result<Tensor<u8>, Fault> {
    match file.fill_buf()? {
        [] => Err("it is empty".to_string().into()),
        [0x1f, 0x8b, ..] => {
            let most = size.saturating_mul(DEFLATE_FACTOR).min(MOST_BYTES);
            read_array(MultiGzDecoder::new(file), most)
        }
        [0, ..] => read_array(file, size.min(MOST_BYTES)),
        start => {
            let start = start[..start.len().min(16)].escape_ascii();
            Err(format!("it is neither an IDX nor a gzip file, it starts with \"{start}\"").into())
        }
    }
}

/// Reads a header and its array, of which the file can hold `most` bytes.
fn read_array(mut bytes: impl Read, most: u64) -> Result<Tensor<u8>, Fault> {
    let mut magic = [0; 4];
    bytes.read_exact(&mut magic)?;
    let rank = match magic {
        [0, 0, 8, rank @ 1..=255] => rank,
        [0, 0, kind, 1..=255] => {
            let kind = match kind {
                0x09 => "signed bytes",
                0x0b => "16-bit integers",
                0x0c => "32-bit integers",
                0x0d => "32-bit floats",
                0x0e => "64-bit floats",
                _ => "an unknown element type",
            };
            return Err(format!("it holds {kind}, expected an IDX file of unsigned bytes").into());
        }
        _ => {
            return Err(format!(
                "it has the magic number 0x{:08x}, expected that of an IDX file of unsigned bytes, \
                 0x000008 and the rank",
                u32::from_be_bytes(magic)
            )
            .into());
        }
    };
    let mut extents = Vec::with_capacity(rank.into());
    for _ in 0..rank {
        let mut extent = [0; 4];
        bytes.read_exact(&mut extent)?;
        extents.push(u32::from_be_bytes(extent) as usize);
    }
    let shape = Shape::from(extents);
    let announced = shape.checked_elements().filter(|&elements| elements as u64 <= most);
    if announced.is_none() {
        let message = format!("its header announces {shape} bytes, it can hold {most} at most");
        return Err(message.into());
    }

    // Decompressed where it stays: a copy of the array would double the time
    // and the memory of a start.
    let mut filled = Ok(());
    let array = Tensor::build(&shape, |out: &mut [u8]| filled = fill(&mut bytes, out, &shape));
    filled?;
    match bytes.read(&mut [0])? {
        0 => Ok(array),
        _ => Err(format!("it goes on after the {shape} bytes its header announces").into()),
    }
}

/// Fills `out`, the elements of `shape`.
fn fill(bytes: &mut impl Read, out: &mut [u8], shape: &Shape) -> Result<(), Fault> {
    let mut filled = 0;
    while filled < out.len() {
        match bytes.read(&mut out[filled..]) {
            Ok(0) => {
                return Err(format!(
                    "it is truncated: its header announces {shape} bytes, it holds {filled}"
                )
                .into());
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
