//! Transformers for text, with the names of the library transformers.

mod attention;
mod batch;
mod bert;
mod bert_heads;
mod distilbert;
mod gpt2;
mod llama;
mod rotary;
mod sentence;

pub use batch::*;
pub use bert::*;
pub use bert_heads::*;
pub use distilbert::*;
pub use gpt2::*;
pub use llama::*;
pub use rotary::RopeScaling;
pub use sentence::*;
