//! Data sets, loaders and generators for Dendra.
//!
//! A [`Dataset`] hands out batches of samples by index; a [`DataLoader`] deals
//! one out in shuffled batches; a trainer takes either. There is [`Mnist`],
//! read from files, downloaded or generated, and there are small generated
//! sets to try a network on: [`moons`], [`spirals`], [`blobs`], [`friedman`]
//! and [`digits`]. Samples of your own go into a [`TensorDataset`] or an
//! [`ImageDataset`], or behind a `Dataset` implementation of your own.

mod cache;
mod dataset;
mod digits;
#[cfg(feature = "download")]
mod download;
mod idx;
mod images;
mod loader;
mod mnist;
mod points;
mod tensors;

pub use dataset::{Batch, Dataset, Subset};
pub use digits::digits;
pub use idx::read_idx;
pub use images::{ImageDataset, Normalization};
pub use loader::{DataLoader, Epoch};
pub use mnist::{Mnist, MnistOptions, MnistSource};
pub use points::{blobs, friedman, moons, spirals};
pub use tensors::TensorDataset;
