//! DenseNet.

use dendra_autograd::{Entry, EntryMut, Path, Var};
use dendra_derive::Setters;
use dendra_nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Dropout, Init, Linear, MaxPool2d, Module, Parameters, Source,
};
use dendra_tensor::{Ops, Result};

use super::conv_norm::ConvNorm;
use super::global_average;
use crate::build::{builds, check_sizes};

/// Blocks in which each layer sees the outputs of all layers before it (Huang et
/// al., "Densely connected convolutional networks", 2017), with torchvision's
/// parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct DenseNet {
    /// All but the classifier.
    pub features: DenseFeatures,
    /// The classifier of the mean of all positions.
    pub classifier: Linear,
}

/// The convolutions of a [`DenseNet`].
#[derive(Clone, Debug)]
pub struct DenseFeatures {
    /// The first convolution, 7×7 with stride 2.
    pub conv0: Conv2d,
    /// Its normalisation.
    pub norm0: BatchNorm2d,
    /// The blocks, each a list of its layers, `denseblock1` and so on.
    pub denseblocks: Vec<Vec<DenseLayer>>,
    /// What stands between two blocks, `transition1` and so on.
    pub transitions: Vec<Transition>,
    /// The last normalisation.
    pub norm5: BatchNorm2d,
}

/// A 1×1 and a 3×3 convolution, each after normalisation and ReLU.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct DenseLayer {
    /// Before `conv1`.
    pub norm1: BatchNorm2d,
    /// 1×1.
    pub conv1: Conv2d,
    /// Before `conv2`.
    pub norm2: BatchNorm2d,
    /// 3×3.
    pub conv2: Conv2d,
    #[parameters(skip)]
    dropout: Dropout,
}

/// Half of the channels, half of the height and width.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct Transition {
    /// Before `conv`.
    pub norm: BatchNorm2d,
    /// 1×1.
    pub conv: Conv2d,
}

/// Torchvision numbers blocks and layers from 1, within their names.
macro_rules! visits {
    ($visit:ident, $entry:ident, $iter:ident $(, $mut:tt)?) => {
        fn $visit<'a>(
            &'a $($mut)? self,
            path: &mut Path,
            visitor: &mut dyn FnMut(&Path, $entry<'a, f32>),
        ) {
            path.enter("conv0", |path| self.conv0.$visit(path, visitor));
            path.enter("norm0", |path| self.norm0.$visit(path, visitor));
            let mut transitions = self.transitions.$iter();
            for (block, layers) in (1..).zip(self.denseblocks.$iter()) {
                path.enter(format_args!("denseblock{block}"), |path| {
                    for (index, layer) in (1..).zip(layers.$iter()) {
                        let name = format_args!("denselayer{index}");
                        path.enter(name, |path| layer.$visit(path, visitor));
                    }
                });
                if let Some(transition) = transitions.next() {
                    let name = format_args!("transition{block}");
                    path.enter(name, |path| transition.$visit(path, visitor));
                }
            }
            path.enter("norm5", |path| self.norm5.$visit(path, visitor));
        }
    };
}

impl Parameters for DenseFeatures {
    visits!(visit, Entry, iter);
    visits!(visit_mut, EntryMut, iter_mut, mut);
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
    /// The probability with which an output of a layer is left out.
    #[set(default = 0.0)]
    drop_rate: f64,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
}

builds!(DenseNetSettings => DenseNet);

/// The published networks.
impl DenseNet {
    /// Settings of a network of blocks of so many layers, each of which adds
    /// `growth_rate` channels.
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
        let norm = |channels, source: &mut Source<'_>| {
            BatchNorm2d::new(channels).init_from(source)
        };
        let mut channels = self.num_init_features;
        let conv0 = conv(3, channels, 7).stride(2).conv(source)?;
        let norm0 = norm(channels, source)?;
        let (mut denseblocks, mut transitions) = (Vec::new(), Vec::new());
        for (block, &count) in self.block_config.iter().enumerate() {
            let mut layers = Vec::new();
            for _ in 0..count {
                let bottleneck = self.bn_size * self.growth_rate;
                layers.push(DenseLayer {
                    norm1: norm(channels, source)?,
                    conv1: conv(channels, bottleneck, 1).conv(source)?,
                    norm2: norm(bottleneck, source)?,
                    conv2: conv(bottleneck, self.growth_rate, 3).conv(source)?,
                    dropout: Dropout::new(self.drop_rate)?,
                });
                channels += self.growth_rate;
                check_sizes("DenseNet", &[("channels", channels)])?;
            }
            denseblocks.push(layers);
            if block + 1 < self.block_config.len() {
                let half = channels / 2;
                transitions.push(Transition {
                    norm: norm(channels, source)?,
                    conv: conv(channels, half, 1).conv(source)?,
                });
                channels = half;
            }
        }
        let norm5 = norm(channels, source)?;
        let features = DenseFeatures { conv0, norm0, denseblocks, transitions, norm5 };
        let classifier = Linear::new(channels, self.num_classes).bias_init(Init::Zeros);
        Ok(DenseNet { features, classifier: classifier.init_from(source)? })
    }
}

impl Module for DenseLayer {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.conv1.forward(&self.norm1.forward(x)?.relu())?;
        let y = self.conv2.forward(&self.norm2.forward(&y)?.relu())?;
        self.dropout.forward(&y)
    }
}

impl Module for Transition {
    fn forward(&self, x: &Var) -> Result<Var> {
        AvgPool2d::new(2).forward(&self.conv.forward(&self.norm.forward(x)?.relu())?)
    }
}

impl Module for DenseFeatures {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.norm0.forward(&self.conv0.forward(x)?)?.relu();
        let mut x = MaxPool2d::new(3).stride(2).padding(1).forward(&x)?;
        let mut transitions = self.transitions.iter();
        for layers in &self.denseblocks {
            for layer in layers {
                x = Var::cat(&[&x, &layer.forward(&x)?], 1)?;
            }
            if let Some(transition) = transitions.next() {
                x = transition.forward(&x)?;
            }
        }
        self.norm5.forward(&x)
    }
}

impl Module for DenseNet {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.classifier.forward(&global_average(&self.features.forward(x)?.relu())?)
    }
}
