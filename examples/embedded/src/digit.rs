//! The picture and the answer of both programs.

use std::io::Read;

use dendra::prelude::*;

/// The 28 × 28 bytes of the standard input, as a batch of one picture.
pub fn read() -> Result<Tensor> {
    let mut pixels = Vec::new();
    let limit = 28 * 28 + 1;
    std::io::stdin()
        .take(limit)
        .read_to_end(&mut pixels)
        .map_err(|error| Error::io("the standard input", error))?;
    let pixels = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    Tensor::from_vec(pixels, [1, 1, 28, 28])
}

/// Prints the most probable digit.
pub fn print(logits: &Var) -> Result<()> {
    let probabilities = logits.value().softmax(1)?;
    let digit = probabilities.argmax(1)?.item()?;
    println!("{digit} ({:.1}%)", 100.0 * probabilities.to_vec()[digit as usize]);
    Ok(())
}
