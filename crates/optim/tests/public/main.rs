//! The public interface of `dendra-optim`.
//!
//! The tests are one program: each program links the whole library.

#[path = "../../../../tests/fixtures/reader.rs"]
mod fixtures;
mod given;
mod pytorch_optim;
mod state;
mod steps;
