//! The header of an array: a Python dict of its type, order and shape.

use dendra_nn::Dtype;
use dendra_tensor::{Result, Shape};

use super::SIGNATURE;
use crate::source::Source;
use crate::values::{Plain, bytes_of, column_major, elements, shape_of};

pub(super) struct Header {
    pub(super) dtype: Dtype,
    big_endian: bool,
    fortran_order: bool,
    pub(super) shape: Shape,
    /// The offset of the values.
    start: u64,
}

impl Header {
    /// The header at the start of an array.
    pub(super) fn parse(head: &[u8], source: &Source) -> Result<Self> {
        let wrong = |message: &str| source.wrong(format!("NumPy array: {message}"));
        let (length, start): (usize, usize) = match head.strip_prefix(SIGNATURE) {
            Some([1, _, a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 10),
            Some([2 | 3, _, a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
            Some([version, ..]) => return Err(wrong(&format!("version {version} is unknown"))),
            _ => return Err(wrong("the header is truncated")),
        };
        let Some(text) = head.get(start..start.saturating_add(length)) else {
            return Err(wrong("the header is truncated or too long"));
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong("the header is not UTF-8"))?;
        let invalid = || wrong(&format!("{:?} is not a valid header", text.trim()));
        let mut parts = Parts { rest: text };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        parts.expect("{").ok_or_else(invalid)?;
        while parts.expect("}").is_none() {
            let key = parts.text().ok_or_else(invalid)?;
            parts.expect(":").ok_or_else(invalid)?;
            match key {
                "descr" if parts.expect("[").is_some() => {
                    return Err(wrong("arrays of records are not supported"));
                }
                "descr" => descr = Some(parts.text().ok_or_else(invalid)?),
                "fortran_order" if parts.expect("True").is_some() => fortran = Some(true),
                "fortran_order" if parts.expect("False").is_some() => fortran = Some(false),
                "shape" => shape = Some(parts.numbers().ok_or_else(invalid)?),
                _ => return Err(invalid()),
            }
            // A comma follows each entry; it is optional after the last one.
            let _ = parts.expect(",");
        }
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran, shape) else {
            return Err(invalid());
        };
        let (dtype, big_endian) = element(descr).ok_or_else(|| {
            wrong(&format!("elements of type {descr:?} are not supported; use numbers or booleans"))
        })?;
        let shape = shape_of(source, &shape)?;
        Ok(Self { dtype, big_endian, fortran_order, shape, start: (start + length) as u64 })
    }

    /// Returns an error if the length of the file does not match the shape of
    /// the array.
    pub(super) fn check_length(&self, length: u64, source: &Source) -> Result<()> {
        let values = bytes_of(elements(source, &self.shape)?, self.dtype);
        if self.start + values == length {
            return Ok(());
        }
        Err(source.wrong(format!(
            "NumPy array: shape {} of {} takes {values} bytes, {} follow",
            self.shape,
            self.dtype,
            length.saturating_sub(self.start)
        )))
    }

    /// The values after the header.
    pub(super) fn values(&self, source: &Source) -> Result<Plain> {
        self.check_length(source.length(), source)?;
        let shape = self.shape.clone();
        let plain = if self.fortran_order {
            let strides = column_major(&shape);
            Plain::strided(source, self.start, self.dtype, shape, &strides)
        } else {
            Plain::new(source, self.start, self.dtype, shape)
        };
        Ok(plain?.big_endian(self.big_endian))
    }
}

/// The element type of a description such as `<f4`, and whether its bytes are
/// in big-endian order.
fn element(descr: &str) -> Option<(Dtype, bool)> {
    let big_endian = descr.starts_with('>');
    let dtype = match descr.strip_prefix(['<', '>', '|', '='])? {
        "b1" => Dtype::BOOL,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        _ => return None,
    };
    Some((dtype, big_endian))
}

/// The tokens of a Python literal.
struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Parts<'a> {
    /// Consumes this token, if it is next.
    fn expect(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|&c| c == '\'' || c == '"')?;
        let (text, rest) = self.rest[1..].split_once(quote)?;
        self.rest = rest;
        (!text.contains('\\')).then_some(text)
    }

    /// A tuple of lengths.
    fn numbers(&mut self) -> Option<Vec<u64>> {
        self.expect("(")?;
        let (inside, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        let inside = inside.trim();
        let inside = inside.strip_suffix(',').unwrap_or(inside);
        if inside.is_empty() {
            return Some(Vec::new());
        }
        // Python 2 writes `3L`.
        let number = |part: &str| part.trim().trim_end_matches('L').parse().ok();
        inside.split(',').map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::in_memory;

    fn parse(dict: &str) -> Result<Header> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((dict.len() as u16).to_le_bytes());
        bytes.extend(dict.as_bytes());
        Header::parse(&bytes, &Source::memory(&in_memory(), Vec::new()))
    }

    #[test]
    fn headers_of_every_spelling_are_read() {
        let cases = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n", &[3, 4][..]),
            ("{\"shape\":(5,),'descr':'>f4','fortran_order':True}", &[5]),
            ("{'descr': '=f4', 'fortran_order': False, 'shape': ()}", &[]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 0L)}", &[2, 0]),
        ];
        for (dict, shape) in cases {
            let header = parse(dict).unwrap();
            assert_eq!((header.dtype, &header.shape[..]), (Dtype::F32, shape), "{dict}");
            assert_eq!(header.start, 10 + dict.len() as u64);
            assert_eq!((header.big_endian, header.fortran_order), (shape == [5], shape == [5]));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let cases = [
            ("", "is not a valid header"),
            ("{", "is not a valid header"),
            ("{'descr': '<f4', 'fortran_order': False}", "is not a valid header"),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "is not a valid header"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "not a valid header"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "not a valid"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "type \"|O\" are not"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "records"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
                "is too large",
            ),
        ];
        for (dict, expected) in cases {
            let error = parse(dict).err().expect(dict).to_string();
            assert!(error.contains(expected), "{dict}: {error}");
        }
    }
}
