//! General matrix products over any strides: C = A·B, to which C itself or a
//! row may be added.
//!
//! On CPUs with vectors of a kind in [`vector`](super::vector), the micro-kernels
//! in `micro` do the inner work; elsewhere `matrixmultiply` does. Narrow products of operands
//! that are contiguous along k are computed as dot products on every CPU. A
//! product is split into blocks of C, never along k by the number of threads,
//! so each element of C is the same sum in the same order for any number of
//! threads.
//!
//! The loops follow K. Goto and R. van de Geijn, "Anatomy of high-performance
//! matrix multiplication", ACM Transactions on Mathematical Software 34 (2008).

mod block;
mod dot;
mod driver;
mod fallback;
mod kernel;
mod micro;
mod pack;
mod stored;

use std::fmt;

pub use stored::{Stored, multiply_stored};

use super::epilogue::Epilogue;
use super::matrices::fits;
#[allow(unused_imports, reason = "some targets have no micro-kernel")]
use super::simd;
use crate::buffer::Buffer;
use crate::element::{Element, Float};
use crate::unoptimised::warn_if_unoptimised;

/// The approximate smallest number of multiplications in a block of C.
const BLOCK_WORK: usize = 1 << 19;
/// The largest number of elements in a matrix that is expected to stay in a
/// core's second-level cache.
pub(super) const CACHED: usize = 1 << 18;
/// The largest number of blocks into which C is split.
const MAX_BLOCKS: usize = 16;

/// One matrix product: `c = a · b`, plus the term in `plus`.
///
/// A is `m × k`, B is `k × n`, C is `m × n`; strides are `[row, column]` in
/// elements, and C is row-major with `columns ≥ n` elements between rows.
#[derive(Debug)]
pub struct Problem<'a, T> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// The left matrix.
    pub a: &'a [T],
    /// Its strides.
    pub a_strides: [usize; 2],
    /// The right matrix.
    pub b: &'a [T],
    /// Its strides.
    pub b_strides: [usize; 2],
    /// The result, row-major.
    pub c: &'a mut [T],
    /// Elements between two rows of C.
    pub columns: usize,
    /// The term that is added to the product.
    pub plus: Plus<'a, T>,
    /// What follows; positions are those in `c`.
    pub then: Epilogue<'a, T>,
}

/// The term that is added to a product.
#[derive(Clone, Copy, Debug)]
pub enum Plus<'a, T> {
    /// Nothing.
    Nothing,
    /// The previous contents of C.
    C,
    /// A vector of `n` elements, which is added to each row of C: the bias of
    /// features.
    Row(&'a [T]),
    /// A vector of `m` elements, which is added to each column of C: the bias of
    /// channels.
    Column(&'a [T]),
}

impl<T> Problem<'_, T> {
    /// Panics unless every index that the product accesses is within its slice,
    /// which the kernels rely on.
    fn check(&self) {
        let Self { m, k, n, columns, .. } = *self;
        assert!(fits([m, k], self.a_strides, self.a.len()), "A is too short");
        assert!(fits([k, n], self.b_strides, self.b.len()), "B is too short");
        assert!(n <= columns, "rows of C overlap");
        assert!(fits([m, n], [columns, 1], self.c.len()), "C is too short");
        self.check_plus();
    }

    /// Panics unless the term that is added has the right size.
    fn check_plus(&self) {
        match self.plus {
            Plus::Row(row) => assert!(row.len() == self.n, "the row is not as wide as C"),
            Plus::Column(column) => {
                assert!(column.len() == self.m, "the column is not as high as C");
            }
            Plus::Nothing | Plus::C => {}
        }
    }

    /// Applies what follows to all elements of C.
    fn finish(&mut self) {
        if self.m > 0 && self.n > 0 {
            let length = (self.m - 1) * self.columns + self.n;
            self.then.apply_to_rows(&mut self.c[..length], [self.n, self.columns]);
        }
    }
}

/// A matrix in the layout of the kernels, for many products that share it.
/// Empty if no micro-kernel is used.
pub struct Panels<T: Element> {
    buffer: Option<Buffer<T>>,
    is_left: bool,
}

impl<T: Element> fmt::Debug for Panels<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panels").finish_non_exhaustive()
    }
}

impl<T: Element> Panels<T> {
    /// The panels of a number type without a kernel.
    pub fn none() -> Self {
        Self { buffer: None, is_left: false }
    }

    /// The same for products whose left matrix is the transpose of this one.
    #[must_use]
    pub fn of_left(self) -> Self {
        Self { is_left: true, ..self }
    }

    /// A weight in the layout of another kernel than that of products.
    pub(crate) fn arranged(buffer: Buffer<T>) -> Self {
        Self { buffer: Some(buffer), is_left: false }
    }

