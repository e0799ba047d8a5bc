//! EfficientNet and EfficientNetV2.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Dropout, Init, Linear, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::conv_norm::{ConvNorm, Norm};
use super::global_average;
use super::squeeze_excitation::{Scale, SqueezeExcitation};
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, make_divisible};
use crate::chain::Chain;
use crate::stochastic_depth::StochasticDepth;

/// Inverted residuals that are scaled in depth, width and resolution together
/// (Tan and Le, "EfficientNet", 2019, and "EfficientNetV2", 2021), with
/// torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct EfficientNet {
    /// The first convolution, the stages, the last convolution.
    pub features: Chain,
    /// Dropout and, as step 1, the linear layer.
    pub classifier: Chain,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    block: Chain,
    #[parameters(skip)]
    residual: Option<StochasticDepth>,
}

/// The kind of the blocks of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EfficientNetBlock {
    /// A 1×1 convolution to more channels, a depthwise convolution,
    /// squeeze-and-excitation, and a 1×1 convolution.
    MBConv,
    /// The first two are fused to a full convolution, and there is no
    /// squeeze-and-excitation.
    FusedMBConv,
}

/// The settings of a stage: a row of the papers' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EfficientNetStage {
    /// The kind of the blocks.
    pub block: EfficientNetBlock,
    /// The factor of the channels within a block.
    pub expand_ratio: usize,
    /// The size of the kernel.
    pub kernel: usize,
    /// The stride of the first block.
    pub stride: usize,
    /// The channels after each block.
    pub channels: usize,
    /// The number of blocks.
    pub blocks: usize,
}

/// The settings of an [`EfficientNet`].
#[derive(Clone, Debug, Setters)]
pub struct EfficientNetSettings {
    stem: usize,
    stages: Vec<EfficientNetStage>,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The factor of the channels.
    #[set(default = 1.0)]
    width_mult: f64,
    /// The factor of the number of blocks.
    #[set(default = 1.0)]
    depth_mult: f64,
    /// The channels of the last convolution; by default four times those of the
    /// last stage.
    #[set]
    last_channel: Option<usize>,
    /// The dropout probability before the linear layer.
    #[set(default = 0.2)]
    dropout: f64,
    /// The probability of dropping the last block. It grows linearly from 0 for
    /// the first block.
    #[set(default = 0.2)]
    stochastic_depth: f64,
    /// The number added to the variances of batch normalisation.
    #[set(default = 1e-5)]
    norm_eps: f64,
    /// The weight of a new batch in the running statistics.
    #[set(default = 0.1)]
    norm_momentum: f64,
}

builds!(EfficientNetSettings => EfficientNet);

fn stage(
    block: EfficientNetBlock,
    [expand_ratio, kernel, stride, channels, blocks]: [usize; 5],
) -> EfficientNetStage {
    EfficientNetStage { block, expand_ratio, kernel, stride, channels, blocks }
}

/// The settings of B0 scaled in channels, blocks and dropout.
fn b(width_mult: f64, depth_mult: f64, dropout: f64) -> EfficientNetSettings {
    let table = [
        [1, 3, 1, 16, 1],
        [6, 3, 2, 24, 2],
        [6, 5, 2, 40, 2],
        [6, 3, 2, 80, 3],
        [6, 5, 1, 112, 3],
        [6, 5, 2, 192, 4],
        [6, 3, 1, 320, 1],
    ];
    let stages = table.map(|row| stage(EfficientNetBlock::MBConv, row)).to_vec();
    let settings = EfficientNet::new(32, stages).width_mult(width_mult);
    settings.depth_mult(depth_mult).dropout(dropout)
}

/// A network of version 2, with fused and other blocks.
fn v2(stem: usize, fused: &[[usize; 5]], others: &[[usize; 5]]) -> EfficientNetSettings {
    let fused = fused.iter().map(|&row| stage(EfficientNetBlock::FusedMBConv, row));
    let others = others.iter().map(|&row| stage(EfficientNetBlock::MBConv, row));
    EfficientNet::new(stem, fused.chain(others).collect()).last_channel(1280).norm_eps(1e-3)
}

/// Published networks.
impl EfficientNet {
    /// Settings of a network whose first convolution has `stem` channels.
    pub fn new(stem: usize, stages: Vec<EfficientNetStage>) -> EfficientNetSettings {
        EfficientNetSettings::with_defaults(stem, stages)
    }

    /// B0, for images of 224×224.
    pub fn efficientnet_b0() -> EfficientNetSettings {
        b(1.0, 1.0, 0.2)
    }

    /// B1, for images of 240×240.
    pub fn efficientnet_b1() -> EfficientNetSettings {
        b(1.0, 1.1, 0.2)
    }

    /// B2, for images of 288×288.
    pub fn efficientnet_b2() -> EfficientNetSettings {
        b(1.1, 1.2, 0.3)
    }

    /// B3, for images of 300×300.
    pub fn efficientnet_b3() -> EfficientNetSettings {
        b(1.2, 1.4, 0.3)
    }

    /// B4, for images of 380×380.
    pub fn efficientnet_b4() -> EfficientNetSettings {
        b(1.4, 1.8, 0.4)
    }

    /// B5, for images of 456×456.
    pub fn efficientnet_b5() -> EfficientNetSettings {
        b(1.6, 2.2, 0.4).norm_eps(1e-3).norm_momentum(0.01)
    }

    /// B6, for images of 528×528.
    pub fn efficientnet_b6() -> EfficientNetSettings {
        b(1.8, 2.6, 0.5).norm_eps(1e-3).norm_momentum(0.01)
    }

