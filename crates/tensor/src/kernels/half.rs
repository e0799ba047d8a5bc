//! Conversions between `f32` and floats of 16 bits, given as their bits.
//!
//! The scalar functions have no branches, so that the compiler makes vectors of the loops. For
//! `f16`, the CPUs with AVX2 also have instructions, which give the same bits.

use super::simd;
use crate::half::{bf16, f16};

// SAFETY: zero bits are the number 0, and the types are `u16` without padding.
unsafe impl bytemuck::Zeroable for f16 {}
// SAFETY: as above; every bit pattern is a value.
unsafe impl bytemuck::Pod for f16 {}
// SAFETY: as for `f16`.
unsafe impl bytemuck::Zeroable for bf16 {}
// SAFETY: as for `f16`.
unsafe impl bytemuck::Pod for bf16 {}

/// Rounds to IEEE half precision.
#[inline(always)]
pub(crate) const fn f16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Subtracts the difference of the exponents' biases, and adds a half of the last place, less 1
    // for even values.
    let normal = magnitude.wrapping_add(0xc800_0fff + (magnitude >> 13 & 1)) >> 13;
    // The last place of 1/2 is that of the subnormal halves.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let nan = 0x7e00 | magnitude >> 13 & 0x3ff;
    let half = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let half = if magnitude >= 0x477f_f000 { 0x7c00 } else { half };
    let half = if magnitude > 0x7f80_0000 { nan } else { half };
    (half | bits >> 16 & 0x8000) as u16
}

/// Widens IEEE half precision.
#[inline(always)]
pub(crate) const fn f16_to_f32(half: u16) -> f32 {
    let magnitude = (half as u32 & 0x7fff) << 13;
    // The product moves the exponent, and normalises subnormal halves.
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let quiet = if magnitude > 0x0f80_0000 { 0x0040_0000 } else { 0 };
    let value = if magnitude >= 0x0f80_0000 { magnitude | 0x7f80_0000 | quiet } else { finite };
    f32::from_bits(value | (half as u32 & 0x8000) << 16)
}

/// Rounds to the upper half of an `f32`.
#[inline(always)]
pub(crate) const fn bf16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

/// Widens the upper half of an `f32`.
#[inline(always)]
pub(crate) const fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits((half as u32) << 16)
}

/// Converts each element.
#[inline(always)]
fn each<A: Copy, B>(from: &[A], to: &mut [B], convert: impl Fn(A) -> B) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = convert(from);
    }
}

macro_rules! slices {
    ($($name:ident $convert:ident $from:ty => $to:ty $(, $instructions:ident)?;)*) => {$(
        /// Converts each element.
        ///
        /// # Panics
        ///
        /// When the lengths differ.
        pub(crate) fn $name(from: &[$from], to: &mut [$to]) {
            assert_eq!(from.len(), to.len(), "as many halves as floats");
            $(
                #[cfg(target_arch = "x86_64")]
                if x86::has_f16c() {
                    // SAFETY: the instructions were detected, and the lengths are equal.
                    return unsafe { x86::$instructions(from, to) };
                }
            )?
            simd::dispatch(
                #[inline(always)]
                || each(from, to, $convert),
            );
        }
    )*};
}
slices! {
    narrow_f16 f16_from_f32 f32 => u16, narrow;
    widen_f16 f16_to_f32 u16 => f32, widen;
    narrow_bf16 bf16_from_f32 f32 => u16;
    widen_bf16 bf16_to_f32 u16 => f32;
}

/// The instructions of F16C.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps,
        _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_storeu_ps,
    };
    use std::sync::OnceLock;

    use super::{each, f16_from_f32, f16_to_f32, simd};

    /// Floats in a register.
    const LANES: usize = 8;

    pub(super) fn has_f16c() -> bool {
        static FOUND: OnceLock<bool> = OnceLock::new();
        simd::has_avx2() && *FOUND.get_or_init(|| is_x86_feature_detected!("f16c"))
    }

    /// Converts whole registers, and then the other elements.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX2 and F16C, and the slices must have the same length.
    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn narrow(from: &[f32], to: &mut [u16]) {
        let whole = from.len() - from.len() % LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: a register from `i` on is within both slices.
            unsafe {
                let floats = _mm256_loadu_ps(from.as_ptr().add(i));
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
                _mm_storeu_si128(to.as_mut_ptr().add(i).cast(), halves);
            }
        }
        each(&from[whole..], &mut to[whole..], f16_from_f32);
    }

    /// Converts whole registers, and then the other elements.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX2 and F16C, and the slices must have the same length.
    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn widen(from: &[u16], to: &mut [f32]) {
        let whole = from.len() - from.len() % LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: a register from `i` on is within both slices.
            unsafe {
                let halves = _mm_loadu_si128(from.as_ptr().add(i).cast());
                _mm256_storeu_ps(to.as_mut_ptr().add(i), _mm256_cvtph_ps(halves));
            }
        }
        each(&from[whole..], &mut to[whole..], f16_to_f32);
    }
}
