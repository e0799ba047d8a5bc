//! A program that only predicts: it reads a saved network and an image of zeros.

use dendra::prelude::*;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "model.safetensors".to_owned());
    let model: Sequential = Sequential::load(path)?;
    let input = Var::new(Tensor::zeros([1, 1, 28, 28]));
    let scores = model.forward(&input)?;
    println!("{:?}", scores.value().argmax(1)?.to_vec());
    Ok(())
}
