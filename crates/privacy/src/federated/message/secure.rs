//! What only messages of secure aggregation contain.

use dendra_tensor::Result;

use super::{Reader, Writer};

impl Writer {
    pub(in crate::federated) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(in crate::federated) fn f64(&mut self, value: f64) -> &mut Self {
        self.u64(value.to_bits())
    }
}

impl<'a> Reader<'a> {
    pub(in crate::federated) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::federated) fn f64(&mut self) -> Result<f64> {
        self.u64().map(f64::from_bits)
    }

    /// As many items as the message says, of `size` bytes each.
    pub(in crate::federated) fn list(
        &mut self,
        size: usize,
    ) -> Result<impl Iterator<Item = Reader<'a>>> {
        let count = self.u32()? as usize;
        let bytes = self.take(count.saturating_mul(size))?;
        let what = self.what;
        Ok(bytes.chunks_exact(size.max(1)).map(move |bytes| Reader { bytes, what }))
    }

    /// This many whole numbers.
    pub(in crate::federated) fn numbers(&mut self, count: usize) -> Result<Vec<u64>> {
        let bytes = self.take(count.saturating_mul(8))?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Ok(bytes.chunks_exact(8).map(number).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_claims_to_be_longer_than_the_message_is_refused() {
        let mut reader = Reader::new(&[255, 255, 255, 255, 1], "the test");
        assert!(reader.list(usize::MAX).err().unwrap().to_string().contains("the test"));
    }

    #[test]
    fn numbers_arrive_as_they_were() {
        let mut writer = Writer::default();
        writer.u32(7).f64(-0.5).u32(2).u64(8).u64(9).u64(10);
        let mut reader = Reader::new(&writer.0, "the test");
        assert_eq!((reader.u32().unwrap(), reader.f64().unwrap()), (7, -0.5));
        let items: Vec<u64> = reader.list(8).unwrap().map(|mut item| item.u64().unwrap()).collect();
        assert_eq!(items, [8, 9]);
        assert_eq!(reader.numbers(1).unwrap(), [10]);
        assert!(reader.numbers(1).is_err());
    }
}
