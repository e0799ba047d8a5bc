//! [`ImageEncoder`]: pictures as numbers, all of the same size.

use std::path::Path;

use dendra_tensor::{Error, Result, Rng, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::image_file::{MOST_PIXELS, decode_image, decoded};
use crate::images::Normalization;
use crate::preprocessing::{Prepare, Preprocessing};
use crate::transforms::{CenterCrop, Image, Transform, resize};

/// Decodes images, resizes them to one size and normalises them. In training it
/// is a [`Transform`] of the images of an [`ImageFolder`](crate::ImageFolder),
/// whose `encoder` makes it; for prediction it takes the paths of files.
///
/// ```no_run
/// use dendra_datasets::{ImageFolder, Normalization, TransformDataset};
///
/// let pets = ImageFolder::open("pets")?.size(64, 64);
/// let encoder = pets.encoder(Normalization::Scale)?;
/// let pets = TransformDataset::new(pets, encoder.clone())?;
/// let inputs = encoder.inputs(&["garden.jpg"])?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEncoder {
    size: [usize; 2],
    grey: bool,
    normalization: Normalization,
}

impl ImageEncoder {
    /// An encoder to this height and width, with one grey channel or three
    /// colour channels.
    ///
    /// # Errors
    ///
    /// When a side is 0 or above 16,384, or the normalisation is for another
    /// number of channels.
    pub fn new(size: [usize; 2], grey: bool, normalization: Normalization) -> Result<Self> {
        let encoder = Self { size, grey, normalization };
        encoder.check()?;
        Ok(encoder)
    }

    /// Reads PNG or JPEG files as inputs of shape `[files, channels, height,
    /// width]`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or is not a PNG or JPEG image.
    pub fn inputs<X: AsRef<Path>>(&self, files: &[X]) -> Result<Tensor> {
        self.stacked(files.iter().map(|file| decoded(file.as_ref(), self.grey)))
    }

    /// Like [`inputs`](Self::inputs), for the contents of the files.
    ///
    /// # Errors
    ///
    /// The errors of [`decode_image`], with the index of the file.
    pub fn decode<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<Tensor> {
        let decoded = |(index, file): (usize, &X)| {
            decode_image(file.as_ref(), self.grey)
                .map_err(|error| error.within(format!("picture {index}")))
        };
        self.stacked(files.iter().enumerate().map(decoded))
    }

    fn stacked(
        &self,
        pictures: impl ExactSizeIterator<Item = Result<Image<u8>>>,
    ) -> Result<Tensor> {
        let count = pictures.len();
        let mut inputs = Vec::new();
        for picture in pictures {
            inputs.extend(self.apply(picture?, &mut Rng::seed(0)).into_pixels());
        }
        let shape: Shape = [count].into_iter().chain(self.input_shape().iter().copied()).collect();
        Tensor::from_vec(inputs, shape)
    }

    fn channels(&self) -> usize {
        if self.grey { 1 } else { 3 }
    }
}

/// The image scaled to cover this size, and cropped at its centre.
pub(crate) fn fitted(picture: Image<u8>, size: [usize; 2]) -> Image<u8> {
    let [_, height, width] = picture.shape();
    if [height, width] == size {
        return picture;
    }
    let scale = (size[0] as f64 / height as f64).max(size[1] as f64 / width as f64);
    let scaled = [(height, size[0]), (width, size[1])]
        .map(|(length, wanted)| ((length as f64 * scale).round() as usize).max(wanted));
    CenterCrop::new(0).size(size[0], size[1]).apply(resize(picture, scaled), &mut Rng::seed(0))
}

impl Transform<u8> for ImageEncoder {
    type Output = f32;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let [channels, height, width] = shape;
        if channels != self.channels() || height * width == 0 {
            let message =
                format!("expected pictures of {} channels, got shape {shape:?}", self.channels());
            return Err(Error::shape("ImageEncoder", message));
        }
        Ok([channels, self.size[0], self.size[1]])
    }

    fn apply(&self, image: Image<u8>, _: &mut Rng) -> Image<f32> {
        let image = fitted(image, self.size);
        let [_, height, width] = image.shape();
        Image::build(image.shape(), |out| {
            let planes = image.planes().zip(out.chunks_exact_mut((height * width).max(1)));
            for (channel, (plane, out)) in planes.enumerate() {
                self.normalization.apply(channel, plane, out);
            }
        })
    }
}

impl Preprocessing for ImageEncoder {
    type Input = Tensor;

    const KIND: &'static str = "image";

    fn input_shape(&self) -> Shape {
        Shape::from([self.channels(), self.size[0], self.size[1]])
    }

    fn check(&self) -> Result<()> {
        let sides = 1..=MOST_PIXELS as usize;
        if !self.size.iter().all(|side| sides.contains(side)) {
            let message =
                format!("expected sides of 1 to {MOST_PIXELS} pixels, got {:?}", self.size);
            return Err(Error::argument("ImageEncoder", message));
        }
        self.normalization.check(self.channels())
    }
}

impl Prepare<Path> for ImageEncoder {
    fn prepare(&self, file: &Path) -> Result<Tensor> {
        self.inputs(&[file])
    }
}

impl Prepare<str> for ImageEncoder {
    fn prepare(&self, file: &str) -> Result<Tensor> {
        self.inputs(&[file])
    }
}

impl<X: AsRef<Path>> Prepare<[X]> for ImageEncoder {
    fn prepare(&self, files: &[X]) -> Result<Tensor> {
        self.inputs(files)
    }
}

impl<X: AsRef<Path>> Prepare<Vec<X>> for ImageEncoder {
    fn prepare(&self, files: &Vec<X>) -> Result<Tensor> {
        self.inputs(files)
    }
}

impl<X: AsRef<Path>, const N: usize> Prepare<[X; N]> for ImageEncoder {
    fn prepare(&self, files: &[X; N]) -> Result<Tensor> {
        self.inputs(files)
    }
}
