//! RegNet.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Init, Linear, Module, Parameters, Source};
use dendra_tensor::{Error, Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use super::squeeze_excitation::{Scale, SqueezeExcitation};
use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, make_divisible, normal};
use crate::chain::Chain;

/// Residual bottlenecks with quantised linear widths (Radosavovic et al.,
/// "Designing network design spaces", 2020), with torchvision's parameter
/// names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct RegNet {
    /// The first convolution.
    pub stem: Chain,
    /// The stages, `block1` and so on.
    pub trunk_output: Chain,
    /// The classifier of the mean over all positions.
    pub fc: Linear,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    proj: Option<Chain>,
    f: Chain,
}

/// The settings of a [`RegNet`].
#[derive(Clone, Debug, Setters)]
pub struct RegNetSettings {
    depth: usize,
    w_0: usize,
    w_a: f64,
    w_m: f64,
    group_width: usize,
    /// The width of squeeze-and-excitation in RegNetY, relative to the input of
    /// a block.
    #[set]
    se_ratio: Option<f64>,
    /// The channels of the first convolution.
    #[set(default = 32)]
    stem_width: usize,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
}

builds!(RegNetSettings => RegNet);

/// A published RegNetY.
fn y(depth: usize, w_0: usize, w_a: f64, w_m: f64, group_width: usize) -> RegNetSettings {
    RegNet::new(depth, w_0, w_a, w_m, group_width).se_ratio(0.25)
}

/// Published networks. The name states the number of multiplications for an
/// image of 224×224: 400 million, 800 million, 1.6 billion and so on.
impl RegNet {
    /// Settings of a network of `depth` blocks. The width of block i is `w_0 + w_a·i`,
    /// rounded to `w_0` times a power of `w_m`; a group has `group_width` channels.
    pub fn new(depth: usize, w_0: usize, w_a: f64, w_m: f64, group_width: usize) -> RegNetSettings {
        RegNetSettings::with_defaults(depth, w_0, w_a, w_m, group_width)
    }

    /// RegNetX-400MF.
    pub fn regnet_x_400mf() -> RegNetSettings {
        Self::new(22, 24, 24.48, 2.54, 16)
    }

    /// RegNetX-800MF.
    pub fn regnet_x_800mf() -> RegNetSettings {
        Self::new(16, 56, 35.73, 2.28, 16)
    }

    /// RegNetX-1.6GF.
    pub fn regnet_x_1_6gf() -> RegNetSettings {
        Self::new(18, 80, 34.01, 2.25, 24)
    }

    /// RegNetX-3.2GF.
    pub fn regnet_x_3_2gf() -> RegNetSettings {
        Self::new(25, 88, 26.31, 2.25, 48)
    }

    /// RegNetX-8GF.
    pub fn regnet_x_8gf() -> RegNetSettings {
        Self::new(23, 80, 49.56, 2.88, 120)
    }

    /// RegNetX-16GF.
    pub fn regnet_x_16gf() -> RegNetSettings {
        Self::new(22, 216, 55.59, 2.1, 128)
    }

    /// RegNetX-32GF.
    pub fn regnet_x_32gf() -> RegNetSettings {
        Self::new(23, 320, 69.86, 2.0, 168)
    }

    /// RegNetY-400MF.
    pub fn regnet_y_400mf() -> RegNetSettings {
        y(16, 48, 27.89, 2.09, 8)
    }

    /// RegNetY-800MF.
    pub fn regnet_y_800mf() -> RegNetSettings {
        y(14, 56, 38.84, 2.4, 16)
    }

    /// RegNetY-1.6GF.
    pub fn regnet_y_1_6gf() -> RegNetSettings {
        y(27, 48, 20.71, 2.65, 24)
    }

    /// RegNetY-3.2GF.
    pub fn regnet_y_3_2gf() -> RegNetSettings {
        y(21, 80, 42.63, 2.66, 24)
    }

    /// RegNetY-8GF.
    pub fn regnet_y_8gf() -> RegNetSettings {
        y(17, 192, 76.82, 2.19, 56)
    }

    /// RegNetY-16GF.
    pub fn regnet_y_16gf() -> RegNetSettings {
        y(18, 200, 106.23, 2.48, 112)
    }

    /// RegNetY-32GF.
    pub fn regnet_y_32gf() -> RegNetSettings {
        y(20, 232, 115.89, 2.53, 232)
    }

