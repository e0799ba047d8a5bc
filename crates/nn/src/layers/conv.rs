//! Convolution.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::padding::Pad;
use dendra_tensor::ops::{Op, lifted};
use dendra_tensor::{ConvOptions, Error, Float, Ops, PadMode, Result, Shape};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, axes, check_sample, has_channels, output_of};
use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// [`Conv`] over sequences `[N, C, L]`.
pub type Conv1d<T = f32> = Conv<T, 1>;

/// [`Conv`] over images `[N, C, H, W]`.
pub type Conv2d<T = f32> = Conv<T, 2>;

/// [`Conv`] over volumes `[N, C, D, H, W]`.
pub type Conv3d<T = f32> = Conv<T, 3>;

/// The convolution (strictly, cross-correlation) of sequences, images or
/// volumes with a kernel. For images:
///
/// ```text
/// y[n, o, i, j] = b[o] + Σ W[o, c, u, v] · x[n, c′, i·stride + u·dilation − padding,
///                                                  j·stride + v·dilation − padding]
/// ```
///
/// over c, u, v, where x is 0 outside the image (or as the [`PaddingMode`]
/// defines) and c′ is the c-th channel of o's group. Use it as [`Conv1d`],
/// [`Conv2d`] or [`Conv3d`].
///
/// | | shape |
/// |---|---|
/// | input | `[N, in_channels, H, W]`, or one sample without N |
/// | output | `[N, out_channels, H′, W′]` |
/// | `weight` | `[out_channels, in_channels / groups, kernel height, kernel width]` |
/// | `bias` | `[out_channels]` |
///
/// with H′ = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1.
/// Sequences and volumes have one or three axes instead of H and W. Both
/// parameters are initialised with U(±1/√fan_in), where fan_in is the number of
/// weights of one output channel.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Conv1d, Conv2d, Module, Padding};
///
/// let layer = Conv2d::new(3, 64, 3).stride(2).padding(1).init(&mut Rng::seed(42))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([8, 3, 28, 28])))?;
/// assert_eq!(*y.shape(), [8, 64, 14, 14]);
/// assert_eq!(layer.to_string(), "Conv2d 3 → 64, 3×3, stride 2, padding 1");
///
/// let layer = Conv1d::new(4, 6, 5).padding(Padding::Same).init(&mut Rng::seed(42))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([8, 4, 100])))?;
/// assert_eq!(*y.shape(), [8, 6, 100]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Conv<T: Float, const D: usize> {
    /// W, of shape `[out_channels, in_channels / groups, kernel …]`.
    pub weight: Param<T>,
    /// b, of shape `[out_channels]`.
    pub bias: Option<Param<T>>,
    #[parameters(skip)]
    padding: Padding<D>,
    /// The padding as a separate operation, unless the padding is zeros.
    #[parameters(skip)]
    pad: Option<Pad>,
    #[parameters(skip)]
    padding_mode: PaddingMode,
    /// The options of the convolution, with the padding of zeros in numbers.
    #[parameters(skip)]
    options: ConvOptions<D>,
}

/// The padding of a convolution. A number, or one number for each axis, is
/// converted to [`Padding::Zeros`](Self::Zeros).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding<const D: usize> {
    /// The output has the size of the input; the stride must be 1. If an odd
    /// number of elements is needed, one more is added at the end than at the
    /// start.
    Same,
    /// No padding.
    Valid,
    /// This many elements on both sides.
    #[serde(untagged)]
    Zeros(Sizes<D>),
}

/// The values of the padding of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The input mirrored at its edge, which is not repeated.
    Reflect,
    /// The element at the edge.
    Replicate,
    /// The elements from the other end.
    Circular,
}

impl PaddingMode {
    /// The mode of the separate padding operation, or `None` for zeros, which
    /// the convolution adds itself.
    fn filled(self) -> Option<PadMode> {
        match self {
            Self::Zeros => None,
            Self::Reflect => Some(PadMode::Reflect),
            Self::Replicate => Some(PadMode::Replicate),
            Self::Circular => Some(PadMode::Circular),
        }
    }

