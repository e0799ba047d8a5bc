//! Padding of sequences, images and volumes.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::ops::Op;
use dendra_tensor::ops::padding::Pad;
use dendra_tensor::{Error, Float, Ops, PadMode, Result, Shape};
use serde::{Deserialize, Serialize};

use super::image::{axes, check_sample};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// The number of elements added before and after each of `D` axes, starting
/// with the last axis: left and right, then top and bottom, then front and
/// back. A negative number removes elements.
///
/// A function that takes margins also takes one number for all of them, or a
/// tuple in PyTorch's order: `(left, right, top, bottom)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<[isize; 2]>", into = "Vec<[isize; 2]>")]
pub struct Margins<const D: usize>(pub [[isize; 2]; D]);

impl<const D: usize> From<isize> for Margins<D> {
    fn from(all: isize) -> Self {
        Self([[all; 2]; D])
    }
}

impl From<(isize, isize)> for Margins<1> {
    fn from((left, right): (isize, isize)) -> Self {
        Self([[left, right]])
    }
}

impl From<(isize, isize, isize, isize)> for Margins<2> {
    fn from((left, right, top, bottom): (isize, isize, isize, isize)) -> Self {
        Self([[left, right], [top, bottom]])
    }
}

impl From<(isize, isize, isize, isize, isize, isize)> for Margins<3> {
    fn from(
        (left, right, top, bottom, front, back): (isize, isize, isize, isize, isize, isize),
    ) -> Self {
        Self([[left, right], [top, bottom], [front, back]])
    }
}

impl<const D: usize> From<Margins<D>> for Vec<[isize; 2]> {
    fn from(Margins(margins): Margins<D>) -> Self {
        margins.into()
    }
}

impl<const D: usize> TryFrom<Vec<[isize; 2]>> for Margins<D> {
    type Error = String;

    fn try_from(margins: Vec<[isize; 2]>) -> std::result::Result<Self, String> {
        let refuse = |margins| format!("expected {D} pairs of margins, got {margins:?}");
        margins.try_into().map(Self).map_err(refuse)
    }
}

/// `1`, or `(1, 2, 0, 0)`.
impl<const D: usize> fmt::Display for Margins<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_flattened();
        match all.first() {
            Some(&one) if *self == one.into() => one.fmt(f),
            _ => write!(f, "({})", all.iter().map(isize::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// The shape of a sample `[C, …]` after padding.
fn padded_sample<const D: usize>(kind: &str, input: &Shape, pad: &Pad) -> Result<Shape> {
    check_sample::<D>(kind, input)?;
    Op::<f32>::output_shape(pad, &[input])
}

/// Pads a batch `[N, C, …]` or a sample `[C, …]`.
fn padded<T: Float, const D: usize>(x: &Var<T>, pad: Pad) -> Result<Var<T>> {
    if x.shape().len() != D + 1 && x.shape().len() != D + 2 {
        let message = format!("expected [N, C, {}], got {}", axes::<D>(), x.shape());
        return Err(Error::shape("pad", message));
    }
    Var::try_apply(pad, &[x])
}

/// Defines padding layers for one, two and three axes, with the padding value
/// where there is one.
macro_rules! paddings {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident ($one:ident, $two:ident, $three:ident) $({ $value:ident })?:
        |$this:ident| $mode:expr;
    )*) => {$(
        #[doc = concat!("[`", stringify!($name), "`] of sequences `[N, C, L]`.")]
        pub type $one = $name<1>;

        #[doc = concat!("[`", stringify!($name), "`] of images `[N, C, H, W]`.")]
        pub type $two = $name<2>;

        #[doc = concat!("[`", stringify!($name), "`] of volumes `[N, C, D, H, W]`.")]
        pub type $three = $name<3>;

        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
        #[parameters(skip)]
        #[serde(deny_unknown_fields)]
        pub struct $name<const D: usize> {
            padding: Margins<D>,
            $($value: f64,)?
        }

        impl<const D: usize> $name<D> {
            /// Makes a layer with these margins, a number or one for each side.
            pub fn new(padding: impl Into<Margins<D>> $(, $value: f64)?) -> Self {
                Self { padding: padding.into() $(, $value)? }
            }

            fn pad(&self) -> Pad {
                let $this = self;
                Pad { padding: self.padding.0[..].into(), mode: $mode }
            }
        }

        own_settings!($name<D> { const D: usize }: |this, input| {
            padded_sample::<D>(&format!("{}{D}d", stringify!($name)), input, &this.pad())
        });

        impl<T: Float, const D: usize> Module<T> for $name<D> {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                padded::<T, D>(x, self.pad()).map_err(|error| context::in_layer(error, None, self))
            }
        }

        impl<const D: usize> fmt::Display for $name<D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{D}d {}", stringify!($name), self.padding)?;
                $(write!(f, ", {} {}", stringify!($value), self.$value)?;)?
                Ok(())
            }
        }
    )*};
}

