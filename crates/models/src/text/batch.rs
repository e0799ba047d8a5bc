//! Texts as token ids.

use dendra_autograd::Tape;
use dendra_nn::KeyValueCache;
use dendra_tensor::{Error, Result, Tensor};

/// A batch of texts as token ids.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// The ids, `[N, L]`.
    pub input_ids: Tensor<i64>,
    /// Which tokens are not padding, `[N, L]`. With a cache, the mask is for
    /// all tokens so far: `[N, S]` for S tokens including those of this batch.
    /// `None` if there is no padding.
    pub attention_mask: Option<Tensor<bool>>,
    /// The segment of each token for BERT, `[N, L]`; `None` for 0.
    pub token_type_ids: Option<Tensor<i64>>,
}

impl From<Tensor<i64>> for TokenBatch {
    fn from(input_ids: Tensor<i64>) -> Self {
        Self { input_ids, attention_mask: None, token_type_ids: None }
    }
}

/// The side on which texts are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingSide {
    /// Before the text, as generation needs it.
    Left,
    /// After the text.
    Right,
}

impl TokenBatch {
    /// Texts of different lengths, padded with the id `padding`.
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
    /// When there are no texts, or all are empty.
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

    /// The number of texts and of tokens of each. Checks the shapes of ids and
    /// mask after `past` earlier tokens.
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

    /// The position of each token in its text, without padding: `[L]`, or
    /// `[N, L]` with a mask.
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

/// The state of a decoder after the tokens so far: keys and values of each
/// layer.
#[derive(Clone, Debug, Default)]
pub struct DecoderCache {
    layers: Vec<KeyValueCache>,
}

impl DecoderCache {
    /// A cache without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of tokens in the cache.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KeyValueCache::len)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps these texts of the batch, in this order. A text may be kept
    /// several times.
    ///
    /// # Errors
    ///
    /// When an index is not below the number of texts.
    pub fn select(&mut self, samples: &[usize]) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.select(samples))
    }

    /// The cache of each layer.
    pub(crate) fn layers(&mut self, count: usize) -> &mut [KeyValueCache] {
        self.layers.resize_with(count, KeyValueCache::default);
        &mut self.layers
    }
}

/// A network that predicts the next token at each position.
pub trait Decoder: dendra_nn::Parameters {
    /// The logits of the next token, `[N, L, vocabulary]`. With a cache, the
    /// tokens of the batch follow the cached ones, and are added to the cache.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary, or there are more positions than
    /// the network supports.
    fn logits(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<dendra_autograd::Var>;

    /// The largest number of tokens of a text, if it is limited.
    fn max_positions(&self) -> Option<usize>;
}
