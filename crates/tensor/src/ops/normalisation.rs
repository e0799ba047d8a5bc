//! The gradients of normalisations as terms, which batch, layer, group and root
//! mean square normalisation share.

use super::channelwise::{combination, products, sums};
use super::{Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Checks the number that a normalisation adds to a variance.
pub(super) fn check_epsilon(context: &str, epsilon: f64) -> Result<()> {
    if epsilon >= 0.0 && epsilon.is_finite() {
        return Ok(());
    }
    let message = format!("epsilon must be a number of at least 0, got {epsilon}");
    Err(Error::argument(context, message))
}

/// What a normalisation does to its input.
pub(super) struct Normalisation<T: Float> {
    /// The shape `[images, channels, elements]` in which each channel has its
    /// own statistics.
    pub(super) view: [usize; 3],
    /// The shape of the input, and a shape of weight and bias that broadcasts
    /// to it.
    pub(super) parameters: [Shape; 2],
    /// The statistics.
    pub(super) statistics: Statistics<T>,
}

/// The statistics that a normalisation uses.
pub(super) enum Statistics<T: Float> {
    /// Those of the input.
    Own {
        /// Whether the mean is subtracted.
        centred: bool,
        epsilon: f64,
        /// A factor of the distances, `[1, channels, 1]`, where their squares
        /// would be out of range.
        range: Option<Tensor<T>>,
    },
    /// Constants, `[1, channels, 1]`.
    Fixed { mean: Tensor<T>, factor: Tensor<T> },
}

impl<T: Float> Normalisation<T> {
    /// The gradients of x and, if present, of weight and bias.
    ///
    /// With d = x − mean, the factor f = 1 / √(mean of d² + ε) and h = g ·
    /// weight, the gradient of x is f · (h − mean of h − f² · d · mean of h·d),
    /// without the means if the statistics are constants.
    pub(super) fn gradients<S>(&self, call: &TermCall<'_, T, S>) -> Result<TermCotangents<T>> {
        let constant = |value: Tensor<T>| Term::constant(value);
        if call.output.value().is_empty() {
            return call.each(|index| Ok(constant(Tensor::zeros(call.inputs[index].shape()))));
        }
        let [images, channels, elements] = self.view;
        let count = (images * elements) as f64;
        let mean_of = |sum: Term<T>| sum.mul_scalar(1.0 / count);
        let of_channels = Shape::from([1, channels, 1]);
        let ones = constant(Tensor::ones(&of_channels));

        let x = call.inputs[0].reshape(self.view)?;
        let g = call.cotangent.reshape(self.view)?;
        // d, the factor that completes the normalisation of d, and f.
        let (distance, rest, factor) = match &self.statistics {
            Statistics::Fixed { mean, factor } => {
                let distance = combination(&[[&x, &ones]], Some(&constant(-mean)))?;
                let factor = constant(factor.clone());
                (distance, factor.clone(), factor)
            }
            Statistics::Own { centred, epsilon, range } => {
                let mut distance = x;
                if *centred {
                    let mean = mean_of(sums(&distance)?);
                    distance = combination(&[[&distance, &ones]], Some(&-mean))?;
                }
                let range = range.as_ref().map(|range| constant(range.clone()));
                let mut epsilon = ones.mul_scalar(*epsilon);
                if let Some(range) = &range {
                    distance = combination(&[[&distance, range]], None)?;
                    epsilon = epsilon * range * range;
                }
                let rest = (mean_of(products(&distance, &distance)?) + epsilon).rsqrt();
                let factor = range.map_or_else(|| rest.clone(), |range| range * &rest);
                (distance, rest, factor)
            }
        };

        // A weight for each channel is a factor of the sums; other weights are
        // not.
        let [input, parameters] = &self.parameters;
        let is_of_channels = **input == self.view && *parameters == of_channels;
        let mut scale = factor;
        let mut h = g.clone();
        if let Some(weight) = call.inputs.get(1) {
            let weight = weight.reshape(parameters.clone())?;
            match is_of_channels {
                true => scale = scale * weight,
                false => h = (g.reshape(input.clone())? * weight).reshape(self.view)?,
            }
        }
        let along = products(&h, &distance)?;
        call.each(|index| match (index, &self.statistics) {
            (0, Statistics::Fixed { .. }) => {
                combination(&[[&h, &scale]], None)?.reshape(call.inputs[0].shape())
            }
            (0, Statistics::Own { centred, .. }) => {
                let slope = -mean_of(&scale * &rest * &rest * &along);
                let shift = match centred {
                    true => Some(-mean_of(&scale * sums(&h)?)),
                    false => None,
                };
                let gradient = combination(&[[&h, &scale], [&distance, &slope]], shift.as_ref())?;
                gradient.reshape(call.inputs[0].shape())
            }
            (1, _) if is_of_channels => (&along * &rest).reshape(call.inputs[1].shape()),
            (1, _) => {
                let normalised = combination(&[[&distance, &rest]], None)?;
                let products = g.reshape(input.clone())? * normalised.reshape(input.clone())?;
                products.sum_to(parameters)?.reshape(call.inputs[1].shape())
            }
            _ if is_of_channels => sums(&g)?.reshape(call.inputs[index].shape()),
            _ => {
                let sum = g.reshape(input.clone())?.sum_to(parameters)?;
                sum.reshape(call.inputs[index].shape())
            }
        })
    }
}
