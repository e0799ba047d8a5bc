//! Max pooling.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted;
use dendra_tensor::ops::max_unpool::max_pool_with_indices;
use dendra_tensor::{Float, PoolOptions, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, output_of};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// [`MaxPool`] over sequences `[N, C, L]`.
pub type MaxPool1d = MaxPool<1>;

/// [`MaxPool`] over images `[N, C, H, W]`.
pub type MaxPool2d = MaxPool<2>;

/// [`MaxPool`] over volumes `[N, C, D, H, W]`.
pub type MaxPool3d = MaxPool<3>;

/// The largest value of each window of a sequence, an image or a volume. The
/// padding counts as −∞. Use it as [`MaxPool1d`], [`MaxPool2d`] or
/// [`MaxPool3d`].
///
/// | | shape |
/// |---|---|
/// | input | `[N, C, H, W]` |
/// | output | `[N, C, H′, W′]` |
///
/// with H′ = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1.
/// Sequences and volumes have one or three axes instead of H and W.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{MaxPool2d, Module};
///
/// let x = Var::new(Tensor::<f32>::arange(16).reshape([1, 1, 4, 4])?);
/// assert_eq!(MaxPool2d::new(2).forward(&x)?.value().to_vec(), [5.0, 7.0, 13.0, 15.0]);
/// let overlapping = MaxPool2d::new(3).stride(2).padding(1);
/// assert_eq!(*overlapping.forward(&x)?.shape(), [1, 1, 2, 2]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct MaxPool<const D: usize> {
    kernel_size: Sizes<D>,
    /// The distance between two windows.
    #[set(into, default = kernel_size)]
    stride: Sizes<D>,
    /// The number of elements added on both sides, at most half of the window.
    #[set(into, default = 0)]
    padding: Sizes<D>,
    /// The distance between two elements of a window.
    #[set(into, default = 1)]
    dilation: Sizes<D>,
    /// Whether the number of windows is rounded up.
    #[set(default = false)]
    ceil_mode: bool,
}

impl<const D: usize> MaxPool<D> {
    /// Windows of this size, a number or one for each axis. The stride is the
    /// window size unless it is set.
    pub fn new(kernel_size: impl Into<Sizes<D>>) -> Self {
        Self::with_defaults(kernel_size.into())
    }

    /// Like [`Module::forward`], and also returns the positions of the values:
    /// row-major indices over the axes after the channels, as [`MaxUnpool`]
    /// takes them (PyTorch's `return_indices=True`). Among equal values the
    /// first counts.
    ///
    /// [`MaxUnpool`]: super::MaxUnpool
    ///
    /// # Errors
    ///
    /// When the windows do not fit the input, or a window lies outside it and
    /// has no value.
    ///
    /// ```
    /// use dendra_nn::MaxPool2d;
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    ///
    /// let x = Var::new(Tensor::<f32>::arange(16).reshape([1, 1, 4, 4])?);
    /// let (y, indices) = MaxPool2d::new(2).forward_with_indices(&x)?;
    /// assert_eq!(y.value().to_vec(), [5.0, 7.0, 13.0, 15.0]);
    /// assert_eq!(indices.to_vec(), [5, 7, 13, 15]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    pub fn forward_with_indices<T: Float>(&self, x: &Var<T>) -> Result<(Var<T>, Tensor<i64>)> {
        max_pool_with_indices(x, self.options())
            .map_err(|error| context::in_layer(error, None, self))
    }

    fn options(&self) -> PoolOptions<D> {
        PoolOptions {
            kernel_size: self.kernel_size.0,
            stride: self.stride.0,
            padding: self.padding.0,
            dilation: self.dilation.0,
            ceil_mode: self.ceil_mode,
        }
    }
}

impl MaxPool<2> {
    /// Whether the windows are 2×2 and do not overlap.
    pub(crate) fn halves(&self) -> bool {
        *self == Self::new(2)
    }
}

fn name<const D: usize>() -> String {
    format!("MaxPool{D}d")
}

own_settings!(MaxPool<D> { const D: usize }: |this, input| {
    output_of(&name::<D>(), input, this.padding, |x| this.options().max_pool_shape(x))
});

impl<T: Float, const D: usize> Module<T> for MaxPool<D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        lifted::max_pool(x, self.options()).map_err(|error| context::in_layer(error, None, self))
    }
}

impl<const D: usize> fmt::Display for MaxPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name::<D>(), self.kernel_size)?;
        self.stride.describe("stride", self.kernel_size, f)?;
        self.padding.describe("padding", 0, f)?;
        self.dilation.describe("dilation", 1, f)?;
        f.write_str(if self.ceil_mode { ", rounded up" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::{Sequential, SequentialBuilder};

    #[test]
    fn settings_reach_the_operation() {
        let pool = MaxPool2d::new([3, 2]).stride([2, 3]).padding([1, 0]).dilation([1, 2]);
        let pool = pool.ceil_mode(true);
        assert_eq!(
            pool.to_string(),
            "MaxPool2d 3×2, stride 2×3, padding 1×0, dilation 1×2, rounded up"
        );
        let y = pool.forward(&Var::new(Tensor::<f32>::zeros([2, 3, 6, 7]))).unwrap();
        assert_eq!(*y.shape(), [2, 3, 4, 3]);
        let model = Sequential::input([3, 6, 7]).layer(pool).build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [3, 4, 3]);
    }

    #[test]
    fn volumes_are_pooled_in_all_directions() {
        let x = Tensor::<f32>::arange(2 * 4 * 4).reshape([1, 1, 2, 4, 4]).unwrap();
        let y = MaxPool3d::new(2).forward(&Var::new(x)).unwrap();
        assert_eq!(y.value().to_vec(), [21.0, 23.0, 29.0, 31.0]);
        let pool = MaxPool3d::new((1, 2, 3)).stride((2, 1, 2)).padding((0, 1, 1)).ceil_mode(true);
        let model = Sequential::input([3, 5, 6, 7]).layer(pool).build(&mut Rng::seed(0)).unwrap();
        let y = model.forward(&Var::new(Tensor::zeros([2, 3, 5, 6, 7]))).unwrap();
        assert_eq!(y.shape()[1..], model.output_shape()[..]);
        let flat = Sequential::input([3, 5, 6]).layer(pool).build(&mut Rng::seed(0)).unwrap_err();
        let expected = "layer 0 (MaxPool3d): expected [C, D, H, W], got [3, 5, 6]";
        assert_eq!(flat.to_string(), expected);
    }

    #[test]
    fn the_gradient_goes_to_the_maxima() {
        let x = Tensor::normal([2, 2, 5, 5], 0.0, 1.0, &mut Rng::seed(4));
        let pool = MaxPool2d::new(3).stride(2).padding(1);
        check_gradient(|v| pool.forward(&v[0]), &[x]).unwrap();
    }

    #[test]
    fn wrong_settings_and_inputs_are_told() {
        let x = Var::new(Tensor::<f32>::zeros([1, 1, 4, 4]));
        let error = MaxPool2d::new(2).padding(2).forward(&x).unwrap_err().to_string();
        assert!(error.starts_with("MaxPool2d 2×2, padding 2: the padding"), "{error}");
        let build =
            |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        let flat = build(Sequential::input([16]).max_pool2d(2));
        assert_eq!(flat, "layer 0 (MaxPool2d): expected [C, H, W], got [16]");
        let zero = build(Sequential::input([1, 4, 4]).max_pool2d(0));
        assert!(zero.starts_with("layer 0 (MaxPool2d): the kernel size must be"), "{zero}");
    }
}
