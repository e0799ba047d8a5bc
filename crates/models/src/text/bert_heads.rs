//! BERT with a classifier, and with the head of its pretraining.

use dendra_autograd::{Param, Tape, Var};
use dendra_nn::{Dropout, Fans, Init, LayerNorm, Linear, Model, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::batch::TokenBatch;
use super::bert::{BertConfig, BertModel};
use crate::activation::Activation;
use crate::build::{builds, check_sizes};
use crate::pretrained::{Labels, Pretrained};

/// [`BertModel`] with a classifier of whole texts: logits `[N, num_labels]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct BertForSequenceClassification {
    /// The encoder.
    pub bert: BertModel,
    /// The classifier of the pooled vector.
    pub classifier: Linear,
    #[parameters(skip)]
    dropout: Dropout,
}

/// [`BertModel`] with the logits of each token, `[N, L, vocab_size]`, for texts
/// with masked tokens. The output layer shares its weight with the embedding.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct BertForMaskedLM {
    /// The encoder, without a pooler.
    pub bert: BertModel,
    cls: Head,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Head {
    predictions: Predictions,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Predictions {
    bias: Param,
    transform: Transform,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Transform {
    dense: Linear,
    #[parameters(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    #[parameters(skip)]
    activation: Activation,
}

/// The settings of a [`BertForSequenceClassification`].
#[derive(Clone, Debug)]
pub struct BertClassifierSettings {
    config: BertConfig,
    num_labels: usize,
}

/// The settings of a [`BertForMaskedLM`].
#[derive(Clone, Debug)]
pub struct BertMaskedLMSettings {
    config: BertConfig,
}

builds!(BertClassifierSettings => BertForSequenceClassification);
builds!(BertMaskedLMSettings => BertForMaskedLM);

impl BertForSequenceClassification {
    /// Settings of a classifier with this number of classes.
    pub fn new(config: BertConfig, num_labels: usize) -> BertClassifierSettings {
        BertClassifierSettings { config: config.pooler(true), num_labels }
    }
}

impl BertForMaskedLM {
    /// Settings of a network with this encoder.
    pub fn new(config: BertConfig) -> BertMaskedLMSettings {
        BertMaskedLMSettings { config: config.pooler(false) }
    }
}

impl BertClassifierSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<BertForSequenceClassification> {
        check_sizes("Bert", &[("num_labels", self.num_labels)])?;
        let config = &self.config;
        let bert = config.assemble(source)?;
        let dropout = config.classifier_dropout.unwrap_or(config.hidden_dropout_prob);
        Ok(BertForSequenceClassification {
            bert,
            classifier: config.dense(config.hidden_size, self.num_labels).init_from(source)?,
            dropout: Dropout::new(dropout)?,
        })
    }
}

impl BertMaskedLMSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<BertForMaskedLM> {
        let config = &self.config;
        let (width, fans) = (config.hidden_size, Fans { fan_in: 1, fan_out: 1 });
        let bert = config.assemble(source)?;
        let bias = source.param(Init::Zeros, [config.vocab_size], fans, &"Bert")?;
        let transform = Transform {
            dense: config.dense(width, width).init_from(source)?,
            layer_norm: config.norm(source)?,
            activation: config.hidden_act,
        };
        Ok(BertForMaskedLM { bert, cls: Head { predictions: Predictions { bias, transform } } })
    }
}

impl Model<TokenBatch> for BertForSequenceClassification {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let pooled = self.bert.pooled(&self.bert.hidden_states(tokens, tape)?)?;
        self.classifier.forward(&self.dropout.forward(&pooled)?)
    }
}

impl Model<TokenBatch> for BertForMaskedLM {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let x = self.bert.hidden_states(tokens, tape)?;
        let Predictions { bias, transform } = &self.cls.predictions;
        let x = transform.activation.apply(&transform.dense.forward(&x)?);
        let x = transform.layer_norm.forward(&x)?;
        let words = &self.bert.embeddings.word_embeddings;
        x.linear(&words.weight.on(&x), Some(&bias.on(&x)))
    }
}

impl Pretrained for BertForSequenceClassification {
    type Config = Labels<BertConfig>;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];
    const BASE: &'static str = "bert";
    const TIED: &'static [&'static str] = &[];

    fn blank(config: &Labels<BertConfig>) -> Result<Self> {
        Self::new(config.model.clone(), config.num_labels()).blank()
    }
}

impl Pretrained for BertForMaskedLM {
    type Config = BertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];
    const BASE: &'static str = "bert";
    const TIED: &'static [&'static str] =
        &["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"];

    fn blank(config: &BertConfig) -> Result<Self> {
        Self::new(config.clone()).blank()
    }
}