    fn is_zeros(&self) -> bool {
        *self == Self::Zeros
    }
}

impl<const D: usize, E: Into<Sizes<D>>> From<E> for Padding<D> {
    fn from(zeros: E) -> Self {
        Self::Zeros(zeros.into())
    }
}

impl<const D: usize> Padding<D> {
    /// Writes the setting where it is not the default: `, padding 1`.
    fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str(", padding same"),
            Self::Valid => Ok(()),
            Self::Zeros(zeros) => zeros.describe("padding", 0, f),
        }
    }
}

fn name<const D: usize>() -> String {
    format!("Conv{D}d")
}

impl<const D: usize> Conv<f32, D> {
    /// Settings of a convolution from `in_channels` to `out_channels`. The
    /// kernel size is a number, or one for each axis.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Sizes<D>>,
    ) -> ConvSettings<D> {
        ConvSettings::with_defaults(Some(in_channels), out_channels, kernel_size.into())
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `in_channels`.
    pub fn lazy(out_channels: usize, kernel_size: impl Into<Sizes<D>>) -> ConvSettings<D> {
        ConvSettings::with_defaults(None, out_channels, kernel_size.into())
    }
}

/// The settings of a [`Conv`] layer. Sizes are numbers, or one for each axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct ConvSettings<const D: usize> {
    in_channels: Option<usize>,
    out_channels: usize,
    kernel_size: Sizes<D>,
    /// The distance between two positions of the kernel.
    #[set(into, default = 1)]
    stride: Sizes<D>,
    /// The number of elements added on both sides of the input, or
    /// [`Padding::Same`].
    #[set(into, default = 0)]
    padding: Padding<D>,
    /// The values of the padding.
    #[set(default = PaddingMode::Zeros)]
    #[serde(default, skip_serializing_if = "PaddingMode::is_zeros")]
    padding_mode: PaddingMode,
    /// The distance between two taps of the kernel.
    #[set(into, default = 1)]
    dilation: Sizes<D>,
    /// The number of groups into which input and output channels are divided. A
    /// group of output channels reads only its group of input channels.
    #[set(default = 1)]
    groups: usize,
    /// Whether the layer has a bias.
    #[set(default = true)]
    bias: bool,
    /// The distribution that the weight is drawn from.
    #[set(default = Init::pytorch())]
    #[serde(skip, default = "Init::pytorch")]
    weight_init: Init,
    /// The distribution that the bias is drawn from. It uses the fans of the
    /// weight.
    #[set(default = Init::pytorch())]
    #[serde(skip, default = "Init::pytorch")]
    bias_init: Init,
}

/// Methods that the settings of convolutions and transposed convolutions share.
macro_rules! kernel_settings {
    ($settings:ident) => {
        impl<const D: usize> $settings<D> {
            /// Checks that the channels divide into the groups and no size is
            /// 0.
            fn check(&self, in_channels: usize) -> Result<()> {
                let (kind, groups, out_channels) = (name::<D>(), self.groups, self.out_channels);
                self.kernel_size.at_least_one(&kind, "kernel_size")?;
                self.stride.at_least_one(&kind, "stride")?;
                self.dilation.at_least_one(&kind, "dilation")?;
                let divide = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
                if divide(in_channels) && divide(out_channels) {
                    return Ok(());
                }
                let message = format!(
                    "{in_channels} input and {out_channels} output channels do not divide into \
                     {groups} groups"
                );
                Err(Error::argument(kind, message))
            }

            /// The number of input channels: the setting, or that of the input
            /// if it is not set.
            fn find_in_channels(&mut self, input: &Shape) -> Result<usize> {
                check_sample::<D>(&name::<D>(), input)?;
                let expected = *self.in_channels.get_or_insert(input[0]);
                if input[0] == expected {
                    return Ok(expected);
                }
                let message = format!("expected [{expected}, {}], got {input}", axes::<D>());
                Err(Error::shape(name::<D>(), message))
            }

            /// Weight and bias of the layer.
            fn parameters<T: Float>(
                &self,
                source: &mut Source<'_>,
            ) -> Result<(Param<T>, Option<Param<T>>)> {
                let kind = name::<D>();
                let in_channels =
                    self.in_channels.ok_or_else(|| open_input(&kind, "in_channels"))?;
                let weight = self.weight_shape(in_channels)?;
                let fans = Fans::of(&weight);
                let weight = source.param(self.weight_init, weight, fans, &kind)?;
                let bias = match self.bias {
                    true => Some(source.param(self.bias_init, [self.out_channels], fans, &kind)?),
                    false => None,
                };
                Ok((weight, bias))
            }
        }
    };
}
pub(super) use kernel_settings;

