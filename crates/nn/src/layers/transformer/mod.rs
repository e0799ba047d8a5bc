//! Transformers: layers of attention and a feed-forward network, for encoders
//! and decoders (Vaswani et al., "Attention is all you need", 2017).

mod decoder;
mod encoder;
mod model;

pub use decoder::*;
pub use encoder::*;
pub use model::*;

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Ops, Result, Rng};

use super::{Dropout, LayerNorm, Linear, MultiheadAttention, MultiheadAttentionSettings};
use crate::init::Source;
use crate::module::Module;
use crate::settings::Settings as _;

/// The activation function of a transformer's feed-forward network.
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
/// `init_encoder` and `init_decoder` make one layer, `stack_encoder` and
/// `stack_decoder` several, and `init` makes a transformer.
#[derive(Clone, Debug, Setters)]
pub struct TransformerSettings {
    d_model: usize,
    nhead: usize,
    /// The number of encoder layers of a [`Transformer`].
    #[set(default = 6)]
    num_encoder_layers: usize,
    /// The number of decoder layers of a [`Transformer`].
    #[set(default = 6)]
    num_decoder_layers: usize,
    /// The width between the two linear layers of the feed-forward network.
    #[set(default = 2048)]
    dim_feedforward: usize,
    /// The probability of setting a value to 0 in training.
    #[set(default = 0.1)]
    dropout: f64,
    /// The activation function of the feed-forward network.
    #[set(default = FeedForwardActivation::ReLU)]
    activation: FeedForwardActivation,
    /// The number that the normalisations add to the variance.
    #[set(default = 1e-5)]
    layer_norm_eps: f64,
    /// Whether the batch axis comes before the sequence axis.
    #[set(default = false)]
    batch_first: bool,
    /// Whether each part normalises its input instead of the sum of its input
    /// and output.
    #[set(default = false)]
    norm_first: bool,
    /// Whether the layers have biases.
    #[set(default = true)]
    bias: bool,
    /// Rotates the queries and keys of self-attention by their positions, with
    /// this base; see [`RotaryEmbedding`](super::RotaryEmbedding). There is no
    /// rotation by default.
    #[set]
    rotary: Option<f64>,
}

impl TransformerSettings {
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

/// The settings that layers of encoders and decoders share.
#[derive(Clone, Debug)]
struct Shared {
    dropout: Dropout,
    activation: FeedForwardActivation,
    norm_first: bool,
}

/// Checks that there is one cache for each layer.
fn check_caches(context: &str, layers: usize, caches: usize) -> Result<()> {
    if layers == caches {
        return Ok(());
    }
    let message = format!("expected a cache for each of {layers} layers, got {caches}");
    Err(Error::argument(context, message))
}

/// Applies the final normalisation, if there is one.
fn normalised<T: Float>(norm: Option<&LayerNorm<T>>, x: Var<T>) -> Result<Var<T>> {
    match norm {
        Some(norm) => norm.forward(&x),
        None => Ok(x),
    }
}

impl Shared {
    /// Adds the output of a part to its input, with normalisation before or
    /// after.
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
