//! The encoder of a transformer.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Result, Rng};

use super::{Shared, TransformerSettings};
use crate::layers::{Attend, KeyValueCache, LayerNorm, Linear, MultiheadAttention};
use crate::module::Module;

/// A layer of a transformer encoder: self-attention, then a feed-forward
/// network at each position. Each is added to its input and normalised.
///
/// By default the sum is normalised: x ← norm1(x + attention(x)), x ← norm2(x +
/// feed_forward(x)). With `norm_first` the input of each part is: x ← x +
/// attention(norm1(x)), x ← x + feed_forward(norm2(x)). Input and output are
/// `[L, N, d_model]`, or `[N, L, d_model]` with `batch_first`.
///
/// With `is_causal` in the call it is a layer of a generator such as GPT.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Module, TransformerEncoderLayer};
///
/// let settings = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
/// let layer = settings.init_encoder(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([3, 5, 8])))?;
/// assert_eq!(*y.shape(), [3, 5, 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct TransformerEncoderLayer<T: Float = f32> {
    /// The attention.
    pub self_attn: MultiheadAttention<T>,
    /// The first linear layer of the feed-forward network.
    pub linear1: Linear<T>,
    /// The second linear layer.
    pub linear2: Linear<T>,
    /// The normalisation of the attention.
    pub norm1: LayerNorm<T>,
    /// The normalisation of the feed-forward network.
    pub norm2: LayerNorm<T>,
    #[parameters(skip)]
    shared: Shared,
}

impl TransformerEncoderLayer {
    /// Settings for this width and number of heads.
    pub fn new(d_model: usize, nhead: usize) -> TransformerSettings {
        TransformerSettings::with_defaults(d_model, nhead)
    }
}

impl TransformerSettings {
    /// Makes an encoder layer with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When `d_model` is not a multiple of the number of heads, or a setting is
    /// out of range.
    pub fn init_encoder(&self, rng: &mut Rng) -> Result<TransformerEncoderLayer> {
        self.init_encoder_as(rng)
    }

    /// Like [`init_encoder`](Self::init_encoder), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init_encoder`](Self::init_encoder).
    pub fn init_encoder_as<T: Float>(&self, rng: &mut Rng) -> Result<TransformerEncoderLayer<T>> {
        Ok(TransformerEncoderLayer {
            self_attn: self.self_attention(rng)?,
            linear1: self.linear(self.d_model, self.dim_feedforward, rng)?,
            linear2: self.linear(self.dim_feedforward, self.d_model, rng)?,
            norm1: self.norm(rng)?,
            norm2: self.norm(rng)?,
            shared: self.shared()?,
        })
    }

    /// Makes an encoder of `num_layers` layers. It has no final normalisation;
    /// set `norm` to add one.
    ///
    /// # Errors
    ///
    /// Like [`init_encoder`](Self::init_encoder).
    pub fn stack_encoder<T: Float>(
        &self,
        num_layers: usize,
        rng: &mut Rng,
    ) -> Result<TransformerEncoder<T>> {
        let layers = (0..num_layers).map(|_| self.init_encoder_as(rng)).collect::<Result<_>>()?;
        Ok(TransformerEncoder { layers, norm: None })
    }
}

impl<T: Float> TransformerEncoderLayer<T> {
    /// The output, with masks and a cache.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    pub fn encode(&self, x: &Var<T>, options: Attend<'_, T>) -> Result<Var<T>> {
        let attention = |x: &Var<T>| self.self_attn.attend(x, x, x, options);
        let x = self.shared.add(x, &self.norm1, attention)?;
        let feed_forward = |x: &Var<T>| self.shared.feed_forward(x, &self.linear1, &self.linear2);
        self.shared.add(&x, &self.norm2, feed_forward)
    }
}

impl<T: Float> Module<T> for TransformerEncoderLayer<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.encode(x, Attend::default())
    }
}

impl<T: Float> fmt::Display for TransformerEncoderLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransformerEncoderLayer ({})", self.self_attn)
    }
}

/// The layers of an encoder in sequence, with an optional final normalisation.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Attend, KeyValueCache, TransformerEncoder, TransformerEncoderLayer};
///
/// let settings = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
/// let model: TransformerEncoder = settings.stack_encoder(3, &mut Rng::seed(0))?;
/// // A generator: each position sees those before it, from the cache.
/// let mut caches = vec![KeyValueCache::default(); 3];
/// for _ in 0..4 {
///     let x = Var::new(Tensor::zeros([1, 1, 8]));
///     model.encode_cached(&x, &mut caches)?;
/// }
/// assert_eq!(caches[0].len(), 4);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct TransformerEncoder<T: Float = f32> {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer<T>>,
    /// The final normalisation.
    pub norm: Option<LayerNorm<T>>,
}

impl<T: Float> TransformerEncoder<T> {
    /// The output, with the same masks in each layer. (A cache belongs to one
    /// layer; see [`encode_cached`](Self::encode_cached).)
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or a cache is given.
    pub fn encode(&self, x: &Var<T>, options: &Attend<'_, T>) -> Result<Var<T>> {
        if options.cache.is_some() {
            let message = "expected no cache: each layer needs its own, use encode_cached";
            return Err(Error::argument("TransformerEncoder", message));
        }
        let mut x = x.clone();
        for layer in &self.layers {
            let &Attend { ref mask, key_padding_mask, is_causal, .. } = options;
            let mask = mask.clone();
            x = layer.encode(&x, Attend { mask, key_padding_mask, is_causal, cache: None })?;
        }
        super::normalised(self.norm.as_ref(), x)
    }

    /// The output for the positions that follow those in `caches`, one cache
    /// for each layer. Each position attends to positions up to itself.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or the number of caches is not the number of
    /// layers.
    pub fn encode_cached(&self, x: &Var<T>, caches: &mut [KeyValueCache<T>]) -> Result<Var<T>> {
        super::check_caches("TransformerEncoder", self.layers.len(), caches.len())?;
        let mut x = x.clone();
        for (layer, cache) in self.layers.iter().zip(caches) {
            let options = Attend { is_causal: true, cache: Some(cache), ..Attend::default() };
            x = layer.encode(&x, options)?;
        }
        super::normalised(self.norm.as_ref(), x)
    }
}

impl<T: Float> Module<T> for TransformerEncoder<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.encode(x, &Attend::default())
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Tensor;

    use super::*;

    #[test]
    fn a_cache_changes_nothing() {
        let mut rng = Rng::seed(0);
        for norm_first in [false, true] {
            let settings = TransformerEncoderLayer::new(8, 2).dim_feedforward(12);
            let settings = settings.batch_first(true).norm_first(norm_first);
            let mut model = settings.stack_encoder::<f64>(2, &mut rng).unwrap();
            model.norm = Some(LayerNorm::new([8]).init_as(&mut rng).unwrap());
            let x = Tensor::normal([2, 5, 8], 0.0, 1.0, &mut rng);
            let causal = Attend { is_causal: true, ..Attend::default() };
            let all = model.encode(&Var::new(x.clone()), &causal).unwrap();
            let mut caches = vec![KeyValueCache::default(); 2];
            for t in 0..5 {
                let step = Var::new(x.narrow(1, t, 1).unwrap());
                let y = model.encode_cached(&step, &mut caches).unwrap();
                let expected = all.value().narrow(1, t, 1).unwrap().to_vec();
                for (a, b) in y.value().to_vec().iter().zip(expected) {
                    assert!((a - b).abs() < 1e-12);
                }
            }
            assert!(model.encode_cached(&Var::new(x), &mut caches[..1]).is_err());
        }
    }
}
