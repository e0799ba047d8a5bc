//! From floats to bytes and back.

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd::dispatch;

use super::finish::{limit, round};

const CHUNK: usize = 16 * 1024;

/// Computes `round(x / scale) + zero`, limited to a byte; halves are rounded to
/// the even number, and NaN becomes the least byte.
///
/// # Panics
///
/// When `x` is shorter than `out`.
pub fn quantise(x: &[f32], scale: f32, zero: u8, out: &mut [u8]) {
    let range = [-f32::from(zero), 255.0 - f32::from(zero)];
    for_each_chunk(out, CHUNK, 1, |index, out| {
        let x = &x[index * CHUNK..][..out.len()];
        dispatch(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = (round(limit(x / scale, range)) + i32::from(zero)) as u8;
                }
            },
        );
    });
}

/// Computes `(x − zero) · scale`.
///
/// # Panics
///
/// When `x` is shorter than `out`.
pub fn dequantise(x: &[u8], scale: f32, zero: u8, out: &mut [f32]) {
    for_each_chunk(out, CHUNK, 1, |index, out| {
        let x = &x[index * CHUNK..][..out.len()];
        dispatch(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = (i32::from(x) - i32::from(zero)) as f32 * scale;
                }
            },
        );
    });
}
