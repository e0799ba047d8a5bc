//! Kernels for products on x86-64.
//!
//! AVX2 multiplies bytes with `vpmaddubsw`, which adds two products in 16 bits
//! and saturates. The products of a few groups of weights (the span) are summed
//! in 16 bits, since CPUs with AVX2 often multiply integers at half the rate of
//! floats, and then in 32. Weights for which such a sum could exceed 16 bits are
//! not in the panel but in [`Rest`](super::span::Rest), whose products are summed
//! in 32 bits, as in FBGEMM's outlier-aware quantisation. VNNI's `vpdpbusd` adds
//! four products in 32 bits without saturation.

use std::arch::x86_64::*;

use super::packed::Panel;
use super::span::Rest;

/// Calls `kernel::<…, ROWS>` for the number of rows at run time.
macro_rules! by_rows {
    ($rows:expr, $kernel:ident [$($span:literal)?] $arguments:tt, $($count:literal)*) => {
        by_rows!(@each $rows, $kernel, [$($span)?], $arguments, $($count)*)
    };
    (@each $rows:expr, $kernel:ident, [], $arguments:tt, $($count:literal)*) => {
        match $rows {
            // SAFETY: the caller's.
            $($count => unsafe { $kernel::<$count> $arguments },)*
            _ => unreachable!("no tile has more rows"),
        }
    };
    (@each $rows:expr, $kernel:ident, [$span:literal], $arguments:tt, $($count:literal)*) => {
        match $rows {
            // SAFETY: the caller's.
            $($count => unsafe { $kernel::<$span, $count> $arguments },)*
            _ => unreachable!("no tile has more rows"),
        }
    };
}

/// The kernel for AVX2; see [`Lane::tile`](super::lane::Lane::tile).
///
/// # Safety
///
/// The CPU must have AVX2, and the slices the lengths that `Lane::tile` asks
/// for.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(
    a: &[u8],
    stride: usize,
    rows: usize,
    panel: Panel<'_>,
    sums: &mut [i32],
) {
    let (a, sums) = (a.as_ptr(), sums.as_mut_ptr());
    match panel.span {
        4 => by_rows!(rows, avx2_rows[4](a, stride, panel, sums), 1 2 3 4 5 6),
        2 => by_rows!(rows, avx2_rows[2](a, stride, panel, sums), 1 2 3 4 5 6),
        _ => by_rows!(rows, avx2_rows[1](a, stride, panel, sums), 1 2 3 4 5 6),
    }
}

/// # Safety
///
/// As [`avx2`], for `ROWS` rows and sums of `SPAN` groups in 16 bits.
#[target_feature(enable = "avx2")]
unsafe fn avx2_rows<const SPAN: usize, const ROWS: usize>(
    a: *const u8,
    stride: usize,
    panel: Panel<'_>,
    sums: *mut i32,
) {
    let mut totals = [[_mm256_setzero_si256(); 2]; ROWS];
    let (spans, groups) = (stride / 4 / SPAN, stride / 4);
    let weights = panel.weights.as_ptr();
    // SAFETY: the panel has 64 bytes for each group, and each row of `a` four.
    unsafe {
        for span in 0..spans {
            add_span::<SPAN, ROWS>(a, stride, weights, span * SPAN, &mut totals);
        }
        for group in spans * SPAN..groups {
            add_span::<1, ROWS>(a, stride, weights, group, &mut totals);
        }
    }
    for rest in panel.rest {
        // SAFETY: each row of `a` has the pair.
        unsafe { add_rest(a, stride, rest, &mut totals) };
    }
    for (row, totals) in totals.iter().enumerate() {
        // SAFETY: there are 16 sums for each row.
        unsafe {
            let sums: *mut __m256i = sums.add(16 * row).cast();
            _mm256_storeu_si256(sums, totals[0]);
            _mm256_storeu_si256(sums.add(1), totals[1]);
        }
    }
}

