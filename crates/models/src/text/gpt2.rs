//! GPT-2.

use dendra_autograd::{Param, Tape, Var};
use dendra_derive::Setters;
use dendra_nn::{
    Dropout, Embedding, Fans, Init, KeyValueCache, LayerNorm, Model, Module, Parameters, Source,
};
use dendra_tensor::{Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::attention::{Attend, attend, check_heads};
use super::batch::{Decoder, DecoderCache, TokenBatch};
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, normal};
use crate::pretrained::Pretrained;

/// The settings of a [`GPT2LMHeadModel`], with the names and defaults of its
/// `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(default)]
#[set(new)]
pub struct GPT2Config {
    /// The size of the vocabulary.
    #[set(default = 50257)]
    vocab_size: usize,
    /// The largest number of tokens of a text.
    #[set(default = 1024)]
    n_positions: usize,
    /// The width of the hidden states.
    #[set(default = 768)]
    n_embd: usize,
    /// The number of layers.
    #[set(default = 12)]
    n_layer: usize,
    /// The number of attention heads.
    #[set(default = 12)]
    n_head: usize,
    /// The width of the feed-forward network; four times `n_embd` by default.
    #[set]
    n_inner: Option<usize>,
    /// The activation of the feed-forward network.
    #[set(default = Activation::GELUTanh)]
    activation_function: Activation,
    /// The dropout probability of the outputs of each block.
    #[set(default = 0.1)]
    resid_pdrop: f64,
    /// The dropout probability of the embeddings.
    #[set(default = 0.1)]
    embd_pdrop: f64,
    /// The dropout probability of attention weights.
    #[set(default = 0.1)]
    attn_pdrop: f64,
    /// The number added to variances.
    #[set(default = 1e-5)]
    layer_norm_epsilon: f64,
    /// The standard deviation of the initial weights.
    #[set(default = 0.02)]
    initializer_range: f64,
    /// Whether attention scores are divided by the root of the head width.
    #[set(default = true)]
    scale_attn_weights: bool,
    /// Whether the scores of layer i are also divided by i + 1.
    #[set(default = false)]
    scale_attn_by_inverse_layer_idx: bool,
}

/// A decoder that predicts the next token (Radford et al., "Language models are
/// unsupervised multitask learners", 2019), with the names of transformers'
/// `GPT2LMHeadModel`. The output layer shares its weight with the embedding.
///
/// A batch of token ids `[N, L]` gives logits `[N, L, vocab_size]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct GPT2LMHeadModel {
    /// The network without the output layer, which is tied to the embedding.
    pub transformer: GPT2Model,
}

/// The body of a [`GPT2LMHeadModel`], which returns hidden states.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct GPT2Model {
    /// A vector for each token.
    pub wte: Embedding,
    /// A vector for each position.
    pub wpe: Embedding,
    h: Vec<Block>,
    /// The final normalisation.
    pub ln_f: LayerNorm,
    #[parameters(skip)]
    dropout: Dropout,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Attention {
    c_attn: Conv1D,
    c_proj: Conv1D,
    #[parameters(skip)]
    num_heads: usize,
    #[parameters(skip)]
    scale: f64,
    #[parameters(skip)]
    attn_pdrop: f64,
    #[parameters(skip)]
    dropout: Dropout,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Mlp {
    c_fc: Conv1D,
    c_proj: Conv1D,
    #[parameters(skip)]
    activation: Activation,
    #[parameters(skip)]
    dropout: Dropout,
}

/// A linear layer whose weight has the shape `[in, out]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Conv1D {
    weight: Param,
    bias: Param,
}

builds!(GPT2Config => GPT2LMHeadModel);

/// Published networks.
impl GPT2LMHeadModel {
    /// GPT-2 small.
    pub fn gpt2() -> GPT2Config {
        GPT2Config::new()
    }

    /// GPT-2 medium.
    pub fn gpt2_medium() -> GPT2Config {
        GPT2Config::new().n_embd(1024).n_layer(24).n_head(16)
    }

    /// GPT-2 large.
    pub fn gpt2_large() -> GPT2Config {
        GPT2Config::new().n_embd(1280).n_layer(36).n_head(20)
    }

    /// GPT-2 XL.
    pub fn gpt2_xl() -> GPT2Config {
        GPT2Config::new().n_embd(1600).n_layer(48).n_head(25)
    }
}

