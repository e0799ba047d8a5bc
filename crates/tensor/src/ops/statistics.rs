//! Statistics and numerical analysis, composed of other functions: covariances,
//! differences, and integrals by the trapezoidal rule.

use super::Ops;
use crate::element::Number;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The functions, as items of the trait.
macro_rules! statistics_functions {
    () => {
        /// The variance over some axes (see [`var_axes`](Ops::var_axes)) and
        /// the mean.
        fn var_mean(
            &self,
            axes: &[isize],
            correction: impl Into<f64>,
            keep: bool,
        ) -> Result<(Self, Self)> {
            Ok((self.var_axes(axes, correction, keep)?, self.mean_axes(axes, keep)?))
        }

        /// The standard deviation over some axes (see
        /// [`std_axes`](Ops::std_axes)) and the mean.
        fn std_mean(
            &self,
            axes: &[isize],
            correction: impl Into<f64>,
            keep: bool,
        ) -> Result<(Self, Self)> {
            Ok((self.std_axes(axes, correction, keep)?, self.mean_axes(axes, keep)?))
        }

        /// The minimum and the maximum over some axes; equal ones share the
        /// gradient.
        fn aminmax(&self, axes: &[isize], keep: bool) -> Result<(Self, Self)> {
            Ok((self.min_axes(axes, keep)?, self.max_axes(axes, keep)?))
        }

        /// The covariances `[variables, variables]` of observations
        /// `[variables, observations]`; for a single variable, which can be a
        /// vector, its variance as a scalar.
        ///
        /// The sum of products is divided by the number of observations less
        /// `correction`, or by 0 if that is negative. Observations can have two
        /// kinds of weights: the number of times that each was made, and its
        /// importance. The divisor is then w − correction · Σ wᵢaᵢ / w, where
        /// wᵢ is the product of both weights, aᵢ the importance and w = Σ wᵢ;
        /// without importances it is w − correction.
        ///
        /// # Errors
        ///
        /// When there are more than two axes, a weight is negative, the number
        /// of weights is not that of observations, or the weights add up to 0.
        fn cov(
            &self,
            correction: usize,
            frequencies: Option<&Tensor<i64>>,
            importances: Option<&Tensor<Self::Element>>,
        ) -> Result<Self> {
            statistics::covariances(self, correction, frequencies, importances)
        }

        /// The correlations (Pearson's coefficients) `[variables, variables]`
        /// of observations `[variables, observations]`, limited to −1 ..= 1;
        /// for a single variable 1 as a scalar.
        ///
        /// # Errors
        ///
        /// When there are more than two axes.
        fn corrcoef(&self) -> Result<Self> {
            let covariances = self.cov(1, None, None)?;
            if covariances.value().rank() == 0 {
                return covariances.div(&covariances);
            }
            let deviations = covariances.diagonal(0, 0, 1)?.sqrt();
            let scaled = covariances.div(&deviations.unsqueeze(1)?)?.div(&deviations)?;
            Ok(scaled.clamp(-1.0, 1.0))
        }

        /// The differences between neighbours along an axis.
        fn diff(&self, axis: isize) -> Result<Self> {
            let shape = self.value().shape();
            let length = shape[shape.axis("diff", axis)?].saturating_sub(1);
            let start = shape[shape.axis("diff", axis)?] - length;
            self.narrow(axis, start, length)?.sub(&self.narrow(axis, 0, length)?)
        }

        /// The differences of differences, `times` times, after joining the
        /// given values before and after along the axis.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or the shapes differ outside it.
        fn diff_times(
            &self,
            times: usize,
            axis: isize,
            prepend: Option<&Self>,
            append: Option<&Self>,
        ) -> Result<Self> {
            self.value().shape().axis("diff_times", axis)?;
            if times == 0 {
                return Ok(self.clone());
            }
            let parts: Vec<&Self> = prepend.into_iter().chain([self]).chain(append).collect();
            let joined = if parts.len() > 1 { Self::cat(&parts, axis)? } else { self.clone() };
            let shape = joined.value().shape();
            let length = shape[shape.axis("diff_times", axis)?];
            (0..times.min(length)).try_fold(joined, |x, _| x.diff(axis))
        }

        /// The integral along an axis by the trapezoidal rule, for values at a
        /// distance of `dx`.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        fn trapezoid(&self, dx: f64, axis: isize) -> Result<Self> {
            Ok(statistics::pair_sums(self, axis)?.sum_axes(&[axis], false)?.mul_scalar(dx / 2.0))
        }

        /// The integral along an axis by the trapezoidal rule, for values at
        /// `x`: a vector for the axis, or a tensor that broadcasts to the
        /// values.
        ///
        /// # Errors
        ///
        /// When the axis does not exist or `x` does not fit.
        fn trapezoid_at(&self, x: &Self, axis: isize) -> Result<Self> {
            let (areas, axis) = statistics::areas("trapezoid_at", self, x, axis)?;
            areas.sum_axes(&[axis], false)
        }

        /// The integral up to each value along an axis, from the second value
        /// on, by the trapezoidal rule for values at a distance of `dx`.
        ///
        /// # Errors
        ///
        /// When the axis does not exist.
        fn cumulative_trapezoid(&self, dx: f64, axis: isize) -> Result<Self> {
            Ok(statistics::pair_sums(self, axis)?.cumsum(axis)?.mul_scalar(dx / 2.0))
        }

        /// [`cumulative_trapezoid`](Ops::cumulative_trapezoid) for values at
        /// `x`; see [`trapezoid_at`](Ops::trapezoid_at).
        ///
        /// # Errors
        ///
        /// When the axis does not exist or `x` does not fit.
        fn cumulative_trapezoid_at(&self, x: &Self, axis: isize) -> Result<Self> {
            let (areas, axis) = statistics::areas("cumulative_trapezoid_at", self, x, axis)?;
            areas.cumsum(axis)
        }

        /// Scales each slice of an axis whose norm is above `limit` down to
        /// that norm.
        ///
        /// # Errors
        ///
        /// When the axis does not exist, or the limit is negative or NaN.
        fn renorm(&self, p: f64, axis: isize, limit: f64) -> Result<Self> {
            let shape = self.value().shape();
            let along = shape.axis("renorm", axis)? as isize;
            if limit.is_nan() || limit < 0.0 {
                let message = format!("the largest norm must be at least 0, got {limit}");
                return Err(Error::argument("renorm", message));
            }
            let others: Vec<isize> = (0..shape.len() as isize).filter(|&i| i != along).collect();
            let norms = self.norm_axes(p, &others, true)?;
            let within = norms.value().map(|norm| norm.to_f64() <= limit);
            // The constant is PyTorch's.
            let factors = norms.add_scalar(1e-7).reciprocal().mul_scalar(limit);
            self.mul(&factors.masked_fill(&within, 1.0)?)
        }

        /// The matrix of the powers of a vector's elements, with a row for each
        /// element, from the exponent `columns` − 1 down to 0, or in the
        /// reverse order if `increasing`.
        ///
        /// # Errors
        ///
        /// When the tensor is not a vector.
        fn vander(&self, columns: usize, increasing: bool) -> Result<Self> {
            let [length] = **self.value().shape() else {
                let message = format!("expected a vector, got shape {}", self.value().shape());
                return Err(Error::shape("vander", message));
            };
            let Some(factors) = columns.checked_sub(1) else {
                return self.narrow(0, 0, 0)?.reshape([length, 0]);
            };
            let ones = Self::constant(Tensor::ones([length, 1]));
            let factors = self.unsqueeze(1)?.broadcast_to([length, factors])?;
            let powers = Self::cat(&[&ones, &factors], 1)?.cumprod(1)?;
            if increasing { Ok(powers) } else { powers.flip(&[1]) }
        }
    };
}

