//! Convolution with batch normalisation and an activation.

use dendra_nn::{BatchNorm2d, Conv2d, Init, Source};
use dendra_tensor::Result;

use crate::activation::Activation;
use crate::build::he_fan_out;
use crate::chain::Chain;

/// The settings of a convolution without bias, followed by batch normalisation
/// and an activation; torchvision's `Conv2dNormActivation` with the parts `0`,
/// `1` and `2`. The padding keeps the size of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvNorm {
    pub(super) channels: [usize; 2],
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) dilation: usize,
    pub(super) norm: Norm,
    pub(super) activation: Option<Activation>,
    pub(super) weight_init: Init,
}

/// The settings of batch normalisation that depend on the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub(super) eps: f64,
    pub(super) momentum: f64,
}

impl Default for Norm {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

impl Norm {
    pub(super) fn build(self, channels: usize, source: &mut Source<'_>) -> Result<BatchNorm2d> {
        BatchNorm2d::new(channels).eps(self.eps).momentum(self.momentum).init_from(source)
    }
}

impl ConvNorm {
    /// Settings for `input` and `output` channels, with stride 1, one group,
    /// ReLU and He's initialisation.
    pub(super) fn new(input: usize, output: usize, kernel: usize) -> Self {
        Self {
            channels: [input, output],
            kernel,
            stride: 1,
            groups: 1,
            dilation: 1,
            norm: Norm::default(),
            activation: Some(Activation::ReLU),
            weight_init: he_fan_out(),
        }
    }

    /// One kernel for each channel (depthwise).
    pub(super) fn depthwise(channels: usize, kernel: usize) -> Self {
        Self { groups: channels, ..Self::new(channels, channels, kernel) }
    }

    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn norm(self, norm: Norm) -> Self {
        Self { norm, ..self }
    }

    pub(super) fn activation(self, activation: impl Into<Option<Activation>>) -> Self {
        Self { activation: activation.into(), ..self }
    }

    /// Makes only the convolution.
    pub(super) fn conv(&self, source: &mut Source<'_>) -> Result<Conv2d> {
        let [input, output] = self.channels;
        Conv2d::new(input, output, self.kernel)
            .stride(self.stride)
            .padding(self.kernel.saturating_sub(1) / 2 * self.dilation)
            .dilation(self.dilation)
            .groups(self.groups)
            .bias(false)
            .weight_init(self.weight_init)
            .init_from(source)
    }

    /// Convolution, normalisation and activation.
    pub(super) fn build(&self, source: &mut Source<'_>) -> Result<Chain> {
        let mut chain = Chain::new();
        self.append_to(&mut chain, source)?;
        Ok(chain)
    }

    /// Appends convolution, normalisation and activation to a longer chain.
    pub(super) fn append_to(&self, chain: &mut Chain, source: &mut Source<'_>) -> Result<()> {
        chain.push(self.conv(source)?);
        chain.push(self.norm.build(self.channels[1], source)?);
        if let Some(activation) = self.activation {
            chain.push(activation);
        }
        Ok(())
    }
}
