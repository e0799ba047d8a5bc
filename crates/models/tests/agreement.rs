//! Every family against the original: outputs and gradients of small networks,
//! and the names and shapes of the published ones.

#[path = "agreement/filling.rs"]
mod filling;
#[path = "agreement/published.rs"]
mod published;
#[path = "agreement/text.rs"]
mod text;
#[path = "agreement/vision.rs"]
mod vision;
