//! Prints digits as text in a terminal, and writes them as a sheet of pictures.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use dendra::prelude::*;

/// Prints images of shape `[n, 1, 28, 28]` side by side, as many as fit into
/// the terminal. Below each are the predicted class, its probability, and the
/// true class if it is known and different.
#[allow(dead_code, reason = "some examples draw a sheet")]
pub(crate) fn show(
    images: &Tensor,
    probabilities: &Tensor,
    labels: Option<&Tensor<i64>>,
) -> Result<()> {
    let pixels = images.to_vec();
    let images: Vec<&[f32]> = pixels.chunks_exact(SIDE * SIDE).collect();
    let found = probabilities.argmax(1)?.to_vec();
    let certainties = probabilities.max_axes(&[1], false)?.to_vec();
    let truths = labels.map_or_else(|| found.clone(), Tensor::to_vec);
    let in_a_row = (dendra::train::terminal_width() / SIDE).max(1);
    for (row, images) in images.chunks(in_a_row).enumerate() {
        // Half blocks show two rows of pixels in one line of text.
        for y in (0..SIDE).step_by(2) {
            let line: String = images.iter().map(|image| half_blocks(image, y)).collect();
            println!("{}", line.trim_end());
        }
        let mut captions = String::new();
        for index in (row * in_a_row..).take(images.len()) {
            let mut caption = format!("{} ({:.1}%)", found[index], 100.0 * certainties[index]);
            if found[index] != truths[index] {
                caption += &format!(", but is {}", truths[index]);
            }
            captions += &format!("{caption:^SIDE$}");
        }
        println!("{}\n", captions.trim_end());
    }
    Ok(())
}

/// The number of pixels along a side of a digit.
#[allow(dead_code, reason = "some examples draw a sheet")]
const SIDE: usize = 28;

/// Two rows of a digit's pixels.
#[allow(dead_code, reason = "some examples draw a sheet")]
fn half_blocks(image: &[f32], y: usize) -> String {
    let ink = |x: usize, y: usize| image[y * SIDE + x] > 0.5;
    let block = |x| match (ink(x, y), ink(x, y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    (0..SIDE).map(block).collect()
}

/// Writes images of shape `[n, 1, height, width]` with values from 0 to 1 as a
/// sheet with this number of images in a row.
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