    /// B7, for images of 600×600.
    pub fn efficientnet_b7() -> EfficientNetSettings {
        b(2.0, 3.1, 0.5).norm_eps(1e-3).norm_momentum(0.01)
    }

    /// V2-S, for images of 384×384.
    pub fn efficientnet_v2_s() -> EfficientNetSettings {
        v2(
            24,
            &[[1, 3, 1, 24, 2], [4, 3, 2, 48, 4], [4, 3, 2, 64, 4]],
            &[[4, 3, 2, 128, 6], [6, 3, 1, 160, 9], [6, 3, 2, 256, 15]],
        )
    }

    /// V2-M, for images of 480×480.
    pub fn efficientnet_v2_m() -> EfficientNetSettings {
        v2(
            24,
            &[[1, 3, 1, 24, 3], [4, 3, 2, 48, 5], [4, 3, 2, 80, 5]],
            &[[4, 3, 2, 160, 7], [6, 3, 1, 176, 14], [6, 3, 2, 304, 18], [6, 3, 1, 512, 5]],
        )
        .dropout(0.3)
    }

    /// V2-L, for images of 480×480.
    pub fn efficientnet_v2_l() -> EfficientNetSettings {
        v2(
            32,
            &[[1, 3, 1, 32, 4], [4, 3, 2, 64, 7], [4, 3, 2, 96, 7]],
            &[[4, 3, 2, 192, 10], [6, 3, 1, 224, 19], [6, 3, 2, 384, 25], [6, 3, 1, 640, 7]],
        )
        .dropout(0.4)
    }
}

impl EfficientNetSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<EfficientNet> {
        let last_channel = self.last_channel.unwrap_or(1);
        check_sizes(
            "EfficientNet",
            &[("num_classes", self.num_classes), ("last_channel", last_channel)],
        )?;
        let norm = Norm { eps: self.norm_eps, momentum: self.norm_momentum };
        let silu = |conv: ConvNorm| conv.norm(norm).activation(Activation::SiLU);
        let wide = |channels: usize| {
            let channels = make_divisible(channels as f64 * self.width_mult, 8);
            check_sizes("EfficientNet", &[("channels", channels)]).map(|()| channels)
        };
        let deep = |blocks: usize| (blocks as f64 * self.depth_mult).ceil() as usize;
        for stage in &self.stages {
            check_layers("EfficientNet", "blocks", deep(stage.blocks))?;
        }
        let total: usize = self.stages.iter().map(|stage| deep(stage.blocks)).sum();
        let mut channels = wide(self.stem)?;
        let mut features = Chain::new();
        features.push(silu(ConvNorm::new(3, channels, 3).stride(2)).build(source)?);
        let mut index = 0;
        for stage in &self.stages {
            check_sizes("EfficientNet", &[("expand_ratio", stage.expand_ratio)])?;
            let output = wide(stage.channels)?;
            let mut blocks = Chain::new();
            for block in 0..deep(stage.blocks) {
                let stride = if block == 0 { stage.stride } else { 1 };
                let chain = chain(stage, [channels, output], stride, norm, source)?;
                let depth = StochasticDepth::linear(self.stochastic_depth, index, total)?;
                let residual = (stride == 1 && channels == output).then_some(depth);
                blocks.push(Block { block: chain, residual });
                channels = output;
                index += 1;
            }
            features.push(blocks);
        }
        let last = self.last_channel.unwrap_or(4 * channels);
        features.push(silu(ConvNorm::new(channels, last, 1)).build(source)?);
        let bound = 1.0 / (self.num_classes as f64).sqrt();
        let dense = Linear::new(last, self.num_classes).bias_init(Init::Zeros);
        let dense = dense.weight_init(Init::Uniform { low: -bound, high: bound });
        let classifier =
            Chain::new().then(Dropout::new(self.dropout)?).then(dense.init_from(source)?);
        Ok(EfficientNet { features, classifier })
    }
}

/// The convolutions of a block.
fn chain(
    stage: &EfficientNetStage,
    [channels, output]: [usize; 2],
    stride: usize,
    norm: Norm,
    source: &mut Source<'_>,
) -> Result<Chain> {
    let silu = |conv: ConvNorm| conv.norm(norm).activation(Activation::SiLU);
    let expanded = make_divisible((channels * stage.expand_ratio) as f64, 8);
    let expands = expanded != channels;
    let project = ConvNorm::new(expanded, output, 1).norm(norm).activation(None);
    let mut chain = Chain::new();
    match stage.block {
        EfficientNetBlock::MBConv => {
            if expands {
                chain.push(silu(ConvNorm::new(channels, expanded, 1)).build(source)?);
            }
            let depthwise = ConvNorm::depthwise(expanded, stage.kernel).stride(stride);
            chain.push(silu(depthwise).build(source)?);
            let squeezed = (channels / 4).max(1);
            let (activation, scale) = (Activation::SiLU, Scale::Sigmoid);
            chain.push(SqueezeExcitation::new(
                [expanded, squeezed],
                activation,
                scale,
                Init::Zeros,
                source,
            )?);
            chain.push(project.build(source)?);
        }
        EfficientNetBlock::FusedMBConv => {
            let inner = if expands { expanded } else { output };
            let conv = ConvNorm::new(channels, inner, stage.kernel).stride(stride);
            chain.push(silu(conv).build(source)?);
            if expands {
                chain.push(project.build(source)?);
            }
        }
    }
    Ok(chain)
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.block.forward(x)?;
        match &self.residual {
            Some(depth) => depth.forward(&y)?.add(x),
            None => Ok(y),
        }
    }
}

impl Module for EfficientNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.classifier.forward(&global_average(&self.features.forward(x)?)?)
    }
}
