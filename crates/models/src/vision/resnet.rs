//! ResNet, ResNeXt and Wide ResNet.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_nn::{BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, Parameters, Source};
use dendra_tensor::{Error, Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use crate::build::{builds, check_sizes};
use crate::chain::Chain;

/// A residual network: blocks add their outputs to their inputs (He et al.,
/// "Deep residual learning for image recognition", 2015). The parameter names
/// are torchvision's. As there, the 3×3 convolution of a bottleneck has the
/// stride.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
///
/// ```
/// use dendra_models::ResNet;
/// use dendra_nn::Parameters;
///
/// let model = ResNet::resnet50().num_classes(10).blank()?;
/// assert_eq!(model.parameter_count(), 23_528_522);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct ResNet {
    /// The first convolution, 7×7 with stride 2.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm2d,
    #[parameters(skip)]
    maxpool: MaxPool2d,
    /// The blocks at a quarter of the image's height and width.
    pub layer1: Vec<ResidualBlock>,
    /// The blocks at an eighth.
    pub layer2: Vec<ResidualBlock>,
    /// The blocks at a sixteenth.
    pub layer3: Vec<ResidualBlock>,
    /// The blocks at a thirty-second.
    pub layer4: Vec<ResidualBlock>,
    /// The classifier of the mean over all positions.
    pub fc: Linear,
}

/// Two convolutions, or three with a bottleneck, and a residual connection.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct ResidualBlock {
    /// 3×3, or 1×1 in a bottleneck.
    pub conv1: Conv2d,
    /// The normalisation of `conv1`.
    pub bn1: BatchNorm2d,
    /// 3×3.
    pub conv2: Conv2d,
    /// The normalisation of `conv2`.
    pub bn2: BatchNorm2d,
    /// 1×1, in a bottleneck.
    pub conv3: Option<Conv2d>,
    /// The normalisation of `conv3`.
    pub bn3: Option<BatchNorm2d>,
    /// The residual connection, if the channels or the size change.
    pub downsample: Option<Chain>,
}

/// The kind of a [`ResidualBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetBlock {
    /// Two 3×3 convolutions.
    Basic,
    /// A 3×3 convolution between two 1×1 convolutions, the last of which has four
    /// times as many channels.
    Bottleneck,
}

impl ResNetBlock {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// The settings of a [`ResNet`].
#[derive(Clone, Debug, Setters)]
pub struct ResNetSettings {
    block: ResNetBlock,
    layers: [usize; 4],
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The channels of the first convolution; the four layers have 1, 2, 4 and 8
    /// times as many, before the expansion of a bottleneck.
    #[set(default = 64)]
    planes: usize,
    /// The groups of the 3×3 convolution of a bottleneck.
    #[set(default = 1)]
    groups: usize,
    /// The width of each group, for 64 planes.
    #[set(default = 64)]
    width_per_group: usize,
    /// Which of the last three layers keep the size of the image and use
    /// dilation instead, as for segmentation.
    #[set(default = [false; 3])]
    replace_stride_with_dilation: [bool; 3],
    /// Whether the weight of the last normalisation of each block is
    /// initialised with 0, so that each block initially returns its input.
    #[set(default = false)]
    zero_init_residual: bool,
}

builds!(ResNetSettings => ResNet);

/// Published networks.
impl ResNet {
    /// Settings of a network with blocks of this kind, and their number in each
    /// layer.
    pub fn new(block: ResNetBlock, layers: [usize; 4]) -> ResNetSettings {
        ResNetSettings::with_defaults(block, layers)
    }

    /// ResNet-18.
    pub fn resnet18() -> ResNetSettings {
        Self::new(ResNetBlock::Basic, [2, 2, 2, 2])
    }

    /// ResNet-34.
    pub fn resnet34() -> ResNetSettings {
        Self::new(ResNetBlock::Basic, [3, 4, 6, 3])
    }

    /// ResNet-50.
    pub fn resnet50() -> ResNetSettings {
        Self::new(ResNetBlock::Bottleneck, [3, 4, 6, 3])
    }

    /// ResNet-101.
    pub fn resnet101() -> ResNetSettings {
        Self::new(ResNetBlock::Bottleneck, [3, 4, 23, 3])
    }

    /// ResNet-152.
    pub fn resnet152() -> ResNetSettings {
        Self::new(ResNetBlock::Bottleneck, [3, 8, 36, 3])
    }

    /// ResNeXt-50 32×4d (Xie et al., "Aggregated residual transformations for deep
    /// neural networks", 2017).
    pub fn resnext50_32x4d() -> ResNetSettings {
        Self::resnet50().groups(32).width_per_group(4)
    }

    /// ResNeXt-101 32×8d.
    pub fn resnext101_32x8d() -> ResNetSettings {
        Self::resnet101().groups(32).width_per_group(8)
    }

    /// ResNeXt-101 64×4d.
    pub fn resnext101_64x4d() -> ResNetSettings {
        Self::resnet101().groups(64).width_per_group(4)
    }

    /// Wide ResNet-50-2 (Zagoruyko and Komodakis, "Wide residual networks", 2016).
    pub fn wide_resnet50_2() -> ResNetSettings {
        Self::resnet50().width_per_group(128)
    }

