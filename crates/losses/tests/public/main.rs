//! The public interface of `dendra-losses`.
//!
//! The tests are one program: each program links the whole library.

#[path = "../../../../tests/fixtures/reader.rs"]
mod fixtures;
mod labels;
mod pytorch_losses;
