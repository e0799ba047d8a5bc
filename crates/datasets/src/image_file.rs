//! Decoding of PNG and JPEG files.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dendra_tensor::{Error, Result, Rng};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::idx::DEFLATE_FACTOR;
use crate::transforms::{Grayscale, Image, Transform};

/// The largest number of pixels along a side.
pub(crate) const MOST_PIXELS: u32 = 1 << 14;
const MOST_BYTES: u64 = 1 << 28;

/// The largest ratio of the size of a JPEG's pixels to that of the file. With
/// one bit for each block of 8×8 pixels, and colours at a quarter of the
/// resolution both ways, a byte gives 1,365 bytes.
const JPEG_FACTOR: u64 = 2 * DEFLATE_FACTOR;

/// Reads the picture in a file.
pub(crate) fn decoded(path: &Path, grey: bool) -> Result<Image<u8>> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    decode(&bytes, grey).map_err(|message| Error::file(path, message))
}

/// Decodes a PNG or JPEG picture in memory to bytes of shape `[channels,
/// height, width]`, with three channels or, if `grey`, one.
///
/// The picture is rotated and mirrored as its Exif orientation specifies.
/// Transparency is dropped, 16 bits become 8, and only the first frame of an
/// animation is used. Grey is `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601), as
/// in [`Grayscale`].
///
/// # Errors
///
/// When the bytes are neither PNG nor JPEG, are invalid, or have a header for a
/// picture with more than 16,384 pixels along a side, one that needs more than
/// 256 MiB to decode, or one with more pixels than so few bytes can contain.
pub fn decode_image(bytes: &[u8], grey: bool) -> Result<Image<u8>> {
    decode(bytes, grey).map_err(|message| Error::data("decode_image", message))
}

fn decode(bytes: &[u8], grey: bool) -> Result<Image<u8>, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS);
    limits.max_image_height = Some(MOST_PIXELS);
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let format = reader.format();
    if !matches!(format, Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        let start = bytes[..bytes.len().min(16)].escape_ascii();
        return Err(format!("it is neither a PNG nor a JPEG picture, it starts with \"{start}\""));
    }
    reader.limits(limits.clone());
    let decoded = || {
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        let needed = match format {
            Some(ImageFormat::Png) => pixels * png_bits(bytes) / 8 / DEFLATE_FACTOR,
            _ => pixels * u64::from(decoder.color_type().channel_count()) / JPEG_FACTOR,
        };
        if needed > bytes.len() as u64 {
            return Ok(Err(format!(
                "{width}×{height} pixels are more than {} bytes can contain",
                bytes.len()
            )));
        }
        limits.reserve(decoder.total_bytes())?;
        decoder.set_limits(limits)?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(Ok(picture))
    };
    let picture = decoded().map_err(|error| match error {
        ImageError::Limits(_) => format!(
            "the picture is larger than {MOST_PIXELS} pixels along a side or takes more than \
             {MOST_BYTES} bytes to decode"
        ),
        error => format!("it is invalid: {error}"),
    })??;
    Ok(planes(picture, grey))
}

/// The number of bits of a pixel in a PNG before compression.
///
/// The header begins at byte 16: width, height, bits per sample, and colour
/// type (<https://www.w3.org/TR/png/#11IHDR>).
fn png_bits(bytes: &[u8]) -> u64 {
    let &[depth, kind] = bytes.get(24..26).and_then(|b| b.first_chunk()).unwrap_or(&[8, 0]);
    let samples = match kind {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    u64::from(depth) * samples
}

/// Converts interleaved pixels to separate channels.
fn planes(picture: DynamicImage, grey: bool) -> Image<u8> {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let (channels, pixels) = if grey && !picture.color().has_color() {
        (1, picture.into_luma8().into_raw())
    } else {
        (3, picture.into_rgb8().into_raw())
    };
    let planes = (0..channels)
        .flat_map(|channel| pixels[channel.min(pixels.len())..].iter().step_by(channels));
    let image = Image::new([channels, height, width], planes.copied().collect())
        .expect("the decoder fills the picture");
    if grey { Grayscale::new().apply(image, &mut Rng::seed(0)) } else { image }
}
