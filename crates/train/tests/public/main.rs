//! The public interface of `dendra-train`.
//!
//! The tests are one program: each program links the whole library.

mod callbacks;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod gathering;
mod looking;
mod models;
mod order;
mod reproducible;
mod scikit_learn;
