//! ConvNeXt.

use dendra_autograd::{Param, Var};
use dendra_derive::Setters;
use dendra_nn::{Conv2d, Fans, Flatten, Init, LayerNorm, Linear, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use crate::activation::Activation;
use crate::build::{builds, check_sizes, truncated_normal};
use crate::chain::Chain;
use crate::stochastic_depth::StochasticDepth;

/// A convolutional network with the architecture of a transformer (Liu et al.,
/// "A ConvNet for the 2020s", 2022), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct ConvNeXt {
    /// The first convolution, then the stages with downsampling between them.
    pub features: Chain,
    /// Normalisation and, as step 2, the linear layer.
    pub classifier: Chain,
}

/// [`LayerNorm`] over the channels of `[N, C, H, W]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct LayerNorm2d {
    #[parameters(flatten)]
    norm: LayerNorm,
}

/// A depthwise 7×7 convolution and two linear layers at each position.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    layer_scale: Param,
    block: Chain,
    #[parameters(skip)]
    stochastic_depth: StochasticDepth,
}

/// A step of a block that permutes the axes.
#[derive(Clone, Copy, Debug, Parameters)]
#[parameters(crate = dendra_nn, skip)]
struct Permute([isize; 4]);

/// The settings of a [`ConvNeXt`].
#[derive(Clone, Debug, Setters)]
pub struct ConvNeXtSettings {
    channels: Vec<usize>,
    blocks: Vec<usize>,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The probability of dropping the last block. It grows linearly from 0 for
    /// the first block.
    #[set(default = 0.0)]
    stochastic_depth: f64,
    /// The initial scale of the outputs of blocks.
    #[set(default = 1e-6)]
    layer_scale: f64,
}

builds!(ConvNeXtSettings => ConvNeXt);

/// Published networks.
impl ConvNeXt {
    /// Settings of a network with these channels and numbers of blocks for each
    /// stage.
    pub fn new<const N: usize>(channels: [usize; N], blocks: [usize; N]) -> ConvNeXtSettings {
        ConvNeXtSettings::with_defaults(channels.to_vec(), blocks.to_vec())
    }

    /// ConvNeXt-T.
    pub fn convnext_tiny() -> ConvNeXtSettings {
        Self::new([96, 192, 384, 768], [3, 3, 9, 3]).stochastic_depth(0.1)
    }

    /// ConvNeXt-S.
    pub fn convnext_small() -> ConvNeXtSettings {
        Self::new([96, 192, 384, 768], [3, 3, 27, 3]).stochastic_depth(0.4)
    }

    /// ConvNeXt-B.
    pub fn convnext_base() -> ConvNeXtSettings {
        Self::new([128, 256, 512, 1024], [3, 3, 27, 3]).stochastic_depth(0.5)
    }

    /// ConvNeXt-L.
    pub fn convnext_large() -> ConvNeXtSettings {
        Self::new([192, 384, 768, 1536], [3, 3, 27, 3]).stochastic_depth(0.5)
    }
}

const EPS: f64 = 1e-6;

impl ConvNeXtSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<ConvNeXt> {
        check_sizes("ConvNeXt", &[("num_classes", self.num_classes)])?;
        let norm2d = |channels: usize, source: &mut Source<'_>| {
            let norm = LayerNorm::new([channels]).eps(EPS).init_from(source)?;
            Ok(LayerNorm2d { norm })
        };
        let halving = |input, output, size| {
            let conv = Conv2d::new(input, output, size).stride(size);
            conv.weight_init(truncated_normal(0.02)).bias_init(Init::Zeros)
        };
        let total: usize = self.blocks.iter().sum();
        let mut features = Chain::new();
        let (mut input, mut index) = (3, 0);
        for (&channels, &blocks) in self.channels.iter().zip(&self.blocks) {
            check_sizes("ConvNeXt", &[("channels", channels)])?;
            features.push(match features.is_empty() {
                true => Chain::new()
                    .then(halving(input, channels, 4).init_from(source)?)
                    .then(norm2d(channels, source)?),
                false => Chain::new()
                    .then(norm2d(input, source)?)
                    .then(halving(input, channels, 2).init_from(source)?),
            });
            let mut stage = Chain::new();
            for _ in 0..blocks {
                let last = total.saturating_sub(1);
                let depth = StochasticDepth::linear(self.stochastic_depth, index, last)?;
                stage.push(Block::new(channels, self.layer_scale, depth, source)?);
                index += 1;
            }
            features.push(stage);
            input = channels;
        }
        let dense = Linear::new(input, self.num_classes).weight_init(truncated_normal(0.02));
        let classifier = Chain::new()
            .then(norm2d(input, source)?)
            .then(Flatten::default())
            .then(dense.bias_init(Init::Zeros).init_from(source)?);
        Ok(ConvNeXt { features, classifier })
    }
}

impl Block {
    fn new(
        channels: usize,
        layer_scale: f64,
        stochastic_depth: StochasticDepth,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let depthwise = Conv2d::new(channels, channels, 7).padding(3).groups(channels);
        let depthwise = depthwise.weight_init(truncated_normal(0.02)).bias_init(Init::Zeros);
        let dense = |input, output| {
            let dense = Linear::new(input, output).weight_init(truncated_normal(0.02));
            dense.bias_init(Init::Zeros)
        };
        let scale = Init::Constant(layer_scale);
        let none = Fans { fan_in: 1, fan_out: 1 };
        Ok(Self {
            layer_scale: source.param(scale, [channels, 1, 1], none, &"ConvNeXt")?,
            block: Chain::new()
                .then(depthwise.init_from(source)?)
                .then(Permute([0, 2, 3, 1]))
                .then(LayerNorm::new([channels]).eps(EPS).init_from(source)?)
                .then(dense(channels, 4 * channels).init_from(source)?)
                .then(Activation::GELU)
                .then(dense(4 * channels, channels).init_from(source)?)
                .then(Permute([0, 3, 1, 2])),
            stochastic_depth,
        })
    }
}

impl Module for Permute {
    fn forward(&self, x: &Var) -> Result<Var> {
        x.permute(&self.0)
    }
}

impl Module for LayerNorm2d {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.norm.forward(&x.permute(&[0, 2, 3, 1])?)?.permute(&[0, 3, 1, 2])
    }
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.block.forward(x)?.mul(&self.layer_scale.on(x))?;
        self.stochastic_depth.forward(&y)?.add(x)
    }
}

impl Module for ConvNeXt {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.features.forward(x)?.mean_axes(&[2, 3], true)?;
        self.classifier.forward(&x)
    }
}
