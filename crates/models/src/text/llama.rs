//! Llama and networks with the same architecture.

use dendra_autograd::{Tape, Var};
use dendra_derive::Setters;
use dendra_nn::{
    Embedding, Init, KeyValueCache, Linear, LinearSettings, Model, Module, Parameters, RMSNorm,
    Source,
};
use dendra_tensor::{Error, Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::attention::{Attend, attend};
use super::batch::{Decoder, DecoderCache, TokenBatch};
use super::rotary::{Frequencies, RopeScaling, Rotations};
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, normal};
use crate::pretrained::Pretrained;

/// The settings of a [`LlamaForCausalLM`], with the names and defaults of its
/// `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(default)]
#[set(new)]
pub struct LlamaConfig {
    /// The size of the vocabulary.
    #[set(default = 32000)]
    vocab_size: usize,
    /// The width of the hidden states.
    #[set(default = 4096)]
    hidden_size: usize,
    /// The width of the feed-forward network.
    #[set(default = 11008)]
    intermediate_size: usize,
    /// The number of layers.
    #[set(default = 32)]
    num_hidden_layers: usize,
    /// The number of heads of the queries.
    #[set(default = 32)]
    num_attention_heads: usize,
    /// The number of heads of keys and values; the number of query heads by
    /// default.
    #[set]
    num_key_value_heads: Option<usize>,
    /// The width of a head; `hidden_size` divided by the number of heads by
    /// default.
    #[set]
    head_dim: Option<usize>,
    /// The activation of the gate.
    #[set(default = Activation::SiLU)]
    hidden_act: Activation,
    /// The largest number of tokens in the texts of the training.
    #[set(default = 2048)]
    max_position_embeddings: usize,
    /// The standard deviation of the initial weights.
    #[set(default = 0.02)]
    initializer_range: f64,
    /// The number added to mean squares.
    #[set(default = 1e-6)]
    rms_norm_eps: f64,
    /// Whether the output layer shares its weight with the embedding.
    #[set(default = false)]
    tie_word_embeddings: bool,
    /// The base of the rotary positions.
    #[set(default = 10_000.0)]
    rope_theta: f64,
    /// How the frequencies are scaled; they are not scaled by default.
    #[set]
    rope_scaling: Option<RopeScaling>,
    /// Base and scaling in the layout of newer files, which takes precedence.
    #[set]
    rope_parameters: Option<RopeParameters>,
    /// Whether the projections of attention have biases.
    #[set(default = false)]
    attention_bias: bool,
    /// The dropout probability of attention weights.
    #[set(default = 0.0)]
    attention_dropout: f64,
    /// Whether the layers of the feed-forward network have biases.
    #[set(default = false)]
    mlp_bias: bool,
}

/// The base and the scaling of rotary positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// The base.
    pub rope_theta: f64,
    /// How the frequencies are scaled.
    #[serde(flatten)]
    pub scaling: RopeScaling,
}

/// A decoder with rotary positions, RMS normalisation, gated feed-forward
/// networks and grouped heads (Touvron et al., "LLaMA", 2023), with the names
/// of transformers' `LlamaForCausalLM`.
///
/// A batch of token ids `[N, L]` gives logits `[N, L, vocab_size]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct LlamaForCausalLM {
    /// The network without the output layer.
    pub model: LlamaModel,
    /// The output layer, unless it is tied to the embedding.
    pub lm_head: Option<Linear>,
}

/// The body of a [`LlamaForCausalLM`], which returns hidden states.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct LlamaModel {
    /// A vector for each token.
    pub embed_tokens: Embedding,
    layers: Vec<Block>,
    /// The final normalisation.
    pub norm: RMSNorm,
    #[parameters(skip)]
    frequencies: Frequencies,
    #[parameters(skip)]
    max_positions: usize,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    self_attn: Attention,
    mlp: Mlp,
    input_layernorm: RMSNorm,
    post_attention_layernorm: RMSNorm,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    #[parameters(skip)]
    num_heads: usize,
    #[parameters(skip)]
    num_key_value_heads: usize,
    #[parameters(skip)]
    dropout: f64,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    #[parameters(skip)]
    activation: Activation,
}

builds!(LlamaConfig => LlamaForCausalLM);

/// Some published networks.
impl LlamaForCausalLM {
    /// Llama 2 with 7 billion parameters.
    pub fn llama2_7b() -> LlamaConfig {
        LlamaConfig::new().max_position_embeddings(4096).rms_norm_eps(1e-5)
    }

    /// Llama 3.2 with 1 billion parameters.
    pub fn llama3_2_1b() -> LlamaConfig {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        LlamaConfig::new()
            .vocab_size(128_256)
            .hidden_size(2048)
            .intermediate_size(8192)
            .num_hidden_layers(16)
            .num_key_value_heads(8)
            .head_dim(64)
            .max_position_embeddings(131_072)
            .rms_norm_eps(1e-5)
            .rope_theta(500_000.0)
            .rope_scaling(scaling)
            .tie_word_embeddings(true)
    }

    /// TinyLlama with 1.1 billion parameters.
    pub fn tiny_llama_1_1b() -> LlamaConfig {
        LlamaConfig::new()
            .hidden_size(2048)
            .intermediate_size(5632)
            .num_hidden_layers(22)
            .num_key_value_heads(4)
            .rms_norm_eps(1e-5)
    }
}

