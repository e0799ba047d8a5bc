//! Classifies a digit from an image file, or from the test set, with the
//! network saved by `mnist_cnn`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::datasets::decode_image;
use dendra::datasets::transforms::{Image, Resize, Transform};
use dendra::prelude::*;

mod picture;

/// Classifies a handwritten digit with a saved network
#[derive(Parser)]
struct Arguments {
    /// An image file (PNG or JPEG), or the index of a test digit
    digit: PathBuf,
    /// The network saved by mnist_cnn
    #[arg(long, value_name = "FILE", default_value = "mnist_cnn.safetensors")]
    model: PathBuf,
    /// Folder with the four MNIST files, for a test digit
    #[arg(long, value_name = "DIR", env = "MNIST_DIR")]
    data: Option<PathBuf>,
    /// Use a generated test digit
    #[arg(long)]
    synthetic: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model: Sequential = Sequential::load(&arguments.model).map_err(|error| match error {
        Error::Io { path, .. } if !path.exists() => {
            Error::file(path, "the file does not exist: run the example mnist_cnn to create it")
        }
        error => error,
    })?;
    let (image, label) = match arguments.digit.to_str().and_then(|digit| digit.parse().ok()) {
        Some(index) => {
            let options = Mnist::options().dir(arguments.data).synthetic(arguments.synthetic);
            let (image, label) = options.load()?.test.batch(&[index])?;
            (image, Some(label))
        }
        None => (read_image(&arguments.digit)?, None),
    };
    let probabilities = model.forward(&Var::new(image.clone()))?.value().softmax(1)?;
    picture::show(&image, &probabilities, label.as_ref())?;
    for (digit, probability) in probabilities.to_vec().into_iter().enumerate() {
        let bar = "█".repeat((40.0 * probability).round() as usize);
        println!("{digit} {:6.1}%  {bar}", 100.0 * probability);
    }
    Ok(())
}

/// Converts the image to the form of MNIST: light ink on a dark background,
/// with the digit scaled to 20 pixels and its centre of mass in the middle of
/// 28 × 28.
fn read_image(path: &Path) -> Result<Tensor> {
    const SIDE: usize = 28;
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let mut image =
        decode_image(&bytes, true).map_err(|error| Error::file(path, error.to_string()))?;
    let light: f64 = image.pixels().iter().map(|&pixel| f64::from(pixel)).sum();
    // Most of the picture is background, so a light picture has dark ink.
    if light > 127.5 * image.pixels().len() as f64 {
        image.pixels_mut().iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
    }
    let width = image.shape()[2];
    let ink = image.pixels().iter().enumerate().filter(|&(_, &pixel)| pixel > 127);
    let Some((left, right)) = bounds(ink.clone().map(|(i, _)| i % width)) else {
        return Err(Error::file(path, "expected a digit, got an empty picture"));
    };
    let (top, bottom) = bounds(ink.map(|(i, _)| i / width)).unwrap_or_default();
    let rows = image.pixels().chunks_exact(width).take(bottom + 1).skip(top);
    let digit = rows.flat_map(|row| &row[left..=right]).copied().collect();
    let [height, width] = [bottom - top + 1, right - left + 1];
    let digit = Image::new([1, height, width], digit)?;

    let longer = height.max(width) as f64;
    let [height, width] = [height, width].map(|n| (20.0 * n as f64 / longer).round().max(1.0));
    let [height, width] = [height as usize, width as usize];
    let digit = Resize::new(height, width).apply(digit, &mut Rng::seed(0));
    let pixels = digit.pixels().iter().map(|&pixel| f64::from(pixel));
    let mass: f64 = pixels.clone().sum();
    // The shift that moves the centre of the digit to the middle of an axis.
    let shift = |length: usize, index: fn(usize, usize) -> usize| {
        let moment = |(i, pixel): (usize, f64)| index(i, width) as f64 * pixel;
        let centre = pixels.clone().enumerate().map(moment).sum::<f64>() / mass;
        ((SIDE as f64 / 2.0 - centre).round() as usize).min(SIDE - length)
    };
    let (right, down) = (shift(width, |i, width| i % width), shift(height, |i, width| i / width));
    let mut centred = vec![0.0; SIDE * SIDE];
    for (i, pixel) in pixels.clone().enumerate() {
        centred[(i / width + down) * SIDE + i % width + right] = pixel as f32 / 255.0;
    }
    Tensor::from_vec(centred, [1, 1, SIDE, SIDE])
}

/// The smallest and the largest of some numbers.
fn bounds(numbers: impl Iterator<Item = usize> + Clone) -> Option<(usize, usize)> {
    Some((numbers.clone().min()?, numbers.max()?))
}
