//! Multi-head attention.

mod masks;

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{AttentionMask, AttentionOptions, Error, Float, Ops, Result, Rng, Tensor};

use self::masks::{weights_of, with_one_more_key, with_padding};
use super::positions::RotaryEmbedding;
use super::{Dropout, KeyValueCache, Linear};
use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::Settings as _;

/// Multi-head attention: queries, keys and values are projected and split into
/// `num_heads` heads. Each head computes [`scaled_dot_product_attention`]; the
/// outputs of the heads are concatenated and projected again (Vaswani et al.,
/// "Attention is all you need", 2017).
///
/// [`scaled_dot_product_attention`]: Ops::scaled_dot_product_attention
///
/// With E = `embed_dim`, for L queries and S keys of N samples:
///
/// | | shape |
/// |---|---|
/// | query, output | `[L, N, E]`, or `[N, L, E]` with `batch_first`; `[L, E]` of one sample |
/// | key, value | `[S, N, kdim]`, `[S, N, vdim]`, or with N first, or without it |
/// | `in_proj_weight` | `[3 · E, E]`, where `kdim` and `vdim` are E |
/// | `q_`, `k_`, `v_proj_weight` | otherwise `[E, E]`, `[E, kdim]`, `[E, vdim]` |
/// | `in_proj_bias` | `[3 · E]` |
/// | `bias_k`, `bias_v` | `[1, 1, E]`, with `add_bias_kv` |
/// | `out_proj.weight`, `out_proj.bias` | `[E, E]`, `[E]` |
///
/// The input projections are initialised with Xavier's uniform distribution,
/// the output projection like a [`Linear`] layer, and the biases with 0.
/// [`Module::forward`] computes self-attention.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Attend, MultiheadAttention};
///
/// let attention = MultiheadAttention::new(8, 2).batch_first(true).init(&mut Rng::seed(0))?;
/// let query = Var::new(Tensor::zeros([3, 5, 8]));
/// let memory = Var::new(Tensor::zeros([3, 7, 8]));
/// let y = attention.attend(&query, &memory, &memory, Attend::default())?;
/// assert_eq!(*y.shape(), [3, 5, 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct MultiheadAttention<T: Float = f32> {
    /// The projections of queries, keys and values, stacked along axis 0.
    pub in_proj_weight: Option<Param<T>>,
    /// The projection of the queries, where the widths differ.
    pub q_proj_weight: Option<Param<T>>,
    /// The projection of the keys, where the widths differ.
    pub k_proj_weight: Option<Param<T>>,
    /// The projection of the values, where the widths differ.
    pub v_proj_weight: Option<Param<T>>,
    /// The biases of the three projections.
    pub in_proj_bias: Option<Param<T>>,
    /// A trained key that is appended to the keys of the input.
    pub bias_k: Option<Param<T>>,
    /// The trained value of that key.
    pub bias_v: Option<Param<T>>,
    /// The projection of the output.
    pub out_proj: Linear<T>,
    #[parameters(skip)]
    add_zero_attn: bool,
    #[parameters(skip)]
    num_heads: usize,
    #[parameters(skip)]
    dropout: f64,
    #[parameters(skip)]
    batch_first: bool,
    #[parameters(skip)]
    rotary: Option<RotaryEmbedding>,
}

/// The settings of a [`MultiheadAttention`].
#[derive(Clone, Debug, Setters)]
pub struct MultiheadAttentionSettings {
    embed_dim: usize,
    num_heads: usize,
    /// The probability with which an attention weight is set to 0 in training.
    #[set(default = 0.0)]
    dropout: f64,
    /// Whether the projections have biases.
    #[set(default = true)]
    bias: bool,
    /// Whether a trained key and a trained value are appended to those of the
    /// input.
    #[set(default = false)]
    add_bias_kv: bool,
    /// Whether a key and a value of zeros are appended to those of the input.
    /// Queries whose other keys are all masked then have something to attend
    /// to.
    #[set(default = false)]
    add_zero_attn: bool,
    /// The width of the keys. The default is `embed_dim`.
    #[set]
    kdim: Option<usize>,
    /// The width of the values. The default is `embed_dim`.
    #[set]
    vdim: Option<usize>,
    /// Whether the batch axis comes before the sequence axis.
    #[set(default = false)]
    batch_first: bool,
    /// Rotates queries and keys by their positions, with this base (usually
    /// 10,000); see [`RotaryEmbedding`]. There is no rotation by default.
    #[set]
    rotary: Option<f64>,
}

