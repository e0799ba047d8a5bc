//! The loops that do the work: SIMD dispatch, parallel splitting, matrix
//! products, and the functions of analysis as vectorisable polynomials.

pub mod gemm;
pub(crate) mod math;
pub mod parallel;
pub mod simd;
