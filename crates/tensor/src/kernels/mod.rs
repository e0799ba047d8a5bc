//! The loops that do the work: SIMD dispatch, parallel splitting, matrix
//! products, convolutions, recurrent cells, attention, and vectorisable
//! polynomials for elementary functions.

pub(crate) mod attention;
pub(crate) mod channels;
pub(crate) mod convolution;
pub(crate) mod dropout;
pub mod epilogue;
pub(crate) mod fold;
pub mod gemm;
pub(crate) mod half;
#[cfg(feature = "linalg")]
pub(crate) mod linear_algebra;
pub(crate) mod math;
pub(crate) mod matrices;
pub(crate) mod offsets;
pub mod parallel;
pub(crate) mod quarters;
pub mod recurrent;
pub mod simd;
mod team;
pub(crate) mod transpose;
pub mod vector;
pub(crate) mod windows;
