//! Sums of bytes in different units.

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd::dispatch;

use super::finish::{limit, round};

const CHUNK: usize = 16 * 1024;

/// The units of a sum of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Addition {
    /// The unit of each operand, divided by that of the sum.
    pub ratios: [f32; 2],
    /// The bytes that mean 0 in the operands.
    pub zeros: [u8; 2],
    /// The byte that means 0 in the sum.
    pub zero: u8,
    /// The least and the largest byte of the sum.
    pub limits: [u8; 2],
}

/// Computes the sums of the elements of two operands of the same length.
///
/// # Panics
///
/// When an operand is shorter than `out`.
pub fn add(addition: &Addition, [a, b]: [&[u8]; 2], out: &mut [u8]) {
    let Addition { ratios, zeros, zero, limits } = *addition;
    let shift =
        f32::from(zero) - (ratios[0] * f32::from(zeros[0]) + ratios[1] * f32::from(zeros[1]));
    let limits = limits.map(f32::from);
    for_each_chunk(out, CHUNK, 1, |index, out| {
        let a = &a[index * CHUNK..][..out.len()];
        let b = &b[index * CHUNK..][..out.len()];
        dispatch(
            #[inline(always)]
            || {
                for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    let x = f32::from(a) * ratios[0] + shift;
                    let x = f32::from(b) * ratios[1] + x;
                    *out = round(limit(x, limits)) as u8;
                }
            },
        );
    });
}
