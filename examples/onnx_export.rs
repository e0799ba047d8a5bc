//! Writes a saved network of Dendra as an ONNX file, for other runtimes.

use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::onnx::Export;
use dendra::prelude::*;

/// Writes a saved network as an ONNX file
#[derive(Parser)]
struct Arguments {
    /// The network, as saved by mnist_cnn
    #[arg(default_value = "mnist_cnn.safetensors")]
    network: PathBuf,
    /// The ONNX file; by default named after the network
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let path = arguments.to.unwrap_or_else(|| arguments.network.with_extension("onnx"));
    let shape = write(&arguments.network, &path)?;
    println!("saved {}: a batch of any size of {shape}", path.display());
    Ok(())
}

/// Writes the network in a file as an ONNX file, and returns the shape of a
/// sample.
pub(crate) fn write(network: &Path, to: &Path) -> Result<Shape> {
    let network: Sequential = Sequential::load(network)?;
    let shape: Shape = [1].into_iter().chain(network.input_shape().iter().copied()).collect();
    // Zeros and ones are valid numbers and valid ids.
    let example = Tensor::from_fn(shape, |index| (index % 2) as f32);
    Export::of(&network, &example)?.save(to)?;
    Ok(network.input_shape().iter().copied().collect())
}
