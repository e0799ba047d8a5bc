//! Micro-kernels for x86: AVX-512 and AVX2 with FMA.
//!
//! One generic loop, [`tile`], computes a small tile of C as a sum of outer
//! products, whose sums stay in registers. Each step of k loads one row of the
//! tile's part of B and multiplies it by one element of A for each row of the
//! tile. A tile with fewer rows or columns runs the same sequence of fused
//! multiply-adds for its elements, so the result depends neither on the
//! boundaries of tiles nor on the instruction set.

use std::arch::x86_64::*;

use super::kernel::{Kernels, Tile, TileKernel};

/// A SIMD register of numbers.
///
/// # Safety
///
/// The methods may be called only if the CPU has the instruction set of the
/// implementing type, and must be inlined into a function compiled for it.
/// Pointers must be valid for the elements that are read or written through
/// them: `LANES` of them, or only those that the mask selects.
unsafe trait Simd: Copy {
    type Number: Copy;
    /// Selects the first lanes of a register.
    type Mask: Copy;
    const LANES: usize;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn zero() -> Self;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn splat(number: Self::Number) -> Self;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self + a · b`, rounded once.
    ///
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn load(from: *const Self::Number) -> Self;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn store(self, to: *mut Self::Number);
    /// A mask of the first `count ≤ LANES` lanes.
    ///
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn first(count: usize) -> Self::Mask;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn load_masked(from: *const Self::Number, mask: Self::Mask) -> Self;
    /// # Safety
    ///
    /// That of the trait `Simd`.
    unsafe fn store_masked(self, to: *mut Self::Number, mask: Self::Mask);
}

macro_rules! simd {
    ($name:ident: $lanes:literal $number:ident in $register:ident, mask $mask:ident;
     $zero:ident $splat:ident $add:ident $fma:ident $load:ident $store:ident;
     first($count:ident) $first:expr;
     load($from:ident, $load_mask:ident) $load_masked:expr;
     store($value:ident, $to:ident, $store_mask:ident) $store_masked:expr;
    ) => {
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        struct $name($register);

        // SAFETY: the intrinsics do what the trait says.
        unsafe impl Simd for $name {
            type Number = $number;
            type Mask = $mask;
            const LANES: usize = $lanes;
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($zero()) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn splat(number: $number) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($splat(number)) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($add(self.0, other.0)) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn add_product(self, a: Self, b: Self) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($fma(a.0, b.0, self.0)) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn load(from: *const $number) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($load(from)) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn store(self, to: *mut $number) {
                // SAFETY: guaranteed by the caller.
                unsafe { $store(to, self.0) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn first($count: usize) -> $mask {
                $first
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn load_masked($from: *const $number, $load_mask: $mask) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe { Self($load_masked) }
            }
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[inline(always)]
            unsafe fn store_masked(self, $to: *mut $number, $store_mask: $mask) {
                let $value = self.0;
                // SAFETY: guaranteed by the caller.
                unsafe { $store_masked }
            }
        }
    };
}

simd! {
    Avx512F32: 16 f32 in __m512, mask __mmask16;
    _mm512_setzero_ps _mm512_set1_ps _mm512_add_ps _mm512_fmadd_ps _mm512_loadu_ps _mm512_storeu_ps;
    first(count) ((1_u32 << count) - 1) as __mmask16;
    load(from, mask) _mm512_maskz_loadu_ps(mask, from);
    store(value, to, mask) _mm512_mask_storeu_ps(to, mask, value);
}
simd! {
    Avx512F64: 8 f64 in __m512d, mask __mmask8;
    _mm512_setzero_pd _mm512_set1_pd _mm512_add_pd _mm512_fmadd_pd _mm512_loadu_pd _mm512_storeu_pd;
    first(count) ((1_u32 << count) - 1) as __mmask8;
    load(from, mask) _mm512_maskz_loadu_pd(mask, from);
    store(value, to, mask) _mm512_mask_storeu_pd(to, mask, value);
}
simd! {
    Avx2F32: 8 f32 in __m256, mask __m256i;
    _mm256_setzero_ps _mm256_set1_ps _mm256_add_ps _mm256_fmadd_ps _mm256_loadu_ps _mm256_storeu_ps;
    first(count) {
        const WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_loadu_si256(WINDOW[8 - count..][..8].as_ptr().cast()) }
    };
    load(from, mask) _mm256_maskload_ps(from, mask);
    store(value, to, mask) _mm256_maskstore_ps(to, mask, value);
}
simd! {
    Avx2F64: 4 f64 in __m256d, mask __m256i;
    _mm256_setzero_pd _mm256_set1_pd _mm256_add_pd _mm256_fmadd_pd _mm256_loadu_pd _mm256_storeu_pd;
    first(count) {
        const WINDOW: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_loadu_si256(WINDOW[4 - count..][..4].as_ptr().cast()) }
    };
    load(from, mask) _mm256_maskload_pd(from, mask);
    store(value, to, mask) _mm256_maskstore_pd(to, mask, value);
}

/// Prefetches a cache line, which need not exist.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    // SAFETY: a prefetch affects only the caches, and every x86-64 CPU supports
    // it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// The sums of [`tile`]. The last register of B is read completely or only up
/// to the mask.
///
/// # Safety
///
/// That of [`tile`].
#[inline(always)]
unsafe fn sums<
    S: Simd,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: usize,
    const WHOLE: bool,
>(
    t: &Tile<S::Number>,
    mask: S::Mask,
) -> [[S; VECTORS]; ROWS] {
    // SAFETY: as in `tile`.
    unsafe {
        let [a_row, a_column] = if PACKED > 0 { [1, PACKED] } else { t.a_strides };
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        let mut b = t.b;
        let mut offset = 0;
        for _ in 0..t.k {
            let mut row = [S::zero(); VECTORS];
            for (v, slot) in row.iter_mut().enumerate() {
                let from = b.add(v * S::LANES);
                let whole = WHOLE || v < VECTORS - 1;
                *slot = if whole { S::load(from) } else { S::load_masked(from, mask) };
                prefetch(from.wrapping_add(t.next_panel));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = S::splat(*t.a.add(offset + r * a_row));
                for (sum, &row) in sums.iter_mut().zip(&row) {
                    *sum = sum.add_product(factor, row);
                }
            }
            offset += a_column;
            b = b.add(t.b_step);
        }
        sums
    }
}

/// Computes a tile of `ROWS` rows and up to `VECTORS` registers of columns. If
/// A is packed, `PACKED` is the distance between its columns, and registers of
/// B are read completely; if not, `PACKED` is 0.
///
/// # Safety
///
/// That of [`TileKernel`] for a tile of this size, and of [`Simd`].
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PACKED: usize>(
    t: &Tile<S::Number>,
) {
    // SAFETY: the caller guarantees that all elements of the tile can be
    // accessed; the mask limits the last register to its columns.
    unsafe {
        let last = VECTORS - 1;
        let mask = S::first(t.columns - last * S::LANES);
        for r in 0..ROWS {
            for v in 0..VECTORS {
                prefetch(t.c.wrapping_add(r * t.c_step + v * S::LANES));
            }
        }
        let is_whole = t.columns == VECTORS * S::LANES;
        let sums = match PACKED > 0 || is_whole {
            true => sums::<S, ROWS, VECTORS, PACKED, true>(t, mask),
            false => sums::<S, ROWS, VECTORS, PACKED, false>(t, mask),
        };
        // On AMD CPUs, each masked AVX2 store takes a dozen cycles or more.
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let to = t.c.add(r * t.c_step + v * S::LANES);
                let plus = t.plus.wrapping_add(r * t.plus_step + v * S::LANES);
                let adds = !t.plus.is_null();
                if v < last || is_whole {
                    (if adds { S::load(plus).add(sum) } else { sum }).store(to);
                } else {
                    let sum = if adds { S::load_masked(plus, mask).add(sum) } else { sum };
                    sum.store_masked(to, mask);
                }
            }
        }
    }
}

/// Copies rows into panels.
///
/// # Safety
///
/// That of [`CopyKernel`], and of [`Simd`].
#[inline(always)]
unsafe fn copy<S: Simd>(
    from: *const S::Number,
    step: usize,
    [rows, columns]: [usize; 2],
    to: *mut S::Number,
    [width, panel_step]: [usize; 2],
) {
    let (whole, rest) = (columns / S::LANES, columns % S::LANES);
    // SAFETY: the caller guarantees that the rows can be read and the panels
    // written; the mask limits the last load to its row.
    unsafe {
        let mask = S::first(rest);
        for l in 0..rows {
            let (from, to) = (from.add(l * step), to.add(l * width));
            for panel in 0..whole / 2 {
                for v in [0, S::LANES] {
                    let value = S::load(from.add(2 * panel * S::LANES + v));
                    value.store(to.add(panel * panel_step + v));
                }
            }
            let to = to.add(whole / 2 * panel_step);
            if whole % 2 == 1 {
                S::load(from.add((whole - 1) * S::LANES)).store(to);
            }
            if rest > 0 {
                let value = S::load_masked(from.add(whole * S::LANES), mask);
                value.store(to.add(whole % 2 * S::LANES));
            }
        }
    }
}

macro_rules! kernels {
    ($name:ident: $number:ident by $simd:ident, $features:literal, $($rows:literal)+,
     packed $packed:literal, wide $wide:literal, rows $row_block:literal) => {
        /// The kernels for this instruction set and number type.
        pub(super) static $name: Kernels<$number> = {
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[target_feature(enable = $features)]
            unsafe fn at<const ROWS: usize, const VECTORS: usize, const PACKED: usize>(
                t: &Tile<$number>,
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { tile::<$simd, ROWS, VECTORS, PACKED>(t) }
            }
            const DIRECT: &[[TileKernel<$number>; 2]] =
                &[$([at::<$rows, 1, 0>, at::<$rows, 2, 0>]),+];
            const PACKED: &[[TileKernel<$number>; 2]] =
                &[$([at::<$rows, 1, $packed>, at::<$rows, 2, $packed>]),+];
            const WIDE: &[TileKernel<$number>] =
                &[at::<1, $wide, 0>, at::<2, $wide, 0>, at::<3, $wide, 0>];
            const { assert!(DIRECT.len().next_multiple_of($simd::LANES) == $packed) };
            /// # Safety
            ///
            /// That of the trait `Simd`.
            #[target_feature(enable = $features)]
            unsafe fn copy_rows(
                from: *const $number,
                step: usize,
                size: [usize; 2],
                to: *mut $number,
                steps: [usize; 2],
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { copy::<$simd>(from, step, size, to, steps) }
            }
            Kernels {
                lanes: $simd::LANES,
                copy: copy_rows,
                direct: DIRECT,
                packed: PACKED,
                wide: WIDE,
                wide_panels: $wide / 2,
                row_block: $row_block,
            }
        };
    };
}
kernels!(
    AVX512_F32: f32 by Avx512F32, "avx512f", 1 2 3 4 5 6 7 8 9 10 11 12 13 14,
    packed 16, wide 8, rows 224
);
kernels!(
    AVX512_F64: f64 by Avx512F64, "avx512f", 1 2 3 4 5 6 7 8 9 10 11 12 13 14,
    packed 16, wide 8, rows 224
);
kernels!(
    AVX2_F32: f32 by Avx2F32, "avx2,fma", 1 2 3 4 5 6,
    packed 8, wide 4, rows 96
);
kernels!(
    AVX2_F64: f64 by Avx2F64, "avx2,fma", 1 2 3 4 5 6,
    packed 8, wide 4, rows 96
);
