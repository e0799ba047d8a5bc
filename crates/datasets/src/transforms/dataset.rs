//! [`TransformDataset`]: the images of another data set, transformed.

use std::sync::atomic::{AtomicBool, Ordering};

use dendra_tensor::kernels::parallel;
use dendra_tensor::{Error, Result, Shape, Tensor};

use super::{Image, Pixel, Transform};
use crate::dataset::{Batch, Dataset};
use crate::draw::Draw;

/// Another data set of images, with a [`Transform`] applied to each; see
/// [`transforms`](crate::transforms) for an example.
///
/// [`Dataset::batch`] uses the random numbers of seed 0 and epoch 0; a loader
/// draws new ones in every epoch.
#[derive(Clone, Debug)]
pub struct TransformDataset<D, T> {
    dataset: D,
    transform: T,
    output_shape: [usize; 3],
}

impl<D, T, P: Pixel> TransformDataset<D, T>
where
    D: Dataset<Input = Tensor<P>>,
    T: Transform<P>,
{
    /// The images of `dataset`, of shape `[channels, height, width]`, changed
    /// by `transform`.
    ///
    /// # Errors
    ///
    /// When the inputs are not images, or the transform rejects their shape.
    pub fn new(dataset: D, transform: T) -> Result<Self> {
        let shape = dataset.input_shape();
        let &[channels, height, width] = &shape[..] else {
            let message =
                format!("expected images of shape [channels, height, width], got {shape}");
            return Err(Error::shape("TransformDataset::new", message));
        };
        let output_shape = transform.output_shape([channels, height, width])?;
        Ok(Self { dataset, transform, output_shape })
    }

    fn transformed(
        &self,
        images: &Tensor<P>,
        indices: &[usize],
        draw: &Draw,
    ) -> Result<Tensor<T::Output>> {
        let &[samples, channels, height, width] = &images.shape()[..] else {
            let message = format!("expected a batch of images, got shape {}", images.shape());
            return Err(Error::shape("TransformDataset", message));
        };
        if samples != indices.len() {
            let message = format!("expected {} samples, got {samples}", indices.len());
            return Err(Error::data("TransformDataset", message));
        }
        let shape = [channels, height, width];
        // All images of a data set must have the same size.
        if self.transform.output_shape(shape)? != self.output_shape {
            let message = format!("expected images of the same shape, got one of shape {shape:?}");
            return Err(Error::shape("TransformDataset", message));
        }
        let images = images.contiguous();
        let pixels = images.as_slice().expect("it is contiguous");
        let size: usize = shape.iter().product();
        let fits = AtomicBool::new(true);
        let one = |position: usize, out: &mut [T::Output]| {
            let image = Image::new(shape, pixels[position * size..][..size].to_vec())
                .expect("the slice has the shape's length");
            let image = self.transform.apply(image, &mut draw.rng(indices[position]));
            if image.shape() == self.output_shape {
                out.copy_from_slice(image.pixels());
            } else {
                out.fill(T::Output::default());
                fits.store(false, Ordering::Relaxed);
            }
        };
        let [channels, height, width] = self.output_shape;
        let size = channels * height * width;
        let changed = Tensor::build([samples, channels, height, width], |out| {
            if draw.is_background() {
                out.chunks_mut(size.max(1))
                    .enumerate()
                    .for_each(|(position, out)| one(position, out));
            } else {
                parallel::for_each_chunk(out, size, COST, one);
            }
        });
        if !fits.into_inner() {
            let message =
                "the transform returned an image of another shape than its `output_shape`";
            return Err(Error::shape("TransformDataset", message));
        }
        Ok(changed)
    }
}

/// The approximate number of elementary steps for a pixel.
const COST: usize = 16;

impl<D, T, P: Pixel> Dataset for TransformDataset<D, T>
where
    D: Dataset<Input = Tensor<P>>,
    T: Transform<P>,
{
    type Input = Tensor<T::Output>;
    type Target = D::Target;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn input_shape(&self) -> Shape {
        Shape::from(self.output_shape)
    }

    fn classes(&self) -> Option<usize> {
        self.dataset.classes()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let (images, targets) = self.dataset.batch_at(indices, &draw.inner())?;
        Ok((self.transformed(&images, indices, draw)?, targets))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.dataset.labels()
    }
}
