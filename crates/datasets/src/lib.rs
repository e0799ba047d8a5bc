//! Data sets, loaders and generators for Dendra.
//!
//! A [`Dataset`] gives batches of samples by index. A [`DataLoader`] divides it
//! into batches: shuffled, weighted or balanced, and gathered on demand or
//! ahead on background threads. A trainer takes a data set.
//!
//! - Known sets, read from files or downloaded: [`Mnist`], [`FashionMnist`],
//!   [`Kmnist`], [`Emnist`], [`Cifar10`], [`Cifar100`].
//! - Generated sets to try a network on: [`moons`], [`circles`], [`spirals`],
//!   [`blobs`], [`xor`], [`friedman`], [`linear`], [`sine`] and [`digits`].
//! - Data of your own: in a [`TensorDataset`], an [`ImageDataset`] or a
//!   [`SequenceDataset`], in a [`SampleDataset`] for inputs of any kind, in
//!   folders of pictures (`ImageFolder`), in tables (`Csv`), in a
//!   [`TextDataset`], or behind a `Dataset` implementation. A [`Vocabulary`] of
//!   bytes, characters or words turns texts into numbers.
//! - Parts and compositions: [`Dataset::split`],
//!   [`Dataset::split_stratified`], [`Subset`], [`ConcatDataset`],
//!   [`MapDataset`], [`CachedDataset`]; and [`transforms`] for images.
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
//! - `download` (on by default): a known data set that is not on this machine
//!   is downloaded over http and verified with its SHA-256. The module
//!   `download` does this for other files, too.
//! - `git-checksums`: verifies files of Git repositories, such as those of models.
//! - `archives`: unpacks the archives that CIFAR and EMNIST are downloaded as.
//! - `images`: folders of PNG and JPEG pictures.
//! - `tables`: CSV and other delimited files.

#[cfg(feature = "archives")]
mod archive;
mod cache;
mod cifar;
mod combine;
mod curves;
mod dataset;
mod digit_files;
mod digits;
#[cfg(feature = "download")]
pub mod download;
mod draw;
mod fault;
mod gzip;
mod idx;
#[cfg(feature = "images")]
mod image_encoder;
#[cfg(feature = "images")]
mod image_file;
#[cfg(feature = "images")]
mod image_folder;
mod images;
mod loader;
mod mnist;
mod points;
mod prediction;
mod preprocessing;
mod samples;
mod saved;
mod search;
mod sequences;
mod splits;
#[cfg(feature = "tables")]
mod table;
mod tensors;
mod text;
mod text_encoder;
pub mod transforms;
mod vocabulary;

#[cfg(feature = "archives")]
pub use archive::{unpack_tar, visit_tar};
pub use cifar::parse_cifar10;
pub use combine::{CachedDataset, ConcatDataset, MapDataset};
pub use curves::{friedman, linear, sine};
pub use dataset::{Batch, Dataset, Subset};
pub use digits::digits;
pub use draw::Draw;
pub use idx::{IdxElement, parse_idx, parse_idx_as, read_idx, read_idx_as};
#[cfg(feature = "images")]
pub use image_encoder::ImageEncoder;
#[cfg(feature = "images")]
pub use image_file::decode_image;
#[cfg(feature = "images")]
pub use image_folder::ImageFolder;
pub use images::{ImageDataset, Normalization};
pub use loader::{DataLoader, Epoch, Prefetch};
pub use mnist::{Mnist, MnistOptions, MnistSource};
pub use points::{blobs, circles, moons, spirals, xor};
pub use prediction::{Prediction, probabilities};
pub use preprocessing::{Prepare, Preprocessing};
pub use samples::Samples;
pub use saved::{
    AnyPreprocessing, classes_from_metadata, data_to_metadata, preprocessing_from_metadata,
};
pub use sequences::{Padded, SequenceDataset, pad_sequence};
pub use splits::{
    Cifar10, Cifar100, Emnist, EmnistSplit, FashionMnist, ImageSplits, ImageSplitsOptions, Kmnist,
};
#[cfg(feature = "tables")]
pub use table::{
    Column, Csv, EncodedColumn, Encoder, Missing, Scaling, Table, TableEncoding, classes,
};
pub use tensors::{SampleDataset, TensorDataset};
pub use text::{TextDataset, parse_text, read_text};
pub use text_encoder::TextEncoder;
pub use transforms::TransformDataset;
pub use vocabulary::Vocabulary;