kernel_settings!(ConvSettings);

impl<const D: usize> ConvSettings<D> {
    /// The options of the operation. For `same` the padding on both sides is
    /// that of the end; the surplus at the start is cut off afterwards.
    fn options(&self) -> Result<ConvOptions<D>> {
        let padding = match self.padding {
            Padding::Zeros(zeros) => zeros.0,
            Padding::Valid => [0; D],
            Padding::Same if self.stride != 1.into() => {
                let message = format!("padding same needs stride 1, got {}", self.stride);
                return Err(Error::argument(name::<D>(), message));
            }
            Padding::Same => std::array::from_fn(|axis| {
                let taps = self.kernel_size.0[axis].saturating_sub(1);
                self.dilation.0[axis].saturating_mul(taps).div_ceil(2)
            }),
        };
        let (stride, dilation) = (self.stride.0, self.dilation.0);
        Ok(ConvOptions { stride, padding, dilation, groups: self.groups })
    }

    /// Moves the padding from the options into a separate operation, where one
    /// is needed.
    fn take_pad(&self, options: &mut ConvOptions<D>) -> Option<Pad> {
        let mode = self.padding_mode.filled()?;
        let padding = std::mem::replace(&mut options.padding, [0; D]);
        let signed = |length: usize| isize::try_from(length).unwrap_or(isize::MAX);
        let sides = |axis: usize| {
            let start = match self.padding {
                Padding::Same => {
                    let taps = self.kernel_size.0[axis].saturating_sub(1);
                    self.dilation.0[axis].saturating_mul(taps) / 2
                }
                _ => padding[axis],
            };
            [start, padding[axis]].map(signed)
        };
        Some(Pad { padding: (0..D).rev().map(sides).collect(), mode })
    }

    /// The shape of the weight for this many input channels.
    fn weight_shape(&self, in_channels: usize) -> Result<Shape> {
        self.check(in_channels)?;
        let channels = [self.out_channels, in_channels / self.groups];
        Ok(channels.into_iter().chain(self.kernel_size.0).collect())
    }
}

initialised_by! { ConvSettings<D> => Conv<f32, D>, any T: Conv<T, D>; const D: usize }

impl<const D: usize> Settings for ConvSettings<D> {
    type Layer<T: Float> = Conv<T, D>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let in_channels = self.find_in_channels(input)?;
        let weight = self.weight_shape(in_channels)?;
        let mut options = self.options()?;
        let padding = Sizes(options.padding);
        let pad = self.take_pad(&mut options);
        let output = output_of(&name::<D>(), input, padding, |x| match &pad {
            Some(pad) => options.output_shape(&Op::<f32>::output_shape(pad, &[x])?, &weight),
            None => options.output_shape(x, &weight),
        })?;
        Ok(match self.padding {
            Padding::Same => [output[0]].into_iter().chain(input[1..].iter().copied()).collect(),
            _ => output,
        })
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Conv<T, D>> {
        let mut options = self.options()?;
        let (weight, bias) = self.parameters(source)?;
        let pad = self.take_pad(&mut options);
        let &Self { padding, padding_mode, .. } = self;
        Ok(Conv { weight, bias, padding, pad, padding_mode, options })
    }
}

