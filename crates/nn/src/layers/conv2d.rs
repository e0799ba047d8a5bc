//! Two-dimensional convolution.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::Parameters;
use dendra_tensor::ops::conv2d;
use dendra_tensor::{Conv2dOptions, Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::image::{Pair, image, output_of};
use super::{Settings, initialised_by, open_input};
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::place;
use crate::sequential::SequentialBuilder;

/// The convolution (strictly, cross-correlation) of images with a kernel:
///
/// ```text
/// y[n, o, i, j] = b[o] + Σ W[o, c, u, v] · x[n, c′, i·stride + u·dilation − padding,
///                                                  j·stride + v·dilation − padding]
/// ```
///
/// over c, u, v, where x is 0 outside the image and c′ is the c-th channel of
/// o's group.
///
/// | | shape |
/// |---|---|
/// | input | `[N, in_channels, H, W]` |
/// | output | `[N, out_channels, H′, W′]` |
/// | `weight` | `[out_channels, in_channels / groups, kernel height, kernel width]` |
/// | `bias` | `[out_channels]` |
///
/// with H′ = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1.
/// Both start as U(±1/√fan_in), with fan_in the number of weights of one
/// output channel.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Conv2d, Module};
///
/// let layer = Conv2d::new(3, 64, 3).stride(2).padding(1).init(&mut Rng::seed(42))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([8, 3, 28, 28])))?;
/// assert_eq!(*y.shape(), [8, 64, 14, 14]);
/// assert_eq!(layer.to_string(), "Conv2d 3 → 64, 3×3, stride 2, padding 1");
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Conv2d<T: Float = f32> {
    /// W, of shape `[out_channels, in_channels / groups, kernel height, kernel
    /// width]`.
    pub weight: Param<T>,
    /// b, of shape `[out_channels]`.
    pub bias: Option<Param<T>>,
    #[parameters(skip)]
    options: Conv2dOptions,
}

impl Conv2d {
    /// Settings of a convolution from `in_channels` to `out_channels`. The
    /// kernel's size is a number or `[height, width]`.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: impl Into<Pair>,
    ) -> Conv2dSettings {
        Conv2dSettings { in_channels: Some(in_channels), ..Self::lazy(out_channels, kernel_size) }
    }

    /// As [`new`](Self::new) for [`Sequential`](crate::Sequential), which finds
    /// out `in_channels`.
    pub fn lazy(out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dSettings {
        Conv2dSettings {
            in_channels: None,
            out_channels,
            kernel_size: kernel_size.into(),
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            groups: 1,
            bias: true,
            weight_init: Init::pytorch(),
            bias_init: Init::pytorch(),
        }
    }
}

/// The settings of a [`Conv2d`] layer. Sizes are numbers or `[height, width]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2dSettings {
    in_channels: Option<usize>,
    out_channels: usize,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: usize,
    bias: bool,
    #[serde(skip, default = "Init::pytorch")]
    weight_init: Init,
    #[serde(skip, default = "Init::pytorch")]
    bias_init: Init,
}

impl Conv2dSettings {
    /// Elements from one place of the kernel to the next (1).
    #[must_use]
    pub fn stride(self, stride: impl Into<Pair>) -> Self {
        Self { stride: stride.into(), ..self }
    }

    /// Zeros added on both sides of the image (0).
    #[must_use]
    pub fn padding(self, padding: impl Into<Pair>) -> Self {
        Self { padding: padding.into(), ..self }
    }

    /// Elements from one tap of the kernel to the next (1).
    #[must_use]
    pub fn dilation(self, dilation: impl Into<Pair>) -> Self {
        Self { dilation: dilation.into(), ..self }
    }

    /// Parts that input and output channels are divided into (1); a part of
    /// the output sees only its part of the input.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Whether there is a bias (there is).
    #[must_use]
    pub fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// How the weight is drawn.
    #[must_use]
    pub fn weight_init(self, weight_init: Init) -> Self {
        Self { weight_init, ..self }
    }

    /// How the bias is drawn; its fans are those of the weight.
    #[must_use]
    pub fn bias_init(self, bias_init: Init) -> Self {
        Self { bias_init, ..self }
    }

    fn options(&self) -> Conv2dOptions {
        Conv2dOptions {
            stride: self.stride.0,
            padding: self.padding.0,
            dilation: self.dilation.0,
            groups: self.groups,
        }
    }