impl GPT2Config {
    fn assemble(&self, source: &mut Source<'_>) -> Result<GPT2LMHeadModel> {
        let inner = self.n_inner.unwrap_or(4 * self.n_embd.min(1 << 24));
        check_sizes(
            "GPT2",
            &[
                ("vocab_size", self.vocab_size),
                ("n_positions", self.n_positions),
                ("n_embd", self.n_embd),
                ("n_layer", self.n_layer),
                ("n_inner", inner),
            ],
        )?;
        check_layers("GPT2", "n_layer", self.n_layer)?;
        check_heads("GPT2", self.n_embd, self.n_head)?;
        let std = self.initializer_range;
        // Each block adds two outputs to the residual stream.
        let residual_std = std / (2.0 * self.n_layer as f64).sqrt();
        let width = self.n_embd;
        let dropout = Dropout::new(self.resid_pdrop)?;
        let norm = |source: &mut Source<'_>| {
            LayerNorm::new([width]).eps(self.layer_norm_epsilon).init_from(source)
        };
        let table = |rows, source: &mut Source<'_>| {
            Embedding::new(rows, width).weight_init(normal(std)).init_from(source)
        };
        let (wte, wpe) = (table(self.vocab_size, source)?, table(self.n_positions, source)?);
        let mut h = Vec::new();
        for layer in 0..self.n_layer {
            let mut scale = 1.0;
            if self.scale_attn_weights {
                scale /= ((width / self.n_head) as f64).sqrt();
            }
            if self.scale_attn_by_inverse_layer_idx {
                scale /= (layer + 1) as f64;
            }
            h.push(Block {
                ln_1: norm(source)?,
                attn: Attention {
                    c_attn: Conv1D::new([width, 3 * width], std, source)?,
                    c_proj: Conv1D::new([width, width], residual_std, source)?,
                    num_heads: self.n_head,
                    scale,
                    attn_pdrop: Dropout::new(self.attn_pdrop).map(|_| self.attn_pdrop)?,
                    dropout,
                },
                ln_2: norm(source)?,
                mlp: Mlp {
                    c_fc: Conv1D::new([width, inner], std, source)?,
                    c_proj: Conv1D::new([inner, width], residual_std, source)?,
                    activation: self.activation_function,
                    dropout,
                },
            });
        }
        let ln_f = norm(source)?;
        let dropout = Dropout::new(self.embd_pdrop)?;
        Ok(GPT2LMHeadModel { transformer: GPT2Model { wte, wpe, h, ln_f, dropout } })
    }
}

impl Conv1D {
    fn new([input, output]: [usize; 2], std: f64, source: &mut Source<'_>) -> Result<Self> {
        let fans = Fans { fan_in: input, fan_out: output };
        Ok(Self {
            weight: source.param(normal(std), [input, output], fans, &"GPT2")?,
            bias: source.param(Init::Zeros, [output], fans, &"GPT2")?,
        })
    }
}

impl Module for Conv1D {
    fn forward(&self, x: &Var) -> Result<Var> {
        x.linear(&self.weight.on(x).transpose(0, 1)?, Some(&self.bias.on(x)))
    }
}

impl Attention {
    fn forward(
        &self,
        x: &Var,
        mask: Option<&Tensor<bool>>,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<Var> {
        let qkv = self.c_attn.forward(x)?;
        let width = qkv.shape()[2] / 3;
        let part = |index: usize| qkv.narrow(2, index * width, width);
        let options = Attend {
            num_heads: self.num_heads,
            num_key_value_heads: self.num_heads,
            scale: Some(self.scale),
            dropout: self.attn_pdrop,
            causal: true,
            mask,
            rotations: None,
            cache,
        };
        let y = attend([part(0)?, part(1)?, part(2)?], options)?;
        self.dropout.forward(&self.c_proj.forward(&y)?)
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.activation.apply(&self.c_fc.forward(x)?);
        self.dropout.forward(&self.c_proj.forward(&x)?)
    }
}

impl GPT2Model {
    /// The hidden states of the tokens, `[N, L, n_embd]`. With a cache, the
    /// tokens follow the cached ones.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary, or there are more positions than the
    /// network has.
    pub fn hidden_states(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<Var> {
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let size = tokens.size("GPT2", past)?;
        let positions = self.wpe.lookup(&tokens.positions(past, size), Some(tape))?;
        let x = self.wte.lookup(&tokens.input_ids, Some(tape))?.add(&positions)?;
        let mut x = self.dropout.forward(&x)?;
        let mut caches = cache.map(|cache| cache.layers(self.h.len()).iter_mut());
        for block in &self.h {
            let cache = caches.as_mut().and_then(Iterator::next);
            let mask = tokens.attention_mask.as_ref();
            x = block.attn.forward(&block.ln_1.forward(&x)?, mask, cache)?.add(&x)?;
            x = block.mlp.forward(&block.ln_2.forward(&x)?)?.add(&x)?;
        }
        self.ln_f.forward(&x)
    }
}

impl Decoder for GPT2LMHeadModel {
    fn logits(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<Var> {
        let x = self.transformer.hidden_states(tokens, cache, tape)?;
        x.linear(&self.transformer.wte.weight.on(&x), None)
    }

    fn max_positions(&self) -> Option<usize> {
        self.transformer.wpe.weight.value().shape().first().copied()
    }
}

impl Model<TokenBatch> for GPT2LMHeadModel {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        self.logits(tokens, None, tape)
    }
}

impl Model<Tensor<i64>> for GPT2LMHeadModel {
    type Output = Var;

    fn run(&self, input_ids: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        self.logits(&input_ids.clone().into(), None, tape)
    }
}

impl Pretrained for GPT2LMHeadModel {
    type Config = GPT2Config;
    const MODEL_TYPES: &'static [&'static str] = &["gpt2"];
    const BASE: &'static str = "transformer";
    const TIED: &'static [&'static str] = &["lm_head.weight"];

    fn blank(config: &GPT2Config) -> Result<Self> {
        config.blank()
    }
}
