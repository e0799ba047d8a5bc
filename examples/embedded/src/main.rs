//! A network embedded in a program, which needs no files and contains no
//! training code.
//!
//! Reads 28 × 28 bytes, from 0 for paper to 255 for ink, and prints the digit.
//! `mnist_cnn.safetensors`, which the example `mnist_cnn` saves, must be in the
//! folder of `Cargo.toml` when this program is compiled.

use std::io::Read;

use dendra::prelude::*;

static MODEL: &[u8] = include_bytes!("../mnist_cnn.safetensors");

fn main() -> Result<()> {
    let model = Sequential::from_bytes(MODEL)?;
    let mut pixels = Vec::new();
    let limit = 28 * 28 + 1;
    std::io::stdin()
        .take(limit)
        .read_to_end(&mut pixels)
        .map_err(|error| Error::io("the standard input", error))?;
    let pixels = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let x = Tensor::from_vec(pixels, [1, 1, 28, 28])?;
    let probabilities = model.forward(&Var::new(x))?.value().softmax(1)?;
    let digit = probabilities.argmax(1)?.item()?;
    println!("{digit} ({:.1}%)", 100.0 * probabilities.to_vec()[digit as usize]);
    Ok(())
}
