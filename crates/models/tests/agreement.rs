//! Every family against the original: outputs and gradients of small networks,
//! the names and shapes of the published ones, continuations, and files.

#[path = "agreement/filling.rs"]
mod filling;
#[path = "agreement/generation.rs"]
mod generation;
#[path = "agreement/preprocessing.rs"]
mod preprocessing;
#[path = "agreement/pretrained.rs"]
mod pretrained;
#[path = "agreement/published.rs"]
mod published;
#[path = "agreement/text.rs"]
mod text;
#[cfg(feature = "tokenizers")]
#[path = "agreement/tokens.rs"]
mod tokens;
#[path = "agreement/vision.rs"]
mod vision;