impl MultiheadAttention {
    /// Settings of a layer of this width and number of heads.
    pub fn new(embed_dim: usize, num_heads: usize) -> MultiheadAttentionSettings {
        MultiheadAttentionSettings::with_defaults(embed_dim, num_heads)
    }
}

impl MultiheadAttentionSettings {
    /// Makes the layer with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When `embed_dim` is not a multiple of `num_heads`, or a setting is out
    /// of range.
    pub fn init(&self, rng: &mut Rng) -> Result<MultiheadAttention> {
        self.init_as(rng)
    }

    /// Like [`init`](Self::init), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init`](Self::init).
    pub fn init_as<T: Float>(&self, rng: &mut Rng) -> Result<MultiheadAttention<T>> {
        self.build(&mut Source::Random(rng))
    }

    /// Like [`init`](Self::init), its parameters from any [`Source`].
    ///
    /// # Errors
    ///
    /// Like [`init`](Self::init).
    pub fn init_from(&self, source: &mut Source<'_>) -> Result<MultiheadAttention> {
        self.build(source)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<MultiheadAttention<T>> {
        let &Self { embed_dim, num_heads, dropout, bias, batch_first, .. } = self;
        let context = format!("MultiheadAttention {embed_dim}, {num_heads} heads");
        if num_heads == 0 || embed_dim == 0 || !embed_dim.is_multiple_of(num_heads) {
            let message = "embed_dim must be a multiple of num_heads";
            return Err(Error::argument(context, message));
        }
        if !(0.0..1.0).contains(&dropout) {
            let message = format!("expected a dropout probability in 0 .. 1, got {dropout}");
            return Err(Error::argument(context, message));
        }
        let [kdim, vdim] = [self.kdim, self.vdim].map(|width| width.unwrap_or(embed_dim));
        let xavier = Init::XavierUniform { gain: 1.0 };
        let mut weight = |there: bool, rows, width| {
            let fans = Fans { fan_in: width, fan_out: rows };
            there.then(|| source.param(xavier, [rows, width], fans, &context)).transpose()
        };
        let same = kdim == embed_dim && vdim == embed_dim;
        let in_proj_weight = weight(same, 3 * embed_dim, embed_dim)?;
        let q_proj_weight = weight(!same, embed_dim, embed_dim)?;
        let k_proj_weight = weight(!same, embed_dim, kdim)?;
        let v_proj_weight = weight(!same, embed_dim, vdim)?;
        let none = Fans { fan_in: 1, fan_out: 1 };
        let in_proj_bias =
            bias.then(|| source.param(Init::Zeros, [3 * embed_dim], none, &context)).transpose()?;
        let one = Fans { fan_in: embed_dim, fan_out: embed_dim };
        let mut joining = || {
            let normal = Init::XavierNormal { gain: 1.0 };
            let draw = || source.param(normal, [1, 1, embed_dim], one, &context);
            self.add_bias_kv.then(draw).transpose()
        };
        let (bias_k, bias_v) = (joining()?, joining()?);
        let out_proj = Linear::new(embed_dim, embed_dim).bias(bias).bias_init(Init::Zeros);
        let rotary = self.rotary.map(|base| RotaryEmbedding::new(embed_dim / num_heads, base));
        Ok(MultiheadAttention {
            in_proj_weight,
            q_proj_weight,
            k_proj_weight,
            v_proj_weight,
            in_proj_bias,
            bias_k,
            bias_v,
            out_proj: out_proj.build(source)?,
            add_zero_attn: self.add_zero_attn,
            num_heads,
            dropout,
            batch_first,
            rotary: rotary.transpose()?,
        })
    }
}

/// Which weights [`MultiheadAttention::attend_with_weights`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionWeights {
    /// The mean over the heads, `[N, L, S]`.
    Averaged,
    /// The weights of each head, `[N, num_heads, L, S]`.
    PerHead,
}

