//! From what a person has (a row of a table, a picture's file, a text) to what
//! a network takes.

use dendra_tensor::{Result, Shape};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What makes a network's inputs of raw data, with all that it has learnt from
/// the training data.
///
/// It is written with the network into one file, so that another program
/// predicts without the training data: see `Predictor` of `dendra-train`.
/// Which raw data it takes [`Prepare`] says. Kinds of one's own are as good as
/// those here:
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
    /// What the network takes: a batch of inputs.
    type Input;

    /// What files call it.
    const KIND: &'static str;

    /// The shape of one input, without the batch axis.
    fn input_shape(&self) -> Shape;

    /// Refuses settings that make no sense, which a file may hold.
    ///
    /// # Errors
    ///
    /// When they make none.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A [`Preprocessing`] of raw data of type `R`: a batch of it, or one sample.
#[diagnostic::on_unimplemented(
    message = "`{Self}` prepares no raw data of type `{R}`",
    note = "an `Encoder` takes a `Table`, an `ImageEncoder` the path of a file or several, a \
            `TextEncoder` a text or several"
)]
pub trait Prepare<R: ?Sized>: Preprocessing {
    /// The inputs, whose first axis runs over the samples.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not like the training data.
    fn prepare(&self, raw: &R) -> Result<Self::Input>;
}