pub(super) use statistics_functions;

/// Checks that there is a weight for each observation and none is negative.
fn checked_weights<T: Number>(weights: &Tensor<T>, observations: usize) -> Result<()> {
    if *weights.shape() != [observations] {
        let shape = weights.shape();
        let message = format!("expected weights of shape [{observations}], got {shape}");
        return Err(Error::shape("cov", message));
    }
    if weights.with_slice(|weights| weights.iter().any(|&weight| weight < T::ZERO)) {
        return Err(Error::argument("cov", "expected weights of at least 0"));
    }
    Ok(())
}

/// See [`Ops::cov`].
pub(super) fn covariances<X: Ops>(
    x: &X,
    correction: usize,
    frequencies: Option<&Tensor<i64>>,
    importances: Option<&Tensor<X::Element>>,
) -> Result<X> {
    let x = x.atleast_2d();
    let &[variables, observations] = &x.value().shape()[..] else {
        let message = format!("expected a vector or a matrix, got shape {}", x.value().shape());
        return Err(Error::shape("cov", message));
    };
    let mut weights = Tensor::<X::Element>::ones([observations]);
    if let Some(frequencies) = frequencies {
        checked_weights(frequencies, observations)?;
        weights = frequencies.cast();
    }
    let mut total = weights.sum();
    let mut lost = correction as f64;
    if let Some(importances) = importances {
        checked_weights(importances, observations)?;
        weights = weights.mul(importances)?;
        total = weights.sum();
        lost *= weights.mul(importances)?.sum().div(&total)?.item()?.to_f64();
    }
    let total = total.item()?.to_f64();
    if total == 0.0 && (frequencies.is_some() || importances.is_some()) {
        return Err(Error::argument("cov", "expected weights with a sum other than 0"));
    }
    let weights = X::constant(weights);
    let means = x.mul(&weights)?.sum_axes(&[1], true)?.mul_scalar(1.0 / total);
    let centred = x.sub(&means)?;
    let products = centred.matmul(&centred.mul(&weights)?.transpose(0, 1)?)?;
    let covariances = products.mul_scalar(1.0 / (total - lost).max(0.0));
    if variables == 1 { covariances.reshape(Shape::scalar()) } else { Ok(covariances) }
}

