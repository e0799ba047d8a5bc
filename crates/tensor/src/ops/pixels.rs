//! Pixels to channels and back, composed of reshaping and permuting.

use super::Ops;
use crate::error::{Error, Result};

/// `[N, C·r², H, W]` to `[N, C, H·r, W·r]`: channel c·r² + i·r + j of a pixel
/// becomes the pixel (i, j) of a square of r × r in channel c (Shi et al.,
/// "Real-time single image and video super-resolution using an efficient
/// sub-pixel convolutional neural network", 2016).
///
/// # Errors
///
/// When x is not a batch of images, or the factor's square does not divide its
/// channels.
pub fn shuffle<X: Ops>(x: &X, factor: usize) -> Result<X> {
    let shape = x.value().shape();
    let square = factor.saturating_mul(factor);
    let &[n, channels, height, width] = &shape[..] else {
        return Err(not_images("pixel_shuffle", shape));
    };
    if square == 0 || !channels.is_multiple_of(square) {
        let message =
            format!("{channels} channels do not divide into squares of {factor} × {factor}");
        return Err(Error::argument("pixel_shuffle", message));
    }
    let parts = x.reshape([n, channels / square, factor, factor, height, width])?;
    let shape = [n, channels / square, height * factor, width * factor];
    parts.permute(&[0, 1, 4, 2, 5, 3])?.reshape(shape)
}

/// `[N, C, H·r, W·r]` to `[N, C·r², H, W]`, the inverse of [`shuffle`].
///
/// # Errors
///
/// When x is not a batch of images, or the factor does not divide its height
/// and width.
pub fn unshuffle<X: Ops>(x: &X, factor: usize) -> Result<X> {
    let shape = x.value().shape();
    let &[n, channels, height, width] = &shape[..] else {
        return Err(not_images("pixel_unshuffle", shape));
    };
    if factor == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
        let message = format!(
            "an image of [{height}, {width}] is not made of squares of {factor} × {factor}"
        );
        return Err(Error::argument("pixel_unshuffle", message));
    }
    let (rows, columns) = (height / factor, width / factor);
    let parts = x.reshape([n, channels, rows, factor, columns, factor])?;
    let shape = [n, channels * factor * factor, rows, columns];
    parts.permute(&[0, 1, 3, 5, 2, 4])?.reshape(shape)
}

fn not_images(place: &str, shape: &crate::shape::Shape) -> Error {
    Error::shape(place, format!("expected an input of shape [N, C, height, width], got {shape}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn channels_become_squares_of_pixels_and_back() {
        let x = Tensor::<f64>::arange(8).reshape([1, 4, 1, 2]).unwrap();
        let y = x.pixel_shuffle(2).unwrap();
        assert_eq!(*y.shape(), [1, 1, 2, 4]);
        assert_eq!(y.to_vec(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(y.pixel_unshuffle(2).unwrap(), x);
    }

    #[test]
    fn what_does_not_divide_is_named() {
        let x = Tensor::<f32>::zeros([1, 6, 3, 4]);
        let message = x.pixel_shuffle(2).unwrap_err().to_string();
        assert_eq!(message, "pixel_shuffle: 6 channels do not divide into squares of 2 × 2");
        assert!(x.pixel_shuffle(0).is_err() && x.pixel_shuffle(usize::MAX).is_err());
        let message = x.pixel_unshuffle(2).unwrap_err().to_string();
        assert!(message.contains("an image of [3, 4] is not made of squares"), "{message}");
        assert!(x.pixel_unshuffle(0).is_err());
        assert!(Tensor::<f32>::zeros([6, 3]).pixel_shuffle(1).is_err());
    }
}
