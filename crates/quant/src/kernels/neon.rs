//! The kernel for products on 64-bit ARM: both factors are widened to 16 bits,
//! whose products are summed in 32.

use std::arch::aarch64::*;

/// The kernel for NEON; see [`Lane::tile`](super::lane::Lane::tile).
///
/// # Safety
///
/// The slices must have the lengths that `Lane::tile` asks for.
#[target_feature(enable = "neon")]
pub(super) unsafe fn neon(a: &[i16], stride: usize, rows: usize, panel: &[i8], sums: &mut [i32]) {
    let (a, panel, sums) = (a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr());
    match rows {
        // SAFETY: the caller's.
        1 => unsafe { neon_rows::<1>(a, stride, panel, sums) },
        // SAFETY: the caller's.
        2 => unsafe { neon_rows::<2>(a, stride, panel, sums) },
        // SAFETY: the caller's.
        3 => unsafe { neon_rows::<3>(a, stride, panel, sums) },
        // SAFETY: the caller's.
        4 => unsafe { neon_rows::<4>(a, stride, panel, sums) },
        _ => unreachable!("no tile has more rows"),
    }
}

/// # Safety
///
/// As [`neon`], for `ROWS` rows.
#[target_feature(enable = "neon")]
unsafe fn neon_rows<const ROWS: usize>(
    a: *const i16,
    stride: usize,
    panel: *const i8,
    sums: *mut i32,
) {
    let mut totals = [[vdupq_n_s32(0); 4]; ROWS];
    for pair in 0..stride / 2 {
        // SAFETY: the panel has 32 bytes for each pair, and each row of `a` two
        // numbers.
        unsafe {
            // The even and the odd bytes: the weights of the first and of the
            // second number of the pair.
            let weights = vld2q_s8(panel.add(32 * pair));
            for (row, totals) in totals.iter_mut().enumerate() {
                let x = a.add(row * stride + 2 * pair);
                for (weights, x) in [(weights.0, *x), (weights.1, *x.add(1))] {
                    let low = vmovl_s8(vget_low_s8(weights));
                    let high = vmovl_high_s8(weights);
                    totals[0] = vmlal_n_s16(totals[0], vget_low_s16(low), x);
                    totals[1] = vmlal_high_n_s16(totals[1], low, x);
                    totals[2] = vmlal_n_s16(totals[2], vget_low_s16(high), x);
                    totals[3] = vmlal_high_n_s16(totals[3], high, x);
                }
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        for (quarter, &total) in totals.iter().enumerate() {
            // SAFETY: there are 16 sums for each row.
            unsafe { vst1q_s32(sums.add(16 * row + 4 * quarter), total) };
        }
    }
}
