//! Reading, running, training and writing ONNX models.
//!
//! [`Model::load`] reads and checks a file; the error lists all operators that
//! are not supported. [`Model::run`] takes inputs by name. The float
//! initializers of a model are its parameters. A model with one input is a
//! [`Module`](dendra_nn::Module), so it can be trained, frozen and saved like
//! any other.
//!
//! ```no_run
//! use dendra_onnx::Model;
//! use dendra_tensor::Tensor;
//!
//! let model = Model::load("mobilenet.onnx")?;
//! for input in model.inputs() {
//!     println!("{} {:?}", input.name, input.kind);
//! }
//! let outputs = model.run([("input", Tensor::<f32>::zeros([1, 3, 224, 224]))])?;
//! let logits = outputs[0].to::<f32>()?;
//! # Ok::<(), dendra_tensor::Error>(())
//! ```
//!
//! [`export`] writes a Dendra model as a file.
//!
//! Element types share a few storage classes: floats of 32 and fewer bits are
//! computed in 32 bits and rounded to their type after each operation, integers
//! are computed in 64 bits and wrapped.

mod build;
mod call;
mod data;
mod element;
mod export;
mod fast;
mod fold;
mod model;
mod ops;
mod plan;
mod proto;
mod tensor;
mod value;
mod wire;

pub use dendra_tensor::{Error, Result};
pub use element::ElementType;
pub use export::{Export, export};
pub use model::{Model, Outputs};
pub use proto::{Dimension, Type, ValueInfo};
pub use tensor::TypedTensor;
pub use value::Value;