    /// The shape of the weight for this many input channels.
    fn weight_shape(&self, in_channels: usize) -> Result<Shape> {
        let &Self { out_channels, kernel_size, groups, .. } = self;
        kernel_size.at_least_one("Conv2d", "kernel_size")?;
        self.stride.at_least_one("Conv2d", "stride")?;
        self.dilation.at_least_one("Conv2d", "dilation")?;
        let divide = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        if !divide(in_channels) || !divide(out_channels) {
            let message = format!(
                "{in_channels} input and {out_channels} output channels do not divide into \
                 {groups} groups"
            );
            return Err(Error::argument("Conv2d", message));
        }
        let [height, width] = kernel_size.0;
        Ok([out_channels, in_channels / groups, height, width].into())
    }
}

initialised_by!(Conv2dSettings => Conv2d, any T: Conv2d<T>);

impl Settings for Conv2dSettings {
    type Layer<T: Float> = Conv2d<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let [channels, height, width] = image("Conv2d", input)?;
        let expected = *self.in_channels.get_or_insert(channels);
        if channels != expected {
            let message = format!("expected [{expected}, H, W], got {input}");
            return Err(Error::shape("Conv2d", message));
        }
        let weight = self.weight_shape(channels)?;
        let operation = conv2d::Conv2d { options: self.options() };
        output_of(&operation, [channels, height, width], Some(&weight), self.padding)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Conv2d<T>> {
        let in_channels = self.in_channels.ok_or_else(|| open_input("Conv2d", "in_channels"))?;
        let weight = self.weight_shape(in_channels)?;
        let fans = Fans::of(&weight);
        let weight = source.param(self.weight_init, weight, fans, &"Conv2d")?;
        let bias = match self.bias {
            true => Some(source.param(self.bias_init, [self.out_channels], fans, &"Conv2d")?),
            false => None,
        };
        Ok(Conv2d { weight, bias, options: self.options() })
    }
}

impl<T: Float> Module<T> for Conv2d<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        self.explain(x, x.conv2d(&self.weight.on(x), bias.as_ref(), self.options))
    }
}

impl<T: Float> Conv2d<T> {
    /// This layer and ReLU, and with `max_pool` the largest element of each
    /// 2×2 window, in one pass.
    pub(crate) fn forward_relu(&self, x: &Var<T>, max_pool: bool) -> Result<Var<T>> {
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        self.explain(x, x.conv2d_relu(&self.weight.on(x), bias.as_ref(), self.options, max_pool))
    }

    /// An error with the path of this layer and what it expected.
    fn explain(&self, x: &Var<T>, result: Result<Var<T>>) -> Result<Var<T>> {
        result.map_err(|error| {
            let error = match (self.in_channels(), &x.shape()[..]) {
                (Some(channels), &[_, found, _, _]) if found == channels => error,
                (Some(channels), _) => {
                    let message = format!("expected [N, {channels}, H, W], got {}", x.shape());
                    Error::shape("conv2d", message)
                }
                (None, _) => error,
            };
            place::said_by(error, place::path(&self.weight), self)
        })
    }

    /// The number of input channels, unless the weight was given a shape that
    /// is none.
    fn in_channels(&self) -> Option<usize> {
        Some(self.weight.value().shape().get(1)? * self.options.groups)
    }
}

impl<T: Float> fmt::Display for Conv2d<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(in_channels), &[out_channels, _, height, width]) =
            (self.in_channels(), &self.weight.value().shape()[..])
        else {
            return f.write_str("Conv2d");
        };
        let Conv2dOptions { stride, padding, dilation, groups } = self.options;
        write!(f, "Conv2d {in_channels} → {out_channels}, {}", Pair([height, width]))?;
        Pair(stride).describe("stride", 1, f)?;
        Pair(padding).describe("padding", 0, f)?;
        Pair(dilation).describe("dilation", 1, f)?;
        if groups != 1 {
            write!(f, ", groups {groups}")?;
        }
        Ok(())
    }
}

impl SequentialBuilder {
    /// Adds a [`Conv2d`] layer. The kernel's size is a number or `[height,
    /// width]`; for other settings add the layer itself:
    /// `.layer(Conv2d::lazy(64, 3).padding(1))`.
    pub fn conv2d(self, out_channels: usize, kernel_size: impl Into<Pair>) -> Self {
        self.layer(Conv2d::lazy(out_channels, kernel_size))
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Parameters, Tape};
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn a_wrong_input_is_told_by_path_and_sizes() {
        let mut layer = vec![Conv2d::new(4, 2, 3).groups(2).init(&mut Rng::seed(0)).unwrap()];
        layer.name_parameters();
        let message = |shape: &[usize]| {
            layer[0].forward(&Var::new(Tensor::zeros(shape))).unwrap_err().to_string()
        };
        let place = "0 (Conv2d 4 → 2, 3×3, groups 2)";
        assert_eq!(
            message(&[1, 3, 5, 5]),
            format!("{place}: expected [N, 4, H, W], got [1, 3, 5, 5]")
        );
        assert_eq!(message(&[4, 5]), format!("{place}: expected [N, 4, H, W], got [4, 5]"));
        let small = message(&[1, 4, 2, 5]);
        assert!(small.starts_with(place) && small.contains("2"), "{small}");
    }

