//! Average pooling.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted;
use dendra_tensor::{Error, Float, PoolOptions, Result};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, output_of};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// [`AvgPool`] over sequences `[N, C, L]`.
pub type AvgPool1d = AvgPool<1>;

/// [`AvgPool`] over images `[N, C, H, W]`.
pub type AvgPool2d = AvgPool<2>;

/// [`AvgPool`] over volumes `[N, C, D, H, W]`.
pub type AvgPool3d = AvgPool<3>;

/// The mean of each window of a sequence, an image or a volume. Elements of the
/// padding count as 0 or are left out. Use it as [`AvgPool1d`], [`AvgPool2d`]
/// or [`AvgPool3d`].
///
/// | | shape |
/// |---|---|
/// | input | `[N, C, H, W]` |
/// | output | `[N, C, H′, W′]` |
///
/// with H′ = ⌊(H + 2·padding − kernel_size) / stride⌋ + 1. Sequences and
/// volumes have one or three axes instead of H and W.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{AvgPool2d, Module};
///
/// let x = Var::new(Tensor::<f32>::arange(16).reshape([1, 1, 4, 4])?);
/// assert_eq!(AvgPool2d::new(2).forward(&x)?.value().to_vec(), [2.5, 4.5, 10.5, 12.5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct AvgPool<const D: usize> {
    kernel_size: Sizes<D>,
    /// The distance between two windows.
    #[set(into, default = kernel_size)]
    stride: Sizes<D>,
    /// The number of elements added on both sides, at most half of the window.
    #[set(into, default = 0)]
    padding: Sizes<D>,
    /// Whether the number of windows is rounded up.
    #[set(default = false)]
    ceil_mode: bool,
    /// Whether the sum of a window is divided by the number of all its
    /// elements, instead of the number of those inside the image.
    #[set(default = true)]
    count_include_pad: bool,
    /// Divides the sum of each window by this number, at least 1, instead of
    /// the number of elements.
    #[set]
    divisor_override: Option<usize>,
}

impl<const D: usize> AvgPool<D> {
    /// Windows of this size, a number or one for each axis. The stride is the
    /// window size unless it is set.
    pub fn new(kernel_size: impl Into<Sizes<D>>) -> Self {
        Self::with_defaults(kernel_size.into())
    }

    fn options(&self) -> PoolOptions<D> {
        PoolOptions {
            stride: self.stride.0,
            padding: self.padding.0,
            ceil_mode: self.ceil_mode,
            ..PoolOptions::new(self.kernel_size.0)
        }
    }
}

fn name<const D: usize>() -> String {
    format!("AvgPool{D}d")
}

own_settings!(AvgPool<D> { const D: usize }: |this, input| {
    if this.divisor_override == Some(0) {
        let message = "divisor_override must be at least 1, got 0";
        return Err(Error::argument(name::<D>(), message));
    }
    output_of(&name::<D>(), input, this.padding, |x| this.options().avg_pool_shape(x))
});

impl<T: Float, const D: usize> Module<T> for AvgPool<D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        lifted::avg_pool(x, self.options(), self.count_include_pad, self.divisor_override)
            .map_err(|error| context::in_layer(error, None, self))
    }
}

impl<const D: usize> fmt::Display for AvgPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name::<D>(), self.kernel_size)?;
        self.stride.describe("stride", self.kernel_size, f)?;
        self.padding.describe("padding", 0, f)?;
        f.write_str(if self.ceil_mode { ", rounded up" } else { "" })?;
        match self.divisor_override {
            Some(divisor) => write!(f, ", divided by {divisor}"),
            None if self.count_include_pad => Ok(()),
            None => f.write_str(", padding not counted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn the_padding_counts_or_not() {
        let x = Var::new(Tensor::<f64>::ones([1, 1, 2, 2]));
        let pool = AvgPool2d::new(2).padding(1);
        assert_eq!(pool.forward(&x).unwrap().value().to_vec(), [0.25; 4]);
        let pool = pool.count_include_pad(false);
        assert_eq!(pool.forward(&x).unwrap().value().to_vec(), [1.0; 4]);
        assert_eq!(pool.to_string(), "AvgPool2d 2×2, padding 1, padding not counted");
    }

    #[test]
    fn settings_reach_the_operation() {
        let pool = AvgPool2d::new([3, 2]).stride(2).ceil_mode(true);
        assert_eq!(pool.to_string(), "AvgPool2d 3×2, stride 2, rounded up");
        let model = Sequential::input([3, 6, 7]).layer(pool).build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [3, 3, 4]);
        let y = model.forward(&Var::new(Tensor::zeros([2, 3, 6, 7]))).unwrap();
        assert_eq!(*y.shape(), [2, 3, 3, 4]);
    }

    #[test]
    fn the_gradient_is_shared() {
        let x = Tensor::normal([2, 2, 5, 5], 0.0, 1.0, &mut Rng::seed(4));
        let pool = AvgPool2d::new(3).stride(2).padding(1).count_include_pad(false);
        check_gradient(|v| pool.forward(&v[0]), std::slice::from_ref(&x)).unwrap();
        check_gradient(|v| pool.divisor_override(4).forward(&v[0]), &[x]).unwrap();
    }

    #[test]
    fn a_divisor_stands_for_the_count() {
        let x = Var::new(Tensor::<f64>::ones([1, 1, 2, 4, 4]));
        let pool = AvgPool3d::new(2).divisor_override(4);
        assert_eq!(pool.forward(&x).unwrap().value().to_vec(), [2.0; 4]);
        assert_eq!(pool.to_string(), "AvgPool3d 2×2×2, divided by 4");
        let pool = pool.divisor_override(0);
        let error = pool.forward(&x).unwrap_err().to_string();
        assert!(error.ends_with("the divisor must be at least 1, got 0"), "{error}");
        let builder = Sequential::input([1, 2, 4, 4]).layer(pool);
        let error = builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        assert!(error.ends_with("divisor_override must be at least 1, got 0"), "{error}");
    }
}
