//! Networks in eight bits.

mod affine;
pub mod aware;
mod engine;
mod few_bits;
mod file;
pub mod kernels;
mod layers;
mod observe;
mod plan;
mod quantised;
mod quantizer;
mod sensitivity;
mod values;
mod weights;
mod work;

pub use affine::Affine;
pub use few_bits::FewBits;
pub use observe::Observer;
pub use quantised::{IntegerLayer, Quantised};
pub use quantizer::{Quantizer, Scheme};
pub use sensitivity::{LayerSensitivity, Sensitivity};
pub use weights::LayerWeights;
