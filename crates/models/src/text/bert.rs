//! BERT.

use dendra_autograd::{Tape, Var};
use dendra_derive::Setters;
use dendra_nn::{
    Dropout, Embedding, Init, LayerNorm, Linear, LinearSettings, Model, Module, Parameters, Source,
};
use dendra_tensor::{Error, Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::attention::{Attend, attend, check_heads};
use super::batch::TokenBatch;
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, normal};
use crate::pretrained::Pretrained;

/// The settings of a [`BertModel`], with the names and defaults of its `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(default)]
#[set(new)]
pub struct BertConfig {
    /// The size of the vocabulary.
    #[set(default = 30522)]
    pub(super) vocab_size: usize,
    /// The width of the hidden states.
    #[set(default = 768)]
    pub(super) hidden_size: usize,
    /// The number of layers.
    #[set(default = 12)]
    num_hidden_layers: usize,
    /// The number of attention heads.
    #[set(default = 12)]
    num_attention_heads: usize,
    /// The width of the feed-forward network.
    #[set(default = 3072)]
    intermediate_size: usize,
    /// The activation of the feed-forward network.
    #[set(default = Activation::GELU)]
    pub(super) hidden_act: Activation,
    /// The dropout probability of the outputs of each block.
    #[set(default = 0.1)]
    pub(super) hidden_dropout_prob: f64,
    /// The dropout probability of attention weights.
    #[set(default = 0.1)]
    attention_probs_dropout_prob: f64,
    /// The largest number of tokens of a text.
    #[set(default = 512)]
    max_position_embeddings: usize,
    /// The number of segments of a text (token types).
    #[set(default = 2)]
    type_vocab_size: usize,
    /// The standard deviation of the initial weights.
    #[set(default = 0.02)]
    pub(super) initializer_range: f64,
    /// The number added to variances.
    #[set(default = 1e-12)]
    pub(super) layer_norm_eps: f64,
    /// The index of the padding token, whose vector is not trained.
    #[set(optional, default = Some(0))]
    pad_token_id: Option<usize>,
    /// The dropout probability before a classifier; `hidden_dropout_prob` by
    /// default.
    #[set]
    pub(super) classifier_dropout: Option<f64>,
    /// Whether there is a [`BertPooler`].
    #[set(default = true)]
    #[serde(skip, default = "yes")]
    pub(super) pooler: bool,
}

fn yes() -> bool {
    true
}

/// An encoder: a vector for each token that depends on the whole text (Devlin et
/// al., "BERT", 2018), with the names of transformers' `BertModel`.
///
/// A batch of token ids `[N, L]` gives hidden states `[N, L, hidden_size]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct BertModel {
    /// The embeddings of tokens, positions and segments.
    pub embeddings: BertEmbeddings,
    encoder: Encoder,
    /// The pooler, which makes a vector of the whole text for a classifier.
    pub pooler: Option<BertPooler>,
}

/// The embeddings of tokens, positions and segments.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct BertEmbeddings {
    /// A vector for each token.
    pub word_embeddings: Embedding,
    /// A vector for each position.
    pub position_embeddings: Embedding,
    /// A vector for each segment.
    pub token_type_embeddings: Option<Embedding>,
    #[parameters(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    #[parameters(skip)]
    dropout: Dropout,
}

