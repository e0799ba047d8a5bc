//! The gradients of normalisations as terms: what batch, layer, group and root
//! mean square normalisation share.

use super::{Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What a normalisation does to its input, seen under a shape in which its
/// statistics are over whole axes.
pub(super) struct Normalisation<T: Float> {
    /// That shape.
    pub(super) view: Shape,
    /// The axes of the statistics.
    pub(super) axes: &'static [isize],
    /// The shape of weight and bias, which broadcasts to the view.
    pub(super) parameters: Shape,
    /// Where the statistics come from.
    pub(super) statistics: Statistics<T>,
}

/// Whose statistics a normalisation uses.
pub(super) enum Statistics<T: Float> {
    /// The input's own. What they are, 1 / √(variance + ε), is given as a number that
    /// keeps squares in range.
    Own {
        /// Whether the mean is taken off.
        centred: bool,
        epsilon: f64,
        factor: Tensor<T>,
    },
    /// Constants.
    Fixed { mean: Tensor<T>, factor: Tensor<T> },
}

impl<T: Float> Normalisation<T> {
    /// The gradients of x and, where there are such, of weight and bias.
    pub(super) fn gradients<S>(&self, call: &TermCall<'_, T, S>) -> Result<TermCotangents<T>> {
        let zeros = |index: usize| Term::constant(Tensor::zeros(call.inputs[index].shape()));
        if call.output.value().is_empty() {
            return call.each(|index| Ok(zeros(index)));
        }
        let g = call.cotangent.reshape(self.view.clone())?;
        let (normalised, factor) = self.normalised(&call.inputs[0].reshape(self.view.clone())?)?;
        call.each(|index| {
            let gradient = match index {
                0 => self.input_gradient(call.inputs.get(1), &g, &normalised, &factor)?,
                1 => (&g * &normalised).sum_to(&self.parameters)?,
                _ => g.sum_to(&self.parameters)?,
            };
            gradient.reshape(call.inputs[index].shape())
        })
    }

    /// x̂ = (x − mean) · factor, and the factor 1 / √(variance + ε).
    fn normalised(&self, x: &Term<T>) -> Result<(Term<T>, Term<T>)> {
        match &self.statistics {
            Statistics::Fixed { mean, factor } => {
                let factor = Term::constant(factor.clone());
                Ok(((x - Term::constant(mean.clone())) * &factor, factor))
            }
            Statistics::Own { centred, epsilon, factor } => {
                let x = if *centred { x - x.mean_axes(self.axes, true)? } else { x.clone() };
                // Nearly normalised, so that the squares neither overflow nor vanish.
                let scaled = x * Term::constant(factor.clone());
                let squares = scaled.square().mean_axes(self.axes, true)?;
                let epsilon = Term::constant(&factor.mul_scalar(*epsilon) * factor);
                let rest = (squares + epsilon).rsqrt();
                Ok((scaled * &rest, rest * Term::constant(factor.clone())))
            }
        }
    }

    /// factor · (h − mean of h − x̂ · mean of h·x̂) with h = g · weight; the means
    /// are there because the statistics depend on x.
    fn input_gradient(
        &self,
        weight: Option<&Term<T>>,
        g: &Term<T>,
        normalised: &Term<T>,
        factor: &Term<T>,
    ) -> Result<Term<T>> {
        let mut h = match weight {
            Some(weight) => g * weight.reshape(self.parameters.clone())?,
            None => g.clone(),
        };
        if let Statistics::Own { centred, .. } = self.statistics {
            let slope = (&h * normalised).mean_axes(self.axes, true)?;
            if centred {
                h = &h - h.mean_axes(self.axes, true)?;
            }
            h = h - normalised * slope;
        }
        Ok(h * factor)
    }
}
