//! Quantiles, composed of other functions.

use super::Ops;
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The value of a quantile between two elements. Between an infinite and a
/// finite element the value is infinite (in some cases PyTorch returns NaN).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// Linear interpolation.
    #[default]
    Linear,
    /// The lower element.
    Lower,
    /// The higher element.
    Higher,
    /// The mean of the two.
    Midpoint,
    /// The nearer element; halfway between two, the one with an even index.
    Nearest,
}

impl Interpolation {
    /// The offsets of the two neighbours of a position in a sorted axis, and
    /// the weight of the second one.
    fn between(self, position: f64) -> (f64, f64, f64) {
        let (low, high) = (position.floor(), position.ceil());
        match self {
            Self::Linear => (low, high, position - low),
            Self::Lower => (low, low, 0.0),
            Self::Higher => (high, high, 0.0),
            Self::Midpoint => (low, high, (high - low) / 2.0),
            Self::Nearest => (position.round_ties_even(), position.round_ties_even(), 0.0),
        }
    }
}

/// The functions, as items of the trait.
macro_rules! quantile_functions {
    () => {
        /// The value below which the part `q` of an axis lies, linearly
        /// interpolated between two elements; NaN if there is a NaN. For the
        /// whole tensor, use `x.flatten(0, -1)`.
        fn quantile(&self, q: f64, axis: isize, keep: bool) -> Result<Self> {
            self.quantiles(&[q], axis, keep)?.squeeze(0)
        }

        /// [`quantile`](Ops::quantile) for several parts, along a new first
        /// axis.
        fn quantiles(&self, q: &[f64], axis: isize, keep: bool) -> Result<Self> {
            self.quantiles_with(q, axis, keep, Interpolation::Linear)
        }

        /// [`quantiles`](Ops::quantiles) with another interpolation between two
        /// elements.
        fn quantiles_with(
            &self,
            q: &[f64],
            axis: isize,
            keep: bool,
            interpolation: Interpolation,
        ) -> Result<Self> {
            quantile::quantiles("quantile", self, q, axis, keep, interpolation, false)
        }

        /// [`quantile`](Ops::quantile) of the elements that are not NaN; NaN if
        /// there are none.
        fn nanquantile(&self, q: f64, axis: isize, keep: bool) -> Result<Self> {
            self.nanquantiles_with(&[q], axis, keep, Interpolation::Linear)?.squeeze(0)
        }

        /// [`quantiles_with`](Ops::quantiles_with) for the elements that are
        /// not NaN.
        fn nanquantiles_with(
            &self,
            q: &[f64],
            axis: isize,
            keep: bool,
            interpolation: Interpolation,
        ) -> Result<Self> {
            quantile::quantiles("nanquantile", self, q, axis, keep, interpolation, true)
        }
    };
}

pub(super) use quantile_functions;

/// Quantiles along an axis; with `skip_nan`, of the elements that are not NaN.
pub(super) fn quantiles<X: Ops>(
    function: &str,
    x: &X,
    q: &[f64],
    axis: isize,
    keep: bool,
    interpolation: Interpolation,
    skip_nan: bool,
) -> Result<X> {
    let shape = x.value().shape();
    let (_, length) = shape.along(function, axis)?;
    if let Some(q) = q.iter().find(|q| length == 0 || !(0.0..=1.0).contains(*q)) {
        let message = format!(
            "expected q from 0 to 1 and elements along axis {axis}, got {q} and shape {shape}"
        );
        return Err(Error::argument(function, message));
    }
    // NaN is sorted last, so the numbers come first.
    let (sorted, _) = x.sort(axis, false)?;
    let is_number = x.value().map(|x| if x.is_nan() { 0.0 } else { 1.0 });
    let numbers = is_number.sum_axes(&[axis], true)?;
    let none = match skip_nan {
        true => numbers.map(|numbers| numbers == 0.0),
        false => numbers.map(|numbers| numbers < length as f64),
    };
    let value = |&q: &f64| {
        let of = |part: fn((f64, f64, f64)) -> f64| {
            numbers.map(|numbers| part(interpolation.between(q * (numbers - 1.0).max(0.0))))
        };
        let [low, high] = [of(|(low, _, _)| low), of(|(_, high, _)| high)];
        let weights = of(|(_, _, weight)| weight);
        let (same, [low, high]) = (low == high, [low, high].map(|index| index.cast()));
        let low = sorted.gather(axis, &low)?;
        let value = if same { low } else { between(&low, &sorted.gather(axis, &high)?, &weights)? };
        let value = value.masked_fill(&none, f64::NAN)?;
        if keep { Ok(value) } else { value.squeeze(axis) }
    };
    let values = q.iter().map(value).collect::<Result<Vec<X>>>()?;
    X::stack(&values.iter().collect::<Vec<_>>(), 0)
}

