//! Tokenizers of transformers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use dendra_tensor::{Error, Result, Tensor};
use tokenizers::{EncodeInput, Encoding, TruncationParams};

use crate::text::{PaddingSide, TokenBatch};

/// A tokenizer from a file `tokenizer.json`: byte-pair encoding, WordPiece or
/// unigram, with the special tokens that its network expects.
///
/// ```no_run
/// use dendra_models::{PaddingSide, Tokenizer};
///
/// let tokenizer = Tokenizer::from_pretrained("all-MiniLM-L6-v2")?.max_length(256)?;
/// let batch = tokenizer.encode_batch(&["A dog.", "It rains today."], PaddingSide::Right)?;
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    padding: i64,
}

/// Converts panics of the library to errors, because files can have content
/// that it does not expect.
fn guarded<R>(
    context: &str,
    call: impl FnOnce() -> std::result::Result<R, tokenizers::Error>,
) -> Result<R> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| Error::data(context, error.to_string())),
        Err(payload) => Err(Error::panic(context, &*payload)),
    }
}

/// The common names of the padding token, for files that do not specify it.
const PADDING: [&str; 4] = ["[PAD]", "<pad>", "<|endoftext|>", "</s>"];

impl Tokenizer {
    /// Reads the tokenizer from `tokenizer.json` in a folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a valid tokenizer.
    pub fn from_pretrained(folder: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(folder.as_ref().join("tokenizer.json"))
    }

    /// Reads the tokenizer from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a valid tokenizer.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        let context = path.display().to_string();
        let mut inner = guarded(&context, || tokenizers::Tokenizer::from_bytes(&text))?;
        let said = inner.get_padding().map(|padding| padding.pad_id);
        let found = || PADDING.iter().find_map(|name| inner.token_to_id(name));
        let padding = said.or_else(found).unwrap_or(0).into();
        // Batches are padded by `encode_batch`.
        inner.with_padding(None);
        Ok(Self { inner, padding })
    }

    /// Truncates texts to this number of tokens, including special tokens.
    ///
    /// # Errors
    ///
    /// When the number is too small for the special tokens.
    pub fn max_length(mut self, max_length: usize) -> Result<Self> {
        let params = TruncationParams { max_length, ..TruncationParams::default() };
        guarded("Tokenizer::max_length", || self.inner.with_truncation(Some(params)).map(|_| ()))?;
        Ok(self)
    }

    /// The id of the padding token.
    pub fn padding_id(&self) -> i64 {
        self.padding
    }

    /// The size of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    fn encoding(&self, text: EncodeInput<'_>) -> Result<Encoding> {
        guarded("Tokenizer::encode", || self.inner.encode(text, true))
    }

    /// The ids of a text, with special tokens.
    ///
    /// # Errors
    ///
    /// When the tokenizer rejects the text.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        Ok(self.encoding(text.into())?.get_ids().iter().map(|&id| id.into()).collect())
    }

    /// A batch of texts, padded on one side.
    ///
    /// # Errors
    ///
    /// When there are no texts, or the tokenizer rejects one.
    pub fn encode_batch(&self, texts: &[&str], side: PaddingSide) -> Result<TokenBatch> {
        self.batch(texts.iter().map(|&text| text.into()), side)
    }

    /// A batch of pairs of texts, such as a question and a passage. Their
    /// tokens have the segments 0 and 1.
    ///
    /// # Errors
    ///
    /// The errors of [`encode_batch`](Self::encode_batch).
    pub fn encode_pairs(&self, pairs: &[(&str, &str)], side: PaddingSide) -> Result<TokenBatch> {
        self.batch(pairs.iter().map(|&pair| pair.into()), side)
    }

    fn batch<'a>(
        &self,
        texts: impl Iterator<Item = EncodeInput<'a>>,
        side: PaddingSide,
    ) -> Result<TokenBatch> {
        let encodings: Vec<Encoding> =
            texts.map(|text| self.encoding(text)).collect::<Result<_>>()?;
        let numbers = |of: fn(&Encoding) -> &[u32]| -> Vec<Vec<i64>> {
            let of_text = |text| of(text).iter().map(|&number| number.into()).collect();
            encodings.iter().map(of_text).collect()
        };
        let mut batch = TokenBatch::padded(&numbers(Encoding::get_ids), self.padding, side)?;
        let types = TokenBatch::padded(&numbers(Encoding::get_type_ids), 0, side)?;
        batch.token_type_ids = Some(types.input_ids);
        Ok(batch)
    }

    /// Decodes ids to text, without special tokens.
    ///
    /// # Errors
    ///
    /// When an id is negative, or the tokenizer cannot join the tokens.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let small: std::result::Result<Vec<u32>, _> =
            ids.iter().map(|&id| u32::try_from(id)).collect();
        let ids = small.map_err(|_| {
            Error::argument("Tokenizer::decode", format!("expected ids of tokens, got {ids:?}"))
        })?;
        guarded("Tokenizer::decode", || self.inner.decode(&ids, true))
    }

    /// Decodes a batch of ids, `[N, L]`.
    ///
    /// # Errors
    ///
    /// The errors of [`decode`](Self::decode), and when the shape is wrong.
    pub fn decode_batch(&self, ids: &Tensor<i64>) -> Result<Vec<String>> {
        let &[_, length] = &ids.shape()[..] else {
            let message = format!("expected ids [N, L], got {}", ids.shape());
            return Err(Error::shape("Tokenizer::decode_batch", message));
        };
        ids.to_vec().chunks(length.max(1)).map(|ids| self.decode(ids)).collect()
    }
}
