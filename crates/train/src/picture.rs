//! An input as a picture.

use dendra_tensor::{Error, Result};

/// Whether inputs of this shape, `[channels, height, width]`, are pictures in
/// grey or colour.
pub(crate) fn fits(shape: &[usize]) -> bool {
    matches!(shape, &[1 | 3, height, width] if height * width > 0 && height.max(width) <= 1024)
}

/// The bytes of a PNG. The lowest value becomes black and the highest white, so
/// any normalisation of the inputs is undone.
pub(crate) fn png(values: &[f32], shape: &[usize]) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::argument("picture", error.to_string());
    let &[channels, height, width] = shape else {
        return Err(Error::shape("picture", "expected [channels, height, width]"));
    };
    if !fits(shape) {
        let message = format!("expected 1 or 3 channels of up to 1024 × 1024, got {shape:?}");
        return Err(Error::shape("picture", message));
    }
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    let byte = |value: f32| ((value - low) / (high - low).max(1e-12) * 255.0).round() as u8;
    let pixels = height * width;
    let mut bytes = Vec::with_capacity(values.len());
    for pixel in 0..pixels {
        bytes.extend((0..channels).map(|channel| byte(values[channel * pixels + pixel])));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if channels == 3 { png::ColorType::Rgb } else { png::ColorType::Grayscale });
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&bytes).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_and_colour_are_pictures() {
        assert!(fits(&[1, 28, 28]) && fits(&[3, 32, 32]));
        assert!(!fits(&[2, 4, 4]) && !fits(&[784]) && !fits(&[1, 0, 4]) && !fits(&[1, 1, 9999]));
    }

    #[test]
    fn values_are_stretched_to_bytes() {
        let values = [-1.0, 0.0, 1.0, 3.0, f32::NAN, -1.0];
        let file = png(&values, &[1, 2, 3]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        let mut pixels = vec![0; 6];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(pixels, [0, 64, 128, 255, 0, 0]);
        assert!(png(&values, &[2, 1, 3]).is_err() && png(&values, &[6]).is_err());
    }
}
