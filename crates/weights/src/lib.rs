//! Weights of other frameworks: a single function opens the files of PyTorch,
//! Keras, NumPy, Hugging Face and llama.cpp and returns named tensors.
//!
//! ```
//! use dendra_nn::tensor::{Rng, Tensor};
//! use dendra_nn::{Linear, Parameters};
//! use dendra_weights::{Weights, write_npz};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("fc.npz");
//! let trained = Linear::new(3, 2).init(&mut Rng::seed(1))?;
//! write_npz(&trained.state_dict(), &path)?;
//!
//! let weights = Weights::open(&path)?;
//! println!("{weights}");
//! let bias = weights.tensor("bias")?;
//!
//! let mut model = Linear::new(3, 2).init(&mut Rng::seed(2))?;
//! weights.load_into(&mut model)?;
//! assert_eq!(model.state_dict(), trained.state_dict());
//! # assert_eq!(bias.shape().to_vec(), [2]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Weights::open`] detects the format from the content of the file, whatever
//! its name:
//!
//! | format | files |
//! |---|---|
//! | safetensors | one file, a folder, or an index of several files |
//! | PyTorch | `.pt`, `.pth`, `.bin` of `torch.save`; an index of several files |
//! | NumPy | `.npy`, `.npz` |
//! | GGUF | unquantised, and quantised as Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K |
//! | Keras | `.keras`, `.weights.h5`, `.h5`; other HDF5 files of numbers |
//!
//! Opening reads only names and shapes. The values of a tensor are read on
//! demand, by ranges of the file, into the memory of that tensor. A file that
//! changes in between gives an error or other values, never undefined
//! behaviour; it is not memory-mapped.
//!
//! Layouts are converted by [`Weights::from_keras_layout`],
//! [`Weights::from_hugging_face`], [`Weights::transposed`] and
//! [`Weights::without_ties`].
//!
//! Files are not trusted. A pickle is never executed: only tensors, numbers,
//! strings and their containers are read from PyTorch files. Anything else is
//! an error with its name.

mod archive;
mod convert;
mod gguf;
mod hdf5;
mod json;
mod keras;
mod numpy;
mod open;
mod pytorch;
mod safetensors;
mod source;
mod values;
mod weights;

pub use numpy::write_npz;
pub use weights::{Format, Weight, Weights};
