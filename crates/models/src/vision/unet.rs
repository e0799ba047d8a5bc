//! U-Net.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{Conv2d, ConvTranspose2d, MaxPool2d, Module, Parameters, Source};
use dendra_tensor::{Error, Interpolate, InterpolateMode, Ops, PadMode, Result};

use super::conv_norm::Norm;
use crate::activation::Activation;
use crate::build::{builds, check_sizes};
use crate::chain::Chain;

/// A network that labels each pixel. It reduces the image to a sixteenth of the
/// size and enlarges it again, with skip connections at each size (Ronneberger
/// et al., "U-Net", 2015). Convolutions are padded and normalised, as in most
/// implementations; the parameter names are those of `milesial/Pytorch-UNet`.
///
/// The input has the shape `[N, in_channels, H, W]` with H and W of at least 16, the
/// output `[N, num_classes, H, W]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct UNet {
    inc: DoubleConv,
    down1: Down,
    down2: Down,
    down3: Down,
    down4: Down,
    up1: Up,
    up2: Up,
    up3: Up,
    up4: Up,
    outc: Out,
}

/// Two convolutions.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct DoubleConv {
    double_conv: Chain,
}

/// Pooling and two convolutions.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Down {
    maxpool_conv: Chain,
}

/// Enlarges to twice the size, concatenates the skip connection, and applies
/// two convolutions.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Up {
    up: Option<ConvTranspose2d>,
    conv: DoubleConv,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Out {
    conv: Conv2d,
}

/// The settings of a [`UNet`].
#[derive(Clone, Debug, Setters)]
pub struct UNetSettings {
    in_channels: usize,
    num_classes: usize,
    /// The channels at the full size. Each smaller size has twice as many.
    #[set(default = 64)]
    channels: usize,
    /// Whether images are enlarged by interpolation instead of transposed
    /// convolutions.
    #[set(default = false)]
    bilinear: bool,
}

builds!(UNetSettings => UNet);

impl UNet {
    /// Settings of a network from images with these channels to this number of
    /// classes.
    pub fn new(in_channels: usize, num_classes: usize) -> UNetSettings {
        UNetSettings::with_defaults(in_channels, num_classes)
    }
}

impl UNetSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<UNet> {
        let &Self { in_channels, num_classes, channels, bilinear } = self;
        check_sizes(
            "UNet",
            &[("in_channels", in_channels), ("num_classes", num_classes), ("channels", channels)],
        )?;
        let width = |level: usize| channels << level;
        // Interpolation keeps the channels, so the smallest size has half as
        // many.
        let factor = if bilinear { 2 } else { 1 };
        let inc = DoubleConv::new([in_channels, width(0), width(0)], source)?;
        let mut down = |level: usize, output| {
            let conv = DoubleConv::new([width(level - 1), output, output], source)?;
            let maxpool_conv = Chain::new().then(MaxPool2d::new(2)).then(conv);
            Ok(Down { maxpool_conv })
        };
        let (down1, down2, down3) = (down(1, width(1))?, down(2, width(2))?, down(3, width(3))?);
        let down4 = down(4, width(4) / factor)?;
        let mut up = |level: usize, output| {
            let input = width(level + 1);
            let up = ConvTranspose2d::new(input, input / 2, 2).stride(2);
            let up = (!bilinear).then(|| up.init_from(source)).transpose()?;
            let middle = if bilinear { input / 2 } else { output };
            Ok(Up { up, conv: DoubleConv::new([input, middle, output], source)? })
        };
        let (up1, up2) = (up(3, width(3) / factor)?, up(2, width(2) / factor)?);
        let (up3, up4) = (up(1, width(1) / factor)?, up(0, width(0))?);
        let outc = Out { conv: Conv2d::new(width(0), num_classes, 1).init_from(source)? };
        Ok(UNet { inc, down1, down2, down3, down4, up1, up2, up3, up4, outc })
    }
}

impl DoubleConv {
    fn new([input, middle, output]: [usize; 3], source: &mut Source<'_>) -> Result<Self> {
        let mut double_conv = Chain::new();
        for [input, output] in [[input, middle], [middle, output]] {
            let conv = Conv2d::new(input, output, 3).padding(1).bias(false);
            double_conv.push(conv.init_from(source)?);
            double_conv.push(Norm::default().build(output, source)?);
            double_conv.push(Activation::ReLU);
        }
        Ok(Self { double_conv })
    }
}

impl Module for DoubleConv {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.double_conv.forward(x)
    }
}

impl Up {
    fn join(&self, below: &Var, bridge: &Var) -> Result<Var> {
        let below = match &self.up {
            Some(up) => up.forward(below)?,
            None => {
                let twice = Interpolate::scale(&[2.0, 2.0], InterpolateMode::Linear);
                below.interpolate(&twice.align_corners(true))?
            }
        };
        // Pooling drops the last row or column of an odd size.
        let missing = |axis: usize| bridge.shape()[axis] as isize - below.shape()[axis] as isize;
        let around = |missing: isize| [missing / 2, missing - missing / 2];
        let padding = [around(missing(3)), around(missing(2))];
        let below = below.pad(&padding, PadMode::Constant(0.0))?;
        self.conv.forward(&Var::cat(&[bridge, &below], 1)?)
    }
}

impl Module for UNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        let &[_, _, height, width] = &x.shape()[..] else {
            let message = format!("expected images [N, C, H, W], got {}", x.shape());
            return Err(Error::shape("UNet", message));
        };
        if height.min(width) < 16 {
            let message = format!("expected images of at least 16×16, got {height}×{width}");
            return Err(Error::shape("UNet", message));
        }
        let x1 = self.inc.forward(x)?;
        let x2 = self.down1.maxpool_conv.forward(&x1)?;
        let x3 = self.down2.maxpool_conv.forward(&x2)?;
        let x4 = self.down3.maxpool_conv.forward(&x3)?;
        let x5 = self.down4.maxpool_conv.forward(&x4)?;
        let y = self.up1.join(&x5, &x4)?;
        let y = self.up2.join(&y, &x3)?;
        let y = self.up3.join(&y, &x2)?;
        self.outc.conv.forward(&self.up4.join(&y, &x1)?)
    }
}
