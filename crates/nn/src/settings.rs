//! What a layer's settings say, and the macros by which a layer's file says it.

use std::fmt;

use dendra_tensor::{Error, Float, Result, Shape};

use crate::init::Source;
use crate::module::Module;

/// The values that one sample may have between two layers: beyond this, the
/// settings are wrong.
pub(crate) const MAX_SAMPLE: usize = 1 << 31;

/// The settings of a layer: what a network is planned with, and what a file
/// holds. A layer without state is its own settings.
pub(crate) trait Settings {
    /// The layer.
    type Layer<T: Float>: Module<T> + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Fills in what the input decides and gives the shape of the output. Both
    /// shapes are without the batch axis.
    ///
    /// # Errors
    ///
    /// When the layer does not take this input, or a setting is wrong.
    fn infer(&mut self, input: &Shape) -> Result<Shape>;

    /// The layer, with new parameters.
    ///
    /// # Errors
    ///
    /// When a setting is wrong or still open.
    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Self::Layer<T>>;
}

/// What a layer says whose input size nobody has found out.
pub(crate) fn open_input(kind: &str, setting: &str) -> Error {
    Error::argument(
        kind,
        format!("{setting} is open: only Sequential finds it out; give it to {kind}::new"),
    )
}

/// Gives settings the methods that make the layer.
macro_rules! initialised_by {
    ($settings:ty => $single:ty, any T: $layer:ty $(; $($generics:tt)*)?) => {
        impl<$($($generics)*)?> $settings {
            /// The layer, its parameters drawn from `rng`.
            ///
            /// # Errors
            ///
            /// When a setting is wrong or still open.
            pub fn init(&self, rng: &mut dendra_tensor::Rng) -> dendra_tensor::Result<$single> {
                self.init_as(rng)
            }

            /// As [`init`](Self::init), for any number type.
            ///
            /// # Errors
            ///
            /// When a setting is wrong or still open.
            pub fn init_as<T: dendra_tensor::Float>(
                &self,
                rng: &mut dendra_tensor::Rng,
            ) -> dendra_tensor::Result<$layer> {
                crate::settings::Settings::build(self, &mut crate::init::Source::Random(rng))
            }
        }
    };
}
pub(crate) use initialised_by;

/// A layer without state is its own settings.
macro_rules! own_settings {
    ($layer:ty $({ $($generics:tt)* })?: |$this:ident, $input:ident| $output:expr) => {
        impl$(<$($generics)*>)? crate::settings::Settings for $layer {
            type Layer<T: dendra_tensor::Float> = Self;

            fn infer(
                &mut self,
                $input: &dendra_tensor::Shape,
            ) -> dendra_tensor::Result<dendra_tensor::Shape> {
                let $this = &*self;
                $output
            }

            fn build<T: dendra_tensor::Float>(
                &self,
                _: &mut crate::init::Source<'_>,
            ) -> dendra_tensor::Result<Self> {
                Ok(self.clone())
            }
        }
    };
}
pub(crate) use own_settings;
