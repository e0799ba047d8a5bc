//! The types and the number of elements.

use dendra_nn::Dtype;
use dendra_tensor::Result;

use super::File;
use super::fields::Fields;

/// Strings.
pub(super) enum Text {
    /// Of a fixed number of bytes.
    Fixed(usize),
    /// In the global heap.
    Variable,
}

/// The kind of string of a datatype, if it is one.
pub(super) fn text(fields: &mut Fields<'_>) -> Result<Option<Text>> {
    let (class, bits) = (fields.number(1)? & 15, fields.number(3)?);
    let length = fields.number(4)? as usize;
    Ok(match class {
        3 => Some(Text::Fixed(length)),
        9 if bits & 15 == 1 => Some(Text::Variable),
        _ => None,
    })
}

/// The type of the elements and whether their bytes are in big-endian order;
/// `None` for types that tensors do not have.
pub(super) fn number(fields: &mut Fields<'_>) -> Result<Option<(Dtype, bool)>> {
    let (class, bits, size) = (fields.number(1)? & 15, fields.number(3)?, fields.number(4)?);
    let big_endian = bits & 1 != 0;
    let dtype = match class {
        0 => {
            let (offset, precision) = (fields.number(2)?, fields.number(2)?);
            if offset != 0 || precision != size * 8 {
                return Ok(None);
            }
            match (size, bits & 8 != 0) {
                (1, false) => Dtype::U8,
                (2, false) => Dtype::U16,
                (4, false) => Dtype::U32,
                (8, false) => Dtype::U64,
                (1, true) => Dtype::I8,
                (2, true) => Dtype::I16,
                (4, true) => Dtype::I32,
                (8, true) => Dtype::I64,
                _ => return Ok(None),
            }
        }
        1 => {
            fields.skip(4)?;
            let [_, exponent, _, mantissa] = [(); 4].map(|()| fields.number(1));
            match (size, exponent?, mantissa?) {
                (2, 5, 10) => Dtype::F16,
                (2, 8, 7) => Dtype::BF16,
                (4, 8, 23) => Dtype::F32,
                (8, 11, 52) => Dtype::F64,
                _ => return Ok(None),
            }
        }
        // h5py stores booleans as bytes with the names FALSE and TRUE.
        8 if size == 1 && bits & 0xffff == 2 => {
            let names = fields.rest();
            let has = |name: &[u8]| names.windows(name.len()).any(|bytes| bytes == name);
            match has(b"FALSE\0") && has(b"TRUE\0") {
                true => return Ok(Some((Dtype::BOOL, false))),
                false => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some((dtype, big_endian)))
}

impl File<'_> {
    /// The lengths of the axes; `None` if there are no elements.
    pub(super) fn dataspace(&self, bytes: &[u8]) -> Result<Option<Vec<u64>>> {
        let mut fields = self.fields(bytes, "dataspace");
        let (version, rank) = (fields.number(1)?, fields.number(1)?);
        let kind = match version {
            1 => {
                fields.skip(6)?;
                0
            }
            2 => {
                fields.skip(1)?;
                fields.number(1)?
            }
            other => return Err(self.wrong(format!("dataspace {other} is not supported"))),
        };
        if kind == 2 {
            return Ok(None);
        }
        if rank > 32 {
            return Err(self.wrong(format!("{rank} axes are too many")));
        }
        fields.numbers(rank as usize, 8).map(Some)
    }
}
