//! Adaptive pooling to a given size, and global pooling.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::ops::lifted;
use dendra_tensor::ops::max_unpool::adaptive_max_pool_with_indices;
use dendra_tensor::{Float, Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, check_sample, output_of};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Defines the two poolings to a given size.
macro_rules! adaptive {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident ($one:ident, $two:ident, $three:ident): $method:ident;
    )*) => {$(
        #[doc = concat!("[`", stringify!($name), "`] over sequences `[N, C, L]`.")]
        pub type $one = $name<1>;

        #[doc = concat!("[`", stringify!($name), "`] over images `[N, C, H, W]`.")]
        pub type $two = $name<2>;

        #[doc = concat!("[`", stringify!($name), "`] over volumes `[N, C, D, H, W]`.")]
        pub type $three = $name<3>;

        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
        #[parameters(skip)]
        #[serde(deny_unknown_fields)]
        pub struct $name<const D: usize> {
            output_size: Sizes<D>,
        }

        impl<const D: usize> $name<D> {
            /// A layer with outputs of this size, a number or one for each
            /// axis.
            pub fn new(output_size: impl Into<Sizes<D>>) -> Self {
                Self { output_size: output_size.into() }
            }
        }

        own_settings!($name<D> { const D: usize }: |this, input| {
            let kind = format!("{}{D}d", stringify!($name));
            let rule = |x: &_| lifted::adaptive_pool_shape(x, this.output_size.0);
            output_of(&kind, input, Sizes([0; D]), rule)
        });

        impl<T: Float, const D: usize> Module<T> for $name<D> {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                lifted::$method(x, self.output_size.0)
                    .map_err(|error| context::in_layer(error, None, self))
            }
        }

        impl<const D: usize> fmt::Display for $name<D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{D}d {}", stringify!($name), self.output_size)
            }
        }
    )*};
}

impl<const D: usize> AdaptiveMaxPool<D> {
    /// Like [`Module::forward`], and also returns the positions of the values:
    /// row-major indices over the axes after the channels (PyTorch's
    /// `return_indices=True`). Among equal values the first counts.
    ///
    /// # Errors
    ///
    /// When the windows do not cover the input.
    pub fn forward_with_indices<T: Float>(&self, x: &Var<T>) -> Result<(Var<T>, Tensor<i64>)> {
        adaptive_max_pool_with_indices(x, self.output_size.0)
            .map_err(|error| context::in_layer(error, None, self))
    }
}

adaptive! {
    /// The mean of each window, with `output_size` windows along each axis. On
    /// an axis of length n, window i of m covers the elements from ⌊i·n / m⌋ up
    /// to ⌈(i + 1)·n / m⌉ − 1.
    ///
    /// | | shape |
    /// |---|---|
    /// | input | `[N, C, L]`, `[N, C, H, W]` or `[N, C, D, H, W]` |
    /// | output | `[N, C, …]` with `output_size` |
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{AdaptiveAvgPool2d, Module};
    ///
    /// let x = Var::new(Tensor::<f32>::arange(16).reshape([1, 1, 4, 4])?);
    /// assert_eq!(AdaptiveAvgPool2d::new(1).forward(&x)?.value().to_vec(), [7.5]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    AdaptiveAvgPool (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d): adaptive_avg_pool;

    /// The largest value of each window. The windows are those of
    /// [`AdaptiveAvgPool`].
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{AdaptiveMaxPool1d, Module};
    ///
    /// let x = Var::new(Tensor::from([[[3.0, 1.0, 4.0, 1.0, 5.0]]]));
    /// assert_eq!(AdaptiveMaxPool1d::new(2).forward(&x)?.value().to_vec(), [4.0, 5.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    AdaptiveMaxPool (AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d): adaptive_max_pool;
}

/// Defines the two global poolings.
macro_rules! global {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident ($one:ident, $two:ident, $three:ident): $method:ident;
    )*) => {$(
        #[doc = concat!("[`", stringify!($name), "`] over sequences `[N, C, L]`.")]
        pub type $one = $name<1>;

        #[doc = concat!("[`", stringify!($name), "`] over images `[N, C, H, W]`.")]
        pub type $two = $name<2>;

        #[doc = concat!("[`", stringify!($name), "`] over volumes `[N, C, D, H, W]`.")]
        pub type $three = $name<3>;

        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize,
        )]
        pub struct $name<const D: usize> {}

        impl<const D: usize> $name<D> {
            /// Makes the layer.
            pub fn new() -> Self {
                Self {}
            }
        }

        own_settings!($name<D> { const D: usize }: |_this, input| {
            check_sample::<D>(&format!("{}{D}d", stringify!($name)), input)?;
            Ok(input[..1].into())
        });

        impl<T: Float, const D: usize> Module<T> for $name<D> {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                let axes: Vec<isize> = (0..D as isize).map(|axis| axis - D as isize).collect();
                let sample = x.shape().get(1..).unwrap_or_default();
                check_sample::<D>("global pooling", &sample.into())
                    .and_then(|()| x.$method(&axes, false))
                    .map_err(|error| context::in_layer(error, None, self))
            }
        }

        impl<const D: usize> fmt::Display for $name<D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{D}d", stringify!($name))
            }
        }
    )*};
}

