//! The whole transformer: encoder and decoder.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Float, Result, Rng};

use super::{Decode, TransformerDecoder, TransformerEncoder, TransformerSettings};
use crate::init::{Init, initialise};
use crate::layers::Attend;

/// A transformer from one sequence to another: the encoder turns the source
/// into a memory, to which the decoder attends while it processes the target.
/// Both have a final normalisation.
///
/// Source and output have the shapes of [`TransformerEncoder`] and
/// [`TransformerDecoder`]. Embeddings, positions and the projection to classes
/// are not included. All matrices are initialised with Xavier's uniform
/// distribution.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Attend, Decode, KeyValueCache, Transformer};
///
/// let model = Transformer::new(8, 2)
///     .num_encoder_layers(1)
///     .num_decoder_layers(2)
///     .dim_feedforward(16)
///     .batch_first(true)
///     .init(&mut Rng::seed(0))?;
/// let source = Var::new(Tensor::zeros([3, 7, 8]));
/// let target = Var::new(Tensor::zeros([3, 5, 8]));
/// let causal = Decode { is_causal: true, ..Decode::default() };
/// let y = model.forward(&source, &target, &Attend::default(), causal)?;
/// assert_eq!(*y.shape(), [3, 5, 8]);
///
/// // Generation: the memory once, then the target step by step.
/// let memory = model.encoder.encode(&source, &Attend::default())?;
/// let mut caches = vec![KeyValueCache::default(); 2];
/// let step = Var::new(Tensor::zeros([3, 1, 8]));
/// let y = model.decoder.decode_cached(&step, &memory, None, &mut caches)?;
/// assert_eq!(*y.shape(), [3, 1, 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Transformer<T: Float = f32> {
    /// The encoder.
    pub encoder: TransformerEncoder<T>,
    /// The decoder.
    pub decoder: TransformerDecoder<T>,
}

impl Transformer {
    /// Settings for this width and number of heads; PyTorch's defaults are 512
    /// and 8.
    pub fn new(d_model: usize, nhead: usize) -> TransformerSettings {
        TransformerSettings::with_defaults(d_model, nhead)
    }
}

impl TransformerSettings {
    /// Makes a [`Transformer`] with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When `d_model` is not a multiple of the number of heads, or a setting is
    /// out of range.
    pub fn init(&self, rng: &mut Rng) -> Result<Transformer> {
        self.init_as(rng)
    }

    /// Like [`init`](Self::init), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init`](Self::init).
    pub fn init_as<T: Float>(&self, rng: &mut Rng) -> Result<Transformer<T>> {
        let mut encoder = self.stack_encoder(self.num_encoder_layers, rng)?;
        let mut decoder = self.stack_decoder(self.num_decoder_layers, rng)?;
        encoder.norm = Some(self.norm(rng)?);
        decoder.norm = Some(self.norm(rng)?);
        let mut model = Transformer { encoder, decoder };
        initialise(&mut model, rng, |_, shape| {
            (shape.len() > 1).then_some(Init::XavierUniform { gain: 1.0 })
        });
        Ok(model)
    }
}

impl<T: Float> Transformer<T> {
    /// The output for a source and a target, with the masks of each. The
    /// padding of the source must be given twice, as
    /// [`key_padding_mask`](Attend::key_padding_mask) and as
    /// [`memory_key_padding_mask`](Decode::memory_key_padding_mask).
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or a cache is given.
    pub fn forward(
        &self,
        source: &Var<T>,
        target: &Var<T>,
        encode: &Attend<'_, T>,
        decode: Decode<'_, T>,
    ) -> Result<Var<T>> {
        let memory = self.encoder.encode(source, encode)?;
        self.decoder.decode(target, &memory, decode)
    }
}

impl<T: Float> fmt::Display for Transformer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (encoder, decoder) = (self.encoder.layers.len(), self.decoder.layers.len());
        write!(f, "Transformer, {encoder} layers of encoder, {decoder} of decoder")
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Parameters;

    use super::*;

    #[test]
    fn the_defaults_are_pytorchs() {
        let settings = Transformer::new(8, 2).dim_feedforward(4);
        let model = settings.init(&mut Rng::seed(0)).unwrap();
        assert_eq!((model.encoder.layers.len(), model.decoder.layers.len()), (6, 6));
        let state = model.state_dict();
        for name in ["encoder.norm.weight", "decoder.norm.bias", "decoder.layers.5.norm3.bias"] {
            assert!(state.get(name).is_some(), "{name}");
        }
        // The bounds of Xavier's distribution, which are wider than those of a
        // linear layer.
        let weight = model.encoder.layers[0].linear1.weight.value().to_vec();
        let bound = (6.0_f32 / 12.0).sqrt();
        let largest = weight.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest <= bound && largest > 0.8 * bound, "{largest}");
    }
}