/// The options of a call of [`MultiheadAttention::attend`].
#[derive(Debug)]
pub struct Attend<'a, T: Float = f32> {
    /// Which scores count, or numbers to add to the scores; broadcasts to `[N,
    /// num_heads, L, S]`. ([`AttentionMask::Keep`] is true where a score
    /// counts, as in `scaled_dot_product_attention`; PyTorch's
    /// `MultiheadAttention` has the opposite convention.)
    pub mask: AttentionMask<T>,
    /// Which keys of each sample are padding and are ignored, `[N, S]`; `[S]`
    /// for one sample without the batch axis.
    pub key_padding_mask: Option<&'a Tensor<bool>>,
    /// Whether a query attends only to keys up to its own position.
    pub is_causal: bool,
    /// The cached keys and values of earlier positions, to which those of this
    /// call are appended. Use it in evaluation only: no gradient flows to the
    /// cache.
    pub cache: Option<&'a mut KeyValueCache<T>>,
}

impl<T: Float> Default for Attend<'_, T> {
    fn default() -> Self {
        let mask = AttentionMask::None;
        Self { mask, key_padding_mask: None, is_causal: false, cache: None }
    }
}

/// Queries, keys and values as a batch of one sample, and their padding mask.
type OneSample<T> = ([Var<T>; 3], Option<Tensor<bool>>);

