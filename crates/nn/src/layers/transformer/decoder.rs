//! The decoder of a transformer.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{AttentionMask, Float, Result, Rng, Tensor};

use super::{Shared, TransformerSettings};
use crate::layers::{Attend, KeyValueCache, LayerNorm, Linear, MultiheadAttention};

/// A layer of a transformer decoder: self-attention of the target, attention to
/// the output of the encoder, and a feed-forward network at each position. Each
/// is added to its input and normalised before or after, as in a
/// [`TransformerEncoderLayer`](super::TransformerEncoderLayer).
///
/// Target and output are `[L, N, d_model]`; the output of the encoder, the
/// memory, is `[S, N, d_model]`. With `batch_first` N comes first.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Decode, TransformerDecoderLayer};
///
/// let settings = TransformerDecoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
/// let layer = settings.init_decoder(&mut Rng::seed(0))?;
/// let (target, memory) = (Var::new(Tensor::zeros([3, 5, 8])), Var::new(Tensor::zeros([3, 7, 8])));
/// let y = layer.decode(&target, &memory, Decode { is_causal: true, ..Decode::default() })?;
/// assert_eq!(*y.shape(), [3, 5, 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct TransformerDecoderLayer<T: Float = f32> {
    /// The self-attention of the target.
    pub self_attn: MultiheadAttention<T>,
    /// The attention of the target to the memory.
    pub multihead_attn: MultiheadAttention<T>,
    /// The first linear layer of the feed-forward network.
    pub linear1: Linear<T>,
    /// The second linear layer.
    pub linear2: Linear<T>,
    /// The normalisation of the self-attention.
    pub norm1: LayerNorm<T>,
    /// The normalisation of the attention to the memory.
    pub norm2: LayerNorm<T>,
    /// The normalisation of the feed-forward network.
    pub norm3: LayerNorm<T>,
    #[parameters(skip)]
    shared: Shared,
}

impl TransformerDecoderLayer {
    /// Settings for this width and number of heads.
    pub fn new(d_model: usize, nhead: usize) -> TransformerSettings {
        TransformerSettings::with_defaults(d_model, nhead)
    }
}

/// The options of a call of a decoder.
#[derive(Debug)]
pub struct Decode<'a, T: Float = f32> {
    /// The mask of the self-attention scores.
    pub mask: AttentionMask<T>,
    /// Which positions of the target are padding, `[N, L]`.
    pub key_padding_mask: Option<&'a Tensor<bool>>,
    /// Whether a position of the target attends only to positions up to itself.
    pub is_causal: bool,
    /// The mask of the scores between target and memory.
    pub memory_mask: AttentionMask<T>,
    /// Which positions of the memory are padding, `[N, S]`.
    pub memory_key_padding_mask: Option<&'a Tensor<bool>>,
}

impl<T: Float> Default for Decode<'_, T> {
    fn default() -> Self {
        Self {
            mask: AttentionMask::None,
            key_padding_mask: None,
            is_causal: false,
            memory_mask: AttentionMask::None,
            memory_key_padding_mask: None,
        }
    }
}

impl<T: Float> Decode<'_, T> {
    /// The options for self-attention and for attention to the memory.
    fn parts(&self) -> [Attend<'_, T>; 2] {
        let target = Attend {
            mask: self.mask.clone(),
            key_padding_mask: self.key_padding_mask,
            is_causal: self.is_causal,
            cache: None,
        };
        let memory = Attend {
            mask: self.memory_mask.clone(),
            key_padding_mask: self.memory_key_padding_mask,
            is_causal: false,
            cache: None,
        };
        [target, memory]
    }
}

impl TransformerSettings {
    /// Makes a decoder layer with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When `d_model` is not a multiple of the number of heads, or a setting is
    /// out of range.
    pub fn init_decoder(&self, rng: &mut Rng) -> Result<TransformerDecoderLayer> {
        self.init_decoder_as(rng)
    }

    /// Like [`init_decoder`](Self::init_decoder), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init_decoder`](Self::init_decoder).
    pub fn init_decoder_as<T: Float>(&self, rng: &mut Rng) -> Result<TransformerDecoderLayer<T>> {
        Ok(TransformerDecoderLayer {
            self_attn: self.self_attention(rng)?,
            multihead_attn: self.attention().init_as(rng)?,
            linear1: self.linear(self.d_model, self.dim_feedforward, rng)?,
            linear2: self.linear(self.dim_feedforward, self.d_model, rng)?,
            norm1: self.norm(rng)?,
            norm2: self.norm(rng)?,
            norm3: self.norm(rng)?,
            shared: self.shared()?,
        })
    }

