//! The output that is explained.

use std::ops::Range;

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

/// The output that is explained: one class index for all samples, or one for
/// each sample. A model with one output for each sample has only the class 0.
///
/// A class index, an array, a slice or a vector of indices converts to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The same class for all samples.
    Class(usize),
    /// A class for each sample.
    Each(Vec<usize>),
}

impl From<usize> for Target {
    fn from(class: usize) -> Self {
        Self::Class(class)
    }
}

impl From<Vec<usize>> for Target {
    fn from(classes: Vec<usize>) -> Self {
        Self::Each(classes)
    }
}

impl From<&[usize]> for Target {
    fn from(classes: &[usize]) -> Self {
        Self::Each(classes.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Target {
    fn from(classes: [usize; N]) -> Self {
        Self::Each(classes.to_vec())
    }
}

impl Target {
    /// The scores `[N]` of the target in outputs `[N, classes]` or `[N]`.
    pub(crate) fn scores<T: Float>(&self, outputs: &Var<T>) -> Result<Var<T>> {
        let (samples, classes) = match outputs.shape()[..] {
            [samples] => (samples, 1),
            [samples, classes] => (samples, classes),
            _ => {
                let found = outputs.shape();
                let message = format!("expected outputs [N, classes] or [N], got {found}");
                return Err(Error::shape("explain", message));
            }
        };
        let indices = self.for_samples(samples)?;
        if let Some(class) = indices.iter().find(|&&class| class >= classes) {
            let message =
                format!("expected a class below {classes}, the number of outputs, got {class}");
            return Err(Error::argument("explain", message));
        }
        if outputs.shape().len() == 1 {
            return Ok(outputs.clone());
        }
        let indices = indices.into_iter().map(|class| class as i64).collect();
        let indices = Tensor::from_vec(indices, [samples, 1])?;
        outputs.gather(1, &indices)?.reshape([samples])
    }

    /// The class of each of `samples` samples.
    pub(crate) fn for_samples(&self, samples: usize) -> Result<Vec<usize>> {
        match self {
            Self::Class(class) => Ok(vec![*class; samples]),
            Self::Each(classes) if classes.len() == samples => Ok(classes.clone()),
            Self::Each(classes) => {
                let found = classes.len();
                let message =
                    format!("expected a class for each of {samples} samples, got {found}");
                Err(Error::argument("explain", message))
            }
        }
    }

    /// The target of `copies` concatenated copies of the batch.
    pub(crate) fn tiled(&self, copies: usize) -> Self {
        match self {
            Self::Class(class) => Self::Class(*class),
            Self::Each(classes) => Self::Each(classes.repeat(copies)),
        }
    }

    /// The target of some of the samples.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Class(class) => Self::Class(*class),
            Self::Each(classes) => Self::Each(classes.get(rows).unwrap_or_default().to_vec()),
        }
    }
}
