//! Transposed convolution.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted;
use dendra_tensor::{ConvTransposeOptions, Error, Float, Result, Shape};
use serde::{Deserialize, Serialize};

use super::conv::kernel_settings;
use super::image::{Sizes, axes, check_sample, has_channels, output_of};
use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// [`ConvTranspose`] over sequences `[N, C, L]`.
pub type ConvTranspose1d<T = f32> = ConvTranspose<T, 1>;

/// [`ConvTranspose`] over images `[N, C, H, W]`.
pub type ConvTranspose2d<T = f32> = ConvTranspose<T, 2>;

/// [`ConvTranspose`] over volumes `[N, C, D, H, W]`.
pub type ConvTranspose3d<T = f32> = ConvTranspose<T, 3>;

/// The transposed convolution (deconvolution) of sequences, images or volumes:
/// each element of the input, multiplied by the kernel, is added to the output.
/// For images:
///
/// ```text
/// y[n, o, i·stride + u·dilation − padding, j·stride + v·dilation − padding]
///     = b[o] + Σ W[c, o, u, v] · x[n, c, i, j]
/// ```
///
/// With a stride it enlarges its input, and reverses the change of size of a
/// convolution with the same settings. Use it as [`ConvTranspose1d`],
/// [`ConvTranspose2d`] or [`ConvTranspose3d`].
///
/// | | shape |
/// |---|---|
/// | input | `[N, in_channels, H, W]`, or one sample without N |
/// | output | `[N, out_channels, H′, W′]` |
/// | `weight` | `[in_channels, out_channels / groups, kernel height, kernel width]` |
/// | `bias` | `[out_channels]` |
///
/// with H′ = (H − 1)·stride − 2·padding + dilation·(kernel_size − 1) +
/// output_padding + 1. Sequences and volumes have one or three axes instead of
/// H and W. Both parameters are initialised with U(±1/√fan_in), where fan_in
/// counts the weights of one input channel, as in PyTorch.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{ConvTranspose2d, Module};
///
/// let layer = ConvTranspose2d::new(8, 4, 4).stride(2).padding(1).init(&mut Rng::seed(42))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([5, 8, 7, 7])))?;
/// assert_eq!(*y.shape(), [5, 4, 14, 14]);
/// assert_eq!(layer.to_string(), "ConvTranspose2d 8 → 4, 4×4, stride 2, padding 1");
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct ConvTranspose<T: Float, const D: usize> {
    /// W, of shape `[in_channels, out_channels / groups, kernel …]`.
    pub weight: Param<T>,
    /// b, of shape `[out_channels]`.
    pub bias: Option<Param<T>>,
    #[parameters(skip)]
    options: ConvTransposeOptions<D>,
}

fn name<const D: usize>() -> String {
    format!("ConvTranspose{D}d")
}

impl<const D: usize> ConvTranspose<f32, D> {
    /// Settings of a transposed convolution from `in_channels` to
    /// `out_channels`. The kernel size is a number, or one for each axis.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Sizes<D>>,
    ) -> ConvTransposeSettings<D> {
        let (in_channels, kernel_size) = (Some(in_channels), kernel_size.into());
        ConvTransposeSettings::with_defaults(in_channels, out_channels, kernel_size)
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `in_channels`.
    pub fn lazy(out_channels: usize, kernel_size: impl Into<Sizes<D>>) -> ConvTransposeSettings<D> {
        ConvTransposeSettings::with_defaults(None, out_channels, kernel_size.into())
    }
}

/// The settings of a [`ConvTranspose`] layer. Sizes are numbers, or one for
/// each axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct ConvTransposeSettings<const D: usize> {
    in_channels: Option<usize>,
    out_channels: usize,
    kernel_size: Sizes<D>,
    /// The distance between two positions of the kernel.
    #[set(into, default = 1)]
    stride: Sizes<D>,
    /// The number of elements cut off on both sides of the output.
    #[set(into, default = 0)]
    padding: Sizes<D>,
    /// The number of elements added at the end of the output, less than the
    /// stride.
    #[set(into, default = 0)]
    output_padding: Sizes<D>,
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

kernel_settings!(ConvTransposeSettings);

impl<const D: usize> ConvTransposeSettings<D> {
    fn options(&self) -> ConvTransposeOptions<D> {
        ConvTransposeOptions {
            stride: self.stride.0,
            padding: self.padding.0,
            output_padding: self.output_padding.0,
            dilation: self.dilation.0,
            groups: self.groups,
        }
    }

    /// The shape of the weight for this many input channels.
    fn weight_shape(&self, in_channels: usize) -> Result<Shape> {
        self.check(in_channels)?;
        let channels = [in_channels, self.out_channels / self.groups];
        Ok(channels.into_iter().chain(self.kernel_size.0).collect())
    }
}

initialised_by! {
    ConvTransposeSettings<D> => ConvTranspose<f32, D>, any T: ConvTranspose<T, D>; const D: usize
}

