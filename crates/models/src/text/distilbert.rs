//! DistilBERT.

use dendra_autograd::{Tape, Var};
use dendra_derive::Setters;
use dendra_nn::{
    Dropout, Embedding, Init, LayerNorm, Linear, LinearSettings, Model, Module, Parameters, Source,
};
use dendra_tensor::{Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::attention::{Attend, attend, check_heads};
use super::batch::TokenBatch;
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, normal};
use crate::pretrained::{Labels, Pretrained};

/// The settings of a [`DistilBertModel`], with the names and defaults of its
/// `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(default)]
#[set(new)]
pub struct DistilBertConfig {
    /// The size of the vocabulary.
    #[set(default = 30522)]
    vocab_size: usize,
    /// The largest number of tokens of a text.
    #[set(default = 512)]
    max_position_embeddings: usize,
    /// The number of layers.
    #[set(default = 6)]
    n_layers: usize,
    /// The number of attention heads.
    #[set(default = 12)]
    n_heads: usize,
    /// The width of the hidden states.
    #[set(default = 768)]
    dim: usize,
    /// The width of the feed-forward network.
    #[set(default = 3072)]
    hidden_dim: usize,
    /// The dropout probability.
    #[set(default = 0.1)]
    dropout: f64,
    /// The dropout probability of attention weights.
    #[set(default = 0.1)]
    attention_dropout: f64,
    /// The activation of the feed-forward network.
    #[set(default = Activation::GELU)]
    activation: Activation,
    /// The standard deviation of the initial weights.
    #[set(default = 0.02)]
    initializer_range: f64,
    /// The dropout probability before the classifier.
    #[set(default = 0.2)]
    seq_classif_dropout: f64,
    /// The index of the padding token, whose vector is not trained.
    #[set(optional, default = Some(0))]
    pad_token_id: Option<usize>,
}

/// A small BERT that was distilled from a large one (Sanh et al., "DistilBERT",
/// 2019), with the names of transformers' `DistilBertModel`.
///
/// A batch of token ids `[N, L]` gives hidden states `[N, L, dim]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct DistilBertModel {
    embeddings: Embeddings,
    transformer: Transformer,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    #[parameters(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    #[parameters(skip)]
    dropout: Dropout,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Transformer {
    layer: Vec<Block>,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    attention: Attention,
    sa_layer_norm: LayerNorm,
    ffn: FeedForward,
    output_layer_norm: LayerNorm,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Attention {
    q_lin: Linear,
    k_lin: Linear,
    v_lin: Linear,
    out_lin: Linear,
    #[parameters(skip)]
    num_heads: usize,
    #[parameters(skip)]
    dropout: f64,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct FeedForward {
    lin1: Linear,
    lin2: Linear,
    #[parameters(skip)]
    activation: Activation,
    #[parameters(skip)]
    dropout: Dropout,
}

/// [`DistilBertModel`] with a classifier of whole texts: logits `[N, num_labels]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct DistilBertForSequenceClassification {
    /// The encoder.
    pub distilbert: DistilBertModel,
    /// A linear layer on the first token, with ReLU.
    pub pre_classifier: Linear,
    /// The classifier.
    pub classifier: Linear,
    #[parameters(skip)]
    dropout: Dropout,
}

/// The settings of a [`DistilBertForSequenceClassification`].
#[derive(Clone, Debug)]
pub struct DistilBertClassifierSettings {
    config: DistilBertConfig,
    num_labels: usize,
}

builds!(DistilBertConfig => DistilBertModel);
builds!(DistilBertClassifierSettings => DistilBertForSequenceClassification);

impl DistilBertModel {
    /// The published network.
    pub fn distilbert_base() -> DistilBertConfig {
        DistilBertConfig::new()
    }
}

impl DistilBertForSequenceClassification {
    /// Settings of a classifier with this number of classes.
    pub fn new(config: DistilBertConfig, num_labels: usize) -> DistilBertClassifierSettings {
        DistilBertClassifierSettings { config, num_labels }
    }
}

impl DistilBertConfig {
    fn dense(&self, input: usize, output: usize) -> LinearSettings {
        let init = normal(self.initializer_range);
        Linear::new(input, output).weight_init(init).bias_init(Init::Zeros)
    }

    fn norm(&self, source: &mut Source<'_>) -> Result<LayerNorm> {
        LayerNorm::new([self.dim]).eps(1e-12).init_from(source)
    }

    fn assemble(&self, source: &mut Source<'_>) -> Result<DistilBertModel> {
        check_sizes(
            "DistilBert",
            &[
                ("vocab_size", self.vocab_size),
                ("max_position_embeddings", self.max_position_embeddings),
                ("n_layers", self.n_layers),
                ("dim", self.dim),
                ("hidden_dim", self.hidden_dim),
            ],
        )?;
        check_layers("DistilBert", "n_layers", self.n_layers)?;
        check_heads("DistilBert", self.dim, self.n_heads)?;
        let dim = self.dim;
        let table = |rows| Embedding::new(rows, dim).weight_init(normal(self.initializer_range));
        let words = match self.pad_token_id {
            Some(padding) => table(self.vocab_size).padding_idx(padding),
            None => table(self.vocab_size),
        };
        let dropout = Dropout::new(self.dropout)?;
        let embeddings = Embeddings {
            word_embeddings: words.init_from(source)?,
            position_embeddings: table(self.max_position_embeddings).init_from(source)?,
            layer_norm: self.norm(source)?,
            dropout,
        };
        let mut layer = Vec::new();
        for _ in 0..self.n_layers {
            layer.push(Block {
                attention: Attention {
                    q_lin: self.dense(dim, dim).init_from(source)?,
                    k_lin: self.dense(dim, dim).init_from(source)?,
                    v_lin: self.dense(dim, dim).init_from(source)?,
                    out_lin: self.dense(dim, dim).init_from(source)?,
                    num_heads: self.n_heads,
                    dropout: self.attention_dropout,
                },
                sa_layer_norm: self.norm(source)?,
                ffn: FeedForward {
                    lin1: self.dense(dim, self.hidden_dim).init_from(source)?,
                    lin2: self.dense(self.hidden_dim, dim).init_from(source)?,
                    activation: self.activation,
                    dropout,
                },
                output_layer_norm: self.norm(source)?,
            });
        }
        Ok(DistilBertModel { embeddings, transformer: Transformer { layer } })
    }
}

impl DistilBertClassifierSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<DistilBertForSequenceClassification> {
        check_sizes("DistilBert", &[("num_labels", self.num_labels)])?;
        let config = &self.config;
        Ok(DistilBertForSequenceClassification {
            distilbert: config.assemble(source)?,
            pre_classifier: config.dense(config.dim, config.dim).init_from(source)?,
            classifier: config.dense(config.dim, self.num_labels).init_from(source)?,
            dropout: Dropout::new(config.seq_classif_dropout)?,
        })
    }
}

