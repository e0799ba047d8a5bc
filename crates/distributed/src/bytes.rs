//! Messages as bytes. What is read is checked, since another process wrote it.

use dendra_tensor::{Error, Result};

/// Writes a message.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, value: usize) {
        self.0.extend((value as u64).to_le_bytes());
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn floats(&mut self, values: &[f64]) {
        self.number(values.len());
        values.iter().for_each(|&value| self.float(value));
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a message.
pub(crate) struct Reader<'a>(&'a [u8]);

fn malformed() -> Error {
    Error::data("DataParallel", "a message of another process is malformed")
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<[u8; 8]> {
        self.take(8)?.try_into().map_err(|_| malformed())
    }

    pub(crate) fn number(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.word()?)).map_err(|_| malformed())
    }

    /// A number of things that follow, each of at least `size` bytes.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize> {
        let count = self.number()?;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            _ => Err(malformed()),
        }
    }

    pub(crate) fn float(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.word()?))
    }

    pub(crate) fn floats(&mut self) -> Result<Vec<f64>> {
        (0..self.count(8)?).map(|_| self.float()).collect()
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.take(1)?[0] != 0)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.count(1)?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| malformed())
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.number(7);
        writer.floats(&[0.5, -1e300]);
        writer.flag(true);
        writer.text("loss");
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.number().unwrap(), 7);
        assert_eq!(reader.floats().unwrap(), [0.5, -1e300]);
        assert!(reader.flag().unwrap());
        assert_eq!(reader.text().unwrap(), "loss");
        assert!(reader.is_empty());
    }

    #[test]
    fn a_message_that_is_cut_or_lies_is_an_error() {
        let mut writer = Writer::default();
        writer.floats(&[1.0, 2.0]);
        let bytes = writer.finish();
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).floats().is_err(), "{end}");
        }
        let huge = u64::MAX.to_le_bytes();
        assert!(Reader::new(&huge).bytes().is_err());
        assert!(Reader::new(&huge).floats().is_err());
        assert!(Reader::new(&[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]).text().is_err());
    }
}
