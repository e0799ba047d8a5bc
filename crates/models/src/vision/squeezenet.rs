//! SqueezeNet.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Conv2d, Dropout, Init, MaxPool2d, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::global_average;
use crate::activation::Activation;
use crate::build::{builds, check_sizes, normal};
use crate::chain::Chain;

/// Fire modules, which reduce the channels before they expand them (Iandola et
/// al., "SqueezeNet", 2016), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct SqueezeNet {
    /// The first convolution, pooling and the fire modules.
    pub features: Chain,
    /// Dropout and, as step 1, the last convolution.
    pub classifier: Chain,
}

/// A 1×1 convolution to few channels, followed by 1×1 and 3×3 convolutions to
/// many channels, whose outputs are concatenated.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

/// The versions of a [`SqueezeNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1_0,
    V1_1,
}

/// The settings of a [`SqueezeNet`].
#[derive(Clone, Debug, Setters)]
pub struct SqueezeNetSettings {
    version: Version,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The dropout probability before the last convolution.
    #[set(default = 0.5)]
    dropout: f64,
}

builds!(SqueezeNetSettings => SqueezeNet);

/// Published networks.
impl SqueezeNet {
    /// Version 1.0, which is that of the paper.
    pub fn squeezenet1_0() -> SqueezeNetSettings {
        SqueezeNetSettings::with_defaults(Version::V1_0)
    }

    /// Version 1.1, which needs less than half of the computation.
    pub fn squeezenet1_1() -> SqueezeNetSettings {
        SqueezeNetSettings::with_defaults(Version::V1_1)
    }
}

impl SqueezeNetSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<SqueezeNet> {
        check_sizes("SqueezeNet", &[("num_classes", self.num_classes)])?;
        // The channels of the first convolution, then those within each fire
        // module, and 0 for pooling. Each module expands to 2 × 4 times as many
        // channels. Versions 1.0 and 1.1 differ in the positions of pooling.
        let (channels, kernel, modules): (_, _, &[usize]) = match self.version {
            Version::V1_0 => (96, 7, &[0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64]),
            Version::V1_1 => (64, 3, &[0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64]),
        };
        let mut features = Chain::new()
            .then(he_conv(3, channels, kernel).stride(2).init_from(source)?)
            .then(Activation::ReLU);
        let mut channels = channels;
        for &squeezed in modules {
            if squeezed == 0 {
                features.push(MaxPool2d::new(3).stride(2).ceil_mode(true));
                continue;
            }
            let expanded = 4 * squeezed;
            features.push(Fire {
                squeeze: he_conv(channels, squeezed, 1).init_from(source)?,
                expand1x1: he_conv(squeezed, expanded, 1).init_from(source)?,
                expand3x3: he_conv(squeezed, expanded, 3).padding(1).init_from(source)?,
            });
            channels = 2 * expanded;
        }
        let last = he_conv(channels, self.num_classes, 1).weight_init(normal(0.01));
        let classifier = Chain::new()
            .then(Dropout::new(self.dropout)?)
            .then(last.init_from(source)?)
            .then(Activation::ReLU);
        Ok(SqueezeNet { features, classifier })
    }
}

/// A convolution with He's uniform initialisation.
fn he_conv(input: usize, output: usize, kernel: usize) -> dendra_nn::ConvSettings<2> {
    let he = Init::KaimingUniform { negative_slope: 0.0 };
    Conv2d::new(input, output, kernel).weight_init(he).bias_init(Init::Zeros)
}

impl Module for Fire {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.squeeze.forward(x)?.relu();
        let [small, large] = [&self.expand1x1, &self.expand3x3];
        Var::cat(&[&small.forward(&x)?.relu(), &large.forward(&x)?.relu()], 1)
    }
}

impl Module for SqueezeNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        global_average(&self.classifier.forward(&self.features.forward(x)?)?)
    }
}
