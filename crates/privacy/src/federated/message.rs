//! What server and clients send each other: a byte for the kind, then numbers
//! with the lowest byte first.

#[cfg(feature = "secure-aggregation")]
mod secure;

use dendra_autograd::{Entry, EntryMut, Parameters, Path};
use dendra_tensor::{Error, Result, Tensor};

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Train, and return the model.
    Train = 1,
    /// Make keys for a round with hidden changes.
    Keys = 2,
    /// Divide the secrets among the others.
    Share = 3,
    /// Train, and return the masked change.
    Mask = 4,
    /// Reveal what removes the masks.
    Unmask = 5,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::Train, Self::Keys, Self::Share, Self::Mask, Self::Unmask];
}

/// Writes a message.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn of(kind: Kind) -> Self {
        Self(vec![kind as u8])
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The parameters and statistics of a model.
    pub(super) fn model<M: Parameters<f32>>(&mut self, model: &M) -> &mut Self {
        let values = |out: &mut Vec<u8>, value: &Tensor| {
            out.extend(value.to_vec().iter().flat_map(|value| value.to_le_bytes()));
        };
        self.u64(fingerprint(model));
        model.visit(&mut Path::unwritten(), &mut |_, entry| match entry {
            Entry::Param(param) => values(&mut self.0, param.value()),
            Entry::Buffer(buffer) => values(&mut self.0, buffer.value()),
            Entry::Counter(_) => {}
        });
        self
    }
}

/// The number of bytes that [`Writer::model`] writes.
pub(super) fn model_bytes<M: Parameters<f32>>(model: &M) -> usize {
    let mut count = 8;
    model.visit(&mut Path::unwritten(), &mut |_, entry| match entry {
        Entry::Param(param) => count += 4 * param.value().len(),
        Entry::Buffer(buffer) => count += 4 * buffer.value().len(),
        Entry::Counter(_) => {}
    });
    count
}

/// A number that differs, in all likelihood, for models of other tensors.
fn fingerprint<M: Parameters<f32>>(model: &M) -> u64 {
    // FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    model.visit(&mut Path::default(), &mut |path, entry| {
        let (kind, shape) = match entry {
            Entry::Param(param) => (u8::from(param.is_trainable()), param.value().shape().clone()),
            Entry::Buffer(buffer) => (2, buffer.value().shape().clone()),
            Entry::Counter(_) => return,
        };
        add(path.as_str().as_bytes());
        add(&[0, kind]);
        shape.iter().for_each(|size| add(&(*size as u64).to_le_bytes()));
        add(&[u8::MAX]);
    });
    hash
}

/// Reads a message. Nothing in it can ask for more memory than the message has.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// What is read, for errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub(super) fn kind(&mut self) -> Result<Kind> {
        let [byte] = self.array()?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == byte);
        kind.ok_or_else(|| self.wrong(format!("it has the unknown kind {byte}")))
    }

    pub(super) fn wrong(&self, message: impl std::fmt::Display) -> Error {
        Error::data(self.what, format!("the message is malformed: {message}"))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| {
            self.wrong(format!("expected {count} more bytes, got {}", self.bytes.len()))
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sets the parameters and statistics of a model.
    pub(super) fn model<M: Parameters<f32>>(&mut self, model: &mut M) -> Result<()> {
        let (expected, found) = (fingerprint(model), self.u64()?);
        if expected != found {
            return Err(self.wrong("it is of a model with other tensors"));
        }
        let mut bytes = self.take(model_bytes(model) - 8)?;
        let mut next = |value: &Tensor| {
            let (own, rest) = bytes.split_at(4 * value.len());
            bytes = rest;
            let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
            let values = own.chunks_exact(4).map(number).collect();
            Tensor::from_vec(values, value.shape().clone()).expect("as many as the shape has")
        };
        model.visit_mut(&mut Path::unwritten(), &mut |_, entry| match entry {
            EntryMut::Param(param) => *param.value_mut() = next(param.value()),
            EntryMut::Buffer(buffer) => *buffer.value_mut() = next(buffer.value()),
            EntryMut::Counter(_) => {}
        });
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        match self.bytes.len() {
            0 => Ok(()),
            more => Err(self.wrong(format!("{more} bytes follow its end"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_nn::Sequential;
    use dendra_tensor::Rng;

    use super::*;

    fn model(seed: u64) -> Sequential {
        let network = Sequential::input([2]).dense(3).batch_norm1d().dense(2);
        network.build(&mut Rng::seed(seed)).unwrap()
    }

    #[test]
    fn a_model_arrives_with_the_same_bits() {
        let mut writer = Writer::of(Kind::Train);
        writer.u64(7).model(&model(1));
        assert_eq!(writer.0.len(), 9 + model_bytes(&model(1)));
        let mut other = model(2);
        let mut reader = Reader::new(&writer.0, "the test");
        assert_eq!((reader.kind().unwrap(), reader.u64().unwrap()), (Kind::Train, 7));
        reader.model(&mut other).unwrap();
        reader.finish().unwrap();
        assert_eq!(other.state_dict(), model(1).state_dict());
    }

    #[test]
    fn malformed_messages_are_refused_and_change_nothing() {
        let mut writer = Writer::default();
        writer.model(&model(1));
        let whole = writer.0;
        let read = |bytes: &[u8], model: &mut Sequential| {
            let mut reader = Reader::new(bytes, "the test");
            reader.model(model).and_then(|()| reader.finish())
        };
        let mut before = model(2);
        for length in [0, 7, 8, 11, whole.len() - 1] {
            assert!(read(&whole[..length], &mut before).is_err());
        }
        assert_eq!(before.state_dict(), model(2).state_dict());
        let network = Sequential::input([2]).dense(4).batch_norm1d().dense(2);
        let mut other = network.build(&mut Rng::seed(1)).unwrap();
        let error = read(&whole, &mut other).unwrap_err().to_string();
        assert!(error.contains("other tensors"), "{error}");
        let more = [&whole[..], &[0]].concat();
        assert!(read(&more, &mut model(2)).unwrap_err().to_string().contains("1 bytes follow"));
        assert!(Reader::new(&[9], "the test").kind().is_err());
    }
}
