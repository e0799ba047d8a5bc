//! [`ImageDataset`]: images as bytes, with class labels, converted to numbers
//! batch by batch.

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd;
use dendra_tensor::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::dataset::{Batch, Dataset, check_indices, check_labels};
use crate::tensors::TensorDataset;

/// The relative cost of a byte, for splitting work among threads. It is high
/// because images are read from anywhere in memory.
const COST: usize = 4;

/// How the bytes of an image are converted to inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Normalization {
    /// The values of the bytes, 0 to 255.
    Raw,
    /// `byte / 255`: values in [0, 1].
    Scale,
    /// `(byte / 255 - mean) / std`, with a mean and a standard deviation of the
    /// scaled values for each channel.
    Standardize {
        /// The means, one per channel.
        mean: Vec<f32>,
        /// The standard deviations, one per channel.
        std: Vec<f32>,
    },
}

/// Images as bytes of shape `[samples, channels, height, width]`, each with a
/// class label.
///
/// Only the bytes are stored. They are converted when a batch is gathered, by
/// default to values in [0, 1].
///
/// ```
/// use dendra_datasets::{Dataset, ImageDataset, Normalization};
/// use dendra_tensor::Tensor;
///
/// let images = Tensor::from_vec(vec![0u8, 51, 102, 255], [2, 1, 1, 2])?;
/// let dataset = ImageDataset::new(images, Tensor::from([4i64, 9]), 10)?;
/// let (x, y) = dataset.batch(&[1])?;
/// assert_eq!(x.shape(), &[1, 1, 1, 2]);
/// assert_eq!(x.to_vec(), [0.4, 1.0]);
/// assert_eq!(y.to_vec(), [9]);
///
/// let dataset = dataset.normalize(Normalization::Raw)?;
/// assert_eq!(dataset.batch(&[1])?.0.to_vec(), [102.0, 255.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageDataset {
    images: Tensor<u8>,
    labels: Tensor<i64>,
    classes: usize,
    normalization: Normalization,
}

impl ImageDataset {
    /// A data set of `images` of shape `[samples, channels, height, width]`
    /// and `labels` of shape `[samples]`.
    ///
    /// # Errors
    ///
    /// When the shapes do not match, or a label is not in `0..classes`; the
    /// error names the sample and its label.
    pub fn new(images: Tensor<u8>, labels: Tensor<i64>, classes: usize) -> Result<Self> {
        let context = "ImageDataset::new";
        let &[samples, _, ..] = &images.shape()[..] else {
            let message = format!(
                "expected images of shape [samples, channels, height, width], got {}",
                images.shape()
            );
            return Err(Error::shape(context, message));
        };
        if images.rank() != 4 || labels.shape()[..] != [samples] {
            let message = format!(
                "expected images of shape [samples, channels, height, width] and labels of shape \
                 [samples], got {} and {}",
                images.shape(),
                labels.shape()
            );
            return Err(Error::shape(context, message));
        }
        check_labels(context, &labels.to_vec(), classes)?;
        let (images, labels) = (images.contiguous(), labels.contiguous());
        Ok(Self { images, labels, classes, normalization: Normalization::Scale })
    }

    /// Sets the normalisation.
    ///
    /// # Errors
    ///
    /// When there is not one mean and one standard deviation for each channel,
    /// a mean is not finite, or a standard deviation is not finite and above 0.
    pub fn normalize(mut self, normalization: Normalization) -> Result<Self> {
        normalization.check(self.images.shape()[1])?;
        self.normalization = normalization;
        Ok(self)
    }

    /// All images, of shape `[samples, channels, height, width]`.
    pub fn images(&self) -> &Tensor<u8> {
        &self.images
    }

    /// All labels, of shape `[samples]`.
    pub fn labels(&self) -> &Tensor<i64> {
        &self.labels
    }

    /// The same images as bytes, for transforms of bytes; the memory is shared.
    pub fn to_bytes(&self) -> TensorDataset<i64, u8> {
        let (images, labels) = (self.images.clone(), self.labels.clone());
        TensorDataset::classification(images, labels, self.classes)
            .expect("shapes and labels were checked when the data set was made")
    }