    /// Makes a decoder of `num_layers` layers. It has no final normalisation;
    /// set `norm` to add one.
    ///
    /// # Errors
    ///
    /// Like [`init_decoder`](Self::init_decoder).
    pub fn stack_decoder<T: Float>(
        &self,
        num_layers: usize,
        rng: &mut Rng,
    ) -> Result<TransformerDecoder<T>> {
        let layers = (0..num_layers).map(|_| self.init_decoder_as(rng)).collect::<Result<_>>()?;
        Ok(TransformerDecoder { layers, norm: None })
    }
}

impl<T: Float> TransformerDecoderLayer<T> {
    /// The output for a target and the encoder's output.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    pub fn decode(
        &self,
        target: &Var<T>,
        memory: &Var<T>,
        options: Decode<'_, T>,
    ) -> Result<Var<T>> {
        self.decode_parts(target, memory, options.parts())
    }

    fn decode_parts(
        &self,
        target: &Var<T>,
        memory: &Var<T>,
        [to_target, to_memory]: [Attend<'_, T>; 2],
    ) -> Result<Var<T>> {
        let shared = &self.shared;
        let x = shared.add(target, &self.norm1, |x| self.self_attn.attend(x, x, x, to_target))?;
        let x = shared
            .add(&x, &self.norm2, |x| self.multihead_attn.attend(x, memory, memory, to_memory))?;
        shared.add(&x, &self.norm3, |x| shared.feed_forward(x, &self.linear1, &self.linear2))
    }
}

impl<T: Float> fmt::Display for TransformerDecoderLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransformerDecoderLayer ({})", self.self_attn)
    }
}

/// The layers of a decoder in sequence, with an optional final normalisation.
#[derive(Clone, Debug, Parameters)]
pub struct TransformerDecoder<T: Float = f32> {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer<T>>,
    /// The final normalisation.
    pub norm: Option<LayerNorm<T>>,
}

impl<T: Float> TransformerDecoder<T> {
    /// The output, with the same masks in each layer.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    pub fn decode(
        &self,
        target: &Var<T>,
        memory: &Var<T>,
        options: Decode<'_, T>,
    ) -> Result<Var<T>> {
        let mut x = target.clone();
        for layer in &self.layers {
            x = layer.decode_parts(&x, memory, options.parts())?;
        }
        super::normalised(self.norm.as_ref(), x)
    }

    /// The output for the positions that follow those in `caches`, one cache
    /// for each layer. Each position attends to positions up to itself and to
    /// the whole memory except its padding.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or the number of caches is not the number of
    /// layers.
    pub fn decode_cached(
        &self,
        target: &Var<T>,
        memory: &Var<T>,
        memory_key_padding_mask: Option<&Tensor<bool>>,
        caches: &mut [KeyValueCache<T>],
    ) -> Result<Var<T>> {
        super::check_caches("TransformerDecoder", self.layers.len(), caches.len())?;
        let mut x = target.clone();
        for (layer, cache) in self.layers.iter().zip(caches) {
            let to_target = Attend { is_causal: true, cache: Some(cache), ..Attend::default() };
            let to_memory =
                Attend { key_padding_mask: memory_key_padding_mask, ..Attend::default() };
            x = layer.decode_parts(&x, memory, [to_target, to_memory])?;
        }
        super::normalised(self.norm.as_ref(), x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_changes_nothing() {
        let mut rng = Rng::seed(0);
        let settings = TransformerDecoderLayer::new(8, 2).dim_feedforward(12).batch_first(true);
        let model = settings.stack_decoder::<f64>(2, &mut rng).unwrap();
        let target = Tensor::normal([2, 4, 8], 0.0, 1.0, &mut rng);
        let memory = Var::new(Tensor::normal([2, 5, 8], 0.0, 1.0, &mut rng));
        let padding = Tensor::from_fn([2, 5], |i| i >= 8);
        let options = Decode {
            is_causal: true,
            memory_key_padding_mask: Some(&padding),
            ..Decode::default()
        };
        let all = model.decode(&Var::new(target.clone()), &memory, options).unwrap();
        let mut caches = vec![KeyValueCache::default(); 2];
        for t in 0..4 {
            let step = Var::new(target.narrow(1, t, 1).unwrap());
            let y = model.decode_cached(&step, &memory, Some(&padding), &mut caches).unwrap();
            let expected = all.value().narrow(1, t, 1).unwrap().to_vec();
            for (a, b) in y.value().to_vec().iter().zip(expected) {
                assert!((a - b).abs() < 1e-12);
            }
        }
    }
}
