//! DenseNet.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Dropout, Init, Linear, MaxPool2d, Module, Parameters, Source,
};
use dendra_tensor::{Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use crate::activation::Activation;
use crate::build::{builds, check_sizes};
use crate::chain::Chain;

/// Blocks in which each layer takes the outputs of all previous layers (Huang
/// et al., "Densely connected convolutional networks", 2017), with
/// torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct DenseNet {
    /// The first convolution, and the blocks with transitions between them.
    pub features: Chain,
    /// The classifier of the mean over all positions.
    pub classifier: Linear,
}

/// A 1×1 and a 3×3 convolution, each after normalisation and ReLU. The output
/// is concatenated to the input.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct DenseLayer {
    norm1: BatchNorm2d,
    conv1: Conv2d,
    norm2: BatchNorm2d,
    conv2: Conv2d,
    #[parameters(skip)]
    dropout: Dropout,
}

/// The settings of a [`DenseNet`].
#[derive(Clone, Debug, Setters)]
pub struct DenseNetSettings {
    growth_rate: usize,
    block_config: Vec<usize>,
    num_init_features: usize,
    /// The channels of the 1×1 convolutions, as a multiple of the growth rate.
    #[set(default = 4)]
    bn_size: usize,
    /// The probability of dropping an output value of a layer.
    #[set(default = 0.0)]
    drop_rate: f64,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
}

builds!(DenseNetSettings => DenseNet);

/// Published networks.
impl DenseNet {
    /// Settings of a network with this number of layers in each block. Each
    /// layer adds `growth_rate` channels.
    pub fn new(
        growth_rate: usize,
        block_config: &[usize],
        num_init_features: usize,
    ) -> DenseNetSettings {
        DenseNetSettings::with_defaults(growth_rate, block_config.to_vec(), num_init_features)
    }

    /// DenseNet-121.
    pub fn densenet121() -> DenseNetSettings {
        Self::new(32, &[6, 12, 24, 16], 64)
    }

    /// DenseNet-161.
    pub fn densenet161() -> DenseNetSettings {
        Self::new(48, &[6, 12, 36, 24], 96)
    }

    /// DenseNet-169.
    pub fn densenet169() -> DenseNetSettings {
        Self::new(32, &[6, 12, 32, 32], 64)
    }

    /// DenseNet-201.
    pub fn densenet201() -> DenseNetSettings {
        Self::new(32, &[6, 12, 48, 32], 64)
    }
}

impl DenseNetSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<DenseNet> {
        check_sizes(
            "DenseNet",
            &[
                ("growth_rate", self.growth_rate),
                ("num_init_features", self.num_init_features),
                ("bn_size", self.bn_size),
                ("num_classes", self.num_classes),
            ],
        )?;
        let conv = |input, output, kernel| ConvNorm {
            weight_init: Init::KaimingNormal { negative_slope: 0.0 },
            ..ConvNorm::new(input, output, kernel)
        };
        let norm = |channels, source: &mut Source<'_>| BatchNorm2d::new(channels).init_from(source);
        let mut channels = self.num_init_features;
        let mut features = Chain::new()
            .then_named("conv0", conv(3, channels, 7).stride(2).conv(source)?)
            .then_named("norm0", norm(channels, source)?)
            .then_named("relu0", Activation::ReLU)
            .then_named("pool0", MaxPool2d::new(3).stride(2).padding(1));
        for (block, &count) in (1..).zip(&self.block_config) {
            let mut layers = Chain::new();
            for layer in 1..=count {
                let bottleneck = self.bn_size * self.growth_rate;
                let step = DenseLayer {
                    norm1: norm(channels, source)?,
                    conv1: conv(channels, bottleneck, 1).conv(source)?,
                    norm2: norm(bottleneck, source)?,
                    conv2: conv(bottleneck, self.growth_rate, 3).conv(source)?,
                    dropout: Dropout::new(self.drop_rate)?,
                };
                layers.push_named(format!("denselayer{layer}"), step);
                channels += self.growth_rate;
                check_sizes("DenseNet", &[("channels", channels)])?;
            }
            features.push_named(format!("denseblock{block}"), layers);
            if block < self.block_config.len() {
                let transition = Chain::new()
                    .then_named("norm", norm(channels, source)?)
                    .then_named("relu", Activation::ReLU)
                    .then_named("conv", conv(channels, channels / 2, 1).conv(source)?)
                    .then_named("pool", AvgPool2d::new(2));
                features.push_named(format!("transition{block}"), transition);
                channels /= 2;
            }
        }
        features.push_named("norm5", norm(channels, source)?);
        let classifier = Linear::new(channels, self.num_classes).bias_init(Init::Zeros);
        Ok(DenseNet { features, classifier: classifier.init_from(source)? })
    }
}

impl Module for DenseLayer {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.conv1.forward(&self.norm1.forward(x)?.relu())?;
        let y = self.conv2.forward(&self.norm2.forward(&y)?.relu())?;
        Var::cat(&[x, &self.dropout.forward(&y)?], 1)
    }
}

impl Module for DenseNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.classifier.forward(&global_average(&self.features.forward(x)?.relu())?)
    }
}
