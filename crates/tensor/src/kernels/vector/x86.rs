//! Vectors of x86: AVX-512, and AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Kernel, Vector, from_fn};

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
    columns |from, step| columns_of_16_f32(from, step);

    Avx512F64(__m512d) = 8 of f64, 32 registers:
    splat _mm512_set1_pd, load _mm512_loadu_pd, store _mm512_storeu_pd, add _mm512_add_pd,
    subtract _mm512_sub_pd, multiply _mm512_mul_pd,
        multiply_add |sum, a, b| _mm512_fmadd_pd(a, b, sum),
    part |from, to, value, count|
        load _mm512_maskz_loadu_pd((1u32 << count).wrapping_sub(1) as u8, from),
        store _mm512_mask_storeu_pd(to, (1u32 << count).wrapping_sub(1) as u8, value),
    total |x| _mm512_reduce_add_pd(x),
    columns |from, step| columns_of_8_f64(from, step);

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
    columns |from, step| columns_of_8_f32(from, step);

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
    columns |from, step| columns_of_4_f64(from, step);
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

/// The columns of a square: each round of interleaving the halves of the rows moves one bit of the
/// row index into the column index.
///
/// # Safety
///
/// The CPU has the instructions, and 16 numbers can be read in each of 16 rows, `step` apart.
#[inline(always)]
unsafe fn columns_of_16_f32(from: *const f32, step: usize) -> [__m512; 16] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        let mut square = [_mm512_setzero_ps(); 16];
        for (i, row) in square.iter_mut().enumerate() {
            *row = _mm512_loadu_ps(from.wrapping_add(i * step));
        }
        for _ in 0..4 {
            let rows = square;
            for i in 0..8 {
                square[2 * i] = _mm512_permutex2var_ps(rows[i], low, rows[i + 8]);
                square[2 * i + 1] = _mm512_permutex2var_ps(rows[i], high, rows[i + 8]);
            }
        }
        square
    }
}

/// As [`columns_of_16_f32`].
///
/// # Safety
///
/// The CPU has the instructions, and eight numbers can be read in each of eight rows, `step` apart.
#[inline(always)]
unsafe fn columns_of_8_f64(from: *const f64, step: usize) -> [__m512d; 8] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
        let high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
        let mut square = [_mm512_setzero_pd(); 8];
        for (i, row) in square.iter_mut().enumerate() {
            *row = _mm512_loadu_pd(from.wrapping_add(i * step));
        }
        for _ in 0..3 {
            let rows = square;
            for i in 0..4 {
                square[2 * i] = _mm512_permutex2var_pd(rows[i], low, rows[i + 4]);
                square[2 * i + 1] = _mm512_permutex2var_pd(rows[i], high, rows[i + 4]);
            }
        }
        square
    }
}

/// The columns of a square. Parts of 128 bits are put next to each other while they are loaded, so
/// that numbers move within such parts only.
///
/// # Safety
///
/// The CPU has the instructions, and eight numbers can be read in each of eight rows, `step` apart.
#[inline(always)]
unsafe fn columns_of_8_f32(from: *const f32, step: usize) -> [__m256; 8] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut columns = [_mm256_setzero_ps(); 8];
        for part in 0..2 {
            let mut rows = [_mm256_setzero_ps(); 4];
            for (i, row) in rows.iter_mut().enumerate() {
                let from = from.wrapping_add(i * step + 4 * part);
                let first = _mm256_castps128_ps256(_mm_loadu_ps(from));
                *row = _mm256_insertf128_ps::<1>(first, _mm_loadu_ps(from.add(4 * step)));
            }
            let [a, b, c, d] = rows;
            let pairs = [
                (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)),
                (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)),
            ];
            for (i, (ab, cd)) in pairs.into_iter().enumerate() {
                let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
                columns[4 * part + 2 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                columns[4 * part + 2 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
            }
        }
        columns
    }
}

/// As [`columns_of_8_f32`].
///
/// # Safety
///
/// The CPU has the instructions, and four numbers can be read in each of four rows, `step` apart.
#[inline(always)]
unsafe fn columns_of_4_f64(from: *const f64, step: usize) -> [__m256d; 4] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut columns = [_mm256_setzero_pd(); 4];
        for part in 0..2 {
            let mut rows = [_mm256_setzero_pd(); 2];
            for (i, row) in rows.iter_mut().enumerate() {
                let from = from.wrapping_add(i * step + 2 * part);
                let first = _mm256_castpd128_pd256(_mm_loadu_pd(from));
                *row = _mm256_insertf128_pd::<1>(first, _mm_loadu_pd(from.add(2 * step)));
            }
            columns[2 * part] = _mm256_unpacklo_pd(rows[0], rows[1]);
            columns[2 * part + 1] = _mm256_unpackhi_pd(rows[0], rows[1]);
        }
        columns
    }
}
