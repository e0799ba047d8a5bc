//! Layers, initialisers, [`Sequential`], and models on disk.
//!
//! - [`Module`] is a forward pass from one value to another, [`Model`] one from
//!   any input to any output. `#[derive(Parameters)]` collects the parameters
//!   and buffers of a struct of layers.
//! - [`layers`] contains the layers, one file each. The constructor of a layer
//!   returns its settings; `init` creates the layer and draws its weights.
//! - [`Init`] is the distribution of initial values; the defaults are PyTorch's.
//!   [`initialise`] draws the parameters of a whole model again.
//! - [`Sequential`] stacks layers, infers their shapes, and saves its
//!   architecture with its weights.
//! - [`save`] and [`load`] exchange the state of any model with PyTorch, as
//!   safetensors files.
//!
//! ```
//! use dendra_nn::autograd::{Tape, Var};
//! use dendra_nn::tensor::{Ops, Result, Rng, Tensor};
//! use dendra_nn::{Linear, Module, Parameters};
//!
//! #[derive(Parameters)]
//! #[parameters(crate = dendra_nn)]
//! struct Net {
//!     fc1: Linear,
//!     fc2: Linear,
//! }
//!
//! impl Module for Net {
//!     fn forward(&self, x: &Var) -> Result<Var> {
//!         self.fc2.forward(&self.fc1.forward(x)?.relu())
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let mut rng = Rng::seed(42);
//! let net = Net {
//!     fc1: Linear::new(784, 64).init(&mut rng)?,
//!     fc2: Linear::new(64, 10).init(&mut rng)?,
//! };
//! let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
//! assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
//!
//! // Training: operations on a value of the tape are recorded.
//! let x = Tape::training(0, 0).input(Tensor::zeros([32, 784]));
//! let gradients = net.forward(&x)?.square().mean().backward()?;
//! assert!(gradients.get(&net.fc1.weight).is_some());
//!
//! // Inference: a plain value has no tape, so nothing is recorded.
//! let logits = net.forward(&Var::new(Tensor::zeros([1, 784])))?;
//! assert_eq!(*logits.shape(), [1, 10]);
//! # Ok(())
//! # }
//! ```

// `Linear::new` returns the settings of a layer; `init` creates the layer.
#![allow(clippy::new_ret_no_self)]

// The derive generates paths that start with `::dendra`, the facade crate. This
// alias makes them valid inside this crate.
extern crate self as dendra;

mod context;
mod file;
mod init;
mod layer;
pub mod layers;
mod module;
mod sequential;
mod settings;
mod trace;

pub use dendra_autograd as autograd;
pub use dendra_autograd::Parameters;
pub use dendra_derive::Parameters;
pub use dendra_tensor as tensor;

pub use file::{
    CHECKPOINT_KEY, Dtype, StateFile, Stored, StoredTensors, check_writable, load, load_matching,
    remove_unfinished, save, tensor_from_bytes, write_whole,
};
pub use init::{Distribution, FanMode, Fans, Init, Nonlinearity, Source, initialise};
pub use layer::Layer;
pub use layers::*;
pub use module::{Model, Module, Output};
pub use sequential::{
    IntoLayer, Join, LayerOf, LayerPlan, LayerSettings, Parallel, ParallelSettings, Residual,
    ResidualSettings, SavedLayer, Sequential, SequentialBuilder, SequentialSettings, Summary,
    SummaryRow, register_layer,
};
pub use trace::{Executed, Node, NodeKind, Part, Setting, Size, Trace};
