//! One type for any model file, for programs that only predict.
//!
//! [`Network::load`] detects the format of a file: a safetensors file of a
//! `Sequential`, with or without the preprocessing and the class names of a
//! `Predictor`, a checkpoint of its training, or an ONNX model. A network
//! describes its inputs and outputs, runs on tensors, and predicts from raw
//! data: rows, pictures, texts or numbers. The command line, the server and the
//! bindings for C and browsers use it.
//!
//! ```
//! use dendra_deploy::{Answer, Network, Tensor};
//! use dendra_nn::Sequential;
//! use dendra_tensor::Rng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("flowers.safetensors");
//! let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(1))?;
//! model.save(&path)?;
//!
//! let network = Network::load(&path)?.with_classes(["daisy", "poppy", "tulip"]);
//! println!("{}", network.inputs()[0]); // input: f32 [batch, 4]
//! let outputs = network.run(&[("input", Tensor::<f32>::ones([2, 4]).into())])?;
//! assert_eq!(*outputs[0].shape(), [2, 3]);
//!
//! for answer in network.predict(Tensor::<f32>::ones([2, 4]))? {
//!     let Answer::Class(prediction) = answer else { panic!("the classes have names") };
//!     println!("{prediction}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `images`: predicts from PNG and JPEG pictures.
//! - `tables`: predicts from rows of a table.
//! - `onnx`: opens ONNX models.
//! - `quantised`: opens networks of integers, which `dendra quantize` writes.

mod answer;
mod describe;
mod json;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
mod open;
#[cfg(feature = "quantised")]
mod quantised;
mod value;

pub use dendra_tensor::{Error, Result, Tensor};

pub use answer::Answer;
pub use describe::{Axis, ElementType, Format, TensorInfo};
pub use network::Network;
pub use value::Value;