impl LlamaConfig {
    fn assemble(&self, source: &mut Source<'_>) -> Result<LlamaForCausalLM> {
        let heads = self.num_attention_heads;
        let groups = self.num_key_value_heads.unwrap_or(heads);
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads.max(1));
        check_sizes(
            "Llama",
            &[
                ("vocab_size", self.vocab_size),
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("num_attention_heads", heads),
                ("num_key_value_heads", groups),
                ("head_dim", head_dim),
                ("max_position_embeddings", self.max_position_embeddings),
            ],
        )?;
        check_layers("Llama", "num_hidden_layers", self.num_hidden_layers)?;
        if !heads.is_multiple_of(groups) {
            let message = format!("{heads} heads do not divide into {groups} groups");
            return Err(Error::argument("Llama", message));
        }
        let (base, scaling) = match &self.rope_parameters {
            Some(rope) => (rope.rope_theta, Some(&rope.scaling)),
            None => (self.rope_theta, self.rope_scaling.as_ref()),
        };
        let frequencies =
            Frequencies::new(head_dim, base, scaling.unwrap_or(&RopeScaling::Default))?;
        let width = self.hidden_size;
        let init = normal(self.initializer_range);
        let dense = |input, output, bias| -> LinearSettings {
            Linear::new(input, output).bias(bias).weight_init(init).bias_init(Init::Zeros)
        };
        let norm = |source: &mut Source<'_>| {
            RMSNorm::new([width]).eps(self.rms_norm_eps).init_from(source)
        };
        let embed_tokens = Embedding::new(self.vocab_size, width).weight_init(init);
        let embed_tokens = embed_tokens.init_from(source)?;
        let mut layers = Vec::new();
        for _ in 0..self.num_hidden_layers {
            let (bias, inner) = (self.attention_bias, self.intermediate_size);
            layers.push(Block {
                self_attn: Attention {
                    q_proj: dense(width, heads * head_dim, bias).init_from(source)?,
                    k_proj: dense(width, groups * head_dim, bias).init_from(source)?,
                    v_proj: dense(width, groups * head_dim, bias).init_from(source)?,
                    o_proj: dense(heads * head_dim, width, bias).init_from(source)?,
                    num_heads: heads,
                    num_key_value_heads: groups,
                    dropout: self.attention_dropout,
                },
                mlp: Mlp {
                    gate_proj: dense(width, inner, self.mlp_bias).init_from(source)?,
                    up_proj: dense(width, inner, self.mlp_bias).init_from(source)?,
                    down_proj: dense(inner, width, self.mlp_bias).init_from(source)?,
                    activation: self.hidden_act,
                },
                input_layernorm: norm(source)?,
                post_attention_layernorm: norm(source)?,
            });
        }
        let norm = norm(source)?;
        let head = dense(width, self.vocab_size, false);
        let lm_head = (!self.tie_word_embeddings).then(|| head.init_from(source)).transpose()?;
        let max_positions = self.max_position_embeddings;
        let model = LlamaModel { embed_tokens, layers, norm, frequencies, max_positions };
        Ok(LlamaForCausalLM { model, lm_head })
    }
}

impl Attention {
    fn forward(
        &self,
        x: &Var,
        mask: Option<&Tensor<bool>>,
        rotations: &Rotations,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<Var> {
        let options = Attend {
            num_heads: self.num_heads,
            num_key_value_heads: self.num_key_value_heads,
            scale: None,
            dropout: self.dropout,
            causal: true,
            mask,
            rotations: Some(rotations),
            cache,
        };
        let qkv = [self.q_proj.forward(x)?, self.k_proj.forward(x)?, self.v_proj.forward(x)?];
        self.o_proj.forward(&attend(qkv, options)?)
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Var) -> Result<Var> {
        let gate = self.activation.apply(&self.gate_proj.forward(x)?);
        self.down_proj.forward(&gate.mul(&self.up_proj.forward(x)?)?)
    }
}

impl LlamaModel {
    /// The hidden states of the tokens, `[N, L, hidden_size]`. With a cache,
    /// the tokens follow the cached ones.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary.
    pub fn hidden_states(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<Var> {
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let size = tokens.size("Llama", past)?;
        let rotations = self.frequencies.rotations(&tokens.positions(past, size))?;
        let mut x = self.embed_tokens.lookup(&tokens.input_ids, Some(tape))?;
        let mut caches = cache.map(|cache| cache.layers(self.layers.len()).iter_mut());
        for block in &self.layers {
            let cache = caches.as_mut().and_then(Iterator::next);
            let mask = tokens.attention_mask.as_ref();
            let y = block.input_layernorm.forward(&x)?;
            x = block.self_attn.forward(&y, mask, &rotations, cache)?.add(&x)?;
            let y = block.post_attention_layernorm.forward(&x)?;
            x = block.mlp.forward(&y)?.add(&x)?;
        }
        self.norm.forward(&x)
    }
}

impl Decoder for LlamaForCausalLM {
    fn logits(
        &self,
        tokens: &TokenBatch,
        cache: Option<&mut DecoderCache>,
        tape: &Tape,
    ) -> Result<Var> {
        let x = self.model.hidden_states(tokens, cache, tape)?;
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(&x),
            None => x.linear(&self.model.embed_tokens.weight.on(&x), None),
        }
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.model.max_positions)
    }
}

impl Model<TokenBatch> for LlamaForCausalLM {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        self.logits(tokens, None, tape)
    }
}

impl Model<Tensor<i64>> for LlamaForCausalLM {
    type Output = Var;

    fn run(&self, input_ids: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        self.logits(&input_ids.clone().into(), None, tape)
    }
}

impl Pretrained for LlamaForCausalLM {
    type Config = LlamaConfig;
    const MODEL_TYPES: &'static [&'static str] = &["llama"];
    const BASE: &'static str = "model";
    const TIED: &'static [&'static str] = &["lm_head.weight"];

    fn blank(config: &LlamaConfig) -> Result<Self> {
        config.blank()
    }
}
