//! The settings of layers, and the macros that implement them.

use std::fmt;

use dendra_tensor::{Error, Float, Result, Shape};

use crate::init::Source;
use crate::module::Module;

/// The largest number of values of one sample between two layers. More means
/// that a setting is wrong.
pub(crate) const MAX_SAMPLE: usize = 1 << 31;

/// The settings of a layer, from which a network is planned and which a file
/// holds. A layer without parameters is its own settings.
pub(crate) trait Settings {
    /// The layer.
    type Layer<T: Float>: Module<T> + Clone + fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Fills in the sizes that depend on the input and returns the shape of the
    /// output. Both shapes are without the batch axis.
    ///
    /// # Errors
    ///
    /// When the layer does not take this input, or a setting is wrong.
    fn infer(&mut self, input: &Shape) -> Result<Shape>;

    /// The layer, with new parameters.
    ///
    /// # Errors
    ///
    /// When a setting is invalid, or a size is not known.
    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Self::Layer<T>>;
}

/// The error of a layer whose input size is not known.
pub(crate) fn open_input(kind: &str, setting: &str) -> Error {
    Error::argument(
        kind,
        format!("{setting} is open: only Sequential infers it; pass it to {kind}::new"),
    )
}

/// Writes the methods of settings that make the layer.
macro_rules! initialised_by {
    ($settings:ty => $single:ty, any T: $layer:ty $(; $($generics:tt)*)?) => {
        impl<$($($generics)*)?> $settings {
            /// The layer, its parameters drawn from `rng`.
            ///
            /// # Errors
            ///
            /// When a setting is invalid, or a size is not known.
            pub fn init(&self, rng: &mut dendra_tensor::Rng) -> dendra_tensor::Result<$single> {
                self.init_as(rng)
            }

            /// Like [`init`](Self::init), for any float type.
            ///
            /// # Errors
            ///
            /// When a setting is invalid, or a size is not known.
            pub fn init_as<T: dendra_tensor::Float>(
                &self,
                rng: &mut dendra_tensor::Rng,
            ) -> dendra_tensor::Result<$layer> {
                crate::settings::Settings::build(self, &mut crate::init::Source::Random(rng))
            }

            /// Like [`init`](Self::init), its parameters from any
            /// [`Source`](crate::Source).
            ///
            /// # Errors
            ///
            /// When a setting is invalid, or a size is not known.
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
