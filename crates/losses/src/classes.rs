//! Labels and class weights: where the classes lie, and which samples count.

use dendra_tensor::{Error, Float, Ops, Result, Shape, Tensor};

use crate::loss::Reduction;

/// The settings of losses by labels.
#[derive(Clone, Debug)]
pub(crate) struct LabelSettings {
    pub(crate) class_weights: Option<Vec<f64>>,
    pub(crate) ignore_index: i64,
    pub(crate) reduction: Reduction,
}

impl Default for LabelSettings {
    fn default() -> Self {
        Self { class_weights: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

/// The axis of the classes: the second one of `[n, classes, …]`, the only one
/// of `[classes]`.
pub(crate) fn class_axis(place: &str, shape: &Shape) -> Result<usize> {
    match shape.len() {
        0 => Err(Error::shape(place, "expected [classes] or [n, classes, …], got a scalar")),
        1 => Ok(0),
        _ => Ok(1),
    }
}

/// The labels of all samples, checked.
pub(crate) struct Samples<T: Float> {
    axis: isize,
    /// The labels, with the axis of the classes; 0 where a label is ignored.
    index: Tensor<i64>,
    /// Which labels are not ignored; `None` when all are not.
    counted: Option<Tensor<bool>>,
    /// The weight of each sample's class; 0 where its label is ignored.
    weight: Tensor<T>,
    reduction: Reduction,
}

impl LabelSettings {
    /// The weights of the classes, one for each.
    ///
    /// # Errors
    ///
    /// When they are not as many as the classes, or one is not a finite number
    /// or negative.
    pub(crate) fn weights(&self, place: &str, classes: usize) -> Result<Option<&[f64]>> {
        let Some(weights) = &self.class_weights else { return Ok(None) };
        if weights.len() != classes {
            let message = format!("{} class weights for {classes} classes", weights.len());
            return Err(Error::argument(place, message));
        }
        match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            Some(bad) => {
                let message = format!("class weights must be finite and not negative, got {bad}");
                Err(Error::argument(place, message))
            }
            None => Ok(Some(weights)),
        }
    }

    /// The labels for an output of this shape.
    ///
    /// # Errors
    ///
    /// When their shape is not that of the output without the classes, or a
    /// label names no class and is not ignored.
    pub(crate) fn samples<T: Float>(
        &self,
        place: &str,
        output: &Shape,
        labels: &Tensor<i64>,
    ) -> Result<Samples<T>> {
        let axis = class_axis(place, output)?;
        let classes = output[axis];
        let weights = self.weights(place, classes)?;
        let expected: Shape =
            output.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, &n)| n).collect();
        if *labels.shape() != expected {
            return Err(Error::shape(
                place,
                format!(
                    "an output of shape {output} needs labels of shape {expected}, got {}",
                    labels.shape()
                ),
            ));
        }
        let counts = |label: i64| label != self.ignore_index;
        let flat = labels.to_vec();
        let bad = flat.iter().enumerate().find(|&(_, &label)| {
            counts(label) && usize::try_from(label).map_or(true, |label| label >= classes)
        });
        if let Some((sample, label)) = bad {
            let message = format!("label {label} at {sample} names none of the {classes} classes");
            return Err(Error::data(place, message));
        }
        let weight_of = |label: i64| match weights {
            _ if !counts(label) => 0.0,
            Some(weights) => weights[label as usize],
            None => 1.0,
        };
        let index = labels.map(|label| if counts(label) { label } else { 0 });
        Ok(Samples {
            axis: axis as isize,
            index: index.unsqueeze(axis as isize)?,
            counted: flat.iter().any(|&label| !counts(label)).then(|| labels.map(counts)),
            weight: labels.map(|label| T::from_f64(weight_of(label))),
            reduction: self.reduction,
        })
    }
}

impl<T: Float> Samples<T> {
    /// The negative value at each label times its weight, reduced: the mean is
    /// over the weights.
    pub(crate) fn negative_at_labels<V: Ops<Element = T>>(&self, values: &V) -> Result<V> {
        let picked = values.gather(self.axis, &self.index)?.squeeze(self.axis)?;
        self.reduce(&self.counted(&picked)?.mul(&V::constant(-&self.weight))?)
    }

    /// The values, one for each sample, with 0 where the label is ignored.
    pub(crate) fn counted<V: Ops<Element = T>>(&self, values: &V) -> Result<V> {
        match &self.counted {
            Some(counted) => values.where_mask(counted, &V::constant(Tensor::scalar(T::ZERO))),
            None => Ok(values.clone()),
        }
    }

    /// Reduces the losses of the samples.
    pub(crate) fn reduce<V: Ops<Element = T>>(&self, losses: &V) -> Result<V> {
        match self.reduction {
            Reduction::Mean => {
                let total = self.weight.sum().item()?.to_f64();
                Ok(losses.sum().mul_scalar(1.0 / total))
            }
            reduction => Ok(reduction.of(losses)),
        }
    }
}

/// Class weights in the type and rank of the output.
pub(crate) fn weights_along<T: Float>(
    weights: &[f64],
    axis: usize,
    rank: usize,
) -> Result<Tensor<T>> {
    let weights = Tensor::from_fn([weights.len()], |class| T::from_f64(weights[class]));
    let shape: Vec<usize> = (0..rank).map(|i| if i == axis { weights.len() } else { 1 }).collect();
    weights.reshape(shape)
}
