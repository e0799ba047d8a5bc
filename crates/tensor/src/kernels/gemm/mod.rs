//! General matrix products, C = A·B or C += A·B, over any strides.
//!
//! `matrixmultiply` does the inner work. The product is split over rows or
//! columns of C into blocks whose size depends on the problem alone, and never
//! over the inner dimension, so every element of C is the same sum in the same
//! order for any number of threads.

mod driver;
mod fallback;
mod kernel;
mod pack;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::element::Float;

/// One matrix product: `c = a · b`, or `c += a · b` with `accumulate`.
///
/// A is `m × k`, B is `k × n`, C is `m × n`; strides are `[row, column]` in
/// elements, and C is row-major with `columns ≥ n` elements between rows.
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
    /// Whether to add to C instead of overwriting it.
    pub accumulate: bool,
}

impl<T> Problem<'_, T> {
    /// Panics unless every index the product touches lies in its slice, which
    /// is what the kernels rely on.
    fn check(&self) {
        let reach = |rows: usize, columns: usize, strides: [usize; 2]| {
            if rows == 0 || columns == 0 {
                return Some(0);
            }
            let down = (rows - 1).checked_mul(strides[0])?;
            let across = (columns - 1).checked_mul(strides[1])?;
            down.checked_add(across)?.checked_add(1)
        };
        let fits = |reach: Option<usize>, length| reach.is_some_and(|reach| reach <= length);
        assert!(fits(reach(self.m, self.k, self.a_strides), self.a.len()), "A is too short");
        assert!(fits(reach(self.k, self.n, self.b_strides), self.b.len()), "B is too short");
        assert!(self.n <= self.columns, "rows of C overlap");
        assert!(fits(reach(self.m, self.n, [self.columns, 1]), self.c.len()), "C is too short");
    }
}

/// The plain triple loop: for number types without a kernel, and the
/// reference in tests.
pub fn naive<T: Float>(p: Problem<'_, T>) {
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
            *slot = if p.accumulate { *slot + product } else { product };
        }
    }
}

macro_rules! entries {
    ($($type:ident $avx512:ident $avx2:ident;)*) => {$(
        /// The product, by the fastest kernel for this CPU, in parallel when
        /// it is large.
        pub fn $type(p: Problem<'_, $type>) {
            p.check();
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the bounds were checked and the feature detected.
                    return unsafe { driver::multiply(p, &x86::$avx512) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { driver::multiply(p, &x86::$avx2) };
                }
            }
            fallback::$type(p);
        }
    )*};
}
entries! { f32 AVX512_F32 AVX2_F32; f64 AVX512_F64 AVX2_F64; }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Both kernels against the plain loop, over odd sizes, all four
    /// orientations of the operands, and both modes.
    #[test]
    fn products_match_the_plain_loop() {
        let mut rng = Rng::seed(1);
        let sizes = [
            (1, 1, 1),
            (3, 5, 7),
            (16, 17, 33),
            (65, 2, 130),
            (0, 3, 2),
            (2, 0, 3),
            (7, 300, 150),
            (130, 64, 65),
        ];
        for (m, k, n) in sizes {
            for orientation in 0..8 {
                let a: Vec<f64> = (0..m * k).map(|_| rng.normal()).collect();
                let b: Vec<f64> = (0..k * n).map(|_| rng.normal()).collect();
                let columns = n + orientation % 3;
                let c: Vec<f64> = (0..m * columns).map(|_| rng.normal()).collect();
                let a_strides = if orientation & 1 == 0 { [k, 1] } else { [1, m] };
                let b_strides = if orientation & 2 == 0 { [n, 1] } else { [1, k] };
                let accumulate = orientation & 4 != 0;
                let mut expected = c.clone();
                naive(Problem {
                    m,
                    k,
                    n,
                    a: &a,
                    a_strides,
                    b: &b,
                    b_strides,
                    c: &mut expected,
                    columns,
                    accumulate,
                });
                let mut found = c.clone();
                f64(Problem {
                    m,
                    k,
                    n,
                    a: &a,
                    a_strides,
                    b: &b,
                    b_strides,
                    c: &mut found,
                    columns,
                    accumulate,
                });
                let single = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
                let (a, b, mut c) = (single(&a), single(&b), single(&c));
                f32(Problem {
                    m,
                    k,
                    n,
                    a: &a,
                    a_strides,
                    b: &b,
                    b_strides,
                    c: &mut c,
                    columns,
                    accumulate,
                });
                for i in 0..expected.len() {
                    assert!((expected[i] - found[i]).abs() < 1e-11, "{m}×{k}×{n} at {i}");
                    assert!((expected[i] - f64::from(c[i])).abs() < 1e-4, "{m}×{k}×{n} at {i}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "B is too short")]
    fn a_slice_that_is_too_short_is_refused() {
        f32(Problem {
            m: 2,
            k: 2,
            n: 2,
            a: &[0.0; 4],
            a_strides: [2, 1],
            b: &[0.0; 3],
            b_strides: [2, 1],
            c: &mut [0.0; 4],
            columns: 2,
            accumulate: false,
        });
    }
}
