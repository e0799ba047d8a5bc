//! Windows of images as columns (im2col), and the inverse (col2im).

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::lifted::batched;
use dendra_tensor::ops::{Op, unfold};
use dendra_tensor::{Float, Ops, Result, Shape, UnfoldOptions};
use serde::{Deserialize, Serialize};

use super::image::{Pair, check_padded, output_of};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Each window of images as a column (im2col).
///
/// | | shape |
/// |---|---|
/// | input | `[N, C, H, W]` |
/// | output | `[N, C · kernel_size[0] · kernel_size[1], H′ · W′]` |
///
/// with H′ = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1,
/// and W′ alike. The padding is 0. [`Fold`] is the transposed operation.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Module, Unfold};
///
/// let x = Var::new(Tensor::<f32>::arange(9).reshape([1, 1, 3, 3])?);
/// let y = Unfold::new(2).forward(&x)?;
/// assert_eq!(*y.shape(), [1, 4, 4]);
/// // The first element of each window, then the second, and so on.
/// assert_eq!(y.value().to_vec()[..8], [0.0, 1.0, 3.0, 4.0, 1.0, 2.0, 4.0, 5.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct Unfold {
    kernel_size: Pair,
    /// The distance between two windows.
    #[set(into, default = 1)]
    stride: Pair,
    /// The number of zeros added on both sides of the image.
    #[set(into, default = 0)]
    padding: Pair,
    /// The distance between two elements of a window.
    #[set(into, default = 1)]
    dilation: Pair,
}

/// Adds columns to images at the positions of their windows (col2im). Elements
/// of overlapping windows are summed.
///
/// | | shape |
/// |---|---|
/// | input | `[N, C · kernel_size[0] · kernel_size[1], H′ · W′]` |
/// | output | `[N, C, H, W]` |
///
/// H and W are those of `output_size`; H′ and W′ are those of [`Unfold`].
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Fold, Module, Unfold};
///
/// let x = Var::new(Tensor::<f32>::arange(24).reshape([1, 1, 4, 6])?);
/// let patches = Unfold::new((2, 3)).stride((2, 3)).forward(&x)?;
/// let again = Fold::new((4, 6), (2, 3)).stride((2, 3)).forward(&patches)?;
/// assert_eq!(again.value(), x.value());
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    output_size: Pair,
    kernel_size: Pair,
    /// The distance between two windows.
    #[set(into, default = 1)]
    stride: Pair,
    /// The number of zeros added on both sides of the image.
    #[set(into, default = 0)]
    padding: Pair,
    /// The distance between two elements of a window.
    #[set(into, default = 1)]
    dilation: Pair,
}

impl Unfold {
    /// Windows of this size, a number or `(height, width)`, at every position.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        Self::with_defaults(kernel_size.into())
    }

    fn operation(&self) -> unfold::Unfold {
        unfold::Unfold { options: self.options() }
    }
}

impl Fold {
    /// Images of `output_size` from the columns of windows of `kernel_size`,
    /// each a number or `(height, width)`.
    pub fn new(output_size: impl Into<Pair>, kernel_size: impl Into<Pair>) -> Self {
        Self::with_defaults(output_size.into(), kernel_size.into())
    }

    fn operation(&self) -> unfold::Fold {
        unfold::Fold { output_size: self.output_size.0, options: self.options() }
    }
}

/// The code that both layers share.
macro_rules! moving_windows {
    ($($name:ident: $axes:literal)*) => {$(
        impl $name {
            fn options(&self) -> UnfoldOptions {
                UnfoldOptions {
                    kernel_size: self.kernel_size.0,
                    stride: self.stride.0,
                    padding: self.padding.0,
                    dilation: self.dilation.0,
                }
            }

            fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.kernel_size)?;
                self.stride.describe("stride", 1, f)?;
                self.padding.describe("padding", 0, f)?;
                self.dilation.describe("dilation", 1, f)
            }
        }

        impl<T: Float> Module<T> for $name {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                batched(x, $axes, |x| Var::try_apply(self.operation(), &[x]))
                    .map_err(|error| context::in_layer(error, None, self))
            }
        }
    )*};
}

moving_windows! { Unfold: 4 Fold: 3 }

own_settings!(Unfold: |this, input| {
    output_of("Unfold", input, this.padding, |x| {
        Op::<f32>::output_shape(&this.operation(), &[x])
    })
});

own_settings!(Fold: |this, input| {
    check_padded("Fold", &this.output_size.0, this.padding)?;
    let batch: Shape = [1].into_iter().chain(input.iter().copied()).collect();
    Ok(Op::<f32>::output_shape(&this.operation(), &[&batch])?[1..].into())
});

impl fmt::Display for Unfold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unfold ")?;
        self.describe(f)
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fold to {}, ", self.output_size)?;
        self.describe(f)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::{Sequential, SequentialBuilder};

    #[test]
    fn a_network_knows_the_shapes() {
        let builder = Sequential::input([3, 6, 7])
            .layer(Unfold::new((3, 2)).stride((1, 2)).padding((1, 0)).dilation((2, 1)))
            .layer(Fold::new((6, 7), (3, 2)).stride((1, 2)).padding((1, 0)).dilation((2, 1)));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [3, 6, 7]);
        let y = model.forward(&Var::new(Tensor::ones([2, 3, 6, 7]))).unwrap();
        assert_eq!(*y.shape(), [2, 3, 6, 7]);
        // Each pixel of the first row is in one window, those of the last row
        // in none.
        assert_eq!(y.value().to_vec()[..7], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        let fold = Fold::new((6, 7), 2).stride(2);
        assert_eq!(fold.to_string(), "Fold to 6×7, 2×2, stride 2");
    }

    #[test]
    fn gradients_are_right() {
        let mut rng = Rng::seed(4);
        let x = Tensor::normal([2, 2, 4, 5], 0.0, 1.0, &mut rng);
        let unfold = Unfold::new(2).padding(1);
        check_gradient(|v| unfold.forward(&v[0]), &[x]).unwrap();
        let columns = Tensor::normal([2, 8, 6], 0.0, 1.0, &mut rng);
        let fold = Fold::new((3, 4), 2);
        check_gradient(|v| fold.forward(&v[0]), &[columns]).unwrap();
    }

    #[test]
    fn wrong_settings_and_inputs_are_told() {
        let build =
            |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        let image = || Sequential::input([1, 4, 4]);
        assert_eq!(
            build(Sequential::input([16]).layer(Unfold::new(2))),
            "layer 0 (Unfold): expected [C, H, W], got [16]"
        );
        assert!(build(image().layer(Unfold::new(0))).contains("the kernel size must be"));
        assert!(build(image().layer(Unfold::new(5))).contains("does not fit"));
        assert!(build(image().layer(Unfold::new(2).padding(1 << 40))).contains("more than"));
        assert!(build(image().layer(Fold::new(4, 2))).contains("expected an input of shape"));
        let columns = || Sequential::input([8, 9]);
        assert!(build(columns().layer(Fold::new(1 << 40, 2))).contains("more than"));
        assert!(build(columns().layer(Fold::new(5, 2))).contains("for images of 5 × 5"));
        let x = Var::new(Tensor::<f32>::zeros([1, 8, 8]));
        let error = Fold::new(4, 2).forward(&x).unwrap_err().to_string();
        assert!(error.starts_with("Fold to 4×4, 2×2: expected an input of shape"), "{error}");
    }
}