/// Adds the products of `SPAN` groups from `first` on.
///
/// # Safety
///
/// The CPU must have AVX2, and the weights and the rows these groups.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_span<const SPAN: usize, const ROWS: usize>(
    a: *const u8,
    stride: usize,
    weights: *const i8,
    first: usize,
    totals: &mut [[__m256i; 2]; ROWS],
) {
    let ones = _mm256_set1_epi16(1);
    for (row, totals) in totals.iter_mut().enumerate() {
        let mut sums = [_mm256_setzero_si256(); 2];
        for index in 0..SPAN {
            // SAFETY: the caller's.
            unsafe {
                let group = first + index;
                let weights: *const __m256i = weights.add(64 * group).cast();
                let four: *const i32 = a.add(row * stride + 4 * group).cast();
                let x = _mm256_set1_epi32(four.read_unaligned());
                let low = _mm256_maddubs_epi16(x, _mm256_loadu_si256(weights));
                let high = _mm256_maddubs_epi16(x, _mm256_loadu_si256(weights.add(1)));
                sums[0] = _mm256_add_epi16(sums[0], low);
                sums[1] = _mm256_add_epi16(sums[1], high);
            }
        }
        totals[0] = _mm256_add_epi32(totals[0], _mm256_madd_epi16(sums[0], ones));
        totals[1] = _mm256_add_epi32(totals[1], _mm256_madd_epi16(sums[1], ones));
    }
}

/// Adds the products of weights that are not in the panel.
///
/// # Safety
///
/// The CPU must have AVX2, and the rows the pair.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_rest<const ROWS: usize>(
    a: *const u8,
    stride: usize,
    rest: &Rest,
    totals: &mut [[__m256i; 2]; ROWS],
) {
    // SAFETY: there are 32 weights, and the caller's.
    unsafe {
        let weights: *const __m128i = rest.weights.as_ptr().cast();
        let low = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights));
        let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(1)));
        for (row, totals) in totals.iter_mut().enumerate() {
            let [x, y] = a.add(row * stride + 2 * rest.pair).cast::<[u8; 2]>().read();
            let x = _mm256_set1_epi32(i32::from(x) | i32::from(y) << 16);
            totals[0] = _mm256_add_epi32(totals[0], _mm256_madd_epi16(x, low));
            totals[1] = _mm256_add_epi32(totals[1], _mm256_madd_epi16(x, high));
        }
    }
}

/// The kernel for AVX-512 with VNNI; see
/// [`Lane::tile`](super::lane::Lane::tile).
///
/// # Safety
///
/// The CPU must have AVX-512 F and VNNI, and the slices the lengths that
/// `Lane::tile` asks for.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn vnni(a: &[u8], stride: usize, rows: usize, panel: &[i8], sums: &mut [i32]) {
    let (a, panel, sums) = (a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr());
    by_rows!(rows, vnni_rows[](a, stride, panel, sums), 1 2 3 4 5 6 7 8);
}

/// # Safety
///
/// As [`vnni`], for `ROWS` rows.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn vnni_rows<const ROWS: usize>(
    a: *const u8,
    stride: usize,
    panel: *const i8,
    sums: *mut i32,
) {
    let mut totals = [[_mm512_setzero_si512(); 2]; ROWS];
    for group in 0..stride / 4 {
        // SAFETY: the panel has 128 bytes for each group, and each row of `a`
        // four.
        unsafe {
            let weights: *const __m512i = panel.add(128 * group).cast();
            let low = _mm512_loadu_si512(weights);
            let high = _mm512_loadu_si512(weights.add(1));
            for (row, totals) in totals.iter_mut().enumerate() {
                let four: *const i32 = a.add(row * stride + 4 * group).cast();
                let x = _mm512_set1_epi32(four.read_unaligned());
                totals[0] = _mm512_dpbusd_epi32(totals[0], x, low);
                totals[1] = _mm512_dpbusd_epi32(totals[1], x, high);
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        // SAFETY: there are 32 sums for each row.
        unsafe {
            let sums: *mut __m512i = sums.add(32 * row).cast();
            _mm512_storeu_si512(sums, totals[0]);
            _mm512_storeu_si512(sums.add(1), totals[1]);
        }
    }
}