impl<T: Float> MultiheadAttention<T> {
    /// Attends from `query` to `key` and `value`.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    pub fn attend(
        &self,
        query: &Var<T>,
        key: &Var<T>,
        value: &Var<T>,
        options: Attend<'_, T>,
    ) -> Result<Var<T>> {
        self.attend_unnamed([query, key, value], options)
            .map_err(|error| context::in_layer(error, self.path(), self))
    }

    /// The path of the layer in its model.
    fn path(&self) -> Option<&str> {
        context::path(&self.out_proj.weight)?.rsplit_once('.').map(|(path, _)| path)
    }

    /// Like [`attend`](Self::attend), and also returns the attention weights
    /// (PyTorch's `need_weights=True`, `average_attn_weights`). It needs memory
    /// for all weights at once, unlike `attend`.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::{Rng, Tensor};
    /// use dendra_nn::{Attend, AttentionWeights, MultiheadAttention};
    ///
    /// let attention = MultiheadAttention::new(8, 2).batch_first(true).init(&mut Rng::seed(0))?;
    /// let (x, mean) = (Var::new(Tensor::zeros([3, 5, 8])), AttentionWeights::Averaged);
    /// let (_, weights) = attention.attend_with_weights(&x, &x, &x, Attend::default(), mean)?;
    /// assert_eq!(*weights.shape(), [3, 5, 5]);
    /// assert!((weights.value().to_vec()[0] - 0.2).abs() < 1e-6);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    pub fn attend_with_weights(
        &self,
        query: &Var<T>,
        key: &Var<T>,
        value: &Var<T>,
        options: Attend<'_, T>,
        which: AttentionWeights,
    ) -> Result<(Var<T>, Var<T>)> {
        let attended = || {
            if let Some((inputs, padding)) = self.batch_of([query, key, value], &options)? {
                let [query, key, value] = &inputs;
                let options = Attend { key_padding_mask: padding.as_ref(), ..options };
                let (y, weights) = self.attend_with_weights(query, key, value, options, which)?;
                return Ok((y.squeeze(self.batch_axis())?, weights.squeeze(0)?));
            }
            let ([q, k, v], mask, is_causal) = self.prepared([query, key, value], options)?;
            let weights = weights_of(&q, &k, &mask, is_causal)?;
            let weights = match self.dropout > 0.0 {
                true => Dropout::new(self.dropout)?.forward(&weights)?,
                false => weights,
            };
            let y = self.joined(&weights.matmul(&v)?)?;
            let weights = match which {
                AttentionWeights::Averaged => weights.mean_axes(&[1], false)?,
                AttentionWeights::PerHead => weights,
            };
            Ok((y, weights))
        };
        attended().map_err(|error| context::in_layer(error, self.path(), self))
    }

    fn attend_unnamed(&self, inputs: [&Var<T>; 3], options: Attend<'_, T>) -> Result<Var<T>> {
        if let Some((inputs, padding)) = self.batch_of(inputs, &options)? {
            let options = Attend { key_padding_mask: padding.as_ref(), ..options };
            return self.attend_unnamed(inputs.each_ref(), options)?.squeeze(self.batch_axis());
        }
        let ([q, k, v], mask, is_causal) = self.prepared(inputs, options)?;
        let tape = q.tape().filter(|tape| tape.is_training() && self.dropout > 0.0);
        let dropout = tape.map(|tape| (self.dropout, tape.random_stream()));
        let options = AttentionOptions { mask, is_causal, scale: None, dropout };
        self.joined(&q.scaled_dot_product_attention(&k, &v, options)?)
    }

    fn batch_axis(&self) -> isize {
        if self.batch_first { 0 } else { 1 }
    }

    /// Turns inputs `[L, E]` without the batch axis, and their padding `[S]`,
    /// into a batch of one sample.
    fn batch_of(
        &self,
        inputs: [&Var<T>; 3],
        options: &Attend<'_, T>,
    ) -> Result<Option<OneSample<T>>> {
        if inputs.iter().any(|x| x.shape().len() != 2) {
            return Ok(None);
        }
        let [query, key, value] = inputs.map(|x| x.unsqueeze(self.batch_axis()));
        let padding = options.key_padding_mask.map(|padding| match padding.rank() {
            1 => padding.unsqueeze(0),
            _ => Ok(padding.clone()),
        });
        Ok(Some(([query?, key?, value?], padding.transpose()?)))
    }

    /// Returns queries, keys and values of all heads (including those in the
    /// cache), the mask, and whether attention is causal.
    fn prepared(
        &self,
        inputs: [&Var<T>; 3],
        options: Attend<'_, T>,
    ) -> Result<([Var<T>; 3], AttentionMask<T>, bool)> {
        for x in inputs {
            if x.shape().len() != 3 {
                let order = if self.batch_first { "N, L" } else { "L, N" };
                let message = format!("expected inputs of shape [{order}, E], got {}", x.shape());
                return Err(Error::shape("", message));
            }
        }
        let Attend { mask, key_padding_mask, is_causal, cache } = options;
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let [mut q, mut k, v] = self.projected(inputs)?;
        if let Some(rotary) = &self.rotary {
            q = rotary.rotate(&q, past)?;
            k = rotary.rotate(&k, past)?;
        }
        let [k, v] = match cache {
            Some(cache) => cache.extend([k, v])?,
            None => [k, v],
        };
        let (queries, keys) = (q.shape()[2], k.shape()[2]);
        let mask = match key_padding_mask {
            Some(padding) => with_padding(&q, mask, padding)?,
            None => mask,
        };
        let (mask, is_causal) = match mask {
            // A single query at the end attends to all positions before it.
            mask if past > 0 && is_causal && queries == 1 => (mask, false),
            AttentionMask::None if past > 0 && is_causal => {
                let sees = |index: usize| index % keys <= past + index / keys;
                (AttentionMask::Keep(Tensor::from_fn([queries, keys], sees)), false)
            }
            _ if past > 0 && is_causal => {
                let message =
                    "expected no mask with is_causal and a cache: combine both in the mask";
                return Err(Error::argument("", message));
            }
            mask => (mask, is_causal),
        };
        let (mut mask, mut is_causal, mut keys) = (mask, is_causal, keys);
        let [mut k, mut v] = [k, v];
        for [more_k, more_v] in self.more_keys(&k) {
            mask = with_one_more_key(&q, mask, is_causal, [queries, keys])?;
            (is_causal, keys) = (false, keys + 1);
            let joined = |given: &Var<T>, more: &Var<T>| {
                let &[batch, heads, _, width] = &given.shape()[..] else {
                    unreachable!("four axes")
                };
                let one = more.reshape([1, heads, 1, width])?;
                Var::cat(&[given, &one.broadcast_to([batch, heads, 1, width])?], 2)
            };
            (k, v) = (joined(&k, &more_k)?, joined(&v, &more_v)?);
        }
        Ok(([q, k, v], mask, is_causal))
    }

    /// The keys and values to append to those of the input: the trained ones,
    /// and zeros.
    fn more_keys(&self, beside: &Var<T>) -> Vec<[Var<T>; 2]> {
        let mut more = Vec::new();
        if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
            more.push([bias_k.on(beside), bias_v.on(beside)]);
        }
        if self.add_zero_attn {
            let zeros = Var::new(Tensor::zeros([self.out_proj.weight.value().shape()[0]]));
            more.push([zeros.clone(), zeros]);
        }
        more
    }

    /// Concatenates and projects the outputs of the heads, `[N, num_heads, L, E
    /// / num_heads]`.
    fn joined(&self, y: &Var<T>) -> Result<Var<T>> {
        let &[batch, _, length, _] = &y.shape()[..] else { unreachable!("four axes") };
        let width = self.out_proj.weight.value().shape()[0];
        let y = y.transpose(1, 2)?.reshape([batch, length, width])?;
        let y = self.out_proj.forward(&y)?;
        if self.batch_first { Ok(y) } else { y.transpose(0, 1) }
    }

    /// Projects the inputs to queries, keys and values `[N, num_heads, L, E /
    /// num_heads]`.
    fn projected(&self, inputs: [&Var<T>; 3]) -> Result<[Var<T>; 3]> {
        let width = self.out_proj.weight.value().shape()[0];
        let beside = inputs.into_iter().find(|x| x.tape().is_some()).unwrap_or(inputs[0]);
        let apart = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        let project = |index: usize| {
            let part = |param: &Param<T>| param.on(beside).narrow(0, index * width, width);
            let weight = match (&self.in_proj_weight, apart[index]) {
                (Some(all), _) => part(all)?,
                (None, Some(own)) => own.on(beside),
                (None, None) => {
                    return Err(Error::argument("", "the layer has no projection of its inputs"));
                }
            };
            let bias = self.in_proj_bias.as_ref().map(part).transpose()?;
            let x = inputs[index];
            let x = if self.batch_first { x.clone() } else { x.transpose(0, 1)? };
            let y = x.linear(&weight, bias.as_ref())?;
            let &[batch, length, _] = &y.shape()[..] else { unreachable!("three axes") };
            y.reshape([batch, length, self.num_heads, width / self.num_heads])?.transpose(1, 2)
        };
        Ok([project(0)?, project(1)?, project(2)?])
    }
}

impl<T: Float> Module<T> for MultiheadAttention<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.attend(x, x, x, Attend::default())
    }
}

impl<T: Float> fmt::Display for MultiheadAttention<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.out_proj.weight.value().shape()[0];
        write!(f, "MultiheadAttention {width}, {} heads", self.num_heads)
    }
}

#[cfg(test)]
mod tests;
