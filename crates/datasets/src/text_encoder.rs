//! [`TextEncoder`]: texts as token ids of one length.

use dendra_tensor::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::preprocessing::{Prepare, Preprocessing};
use crate::vocabulary::Vocabulary;

/// The largest length of a text in tokens.
const LONGEST: usize = 1 << 20;

/// Texts as token ids of one length, for a network that begins with an
/// embedding.
///
/// Shorter texts are padded at the beginning, so that the last step of a
/// recurrent layer sees the last token; longer ones are truncated at the end.
///
/// ```
/// use dendra_datasets::{TextEncoder, Vocabulary};
///
/// let texts = ["The film was good.", "A bad film"];
/// let encoder = TextEncoder::new(Vocabulary::words(texts, 1000), 4)?;
/// let ids = encoder.inputs(&texts)?;
/// assert_eq!(*ids.shape(), [2, 4]);
/// assert_eq!(ids.to_vec()[4], Vocabulary::PADDING);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoder {
    vocabulary: Vocabulary,
    length: usize,
}

impl TextEncoder {
    /// Texts of `length` symbols of a vocabulary.
    ///
    /// # Errors
    ///
    /// When the length is 0 or above 2²⁰, or the vocabulary is empty.
    pub fn new(vocabulary: Vocabulary, length: usize) -> Result<Self> {
        let encoder = Self { vocabulary, length };
        encoder.check()?;
        Ok(encoder)
    }

    /// The vocabulary. Its length is the number of rows of an embedding.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The ids of some texts, `[texts, length]`.
    ///
    /// # Errors
    ///
    /// The errors of [`Vocabulary::encode_batch`].
    pub fn inputs<X: AsRef<str>>(&self, texts: &[X]) -> Result<Tensor<i64>> {
        let batch = self.vocabulary.encode_batch(texts, Some(self.length))?;
        let mut ids = batch.values.to_vec();
        for (text, used) in ids.chunks_exact_mut(self.length).zip(batch.lengths.to_vec()) {
            // Moves the padding from the end to the beginning.
            text.rotate_right(self.length - used as usize);
        }
        Tensor::from_vec(ids, [texts.len(), self.length])
    }
}

impl Preprocessing for TextEncoder {
    type Input = Tensor<i64>;

    const KIND: &'static str = "text";

    fn input_shape(&self) -> Shape {
        Shape::from([self.length])
    }

    fn check(&self) -> Result<()> {
        if self.length == 0 || self.length > LONGEST || self.vocabulary.is_empty() {
            let message = format!(
                "expected a length of 1 to {LONGEST} and at least one symbol, got {} and {}",
                self.length,
                self.vocabulary.len()
            );
            return Err(Error::argument("TextEncoder", message));
        }
        Ok(())
    }
}

impl Prepare<str> for TextEncoder {
    fn prepare(&self, text: &str) -> Result<Tensor<i64>> {
        self.inputs(&[text])
    }
}

impl<X: AsRef<str>> Prepare<[X]> for TextEncoder {
    fn prepare(&self, texts: &[X]) -> Result<Tensor<i64>> {
        self.inputs(texts)
    }
}

impl<X: AsRef<str>> Prepare<Vec<X>> for TextEncoder {
    fn prepare(&self, texts: &Vec<X>) -> Result<Tensor<i64>> {
        self.inputs(texts)
    }
}

impl<X: AsRef<str>, const N: usize> Prepare<[X; N]> for TextEncoder {
    fn prepare(&self, texts: &[X; N]) -> Result<Tensor<i64>> {
        self.inputs(texts)
    }
}
