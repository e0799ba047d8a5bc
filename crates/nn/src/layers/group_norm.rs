//! Group normalisation.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::batch_norm::yes;
use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// Normalises each group of channels of each sample to mean 0 and variance 1,
/// then scales and shifts each channel:
///
/// y = (x − mean) / √(variance + eps) · weight + bias
///
/// for x of shape `[N, C, …]`, with the biased variance over a group's C /
/// num_groups channels and all their elements (Wu and He, "Group
/// normalization", 2018). The weight, initialised with 1, and the bias,
/// initialised with 0, have the shape `[C]`.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{GroupNorm, Module};
///
/// let layer = GroupNorm::new(2, 6).init(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([5, 6, 8, 8])))?;
/// assert_eq!(*y.shape(), [5, 6, 8, 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct GroupNorm<T: Float = f32> {
    /// The scale of each channel.
    pub weight: Option<Param<T>>,
    /// The shift of each channel.
    pub bias: Option<Param<T>>,
    #[parameters(skip)]
    num_groups: usize,
    #[parameters(skip)]
    num_channels: usize,
    #[parameters(skip)]
    eps: f64,
}

impl GroupNorm {
    /// Settings of a layer for `num_channels` channels in `num_groups` groups.
    pub fn new(num_groups: usize, num_channels: usize) -> GroupNormSettings {
        GroupNormSettings::with_defaults(num_groups, Some(num_channels))
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `num_channels`.
    pub fn lazy(num_groups: usize) -> GroupNormSettings {
        GroupNormSettings::with_defaults(num_groups, None)
    }
}

/// The settings of a [`GroupNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct GroupNormSettings {
    num_groups: usize,
    num_channels: Option<usize>,
    /// The number added to the variance.
    #[set(default = 1e-5)]
    eps: f64,
    /// Whether the layer has a weight and, with `bias`, a bias.
    #[set(default = true)]
    affine: bool,
    /// Whether a layer with a weight also has a bias.
    #[set(default = true)]
    #[serde(default = "yes")]
    bias: bool,
}

initialised_by!(GroupNormSettings => GroupNorm, any T: GroupNorm<T>);

impl Settings for GroupNormSettings {
    type Layer<T: Float> = GroupNorm<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let channels = infer_channels("GroupNorm", &mut self.num_channels, input)?;
        self.check(channels)?;
        Ok(input.clone())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<GroupNorm<T>> {
        let channels = self.num_channels.ok_or_else(|| open_input("GroupNorm", "num_channels"))?;
        self.check(channels)?;
        let [weight, bias] = affine(source, "GroupNorm", channels, self.affine, self.bias)?;
        let (num_groups, eps) = (self.num_groups, self.eps);
        Ok(GroupNorm { weight, bias, num_groups, num_channels: channels, eps })
    }
}

impl GroupNormSettings {
    fn check(&self, channels: usize) -> Result<()> {
        if self.num_groups > 0 && channels.is_multiple_of(self.num_groups) {
            return Ok(());
        }
        let message = format!("{channels} channels do not form {} groups", self.num_groups);
        Err(Error::argument("GroupNorm", message))
    }
}

/// Sets the number of channels from a sample, or checks it.
pub(super) fn infer_channels(
    kind: &str,
    channels: &mut Option<usize>,
    input: &Shape,
) -> Result<usize> {
    let refuse = |expected: &dyn fmt::Display| {
        Err(Error::shape(kind, format!("expected [{expected}, …], got {input}")))
    };
    match (input.first(), *channels) {
        (None, _) => refuse(&"C"),
        (Some(&found), Some(expected)) if found != expected => refuse(&expected),
        (Some(&found), _) => Ok(*channels.insert(found)),
    }
}

/// The weight and bias of the channels, if the layer has them.
pub(super) fn affine<T: Float>(
    source: &mut Source<'_>,
    kind: &str,
    channels: usize,
    affine: bool,
    bias: bool,
) -> Result<[Option<Param<T>>; 2]> {
    let mut param = |there: bool, value| {
        let fans = Fans { fan_in: 1, fan_out: 1 };
        let param = || source.param(Init::Constant(value), [channels], fans, &kind);
        there.then(param).transpose()
    };
    Ok([param(affine, 1.0)?, param(affine && bias, 0.0)?])
}

impl<T: Float> Module<T> for GroupNorm<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let [weight, bias] =
            [&self.weight, &self.bias].map(|param| param.as_ref().map(|param| param.on(x)));
        let normalised = match x.shape().get(1) {
            Some(&channels) if channels != self.num_channels => {
                let message = format!("expected [N, {}, …], got {}", self.num_channels, x.shape());
                Err(Error::shape("GroupNorm", message))
            }
            _ => x.group_norm(self.num_groups, weight.as_ref(), bias.as_ref(), self.eps),
        };
        normalised.map_err(|error| {
            context::in_layer(error, self.weight.as_ref().and_then(context::path), self)
        })
    }
}

impl<T: Float> fmt::Display for GroupNorm<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupNorm {} in {}", self.num_channels, self.num_groups)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Parameters;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn a_network_finds_out_the_channels() {
        let builder = Sequential::input([6, 4, 4])
            .layer(GroupNorm::lazy(3))
            .layer(GroupNorm::lazy(6).eps(0.1));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(model.parameter_count(), 4 * 6);
        let no_bias = GroupNorm::new(3, 6).bias(false).init(&mut Rng::seed(0)).unwrap();
        assert_eq!(no_bias.parameter_count(), 6);
        no_bias.forward(&Var::new(Tensor::zeros([2, 6, 4]))).unwrap();
        let y = model.forward(&Var::new(Tensor::zeros([2, 6, 4, 4]))).unwrap();
        assert_eq!(*y.shape(), [2, 6, 4, 4]);
        let refuse = |builder: crate::SequentialBuilder| {
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            refuse(Sequential::input([6, 4]).layer(GroupNorm::lazy(4))),
            "layer 0 (GroupNorm): 6 channels do not form 4 groups"
        );
    }

    #[test]
    fn a_wrong_input_is_told_with_the_layer() {
        let rng = &mut Rng::seed(0);
        let x = Var::new(Tensor::zeros([2, 5, 3]));
        let group = GroupNorm::new(2, 4).init(rng).unwrap();
        assert_eq!(
            group.forward(&x).unwrap_err().to_string(),
            "GroupNorm 4 in 2: expected [N, 4, …], got [2, 5, 3]"
        );
        assert!(GroupNorm::new(3, 4).init(rng).is_err());
    }
}