    #[test]
    fn the_settings_decide_shapes_and_description() {
        let settings = Conv2d::new(4, 6, (3, 2)).stride([2, 1]).padding(1).dilation(2).groups(2);
        let layer = settings.bias(false).init(&mut Rng::seed(0)).unwrap();
        assert_eq!(*layer.weight.value().shape(), [6, 2, 3, 2]);
        assert_eq!(layer.parameter_count(), 72);
        assert_eq!(
            layer.to_string(),
            "Conv2d 4 → 6, 3×2, stride 2×1, padding 1, dilation 2, groups 2"
        );
        let y = layer.forward(&Var::new(Tensor::zeros([5, 4, 9, 8]))).unwrap();
        assert_eq!(*y.shape(), [5, 6, 4, 8]);
    }

    #[test]
    fn the_defaults_are_within_pytorchs_bounds() {
        let layer = Conv2d::new(8, 500, [3, 5]).groups(2).init(&mut Rng::seed(0)).unwrap();
        let bound = 1.0 / (4.0_f32 * 15.0).sqrt();
        for values in [layer.weight.value().to_vec(), layer.bias.unwrap().value().to_vec()] {
            let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            assert!(largest <= bound && largest > 0.97 * bound, "{largest}");
        }
    }

    #[test]
    fn wrong_settings_are_told_when_the_layer_is_made() {
        let message =
            |settings: Conv2dSettings| settings.init(&mut Rng::seed(0)).unwrap_err().to_string();
        let cases = [
            (Conv2d::lazy(4, 3), "in_channels is open"),
            (Conv2d::new(4, 4, 0), "kernel_size must be at least 1, got 0×0"),
            (Conv2d::new(4, 4, 3).stride([1, 0]), "stride must be at least 1, got 1×0"),
            (Conv2d::new(4, 4, 3).dilation(0), "dilation must be at least 1"),
            (Conv2d::new(4, 6, 3).groups(3), "do not divide into 3 groups"),
            (Conv2d::new(4, 6, 3).groups(0), "do not divide into 0 groups"),
            (Conv2d::new(1 << 40, 1 << 40, 3), "do not fit into memory"),
        ];
        for (settings, expected) in cases {
            let message = message(settings);
            assert!(message.starts_with("Conv2d: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn sequential_finds_out_the_channels_and_refuses_what_does_not_fit() {
        let input = || Sequential::input([3, 8, 8]);
        let model = input().conv2d(4, 3).conv2d(5, [1, 2]).build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [5, 6, 5]);
        assert_eq!(*model.named_parameters()[2].1.value().shape(), [5, 4, 1, 2]);
        let message = |settings: Conv2dSettings| {
            input().relu().layer(settings).build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            message(Conv2d::new(1, 4, 3)),
            "layer 1 (Conv2d): expected [1, H, W], got [3, 8, 8]"
        );
        let large = message(Conv2d::lazy(4, 9));
        assert!(large.starts_with("layer 1 (Conv2d): ") && large.contains('9'), "{large}");
        let flat = Sequential::input([784]).conv2d(4, 3).build(&mut Rng::seed(0)).unwrap_err();
        assert_eq!(flat.to_string(), "layer 0 (Conv2d): expected [C, H, W], got [784]");
    }

    /// The convolution is linear in x, W and b, so ⟨∂, ·⟩ gives it back.
    #[test]
    fn gradients_reach_input_weight_and_bias() {
        let mut rng = Rng::seed(3);
        let layer = Conv2d::new(2, 3, 3).padding(1).init_as::<f64>(&mut rng).unwrap();
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::normal([2, 2, 4, 5], 0.0, 1.0, &mut rng));
        let sum = layer.forward(&x).unwrap().sum();
        let gradients = sum.backward().unwrap();
        let bias = layer.bias.as_ref().unwrap();
        let inner = |a: &Tensor<f64>, b: &Tensor<f64>| (a * b).sum().item().unwrap();
        let of_bias = inner(gradients.get(bias).unwrap(), bias.value());
        let of_weight = inner(gradients.get(&layer.weight).unwrap(), layer.weight.value());
        let of_input = inner(gradients.wrt(&x).unwrap(), x.value());
        let sum = sum.value().item().unwrap();
        assert!((of_weight + of_bias - sum).abs() < 1e-9 * sum.abs().max(1.0));
        assert!((of_input + of_bias - sum).abs() < 1e-9 * sum.abs().max(1.0));
        assert!(of_weight.abs() > 0.1 && of_bias.abs() > 0.1);
    }
}
