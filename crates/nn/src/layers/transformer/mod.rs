//! Transformers: layers of attention and a feed-forward network, for encoders
//! and decoders (Vaswani et al., "Attention is all you need", 2017).

mod decoder;
mod encoder;
mod model;

pub use decoder::{Decode, TransformerDecoder, TransformerDecoderLayer};
pub use encoder::{TransformerEncoder, TransformerEncoderLayer};
pub use model::Transformer;

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, Result, Rng};

use super::{Dropout, LayerNorm, Linear, MultiheadAttention, MultiheadAttentionSettings};
use crate::init::Source;
use crate::module::Module;
use crate::settings::Settings as _;

/// The function between the two maps of a transformer's feed-forward network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedForwardActivation {
    /// max(x, 0).
    #[default]
    ReLU,
    /// x·Φ(x).
    GELU,
}

/// The settings of a [`TransformerEncoderLayer`], a [`TransformerDecoderLayer`]
/// or a whole [`Transformer`].
///
/// `init_encoder` and `init_decoder` make a layer of them, `stack_encoder` and
/// `stack_decoder` several, `init` a transformer.
#[derive(Clone, Debug)]
pub struct TransformerSettings {
    d_model: usize,
    nhead: usize,
    num_encoder_layers: usize,
    num_decoder_layers: usize,
    dim_feedforward: usize,
    dropout: f64,
    activation: FeedForwardActivation,
    layer_norm_eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
    rotary: Option<f64>,
}

impl TransformerSettings {
    /// Settings for this width and number of heads.
    fn new(d_model: usize, nhead: usize) -> Self {
        Self {
            d_model,
            nhead,
            num_encoder_layers: 6,
            num_decoder_layers: 6,
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: FeedForwardActivation::ReLU,
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
            rotary: None,
        }
    }

    /// The width between the two maps of the feed-forward network (2048).
    #[must_use]
    pub fn dim_feedforward(self, dim_feedforward: usize) -> Self {
        Self { dim_feedforward, ..self }
    }

    /// The probability with which a value is left out, in training (0.1).
    #[must_use]
    pub fn dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// The function of the feed-forward network (ReLU).
    #[must_use]
    pub fn activation(self, activation: FeedForwardActivation) -> Self {
        Self { activation, ..self }
    }

    /// What the normalisations add to the variance (10⁻⁵).
    #[must_use]
    pub fn layer_norm_eps(self, layer_norm_eps: f64) -> Self {
        Self { layer_norm_eps, ..self }
    }

    /// Whether the batch axis comes first (it comes behind that of the steps).
    #[must_use]
    pub fn batch_first(self, batch_first: bool) -> Self {
        Self { batch_first, ..self }
    }

    /// Whether normalisation comes before each part instead of behind the sum
    /// (it comes behind).
    #[must_use]
    pub fn norm_first(self, norm_first: bool) -> Self {
        Self { norm_first, ..self }
    }

    /// Whether there are biases (there are).
    #[must_use]
    pub fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Turns queries and keys of the attention of a sequence to itself by their
    /// positions; see [`RotaryEmbedding`](super::RotaryEmbedding).
    #[must_use]
    pub fn rotary(self, base: f64) -> Self {
        Self { rotary: Some(base), ..self }
    }

    fn attention(&self) -> MultiheadAttentionSettings {
        MultiheadAttention::new(self.d_model, self.nhead)
            .dropout(self.dropout)
            .bias(self.bias)
            .batch_first(self.batch_first)
    }

    fn self_attention<T: Float>(&self, rng: &mut Rng) -> Result<MultiheadAttention<T>> {
        match self.rotary {
            Some(base) => self.attention().rotary(base).init_as(rng),
            None => self.attention().init_as(rng),
        }
    }

    fn norm<T: Float>(&self, rng: &mut Rng) -> Result<LayerNorm<T>> {
        LayerNorm::new([self.d_model]).eps(self.layer_norm_eps).bias(self.bias).init_as(rng)
    }

    fn linear<T: Float>(&self, from: usize, to: usize, rng: &mut Rng) -> Result<Linear<T>> {
        Linear::new(from, to).bias(self.bias).build(&mut Source::Random(rng))
    }

    fn shared(&self) -> Result<Shared> {
        let Self { activation, norm_first, .. } = *self;
        Ok(Shared { dropout: Dropout::new(self.dropout)?, activation, norm_first })
    }
}

/// What layers of both kinds do alike, without parameters.
#[derive(Clone, Debug)]
struct Shared {
    dropout: Dropout,
    activation: FeedForwardActivation,
    norm_first: bool,
}

/// Each layer needs a cache of its own.
fn check_caches(place: &str, layers: usize, caches: usize) -> Result<()> {
    if layers == caches {
        return Ok(());
    }
    let message = format!("expected a cache for each of {layers} layers, got {caches}");
    Err(Error::argument(place, message))
}

/// The normalisation behind all layers, where there is one.
fn normalised<T: Float>(norm: Option<&LayerNorm<T>>, x: Var<T>) -> Result<Var<T>> {
    match norm {
        Some(norm) => norm.forward(&x),
        None => Ok(x),
    }
}

impl Shared {
    /// x plus what a part makes of it, normalised before or behind.
    fn add<T: Float>(
        &self,
        x: &Var<T>,
        norm: &LayerNorm<T>,
        part: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    ) -> Result<Var<T>> {
        if self.norm_first {
            let y = part(&norm.forward(x)?)?;
            return x.add(&self.dropout.forward(&y)?);
        }
        let y = part(x)?;
        norm.forward(&x.add(&self.dropout.forward(&y)?)?)
    }

    fn feed_forward<T: Float>(
        &self,
        x: &Var<T>,
        linear1: &Linear<T>,
        linear2: &Linear<T>,
    ) -> Result<Var<T>> {
        let x = linear1.forward(x)?;
        let x = match self.activation {
            FeedForwardActivation::ReLU => x.relu(),
            FeedForwardActivation::GELU => x.gelu(),
        };
        linear2.forward(&self.dropout.forward(&x)?)
    }
}