/// The sums of neighbours along an axis.
pub(super) fn pair_sums<X: Ops>(y: &X, axis: isize) -> Result<X> {
    let shape = y.value().shape();
    let length = shape[shape.axis("trapezoid", axis)?];
    let pairs = length.saturating_sub(1);
    y.narrow(axis, length - pairs, pairs)?.add(&y.narrow(axis, 0, pairs)?)
}

/// The areas of the trapezoids between neighbours of `y` at `x`, and the axis
/// counted from the back.
pub(super) fn areas<X: Ops>(context: &str, y: &X, x: &X, axis: isize) -> Result<(X, isize)> {
    let (shape, positions) = (y.value().shape(), x.value().shape());
    let along = shape.axis(context, axis)?;
    let behind = shape.len() - 1 - along;
    let column = match **positions {
        [length] => x.reshape([&[length][..], &vec![1; behind]].concat())?,
        _ => x.clone(),
    };
    let aligned = column.value().shape();
    let length = aligned.len().checked_sub(behind + 1).map(|axis| aligned[axis]);
    if length != Some(shape[along]) {
        let message = format!("x of shape {positions} does not fit axis {axis} of shape {shape}");
        return Err(Error::shape(context, message));
    }
    let axis = -1 - behind as isize;
    Ok((column.diff(axis)?.mul(&pair_sums(y, axis)?)?.mul_scalar(0.5), axis))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    fn assert_near(actual: &Tensor<f64>, expected: &[f64]) {
        let expected = Tensor::from_vec(expected.to_vec(), actual.shape()).unwrap();
        assert_relative_eq!(*actual, expected, epsilon = 1e-12, max_relative = 1e-9);
    }

    fn matrix() -> Tensor<f64> {
        Tensor::from([[1.0, 5.0, 2.0], [3.0, 0.0, 4.0]])
    }

    /// Expected values here and below: PyTorch's.
    #[test]
    fn covariances_and_correlations() {
        let x = Tensor::from([[0.0, 2.0, 1.0], [1.0, 0.0, 2.5], [3.0, 1.0, 1.0]]);
        let (third, sixth) = (1.0 / 3.0, -1.0 / 6.0);
        let plain = [1.0, -0.5, -1.0, -0.5, 19.0 / 12.0, sixth, -1.0, sixth, 4.0 * third];
        assert_near(&x.cov(1, None, None).unwrap(), &plain);
        assert_near(&x.cov(0, None, None).unwrap(), &plain.map(|c| c * 2.0 / 3.0));
        let often = Tensor::from([1, 2, 3]);
        let by_count = x.cov(1, Some(&often), None).unwrap();
        assert_near(&by_count.select(0, 1).unwrap(), &[-0.4833333333333, 1.5416666666667, sixth]);
        let much = Tensor::from([0.5, 1.0, 2.0]);
        let both = x.cov(1, Some(&often), Some(&much)).unwrap();
        let expected = [0.327586206897, -0.474137931034, -0.172413793103];
        assert_near(&both.select(0, 0).unwrap(), &expected);
        let by_weight = x.cov(1, None, Some(&much)).unwrap();
        let expected = [0.714285714286, 2.178571428571, 0.857142857143];
        assert_near(&by_weight.diagonal(0, 0, 1).unwrap(), &expected);
        let vector = x.select(0, 0).unwrap();
        assert_eq!(vector.cov(1, None, None).unwrap(), Tensor::scalar(1.0));
        assert_eq!(x.narrow(0, 0, 1).unwrap().cov(1, None, None).unwrap(), Tensor::scalar(1.0));
        assert!(x.narrow(1, 0, 1).unwrap().cov(1, None, None).unwrap().isnan().all());

        let (a, b, c) = (-0.3973597071195, -0.8660254037844, -0.1147078669353);
        assert_near(&x.corrcoef().unwrap(), &[1.0, a, b, a, 1.0, c, b, c, 1.0]);
        assert_eq!(vector.corrcoef().unwrap(), Tensor::scalar(1.0));

        let message = |often: &[i64]| {
            let often = Tensor::from_vec(often.to_vec(), [often.len()]).unwrap();
            x.cov(1, Some(&often), None).unwrap_err().to_string()
        };
        assert_eq!(message(&[1, 2]), "cov: expected weights of shape [3], got [2]");
        assert_eq!(message(&[1, -2, 1]), "cov: expected weights of at least 0");
        assert_eq!(message(&[0, 0, 0]), "cov: expected weights with a sum other than 0");
        assert!(x.unsqueeze(0).unwrap().cov(1, None, None).is_err());
    }

    #[test]
    fn differences_and_integrals() {
        let y = matrix();
        assert_near(&y.diff_times(2, 1, None, None).unwrap(), &[-7.0, 7.0]);
        let (before, behind) =
            (Tensor::from([[0.0], [1.0]]), Tensor::from([[7.0, 8.0], [9.0, 1.0]]));
        let joined = y.diff_times(2, -1, Some(&before), Some(&behind)).unwrap();
        assert_near(&joined, &[3.0, -7.0, 8.0, -4.0, -5.0, 7.0, 1.0, -13.0]);
        assert_eq!(*y.diff_times(usize::MAX, 1, None, None).unwrap().shape(), [2, 0]);
        assert_eq!(y.diff_times(0, 1, Some(&before), None).unwrap(), y);
        assert!(y.diff_times(1, 0, Some(&before), None).is_err());

        assert_near(&y.trapezoid(0.5, 0).unwrap(), &[1.0, 1.25, 1.5]);
        let x = Tensor::from([0.0, 1.0, 4.0]);
        assert_near(&y.trapezoid_at(&x, 1).unwrap(), &[13.5, 7.5]);
        assert_near(&y.cumulative_trapezoid(0.5, 1).unwrap(), &[1.5, 3.25, 0.75, 1.75]);
        let rows = Tensor::from([0.0, 3.0]);
        assert_near(&y.cumulative_trapezoid_at(&rows, 0).unwrap(), &[6.0, 7.5, 9.0]);
        let each = x.broadcast_to([2, 3]).unwrap();
        assert_near(&y.trapezoid_at(&each, -1).unwrap(), &[13.5, 7.5]);
        let error = y.trapezoid_at(&x, 0).unwrap_err().to_string();
        assert_eq!(error, "trapezoid_at: x of shape [3] does not fit axis 0 of shape [2, 3]");
        assert!(y.trapezoid_at(&Tensor::scalar(1.0), 0).is_err());
        assert_eq!(Tensor::<f64>::ones([1]).trapezoid(1.0, 0).unwrap().item().unwrap(), 0.0);
    }

    #[test]
    fn pairs_of_statistics() {
        let y = matrix();
        let (variance, mean) = y.var_mean(&[1], 1, false).unwrap();
        assert_near(&variance, &[13.0 / 3.0; 2]);
        assert_near(&mean, &[8.0 / 3.0, 7.0 / 3.0]);
        let (deviation, mean) = y.std_mean(&[0], 0, true).unwrap();
        assert_near(&deviation, &[1.0, 2.5, 1.0]);
        assert_eq!(mean, Tensor::from([[2.0, 2.5, 3.0]]));
        assert_near(&y.var_axes(&[1], 1.3, false).unwrap(), &[26.0 / 3.0 / 1.7; 2]);
        assert_near(&y.var_axes(&[1], -1, false).unwrap(), &[26.0 / 3.0 / 4.0; 2]);
        assert_near(&y.std_axes(&[1], -1, false).unwrap(), &[(26.0_f64 / 12.0).sqrt(); 2]);
        assert!(y.var_axes(&[1], 4, false).unwrap().is_finite().eq(&false));
        let (least, most) = y.aminmax(&[1], false).unwrap();
        assert_eq!((least.to_vec(), most.to_vec()), (vec![1.0, 0.0], vec![5.0, 4.0]));
    }

    #[test]
    fn norms_are_limited_and_powers_listed() {
        let y = matrix();
        let limited = y.renorm(2.0, 0, 3.0).unwrap();
        let expected = [0.5477225475, 2.7386127375, 1.0954450950, 1.7999999640, 0.0, 2.3999999520];
        assert_near(&limited, &expected);
        let limited = y.renorm(1.0, 1, 4.0).unwrap();
        let expected = [1.0, 3.99999992, 1.3333333111, 3.0, 0.0, 2.6666666222];
        assert_near(&limited, &expected);
        assert!(y.renorm(2.0, 0, -1.0).is_err() && y.renorm(2.0, 2, 1.0).is_err());
        let x = Tensor::from([1.0, 2.0, 3.0]);
        let powers = x.vander(4, false).unwrap();
        assert_near(&powers, &[1., 1., 1., 1., 8., 4., 2., 1., 27., 9., 3., 1.]);
        assert_near(&x.vander(3, true).unwrap(), &[1., 1., 1., 1., 2., 4., 1., 3., 9.]);
        assert_eq!(*x.vander(0, true).unwrap().shape(), [3, 0]);
        assert!(y.vander(2, true).is_err());
    }
}