impl Module for FeedForward {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.activation.apply(&self.lin1.forward(x)?);
        self.dropout.forward(&self.lin2.forward(&x)?)
    }
}

impl DistilBertModel {
    /// The hidden states of the tokens, `[N, L, dim]`.
    ///
    /// # Errors
    ///
    /// When an id is not in the vocabulary, or a text has more tokens than the
    /// network has positions.
    pub fn hidden_states(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let [_, length] = tokens.size("DistilBert", 0)?;
        let Embeddings { word_embeddings, position_embeddings, layer_norm, dropout } =
            &self.embeddings;
        let positions = Tensor::from_fn([length], |index| index as i64);
        let positions = position_embeddings.lookup(&positions, Some(tape))?;
        let x = word_embeddings.lookup(&tokens.input_ids, Some(tape))?.add(&positions)?;
        let mut x = dropout.forward(&layer_norm.forward(&x)?)?;
        for block in &self.transformer.layer {
            let own = &block.attention;
            let qkv = [own.q_lin.forward(&x)?, own.k_lin.forward(&x)?, own.v_lin.forward(&x)?];
            let options = Attend {
                num_heads: own.num_heads,
                num_key_value_heads: own.num_heads,
                dropout: own.dropout,
                mask: tokens.attention_mask.as_ref(),
                ..Attend::default()
            };
            let y = own.out_lin.forward(&attend(qkv, options)?)?;
            x = block.sa_layer_norm.forward(&y.add(&x)?)?;
            x = block.output_layer_norm.forward(&block.ffn.forward(&x)?.add(&x)?)?;
        }
        Ok(x)
    }
}

impl Model<TokenBatch> for DistilBertModel {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        self.hidden_states(tokens, tape)
    }
}

impl Model<TokenBatch> for DistilBertForSequenceClassification {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let x = self.distilbert.hidden_states(tokens, tape)?;
        let first = self.pre_classifier.forward(&x.narrow(1, 0, 1)?.squeeze(1)?)?.relu();
        self.classifier.forward(&self.dropout.forward(&first)?)
    }
}

impl Pretrained for DistilBertModel {
    type Config = DistilBertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["distilbert"];
    const BASE: &'static str = "distilbert";
    const TIED: &'static [&'static str] = &[];

    fn blank(config: &DistilBertConfig) -> Result<Self> {
        config.blank()
    }
}

impl Pretrained for DistilBertForSequenceClassification {
    type Config = Labels<DistilBertConfig>;
    const MODEL_TYPES: &'static [&'static str] = &["distilbert"];
    const BASE: &'static str = "distilbert";
    const TIED: &'static [&'static str] = &[];

    fn blank(config: &Labels<DistilBertConfig>) -> Result<Self> {
        Self::new(config.model.clone(), config.num_labels()).blank()
    }
}
