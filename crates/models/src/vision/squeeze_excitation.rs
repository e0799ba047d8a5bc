//! Squeeze-and-excitation.

use dendra_autograd::Var;
use dendra_nn::{Conv2d, Init, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use crate::activation::Activation;
use crate::build::he_fan_out;

/// Multiplies each channel of `[N, C, H, W]` by a number in 0 ..= 1 that
/// depends on the means of all channels: σ(fc2(δ(fc1(means)))) (Hu et al.,
/// "Squeeze-and-excitation networks", 2018, figure 1).
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct SqueezeExcitation {
    /// From all channels to fewer channels.
    pub fc1: Conv2d,
    /// Back to all channels.
    pub fc2: Conv2d,
    #[parameters(skip)]
    activation: Activation,
    #[parameters(skip)]
    scale: Scale,
}

/// The function σ, applied to the output of `fc2`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Sigmoid,
    Hardsigmoid,
}

impl SqueezeExcitation {
    pub(super) fn new(
        [channels, squeezed]: [usize; 2],
        activation: Activation,
        scale: Scale,
        bias_init: Init,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let mut conv = |input, output| {
            let conv = Conv2d::new(input, output, 1).weight_init(he_fan_out());
            conv.bias_init(bias_init).init_from(source)
        };
        let (fc1, fc2) = (conv(channels, squeezed)?, conv(squeezed, channels)?);
        Ok(Self { fc1, fc2, activation, scale })
    }
}

impl Module for SqueezeExcitation {
    fn forward(&self, x: &Var) -> Result<Var> {
        let means = x.mean_axes(&[2, 3], true)?;
        let scale = self.fc2.forward(&self.activation.apply(&self.fc1.forward(&means)?))?;
        x.mul(&match self.scale {
            Scale::Sigmoid => scale.sigmoid(),
            Scale::Hardsigmoid => scale.hardsigmoid(),
        })
    }
}