/// A dense layer and tanh on the first token.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct BertPooler {
    /// The layer.
    pub dense: Linear,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Encoder {
    layer: Vec<Block>,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    attention: Attention,
    intermediate: Dense,
    output: Adding,
    #[parameters(skip)]
    activation: Activation,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Attention {
    #[parameters(rename = "self")]
    own: SelfAttention,
    output: Adding,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    #[parameters(skip)]
    num_heads: usize,
    #[parameters(skip)]
    dropout: f64,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Dense {
    dense: Linear,
}

/// A linear layer whose output is added to the input of the block, and
/// normalised.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Adding {
    dense: Linear,
    #[parameters(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    #[parameters(skip)]
    dropout: Dropout,
}

builds!(BertConfig => BertModel);

/// Published networks.
impl BertModel {
    /// BERT base, uncased.
    pub fn bert_base() -> BertConfig {
        BertConfig::new()
    }

    /// BERT large, uncased.
    pub fn bert_large() -> BertConfig {
        let wide = BertConfig::new().hidden_size(1024).intermediate_size(4096);
        wide.num_hidden_layers(24).num_attention_heads(16)
    }

    /// MiniLM with 6 blocks, the encoder of `all-MiniLM-L6-v2`.
    pub fn minilm_l6() -> BertConfig {
        let narrow = BertConfig::new().hidden_size(384).intermediate_size(1536);
        narrow.num_hidden_layers(6)
    }
}

impl BertConfig {
    /// A linear layer with the initialisation of BERT.
    pub(super) fn dense(&self, input: usize, output: usize) -> LinearSettings {
        let init = normal(self.initializer_range);
        Linear::new(input, output).weight_init(init).bias_init(Init::Zeros)
    }

    pub(super) fn norm(&self, source: &mut Source<'_>) -> Result<LayerNorm> {
        LayerNorm::new([self.hidden_size]).eps(self.layer_norm_eps).init_from(source)
    }

    fn adding(&self, input: usize, source: &mut Source<'_>) -> Result<Adding> {
        Ok(Adding {
            dense: self.dense(input, self.hidden_size).init_from(source)?,
            layer_norm: self.norm(source)?,
            dropout: Dropout::new(self.hidden_dropout_prob)?,
        })
    }

    pub(super) fn assemble(&self, source: &mut Source<'_>) -> Result<BertModel> {
        check_sizes(
            "Bert",
            &[
                ("vocab_size", self.vocab_size),
                ("hidden_size", self.hidden_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("intermediate_size", self.intermediate_size),
                ("max_position_embeddings", self.max_position_embeddings),
                ("type_vocab_size", self.type_vocab_size),
            ],
        )?;
        check_layers("Bert", "num_hidden_layers", self.num_hidden_layers)?;
        check_heads("Bert", self.hidden_size, self.num_attention_heads)?;
        let width = self.hidden_size;
        let table = |rows| Embedding::new(rows, width).weight_init(normal(self.initializer_range));
        let words = match self.pad_token_id {
            Some(padding) => table(self.vocab_size).padding_idx(padding),
            None => table(self.vocab_size),
        };
        let embeddings = BertEmbeddings {
            word_embeddings: words.init_from(source)?,
            position_embeddings: table(self.max_position_embeddings).init_from(source)?,
            token_type_embeddings: Some(table(self.type_vocab_size).init_from(source)?),
            layer_norm: self.norm(source)?,
            dropout: Dropout::new(self.hidden_dropout_prob)?,
        };
        let mut layer = Vec::new();
        for _ in 0..self.num_hidden_layers {
            let inner = self.intermediate_size;
            let own = SelfAttention {
                query: self.dense(width, width).init_from(source)?,
                key: self.dense(width, width).init_from(source)?,
                value: self.dense(width, width).init_from(source)?,
                num_heads: self.num_attention_heads,
                dropout: self.attention_probs_dropout_prob,
            };
            layer.push(Block {
                attention: Attention { own, output: self.adding(width, source)? },
                intermediate: Dense { dense: self.dense(width, inner).init_from(source)? },
                output: self.adding(inner, source)?,
                activation: self.hidden_act,
            });
        }
        let pooler = match self.pooler {
            true => Some(BertPooler { dense: self.dense(width, width).init_from(source)? }),
            false => None,
        };
        Ok(BertModel { embeddings, encoder: Encoder { layer }, pooler })
    }
}

impl Adding {
    fn forward(&self, x: &Var, before: &Var) -> Result<Var> {
        let y = self.dropout.forward(&self.dense.forward(x)?)?;
        self.layer_norm.forward(&y.add(before)?)
    }
}

impl BertEmbeddings {
    fn forward(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let [samples, length] = tokens.size("Bert", 0)?;
        let words = self.word_embeddings.lookup(&tokens.input_ids, Some(tape))?;
        let positions = Tensor::from_fn([length], |index| index as i64);
        let mut x = words;
        if let Some(table) = &self.token_type_embeddings {
            let none = || Tensor::zeros([samples, length]);
            let types = tokens.token_type_ids.clone().unwrap_or_else(none);
            x = x.add(&table.lookup(&types, Some(tape))?)?;
        }
        x = x.add(&self.position_embeddings.lookup(&positions, Some(tape))?)?;
        self.dropout.forward(&self.layer_norm.forward(&x)?)
    }
}

impl BertModel {
    /// The hidden states of the tokens, `[N, L, hidden_size]`.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary, or a text has more tokens than the
    /// network has positions.
    pub fn hidden_states(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let mut x = self.embeddings.forward(tokens, tape)?;
        for block in &self.encoder.layer {
            let own = &block.attention.own;
            let qkv = [own.query.forward(&x)?, own.key.forward(&x)?, own.value.forward(&x)?];
            let options = Attend {
                num_heads: own.num_heads,
                num_key_value_heads: own.num_heads,
                dropout: own.dropout,
                mask: tokens.attention_mask.as_ref(),
                ..Attend::default()
            };
            x = block.attention.output.forward(&attend(qkv, options)?, &x)?;
            let inner = block.activation.apply(&block.intermediate.dense.forward(&x)?);
            x = block.output.forward(&inner, &x)?;
        }
        Ok(x)
    }

    /// A vector for each text, `[N, hidden_size]`, from its hidden states.
    ///
    /// # Errors
    ///
    /// When the network has no pooler.
    pub fn pooled(&self, hidden_states: &Var) -> Result<Var> {
        match &self.pooler {
            Some(pooler) => {
                let first = hidden_states.narrow(1, 0, 1)?.squeeze(1)?;
                Ok(pooler.dense.forward(&first)?.tanh())
            }
            None => Err(Error::argument("Bert", "the network has no pooler")),
        }
    }
}

impl Model<TokenBatch> for BertModel {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        self.hidden_states(tokens, tape)
    }
}

impl Pretrained for BertModel {
    type Config = BertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];
    const BASE: &'static str = "bert";
    const TIED: &'static [&'static str] = &[];

    fn blank(config: &BertConfig) -> Result<Self> {
        config.blank()
    }
}
