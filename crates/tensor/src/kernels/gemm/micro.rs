//! The micro-kernels, for each kind of vectors.
//!
//! One generic loop, [`tile`], computes a small tile of C as a sum of outer
//! products, whose sums stay in registers. Each step of k loads one row of the
//! tile's part of B and multiplies it by one element of A for each row of the
//! tile. A tile with fewer rows or columns runs the same sequence of
//! multiply-adds for its elements, so the result does not depend on the
//! boundaries of tiles; where the CPU fuses these, it does not depend on the
//! instruction set either.

use super::kernel::{Kernels, Tile, TileKernel};
use crate::element::Float;
use crate::kernels::simd::prefetch_line;
use crate::kernels::transpose::load_part;
use crate::kernels::vector::Vector;
#[cfg(target_arch = "aarch64")]
use crate::kernels::vector::neon::{NeonF32, NeonF64};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::kernels::vector::simd128::{Simd128F32, Simd128F64};
#[cfg(target_arch = "x86_64")]
use crate::kernels::vector::x86::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};

/// The sums of [`tile`]. The last register of B is read completely or only its
/// first `rest` numbers.
///
/// # Safety
///
/// That of [`tile`].
#[inline(always)]
unsafe fn sums<
    T: Float,
    V: Vector<T>,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: usize,
    const WHOLE: bool,
>(
    t: &Tile<T>,
    rest: usize,
) -> [[V; VECTORS]; ROWS] {
    // SAFETY: as in `tile`.
    unsafe {
        let [a_row, a_column] = if PACKED > 0 { [1, PACKED] } else { t.a_strides };
        let mut sums = [[V::splat(T::ZERO); VECTORS]; ROWS];
        let mut b = t.b;
        let mut offset = 0;
        for _ in 0..t.k {
            let mut row = [V::splat(T::ZERO); VECTORS];
            for (v, slot) in row.iter_mut().enumerate() {
                let from = b.add(v * V::LANES);
                let whole = WHOLE || v < VECTORS - 1;
                *slot = if whole { V::load_from(from) } else { V::load_first(from, rest) };
                prefetch_line(from.wrapping_add(t.next_panel));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(*t.a.add(offset + r * a_row));
                for (sum, &row) in sums.iter_mut().zip(&row) {
                    *sum = sum.plus_product(factor, row);
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
/// That of [`TileKernel`] for a tile of this size.
#[inline(always)]
unsafe fn tile<
    T: Float,
    V: Vector<T>,
    const ROWS: usize,
    const VECTORS: usize,
    const PACKED: usize,
>(
    t: &Tile<T>,
) {
    // SAFETY: the caller guarantees that all elements of the tile can be
    // accessed; of the last register, only its columns are.
    unsafe {
        let last = VECTORS - 1;
        let rest = t.columns - last * V::LANES;
        for r in 0..ROWS {
            for v in 0..VECTORS {
                prefetch_line(t.c.wrapping_add(r * t.c_step + v * V::LANES));
            }
        }
        let is_whole = rest == V::LANES;
        let sums = match PACKED > 0 || is_whole {
            true => sums::<T, V, ROWS, VECTORS, PACKED, true>(t, rest),
            false => sums::<T, V, ROWS, VECTORS, PACKED, false>(t, rest),
        };
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let count = if v < last { V::LANES } else { rest };
                add_and_store(t, sum, r, v * V::LANES, count);
            }
        }
    }
}

/// Adds what the tile says to some sums of a row, and stores them from a column on.
///
/// # Safety
///
/// These elements of C and of the added matrix can be accessed.
#[inline(always)]
unsafe fn add_and_store<T: Float, V: Vector<T>>(
    t: &Tile<T>,
    sum: V,
    row: usize,
    column: usize,
    count: usize,
) {
    let [plus_row, plus_column] = t.plus_strides;
    let plus = t.plus.wrapping_add(row * plus_row + column * plus_column);
    let whole = count == V::LANES;
    // SAFETY: guaranteed by the caller.
    unsafe {
        let to = t.c.add(row * t.c_step + column);
        let sum = match (!t.plus.is_null(), plus_column, whole) {
            (false, ..) => sum,
            (_, 0, _) => V::splat(*plus).plus(sum),
            (.., true) => V::load_from(plus).plus(sum),
            _ => V::load_first(plus, count).plus(sum),
        };
        if whole { sum.store_to(to) } else { sum.store_first(to, count) }
    }
}

/// Computes a tile of `ROWS` rows whose columns of B are contiguous along k. Squares of B are
/// transposed in registers, and each multiplied at once.
///
/// # Safety
///
/// That of [`TileKernel`] for a tile of this size.
#[inline(always)]
unsafe fn upright_tile<T: Float, V: Vector<T>, const ROWS: usize>(t: &Tile<T>) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut first = 0;
        // Few rows have two chains of sums, so that one goes on while the other waits.
        while ROWS <= 4 && first + 2 * V::LANES <= t.columns {
            upright_columns::<T, V, ROWS, 2>(t, first);
            first += 2 * V::LANES;
        }
        while first < t.columns {
            upright_columns::<T, V, ROWS, 1>(t, first);
            first += V::LANES;
        }
    }
}

/// Computes some columns of the tile, whole registers if they are several.
///
/// # Safety
///
/// That of [`upright_tile`].
#[inline(always)]
unsafe fn upright_columns<T: Float, V: Vector<T>, const ROWS: usize, const VECTORS: usize>(
    t: &Tile<T>,
    first: usize,
) {
    let count = V::LANES.min(t.columns - first);
    let b = |v: usize, l: usize| t.b.wrapping_add((first + v * V::LANES) * t.b_step + l);
    let mut sums = [[V::splat(T::ZERO); VECTORS]; ROWS];
    let whole = if count == V::LANES { t.k - t.k % V::LANES } else { 0 };
    // SAFETY: the caller guarantees that the elements can be accessed.
    unsafe {
        for l in (0..whole).step_by(V::LANES) {
            for v in 0..VECTORS {
                let square = V::load_columns(b(v, l), t.b_step);
                // The number of steps is constant, so the square stays in registers.
                add_products(t, &mut sums, v, l, square.as_ref());
            }
        }
        for l in (whole..t.k).step_by(V::LANES) {
            let length = V::LANES.min(t.k - l);
            for v in 0..VECTORS {
                let square = load_part::<T, V>(b(v, l), t.b_step, [count, length]);
                add_products(t, &mut sums, v, l, &square.as_ref()[..length]);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                add_and_store(t, sum, r, first + v * V::LANES, count);
            }
        }
    }
}

/// Adds the products of consecutive rows of B, from row `l` on, to sums of each row of the tile.
///
/// # Safety
///
/// These elements of A can be read.
#[inline(always)]
unsafe fn add_products<T: Float, V: Vector<T>, const ROWS: usize, const VECTORS: usize>(
    t: &Tile<T>,
    sums: &mut [[V; VECTORS]; ROWS],
    v: usize,
    l: usize,
    rows: &[V],
) {
    for (j, &row) in rows.iter().enumerate() {
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller.
            let factor = unsafe { *t.a.add(r * t.a_strides[0] + l + j) };
            sums[v] = sums[v].plus_product(V::splat(factor), row);
        }
    }
}

