//! ShuffleNetV2.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Init, Linear, MaxPool2d, Module, Parameters, Source};
use dendra_tensor::{Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use crate::build::{builds, check_sizes};
use crate::chain::Chain;

/// Blocks that transform half of the channels and shuffle both halves (Ma et
/// al., "ShuffleNet V2", 2018), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct ShuffleNetV2 {
    /// The first convolution.
    pub conv1: Chain,
    /// The blocks at an eighth of the image's height and width.
    pub stage2: Chain,
    /// The blocks at a sixteenth.
    pub stage3: Chain,
    /// The blocks at a thirty-second.
    pub stage4: Chain,
    /// The last convolution.
    pub conv5: Chain,
    /// The classifier of the mean over all positions.
    pub fc: Linear,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct InvertedResidual {
    /// The branch of the first half; empty if it is unchanged.
    branch1: Chain,
    branch2: Chain,
}

/// The settings of a [`ShuffleNetV2`].
#[derive(Clone, Debug, Setters)]
pub struct ShuffleNetV2Settings {
    stages_repeats: [usize; 3],
    stages_out_channels: [usize; 5],
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
}

builds!(ShuffleNetV2Settings => ShuffleNetV2);

/// Published networks.
impl ShuffleNetV2 {
    /// Settings of a network with this number of blocks in each of three
    /// stages. The channels are those of the first convolution, the stages, and
    /// the last convolution.
    pub fn new(
        stages_repeats: [usize; 3],
        stages_out_channels: [usize; 5],
    ) -> ShuffleNetV2Settings {
        ShuffleNetV2Settings::with_defaults(stages_repeats, stages_out_channels)
    }

    /// Half of the width.
    pub fn shufflenet_v2_x0_5() -> ShuffleNetV2Settings {
        Self::new([4, 8, 4], [24, 48, 96, 192, 1024])
    }

    /// The usual width.
    pub fn shufflenet_v2_x1_0() -> ShuffleNetV2Settings {
        Self::new([4, 8, 4], [24, 116, 232, 464, 1024])
    }

    /// 1.5 times the width.
    pub fn shufflenet_v2_x1_5() -> ShuffleNetV2Settings {
        Self::new([4, 8, 4], [24, 176, 352, 704, 1024])
    }

    /// Twice the width.
    pub fn shufflenet_v2_x2_0() -> ShuffleNetV2Settings {
        Self::new([4, 8, 4], [24, 244, 488, 976, 2048])
    }
}

impl ShuffleNetV2Settings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<ShuffleNetV2> {
        check_sizes("ShuffleNetV2", &[("num_classes", self.num_classes)])?;
        let conv = |input, output, kernel| ConvNorm {
            weight_init: Init::pytorch(),
            ..ConvNorm::new(input, output, kernel)
        };
        let [first, stages @ .., last] = self.stages_out_channels;
        let conv1 = conv(3, first, 3).stride(2).build(source)?;
        let mut channels = first;
        let mut stage = |index: usize, source: &mut Source<'_>| {
            let output = stages[index];
            check_sizes("ShuffleNetV2", &[("stages_out_channels", output)])?;
            let mut stage = Chain::new();
            for block in 0..self.stages_repeats[index] {
                let stride = if block == 0 { 2 } else { 1 };
                stage.push(InvertedResidual::new(channels, output, stride, source)?);
                channels = output;
            }
            Ok(stage)
        };
        let [stage2, stage3, stage4] = [stage(0, source)?, stage(1, source)?, stage(2, source)?];
        let conv5 = conv(channels, last, 1).build(source)?;
        let fc = Linear::new(last, self.num_classes).init_from(source)?;
        Ok(ShuffleNetV2 { conv1, stage2, stage3, stage4, conv5, fc })
    }
}

impl InvertedResidual {
    fn new(input: usize, output: usize, stride: usize, source: &mut Source<'_>) -> Result<Self> {
        let half = output / 2;
        let conv = |conv: ConvNorm| ConvNorm { weight_init: Init::pytorch(), ..conv };
        let depthwise =
            |channels| conv(ConvNorm::depthwise(channels, 3)).stride(stride).activation(None);
        let mut branch1 = Chain::new();
        if stride > 1 {
            depthwise(input).append_to(&mut branch1, source)?;
            conv(ConvNorm::new(input, half, 1)).append_to(&mut branch1, source)?;
        }
        let mut branch2 = Chain::new();
        let entering = if stride > 1 { input } else { half };
        conv(ConvNorm::new(entering, half, 1)).append_to(&mut branch2, source)?;
        depthwise(half).append_to(&mut branch2, source)?;
        conv(ConvNorm::new(half, half, 1)).append_to(&mut branch2, source)?;
        Ok(Self { branch1, branch2 })
    }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Var) -> Result<Var> {
        let both = if self.branch1.is_empty() {
            let half = x.shape()[1] / 2;
            let [first, second] = [x.narrow(1, 0, half)?, x.narrow(1, half, half)?];
            Var::cat(&[&first, &self.branch2.forward(&second)?], 1)?
        } else {
            Var::cat(&[&self.branch1.forward(x)?, &self.branch2.forward(x)?], 1)?
        };
        both.channel_shuffle(2)
    }
}

impl Module for ShuffleNetV2 {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = MaxPool2d::new(3).stride(2).padding(1).forward(&self.conv1.forward(x)?)?;
        let stages = [&self.stage2, &self.stage3, &self.stage4, &self.conv5];
        let x = stages.into_iter().try_fold(x, |x, stage| stage.forward(&x))?;
        self.fc.forward(&global_average(&x)?)
    }
}
