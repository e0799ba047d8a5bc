//! VGG.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{
    AdaptiveAvgPool2d, Conv2d, Dropout, Init, Linear, MaxPool2d, Module, Parameters, Source,
};
use dendra_tensor::{Ops, Result};

use super::conv_norm::Norm;
use crate::activation::Activation;
use crate::build::{builds, check_sizes, he_fan_out, normal};
use crate::chain::Chain;

/// Stacks of 3×3 convolutions with pooling between them, and three linear
/// layers (Simonyan and Zisserman, "Very deep convolutional networks for
/// large-scale image recognition", 2014), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct VGG {
    /// Convolutions and pooling.
    pub features: Chain,
    #[parameters(skip)]
    avgpool: AdaptiveAvgPool2d,
    /// The linear layers; step 6 is the last.
    pub classifier: Chain,
}

/// The settings of a [`VGG`].
#[derive(Clone, Debug, Setters)]
pub struct VGGSettings {
    stages: Vec<Vec<usize>>,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// Whether each convolution is followed by batch normalisation.
    #[set(default = false)]
    batch_norm: bool,
    /// The width of the linear layers.
    #[set(default = 4096)]
    hidden: usize,
    /// The dropout probability between the linear layers.
    #[set(default = 0.5)]
    dropout: f64,
}

builds!(VGGSettings => VGG);

/// Published networks.
impl VGG {
    /// Settings of a network of stages. Each stage is a list of the channels of
    /// its convolutions and ends with pooling.
    pub fn new(stages: &[&[usize]]) -> VGGSettings {
        VGGSettings::with_defaults(stages.iter().map(|stage| stage.to_vec()).collect())
    }

    /// Configuration A, with 11 layers.
    pub fn vgg11() -> VGGSettings {
        Self::new(&[&[64], &[128], &[256; 2], &[512; 2], &[512; 2]])
    }

    /// Configuration A with batch normalisation.
    pub fn vgg11_bn() -> VGGSettings {
        Self::vgg11().batch_norm(true)
    }

    /// Configuration B, with 13 layers.
    pub fn vgg13() -> VGGSettings {
        Self::new(&[&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]])
    }

    /// Configuration B with batch normalisation.
    pub fn vgg13_bn() -> VGGSettings {
        Self::vgg13().batch_norm(true)
    }

    /// Configuration D, with 16 layers.
    pub fn vgg16() -> VGGSettings {
        Self::new(&[&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]])
    }

    /// Configuration D with batch normalisation.
    pub fn vgg16_bn() -> VGGSettings {
        Self::vgg16().batch_norm(true)
    }

    /// Configuration E, with 19 layers.
    pub fn vgg19() -> VGGSettings {
        Self::new(&[&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]])
    }

    /// Configuration E with batch normalisation.
    pub fn vgg19_bn() -> VGGSettings {
        Self::vgg19().batch_norm(true)
    }
}

/// The height and width of the input of the classifier.
const POOLED: usize = 7;

impl VGGSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<VGG> {
        check_sizes("VGG", &[("num_classes", self.num_classes), ("hidden", self.hidden)])?;
        let (mut features, mut channels) = (Chain::new(), 3);
        for stage in &self.stages {
            for &output in stage {
                check_sizes("VGG", &[("channels", output)])?;
                let conv = Conv2d::new(channels, output, 3).padding(1);
                let conv = conv.weight_init(he_fan_out()).bias_init(Init::Zeros);
                features.push(conv.init_from(source)?);
                if self.batch_norm {
                    features.push(Norm::default().build(output, source)?);
                }
                features.push(Activation::ReLU);
                channels = output;
            }
            features.push(MaxPool2d::new(2));
        }
        let mut dense = |input, output| {
            let linear = Linear::new(input, output).weight_init(normal(0.01));
            linear.bias_init(Init::Zeros).init_from(source)
        };
        let classifier = Chain::new()
            .then(dense(channels * POOLED * POOLED, self.hidden)?)
            .then(Activation::ReLU)
            .then(Dropout::new(self.dropout)?)
            .then(dense(self.hidden, self.hidden)?)
            .then(Activation::ReLU)
            .then(Dropout::new(self.dropout)?)
            .then(dense(self.hidden, self.num_classes)?);
        Ok(VGG { features, avgpool: AdaptiveAvgPool2d::new(POOLED), classifier })
    }
}

impl Module for VGG {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.avgpool.forward(&self.features.forward(x)?)?;
        self.classifier.forward(&x.flatten(1, -1)?)
    }
}
