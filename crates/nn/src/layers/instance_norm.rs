//! Instance normalisation.

use std::fmt;

use dendra_autograd::{Buffer, Counter, Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted::batched;
use dendra_tensor::{ChannelStatistics, Error, Float, NormStatistics, Ops, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::batch_norm::{check_settings, yes};
use super::group_norm::{affine, infer_channels};
use super::image::axes;
use crate::context;
use crate::init::Source;
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// [`InstanceNorm`] over a batch of sequences `[N, C, L]`.
pub type InstanceNorm1d<T = f32> = InstanceNorm<T, 1>;

/// [`InstanceNorm`] over a batch of images `[N, C, H, W]`.
pub type InstanceNorm2d<T = f32> = InstanceNorm<T, 2>;

/// [`InstanceNorm`] over a batch of volumes `[N, C, D, H, W]`.
pub type InstanceNorm3d<T = f32> = InstanceNorm<T, 3>;

/// Normalises each channel of each sample to mean 0 and variance 1. With
/// `affine`, it then scales and shifts the channel by a weight and a bias of
/// shape `[C]`.
///
/// It is [`GroupNorm`](super::GroupNorm) with as many groups as channels
/// (Ulyanov et al., "Instance normalization", 2016). Use it as
/// [`InstanceNorm1d`], [`InstanceNorm2d`] or [`InstanceNorm3d`].
///
/// With `track_running_stats` it has running statistics of shape `[C]` and uses
/// them outside training. In training they move towards those of the batch:
/// running = (1 − momentum) · running + momentum · batch, where the batch's
/// mean and (unbiased) variance are the averages over its samples.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{InstanceNorm1d, Module};
///
/// let layer = InstanceNorm1d::new(1).eps(0.0).init(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::from([[[1.0, 3.0]], [[0.0, 8.0]]])))?;
/// assert_eq!(y.value().to_vec(), [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct InstanceNorm<T: Float, const D: usize> {
    /// The scale of each channel, initialised with 1.
    pub weight: Option<Param<T>>,
    /// The shift of each channel, initialised with 0.
    pub bias: Option<Param<T>>,
    /// The mean to use outside training, initialised with 0.
    pub running_mean: Option<Buffer<T>>,
    /// The variance to use outside training, initialised with 1.
    pub running_var: Option<Buffer<T>>,
    /// Always 0, as in PyTorch, whose state dict contains it.
    pub num_batches_tracked: Option<Counter>,
    #[parameters(skip)]
    num_features: usize,
    #[parameters(skip)]
    eps: f64,
    #[parameters(skip)]
    momentum: f64,
}

impl<const D: usize> InstanceNorm<f32, D> {
    /// Settings of a layer for this many channels.
    pub fn new(num_features: usize) -> InstanceNormSettings<D> {
        InstanceNormSettings::with_defaults(Some(num_features))
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `num_features`.
    pub fn lazy() -> InstanceNormSettings<D> {
        InstanceNormSettings::with_defaults(None)
    }
}

/// The settings of an [`InstanceNorm`] layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct InstanceNormSettings<const D: usize> {
    num_features: Option<usize>,
    /// The number added to the variance.
    #[set(default = 1e-5)]
    eps: f64,
    // Older files have neither of these settings.
    /// The weight of a new batch in the running statistics.
    #[set(default = 0.1)]
    #[serde(default = "momentum")]
    momentum: f64,
    /// Whether the layer has a weight and, with `bias`, a bias.
    #[set(default = false)]
    affine: bool,
    /// Whether a layer with a weight also has a bias.
    #[set(default = true)]
    #[serde(default = "yes")]
    bias: bool,
    /// Whether the layer keeps running statistics and uses them outside
    /// training.
    #[set(default = false)]
    #[serde(default)]
    track_running_stats: bool,
}

/// PyTorch's default.
fn momentum() -> f64 {
    0.1
}

initialised_by! {
    InstanceNormSettings<D> => InstanceNorm<f32, D>, any T: InstanceNorm<T, D>; const D: usize
}

fn name<const D: usize>() -> String {
    format!("InstanceNorm{D}d")
}

impl<const D: usize> Settings for InstanceNormSettings<D> {
    type Layer<T: Float> = InstanceNorm<T, D>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let name = name::<D>();
        check_settings(&name, self.eps, self.momentum)?;
        infer_channels(&name, &mut self.num_features, input)?;
        if input.len() != D + 1 {
            let message = format!("expected {} axes, got {input}", D + 1);
            return Err(Error::shape(name, message));
        }
        Ok(input.clone())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<InstanceNorm<T, D>> {
        let name = name::<D>();
        check_settings(&name, self.eps, self.momentum)?;
        let channels = self.num_features.ok_or_else(|| open_input(&name, "num_features"))?;
        let [weight, bias] = affine(source, &name, channels, self.affine, self.bias)?;
        let track = self.track_running_stats;
        let mut buffer = |value| track.then(|| source.buffer(value, [channels], &name)).transpose();
        Ok(InstanceNorm {
            weight,
            bias,
            running_mean: buffer(0.0)?,
            running_var: buffer(1.0)?,
            num_batches_tracked: track.then(|| Counter::new(0)),
            num_features: channels,
            eps: self.eps,
            momentum: self.momentum,
        })
    }
}

impl<T: Float, const D: usize> InstanceNorm<T, D> {
    fn normalised(&self, x: &Var<T>) -> Result<Var<T>> {
        let channels = self.num_features;
        match &x.shape()[..] {
            [_, found, rest @ ..] if *found == channels && rest.len() == D => {}
            _ => {
                let message =
                    format!("expected [N, {channels}, {}], got {}", axes::<D>(), x.shape());
                return Err(Error::shape("", message));
            }
        }
        let [weight, bias] =
            [&self.weight, &self.bias].map(|param| param.as_ref().map(|param| param.on(x)));
        if let (Some(mean), Some(variance)) = (&self.running_mean, &self.running_var) {
            match x.tape().filter(|tape| tape.is_training()) {
                Some(_) => self.track(x, [mean, variance])?,
                None => {
                    let statistics = NormStatistics::Fixed(ChannelStatistics {
                        mean: mean.value().clone(),
                        variance: variance.value().clone(),
                    });
                    return x.batch_norm(weight.as_ref(), bias.as_ref(), statistics, self.eps);
                }
            }
        }
        x.group_norm(channels, weight.as_ref(), bias.as_ref(), self.eps)
    }

    /// Updates the running statistics with those of a batch.
    fn track(&self, x: &Var<T>, [mean, variance]: [&Buffer<T>; 2]) -> Result<()> {
        let (Some(tape), &[samples, channels, ..]) = (x.tape(), &x.shape()[..]) else {
            return Ok(());
        };
        if x.value().is_empty() {
            return Ok(());
        }
        let count = x.value().len() / (samples * channels);
        if count == 1 {
            let message =
                format!("expected at least two elements per channel and sample, got {}", x.shape());
            return Err(Error::shape("", message));
        }
        let statistics =
            ChannelStatistics::of(&x.value().reshape([1, samples * channels, count])?)?;
        let average = |each: Tensor<T>| each.reshape([samples, channels])?.mean_axes(&[0], false);
        let unbiased = T::from_f64(count as f64 / (count - 1) as f64);
        tape.update_towards(mean, average(statistics.mean)?, self.momentum);
        tape.update_towards(variance, &average(statistics.variance)? * unbiased, self.momentum);
        Ok(())
    }
}

impl<T: Float, const D: usize> Module<T> for InstanceNorm<T, D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        batched(x, D + 2, |x| self.normalised(x)).map_err(|error| {
            context::in_layer(error, self.weight.as_ref().and_then(context::path), self)
        })
    }
}

