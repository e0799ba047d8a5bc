//! From raw data (rows of a table, image files, texts) to the inputs of a
//! network.

use dendra_tensor::{Result, Shape};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Converts raw data to the inputs of a network, and contains what was fitted
/// to the training data.
///
/// It is saved in the same file as the network, so that another program can
/// predict without the training data: see `Predictor` of `dendra-train`.
/// [`Prepare`] defines which raw data it takes. Implement both for raw data of
/// your own:
///
/// ```
/// use dendra_datasets::{Prepare, Preprocessing};
/// use dendra_tensor::{Result, Shape, Tensor};
/// use serde::{Deserialize, Serialize};
///
/// /// Temperatures in degrees Celsius, one input each.
/// #[derive(Serialize, Deserialize)]
/// struct Celsius {
///     mean: f32,
/// }
///
/// impl Preprocessing for Celsius {
///     type Input = Tensor;
///     const KIND: &'static str = "celsius";
///
///     fn input_shape(&self) -> Shape {
///         Shape::from([1])
///     }
/// }
///
/// impl Prepare<[f32]> for Celsius {
///     fn prepare(&self, raw: &[f32]) -> Result<Tensor> {
///         Tensor::from_vec(raw.iter().map(|x| x - self.mean).collect(), [raw.len(), 1])
///     }
/// }
/// # assert_eq!(Celsius { mean: 5.0 }.prepare(&[6.0][..])?.to_vec(), [1.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub trait Preprocessing: Serialize + DeserializeOwned {
    /// A batch of inputs of the network.
    type Input;

    /// The name in files.
    const KIND: &'static str;

    /// The shape of one input, without the batch axis.
    fn input_shape(&self) -> Shape;

    /// Checks settings that were read from a file.
    ///
    /// # Errors
    ///
    /// When the settings are invalid.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A [`Preprocessing`] of raw data of type `R`: a batch of it, or one sample.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot prepare raw data of type `{R}`",
    note = "an `Encoder` takes a `Table`, an `ImageEncoder` the path of a file or several, a \
            `TextEncoder` a text or several"
)]
pub trait Prepare<R: ?Sized>: Preprocessing {
    /// The inputs, whose first axis runs over the samples.
    ///
    /// # Errors
    ///
    /// When the data cannot be read, or does not match the training data.
    fn prepare(&self, raw: &R) -> Result<Self::Input>;
}
