//! Batch normalisation.

use super::normalisation::{Normalisation, Statistics};
use super::{
    Attribute, Attributes, Call, Cotangents, Op, SampleCotangents, TermCall, TermCotangents,
};
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::channels::Channels;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Mean and variance of each channel, two tensors of shape `[C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics<T: Float = f32> {
    /// The means.
    pub mean: Tensor<T>,
    /// The variances.
    pub variance: Tensor<T>,
}

impl<T: Float> ChannelStatistics<T> {
    /// Mean and biased variance (divided by the number of elements, not by one
    /// less) of each channel of a batch of shape `[N, C, …]`; NaN if it has no
    /// elements.
    ///
    /// They are computed in two passes, the second of which also corrects the
    /// rounding error of the first (Chan, Golub and LeVeque, "Algorithms for
    /// computing the sample variance", 1983).
    ///
    /// # Errors
    ///
    /// When the batch has fewer than two axes.
    ///
    /// ```
    /// use dendra_tensor::{ChannelStatistics, Tensor};
    ///
    /// let batch = Tensor::from([[1.0, 5.0], [3.0, 5.0_f32]]);
    /// let statistics = ChannelStatistics::of(&batch).unwrap();
    /// assert_eq!(statistics.mean.to_vec(), [2.0, 5.0]);
    /// assert_eq!(statistics.variance.to_vec(), [1.0, 0.0]);
    /// ```
    pub fn of(batch: &Tensor<T>) -> Result<Self> {
        check_batch(batch.shape())?;
        let channels = Channels::of(batch.shape());
        let count = T::from_f64(channels.count() as f64);
        let of_channels = |value: &dyn Fn(usize) -> T| Tensor::from_fn([batch.shape()[1]], value);
        Ok(batch.with_slice(|x| {
            let zeros = vec![T::ZERO; batch.shape()[1]];
            let sums = channels.sums([x, x], [&zeros, &zeros]);
            let mean = of_channels(&|c| sums[c][0] / count);
            let sums = mean.with_slice(|mean| channels.sums([x, x], [mean, mean]));
            let variance = of_channels(&|c| {
                let [rest, squares] = sums[c];
                ((squares - rest * rest / count) / count).max_nan(T::ZERO)
            });
            Self { mean, variance }
        }))
    }
}

/// The mean and variance that a batch normalisation uses.
#[derive(Clone, Debug)]
pub enum NormStatistics<T: Float = f32> {
    /// Those of the batch.
    Batch,
    /// Those of the batch, already computed by the caller. The gradient
    /// includes their dependence on the batch.
    Computed(ChannelStatistics<T>),
    /// Constants, such as running averages.
    Fixed(ChannelStatistics<T>),
}

/// y = (x − mean) / √(variance + ε) · weight + bias for each channel of x of
/// shape `[N, C, …]`, with an optional weight and bias of shape `[C]` (Ioffe and
/// Szegedy, "Batch normalization", 2015).
#[derive(Clone, Debug)]
pub struct BatchNorm<T: Float> {
    /// The mean and the biased variance to use.
    pub statistics: NormStatistics<T>,
    /// The number added to the variance, so that the divisor is not 0.
    pub epsilon: f64,
}

/// Checks that a shape has channels.
fn check_batch(x: &Shape) -> Result<()> {
    if x.len() < 2 {
        let message = format!("expected an input of shape [N, C, …], got {x}");
        return Err(Error::shape("batch_norm", message));
    }
    Ok(())
}

impl<T: Float> BatchNorm<T> {
    /// 1 / √(variance + ε) for each channel.
    fn inverse_deviation(&self, statistics: &ChannelStatistics<T>) -> Vec<T> {
        let epsilon = T::from_f64(self.epsilon);
        let inverse = |variance: T| T::ONE / (variance + epsilon).sqrt();
        statistics.variance.to_vec().into_iter().map(inverse).collect()
    }
}

/// The product of two values for each channel.
fn product<T: Number>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}

