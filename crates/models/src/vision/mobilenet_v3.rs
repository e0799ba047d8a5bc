//! MobileNetV3.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Dropout, Init, Linear, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::conv_norm::{ConvNorm, Norm};
use super::global_average;
use super::squeeze_excitation::{Scale, SqueezeExcitation};
use crate::activation::Activation;
use crate::build::{builds, check_sizes, make_divisible, normal};
use crate::chain::Chain;

/// Inverted residuals with squeeze-and-excitation and hard swish (Howard et al.,
/// "Searching for MobileNetV3", 2019), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct MobileNetV3 {
    /// The first convolution, the blocks, the last convolution.
    pub features: Chain,
    /// Two linear layers; step 3 is the last.
    pub classifier: Chain,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct InvertedResidual {
    block: Chain,
    #[parameters(skip)]
    residual: bool,
}

/// The settings of one block: a row of the paper's tables 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileNetV3Block {
    /// The size of the depthwise kernel.
    pub kernel: usize,
    /// The channels within the block.
    pub expanded_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// Whether it has squeeze-and-excitation.
    pub squeeze: bool,
    /// [`Activation::ReLU`] or [`Activation::Hardswish`].
    pub activation: Activation,
    /// The stride.
    pub stride: usize,
}

/// The settings of a [`MobileNetV3`].
#[derive(Clone, Debug, Setters)]
pub struct MobileNetV3Settings {
    blocks: Vec<MobileNetV3Block>,
    last_channel: usize,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The factor of all channels.
    #[set(default = 1.0)]
    width_mult: f64,
    /// The dropout probability before the last layer.
    #[set(default = 0.2)]
    dropout: f64,
}

builds!(MobileNetV3Settings => MobileNetV3);

/// Published networks.
impl MobileNetV3 {
    /// Settings of a network with these blocks, followed by a linear layer with
    /// `last_channel` outputs.
    pub fn new(blocks: Vec<MobileNetV3Block>, last_channel: usize) -> MobileNetV3Settings {
        MobileNetV3Settings::with_defaults(blocks, last_channel)
    }

    /// MobileNetV3-Large.
    pub fn mobilenet_v3_large() -> MobileNetV3Settings {
        use Activation::{Hardswish as HS, ReLU as RE};
        let blocks = [
            row(3, 16, 16, false, RE, 1),
            row(3, 64, 24, false, RE, 2),
            row(3, 72, 24, false, RE, 1),
            row(5, 72, 40, true, RE, 2),
            row(5, 120, 40, true, RE, 1),
            row(5, 120, 40, true, RE, 1),
            row(3, 240, 80, false, HS, 2),
            row(3, 200, 80, false, HS, 1),
            row(3, 184, 80, false, HS, 1),
            row(3, 184, 80, false, HS, 1),
            row(3, 480, 112, true, HS, 1),
            row(3, 672, 112, true, HS, 1),
            row(5, 672, 160, true, HS, 2),
            row(5, 960, 160, true, HS, 1),
            row(5, 960, 160, true, HS, 1),
        ];
        Self::new(blocks.to_vec(), 1280)
    }

    /// MobileNetV3-Small.
    pub fn mobilenet_v3_small() -> MobileNetV3Settings {
        use Activation::{Hardswish as HS, ReLU as RE};
        let blocks = [
            row(3, 16, 16, true, RE, 2),
            row(3, 72, 24, false, RE, 2),
            row(3, 88, 24, false, RE, 1),
            row(5, 96, 40, true, HS, 2),
            row(5, 240, 40, true, HS, 1),
            row(5, 240, 40, true, HS, 1),
            row(5, 120, 48, true, HS, 1),
            row(5, 144, 48, true, HS, 1),
            row(5, 288, 96, true, HS, 2),
            row(5, 576, 96, true, HS, 1),
            row(5, 576, 96, true, HS, 1),
        ];
        Self::new(blocks.to_vec(), 1024)
    }
}

fn row(
    kernel: usize,
    expanded_channels: usize,
    out_channels: usize,
    squeeze: bool,
    activation: Activation,
    stride: usize,
) -> MobileNetV3Block {
    MobileNetV3Block { kernel, expanded_channels, out_channels, squeeze, activation, stride }
}

/// The channels of the first convolution.
const STEM: usize = 16;

impl MobileNetV3Settings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<MobileNetV3> {
        check_sizes("MobileNetV3", &[("num_classes", self.num_classes)])?;
        let wide = |channels: usize| {
            let channels = make_divisible(channels as f64 * self.width_mult, 8);
            check_sizes("MobileNetV3", &[("channels", channels)]).map(|()| channels)
        };
        let norm = Norm { eps: 0.001, momentum: 0.01 };
        let hardswish = Activation::Hardswish;
        let mut channels = wide(STEM)?;
        let first = ConvNorm::new(3, channels, 3).stride(2).norm(norm).activation(hardswish);
        let mut features = Chain::new();
        features.push(first.build(source)?);
        for row in &self.blocks {
            let (expanded, output) = (wide(row.expanded_channels)?, wide(row.out_channels)?);
            let conv = |conv: ConvNorm| conv.norm(norm).activation(row.activation);
            let mut block = Chain::new();
            if expanded != channels {
                block.push(conv(ConvNorm::new(channels, expanded, 1)).build(source)?);
            }
            let depthwise = ConvNorm::depthwise(expanded, row.kernel).stride(row.stride);
            block.push(conv(depthwise).build(source)?);
            if row.squeeze {
                let squeezed = make_divisible((expanded / 4) as f64, 8);
                let (relu, scale) = (Activation::ReLU, Scale::Hardsigmoid);
                block.push(SqueezeExcitation::new(
                    [expanded, squeezed],
                    relu,
                    scale,
                    Init::Zeros,
                    source,
                )?);
            }
            let project = ConvNorm::new(expanded, output, 1).norm(norm).activation(None);
            block.push(project.build(source)?);
            let residual = row.stride == 1 && channels == output;
            features.push(InvertedResidual { block, residual });
            channels = output;
        }
        let last = 6 * channels;
        let conv = ConvNorm::new(channels, last, 1).norm(norm).activation(hardswish);
        features.push(conv.build(source)?);
        let mut dense = |input, output| {
            let linear = Linear::new(input, output).weight_init(normal(0.01));
            linear.bias_init(Init::Zeros).init_from(source)
        };
        let hidden = wide(self.last_channel)?;
        let classifier = Chain::new()
            .then(dense(last, hidden)?)
            .then(hardswish)
            .then(Dropout::new(self.dropout)?)
            .then(dense(hidden, self.num_classes)?);
        Ok(MobileNetV3 { features, classifier })
    }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.block.forward(x)?;
        if self.residual { x.add(&y) } else { Ok(y) }
    }
}

impl Module for MobileNetV3 {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.classifier.forward(&global_average(&self.features.forward(x)?)?)
    }
}
