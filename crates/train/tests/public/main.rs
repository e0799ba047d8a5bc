//! The public interface of `dendra-train`.
//!
//! The tests are one program: each program links the whole library.

// `#[derive(Parameters)]` names the facade.
extern crate dendra_nn as dendra;

mod callbacks;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod gathering;
mod looking;
mod mixed;
mod models;
mod order;
mod reproducible;
mod scikit_learn;