/// The value between two elements of a sorted axis at a weight. It is computed
/// from the nearer element, and from a finite one if there is one.
fn between<X: Ops>(low: &X, high: &X, weights: &Tensor<f64>) -> Result<X> {
    let difference = high.sub(low)?;
    // The difference of two equal infinities.
    let difference = difference.masked_fill(&difference.value().isnan(), 0.0)?;
    let near_low = weights.lt_scalar(0.5).logical_and(&low.value().isfinite())?;
    let from_low = near_low.logical_or(&high.value().isinf())?;
    let steps = weights.where_mask(&from_low, &weights.add_scalar(-1.0))?;
    let steps = X::constant(steps.map(Number::from_f64));
    low.where_mask(&from_low, high)?.add(&difference.mul(&steps)?)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn assert_near(actual: &Tensor<f64>, expected: &[f64]) {
        let expected = Tensor::from_vec(expected.to_vec(), actual.shape()).unwrap();
        assert_relative_eq!(*actual, expected, epsilon = 1e-12, max_relative = 1e-9);
    }

    /// Expected values here and below: PyTorch's.
    #[test]
    fn quantiles_by_every_rule() {
        use Interpolation::{Higher, Linear, Lower, Midpoint, Nearest};
        let x = Tensor::from([[3.0, 1.0, 2.0, 5.0], [4.0, NAN, 0.0, 1.0]]);
        let q = [0.0, 0.3, 0.5, 1.0];
        let cases = [
            (Linear, [1.0, 1.9, 2.5, 5.0], [0.0, 0.6, 1.0, 4.0]),
            (Lower, [1.0, 1.0, 2.0, 5.0], [0.0, 0.0, 1.0, 4.0]),
            (Higher, [1.0, 2.0, 3.0, 5.0], [0.0, 1.0, 1.0, 4.0]),
            (Midpoint, [1.0, 1.5, 2.5, 5.0], [0.0, 0.5, 1.0, 4.0]),
            (Nearest, [1.0, 2.0, 3.0, 5.0], [0.0, 1.0, 1.0, 4.0]),
        ];
        for (rule, first, second) in cases {
            let all = x.quantiles_with(&q, 1, false, rule).unwrap();
            assert_near(&all.select(1, 0).unwrap(), &first);
            assert!(all.select(1, 1).unwrap().isnan().all());
            let numbers = x.nanquantiles_with(&q, 1, true, rule).unwrap();
            assert_eq!(*numbers.shape(), [4, 2, 1]);
            assert_near(&numbers.select(1, 0).unwrap().flatten(0, -1).unwrap(), &first);
            assert_near(&numbers.select(1, 1).unwrap().flatten(0, -1).unwrap(), &second);
        }
        assert_near(&x.nanquantile(0.5, 0, false).unwrap(), &[3.5, 1.0, 1.0, 3.0]);
        assert!(Tensor::from([NAN]).nanquantile(0.5, 0, false).unwrap().item().unwrap().is_nan());
        let whole = x.flatten(0, -1).unwrap().nanquantile(0.5, 0, false).unwrap();
        assert_eq!(whole.item().unwrap(), 2.0);
        assert_eq!(Tensor::scalar(2.0).quantile(0.3, 0, false).unwrap(), Tensor::scalar(2.0));
        assert!(x.nanquantile(1.5, 0, false).is_err() && x.nanquantile(NAN, 0, false).is_err());
        assert!(Tensor::<f64>::zeros([2, 0]).nanquantile(0.5, 1, false).is_err());
    }

    #[test]
    fn infinite_elements_have_quantiles() {
        let x = Tensor::from([INF, INF, -INF, 2.0]);
        let quantiles = x.quantiles(&[0.0, 0.2, 0.3, 1.0 / 3.0, 0.4, 0.6, 0.9, 1.0], 0, false);
        let expected = [-INF, -INF, -INF, 2.0, INF, INF, INF, INF];
        assert_eq!(quantiles.unwrap().to_vec(), expected);
    }
}
