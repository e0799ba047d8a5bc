//! Digits as text for a terminal, and as a sheet of pictures.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use dendra::prelude::*;

/// Shows images of shape `[n, 1, 28, 28]` side by side, and under each what
/// was read, how probable it is, and the truth where it is known and another.
#[allow(dead_code, reason = "some examples draw a sheet")]
pub(crate) fn show(
    images: &Tensor,
    probabilities: &Tensor,
    labels: Option<&Tensor<i64>>,
) -> Result<()> {
    let pixels = images.to_vec();
    // Half blocks show two rows of pixels in one line of text.
    for row in (0..28).step_by(2) {
        let mut line = String::new();
        for image in pixels.chunks_exact(28 * 28) {
            for column in 0..28 {
                let ink = |row: usize| image[row * 28 + column] > 0.5;
                line.push(match (ink(row), ink(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
        }
        println!("{}", line.trim_end());
    }
    let truths = labels.map(Tensor::to_vec);
    let certainties = probabilities.max_axes(&[1], false)?.to_vec();
    let mut line = String::new();
    for (i, found) in probabilities.argmax(1)?.to_vec().into_iter().enumerate() {
        let mut caption = format!("{found} ({:.1}%)", 100.0 * certainties[i]);
        if let Some(truth) = truths.as_ref().map(|truths| truths[i]).filter(|&truth| truth != found)
        {
            caption += &format!(", but is {truth}");
        }
        line += &format!("{caption:^28}");
    }
    println!("{}\n", line.trim_end());
    Ok(())
}

/// Writes images of shape `[n, 1, height, width]`, values from 0 to 1, as a
/// sheet with this many in a row.
#[allow(dead_code, reason = "some examples show text")]
pub(crate) fn sheet(images: &Tensor, columns: usize, path: impl AsRef<Path>) -> Result<()> {
    const GAP: usize = 2;
    let path = path.as_ref();
    let &[count, 1, height, width] = &images.shape()[..] else {
        let message = format!("expected images [n, 1, height, width], got {}", images.shape());
        return Err(Error::shape("sheet", message));
    };
    let rows = count.div_ceil(columns);
    let size = [columns * (width + GAP) + GAP, rows * (height + GAP) + GAP];
    let mut sheet = vec![96; size[0] * size[1]];
    for (i, pixels) in images.to_vec().chunks_exact(height * width).enumerate() {
        let left = GAP + i % columns * (width + GAP);
        let top = GAP + i / columns * (height + GAP);
        for (j, &value) in pixels.iter().enumerate() {
            let pixel = (255.0 * value.clamp(0.0, 1.0)).round() as u8;
            sheet[(top + j / width) * size[0] + left + j % width] = pixel;
        }
    }
    let file = File::create(path).map_err(|error| Error::io(path, error))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), size[0] as u32, size[1] as u32);
    encoder.set_color(png::ColorType::Grayscale);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&sheet));
    written.map_err(|error| Error::file(path, error.to_string()))?;
    println!("wrote {}", path.display());
    Ok(())
}