    /// The mean and the standard deviation of each channel's values, scaled to
    /// [0, 1], over all samples, for [`Normalization::Standardize`].
    ///
    /// They are NaN for an empty data set.
    pub fn statistics(&self) -> Normalization {
        let channels = self.images.shape()[1];
        let pixels: usize = self.images.shape()[2..].iter().product();
        let mut counts = vec![[0u64; 256]; channels];
        let planes = self.bytes().chunks_exact(pixels.max(1));
        for (plane, channel) in planes.zip((0..channels).cycle()) {
            plane.iter().for_each(|&byte| counts[channel][usize::from(byte)] += 1);
        }
        let average = |counts: &[u64; 256], value: &dyn Fn(f64) -> f64| {
            let sum: f64 =
                (0..).zip(counts).map(|(byte, &n)| value(byte as f64 / 255.0) * n as f64).sum();
            sum / counts.iter().sum::<u64>() as f64
        };
        let (mean, std) = counts
            .iter()
            .map(|counts| {
                let mean = average(counts, &|value| value);
                let variance = average(counts, &|value| (value - mean) * (value - mean));
                (mean as f32, variance.sqrt() as f32)
            })
            .unzip();
        Normalization::Standardize { mean, std }
    }

    fn bytes(&self) -> &[u8] {
        self.images.as_slice().expect("the images were made contiguous")
    }
}

impl Dataset for ImageDataset {
    type Input = Tensor<f32>;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.images.shape()[0]
    }

    fn input_shape(&self) -> Shape {
        Shape::from(&self.images.shape()[1..])
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        check_indices("ImageDataset::batch", indices, self.len())?;
        let mut shape = self.images.shape().to_vec();
        shape[0] = indices.len();
        let pixels: usize = shape[2..].iter().product();
        let sample = shape[1] * pixels;
        let images = Tensor::build(shape, |out: &mut [f32]| {
            for_each_chunk(out, sample, COST, |i, out| {
                let image = &self.bytes()[indices[i] * sample..][..sample];
                let planes = image.chunks_exact(pixels).zip(out.chunks_exact_mut(pixels));
                for (channel, (plane, out)) in planes.enumerate() {
                    self.normalization.apply(channel, plane, out);
                }
            });
        });
        Ok((images, self.labels.index_select(0, indices)?))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        Some(self.labels.to_vec())
    }
}

impl Normalization {
    /// Returns an error for a normalisation that does not match this number of
    /// channels.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        let Normalization::Standardize { mean, std } = self else { return Ok(()) };
        check_moments("Normalization::Standardize", mean, std, channels)
    }

    /// Converts the bytes of a channel.
    pub(crate) fn apply(&self, channel: usize, bytes: &[u8], out: &mut [f32]) {
        simd::dispatch(
            #[inline(always)]
            || {
                let each = out.iter_mut().zip(bytes);
                match self {
                    Normalization::Raw => {
                        for (out, &byte) in each {
                            *out = f32::from(byte);
                        }
                    }
                    Normalization::Scale => {
                        for (out, &byte) in each {
                            *out = f32::from(byte) / 255.0;
                        }
                    }
                    Normalization::Standardize { mean, std } => {
                        let (mean, std) = (mean[channel], std[channel]);
                        for (out, &byte) in each {
                            *out = (f32::from(byte) / 255.0 - mean) / std;
                        }
                    }
                }
            },
        );
    }
}

/// Returns an error for means and standard deviations that cannot standardise
/// this number of channels.
pub(crate) fn check_moments(
    context: &str,
    mean: &[f32],
    std: &[f32],
    channels: usize,
) -> Result<()> {
    if mean.len() != channels || std.len() != channels {
        let message = format!(
            "expected a mean and a standard deviation for each of {channels} channels, got {} and \
             {}",
            mean.len(),
            std.len()
        );
        return Err(Error::argument(context, message));
    }
    let finite = mean.iter().chain(std).all(|x| x.is_finite());
    if !finite || std.iter().any(|&std| std <= 0.0) {
        let message = format!(
            "expected finite means and standard deviations above 0, got {mean:?} and {std:?}"
        );
        return Err(Error::argument(context, message));
    }
    Ok(())
}
