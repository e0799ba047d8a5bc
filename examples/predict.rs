//! Reads a digit from an image file, or from the test set, with the network
//! that `mnist_cnn` saved.

use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::prelude::*;

mod picture;

/// Reads a handwritten digit with a saved network
#[derive(Parser)]
struct Arguments {
    /// An image file (PNG or PGM), or the index of a test digit
    digit: PathBuf,
    /// The network, as mnist_cnn saves it
    #[arg(long, value_name = "FILE", default_value = "mnist_cnn.safetensors")]
    model: PathBuf,
    /// Folder with the four MNIST files, for a test digit
    #[arg(long, value_name = "DIR", env = "MNIST_DIR")]
    data: Option<PathBuf>,
    /// Take the test digit from the generated ones
    #[arg(long)]
    synthetic: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model: Sequential = Sequential::load(&arguments.model)?;
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

/// The image as MNIST has them: light ink on dark ground, the digit scaled to
/// 20 pixels and its centre of mass put in the middle of 28 × 28.
fn read_image(path: &Path) -> Result<Tensor> {
    const SIDE: usize = 28;
    let refuse = |message: String| Error::file(path, message);
    let mut image = image::open(path).map_err(|error| refuse(error.to_string()))?.into_luma8();
    let light: f64 = image.iter().map(|&pixel| f64::from(pixel)).sum();
    // Most of a digit's picture is ground, so a light picture has dark ink.
    if light > 127.5 * image.len() as f64 {
        image::imageops::invert(&mut image);
    }
    let ink = |&(.., pixel): &(u32, u32, &image::Luma<u8>)| pixel[0] > 127;
    let Some((left, right)) = extent(image.enumerate_pixels().filter(ink).map(|(x, ..)| x)) else {
        return Err(refuse("there is no digit to be seen".to_owned()));
    };
    let (top, bottom) =
        extent(image.enumerate_pixels().filter(ink).map(|(_, y, _)| y)).unwrap_or_default();
    let digit = image::DynamicImage::from(image);
    let digit = digit.crop_imm(left, top, right - left + 1, bottom - top + 1);
    let digit = digit.resize(20, 20, image::imageops::FilterType::Triangle).into_luma8();
    // How far to move it along an axis, of which it has so many pixels.
    let mass: f64 = digit.iter().map(|&pixel| f64::from(pixel)).sum();
    let shift = |length: u32, place: fn(u32, u32) -> u32| {
        let moment = |(x, y, pixel): (u32, u32, &image::Luma<u8>)| {
            f64::from(place(x, y)) * f64::from(pixel[0])
        };
        let centre = digit.enumerate_pixels().map(moment).sum::<f64>() / mass;
        ((SIDE as f64 / 2.0 - centre).round() as usize).min(SIDE - length as usize)
    };
    let (right, down) = (shift(digit.width(), |x, _| x), shift(digit.height(), |_, y| y));
    let mut pixels = vec![0.0; SIDE * SIDE];
    for (x, y, pixel) in digit.enumerate_pixels() {
        pixels[(y as usize + down) * SIDE + x as usize + right] = f32::from(pixel[0]) / 255.0;
    }
    Tensor::from_vec(pixels, [1, 1, SIDE, SIDE])
}

/// The smallest and the largest of some numbers.
fn extent(numbers: impl Iterator<Item = u32> + Clone) -> Option<(u32, u32)> {
    Some((numbers.clone().min()?, numbers.max()?))
}