paddings! {
    /// Pads with zeros.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Module, ZeroPad2d};
    ///
    /// let x = Var::new(Tensor::<f32>::ones([1, 3, 4, 5]));
    /// assert_eq!(*ZeroPad2d::new(1).forward(&x)?.shape(), [1, 3, 6, 7]);
    /// // Left, right, top, bottom, as in PyTorch; −1 cuts off.
    /// assert_eq!(*ZeroPad2d::new((1, 2, 0, -1)).forward(&x)?.shape(), [1, 3, 3, 8]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ZeroPad (ZeroPad1d, ZeroPad2d, ZeroPad3d): |_pad| PadMode::Constant(0.0);

    /// Pads with a constant.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{ConstantPad1d, Module};
    ///
    /// let x = Var::new(Tensor::from([[[1.0, 2.0]]]));
    /// let y = ConstantPad1d::new((2, 1), 0.5).forward(&x)?;
    /// assert_eq!(y.value().to_vec(), [0.5, 0.5, 1.0, 2.0, 0.5]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ConstantPad (ConstantPad1d, ConstantPad2d, ConstantPad3d) { value }:
    |pad| PadMode::Constant(pad.value);

    /// Pads with the input mirrored at its edges, which are not repeated.
    /// Margins must be shorter than the input.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Module, ReflectionPad1d};
    ///
    /// let x = Var::new(Tensor::from([[[1.0, 2.0, 3.0]]]));
    /// let y = ReflectionPad1d::new((2, 0)).forward(&x)?;
    /// assert_eq!(y.value().to_vec(), [3.0, 2.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ReflectionPad (ReflectionPad1d, ReflectionPad2d, ReflectionPad3d): |_pad| PadMode::Reflect;

    /// Pads with the element at the edge.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Module, ReplicationPad1d};
    ///
    /// let x = Var::new(Tensor::from([[[1.0, 2.0]]]));
    /// assert_eq!(ReplicationPad1d::new((0, 2)).forward(&x)?.value().to_vec(), [1., 2., 2., 2.]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ReplicationPad (ReplicationPad1d, ReplicationPad2d, ReplicationPad3d):
    |_pad| PadMode::Replicate;

    /// Pads with the elements from the other end. Margins are at most as long
    /// as the input.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{CircularPad1d, Module};
    ///
    /// let x = Var::new(Tensor::from([[[1.0, 2.0, 3.0]]]));
    /// assert_eq!(CircularPad1d::new(1).forward(&x)?.value().to_vec(), [3., 1., 2., 3., 1.]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    CircularPad (CircularPad1d, CircularPad2d, CircularPad3d): |_pad| PadMode::Circular;
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::LayerSettings;
    use crate::sequential::Sequential;

    #[test]
    fn a_network_knows_the_padded_shapes() {
        let builder = Sequential::input([2, 4, 5])
            .layer(ReflectionPad2d::new((1, 2, 3, 0)))
            .layer(ReplicationPad2d::new(2))
            .layer(CircularPad2d::new((0, 1, 0, 0)))
            .layer(ZeroPad2d::new(-1))
            .layer(ConstantPad2d::new(1, -2.5));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 11, 13]);
        let y = model.forward(&Var::new(Tensor::ones([3, 2, 4, 5]))).unwrap();
        assert_eq!(*y.shape(), [3, 2, 11, 13]);
        assert_eq!(y.value().to_vec()[0], -2.5);
        assert_eq!(ReflectionPad2d::new((1, 2, 3, 0)).to_string(), "ReflectionPad2d (1, 2, 3, 0)");
        assert_eq!(ConstantPad3d::new(1, 0.5).to_string(), "ConstantPad3d 1, value 0.5");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |layer: LayerSettings| {
            let builder = Sequential::input([2, 4, 5]).layer(layer);
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            message(ReflectionPad2d::new(4).into()),
            "layer 0 (ReflectionPad2d): a padding of [4, 4] for axis 1 of [2, 4, 5] is more than \
             the elements that can fill it"
        );
        assert_eq!(
            message(ZeroPad1d::new(1).into()),
            "layer 0 (ZeroPad1d): expected [C, L], got [2, 4, 5]"
        );
        assert!(message(ZeroPad2d::new(-3).into()).contains("negative or too large"));
        assert!(message(ZeroPad2d::new(isize::MAX).into()).contains("negative or too large"));
        assert!(message(ZeroPad2d::new(1 << 20).into()).contains("has more than"));
        let x = Var::new(Tensor::<f32>::zeros([4, 5]));
        assert_eq!(
            CircularPad2d::new(1).forward(&x).unwrap_err().to_string(),
            "CircularPad2d 1: expected [N, C, H, W], got [4, 5]"
        );
    }
}
