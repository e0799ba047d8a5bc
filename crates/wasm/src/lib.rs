//! Bindings for JavaScript: networks in browsers and in Node.js.
//!
//! [`Network`] loads a file that `Sequential::save` has written, from its
//! bytes, and predicts. With the feature `train`, `Builder` builds a network
//! and `Trainer` trains it, batch by batch, so that a page can show each step.
//! `cargo xtask wasm` builds the module and a page that uses it.
//!
//! Everything is computed in one thread, without files and clocks, because not
//! every WebAssembly host provides them.

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

/// An error as JavaScript receives it.
fn thrown(error: Error) -> JsError {
    JsError::new(&error.to_string())
}