impl<T: Float> Op<T> for BatchNorm<T> {
    type Saved = ChannelStatistics<T>;
    const NAME: &'static str = "batch_norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        check_batch(x)?;
        let channels = x[1];
        for (name, shape) in ["weight", "bias"].iter().zip(&inputs[1..]) {
            if ***shape != [channels] {
                let message = format!("expected a {name} of shape [{channels}], got {shape}");
                return Err(Error::shape("batch_norm", message));
            }
        }
        if let NormStatistics::Computed(given) | NormStatistics::Fixed(given) = &self.statistics {
            for (name, value) in [("mean", &given.mean), ("variance", &given.variance)] {
                if **value.shape() != [channels] {
                    let shape = value.shape();
                    let message = format!("expected a {name} of shape [{channels}], got {shape}");
                    return Err(Error::shape("batch_norm", message));
                }
            }
        }
        let own = !matches!(self.statistics, NormStatistics::Fixed(_));
        if own && channels > 0 && Channels::of(x).count() == 1 {
            let message =
                format!("expected a batch with at least two elements per channel, got {x}");
            return Err(Error::shape("batch_norm", message));
        }
        super::normalisation::check_epsilon("batch_norm", self.epsilon)?;
        Ok(x.clone())
    }

    fn vjp_per_sample(
        &self,
        _: Call<'_, T, Self::Saved>,
        _: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        match self.statistics {
            NormStatistics::Fixed(_) => Ok(None),
            NormStatistics::Batch | NormStatistics::Computed(_) => Err(Error::tape(
                "batch_norm: samples have no gradients of their own where mean and variance are \
                 those of the batch; use group or layer normalisation, or a tape for evaluation",
            )),
        }
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ChannelStatistics<T>) {
        let x = inputs[0];
        let statistics = match &self.statistics {
            NormStatistics::Batch => ChannelStatistics::of(x).expect("checked by the caller"),
            NormStatistics::Computed(given) | NormStatistics::Fixed(given) => given.clone(),
        };
        let mean = statistics.mean.to_vec();
        let mut scale = self.inverse_deviation(&statistics);
        let mut bias = vec![T::ZERO; scale.len()];
        if let [_, weight, shift] = inputs {
            scale = product(&scale, &weight.to_vec());
            bias = shift.to_vec();
        }
        let y = x.with_slice(|x_values| {
            Tensor::build(x.shape(), |out| {
                let values = [&mean[..], &scale, &bias];
                Channels::of(x.shape()).map([x_values], values, out, |[x], [mean, scale, bias]| {
                    (x - mean) * scale + bias
                });
            })
        });
        (y, statistics)
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ChannelStatistics<T>>) -> Cotangents<T> {
        if call.output.is_empty() {
            return call.each(|index| Tensor::zeros(call.inputs[index].shape()));
        }
        let x = call.inputs[0].contiguous();
        let g = call.cotangent.contiguous();
        let shape = x.shape();
        let x = x.as_slice().expect("made contiguous");
        let g = g.as_slice().expect("made contiguous");
        let channels = Channels::of(shape);
        let mean = call.saved.mean.to_vec();
        let inverse = self.inverse_deviation(call.saved);
        let scale = match call.inputs.get(1) {
            Some(weight) => product(&inverse, &weight.to_vec()),
            None => inverse.clone(),
        };
        let own = !matches!(self.statistics, NormStatistics::Fixed(_));
        // Σ g and Σ g·(x − mean).
        let sums = if own || call.needs[1..].contains(&true) {
            let zeros = vec![T::ZERO; mean.len()];
            channels.sums([g, x], [&zeros, &mean])
        } else {
            Vec::new()
        };
        call.each(|index| match index {
            0 if own => {
                // scale · (g − Σ g / n − (x − mean) · inverse² · Σ g·(x − mean) / n)
                let n = T::from_f64(channels.count() as f64);
                let slope = |c: usize| -scale[c] * inverse[c] * (inverse[c] * sums[c][1] / n);
                let slopes: Vec<T> = (0..mean.len()).map(slope).collect();
                let shifts: Vec<T> = (0..mean.len()).map(|c| -scale[c] * sums[c][0] / n).collect();
                Tensor::build(shape, |out| {
                    let values = [&mean[..], &scale, &slopes, &shifts];
                    channels.map([x, g], values, out, |[x, g], [mean, scale, slope, shift]| {
                        g * scale + ((x - mean) * slope + shift)
                    });
                })
            }
            0 => Tensor::build(shape, |out| {
                channels.map([g], [&scale], out, |[g], [scale]| g * scale);
            }),
            1 => Tensor::from_fn([mean.len()], |c| sums[c][1] * inverse[c]),
            _ => Tensor::from_fn([mean.len()], |c| sums[c][0]),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ChannelStatistics<T>>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let view = [shape[0], shape[1], shape[2..].iter().product()];
        let parameters = Shape::from([1, shape[1], 1]);
        let statistics = match self.statistics {
            NormStatistics::Batch | NormStatistics::Computed(_) => {
                Statistics::Own { centred: true, epsilon: self.epsilon, range: None }
            }
            NormStatistics::Fixed(_) => {
                let factor = Tensor::from_vec(self.inverse_deviation(call.saved), [shape[1]])?;
                let [mean, factor] =
                    [&call.saved.mean, &factor].map(|value| value.reshape(parameters.clone()));
                Statistics::Fixed { mean: mean?, factor: factor? }
            }
        };
        let normalisation =
            Normalisation { view, parameters: [view.into(), parameters], statistics };
        normalisation.gradients(&call)
    }

    fn attributes(&self) -> Attributes {
        let (kind, given) = match &self.statistics {
            NormStatistics::Batch => ("batch", None),
            NormStatistics::Computed(given) => ("computed", Some(given)),
            NormStatistics::Fixed(given) => ("fixed", Some(given)),
        };
        vec![
            ("statistics", kind.into()),
            ("mean", given.map(|given| Attribute::values(&given.mean)).into()),
            ("variance", given.map(|given| Attribute::values(&given.variance)).into()),
            ("epsilon", self.epsilon.into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(15);
        let mut case = |shape: &[usize], fixed: bool, affine: bool| {
            let channels = [shape[1]];
            let mut inputs = vec![Tensor::normal(shape, 1.0, 2.0, &mut rng)];
            if affine {
                inputs.push(Tensor::uniform(channels, 0.5, 1.5, &mut rng));
                inputs.push(Tensor::normal(channels, 0.0, 1.0, &mut rng));
            }
            let statistics = if fixed {
                let mean = Tensor::normal(channels, 0.0, 1.0, &mut rng);
                let variance = Tensor::uniform(channels, 0.5, 1.5, &mut rng);
                NormStatistics::Fixed(ChannelStatistics { mean, variance })
            } else {
                NormStatistics::Batch
            };
            (BatchNorm { statistics, epsilon: 1e-3 }, inputs)
        };
        vec![
            case(&[5, 3], false, true),
            case(&[3, 2, 4, 5], false, true),
            case(&[4, 3, 2], false, false),
            case(&[4, 3], true, true),
            case(&[1, 2, 3, 2], true, false),
            case(&[0, 3], false, true),
            case(&[2, 3, 0], true, true),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    /// Statistics far from 0 are as exact as those around it.
    #[test]
    fn statistics_are_accurate_far_from_zero() {
        let mut rng = Rng::seed(1);
        for shape in [vec![500, 3], vec![4, 3, 25, 5]] {
            let x = Tensor::<f32>::normal(shape, 1000.0, 1.0, &mut rng);
            let found = ChannelStatistics::of(&x).unwrap();
            let exact = ChannelStatistics::of(&x.cast::<f64>()).unwrap();
            for (found, exact) in found.variance.to_vec().iter().zip(exact.variance.to_vec()) {
                assert!((f64::from(*found) - exact).abs() < 1e-5 * exact, "{found}, {exact}");
            }
        }
    }

    #[test]
    fn given_statistics_of_the_batch_change_nothing() {
        let mut rng = Rng::seed(2);
        let x = Tensor::<f64>::normal([6, 3, 5], 3.0, 2.0, &mut rng);
        let weight = Tensor::uniform([3], 0.5, 1.5, &mut rng);
        let g = Tensor::normal([6, 3, 5], 0.0, 1.0, &mut rng);
        let given = NormStatistics::Computed(ChannelStatistics::of(&x).unwrap());
        let run = |statistics| {
            let operation = BatchNorm { statistics, epsilon: 1e-5 };
            let inputs = [x.clone(), weight.clone(), weight.clone()];
            let (y, saved) = operation.forward(&inputs.each_ref());
            let needs = &[true; 3];
            let call =
                Call { inputs: &inputs, output: &y, saved: &saved, needs, cotangent: g.clone() };
            let gradients = operation.vjp(call);
            (y, gradients)
        };
        let (y, gradients) = run(NormStatistics::Batch);
        assert_eq!((y.clone(), gradients), run(given));
        let normalised = y.sub(&weight.unsqueeze(1).unwrap()).unwrap();
        let normalised = normalised.div(&weight.unsqueeze(1).unwrap()).unwrap();
        let again = ChannelStatistics::of(&normalised).unwrap();
        for (mean, variance) in again.mean.to_vec().iter().zip(again.variance.to_vec()) {
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn the_bits_are_the_same_for_any_number_of_threads() {
        for shape in [vec![40_000, 7], vec![9, 20, 33, 31]] {
            let mut rng = Rng::seed(3);
            let x = Tensor::<f32>::normal(&shape[..], 1.0, 2.0, &mut rng);
            let g = Tensor::<f32>::normal(&shape[..], 0.0, 1.0, &mut rng);
            let weight = Tensor::uniform([shape[1]], 0.5, 1.5, &mut rng);
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let operation = BatchNorm { statistics: NormStatistics::Batch, epsilon: 1e-5 };
                    let inputs = [x.clone(), weight.clone(), weight.clone()];
                    let (y, saved) = operation.forward(&inputs.each_ref());
                    let needs = &[true; 3];
                    let cotangent = g.clone();
                    let call =
                        Call { inputs: &inputs, output: &y, saved: &saved, needs, cotangent };
                    (operation.vjp(call), y)
                })
            };
            let once = run(1);
            for threads in [2, 3, 7] {
                assert!(run(threads) == once, "{threads} threads, {shape:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let x = Tensor::<f32>::zeros([4, 3]);
        let refuse = |x: &Tensor<f32>, weight: usize, statistics, epsilon| {
            let weight = Tensor::zeros([weight]);
            x.batch_norm(Some(&weight), None, statistics, epsilon).unwrap_err().to_string()
        };
        assert_eq!(
            refuse(&x, 2, NormStatistics::Batch, 1e-5),
            "batch_norm: expected a weight of shape [3], got [2]"
        );
        let two = ChannelStatistics { mean: Tensor::zeros([3]), variance: Tensor::zeros([2]) };
        assert_eq!(
            refuse(&x, 3, NormStatistics::Fixed(two), 1e-5),
            "batch_norm: expected a variance of shape [3], got [2]"
        );
        assert_eq!(
            refuse(&Tensor::zeros([1, 3]), 3, NormStatistics::Batch, 1e-5),
            "batch_norm: expected a batch with at least two elements per channel, got [1, 3]"
        );
        assert_eq!(
            refuse(&Tensor::zeros([3]), 3, NormStatistics::Batch, 1e-5),
            "batch_norm: expected an input of shape [N, C, …], got [3]"
        );
        assert_eq!(
            refuse(&x, 3, NormStatistics::Batch, -1.0),
            "batch_norm: epsilon must be a number of at least 0, got -1"
        );
    }
}