/// Copies rows into panels.
///
/// # Safety
///
/// That of [`CopyKernel`](super::kernel::CopyKernel).
#[inline(always)]
unsafe fn copy<T: Float, V: Vector<T>>(
    from: *const T,
    step: usize,
    [rows, columns]: [usize; 2],
    to: *mut T,
    [width, panel_step]: [usize; 2],
) {
    let (whole, rest) = (columns / V::LANES, columns % V::LANES);
    // SAFETY: the caller guarantees that the rows can be read and the panels
    // written; the last load is limited to its row.
    unsafe {
        for l in 0..rows {
            let (from, mut to, mut offset) = (from.add(l * step), to.add(l * width), 0);
            for v in 0..whole {
                V::load_from(from.add(v * V::LANES)).store_to(to.add(offset));
                offset += V::LANES;
                if offset == width {
                    (to, offset) = (to.wrapping_add(panel_step), 0);
                }
            }
            if rest > 0 {
                V::load_first(from.add(whole * V::LANES), rest).store_to(to.add(offset));
            }
        }
    }
}

macro_rules! kernels {
    ($name:ident: $number:ident by $vector:ident $([$features:literal])?, $($rows:literal)+,
     packed $packed:literal, wide $wide:literal,
     upright $($few:literal)+ by $upright:ident $(then $($more:literal)+)?,
     at most $upright_rows:literal, rows $row_block:literal) => {
        /// The kernels for this instruction set and number type. A constant is compiled where it
        /// is used, and a static always.
        pub(super) const $name: Kernels<$number> = {
            $(#[target_feature(enable = $features)])?
            /// # Safety
            ///
            /// That of [`TileKernel`].
            unsafe fn at<const ROWS: usize, const VECTORS: usize, const PACKED: usize>(
                t: &Tile<$number>,
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { tile::<$number, $vector, ROWS, VECTORS, PACKED>(t) }
            }
            $(#[target_feature(enable = $features)])?
            /// # Safety
            ///
            /// That of [`TileKernel`].
            unsafe fn upright_at<const ROWS: usize, V: Vector<$number>>(t: &Tile<$number>) {
                // SAFETY: guaranteed by the caller.
                unsafe { upright_tile::<$number, V, ROWS>(t) }
            }
            const LANES: usize = <$vector as Vector<$number>>::LANES;
            const DIRECT: &[[TileKernel<$number>; 2]] =
                &[$([at::<$rows, 1, 0>, at::<$rows, 2, 0>]),+];
            const PACKED: &[[TileKernel<$number>; 2]] =
                &[$([at::<$rows, 1, $packed>, at::<$rows, 2, $packed>]),+];
            const WIDE: &[TileKernel<$number>] =
                &[at::<1, $wide, 0>, at::<2, $wide, 0>, at::<3, $wide, 0>];
            const UPRIGHT: &[TileKernel<$number>] = &[
                $(upright_at::<$few, $upright>,)+
                $($(upright_at::<$more, $vector>),+)?
            ];
            const { assert!(DIRECT.len().next_multiple_of(LANES) == $packed) };
            $(#[target_feature(enable = $features)])?
            /// # Safety
            ///
            /// That of [`CopyKernel`](super::kernel::CopyKernel).
            unsafe fn copy_rows(
                from: *const $number,
                step: usize,
                size: [usize; 2],
                to: *mut $number,
                steps: [usize; 2],
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { copy::<$number, $vector>(from, step, size, to, steps) }
            }
            Kernels {
                lanes: LANES,
                copy: copy_rows,
                direct: DIRECT,
                packed: PACKED,
                wide: WIDE,
                upright: UPRIGHT,
                upright_rows: $upright_rows,
                wide_panels: $wide / 2,
                row_block: $row_block,
            }
        };
    };
}
// The upright kernels for few rows have registers of 256 bits: squares of 8 numbers are transposed
// while they are loaded, and faster than one of 16. With 16 registers, three rows would not fit,
// and two tiles below each other are still faster than packing.
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX512_F32: f32 by Avx512F32 ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"],
    1 2 3 4 5 6 7 8 9 10 11 12 13 14, packed 16, wide 8,
    upright 1 2 3 4 by Avx2F32 then 5 6 7 8, at most 8, rows 224
);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX512_F64: f64 by Avx512F64 ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"],
    1 2 3 4 5 6 7 8 9 10 11 12 13 14, packed 16, wide 8,
    upright 1 2 3 4 by Avx2F64 then 5 6 7 8, at most 8, rows 224
);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX2_F32: f32 by Avx2F32 ["avx2,fma"], 1 2 3 4 5 6, packed 8, wide 4,
    upright 1 2 by Avx2F32, at most 4, rows 96
);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX2_F64: f64 by Avx2F64 ["avx2,fma"], 1 2 3 4 5 6, packed 8, wide 4,
    upright 1 2 by Avx2F64, at most 4, rows 96
);
// With 32 registers of 4 lanes: 24 sums, two parts of a row of B, and a factor.
#[cfg(target_arch = "aarch64")]
kernels!(
    NEON_F32: f32 by NeonF32, 1 2 3 4 5 6 7 8 9 10 11 12, packed 12, wide 8,
    upright 1 2 3 4 by NeonF32, at most 4, rows 96
);
#[cfg(target_arch = "aarch64")]
kernels!(
    NEON_F64: f64 by NeonF64, 1 2 3 4 5 6 7 8 9 10 11 12, packed 12, wide 8,
    upright 1 2 3 4 by NeonF64, at most 4, rows 96
);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
kernels!(
    SIMD128_F32: f32 by Simd128F32, 1 2 3 4 5 6, packed 8, wide 4,
    upright 1 2 by Simd128F32, at most 4, rows 96
);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
kernels!(
    SIMD128_F64: f64 by Simd128F64, 1 2 3 4 5 6, packed 6, wide 4,
    upright 1 2 by Simd128F64, at most 4, rows 96
);