global! {
    /// The mean of each channel, like Keras's layer: `[N, C, L]`,
    /// `[N, C, H, W]` or `[N, C, D, H, W]` becomes `[N, C]`. In PyTorch this is
    /// [`AdaptiveAvgPool`] to size 1, which keeps the axes, followed by
    /// [`Flatten`](super::Flatten).
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{GlobalAvgPool2d, Module};
    ///
    /// let x = Var::new(Tensor::<f32>::arange(8).reshape([1, 2, 2, 2])?);
    /// assert_eq!(GlobalAvgPool2d::new().forward(&x)?.value().to_vec(), [1.5, 5.5]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    GlobalAvgPool (GlobalAvgPool1d, GlobalAvgPool2d, GlobalAvgPool3d): mean_axes;

    /// The largest value of each channel: `[N, C, L]`, `[N, C, H, W]` or `[N, C,
    /// D, H, W]` becomes `[N, C]`. Equal maxima share the gradient.
    GlobalMaxPool (GlobalMaxPool1d, GlobalMaxPool2d, GlobalMaxPool3d): max_axes;
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Shape, Tensor};

    use super::*;
    use crate::sequential::{Sequential, SequentialBuilder};

    #[test]
    fn sequential_infers_what_the_layers_give() {
        let shapes = |builder: SequentialBuilder| {
            let model = builder.build(&mut Rng::seed(0)).unwrap();
            let batch: Shape = [2].into_iter().chain(model.input_shape().iter().copied()).collect();
            let y = model.forward(&Var::new(Tensor::ones(batch))).unwrap();
            assert_eq!(y.shape()[1..], model.output_shape()[..]);
            model.output_shape().to_vec()
        };
        let (sequence, image) = (|| Sequential::input([3, 9]), || Sequential::input([3, 9, 7]));
        assert_eq!(shapes(sequence().adaptive_avg_pool1d(4)), [3, 4]);
        assert_eq!(shapes(sequence().layer(AdaptiveMaxPool1d::new(2))), [3, 2]);
        assert_eq!(shapes(image().adaptive_avg_pool2d((2, 3))), [3, 2, 3]);
        assert_eq!(shapes(image().layer(AdaptiveMaxPool2d::new(5))), [3, 5, 5]);
        let volume = || Sequential::input([3, 9, 7, 4]);
        assert_eq!(shapes(volume().layer(AdaptiveAvgPool3d::new((2, 3, 1)))), [3, 2, 3, 1]);
        assert_eq!(shapes(volume().layer(AdaptiveMaxPool3d::new(5))), [3, 5, 5, 5]);
        assert_eq!(shapes(volume().layer(GlobalAvgPool3d::new())), [3]);
        assert_eq!(shapes(volume().layer(GlobalMaxPool3d::new())), [3]);
        assert_eq!(shapes(sequence().global_avg_pool1d()), [3]);
        assert_eq!(shapes(sequence().global_max_pool1d()), [3]);
        assert_eq!(shapes(image().global_avg_pool2d()), [3]);
        assert_eq!(shapes(image().global_max_pool2d()), [3]);
    }

    #[test]
    fn mistakes_are_told() {
        let build =
            |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        let flat = build(Sequential::input([9]).global_avg_pool2d());
        assert_eq!(flat, "layer 0 (GlobalAvgPool2d): expected [C, H, W], got [9]");
        let none = build(Sequential::input([3, 9, 7]).adaptive_avg_pool2d(0));
        assert!(none.contains("(AdaptiveAvgPool2d): the output size must be at least 1"), "{none}");
        let x = Var::new(Tensor::<f32>::ones([2, 3, 4]));
        let error = GlobalMaxPool2d::new().forward(&x).unwrap_err().to_string();
        assert_eq!(error, "GlobalMaxPool2d: expected [C, H, W], got [3, 4]");
        let x = Var::new(Tensor::<f32>::ones([3, 4]));
        let error = AdaptiveMaxPool2d::new((1, 2)).forward(&x).unwrap_err().to_string();
        assert!(error.starts_with("AdaptiveMaxPool2d 1×2: expected an input with 2"), "{error}");
    }
}
