//! The public interface of `dendra-weights`.
//!
//! The tests are one program: each program links the whole library.

mod files;
mod keras;
