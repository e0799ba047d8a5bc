//! Models behind HTTP.
mod settings;
pub use settings::{Log, ModelFile, Settings};
