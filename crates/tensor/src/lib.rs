//! Tensors, kernels and differentiable operations: the crate that all other
//! crates of Dendra depend on. It depends on none of them.
//!
//! - [`Tensor`] is an n-dimensional array: shape, strides and a shared,
//!   copy-on-write, recycled buffer.
//! - [`ops`] holds the differentiable functions and the table that lists all of
//!   them; [`Ops`] has them as methods.
//! - [`kernels`] holds the loops: SIMD chosen at run time, and splitting over
//!   threads that gives the same bits for any number of threads.
//! - [`Rng`] is a counter-based random generator.
//! - [`Error`] is the one error type of all crates.
//!
//! Cargo does not optimise dependencies in development builds, which makes
//! kernels about a hundred times slower. These lines in a program's
//! `Cargo.toml` change that:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! debug-assertions = false
//! overflow-checks = false
//! ```

mod any;
#[cfg(any(test, feature = "approx"))]
mod approx;
mod buffer;
mod creation;
mod display;
mod element;
mod error;
mod half;
#[cfg(feature = "ndarray")]
mod interop;
mod joined;
pub mod kernels;
mod layout;
mod memory;
pub mod ops;
mod random;
mod shape;
mod tensor;
mod threads;
mod unoptimised;
mod window;

pub use any::{AnyTensor, Tensors};
pub use element::{Element, Float, Integer, Number, Whole};
pub use error::{Error, MatrixFault, Result};
pub use half::{Half, HalfPrecision, bf16, f16};
pub use memory::Memory;
pub use ops::MixedElement;
pub use ops::Ops;
pub use ops::attention::{AttentionMask, AttentionOptions};
pub use ops::batch_norm::{ChannelStatistics, NormStatistics};
pub use ops::conv_transpose2d::ConvTransposeOptions;
pub use ops::conv2d::{Conv2dOptions, ConvOptions};
pub use ops::cross_entropy::{CrossEntropyOptions, Reduction};
pub use ops::div_rounded::Rounding;
#[cfg(feature = "fft")]
pub use ops::fourier::{FftNorm, Fourier, StftOptions};
pub use ops::get::{Index, Indices};
pub use ops::grid_sample::{GridSampleMode, GridSampleOptions, GridSamplePadding};
pub use ops::interpolate::{Interpolate, InterpolateMode};
#[cfg(feature = "linalg")]
pub use ops::linear_algebra::LinearAlgebra;
pub use ops::max_pool2d::{Pool2dOptions, PoolOptions};
pub use ops::padding::PadMode;
pub use ops::quantile::Interpolation;
pub use ops::recurrent::RecurrentOptions;
pub use ops::scatter_reduce::ScatterReduction;
pub use ops::sections::Sections;
pub use ops::unfold::UnfoldOptions;
pub use random::Rng;
pub use shape::Shape;
pub use tensor::Tensor;
pub use threads::{num_threads, set_num_threads};
pub use unoptimised::warn_if_unoptimised;
