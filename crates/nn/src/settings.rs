//! The settings of layers, and the macros that implement them.

use std::fmt;

use dendra_tensor::{Error, Float, Result, Shape};

use crate::init::Source;
use crate::module::Module;

/// The maximum number of values in one sample between two layers. A larger
/// number means that a setting is wrong.
pub(crate) const MAX_SAMPLE: usize = 1 << 31;

/// The settings of a layer. A network is planned from them, and a file stores
/// them. A layer without parameters is its own settings.
pub(crate) trait Settings {
    /// The type of the layer.
    type Layer<T: Float>: Module<T> + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Fills in the sizes that depend on the input and returns the shape of the
    /// output. Both shapes are without the batch axis.
    ///
    /// # Errors
    ///
    /// Returns an error if the layer does not accept this input, or a setting is
    /// invalid.
    fn infer(&mut self, input: &Shape) -> Result<Shape>;

    /// Creates the layer with new parameters.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or a size is not known.
    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Self::Layer<T>>;
}

/// Returns the error of a layer whose input size is not known.
pub(crate) fn open_input(kind: &str, setting: &str) -> Error {
    Error::argument(
        kind,
        format!("{setting} is not set: only Sequential infers it; pass it to {kind}::new"),
    )
}

/// Implements the methods of settings that create the layer.
macro_rules! initialised_by {
    ($settings:ty => $single:ty, any T: $layer:ty $(; $($generics:tt)*)?) => {
        impl<$($($generics)*)?> $settings {
            /// Creates the layer and draws its parameters from `rng`.
            ///
            /// # Errors
            ///
            /// Returns an error if a setting is invalid or a size is not known.
            pub fn init(&self, rng: &mut dendra_tensor::Rng) -> dendra_tensor::Result<$single> {
                self.init_as(rng)
            }

            /// Like [`init`](Self::init), for any float type.
            ///
            /// # Errors
            ///
            /// Returns an error if a setting is invalid or a size is not known.
            pub fn init_as<T: dendra_tensor::Float>(
                &self,
                rng: &mut dendra_tensor::Rng,
            ) -> dendra_tensor::Result<$layer> {
                crate::settings::Settings::build(self, &mut crate::init::Source::Random(rng))
            }

            /// Like [`init`](Self::init), with parameters from any
            /// [`Source`](crate::Source).
            ///
            /// # Errors
            ///
            /// Returns an error if a setting is invalid or a size is not known.
            pub fn init_from(
                &self,
                source: &mut crate::init::Source<'_>,
            ) -> dendra_tensor::Result<$single> {
                crate::settings::Settings::build(self, source)
            }
        }
    };
}
pub(crate) use initialised_by;

/// Implements [`Settings`] for a layer without state, which is its own settings.
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
