//! Normalisation of groups of channels, separately for each sample.

use super::normalisation::{Normalisation, Statistics};
use super::per_sample::one_by_one;
use super::{Attributes, Call, Cotangents, Op, SampleCotangents, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::channels::Channels;
use crate::ops::batch_norm::ChannelStatistics;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// y = (x − mean) / √(variance + ε) · weight + bias for x of shape `[N, C, …]`,
/// where mean and (biased) variance are those of one sample and one group of
/// C / groups channels, and weight and bias, of shape `[C]`, are optional (Wu
/// and He, "Group normalization", 2018). With as many groups as channels it is
/// instance normalisation (Ulyanov et al., 2016).
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// The number of groups.
    pub groups: usize,
    /// The number added to the variance, so that the divisor is not 0.
    pub epsilon: f64,
}

/// The sizes of one call.
struct Sizes {
    samples: usize,
    channels: usize,
    /// The number of elements of one channel of one sample.
    elements: usize,
}

impl Sizes {
    fn of(x: &Shape) -> Self {
        Self { samples: x[0], channels: x[1], elements: x[2..].iter().product() }
    }

    /// The channels of all samples, as the channels of one sample.
    fn rows(&self) -> Channels {
        Channels::of(&[1, self.samples * self.channels, self.elements].into())
    }

    /// A value for each channel of each sample.
    fn spread<T: Copy>(&self, value: impl Fn(usize, usize) -> T) -> Vec<T> {
        let each = (0..self.samples).flat_map(|n| (0..self.channels).map(move |c| (n, c)));
        each.map(|(n, c)| value(n, c)).collect()
    }
}

/// The values that the gradient needs: the mean of each group of each sample, and the
/// factor of the distances from it.
#[derive(Debug)]
pub struct GroupStatistics<T> {
    mean: Vec<T>,
    factor: Vec<T>,
}

impl GroupNorm {
    /// The index of a channel's group among those of all samples.
    fn group(&self, sizes: &Sizes, n: usize, c: usize) -> usize {
        n * self.groups + c * self.groups / sizes.channels
    }
}

