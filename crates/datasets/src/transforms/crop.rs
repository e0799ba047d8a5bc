//! Crops and flips.

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use super::{Image, Pixel, Transform, check_probability};

/// The values outside an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Border {
    /// A constant.
    Constant(f32),
    /// The value of the nearest pixel.
    Replicate,
    /// The image, mirrored at its outermost pixels: d c b | a b c d | c b a.
    Reflect,
}

impl Border {
    /// The position along an axis of `length` pixels whose value is used for
    /// `position`; `None` for a constant border.
    pub(super) fn source(self, position: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        match self {
            _ if (0..=last).contains(&position) => Some(position as usize),
            _ if length == 0 => None,
            Self::Constant(_) => None,
            Self::Replicate => Some(position.clamp(0, last) as usize),
            Self::Reflect if last == 0 => Some(0),
            Self::Reflect => {
                let position = position.rem_euclid(2 * last);
                Some(position.min(2 * last - position) as usize)
            }
        }
    }

    fn fill(self) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Replicate | Self::Reflect => 0.0,
        }
    }
}

/// The part of an image of this size that begins at `top` and `left`. It may
/// extend beyond the image.
pub(super) fn crop<P: Pixel>(
    image: &Image<P>,
    (top, left): (isize, isize),
    [height, width]: [usize; 2],
    border: Border,
) -> Image<P> {
    let [channels, rows, columns] = image.shape();
    let fill = P::from_f32(border.fill());
    // The columns inside the image are copied in one piece.
    let begin = left.min(0).unsigned_abs().min(width);
    let end = (columns as isize - left).clamp(begin as isize, width as isize) as usize;
    Image::build([channels, height, width], |out| {
        if height * width == 0 {
            return;
        }
        let mut planes = image.planes();
        for out in out.chunks_exact_mut(height * width) {
            let plane = planes.next().unwrap_or(&[]);
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                let Some(y) = border.source(top + y as isize, rows) else {
                    out.fill(fill);
                    continue;
                };
                let row = &plane[y * columns..][..columns];
                if begin < end {
                    let start = (left + begin as isize) as usize;
                    out[begin..end].copy_from_slice(&row[start..start + end - begin]);
                }
                for x in (0..begin).chain(end..width) {
                    let source = border.source(left + x as isize, columns);
                    out[x] = source.map_or(fill, |x| row[x]);
                }
            }
        }
    })
}

/// Crops a part at a random position, like torchvision's `RandomCrop`.
#[derive(Clone, Debug, Setters)]
pub struct RandomCrop {
    /// The height and the width of the part in pixels.
    #[set(given, each(height, width))]
    size: [usize; 2],
    /// The number of pixels added on all sides before cropping.
    #[set(default = 0)]
    padding: usize,
    /// The values of the padding.
    #[set(default = Border::Constant(0.0))]
    border: Border,
}

impl RandomCrop {
    /// Crops a square of this size in pixels.
    pub fn new(size: usize) -> Self {
        Self::with_defaults([size; 2])
    }
}

impl<P: Pixel> Transform<P> for RandomCrop {
    type Output = P;

    fn output_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3]> {
        let padded =
            [height, width].map(|length| length.saturating_add(self.padding.saturating_mul(2)));
        if self.size[0] > padded[0] || self.size[1] > padded[1] || self.padding > 1 << 20 {
            let [h, w] = self.size;
            let message = format!(
                "cannot crop {h}×{w} pixels from {height}×{width} with a padding of {}",
                self.padding
            );
            return Err(Error::shape("RandomCrop", message));
        }
        Ok([channels, self.size[0], self.size[1]])
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let mut position = |length: usize, size: usize| {
            rng.below(length + 2 * self.padding - size + 1) as isize - self.padding as isize
        };
        let position = (position(height, self.size[0]), position(width, self.size[1]));
        if position == (0, 0) && self.size == [height, width] {
            return image;
        }
        crop(&image, position, self.size, self.border)
    }
}

/// Crops the centre of the image, like torchvision's `CenterCrop`. A smaller
/// image is padded with zeros.
#[derive(Clone, Debug, Setters)]
pub struct CenterCrop {
    /// The height and the width of the part in pixels.
    #[set(given, each(height, width))]
    size: [usize; 2],
}

impl CenterCrop {
    /// Crops a square of this size in pixels.
    pub fn new(size: usize) -> Self {
        Self::with_defaults([size; 2])
    }
}

impl<P: Pixel> Transform<P> for CenterCrop {
    type Output = P;

    fn output_shape(&self, [channels, ..]: [usize; 3]) -> Result<[usize; 3]> {
        Ok([channels, self.size[0], self.size[1]])
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let position = |length: usize, size: usize| (length as isize - size as isize) / 2;
        let position = (position(height, self.size[0]), position(width, self.size[1]));
        crop(&image, position, self.size, Border::Constant(0.0))
    }
}

/// Mirrors the image horizontally, like torchvision's `RandomHorizontalFlip`.
#[derive(Clone, Debug)]
pub struct RandomHorizontalFlip {
    probability: f64,
}

impl RandomHorizontalFlip {
    /// Mirrors with this probability.
    pub fn new(probability: f64) -> Self {
        Self { probability }
    }
}

impl<P: Pixel> Transform<P> for RandomHorizontalFlip {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        check_probability("RandomHorizontalFlip", self.probability).map(|()| shape)
    }

    fn apply(&self, mut image: Image<P>, rng: &mut Rng) -> Image<P> {
        if rng.uniform() < self.probability {
            image.rows_mut().for_each(<[P]>::reverse);
        }
        image
    }
}

/// Mirrors the image vertically, like torchvision's `RandomVerticalFlip`.
#[derive(Clone, Debug)]
pub struct RandomVerticalFlip {
    probability: f64,
}

impl RandomVerticalFlip {
    /// Mirrors with this probability.
    pub fn new(probability: f64) -> Self {
        Self { probability }
    }
}

impl<P: Pixel> Transform<P> for RandomVerticalFlip {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        check_probability("RandomVerticalFlip", self.probability).map(|()| shape)
    }

    fn apply(&self, mut image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        if rng.uniform() < self.probability {
            for plane in image.planes_mut() {
                let (upper, lower) = plane.split_at_mut(height / 2 * width);
                let lower = lower.rchunks_exact_mut(width.max(1));
                for (a, b) in upper.chunks_exact_mut(width.max(1)).zip(lower) {
                    a.swap_with_slice(b);
                }
            }
        }
        image
    }
}
