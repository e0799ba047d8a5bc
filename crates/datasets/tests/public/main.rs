//! The public interface of `dendra-datasets`.
//!
//! The tests are one program: each program links the whole library.

mod combine;
mod datasets;
mod digits;
#[path = "../../../../tests/fixtures/reader.rs"]
mod fixtures;
mod idx;
mod image_folder;
mod loader;
mod loader_threads;
mod mixtures;
mod points;
mod pytorch_transforms;
mod sampling;
mod table;
mod text;
mod transforms;