impl<T: Float, const D: usize> fmt::Display for InstanceNorm<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name::<D>(), self.num_features)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Parameters, Tape, check_gradient};
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::Sequential;

    fn tracking<const D: usize>(channels: usize) -> InstanceNorm<f64, D> {
        let settings = InstanceNorm::<f32, D>::new(channels).track_running_stats(true);
        settings.momentum(0.25).init_as(&mut Rng::seed(0)).unwrap()
    }

    #[test]
    fn the_state_has_pytorchs_names() {
        let names = |layer: InstanceNorm<f64, 2>| -> Vec<String> {
            layer.state_dict().iter().map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(names(tracking(3)), ["num_batches_tracked", "running_mean", "running_var"]);
        let plain = InstanceNorm2d::new(3).affine(true).init_as(&mut Rng::seed(0)).unwrap();
        assert_eq!(names(plain), ["bias", "weight"]);
        let settings = InstanceNorm2d::new(3).affine(true).bias(false);
        assert_eq!(names(settings.init_as(&mut Rng::seed(0)).unwrap()), ["weight"]);
    }

    #[test]
    fn running_statistics_follow_the_formula_and_are_used_in_evaluation() {
        let mut layer = tracking::<1>(1);
        // Means 3 and 0, unbiased variances 4 and 16.
        let batch = Tensor::from([[[1.0, 3.0, 5.0]], [[-4.0, 0.0, 4.0]]]);
        let y = layer.forward(&Tape::training(0, 0).leaf(batch.clone())).unwrap();
        layer.apply_updates(&y.sum().backward().unwrap()).unwrap();
        let values = |buffer: &Option<Buffer<f64>>| buffer.as_ref().unwrap().value().to_vec();
        assert_eq!(values(&layer.running_mean), [0.25 * 1.5]);
        assert_eq!(values(&layer.running_var), [0.75 + 0.25 * 10.0]);
        let [x, mean] = [5.0, 0.375];
        let expected = (x - mean) / (3.25_f64 + 1e-5).sqrt();
        let x = Tensor::full([1, 1, 1], x);
        for x in [Var::new(x.clone()), Tape::evaluation().input(x)] {
            let y = layer.forward(&x).unwrap().value().item().unwrap();
            assert!((y - expected).abs() < 1e-12);
        }
        let before = layer.state_dict();
        let y = layer.forward(&Tape::training(0, 0).leaf(Tensor::zeros([0, 1, 3]))).unwrap();
        layer.apply_updates(&y.sum().backward().unwrap()).unwrap();
        assert_eq!(layer.state_dict(), before);
    }

    #[test]
    fn gradients_are_right() {
        let x = Tensor::normal([2, 3, 4, 2], 1.0, 2.0, &mut Rng::seed(2));
        let plain = InstanceNorm2d::new(3).affine(true).eps(0.01);
        for settings in [plain.clone(), plain.track_running_stats(true)] {
            let layer: InstanceNorm<f64, 2> = settings.init_as(&mut Rng::seed(0)).unwrap();
            check_gradient(|v| layer.forward(&v[0]), std::slice::from_ref(&x)).unwrap();
        }
    }

    #[test]
    fn wrong_settings_and_inputs_are_told() {
        let rng = &mut Rng::seed(0);
        let instance = InstanceNorm1d::new(4).init(rng).unwrap();
        let x = Var::new(Tensor::zeros([2, 5, 3]));
        assert_eq!(
            instance.forward(&x).unwrap_err().to_string(),
            "InstanceNorm1d 4: expected [N, 4, L], got [2, 5, 3]"
        );
        let single = Tape::training(0, 0).input(Tensor::zeros([2, 4, 1]));
        assert_eq!(
            tracking::<1>(4).forward(&single).unwrap_err().to_string(),
            "InstanceNorm1d 4: expected at least two elements per channel and sample, got [2, 4, 1]"
        );
        let wrong = InstanceNorm1d::new(4).momentum(1.5).init(rng).unwrap_err().to_string();
        assert_eq!(wrong, "InstanceNorm1d: momentum must be in 0 ..= 1, got 1.5");
        let builder = Sequential::input([6, 4]).layer(InstanceNorm2d::lazy());
        assert_eq!(
            builder.build(rng).unwrap_err().to_string(),
            "layer 0 (InstanceNorm2d): expected 3 axes, got [6, 4]"
        );
    }
}
