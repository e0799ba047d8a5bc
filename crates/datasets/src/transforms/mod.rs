//! Transforms of images: preprocessing, and random changes (augmentation).
//!
//! A [`Transform`] converts an [`Image`] of bytes or floats to another. A tuple
//! of transforms applies them in order, and a [`TransformDataset`] applies one
//! to the samples of a data set. The random changes depend only on seed, epoch
//! and index; see [`Draw`](crate::Draw).
//!
//! ```
//! use dendra_datasets::transforms::{Normalize, RandomCrop, RandomHorizontalFlip, ToFloat};
//! use dendra_datasets::{DataLoader, Dataset, TransformDataset, digits};
//!
//! let augment = (
//!     RandomCrop::new(28).padding(2),
//!     RandomHorizontalFlip::new(0.5),
//!     ToFloat,
//!     Normalize::new([0.1307], [0.3081])?,
//! );
//! let data = TransformDataset::new(digits(100, 7).to_bytes(), augment)?;
//! for batch in DataLoader::new(&data).batch_size(10).shuffle(42).epoch(0) {
//!     assert_eq!(batch?.0.shape(), &[10, 1, 28, 28]);
//! }
//! # Ok::<(), dendra_tensor::Error>(())
//! ```
//!
//! Names and defaults are those of torchvision. The transforms of colours and
//! noise expect values in [0, 1] for float images.

mod blur;
mod colour;
mod crop;
mod dataset;
mod image;
mod mix;
mod noise;
mod resize;
mod warp;

use dendra_tensor::{Error, Result, Rng};

pub use colour::{ColorJitter, Grayscale, Normalize, ToFloat};
pub use crop::{Border, CenterCrop, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip};
pub use dataset::TransformDataset;
pub use image::{Image, Pixel};
pub use mix::{CutMix, LabelSmoothing, MixUp};
pub use noise::{GaussianNoise, RandomErasing};
#[cfg(feature = "images")]
pub(crate) use resize::resize;
pub use resize::{RandomResizedCrop, Resize};
pub use warp::{Affine, ElasticTransform, RandomAffine, RandomRotation};

/// A change of an image, which may be random.
///
/// A transform of your own, here for images of any pixel type:
///
/// ```
/// use dendra_datasets::transforms::{Image, Pixel, Transform};
/// use dendra_tensor::{Result, Rng};
///
/// /// Inverts the brightness.
/// struct Invert;
///
/// impl<P: Pixel> Transform<P> for Invert {
///     type Output = P;
///
///     fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
///         Ok(shape)
///     }
///
///     fn apply(&self, mut image: Image<P>, _: &mut Rng) -> Image<P> {
///         image.pixels_mut().iter_mut().for_each(|x| *x = P::from_f32(P::BOUND - x.to_f32()));
///         image
///     }
/// }
///
/// let image = Image::new([1, 1, 2], vec![0u8, 200])?;
/// assert_eq!(Invert.apply(image, &mut Rng::seed(0)).pixels(), [255, 55]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub trait Transform<P: Pixel>: Send + Sync {
    /// The pixels of the changed image.
    type Output: Pixel;

    /// The number of channels, the height and the width of the result for
    /// images of this shape.
    ///
    /// # Errors
    ///
    /// When such an image cannot be changed.
    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]>;

    /// The changed image, of the shape from
    /// [`output_shape`](Transform::output_shape). All random numbers come from
    /// `rng`.
    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<Self::Output>;
}

/// A sequence of transforms.
macro_rules! in_order {
    ($first:ident $last:ident; $($name:ident after $before:ident),*) => {
        impl<P: Pixel, $first, $($name),*> Transform<P> for ($first, $($name),*)
        where
            $first: Transform<P>,
            $($name: Transform<$before::Output>,)*
        {
            type Output = $last::Output;

            #[allow(non_snake_case, reason = "the types' names serve for the values")]
            fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
                let ($first, $($name),*) = self;
                let shape = $first.output_shape(shape)?;
                $(let shape = $name.output_shape(shape)?;)*
                Ok(shape)
            }

            #[allow(non_snake_case, reason = "the types' names serve for the values")]
            fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<Self::Output> {
                let ($first, $($name),*) = self;
                let image = $first.apply(image, rng);
                $(let image = $name.apply(image, rng);)*
                image
            }
        }
    };
}
in_order!(A B; B after A);
in_order!(A C; B after A, C after B);
in_order!(A D; B after A, C after B, D after C);
in_order!(A E; B after A, C after B, D after C, E after D);
in_order!(A F; B after A, C after B, D after C, E after D, F after E);
in_order!(A G; B after A, C after B, D after C, E after D, F after E, G after F);
in_order!(A H; B after A, C after B, D after C, E after D, F after E, G after F, H after G);

/// No change.
impl<P: Pixel> Transform<P> for () {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        Ok(shape)
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<P> {
        image
    }
}

/// A sequence of transforms that is chosen at run time.
impl<P: Pixel> Transform<P> for Vec<Box<dyn Transform<P, Output = P>>> {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        self.iter().try_fold(shape, |shape, transform| transform.output_shape(shape))
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        self.iter().fold(image, |image, transform| transform.apply(image, rng))
    }
}

/// Another transform, applied to a random part of the images.
#[derive(Clone, Debug)]
pub struct RandomApply<T> {
    transform: T,
    probability: f64,
}

impl<T> RandomApply<T> {
    /// Applies `transform`, which must not change the shape, with this
    /// probability.
    pub fn new(transform: T, probability: f64) -> Self {
        Self { transform, probability }
    }
}

impl<P: Pixel, T: Transform<P, Output = P>> Transform<P> for RandomApply<T> {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        check_probability("RandomApply", self.probability)?;
        let changed = self.transform.output_shape(shape)?;
        if changed != shape {
            let message = format!(
                "expected a transform that keeps the shape {shape:?}, got one to {changed:?}"
            );
            return Err(Error::argument("RandomApply", message));
        }
        Ok(shape)
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        if rng.uniform() < self.probability { self.transform.apply(image, rng) } else { image }
    }
}

fn check_probability(context: &str, probability: f64) -> Result<()> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    let message = format!("the probability must be between 0 and 1, got {probability}");
    Err(Error::argument(context, message))
}

/// Checks that a range is finite, in order and within bounds.
fn check_range(
    context: &str,
    name: &str,
    (low, high): (f64, f64),
    bounds: std::ops::RangeInclusive<f64>,
) -> Result<()> {
    if low.is_finite()
        && high.is_finite()
        && low <= high
        && bounds.contains(&low)
        && bounds.contains(&high)
    {
        return Ok(());
    }
    let message = format!(
        "`{name}` must be a range within {} to {}, got {low} to {high}",
        bounds.start(),
        bounds.end()
    );
    Err(Error::argument(context, message))
}

/// A random number, uniformly distributed in a range.
fn between(rng: &mut Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * rng.uniform()
}
