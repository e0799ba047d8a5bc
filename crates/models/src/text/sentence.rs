//! Sentence embeddings.

use dendra_autograd::{Tape, Var};
use dendra_nn::{Model, Parameters};
use dendra_tensor::{Error, Ops, Result, Tensor};

use super::batch::TokenBatch;
use super::bert::{BertConfig, BertModel};
use crate::pretrained::Pretrained;

/// A unit vector for each text; the product of two vectors is the similarity of
/// the texts (Reimers and Gurevych, "Sentence-BERT", 2019). It is the
/// normalised mean of BERT's hidden states over the tokens that are not
/// padding, as in `all-MiniLM-L6-v2` of sentence-transformers.
///
/// A batch of token ids `[N, L]` gives vectors `[N, hidden_size]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct SentenceEmbedder {
    /// The encoder.
    #[parameters(flatten)]
    pub bert: BertModel,
}

/// The mean of the hidden states `[N, L, E]` of the tokens that are not
/// padding, `[N, E]`; 0 for a text without such tokens.
///
/// # Errors
///
/// When the mask has another shape than `[N, L]`.
pub fn mean_pooling(hidden_states: &Var, attention_mask: Option<&Tensor<bool>>) -> Result<Var> {
    let Some(mask) = attention_mask else {
        return hidden_states.mean_axes(&[1], false);
    };
    let &[samples, length, _] = &hidden_states.shape()[..] else {
        let message = format!("expected [N, L, E], got {}", hidden_states.shape());
        return Err(Error::shape("mean_pooling", message));
    };
    if mask.shape()[..] != [samples, length] {
        let message = format!("expected a mask [{samples}, {length}], got {}", mask.shape());
        return Err(Error::shape("mean_pooling", message));
    }
    let counted = mask.map(f32::from).reshape([samples, length, 1])?;
    let count = counted.sum_axes(&[1], false)?.map(|count| count.max(1e-9));
    hidden_states.mul(&Var::new(counted))?.sum_axes(&[1], false)?.div(&Var::new(count))
}

impl SentenceEmbedder {
    /// An embedder with this encoder.
    pub fn new(bert: BertModel) -> Self {
        Self { bert }
    }
}

impl Model<TokenBatch> for SentenceEmbedder {
    type Output = Var;

    fn run(&self, tokens: &TokenBatch, tape: &Tape) -> Result<Var> {
        let x = self.bert.hidden_states(tokens, tape)?;
        mean_pooling(&x, tokens.attention_mask.as_ref())?.normalize(2.0, -1, 1e-12)
    }
}

impl Pretrained for SentenceEmbedder {
    type Config = BertConfig;
    const MODEL_TYPES: &'static [&'static str] = &["bert"];
    const BASE: &'static str = "bert";
    const TIED: &'static [&'static str] = &[];

    fn blank(config: &BertConfig) -> Result<Self> {
        Ok(Self::new(config.clone().pooler(false).blank()?))
    }
}
