//! Batch normalisation.

use std::fmt;

use dendra_autograd::{Buffer, Counter, Param, Tape, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{ChannelStatistics, Error, Float, NormStatistics, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::group_norm::affine;
use super::image::axes;
use crate::context;
use crate::init::Source;
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// [`BatchNorm`] over a batch of vectors `[N, C]` or of sequences `[N, C, L]`.
pub type BatchNorm1d<T = f32> = BatchNorm<T, 1>;

/// [`BatchNorm`] over a batch of images `[N, C, H, W]`.
pub type BatchNorm2d<T = f32> = BatchNorm<T, 2>;

/// [`BatchNorm`] over a batch of volumes `[N, C, D, H, W]`.
pub type BatchNorm3d<T = f32> = BatchNorm<T, 3>;

/// Normalises each channel to mean 0 and variance 1, then scales and shifts it:
///
/// y = (x − mean) / √(variance + eps) · weight + bias
///
/// In training, mean and (biased) variance are those of the batch, and the
/// running statistics move towards them: running = (1 − momentum) · running +
/// momentum · batch, with the unbiased variance. Otherwise the running
/// statistics are used. (Ioffe and Szegedy, "Batch normalization: accelerating
/// deep network training by reducing internal covariate shift", 2015.)
///
/// With `momentum(None)` the running statistics are the averages over all
/// batches. Without `track_running_stats` the statistics of the batch are
/// always used. An empty batch is counted but changes no statistics.
///
/// Use it as [`BatchNorm1d`], [`BatchNorm2d`] or [`BatchNorm3d`]. Input and output have the same
/// shape; parameters and statistics have the shape `[C]`.
///
/// ```
/// use dendra_nn::autograd::Tape;
/// use dendra_nn::tensor::{Ops, Rng, Tensor};
/// use dendra_nn::{BatchNorm1d, Module, Parameters};
///
/// let mut layer = BatchNorm1d::new(2).init(&mut Rng::seed(0))?;
/// let x = Tape::training(0, 0).input(Tensor::from([[1.0, -5.0], [3.0, 5.0]]));
/// let y = layer.forward(&x)?;
/// assert!((y.value().to_vec()[0] + 1.0).abs() < 1e-4);
///
/// // The running statistics move when the gradients are applied.
/// layer.apply_updates(&y.sum().backward()?)?;
/// assert_eq!(layer.running_mean.unwrap().value().to_vec(), [0.2, 0.0]);
/// assert_eq!(layer.num_batches_tracked.unwrap().value(), 1);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct BatchNorm<T: Float, const D: usize> {
    /// The scale of each channel, initialised with 1.
    pub weight: Option<Param<T>>,
    /// The shift of each channel, initialised with 0.
    pub bias: Option<Param<T>>,
    /// The mean to use outside training, initialised with 0.
    pub running_mean: Option<Buffer<T>>,
    /// The variance to use outside training, initialised with 1.
    pub running_var: Option<Buffer<T>>,
    /// The number of batches that the running statistics include.
    pub num_batches_tracked: Option<Counter>,
    #[parameters(skip)]
    num_features: usize,
    #[parameters(skip)]
    eps: f64,
    #[parameters(skip)]
    momentum: Option<f64>,
}

impl<const D: usize> BatchNorm<f32, D> {
    /// Settings of a layer for this many channels.
    pub fn new(num_features: usize) -> BatchNormSettings<D> {
        BatchNormSettings::with_defaults(Some(num_features))
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `num_features`.
    pub fn lazy() -> BatchNormSettings<D> {
        BatchNormSettings::with_defaults(None)
    }
}

/// The settings of a [`BatchNorm`] layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct BatchNormSettings<const D: usize> {
    num_features: Option<usize>,
    /// The number added to the variance.
    #[set(default = 1e-5)]
    eps: f64,
    /// The weight of a new batch in the running statistics. With `None` they
    /// are the averages over all batches.
    #[set(optional, default = Some(0.1))]
    momentum: Option<f64>,
    /// Whether the layer has a weight and, with `bias`, a bias.
    #[set(default = true)]
    affine: bool,
    // Older files have neither of these settings.
    /// Whether a layer with a weight also has a bias.
    #[set(default = true)]
    #[serde(default = "yes")]
    bias: bool,
    /// Whether the layer keeps running statistics and uses them outside
    /// training.
    #[set(default = true)]
    #[serde(default = "yes")]
    track_running_stats: bool,
}

/// The default of a setting that older files lack.
pub(super) fn yes() -> bool {
    true
}

impl<const D: usize> BatchNormSettings<D> {
    fn check(&self) -> Result<()> {
        check_settings(&name::<D>(), self.eps, self.momentum.unwrap_or(0.0))
    }
}

/// Checks the settings of running statistics.
pub(super) fn check_settings(kind: &str, eps: f64, momentum: f64) -> Result<()> {
    let message = if !(eps >= 0.0 && eps.is_finite()) {
        format!("eps must be a number of at least 0, got {eps}")
    } else if !(0.0..=1.0).contains(&momentum) {
        format!("momentum must be in 0 ..= 1, got {momentum}")
    } else {
        return Ok(());
    };
    Err(Error::argument(kind, message))
}

initialised_by! {
    BatchNormSettings<D> => BatchNorm<f32, D>, any T: BatchNorm<T, D>; const D: usize
}

fn name<const D: usize>() -> String {
    format!("BatchNorm{D}d")
}

/// The expected shapes in words, where `first` is the batch axis and its comma.
fn expected<const D: usize>(first: &str, channels: impl fmt::Display) -> String {
    match D {
        1 => format!("[{first}{channels}] or [{first}{channels}, L]"),
        _ => format!("[{first}{channels}, {}]", axes::<D>()),
    }
}

/// Whether an input without the batch axis has the expected number of axes.
fn is_sample<const D: usize>(sample: &[usize]) -> bool {
    sample.len() == D + 1 || (D == 1 && sample.len() == 1)
}

impl<const D: usize> Settings for BatchNormSettings<D> {
    type Layer<T: Float> = BatchNorm<T, D>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        self.check()?;
        let refuse = |channels: &dyn fmt::Display| {
            let message = format!("expected {}, got {input}", expected::<D>("", channels));
            Err(Error::shape(name::<D>(), message))
        };
        if !is_sample::<D>(input) {
            return refuse(&"C");
        }
        match *self.num_features.get_or_insert(input[0]) {
            channels if channels == input[0] => Ok(input.clone()),
            channels => refuse(&channels),
        }
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<BatchNorm<T, D>> {
        self.check()?;
        let name = name::<D>();
        let channels = self.num_features.ok_or_else(|| open_input(&name, "num_features"))?;
        let [weight, bias] = affine(source, &name, channels, self.affine, self.bias)?;
        let track = self.track_running_stats;
        let mut buffer = |value| track.then(|| source.buffer(value, [channels], &name)).transpose();
        Ok(BatchNorm {
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

impl<T: Float, const D: usize> BatchNorm<T, D> {
    /// In training or without running statistics, the statistics of the batch,
    /// with which the running statistics are updated; otherwise the running
    /// statistics.
    fn statistics(&self, x: &Var<T>) -> Result<NormStatistics<T>> {
        let (Some(mean), Some(variance)) = (&self.running_mean, &self.running_var) else {
            return Ok(NormStatistics::Batch);
        };
        let Some(tape) = x.tape().filter(|tape| tape.is_training()) else {
            return Ok(NormStatistics::Fixed(ChannelStatistics {
                mean: mean.value().clone(),
                variance: variance.value().clone(),
            }));
        };
        let count = x.value().len() / x.shape()[1].max(1);
        if count == 1 {
            let message = format!(
                "expected a batch with at least two elements per channel, got {}: use larger \
                 batches, or leave out a last batch of one sample (`drop_last`)",
                x.shape()
            );
            return Err(Error::shape("batch_norm", message));
        }
        let batch = ChannelStatistics::of(x.value())?;
        self.track(tape, &batch, count);
        Ok(NormStatistics::Computed(batch))
    }

    /// Updates the running statistics by those of a batch with this many elements
    /// per channel.
    fn track(&self, tape: &Tape<T>, batch: &ChannelStatistics<T>, count: usize) {
        let (Some(mean), Some(variance)) = (&self.running_mean, &self.running_var) else { return };
        // A batch without values has no mean.
        if count > 1 {
            let unbiased = &batch.variance * T::from_f64(count as f64 / (count - 1) as f64);
            let seen = self.num_batches_tracked.as_ref().map_or(0, Counter::value);
            for (buffer, target) in [(mean, batch.mean.clone()), (variance, unbiased)] {
                match self.momentum {
                    Some(momentum) => tape.update_towards(buffer, target, momentum),
                    None => tape.update_average(buffer, target, seen.try_into().unwrap_or(0)),
                }
            }
        }
        if let Some(counter) = &self.num_batches_tracked {
            tape.increment(counter);
        }
    }

    fn check(&self, x: &Shape) -> Result<()> {
        let channels = self.num_features;
        match x.split_first() {
            Some((_, sample)) if is_sample::<D>(sample) && sample[0] == channels => Ok(()),
            _ => {
                let message = format!("expected {}, got {x}", expected::<D>("N, ", channels));
                Err(Error::shape(name::<D>(), message))
            }
        }
    }
}

impl<T: Float, const D: usize> Module<T> for BatchNorm<T, D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let on = |param: &Option<Param<T>>| param.as_ref().map(|param| param.on(x));
        let normalised = || {
            self.check(x.shape())?;
            let (weight, bias) = (on(&self.weight), on(&self.bias));
            let (weight, bias) = (weight.as_ref(), bias.as_ref());
            let shared = x.tape().and_then(|tape| Some((tape, tape.shared_batch_norm()?)));
            if let Some((tape, shared)) = shared {
                let found = shared.normalise(x, weight, bias, self.eps)?;
                if found.updates {
                    self.track(tape, &found.statistics, found.count);
                }
                return Ok(found.output);
            }
            x.batch_norm(weight, bias, self.statistics(x)?, self.eps)
        };
        normalised().map_err(|error| {
            context::in_layer(error, self.weight.as_ref().and_then(context::path), self)
        })
    }
}

impl<T: Float, const D: usize> fmt::Display for BatchNorm<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name::<D>(), self.num_features)
    }
}

#[cfg(test)]
mod tests;
