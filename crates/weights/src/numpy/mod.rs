//! NumPy's arrays: `.npy`, and `.npz`, a zip archive of them.
//!
//! The format is that of NEP 1,
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

mod header;
mod write;

use std::collections::BTreeMap;

use dendra_tensor::{AnyTensor, Result};

use crate::archive::Archive;
use crate::open::Contents;
use crate::source::Source;
use crate::values::{Plain, Values};
use crate::weights::{Format, Weight, spelled};
use header::Header;
pub use write::write_npz;

/// The first bytes of an `.npy` file.
pub(crate) const SIGNATURE: &[u8] = b"\x93NUMPY";

/// The largest length of an array header, in bytes.
const MOST_HEADER: u64 = 1 << 16;

/// Reads a single array, which gets the name of its file.
pub(crate) fn read_npy(source: &Source) -> Result<Contents> {
    let stem = source.path().file_stem().unwrap_or_default().to_string_lossy();
    let weight = array(&stem, source)?;
    Ok(Contents { format: Format::NumPy, weights: vec![weight], metadata: BTreeMap::new() })
}

fn array(name: &str, source: &Source) -> Result<Weight> {
    let header = Header::parse(&source.head(MOST_HEADER)?, source)?;
    let values = header.values(source)?;
    Ok(Weight::new(name, header.shape, spelled(header.dtype), values))
}

pub(crate) fn read_npz(source: &Source, archive: &Archive) -> Result<Contents> {
    let mut weights = Vec::new();
    for member in archive.names() {
        let Some(name) = member.strip_suffix(".npy") else { continue };
        if let Some(stored) = archive.stored(member)? {
            weights.push(array(name, &stored)?);
            continue;
        }
        let header = Header::parse(&archive.head(member, MOST_HEADER)?, source)?;
        header.check_length(archive.length(member)?, source)?;
        let values = Packed { archive: archive.clone(), member: member.to_owned() };
        weights.push(Weight::new(name, header.shape, spelled(header.dtype), values));
    }
    Ok(Contents { format: Format::NumPy, weights, metadata: BTreeMap::new() })
}

/// A compressed array.
#[derive(Debug)]
struct Packed {
    archive: Archive,
    member: String,
}

impl Values for Packed {
    fn read(&self) -> Result<AnyTensor> {
        let source = self.archive.whole(&self.member)?;
        let header = Header::parse(&source.head(MOST_HEADER)?, &source)?;
        let values: Plain = header.values(&source)?;
        values.read()
    }
}
