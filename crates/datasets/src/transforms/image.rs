//! [`Image`]: the value that transforms change, with bytes or floats as
//! [`Pixel`]s.

use dendra_tensor::{Element, Error, Result, Shape};

/// The number type of an image.
pub trait Pixel: Element {
    /// The value of white: 255 for bytes, 1 for floats.
    const BOUND: f32;

    /// The value as a float.
    fn to_f32(self) -> f32;

    /// The nearest value to a float. Bytes are limited to 0 to 255.
    fn from_f32(value: f32) -> Self;
}

impl Pixel for u8 {
    const BOUND: f32 = 255.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        // The conversion rounds down and saturates.
        (value + 0.5) as u8
    }
}

impl Pixel for f32 {
    const BOUND: f32 = 1.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

/// An image: channels, each of rows of pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Image<P> {
    shape: [usize; 3],
    pixels: Vec<P>,
}

impl<P: Pixel> Image<P> {
    /// An image with this number of channels, height and width, and its pixels,
    /// channel by channel and row by row.
    ///
    /// # Errors
    ///
    /// When the number of pixels does not match the shape.
    pub fn new(shape: [usize; 3], pixels: Vec<P>) -> Result<Self> {
        let expected = Shape::from(shape);
        if expected.checked_elements() != Some(pixels.len()) {
            let message = format!("expected the pixels of shape {expected}, got {}", pixels.len());
            return Err(Error::shape("Image::new", message));
        }
        Ok(Self { shape, pixels })
    }

    /// An image of this shape whose pixels, initially zeros, are written by
    /// `fill`.
    pub(crate) fn build(shape: [usize; 3], fill: impl FnOnce(&mut [P])) -> Self {
        let mut pixels = vec![P::default(); shape.iter().product()];
        fill(&mut pixels);
        Self { shape, pixels }
    }

    /// The number of channels, the height and the width.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The pixels, channel by channel and row by row.
    pub fn pixels(&self) -> &[P] {
        &self.pixels
    }

    /// The pixels, mutable.
    pub fn pixels_mut(&mut self) -> &mut [P] {
        &mut self.pixels
    }

    /// The pixels, which consumes the image.
    pub fn into_pixels(self) -> Vec<P> {
        self.pixels
    }

    /// The channels.
    pub fn planes(&self) -> impl Iterator<Item = &[P]> {
        self.pixels.chunks_exact(self.plane_len())
    }

    /// The channels, mutable.
    pub fn planes_mut(&mut self) -> impl Iterator<Item = &mut [P]> {
        let length = self.plane_len();
        self.pixels.chunks_exact_mut(length)
    }

    /// The rows of all channels, mutable.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [P]> {
        let width = self.shape[2].max(1);
        self.pixels.chunks_exact_mut(width)
    }

    /// An image of the same shape with changed pixels.
    pub(crate) fn map<Q: Pixel>(&self, f: impl Fn(P) -> Q) -> Image<Q> {
        Image { shape: self.shape, pixels: self.pixels.iter().map(|&pixel| f(pixel)).collect() }
    }

    /// At least 1, so that an image without pixels has no channels and
    /// splitting it does not panic.
    fn plane_len(&self) -> usize {
        (self.shape[1] * self.shape[2]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_the_nearest_byte() {
        let bytes = [-3.0, 0.4, 0.6, 254.4, 254.6, 300.0, f32::NAN].map(u8::from_f32);
        assert_eq!(bytes, [0, 0, 1, 254, 255, 255, 0]);
        assert!((0..=255).all(|byte: u8| u8::from_f32(byte.to_f32()) == byte));
    }

    #[test]
    fn pixels_must_fill_the_shape() {
        assert!(Image::new([1, 2, 3], vec![0u8; 6]).is_ok());
        for shape in [[1, 2, 2], [usize::MAX, 2, 3]] {
            let error = Image::new(shape, vec![0u8; 6]).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        let empty = Image::new([3, 0, 5], Vec::<f32>::new()).unwrap();
        assert_eq!(empty.planes().count(), 0);
    }
}
