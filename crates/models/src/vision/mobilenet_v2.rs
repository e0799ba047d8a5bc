//! MobileNetV2.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Dropout, Init, Linear, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use crate::activation::Activation;
use crate::build::{builds, check_sizes, make_divisible, normal};
use crate::chain::Chain;

/// Inverted residuals with linear bottlenecks (Sandler et al., "MobileNetV2", 2018),
/// with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct MobileNetV2 {
    /// The first convolution, the blocks, the last convolution.
    pub features: Chain,
    /// Dropout and, as step 1, the linear layer.
    pub classifier: Chain,
}

/// A 1×1 convolution to more channels, a depthwise 3×3 convolution, a 1×1
/// convolution to few channels without activation, and a residual connection if
/// the shape stays the same.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct InvertedResidual {
    conv: Chain,
    #[parameters(skip)]
    residual: bool,
}

/// The settings of several blocks with the same number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvertedResiduals {
    /// t, the factor of the channels within a block.
    pub expand_ratio: usize,
    /// c, the channels.
    pub channels: usize,
    /// n, the number of blocks.
    pub blocks: usize,
    /// s, the stride of the first.
    pub stride: usize,
}

/// The settings of a [`MobileNetV2`].
#[derive(Clone, Debug, Setters)]
pub struct MobileNetV2Settings {
    stages: Vec<InvertedResiduals>,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The factor of all channels.
    #[set(default = 1.0)]
    width_mult: f64,
    /// The channels of the last convolution.
    #[set(default = 1280)]
    last_channel: usize,
    /// The dropout probability before the linear layer.
    #[set(default = 0.2)]
    dropout: f64,
}

builds!(MobileNetV2Settings => MobileNetV2);

impl MobileNetV2 {
    /// Settings of a network of these blocks.
    pub fn new(stages: Vec<InvertedResiduals>) -> MobileNetV2Settings {
        MobileNetV2Settings::with_defaults(stages)
    }

    /// Published networks.
    pub fn mobilenet_v2() -> MobileNetV2Settings {
        let table = [
            [1, 16, 1, 1],
            [6, 24, 2, 2],
            [6, 32, 3, 2],
            [6, 64, 4, 2],
            [6, 96, 3, 1],
            [6, 160, 3, 2],
            [6, 320, 1, 1],
        ];
        let stage = |[expand_ratio, channels, blocks, stride]: [usize; 4]| InvertedResiduals {
            expand_ratio,
            channels,
            blocks,
            stride,
        };
        Self::new(table.map(stage).to_vec())
    }
}

impl MobileNetV2Settings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<MobileNetV2> {
        check_sizes(
            "MobileNetV2",
            &[("num_classes", self.num_classes), ("last_channel", self.last_channel)],
        )?;
        let wide = |channels: usize, factor: f64| {
            let channels = make_divisible(channels as f64 * factor, 8);
            check_sizes("MobileNetV2", &[("channels", channels)]).map(|()| channels)
        };
        let relu6 = |conv: ConvNorm| conv.activation(Activation::ReLU6);
        let mut channels = wide(32, self.width_mult)?;
        let mut features = Chain::new();
        features.push(relu6(ConvNorm::new(3, channels, 3).stride(2)).build(source)?);
        for stage in &self.stages {
            let output = wide(stage.channels, self.width_mult)?;
            check_sizes("MobileNetV2", &[("expand_ratio", stage.expand_ratio)])?;
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                let hidden = channels * stage.expand_ratio;
                let mut conv = Chain::new();
                if stage.expand_ratio != 1 {
                    conv.push(relu6(ConvNorm::new(channels, hidden, 1)).build(source)?);
                }
                let depthwise = ConvNorm::depthwise(hidden, 3).stride(stride);
                conv.push(relu6(depthwise).build(source)?);
                let project = ConvNorm::new(hidden, output, 1).activation(None);
                project.append_to(&mut conv, source)?;
                let residual = stride == 1 && channels == output;
                features.push(InvertedResidual { conv, residual });
                channels = output;
            }
        }
        let last = wide(self.last_channel, self.width_mult.max(1.0))?;
        features.push(relu6(ConvNorm::new(channels, last, 1)).build(source)?);
        let dense = Linear::new(last, self.num_classes).weight_init(normal(0.01));
        let classifier = Chain::new()
            .then(Dropout::new(self.dropout)?)
            .then(dense.bias_init(Init::Zeros).init_from(source)?);
        Ok(MobileNetV2 { features, classifier })
    }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.conv.forward(x)?;
        if self.residual { x.add(&y) } else { Ok(y) }
    }
}

impl Module for MobileNetV2 {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.classifier.forward(&global_average(&self.features.forward(x)?)?)
    }
}
