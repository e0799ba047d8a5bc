//! Vectors of x86: AVX-512, and AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Kernel, Vector};

/// Runs a kernel compiled for AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn run_avx512<T, V: Vector<T>, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// Runs a kernel compiled for AVX2 with fused multiplication and addition.
#[target_feature(enable = "avx2,fma")]
pub(super) fn run_avx2<T, V: Vector<T>, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

vectors! {
    Avx512F32(__m512) = 16 of f32, 32 registers:
    splat _mm512_set1_ps, load _mm512_loadu_ps, store _mm512_storeu_ps, add _mm512_add_ps,
    subtract _mm512_sub_ps, multiply _mm512_mul_ps,
        multiply_add |sum, a, b| _mm512_fmadd_ps(a, b, sum),
    part |from, to, value, count|
        load _mm512_maskz_loadu_ps((1u32 << count).wrapping_sub(1) as u16, from),
        store _mm512_mask_storeu_ps(to, (1u32 << count).wrapping_sub(1) as u16, value),
    total |x| _mm512_reduce_add_ps(x),
    zip |left, right| {
        let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
        [first, second].map(|lanes| _mm512_permutex2var_ps(left, lanes, right))
    };

    Avx512F64(__m512d) = 8 of f64, 32 registers:
    splat _mm512_set1_pd, load _mm512_loadu_pd, store _mm512_storeu_pd, add _mm512_add_pd,
    subtract _mm512_sub_pd, multiply _mm512_mul_pd,
        multiply_add |sum, a, b| _mm512_fmadd_pd(a, b, sum),
    part |from, to, value, count|
        load _mm512_maskz_loadu_pd((1u32 << count).wrapping_sub(1) as u8, from),
        store _mm512_mask_storeu_pd(to, (1u32 << count).wrapping_sub(1) as u8, value),
    total |x| _mm512_reduce_add_pd(x),
    zip |left, right| {
        let first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
        let second = _mm512_add_epi64(first, _mm512_set1_epi64(4));
        [first, second].map(|lanes| _mm512_permutex2var_pd(left, lanes, right))
    };

    Avx2F32(__m256) = 8 of f32, 16 registers:
    splat _mm256_set1_ps, load _mm256_loadu_ps, store _mm256_storeu_ps, add _mm256_add_ps,
    subtract _mm256_sub_ps, multiply _mm256_mul_ps,
        multiply_add |sum, a, b| _mm256_fmadd_ps(a, b, sum),
    part |from, to, value, count|
        load _mm256_maskload_ps(from, first_of_8(count)),
        store store_first_of_8(to, count, value),
    total |x| {
        let halves = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
        _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
    },
    zip |left, right| {
        let (low, high) = (_mm256_unpacklo_ps(left, right), _mm256_unpackhi_ps(left, right));
        [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
    };

    Avx2F64(__m256d) = 4 of f64, 16 registers:
    splat _mm256_set1_pd, load _mm256_loadu_pd, store _mm256_storeu_pd, add _mm256_add_pd,
    subtract _mm256_sub_pd, multiply _mm256_mul_pd,
        multiply_add |sum, a, b| _mm256_fmadd_pd(a, b, sum),
    part |from, to, value, count|
        load _mm256_maskload_pd(from, first_of_4(count)),
        store _mm256_maskstore_pd(to, first_of_4(count), value),
    total |x| {
        let halves = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
        _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)))
    },
    zip |left, right| {
        let (low, high) = (_mm256_unpacklo_pd(left, right), _mm256_unpackhi_pd(left, right));
        [_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)]
    };
}

/// All bits in the first `count` lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of_8(count: usize) -> __m256i {
    let numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), numbers)
}

/// Writes the first lanes, fewer than all. AMD's processors before Zen 4
/// take tens of cycles for a masked store.
///
/// # Safety
///
/// `to` has memory for `count` numbers.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn store_first_of_8(mut to: *mut f32, count: usize, value: __m256) {
    let mut rest = _mm256_castps256_ps128(value);
    // SAFETY: the number of written numbers is that of the bits of the
    // count.
    unsafe {
        if count & 4 != 0 {
            _mm_storeu_ps(to, rest);
            to = to.add(4);
            rest = _mm256_extractf128_ps::<1>(value);
        }
        if count & 2 != 0 {
            to.cast::<f64>().write_unaligned(_mm_cvtsd_f64(_mm_castps_pd(rest)));
            to = to.add(2);
            rest = _mm_movehl_ps(rest, rest);
        }
        if count & 1 != 0 {
            to.write(_mm_cvtss_f32(rest));
        }
    }
}

/// All bits in the first `count` lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of_4(count: usize) -> __m256i {
    let numbers = _mm256_setr_epi64x(0, 1, 2, 3);
    _mm256_cmpgt_epi64(_mm256_set1_epi64x(count as i64), numbers)
}
