//! Names and layouts of other frameworks.

mod keras;

use std::collections::HashSet;

use dendra_tensor::{Error, Result};

use crate::values::Step;
use crate::weights::{Weight, Weights};

/// The layers of GPT-2 that the original calls `Conv1D`: linear layers whose
/// weights have the shape `[inputs, outputs]`.
const CONV1D: [&str; 4] = ["c_attn", "q_attn", "c_fc", "c_proj"];

impl Weights {
    /// The tensors for which `which` holds with their two axes exchanged.
    /// Nothing is read.
    ///
    /// # Errors
    ///
    /// When one of them does not have two axes.
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

    /// GPT-2's weights in the layout of [`Linear`](dendra_nn::Linear): those of
    /// `c_attn`, `q_attn`, `c_fc` and `c_proj` are transposed.
    ///
    /// # Errors
    ///
    /// Those of [`transposed`](Self::transposed).
    pub fn from_gpt2_layout(&self) -> Result<Self> {
        let is_conv1d = |name: &str| {
            let layer = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
            layer.is_some_and(|layer| CONV1D.contains(&layer))
        };
        self.transposed(&is_conv1d)
    }

    /// The names of old checkpoints of Hugging Face in today's spelling:
    /// `gamma` and `beta` of a normalisation become `weight` and `bias`.
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

    /// Without the tensors that are an earlier one under a second name, as a
    /// PyTorch file has them for weights that two layers share. A model of this
    /// library has such a weight once.
    ///
    /// # Errors
    ///
    /// When two tensors have the same name, which those of a file never do.
    pub fn without_ties(&self) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut weights = Vec::new();
        for weight in self.iter() {
            let place = weight.shared.as_ref().map(|at| (at, &weight.shape));
            if place.is_none_or(|place| seen.insert(place)) {
                weights.push(weight.clone());
            }
        }
        self.with(weights)
    }

    /// With the tensor `of` under another name too, for a model that has a
    /// weight of its own where the file has one for two layers: GPT-2's files
    /// have no `lm_head.weight`, since it is `transformer.wte.weight`.
    ///
    /// # Errors
    ///
    /// When there is no tensor `of`, or there is one of the new name.
    pub fn with_tied(&self, name: &str, of: &str) -> Result<Self> {
        let shared = self.get(of).ok_or_else(|| {
            Error::file(self.path(), format!("has no tensor {of:?} for {name:?} to share"))
        })?;
        let mut weights: Vec<Weight> = self.iter().cloned().collect();
        weights.push(shared.named(name));
        self.with(weights)
    }

    /// The weight `name` of a linear layer behind a flattening layer, for
    /// inputs whose channels come first: Keras flattens images of shape
    /// `[height, width, channels]`, this library those of
    /// `[channels, height, width]`. `sizes` is the shape of one image as Keras
    /// has it.
    ///
    /// # Errors
    ///
    /// When there is no such tensor, or it does not have two axes of which the
    /// second is as long as one image has elements.
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
