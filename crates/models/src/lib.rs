//! Well-known networks, as plain structs that follow their papers.
//!
//! - [`vision`]: networks for images, with torchvision's parameter names.
//! - [`text`]: transformers for text, with the names of the library transformers;
//!   [`Pretrained::from_pretrained`] reads a folder in the layout of Hugging Face.
//! - `Hub`, with the feature `download`, fetches such a folder from a server.
//! - [`Generate`] continues texts: sampling, beam search.
//! - [`ImagePreprocessing`] and [`LogMel`] convert images and sound to inputs.
//! - `Tokenizer`, with the feature `tokenizers`, converts texts to token ids.
//!
//! Each network has settings with the published presets and two ways to make
//! it: `build` draws the initial values as in the original, `blank` leaves them
//! to be loaded from a file.
//!
//! ```
//! use dendra_models::ResNet;
//! use dendra_nn::autograd::Var;
//! use dendra_nn::tensor::{Rng, Tensor};
//! use dendra_nn::{Linear, Module};
//!
//! // A network of eight planes, to be small here, and a new head for three classes.
//! let rng = &mut Rng::seed(0);
//! let mut model = ResNet::resnet18().planes(8).build(rng)?;
//! model.fc = Linear::new(64, 3).init(rng)?;
//! let logits = model.forward(&Var::new(Tensor::zeros([1, 3, 32, 32])))?;
//! assert_eq!(*logits.shape(), [1, 3]);
//! # Ok::<(), dendra_nn::tensor::Error>(())
//! ```

// `Bert::new` returns the settings of a network; `build` makes the network.
#![allow(clippy::new_ret_no_self)]

mod activation;
mod build;
mod chain;
mod generate;
#[cfg(feature = "download")]
mod hub;
mod preprocess;
mod pretrained;
mod stochastic_depth;
pub mod text;
#[cfg(feature = "tokenizers")]
mod tokenizer;
pub mod vision;

pub use activation::Activation;
pub use chain::{Chain, Step};
pub use generate::Generate;
#[cfg(feature = "download")]
pub use hub::Hub;
pub use preprocess::{ImagePreprocessing, Interpolation, LogMel};
pub use pretrained::{Labels, Pretrained, load_state};
pub use stochastic_depth::StochasticDepth;
pub use text::*;
#[cfg(feature = "tokenizers")]
pub use tokenizer::Tokenizer;
pub use vision::*;
