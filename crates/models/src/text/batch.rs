//! Texts as token ids.

use dendra_autograd::Tape;
use dendra_nn::KeyValueCache;
use dendra_tensor::{Error, Result, Tensor};

/// A batch of texts as token ids.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// The ids, `[N, L]`.
    pub input_ids: Tensor<i64>,
    /// Which tokens are no padding, `[N, L]`. With a cache, all tokens so far: `[N,
    /// S]` for S tokens with those of this batch. `None`: all of them.
    pub attention_mask: Option<Tensor<bool>>,
    /// The part of the text that a token belongs to, `[N, L]`, for BERT. `None`: 0.
    pub token_type_ids: Option<Tensor<i64>>,
}

impl From<Tensor<i64>> for TokenBatch {
    fn from(input_ids: Tensor<i64>) -> Self {
        Self { input_ids, attention_mask: None, token_type_ids: None }
    }
}

/// The side of a text that is filled up with padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingSide {
    /// Before it, as generation needs it.
    Left,
    /// After it.
    Right,
}

impl TokenBatch {
    /// Texts of different lengths, filled up with the id `padding`.
    ///
    /// ```
    /// use dendra_models::{PaddingSide, TokenBatch};
    ///
    /// let batch = TokenBatch::padded(&[vec![5, 6, 7], vec![8]], 0, PaddingSide::Right)?;
    /// assert_eq!(batch.input_ids.to_vec(), [5, 6, 7, 8, 0, 0]);
    /// assert_eq!(batch.attention_mask.unwrap().to_vec(), [true, true, true, true, false, false]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no text, or all are empty.
    pub fn padded(texts: &[Vec<i64>], padding: i64, side: PaddingSide) -> Result<Self> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 {
            return Err(Error::argument("TokenBatch::padded", "expected at least one token"));
        }
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            let fill = longest - text.len();
            let (before, after) = if side == PaddingSide::Left { (fill, 0) } else { (0, fill) };
            ids.extend(std::iter::repeat_n(padding, before));
            ids.extend(text);
            ids.extend(std::iter::repeat_n(padding, after));
            mask.extend(std::iter::repeat_n(false, before));
            mask.extend(std::iter::repeat_n(true, text.len()));
            mask.extend(std::iter::repeat_n(false, after));
        }
        let shape = [texts.len(), longest];
        Ok(Self {
            input_ids: Tensor::from_vec(ids, shape)?,
            attention_mask: Some(Tensor::from_vec(mask, shape)?),
            token_type_ids: None,
        })
    }

    /// The number of texts and of tokens of each. Checks the shape of ids and mask,
    /// where `past` tokens came before.
    pub(crate) fn size(&self, context: &str, past: usize) -> Result<[usize; 2]> {
        let &[samples, length] = &self.input_ids.shape()[..] else {
            let message = format!("expected input_ids [N, L], got {}", self.input_ids.shape());
            return Err(Error::shape(context, message));
        };
        let expected = [samples, past + length];
        match &self.attention_mask {
            Some(mask) if mask.shape()[..] != expected => {
                let message = format!("expected attention_mask {expected:?}, got {}", mask.shape());
                Err(Error::shape(context, message))
            }
            _ => Ok([samples, length]),
        }
    }

    /// The number of each token in its text, padding not counted: `[L]`, or `[N, L]`
    /// where there is a mask.
    pub(crate) fn positions(&self, past: usize, [samples, length]: [usize; 2]) -> Tensor<i64> {
        let Some(mask) = &self.attention_mask else {
            return Tensor::from_fn([length], |index| (past + index) as i64);
        };
        let mask = mask.to_vec();
        let mut positions = Vec::with_capacity(samples * length);
        for row in mask.chunks(past + length) {
            let mut seen = 0;
            let counted = row.iter().map(|&counts| {
                seen += i64::from(counts);
                (seen - 1).max(0)
            });
            positions.extend(counted.skip(past));
        }
        Tensor::from_fn([samples, length], |index| positions[index])
    }
}

/// What a decoder has computed for the tokens so far: keys and values of each layer.
#[derive(Clone, Debug, Default)]
pub struct DecoderCache {
    layers: Vec<KeyValueCache>,
}

impl DecoderCache {
    /// A cache without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of tokens so far.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KeyValueCache::len)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps these texts of the batch, in this order; one may be kept several times.
    ///
    /// # Errors
    ///
    /// When a number is not below the number of texts.
    pub fn select(&mut self, samples: &[usize]) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.select(samples))
    }

    /// The cache of each layer.
    pub(crate) fn layers(&mut self, count: usize) -> &mut [KeyValueCache] {
        self.layers.resize_with(count, KeyValueCache::default);
        &mut self.layers
    }
}

/// A network that predicts the next token of each position.
pub trait Decoder: dendra_nn::Parameters {
    /// The logits of the next token, `[N, L, vocabulary]`. With a cache, the tokens
    /// of the batch follow those that it has seen, and are added to it.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary, or there are more positions than the
    /// network has.
    fn logits(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<dendra_autograd::Var>;

    /// The largest number of tokens of a text, where there is one.
    fn max_positions(&self) -> Option<usize>;
}
