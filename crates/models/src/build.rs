//! Building networks from settings.

use dendra_nn::{Distribution, FanMode, Init, Nonlinearity};
use dendra_tensor::{Error, Result};

/// Defines the two ways to make a network from settings. The settings have a
/// method `assemble` that takes a [`Source`](dendra_nn::Source).
macro_rules! builds {
    ($settings:ty => $model:ty) => {
        impl $settings {
            /// Makes the network with parameters drawn from `rng` as in the original.
            ///
            /// # Errors
            ///
            /// When a setting is invalid.
            pub fn build(&self, rng: &mut dendra_tensor::Rng) -> dendra_tensor::Result<$model> {
                self.build_from(&mut dendra_nn::Source::Random(rng))
            }

            /// Makes the network without values, to be loaded from a file. Its
            /// parameters take no memory until then.
            ///
            /// # Errors
            ///
            /// When a setting is invalid.
            pub fn blank(&self) -> dendra_tensor::Result<$model> {
                self.build_from(&mut dendra_nn::Source::Blank)
            }

            fn build_from(
                &self,
                source: &mut dendra_nn::Source<'_>,
            ) -> dendra_tensor::Result<$model> {
                let mut model = self.assemble(source)?;
                dendra_autograd::Parameters::<f32>::name_parameters(&mut model);
                Ok(model)
            }
        }
    };
}
pub(crate) use builds;

/// The largest value of a setting that is a count of channels, tokens and so
/// on. A larger value is an error; products of a few such sizes do not
/// overflow.
const MAX_SIZE: usize = 1 << 24;

/// Returns an error for counts that are 0 or too large.
pub(crate) fn check_sizes(kind: &str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
        None => Ok(()),
        Some((name, size)) => {
            let message = format!("{name} must be in 1 ..= {MAX_SIZE}, got {size}");
            Err(Error::argument(kind, message))
        }
    }
}

/// The largest number of blocks. Each takes memory even without weights.
const MAX_LAYERS: usize = 1 << 10;

/// Returns an error for numbers of blocks that are 0 or too large.
pub(crate) fn check_layers(kind: &str, name: &str, layers: usize) -> Result<()> {
    match layers <= MAX_LAYERS {
        true => Ok(()),
        false => {
            let message = format!("{name} must be in 1 ..= {MAX_LAYERS}, got {layers}");
            Err(Error::argument(kind, message))
        }
    }
}

/// He's normal initialisation by `fan_out`, for convolutions before ReLU.
pub(crate) fn he_fan_out() -> Init {
    Init::kaiming(Nonlinearity::ReLU, FanMode::FanOut, Distribution::Normal)
}

/// N(0, std²).
pub(crate) fn normal(std: f64) -> Init {
    Init::Normal { mean: 0.0, std }
}

/// N(0, std²) truncated at ±2, PyTorch's `trunc_normal_`.
pub(crate) fn truncated_normal(std: f64) -> Init {
    Init::TruncatedNormal { mean: 0.0, std, low: -2.0, high: 2.0 }
}

/// The nearest multiple of `divisor`, or the next larger one if that is more
/// than a tenth below `value`; torchvision's `_make_divisible`.
pub(crate) fn make_divisible(value: f64, divisor: usize) -> usize {
    let rounded = ((value + divisor as f64 / 2.0) as usize / divisor * divisor).max(divisor);
    if (rounded as f64) < 0.9 * value { rounded.saturating_add(divisor) } else { rounded }
}