impl<const D: usize> Settings for ConvTransposeSettings<D> {
    type Layer<T: Float> = ConvTranspose<T, D>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let in_channels = self.find_in_channels(input)?;
        let weight = self.weight_shape(in_channels)?;
        let rule = |x: &Shape| self.options().output_shape(x, &weight);
        output_of(&name::<D>(), input, Sizes([0; D]), rule)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<ConvTranspose<T, D>> {
        let (weight, bias) = self.parameters(source)?;
        Ok(ConvTranspose { weight, bias, options: self.options() })
    }
}

impl<T: Float, const D: usize> Module<T> for ConvTranspose<T, D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        let y = lifted::conv_transpose(x, &self.weight.on(x), bias.as_ref(), self.options);
        y.map_err(|error| {
            let error = match self.weight.value().shape().first() {
                Some(&channels) if !has_channels::<D>(x.shape(), channels) => {
                    let expected = format!("expected [N, {channels}, {}]", axes::<D>());
                    Error::shape("conv_transpose", format!("{expected}, got {}", x.shape()))
                }
                _ => error,
            };
            context::in_layer(error, context::path(&self.weight), self)
        })
    }
}

impl<T: Float, const D: usize> fmt::Display for ConvTranspose<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name::<D>())?;
        let Some((&[in_channels, outputs], kernel)) =
            self.weight.value().shape().split_first_chunk()
        else {
            return Ok(());
        };
        let Ok(kernel) = <[usize; D]>::try_from(kernel) else {
            return Ok(());
        };
        let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } =
            self.options;
        write!(f, " {in_channels} → {}, {}", outputs * groups, Sizes(kernel))?;
        Sizes(stride).describe("stride", 1, f)?;
        Sizes(padding).describe("padding", 0, f)?;
        Sizes(output_padding).describe("output padding", 0, f)?;
        Sizes(dilation).describe("dilation", 1, f)?;
        match groups {
            1 => Ok(()),
            groups => write!(f, ", groups {groups}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Parameters;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn sequential_infers_shapes_and_the_layer_has_them() {
        let settings = || ConvTranspose2d::lazy(3, (3, 2)).stride(2).padding([1, 0]);
        let builder = Sequential::input([4, 5, 6]).layer(settings().output_padding([1, 0]));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [3, 10, 12]);
        let y = model.forward(&Var::new(Tensor::zeros([2, 4, 5, 6]))).unwrap();
        assert_eq!(*y.shape(), [2, 3, 10, 12]);
        assert_eq!(*model.named_parameters()[0].1.value().shape(), [4, 3, 3, 2]);
        assert!(
            format!("{model:?}")
                .contains("ConvTranspose2d 4 → 3, 3×2, stride 2, padding 1×0, output padding 1×0")
        );

        let builder = Sequential::input([4, 5]).layer(ConvTranspose1d::lazy(2, 4).stride(3));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 16]);
        let y = model.forward(&Var::new(Tensor::zeros([2, 4, 5]))).unwrap();
        assert_eq!(*y.shape(), [2, 2, 16]);

        let settings = ConvTranspose3d::lazy(2, (2, 3, 1)).stride((3, 1, 2)).padding((1, 0, 0));
        let builder = Sequential::input([4, 2, 3, 5]).layer(settings);
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 3, 5, 9]);
        let y = model.forward(&Var::new(Tensor::zeros([2, 4, 2, 3, 5]))).unwrap();
        assert_eq!(*y.shape(), [2, 2, 3, 5, 9]);
    }

    #[test]
    fn it_undoes_the_change_of_size_of_a_convolution() {
        let conv = crate::layers::Conv2d::lazy(4, 3).stride(2).padding(1);
        let back = ConvTranspose2d::lazy(1, 3).stride(2).padding(1).output_padding(1);
        let model = Sequential::input([1, 28, 28]).layer(conv).layer(back);
        assert_eq!(*model.build(&mut Rng::seed(0)).unwrap().output_shape(), [1, 28, 28]);
    }

    #[test]
    fn mistakes_are_told() {
        let layer = ConvTranspose2d::new(4, 6, 3).groups(2).init(&mut Rng::seed(0)).unwrap();
        let error = layer.forward(&Var::new(Tensor::zeros([1, 3, 5, 5]))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ConvTranspose2d 4 → 6, 3×3, groups 2: expected [N, 4, H, W], got [1, 3, 5, 5]"
        );
        let message = |settings: ConvTransposeSettings<2>| {
            let builder = Sequential::input([4, 5, 5]).layer(settings);
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        let padded = message(ConvTranspose2d::lazy(6, 3).output_padding(1));
        assert!(padded.contains("must be less than the stride"), "{padded}");
        let groups = message(ConvTranspose2d::lazy(6, 3).groups(4));
        assert!(groups.contains("do not divide into 4 groups"), "{groups}");
        let none = message(ConvTranspose2d::lazy(6, 3).padding(4));
        assert!(none.contains("give no output"), "{none}");
    }
}