impl<T: Float, const D: usize> Module<T> for Conv<T, D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        let convolved = || {
            let x = self.padded(x)?;
            let mut y = lifted::conv(&x, &self.weight.on(&x), bias.as_ref(), self.options)?;
            for axis in (0..D).filter(|&axis| self.is_uneven(axis)) {
                y = y.slice(axis as isize - D as isize, 1, None, 1)?;
            }
            Ok(y)
        };
        self.explain(x, convolved())
    }
}

impl<T: Float> Conv<T, 2> {
    /// Computes the layer followed by ReLU and, with `max_pool`, 2×2 max
    /// pooling in one pass. `None` if the padding is uneven.
    pub(crate) fn forward_relu(&self, x: &Var<T>, max_pool: bool) -> Option<Result<Var<T>>> {
        if self.is_uneven(0) || self.is_uneven(1) {
            return None;
        }
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        let y = self.padded(x).and_then(|x| {
            x.conv2d_relu(&self.weight.on(&x), bias.as_ref(), self.options, max_pool)
        });
        Some(self.explain(x, y))
    }
}

impl<T: Float, const D: usize> Conv<T, D> {
    /// Whether an axis gets one zero less at the start than at the end.
    fn is_uneven(&self, axis: usize) -> bool {
        let kernel = self.weight.value().shape().get(2 + axis).copied().unwrap_or(1);
        let zeros = self.options.dilation[axis] * kernel.saturating_sub(1);
        self.padding == Padding::Same && self.pad.is_none() && !zeros.is_multiple_of(2)
    }

    /// The input after the separate padding operation, if there is one.
    fn padded(&self, x: &Var<T>) -> Result<Var<T>> {
        match &self.pad {
            Some(pad) if x.shape().len() > D => Var::try_apply(pad.clone(), &[x]),
            _ => Ok(x.clone()),
        }
    }

    /// Adds the path of this layer and the expected shape to an error.
    fn explain(&self, x: &Var<T>, result: Result<Var<T>>) -> Result<Var<T>> {
        result.map_err(|error| {
            let error = match self.in_channels() {
                Some(channels) if !has_channels::<D>(x.shape(), channels) => {
                    let expected = format!("expected [N, {channels}, {}]", axes::<D>());
                    Error::shape("conv", format!("{expected}, got {}", x.shape()))
                }
                _ => error,
            };
            context::in_layer(error, context::path(&self.weight), self)
        })
    }

    /// The number of input channels; `None` if the weight has too few axes.
    fn in_channels(&self) -> Option<usize> {
        Some(self.weight.value().shape().get(1)? * self.options.groups)
    }
}

impl<T: Float, const D: usize> fmt::Display for Conv<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name::<D>())?;
        let (Some(in_channels), Some((&[out_channels, _], kernel))) =
            (self.in_channels(), self.weight.value().shape().split_first_chunk())
        else {
            return Ok(());
        };
        let Ok(kernel) = <[usize; D]>::try_from(kernel) else {
            return Ok(());
        };
        write!(f, " {in_channels} → {out_channels}, {}", Sizes(kernel))?;
        Sizes(self.options.stride).describe("stride", 1, f)?;
        self.padding.describe(f)?;
        if let Some(mode) = self.padding_mode.filled() {
            write!(f, ", padding mode {mode:?}")?;
        }
        Sizes(self.options.dilation).describe("dilation", 1, f)?;
        match self.options.groups {
            1 => Ok(()),
            groups => write!(f, ", groups {groups}"),
        }
    }
}

#[cfg(test)]
mod tests;
