//! Resizing.

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use super::crop::{Border, crop};
use super::{Image, Pixel, Transform, between, check_range};

/// Resizes the image, like torchvision's `Resize`.
///
/// Each new pixel is the mean of the old ones around it, weighted by a triangle
/// that extends one old pixel to each side or, if new pixels are larger, one
/// new pixel. This is linear interpolation with antialiasing
/// (`antialias=True`).
#[derive(Clone, Debug)]
pub struct Resize {
    size: [usize; 2],
}

impl Resize {
    /// A transform to this height and width.
    pub fn new(height: usize, width: usize) -> Self {
        Self { size: [height, width] }
    }
}

impl<P: Pixel> Transform<P> for Resize {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let [channels, height, width] = shape;
        if height * width == 0 && !self.size.contains(&0) {
            let message = format!("cannot resize an image without pixels, of shape {shape:?}");
            return Err(Error::shape("Resize", message));
        }
        Ok([channels, self.size[0], self.size[1]])
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<P> {
        resize(image, self.size)
    }
}

/// Resizes an image.
pub(crate) fn resize<P: Pixel>(image: Image<P>, [height, width]: [usize; 2]) -> Image<P> {
    let [channels, rows, columns] = image.shape();
    if [rows, columns] == [height, width] {
        return image;
    }
    let (across, down) = (Taps::new(columns, width), Taps::new(rows, height));
    let mut narrow = vec![0.0; rows * width];
    let mut sums = vec![0.0; width];
    Image::build([channels, height, width], |out| {
        if height * width == 0 {
            return;
        }
        for (plane, out) in image.planes().zip(out.chunks_exact_mut(height * width)) {
            for (row, narrow) in plane.chunks_exact(columns).zip(narrow.chunks_exact_mut(width)) {
                for (slot, (first, weights)) in narrow.iter_mut().zip(across.each()) {
                    let pixels = row[first..].iter().zip(weights);
                    *slot = pixels.map(|(pixel, weight)| pixel.to_f32() * weight).sum();
                }
            }
            for (out, (first, weights)) in out.chunks_exact_mut(width).zip(down.each()) {
                sums.fill(0.0);
                for (row, weight) in narrow.chunks_exact(width).skip(first).zip(weights) {
                    sums.iter_mut().zip(row).for_each(|(sum, pixel)| *sum += pixel * weight);
                }
                out.iter_mut().zip(&sums).for_each(|(slot, &sum)| *slot = P::from_f32(sum));
            }
        }
    })
}

/// The old pixels that contribute to each new one along an axis, with their
/// weights.
struct Taps {
    first: Vec<usize>,
    weights: Vec<Vec<f32>>,
}

impl Taps {
    fn new(old: usize, new: usize) -> Self {
        let scale = old as f64 / new as f64;
        let reach = scale.max(1.0);
        let one = |index: usize| {
            let centre = (index as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(old).max(first + 1);
            let weight = |pixel: usize| 1.0 - ((pixel as f64 + 0.5 - centre) / reach).abs();
            let weights: Vec<f64> = (first..end).map(|pixel| weight(pixel).max(0.0)).collect();
            let total: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| (weight / total) as f32).collect())
        };
        let (first, weights) = (0..new).map(one).unzip();
        Self { first, weights }
    }

    /// The first old pixel and the weights, for each new pixel.
    fn each(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.first.iter().copied().zip(self.weights.iter().map(Vec::as_slice))
    }
}

/// Crops a random part of the image and resizes it, like torchvision's
/// `RandomResizedCrop`.
#[derive(Clone, Debug, Setters)]
pub struct RandomResizedCrop {
    size: [usize; 2],
    /// The range of the cropped share of the area.
    #[set(each(low, high), default = (0.08, 1.0))]
    scale: (f64, f64),
    /// The range of the ratio of width to height.
    #[set(each(low, high), default = (3.0 / 4.0, 4.0 / 3.0))]
    ratio: (f64, f64),
}

impl RandomResizedCrop {
    /// Crops 8 to 100 % of the area of the image, with a ratio of width to
    /// height from 3/4 to 4/3, and resizes to this height and width.
    pub fn new(height: usize, width: usize) -> Self {
        Self::with_defaults([height, width])
    }
}

impl<P: Pixel> Transform<P> for RandomResizedCrop {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let context = "RandomResizedCrop";
        check_range(context, "scale", self.scale, 0.0..=1.0)?;
        check_range(context, "ratio", self.ratio, 1e-3..=1e3)?;
        if shape[1] * shape[2] == 0 {
            let message = format!("cannot resize an image without pixels, of shape {shape:?}");
            return Err(Error::shape(context, message));
        }
        Ok([shape[0], self.size[0], self.size[1]])
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let (mut corner, mut part) = ((0, 0), [height, width]);
        if let Some(found) = part_of([height, width], self.scale, self.ratio, 10, rng) {
            part = found;
            corner = (rng.below(height - part[0] + 1), rng.below(width - part[1] + 1));
        }
        let image = crop(&image, (corner.0 as isize, corner.1 as isize), part, Border::Replicate);
        resize(image, self.size)
    }
}

/// A height and width with a random share of the area and a random ratio;
/// `None` when none of `attempts` fits into the image.
pub(super) fn part_of(
    [height, width]: [usize; 2],
    scale: (f64, f64),
    ratio: (f64, f64),
    attempts: usize,
    rng: &mut Rng,
) -> Option<[usize; 2]> {
    let logarithms = (libm::log(ratio.0), libm::log(ratio.1));
    (0..attempts).find_map(|_| {
        let area = (height * width) as f64 * between(rng, scale);
        let ratio = libm::exp(between(rng, logarithms));
        let h = (area / ratio).sqrt().round() as usize;
        let w = (area * ratio).sqrt().round() as usize;
        ((1..=height).contains(&h) && (1..=width).contains(&w)).then_some([h, w])
    })
}