    /// The elements in the layout of the kernels.
    pub(crate) fn buffer(&self) -> Option<&Buffer<T>> {
        self.buffer.as_ref()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_none()
    }
}

/// The plain triple loop, for number types without a kernel, and the reference
/// in tests.
pub fn naive<T: Float>(mut p: Problem<'_, T>) {
    p.check();
    for i in 0..p.m {
        for j in 0..p.n {
            let product: T = (0..p.k)
                .map(|l| {
                    p.a[i * p.a_strides[0] + l * p.a_strides[1]]
                        * p.b[l * p.b_strides[0] + j * p.b_strides[1]]
                })
                .sum();
            let slot = &mut p.c[i * p.columns + j];
            *slot = match p.plus {
                Plus::Nothing => product,
                Plus::C => *slot + product,
                Plus::Row(row) => row[j] + product,
                Plus::Column(column) => column[i] + product,
            };
        }
    }
    p.finish();
}

/// `c = a · b`, plus the term `plus`, where the rows of C are contiguous. A and
/// B are given with the strides of their rows and columns.
pub(crate) fn multiply<T: Float>(
    [m, k, n]: [usize; 3],
    (a, a_strides): (&[T], [usize; 2]),
    (b, b_strides): (&[T], [usize; 2]),
    c: &mut [T],
    plus: Plus<'_, T>,
) {
    let then = Epilogue::NONE;
    T::gemm(Problem { m, k, n, a, a_strides, b, b_strides, c, columns: n, plus, then });
}

macro_rules! entries {
    ($(
        $(#[$attribute:meta])*
        $type:ident $panels:ident $with_panels:ident
        $avx512:ident $avx2:ident $neon:ident $simd128:ident;
    )*) => {$(
        /// Converts a right matrix of `[k, n]` with its strides to the layout
        /// of the kernels.
        $(#[$attribute])*
        pub fn $panels(
            size: [usize; 2],
            (b, b_strides): (&[$type], [usize; 2]),
        ) -> Panels<$type> {
            assert!(fits(size, b_strides, b.len()), "B is too short");
            if let Some(kernels) = $type::kernels() {
                // SAFETY: the bounds were checked and the features detected.
                let buffer = unsafe { driver::panels(kernels, size, b, b_strides) };
                return Panels { buffer: Some(buffer), is_left: false };
            }
            Panels::none()
        }

        /// Like the product without panels, with the same bits. `panels` are those
        /// of B, or of the transpose of A.
        $(#[$attribute])*
        pub fn $with_panels(p: Problem<'_, $type>, panels: &Panels<$type>) {
            p.check();
            let Panels { buffer, is_left } = panels;
            if let (Some(kernels), Some(buffer)) = ($type::kernels(), buffer)
                && !dot::suits(&p)
            {
                let panels = Some((buffer.as_slice(), *is_left));
                // SAFETY: the bounds were checked and the features detected.
                return unsafe { driver::multiply(p, kernels, panels) };
            }
            $type(p);
        }

        impl Ours for $type {
            $(#[$attribute])*
            fn kernels() -> Option<&'static kernel::Kernels<$type>> {
                #[cfg(target_arch = "x86_64")]
                if simd::has_avx512() {
                    return Some(&micro::$avx512);
                }
                #[cfg(target_arch = "x86_64")]
                if simd::has_avx2() {
                    return Some(&micro::$avx2);
                }
                #[cfg(target_arch = "aarch64")]
                if simd::has_neon() {
                    return Some(&micro::$neon);
                }
                #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                if simd::has_simd128() {
                    return Some(&micro::$simd128);
                }
                None
            }
        }

        /// Computes the product with the fastest kernel for this CPU, in
        /// parallel if it is large.
        $(#[$attribute])*
        pub fn $type(p: Problem<'_, $type>) {
            p.check();
            if p.m.saturating_mul(p.k).saturating_mul(p.n) >= BLOCK_WORK {
                warn_if_unoptimised();
            }
            if dot::suits(&p) {
                return dot::multiply(p);
            }
            if let Some(kernels) = $type::kernels() {
                // SAFETY: the bounds were checked and the features detected.
                return unsafe { driver::multiply(p, kernels, None) };
            }
            fallback::$type(p);
        }
    )*};
}
entries! {
    f32 f32_panels f32_with_panels AVX512_F32 AVX2_F32 NEON_F32 SIMD128_F32;
    // Inline, so that they are compiled only in the crates that use them.
    #[inline]
    f64 f64_panels f64_with_panels AVX512_F64 AVX2_F64 NEON_F64 SIMD128_F64;
}

/// A number type with micro-kernels.
trait Ours: Sized + 'static {
    /// The fastest kernels for this CPU, if it has vectors of a known kind.
    fn kernels() -> Option<&'static kernel::Kernels<Self>>;
}

#[cfg(test)]
mod tests;
