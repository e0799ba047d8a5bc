//! Data sets, loaders and generators for Dendra.
//!
//! A [`Dataset`] hands out batches of samples by index; a [`DataLoader`] deals
//! one out in shuffled batches; a trainer takes either. There is [`Mnist`],
//! read from files, downloaded or generated, and there are small generated
//! sets to try a network on: [`moons`], [`spirals`], [`blobs`], [`friedman`]
//! and [`digits`]. Samples of your own go into a [`TensorDataset`] or an
//! [`ImageDataset`], or behind a `Dataset` implementation of your own.
//!
//! ```
//! use dendra_datasets::{DataLoader, Dataset, Mnist};
//! use dendra_tensor::Rng;
//!
//! let mnist = Mnist::synthetic(1000, 100, 42);
//! let (train, validation) = mnist.train.split(0.9, &mut Rng::seed(1))?;
//! let loader = DataLoader::new(&train).batch_size(32).shuffle(42);
//! for batch in loader.epoch(0) {
//!     let (images, labels) = batch?;
//!     assert_eq!(&images.shape()[1..], [1, 28, 28]);
//!     assert_eq!(labels.rank(), 1);
//! }
//! assert_eq!(validation.len(), 100);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```
//!
//! # Features
//!
//! - `download` (on by default): MNIST is downloaded when it is nowhere on
//!   this machine, over http, checked against its SHA-256.
//! - `https`: the download goes over https; needs a C compiler to build.

mod cache;
mod combine;
mod curves;
mod dataset;
mod digits;
#[cfg(feature = "download")]
mod download;
mod draw;
mod idx;
mod images;
mod loader;
mod mnist;
mod points;
mod sequences;
mod tensors;
mod text;
pub mod transforms;

pub use combine::{CachedDataset, ConcatDataset, MapDataset};
pub use curves::{friedman, linear, sine};
pub use dataset::{Batch, Dataset, Subset};
pub use digits::digits;
pub use draw::Draw;
pub use idx::read_idx;
pub use images::{ImageDataset, Normalization};
pub use loader::{DataLoader, Epoch, Prefetch};
pub use mnist::{Mnist, MnistOptions, MnistSource};
pub use points::{blobs, circles, moons, spirals, xor};
pub use sequences::{Padded, SequenceDataset, pad_sequence};
pub use tensors::TensorDataset;
pub use text::{TextDataset, Vocabulary, read_text};
pub use transforms::TransformDataset;
