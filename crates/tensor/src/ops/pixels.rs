//! Pixels to channels and back, and permutations of channels: composed of
//! reshaping and permuting.

use super::Ops;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// The axes before the last three, and the last three.
fn image(context: &str, shape: &Shape) -> Result<(Vec<usize>, [usize; 3])> {
    match shape.split_last_chunk::<3>() {
        Some((before, &image)) => Ok((before.to_vec(), image)),
        None => {
            let message = format!("expected an input of shape […, C, height, width], got {shape}");
            Err(Error::shape(context, message))
        }
    }
}

/// Splits the last axes of `x` into five axes `parts` after `before`, permutes
/// these by `order`, and merges them into three axes after `before`.
fn rearranged<X: Ops>(
    x: &X,
    before: &[usize],
    parts: [usize; 5],
    order: [usize; 5],
    after: [usize; 3],
) -> Result<X> {
    let rank = before.len();
    let axes: Vec<isize> =
        (0..rank).chain(order.map(|axis| rank + axis)).map(|axis| axis as isize).collect();
    x.reshape([before, &parts].concat())?.permute(&axes)?.reshape([before, &after].concat())
}

/// `[…, C·r², H, W]` to `[…, C, H·r, W·r]`: channel c·r² + i·r + j of a pixel
/// becomes the pixel (i, j) of a square of r × r in channel c (Shi et al.,
/// "Real-time single image and video super-resolution using an efficient
/// sub-pixel convolutional neural network", 2016).
///
/// # Errors
///
/// When x has fewer than three axes, or the number of channels is not a
/// multiple of the factor's square.
pub fn shuffle<X: Ops>(x: &X, factor: usize) -> Result<X> {
    let (before, [channels, height, width]) = image("pixel_shuffle", x.value().shape())?;
    let square = factor.saturating_mul(factor);
    if square == 0 || !channels.is_multiple_of(square) {
        let message =
            format!("{channels} channels do not divide into squares of {factor} × {factor}");
        return Err(Error::argument("pixel_shuffle", message));
    }
    let kept = channels / square;
    let parts = [kept, factor, factor, height, width];
    rearranged(x, &before, parts, [0, 3, 1, 4, 2], [kept, height * factor, width * factor])
}

/// `[…, C, H·r, W·r]` to `[…, C·r², H, W]`, the inverse of [`shuffle`].
///
/// # Errors
///
/// When x has fewer than three axes, or height and width are not multiples of
/// the factor.
pub fn unshuffle<X: Ops>(x: &X, factor: usize) -> Result<X> {
    let (before, [channels, height, width]) = image("pixel_unshuffle", x.value().shape())?;
    if factor == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
        let message = format!(
            "an image of [{height}, {width}] does not divide into squares of {factor} × {factor}"
        );
        return Err(Error::argument("pixel_unshuffle", message));
    }
    let (rows, columns) = (height / factor, width / factor);
    let parts = [channels, rows, factor, columns, factor];
    let after = [channels * factor * factor, rows, columns];
    rearranged(x, &before, parts, [0, 2, 4, 1, 3], after)
}

/// Permutes the channels of `[N, C, …]`: channel i of group g becomes channel
/// i·groups + g.
///
/// # Errors
///
/// When x has no channels, or they do not divide into the groups.
pub fn shuffle_channels<X: Ops>(x: &X, groups: usize) -> Result<X> {
    let shape = x.value().shape().clone();
    let &[samples, channels, _, ..] = &shape[..] else {
        let message = format!("expected an input of shape [N, C, …], got {shape}");
        return Err(Error::shape("channel_shuffle", message));
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        let message = format!("{channels} channels do not divide into {groups} groups");
        return Err(Error::argument("channel_shuffle", message));
    }
    let rest = shape[2..].iter().product();
    let parts = x.reshape([samples, groups, channels / groups, rest])?;
    parts.transpose(1, 2)?.reshape(shape)
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
    fn any_axes_may_come_before() {
        let x = Tensor::<f64>::arange(48).reshape([2, 3, 4, 1, 2]).unwrap();
        let y = x.pixel_shuffle(2).unwrap();
        assert_eq!(*y.shape(), [2, 3, 1, 2, 4]);
        let one = x.select(0, 1).unwrap().select(0, 2).unwrap().pixel_shuffle(2).unwrap();
        assert_eq!(*one.shape(), [1, 2, 4]);
        assert_eq!(y.select(0, 1).unwrap().select(0, 2).unwrap(), one);
        assert_eq!(y.pixel_unshuffle(2).unwrap(), x);
    }

    #[test]
    fn every_group_gets_channels_of_all_groups() {
        let x = Tensor::<f32>::arange(12).reshape([1, 6, 2]).unwrap();
        let y = x.channel_shuffle(2).unwrap();
        assert_eq!(y.to_vec(), [0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.]);
        assert_eq!(y.channel_shuffle(3).unwrap(), x);
        let message = x.channel_shuffle(4).unwrap_err().to_string();
        assert_eq!(message, "channel_shuffle: 6 channels do not divide into 4 groups");
        assert!(x.channel_shuffle(0).is_err());
        assert!(Tensor::<f32>::zeros([6, 3]).channel_shuffle(1).is_err());
    }

    #[test]
    fn what_does_not_divide_is_named() {
        let x = Tensor::<f32>::zeros([1, 6, 3, 4]);
        let message = x.pixel_shuffle(2).unwrap_err().to_string();
        assert_eq!(message, "pixel_shuffle: 6 channels do not divide into squares of 2 × 2");
        assert!(x.pixel_shuffle(0).is_err() && x.pixel_shuffle(usize::MAX).is_err());
        let message = x.pixel_unshuffle(2).unwrap_err().to_string();
        assert!(message.contains("an image of [3, 4] does not divide into squares"), "{message}");
        assert!(x.pixel_unshuffle(0).is_err());
        let message = Tensor::<f32>::zeros([6, 3]).pixel_shuffle(1).unwrap_err().to_string();
        assert!(message.contains("expected an input of shape […, C, height, width], got [6, 3]"));
    }
}
