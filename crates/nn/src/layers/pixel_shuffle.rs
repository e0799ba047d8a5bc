//! Pixel shuffle, its inverse, and channel shuffle.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::image::check_sample;
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Defines both directions: the shape of an image `[C, H, W]`, and the
/// operation.
macro_rules! shuffles {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident, $method:ident:
        |$factor:ident, $channels:ident, $height:ident, $width:ident| $output:expr;
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
        #[parameters(skip)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            factor: usize,
        }

        impl $name {
            /// Makes a layer for squares of `factor` × `factor` pixels.
            pub fn new(factor: usize) -> Self {
                Self { factor }
            }
        }

        own_settings!($name: |this, input| {
            check_sample::<2>(stringify!($name), input)?;
            let ($factor, $channels, $height, $width) =
                (this.factor, input[0], input[1], input[2]);
            let output: Option<[usize; 3]> = $output;
            output.map(Shape::from).ok_or_else(|| {
                let message = format!("{input} does not divide by {}", this.factor);
                Error::argument(stringify!($name), message)
            })
        });

        impl<T: Float> Module<T> for $name {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                x.$method(self.factor).map_err(|error| context::in_layer(error, None, self))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", stringify!($name), self.factor)
            }
        }
    )*};
}

shuffles! {
    /// Enlarges images by spreading channels over squares of r × r pixels:
    /// `[N, C·r², H, W]` becomes `[N, C, H·r, W·r]` (Shi et al., "Real-time
    /// single image and video super-resolution using an efficient sub-pixel
    /// convolutional neural network", 2016).
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Module, PixelShuffle};
    ///
    /// let x = Var::new(Tensor::<f32>::arange(4).reshape([1, 4, 1, 1])?);
    /// let y = PixelShuffle::new(2).forward(&x)?;
    /// assert_eq!(*y.shape(), [1, 1, 2, 2]);
    /// assert_eq!(y.value().to_vec(), [0.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    PixelShuffle, pixel_shuffle: |factor, channels, height, width| {
        let square = factor.checked_mul(factor).filter(|&n| n > 0 && channels.is_multiple_of(n));
        square.and_then(|square| {
            Some([channels / square, height.checked_mul(factor)?, width.checked_mul(factor)?])
        })
    };

    /// The inverse of [`PixelShuffle`]: `[N, C, H·r, W·r]` becomes
    /// `[N, C·r², H, W]`.
    PixelUnshuffle, pixel_unshuffle: |factor, channels, height, width| {
        let divides = |size: usize| factor > 0 && size.is_multiple_of(factor);
        let parts = factor.checked_mul(factor).and_then(|square| channels.checked_mul(square));
        parts
            .filter(|_| divides(height) && divides(width))
            .map(|parts| [parts, height / factor, width / factor])
    };
}

/// Interleaves the channels of `[N, C, …]`, so that each of `groups` groups of
/// neighbouring channels in the output contains channels of all groups of the
/// input. A grouped convolution then reads channels of all groups (Zhang et
/// al., "ShuffleNet: an extremely efficient convolutional neural network for
/// mobile devices", 2018). There is at least one axis after the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct ChannelShuffle {
    groups: usize,
}

impl ChannelShuffle {
    /// Makes a layer for this many groups.
    pub fn new(groups: usize) -> Self {
        Self { groups }
    }
}

own_settings!(ChannelShuffle: |this, input| {
    let divides = |channels: usize| this.groups > 0 && channels.is_multiple_of(this.groups);
    match input.first() {
        Some(&channels) if input.len() > 1 && divides(channels) => Ok(input.clone()),
        _ => {
            let groups = this.groups;
            let message = format!("the channels of {input} do not divide into {groups} groups");
            Err(Error::argument("ChannelShuffle", message))
        }
    }
});

impl<T: Float> Module<T> for ChannelShuffle {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        x.channel_shuffle(self.groups).map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for ChannelShuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelShuffle in {}", self.groups)
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::{Sequential, SequentialBuilder};

    #[test]
    fn one_undoes_the_other() {
        let builder = Sequential::input([8, 3, 5]).pixel_shuffle(2);
        let model = builder.clone().build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 6, 10]);
        let model = builder.pixel_unshuffle(2).build(&mut Rng::seed(0)).unwrap();
        let x = Tensor::normal([2, 8, 3, 5], 0.0, 1.0, &mut Rng::seed(1));
        assert_eq!(model.forward(&Var::new(x.clone())).unwrap().value(), &x);
    }

    #[test]
    fn channels_are_shuffled_within_a_network() {
        let builder = Sequential::input([6, 2]).layer(ChannelShuffle::new(2));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        let x = Tensor::<f32>::arange(12).reshape([1, 6, 2]).unwrap();
        let y = model.forward(&Var::new(x.clone())).unwrap();
        assert_eq!(y.value(), &x.channel_shuffle(2).unwrap());
        let wrong = Sequential::input([6, 2]).layer(ChannelShuffle::new(4));
        assert_eq!(
            wrong.build(&mut Rng::seed(0)).unwrap_err().to_string(),
            "layer 0 (ChannelShuffle): the channels of [6, 2] do not divide into 4 groups"
        );
    }

    #[test]
    fn what_does_not_divide_is_refused() {
        let build =
            |builder: SequentialBuilder| builder.build(&mut Rng::seed(0)).unwrap_err().to_string();
        let input = || Sequential::input([6, 3, 5]);
        let message = build(input().pixel_shuffle(2));
        assert_eq!(message, "layer 0 (PixelShuffle): [6, 3, 5] does not divide by 2");
        build(input().pixel_shuffle(0));
        build(input().pixel_unshuffle(0));
        build(input().pixel_unshuffle(3));
        build(input().pixel_shuffle(usize::MAX));
    }
}