    /// Wide ResNet-101-2.
    pub fn wide_resnet101_2() -> ResNetSettings {
        Self::resnet101().width_per_group(128)
    }
}

impl ResNetSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<ResNet> {
        check_sizes(
            "ResNet",
            &[
                ("num_classes", self.num_classes),
                ("planes", self.planes),
                ("groups", self.groups),
                ("width_per_group", self.width_per_group),
            ],
        )?;
        if self.block == ResNetBlock::Basic && (self.groups, self.width_per_group) != (1, 64) {
            let message = "groups and width_per_group are supported only for bottlenecks";
            return Err(Error::argument("ResNet", message));
        }
        let stem = ConvNorm::new(3, self.planes, 7).stride(2);
        let conv1 = stem.conv(source)?;
        let bn1 = stem.norm.build(self.planes, source)?;
        let (mut channels, mut dilation) = (self.planes, 1);
        let mut layers = Vec::with_capacity(4);
        for (index, &count) in self.layers.iter().enumerate() {
            let planes = self.planes << index;
            let outer = dilation;
            let stride = match index.checked_sub(1).map(|i| self.replace_stride_with_dilation[i]) {
                None => 1,
                Some(false) => 2,
                Some(true) => {
                    dilation *= 2;
                    1
                }
            };
            let mut layer = Vec::new();
            for block in 0..count {
                let (stride, dilation) = if block == 0 { (stride, outer) } else { (1, dilation) };
                layer.push(self.block(channels, planes, stride, dilation, source)?);
                channels = planes * self.block.expansion();
            }
            layers.push(layer);
        }
        let [layer1, layer2, layer3, layer4] =
            <[_; 4]>::try_from(layers).unwrap_or_else(|_| unreachable!("one for each setting"));
        let fc = Linear::new(channels, self.num_classes).init_from(source)?;
        let maxpool = MaxPool2d::new(3).stride(2).padding(1);
        Ok(ResNet { conv1, bn1, maxpool, layer1, layer2, layer3, layer4, fc })
    }

    fn block(
        &self,
        channels: usize,
        planes: usize,
        stride: usize,
        dilation: usize,
        source: &mut Source<'_>,
    ) -> Result<ResidualBlock> {
        let output = planes * self.block.expansion();
        let last = |source: &mut Source<'_>| {
            let mut bn = ConvNorm::new(1, output, 1).norm.build(output, source)?;
            if let (true, Source::Random(_), Some(weight)) =
                (self.zero_init_residual, source, &mut bn.weight)
            {
                weight.value_mut().make_mut().fill(0.0);
            }
            Ok(bn)
        };
        let convs = match self.block {
            ResNetBlock::Basic => {
                let conv1 = ConvNorm::new(channels, planes, 3).stride(stride);
                [conv1, ConvNorm::new(planes, planes, 3)]
            }
            ResNetBlock::Bottleneck => {
                let of_group = planes.saturating_mul(self.width_per_group) / 64;
                let width = of_group.saturating_mul(self.groups);
                check_sizes("ResNet", &[("width", width)])?;
                let conv2 = ConvNorm::new(width, width, 3).stride(stride);
                let conv2 = ConvNorm { groups: self.groups, dilation, ..conv2 };
                [ConvNorm::new(channels, width, 1), conv2]
            }
        };
        let [conv1, conv2] = convs;
        let bottleneck = self.block == ResNetBlock::Bottleneck;
        let conv3 = ConvNorm::new(conv2.channels[1], output, 1);
        let around = ConvNorm::new(channels, output, 1).stride(stride).activation(None);
        let changes = stride != 1 || channels != output;
        Ok(ResidualBlock {
            conv1: conv1.conv(source)?,
            bn1: conv1.norm.build(conv1.channels[1], source)?,
            conv2: conv2.conv(source)?,
            bn2: match bottleneck {
                true => conv2.norm.build(conv2.channels[1], source)?,
                false => last(source)?,
            },
            conv3: bottleneck.then(|| conv3.conv(source)).transpose()?,
            bn3: bottleneck.then(|| last(source)).transpose()?,
            downsample: changes.then(|| around.build(source)).transpose()?,
        })
    }
}

impl Module for ResidualBlock {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.bn1.forward(&self.conv1.forward(x)?)?.relu();
        let mut y = self.bn2.forward(&self.conv2.forward(&y)?)?;
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            y = bn3.forward(&conv3.forward(&y.relu())?)?;
        }
        let around = match &self.downsample {
            Some(downsample) => &downsample.forward(x)?,
            None => x,
        };
        Ok(y.add(around)?.relu())
    }
}

impl ResNet {
    /// The features after the four layers, `[N, C, H/4, W/4]` to
    /// `[N, 8·C, H/32, W/32]`, for detection and segmentation.
    ///
    /// # Errors
    ///
    /// When the input is not `[N, 3, H, W]`.
    pub fn feature_maps(&self, x: &Var) -> Result<[Var; 4]> {
        let x = self.bn1.forward(&self.conv1.forward(x)?)?.relu();
        let x = self.maxpool.forward(&x)?;
        let through = |layer: &[ResidualBlock], x: &Var| {
            layer.iter().try_fold(x.clone(), |x, block| block.forward(&x))
        };
        let x1 = through(&self.layer1, &x)?;
        let x2 = through(&self.layer2, &x1)?;
        let x3 = through(&self.layer3, &x2)?;
        let x4 = through(&self.layer4, &x3)?;
        Ok([x1, x2, x3, x4])
    }
}

impl Module for ResNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        let [.., last] = self.feature_maps(x)?;
        self.fc.forward(&global_average(&last)?)
    }
}
