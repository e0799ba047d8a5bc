//! Pictures in PNG and JPEG files, decoded as people see them.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dendra_tensor::{Error, Result, Rng};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::idx::DEFLATE_FACTOR;
use crate::transforms::{Grayscale, Image, Transform};

/// The most pixels along a side, and the most bytes that decoding may take.
pub(crate) const MOST_PIXELS: u32 = 1 << 14;
const MOST_BYTES: u64 = 1 << 28;

/// How many times larger than its file the pixels of a JPEG may be: a bit for
/// each block of 8×8, with colours at a quarter of the resolution both ways,
/// gives 1,365 bytes for each of its own.
const JPEG_FACTOR: u64 = 2 * DEFLATE_FACTOR;

/// The picture in a file.
pub(crate) fn decoded(path: &Path, grey: bool) -> Result<Image<u8>> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    decode(&bytes, grey).map_err(|message| Error::file(path, message))
}

/// A PNG or JPEG picture in memory as bytes of `[channels, height, width]`,
/// with three channels or, if `grey`, one.
///
/// The picture is turned and mirrored as its Exif orientation asks for.
/// Transparency is dropped, 16 bits become 8, and of an animation the first
/// picture is taken. Grey is `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601), as
/// in [`Grayscale`].
///
/// # Errors
///
/// When the bytes are neither, or damaged, or announce a picture of more than
/// 16,384 pixels along a side, or one that takes more than 256 MiB to decode or
/// more than so few bytes can hold.
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
                "the picture is larger than its file can hold: {width}×{height} pixels in {} bytes",
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
        error => format!("it is damaged: {error}"),
    })??;
    Ok(planes(picture, grey))
}

/// How many bits a pixel of a PNG takes in its file before it is compressed.
///
/// Its header begins at byte 16: width, height, the bits of a sample, and the
/// kind of pixels (<https://www.w3.org/TR/png/#11IHDR>).
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

/// Channel by channel, where the decoder has pixel by pixel.
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
