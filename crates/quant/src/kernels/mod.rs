//! Products and other loops over bytes, with the same bits on every CPU.
//!
//! Activations are `u8`, weights `i8`, and sums `i32`, which are exact: no
//! instruction that saturates is used, so all instruction sets agree. What
//! follows a sum is a fixed list of operations on `f32` without fused
//! multiplications, with halves rounded to the even number (`finish.rs`).
//!
//! Images are `[N, H, W, C]` in memory: the taps of a convolution are then runs
//! of bytes, and its output is the matrix of a product.

mod add;
mod depthwise;
mod finish;
mod image;
mod lane;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod order;
mod packed;
mod pool;
mod portable;
mod quantise;
mod span;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use add::{Addition, add};
pub use depthwise::{DepthwiseWeights, depthwise};
pub use finish::{Dequantise, Finish, PerRow, Requantise, Sums};
pub use image::{Image, Window};
pub use level::Level;
pub use order::{to_channels_first, to_channels_last};
pub use packed::{MAX_DEPTH, Packed, Source, product};
pub use pool::max_pool;
pub use quantise::{dequantise, quantise};
