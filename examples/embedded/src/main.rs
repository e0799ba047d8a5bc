//! A network embedded in a program, which needs no files and contains no
//! training code.
//!
//! Reads 28 × 28 bytes, from 0 for paper to 255 for ink, and prints the digit.
//! `mnist_cnn.safetensors`, which the example `mnist_cnn` saves, must be in the
//! folder of `Cargo.toml` when this program is compiled.

use dendra::prelude::*;

mod digit;

static MODEL: &[u8] = include_bytes!("../mnist_cnn.safetensors");

fn main() -> Result<()> {
    let model = Sequential::from_bytes(MODEL)?;
    digit::print(&model.forward(&Var::new(digit::read()?))?)
}
