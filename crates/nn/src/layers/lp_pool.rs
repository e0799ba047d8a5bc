//! Pooling by the p-norm.

use std::fmt;

use dendra_autograd::{Comparison, Plain, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted;
use dendra_tensor::{Error, Float, Ops, PoolOptions, Result};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, output_of};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// [`LPPool`] over sequences `[N, C, L]`.
pub type LPPool1d = LPPool<1>;

/// [`LPPool`] over images `[N, C, H, W]`.
pub type LPPool2d = LPPool<2>;

/// [`LPPool`] over volumes `[N, C, D, H, W]`.
pub type LPPool3d = LPPool<3>;

/// The p-norm of each window of a sequence, an image or a volume, with p =
/// `norm_type`:
///
/// y = (Σ xᵖ)^(1/p)
///
/// With p = 1 it is the sum; for large p it approaches the maximum. As in
/// PyTorch, xᵖ is summed instead of |x|ᵖ, so the result is NaN where that sum
/// is negative. Where the sum is 0, the gradient is 0. Use it as [`LPPool1d`],
/// [`LPPool2d`] or [`LPPool3d`].
///
/// | | shape |
/// |---|---|
/// | input | `[N, C, H, W]` |
/// | output | `[N, C, H′, W′]` |
///
/// with H′ = ⌊(H − kernel_size) / stride⌋ + 1. Sequences and volumes have one
/// or three axes instead of H and W.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{LPPool1d, Module};
///
/// let x = Var::new(Tensor::<f64>::from([[[3.0, 4.0, 6.0, 8.0]]]));
/// assert_eq!(LPPool1d::new(2.0, 2).forward(&x)?.value().to_vec(), [5.0, 10.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct LPPool<const D: usize> {
    norm_type: f64,
    kernel_size: Sizes<D>,
    /// The distance between two windows.
    #[set(into, default = kernel_size)]
    stride: Sizes<D>,
    /// Whether the number of windows is rounded up. The part of a window
    /// outside the input then counts as the mean of the part inside.
    #[set(default = false)]
    ceil_mode: bool,
}

impl<const D: usize> LPPool<D> {
    /// The p-norm over windows of this size, a number or one for each axis. The
    /// stride is the window size unless it is set.
    pub fn new(norm_type: f64, kernel_size: impl Into<Sizes<D>>) -> Self {
        Self::with_defaults(norm_type, kernel_size.into())
    }

    fn options(&self) -> PoolOptions<D> {
        PoolOptions {
            stride: self.stride.0,
            ceil_mode: self.ceil_mode,
            ..PoolOptions::new(self.kernel_size.0)
        }
    }

    fn check(&self) -> Result<()> {
        if self.norm_type > 0.0 && self.norm_type.is_finite() {
            return Ok(());
        }
        let message = format!("norm_type must be a number above 0, got {}", self.norm_type);
        Err(Error::argument(name::<D>(), message))
    }

    fn norms<T: Float>(&self, x: &Var<T>) -> Result<Var<T>> {
        self.check()?;
        let p = self.norm_type;
        let powers = if p == 2.0 { x.square() } else { x.powf(p) };
        let means = lifted::avg_pool(&powers, self.options(), true, None)?;
        let taps: f64 = self.kernel_size.0.iter().map(|&taps| taps as f64).product();
        let sums = means.mul_scalar(taps);
        // The root has no derivative at 0, so 0 is replaced by 1.
        let zero = sums.value().eq_scalar(T::ZERO);
        sums.note(Plain::CompareScalar(Comparison::Eq, 0.0), &[sums.value()], &zero)?;
        let sums = sums.masked_fill(&zero, 1.0)?;
        let roots = if p == 2.0 { sums.sqrt() } else { sums.powf(1.0 / p) };
        roots.masked_fill(&zero, 0.0)
    }
}

fn name<const D: usize>() -> String {
    format!("LPPool{D}d")
}

own_settings!(LPPool<D> { const D: usize }: |this, input| {
    this.check()?;
    output_of(&name::<D>(), input, Sizes::<D>::from(0), |x| this.options().avg_pool_shape(x))
});

impl<T: Float, const D: usize> Module<T> for LPPool<D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.norms(x).map_err(|error| context::in_layer(error, None, self))
    }
}

impl<const D: usize> fmt::Display for LPPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, norm {}", name::<D>(), self.kernel_size, self.norm_type)?;
        self.stride.describe("stride", self.kernel_size, f)?;
        f.write_str(if self.ceil_mode { ", rounded up" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Tape, check_gradient};
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::{Sequential, SequentialBuilder};

    #[test]
    fn settings_reach_the_operation() {
        let pool = LPPool2d::new(3.0, [3, 2]).stride(2).ceil_mode(true);
        assert_eq!(pool.to_string(), "LPPool2d 3×2, norm 3, stride 2, rounded up");
        let model = Sequential::input([3, 6, 7]).layer(pool).build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [3, 3, 4]);
        let y = model.forward(&Var::new(Tensor::zeros([2, 3, 6, 7]))).unwrap();
        assert_eq!(*y.shape(), [2, 3, 3, 4]);
        let volume = Var::new(Tensor::<f64>::ones([1, 1, 2, 2, 2]));
        assert_eq!(LPPool3d::new(3.0, 2).forward(&volume).unwrap().value().to_vec(), [2.0]);
    }

    #[test]
    fn gradients_are_right() {
        let x = Tensor::uniform([2, 2, 5, 5], 0.2, 2.0, &mut Rng::seed(4));
        for p in [1.0, 2.0, 2.5] {
            let pool = LPPool2d::new(p, 3).stride(2);
            check_gradient(|v| pool.forward(&v[0]), std::slice::from_ref(&x)).unwrap();
        }
    }

    #[test]
    fn no_gradient_flows_where_all_is_zero() {
        for p in [2.0, 3.0] {
            let x = Tape::evaluation().leaf(Tensor::<f64>::zeros([1, 1, 4]));
            let y = LPPool1d::new(p, 2).forward(&x).unwrap();
            assert_eq!(y.value().to_vec(), [0.0; 2]);
            let gradients = y.sum().backward().unwrap();
            assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [0.0; 4]);
        }
    }

    #[test]
    fn wrong_settings_and_inputs_are_told() {
        let build =
            |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        let image = || Sequential::input([1, 4, 4]);
        assert_eq!(
            build(image().layer(LPPool2d::new(0.0, 2))),
            "layer 0 (LPPool2d): norm_type must be a number above 0, got 0"
        );
        assert!(build(image().layer(LPPool2d::new(f64::INFINITY, 2))).contains("norm_type"));
        assert!(build(image().layer(LPPool2d::new(2.0, 5))).contains("does not fit"));
        assert!(build(image().layer(LPPool1d::new(2.0, 2))).contains("expected [C, L]"));
        let x = Var::new(Tensor::<f32>::zeros([1, 1, 4]));
        let error = LPPool1d::new(f64::NAN, 2).forward(&x).unwrap_err().to_string();
        assert_eq!(error, "LPPool1d 2, norm NaN: norm_type must be a number above 0, got NaN");
    }
}
