//! Conversion of the names and layouts of other frameworks.

mod keras;

use std::collections::HashSet;

use dendra_tensor::{Error, Result};

use crate::values::Step;
use crate::weights::{Weight, Weights};

/// The layers of GPT-2 that the original calls `Conv1D`: linear layers whose
/// weights have the shape `[inputs, outputs]`.
const CONV1D: [&str; 4] = ["c_attn", "q_attn", "c_fc", "c_proj"];

impl Weights {
    /// Transposes the tensors for which `which` returns true. No values are
    /// read.
    ///
    /// # Errors
    ///
    /// When one of these tensors does not have two axes.
    pub fn transposed(&self, which: &dyn Fn(&str) -> bool) -> Result<Self> {
        let transposed = |weight: &Weight| match weight.shape.len() {
            _ if !which(&weight.name) => Ok(weight.clone()),
            2 => Ok(weight.changed(Step::Permute(vec![1, 0]))),
            _ => Err(Error::shape(
                "Weights::transposed",
                format!("expected two axes, {} has shape {}", weight.name, weight.shape),
            )),
        };
        self.with(self.iter().map(transposed).collect::<Result<_>>()?)
    }

    /// Converts GPT-2's weights to the layout of [`Linear`](dendra_nn::Linear):
    /// those of `c_attn`, `q_attn`, `c_fc` and `c_proj` are transposed.
    ///
    /// # Errors
    ///
    /// The errors of [`transposed`](Self::transposed).
    pub fn from_gpt2_layout(&self) -> Result<Self> {
        let is_conv1d = |name: &str| {
            let layer = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
            layer.is_some_and(|layer| CONV1D.contains(&layer))
        };
        self.transposed(&is_conv1d)
    }

    /// Converts the names in old checkpoints of Hugging Face to the present
    /// ones: `gamma` and `beta` of a normalisation become `weight` and `bias`.
    ///
    /// # Errors
    ///
    /// When two tensors get the same name.
    pub fn from_hugging_face(&self) -> Result<Self> {
        self.renamed(&|name| {
            Some(match name.rsplit_once('.') {
                Some((layer, "gamma")) => format!("{layer}.weight"),
                Some((layer, "beta")) => format!("{layer}.bias"),
                _ => name.to_owned(),
            })
        })
    }

    /// Removes tensors that are the same as an earlier one under a second name.
    /// PyTorch files contain these for weights that two layers share; a model
    /// of this library has such a weight only once.
    ///
    /// # Errors
    ///
    /// When two tensors have the same name, which does not occur in files.
    pub fn without_ties(&self) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut weights = Vec::new();
        for weight in self.iter() {
            let position = weight.shared.as_ref().map(|at| (at, &weight.shape));
            if position.is_none_or(|position| seen.insert(position)) {
                weights.push(weight.clone());
            }
        }
        self.with(weights)
    }

    /// Adds the tensor `of` under another name, for a model with two weights
    /// where the file has one for two layers: GPT-2's files have no
    /// `lm_head.weight`, since it is `transformer.wte.weight`.
    ///
    /// # Errors
    ///
    /// When there is no tensor `of`, or the new name exists.
    pub fn with_tied(&self, name: &str, of: &str) -> Result<Self> {
        let shared = self.get(of).ok_or_else(|| {
            Error::file(self.path(), format!("the tensor {of:?} for {name:?} is missing"))
        })?;
        let mut weights: Vec<Weight> = self.iter().cloned().collect();
        weights.push(shared.named(name));
        self.with(weights)
    }

    /// Reorders the weight `name` of a linear layer after a flattening layer
    /// for inputs whose channels come first. Keras flattens images of shape
    /// `[height, width, channels]`, this library those of shape
    /// `[channels, height, width]`. `sizes` is the shape of one image in Keras.
    ///
    /// # Errors
    ///
    /// When there is no such tensor, or it does not have two axes, the second
    /// of which has the length of the elements of one image.
    pub fn from_channels_last(&self, name: &str, sizes: &[usize]) -> Result<Self> {
        let refuse = |message| Error::shape("Weights::from_channels_last", message);
        let found = self.get(name);
        let found = found.ok_or_else(|| refuse(format!("there is no tensor {name:?}")))?;
        let elements = sizes.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
        let (Some((&channels, _)), [_, columns]) = (sizes.split_last(), &found.shape[..]) else {
            return Err(refuse(format!("expected [outputs, inputs], got {}", found.shape)));
        };
        if elements != Some(*columns) {
            let message = format!("images of {sizes:?} do not fit {name} of {}", found.shape);
            return Err(refuse(message));
        }
        let pixels = columns / channels.max(1);
        let order: Vec<usize> = (0..*columns).map(|i| i % pixels * channels + i / pixels).collect();
        let changed = |weight: &Weight| match weight.name == name {
            true => weight.changed(Step::Select(1, order.clone())),
            false => weight.clone(),
        };
        self.with(self.iter().map(changed).collect())
    }
}