    /// RegNetY-128GF.
    pub fn regnet_y_128gf() -> RegNetSettings {
        y(27, 456, 160.83, 2.52, 264)
    }
}

/// The widths are multiples of this number.
const QUANTUM: f64 = 8.0;

impl RegNetSettings {
    /// The width and the number of the blocks of each stage.
    fn stages(&self) -> Result<Vec<(usize, usize)>> {
        let &Self { depth, w_0, w_a, w_m, group_width, .. } = self;
        check_sizes("RegNet", &[("w_0", w_0), ("group_width", group_width)])?;
        check_layers("RegNet", "depth", depth)?;
        if !(w_0.is_multiple_of(8) && (0.0..1e6).contains(&w_a) && w_m > 1.0) {
            let message = format!(
                "expected a w_0 that is a multiple of 8, a w_a from 0 on and a w_m above 1, got \
                 {w_0}, {w_a} and {w_m}"
            );
            return Err(Error::argument("RegNet", message));
        }
        let mut stages: Vec<(usize, usize)> = Vec::new();
        for index in 0..depth {
            let exponent = ((index as f64 * w_a / w_0 as f64).ln_1p() / w_m.ln()).round_ties_even();
            let quanta = (w_0 as f64 * w_m.powf(exponent) / QUANTUM).round_ties_even();
            let width = (quanta * QUANTUM) as usize;
            match stages.last_mut().filter(|(last, _)| *last == width) {
                Some((_, count)) => *count += 1,
                None => stages.push((width, 1)),
            }
        }
        let fit = |width: usize| make_divisible(width as f64, group_width.min(width));
        Ok(stages.into_iter().map(|(width, count)| (fit(width), count)).collect())
    }

    fn assemble(&self, source: &mut Source<'_>) -> Result<RegNet> {
        check_sizes(
            "RegNet",
            &[("num_classes", self.num_classes), ("stem_width", self.stem_width)],
        )?;
        let mut channels = self.stem_width;
        let stem = ConvNorm::new(3, channels, 3).stride(2).build(source)?;
        let mut trunk_output = Chain::new();
        for (number, (width, count)) in (1..).zip(self.stages()?) {
            check_sizes("RegNet", &[("width", width)])?;
            let mut stage = Chain::new();
            for index in 0..count {
                let stride = if index == 0 { 2 } else { 1 };
                let block = self.block([channels, width], stride, source)?;
                stage.push_named(format!("block{number}-{index}"), block);
                channels = width;
            }
            trunk_output.push_named(format!("block{number}"), stage);
        }
        let fc = Linear::new(channels, self.num_classes).weight_init(normal(0.01));
        let fc = fc.bias_init(Init::Zeros).init_from(source)?;
        Ok(RegNet { stem, trunk_output, fc })
    }

    fn block(
        &self,
        [input, output]: [usize; 2],
        stride: usize,
        source: &mut Source<'_>,
    ) -> Result<Block> {
        let changes = stride != 1 || input != output;
        let around = ConvNorm::new(input, output, 1).stride(stride).activation(None);
        let proj = changes.then(|| around.build(source)).transpose()?;
        let groups = output / self.group_width.min(output);
        let grouped = ConvNorm { groups, ..ConvNorm::new(output, output, 3) };
        let mut f = Chain::new()
            .then_named("a", ConvNorm::new(input, output, 1).build(source)?)
            .then_named("b", grouped.stride(stride).build(source)?);
        if let Some(ratio) = self.se_ratio {
            let squeezed = (ratio * input as f64).round_ties_even() as usize;
            let (activation, scale) = (Activation::ReLU, Scale::Sigmoid);
            let se = SqueezeExcitation::new(
                [output, squeezed],
                activation,
                scale,
                Init::pytorch(),
                source,
            )?;
            f.push_named("se", se);
        }
        f.push_named("c", ConvNorm::new(output, output, 1).activation(None).build(source)?);
        Ok(Block { proj, f })
    }
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.f.forward(x)?;
        Ok(match &self.proj {
            Some(proj) => proj.forward(x)?.add(&y)?.relu(),
            None => x.add(&y)?.relu(),
        })
    }
}

impl Module for RegNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.trunk_output.forward(&self.stem.forward(x)?)?;
        self.fc.forward(&global_average(&x)?)
    }
}
