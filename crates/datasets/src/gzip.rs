//! Gzip files: several members, followed by padding.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first bytes of a gzip member.
pub(crate) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads the contents of all gzip members of a file.
///
/// As with `gzip -d`, zeros after the last member are padding. Other bytes
/// there are an error.
pub(crate) struct GzipReader<R> {
    /// `None` at the end of the file.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipReader<R> {
    pub(crate) fn new(file: R) -> Self {
        Self { member: Some(GzDecoder::new(file)) }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            let next = self.member.take().map(GzDecoder::into_inner);
            self.member = next.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The next member; `None` at the end of the file.
fn next_member<R: BufRead>(mut file: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut is_padded = false;
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        is_padded |= zeros > 0;
        match &bytes[zeros..] {
            [] => file.consume(zeros),
            // The buffer may end between the two bytes, so the decoder checks
            // them.
            [first, ..] if *first == MAGIC[0] && !is_padded => {
                return Ok(Some(GzDecoder::new(file)));
            }
            rest => {
                let start = rest[..rest.len().min(16)].escape_ascii();
                let message = format!(
                    "its gzip stream is followed by \"{start}\", expected its end, zeros or \
                     another stream"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Reads the file with buffers of several sizes, and so of several
    /// boundaries.
    fn read(file: &[u8]) -> Result<Vec<u8>, String> {
        let read = |capacity| {
            let mut out = Vec::new();
            GzipReader::new(BufReader::with_capacity(capacity, file))
                .read_to_end(&mut out)
                .map(|_| out)
                .map_err(|error| error.to_string())
        };
        let results = [1, 7, 1 << 16].map(read);
        assert!(results.iter().all(|result| result.is_ok() == results[2].is_ok()));
        results.into_iter().next_back().unwrap()
    }

    #[test]
    fn members_follow_each_other_and_zeros_end_them() {
        let (first, second) = (gzip(b"one "), gzip(b"two"));
        assert_eq!(read(&first).unwrap(), b"one ");
        assert_eq!(read(&[&first[..], &second].concat()).unwrap(), b"one two");
        assert_eq!(read(&[&first[..], &gzip(b""), &second].concat()).unwrap(), b"one two");
        for zeros in [1, 10, 1000] {
            let padded = [&first[..], &second, &vec![0; zeros]].concat();
            assert_eq!(read(&padded).unwrap(), b"one two");
        }
    }

    #[test]
    fn garbage_after_a_member_is_shown() {
        let first = gzip(b"one");
        for garbage in [&b"garbage"[..], b"\0\0\0garbage", b"\0\0\x1f\x8b"] {
            let message = read(&[&first, garbage].concat()).unwrap_err();
            assert!(message.contains("followed by"), "{message}");
        }
        assert!(read(&[&first[..], b"\x1f"].concat()).is_err());
        assert!(read(&[&first[..], b"\x1fgarbage, more than a header"].concat()).is_err());
        assert!(read(&[&first[..], &first[..12]].concat()).is_err());
    }
}
