//! Networks in browsers and in Node.js.
//!
//! [`Network`] opens the bytes of a file that `Sequential::save` has written, and
//! predicts. With the feature `train`, `Builder` makes a network and
//! `Trainer` trains it, batch by batch, so that a page can show each step.
//! `cargo xtask wasm` builds the module and a page that uses it.
//!
//! One thread computes everything, without files and clocks: what
//! WebAssembly has wherever it runs.

mod network;
#[cfg(feature = "train")]
mod training;

#[cfg(all(test, feature = "train"))]
mod tests;

pub use network::Network;
#[cfg(feature = "train")]
pub use training::{Builder, Trainer};

use dendra_tensor::Error;
use wasm_bindgen::JsError;

/// An error as JavaScript sees it.
fn thrown(error: Error) -> JsError {
    JsError::new(&error.to_string())
}