impl<T: Float> Op<T> for GroupNorm {
    type Saved = GroupStatistics<T>;
    const NAME: &'static str = "group_norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        let &[_, channels, ..] = &x[..] else {
            let message = format!("expected an input of shape [N, C, …], got {x}");
            return Err(Error::shape("group_norm", message));
        };
        if self.groups == 0 || channels % self.groups != 0 {
            let message = format!("{channels} channels do not divide into {} groups", self.groups);
            return Err(Error::shape("group_norm", message));
        }
        for (name, shape) in ["weight", "bias"].iter().zip(&inputs[1..]) {
            if **shape != [channels] {
                let message = format!("expected a {name} of shape [{channels}], got {shape}");
                return Err(Error::shape("group_norm", message));
            }
        }
        super::normalisation::check_epsilon("group_norm", self.epsilon)?;
        Ok(x.clone())
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, Self::Saved>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let GroupStatistics { mean, factor } = call.saved;
        let groups = mean.len().checked_div(samples).unwrap_or(0);
        let of = |all: &[T], sample: usize| all[sample * groups..][..groups].to_vec();
        let part = |sample: usize| {
            (*self, GroupStatistics { mean: of(mean, sample), factor: of(factor, sample) })
        };
        Ok(one_by_one(self, call, samples, 1, part))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, GroupStatistics<T>) {
        let x = inputs[0].contiguous();
        if x.is_empty() {
            return (x, GroupStatistics { mean: Vec::new(), factor: Vec::new() });
        }
        let sizes = Sizes::of(x.shape());
        let groups = sizes.samples * self.groups;
        let grouped = x.reshape([1, groups, x.len() / groups]).expect("the same elements");
        let statistics = ChannelStatistics::of(&grouped).expect("the input has three axes");
        let epsilon = T::from_f64(self.epsilon);
        let factor = |variance: T| T::ONE / (variance + epsilon).sqrt();
        let saved = GroupStatistics {
            mean: statistics.mean.to_vec(),
            factor: statistics.variance.to_vec().into_iter().map(factor).collect(),
        };
        let parameter = |index: usize, otherwise| {
            inputs.get(index).map_or(vec![otherwise; sizes.channels], |input| input.to_vec())
        };
        let (weight, bias) = (parameter(1, T::ONE), parameter(2, T::ZERO));
        let mean = sizes.spread(|n, c| saved.mean[self.group(&sizes, n, c)]);
        let scale = sizes.spread(|n, c| saved.factor[self.group(&sizes, n, c)] * weight[c]);
        let bias = sizes.spread(|_, c| bias[c]);
        let y = x.with_slice(|values| {
            Tensor::build(x.shape(), |out| {
                let each = [&mean[..], &scale, &bias];
                sizes
                    .rows()
                    .map([values], each, out, |[x], [mean, scale, bias]| (x - mean) * scale + bias);
            })
        });
        (y, saved)
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, GroupStatistics<T>>) -> Cotangents<T> {
        if call.output.is_empty() {
            return call.each(|index| Tensor::zeros(call.inputs[index].shape()));
        }
        let inputs = [&call.inputs[0], &call.cotangent].map(Tensor::contiguous);
        let [x, g] = inputs.each_ref().map(|input| input.as_slice().expect("made contiguous"));
        let GroupStatistics { mean, factor } = call.saved;
        let shape = call.inputs[0].shape();
        let sizes = Sizes::of(shape);
        let weight =
            call.inputs.get(1).map_or(vec![T::ONE; sizes.channels], |weight| weight.to_vec());
        let group = |n: usize, c: usize| self.group(&sizes, n, c);
        let means = sizes.spread(|n, c| mean[group(n, c)]);
        let zeros = vec![T::ZERO; means.len()];
        // Σ g and Σ g·(x − mean) of each channel of each sample.
        let sums = sizes.rows().sums([g, x], [&zeros, &means]);
        let sums_of = |n: usize, c: usize| sums[n * sizes.channels + c];
        // The same for each group, weighted.
        let mut totals = vec![[T::ZERO; 2]; mean.len()];
        for n in 0..sizes.samples {
            for c in 0..sizes.channels {
                for (total, sum) in totals[group(n, c)].iter_mut().zip(sums_of(n, c)) {
                    *total += sum * weight[c];
                }
            }
        }
        let count = T::from_f64((x.len() / mean.len()) as f64);
        let over_samples = |value: &dyn Fn(usize, usize) -> T| {
            Tensor::from_fn([sizes.channels], |c| {
                (0..sizes.samples).map(|n| value(n, c)).sum::<T>()
            })
        };
        call.each(|index| match index {
            0 => {
                // factor · (g·weight − Σ/count − (x − mean) · factor² · Σ·(x − mean)/count)
                let scale = sizes.spread(|n, c| factor[group(n, c)] * weight[c]);
                let slope = sizes.spread(|n, c| {
                    let (factor, [_, slope]) = (factor[group(n, c)], totals[group(n, c)]);
                    -factor * factor * (factor * slope / count)
                });
                let shift =
                    sizes.spread(|n, c| -factor[group(n, c)] * totals[group(n, c)][0] / count);
                Tensor::build(shape, |out| {
                    let each = [&means[..], &scale, &slope, &shift];
                    sizes.rows().map([x, g], each, out, |[x, g], [mean, scale, slope, shift]| {
                        g * scale + ((x - mean) * slope + shift)
                    });
                })
            }
            1 => over_samples(&|n, c| sums_of(n, c)[1] * factor[group(n, c)]),
            _ => over_samples(&|n, c| sums_of(n, c)[0]),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, GroupStatistics<T>>) -> Result<TermCotangents<T>> {
        let Sizes { samples, channels, elements } = Sizes::of(call.inputs[0].shape());
        let (groups, each) = (self.groups, channels / self.groups);
        let normalisation = Normalisation {
            view: [1, samples * groups, each * elements],
            parameters: [[samples, groups, each, elements].into(), [1, groups, each, 1].into()],
            statistics: Statistics::Own { centred: true, epsilon: self.epsilon, range: None },
        };
        normalisation.gradients(&call)
    }

    fn attributes(&self) -> Attributes {
        vec![("groups", self.groups.into()), ("epsilon", self.epsilon.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(17);
        let mut case = |groups, shape: &[usize], parameters: usize| {
            let mut inputs = vec![Tensor::normal(shape, 0.5, 2.0, &mut rng)];
            let mut parameter = || Tensor::uniform([shape[1]], 0.5, 1.5, &mut rng);
            inputs.extend((0..parameters).map(|_| parameter()));
            (GroupNorm { groups, epsilon: 1e-3 }, inputs)
        };
        vec![
            case(2, &[3, 4, 5], 2),
            case(3, &[2, 3, 2, 4], 1),
            case(1, &[2, 3, 3], 0),
            case(2, &[3, 8], 2),
            case(2, &[0, 4, 3], 2),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    /// One group over a whole sample gives layer normalisation.
    #[test]
    fn one_group_is_layer_normalisation() {
        let x = Tensor::<f64>::normal([3, 4, 6], 2.0, 3.0, &mut Rng::seed(1));
        let groups = x.group_norm(1, None, None, 1e-5).unwrap();
        let layer = x.layer_norm([4, 6], None, None, 1e-5).unwrap();
        for (a, b) in groups.to_vec().into_iter().zip(layer.to_vec()) {
            assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refuse = |shape: &[usize], groups| {
            Tensor::<f32>::zeros(shape)
                .group_norm(groups, None, None, 1e-5)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refuse(&[2, 6], 4), "group_norm: 6 channels do not divide into 4 groups");
        assert_eq!(refuse(&[2, 6], 0), "group_norm: 6 channels do not divide into 0 groups");
        assert_eq!(refuse(&[6], 1), "group_norm: expected an input of shape [N, C, …], got [6]");
    }
}
