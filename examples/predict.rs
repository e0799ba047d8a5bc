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

/// The image as MNIST has them: 28 × 28, light ink on dark ground, 0 to 1.
fn read_image(path: &Path) -> Result<Tensor> {
    let image = image::open(path).map_err(|error| Error::file(path, error.to_string()))?;
    let image = image.resize_exact(28, 28, image::imageops::FilterType::Triangle).into_luma8();
    let pixels: Vec<f32> = image.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    // Most of a digit's picture is ground, so a light picture has dark ink.
    let is_dark_on_light = pixels.iter().sum::<f32>() > 0.5 * pixels.len() as f32;
    let ink = |pixel| if is_dark_on_light { 1.0 - pixel } else { pixel };
    Tensor::from_vec(pixels.into_iter().map(ink).collect(), [1, 1, 28, 28])
}
