//! The public interface of `dendra-nn`.
//!
//! The tests are one program: each program links the whole library.

mod derive;
#[path = "../../../../tests/fixtures/reader.rs"]
mod fixtures;
mod gradients;
mod hostile_files;
mod pytorch_accepts;
mod pytorch_interchange;
mod pytorch_layers;
mod pytorch_sequences;
mod saved_networks;
mod traces;
