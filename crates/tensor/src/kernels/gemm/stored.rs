//! Products of matrices that are stored as `f32`, `f16` or `bf16`, with sums in `f32`.

use std::borrow::Cow;

use super::{Ours, Plus, Problem, dot, driver, fits};
use crate::half::{Half, bf16, f16};
use crate::kernels::epilogue::Epilogue;

/// The elements of a matrix that a product reads as `f32`.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// With the conversion of `f16`.
    F16(&'a [f16]),
    /// With the conversion of `bf16`.
    BF16(&'a [bf16]),
}

impl<'a> Stored<'a> {
    /// The slice up to the last element of a matrix of this size.
    fn of_matrix(self, size: [usize; 2], strides: [usize; 2]) -> Self {
        let stored = match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::BF16(values) => values.len(),
        };
        assert!(fits(size, strides, stored), "a matrix is too short");
        let length = match size.contains(&0) {
            true => 0,
            false => (size[0] - 1) * strides[0] + (size[1] - 1) * strides[1] + 1,
        };
        match self {
            Self::F32(values) => Self::F32(&values[..length]),
            Self::F16(values) => Self::F16(&values[..length]),
            Self::BF16(values) => Self::BF16(&values[..length]),
        }
    }

    /// The halves with their conversion, if there is one.
    fn halves(self) -> Option<driver::Halves<f32>> {
        /// # Safety
        ///
        /// That of [`Widen`](super::pack::Widen).
        unsafe fn widen<H: Half>(from: *const u16, to: &mut [f32]) {
            // SAFETY: `H` has the layout of its bits, and the caller guarantees that as many
            // halves can be read.
            H::widen(unsafe { std::slice::from_raw_parts(from.cast(), to.len()) }, to);
        }
        match self {
            Self::F32(_) => None,
            Self::F16(values) => Some((values.as_ptr().cast(), widen::<f16>)),
            Self::BF16(values) => Some((values.as_ptr().cast(), widen::<bf16>)),
        }
    }

    /// All elements as `f32`.
    fn widened(self) -> Cow<'a, [f32]> {
        fn all<H: Half>(halves: &[H]) -> Vec<f32> {
            let mut numbers = vec![0.0; halves.len()];
            H::widen(halves, &mut numbers);
            numbers
        }
        match self {
            Self::F32(values) => Cow::Borrowed(values),
            Self::F16(values) => Cow::Owned(all(values)),
            Self::BF16(values) => Cow::Owned(all(values)),
        }
    }

    /// The elements if they are `f32`.
    fn numbers(self) -> &'a [f32] {
        match self {
            Self::F32(values) => values,
            Self::F16(_) | Self::BF16(_) => &[],
        }
    }
}

/// Computes `c = a · b`, plus the term `plus`, of matrices that may be stored as halves, which are
/// converted when they are packed. A is `m × k`, B is `k × n`, both with their strides, and the
/// rows of C are contiguous. The bits are those of the product of the converted matrices.
///
/// # Panics
///
/// When a matrix or the term is too short.
pub fn multiply_stored(
    [m, k, n]: [usize; 3],
    (a, a_strides): (Stored<'_>, [usize; 2]),
    (b, b_strides): (Stored<'_>, [usize; 2]),
    c: &mut [f32],
    plus: Plus<'_, f32>,
) {
    let (a, b) = (a.of_matrix([m, k], a_strides), b.of_matrix([k, n], b_strides));
    let halves = [a.halves(), b.halves()];
    let p = Problem {
        m,
        k,
        n,
        a: a.numbers(),
        a_strides,
        b: b.numbers(),
        b_strides,
        c,
        columns: n,
        plus,
        then: Epilogue::NONE,
    };
    if let (Some(kernels), false, [Some(_), _] | [_, Some(_)]) =
        (f32::kernels(), dot::suits(&p), halves)
    {
        assert!(fits([m, n], [n, 1], p.c.len()), "C is too short");
        p.check_plus();
        // SAFETY: the bounds of C were just checked, those of A and B when they were cut, and the
        // features detected.
        return unsafe { driver::multiply_halves(p, kernels, None, halves) };
    }
    let (a, b) = (a.widened(), b.widened());
    super::f32(Problem { a: &a, b: &b, ..p });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use crate::tensor::Tensor;

    /// The product of halves has the bits of that of the numbers which they are.
    #[test]
    fn halves_multiply_like_the_numbers_that_they_are() {
        fn stored<H: Half>(x: &[f32]) -> (Vec<H>, Vec<f32>) {
            let mut halves = vec![H::ZERO; x.len()];
            H::narrow(x, &mut halves);
            let mut numbers = vec![0.0; x.len()];
            H::widen(&halves, &mut numbers);
            (halves, numbers)
        }
        let mut rng = Rng::seed(3);
        let sizes = [
            [1, 1, 1],
            [1, 700, 130],
            [3, 64, 40],
            [5, 1100, 17],
            [6, 9, 300],
            [97, 530, 45],
            [130, 70, 600],
            [40, 3000, 8],
            [2, 0, 3],
            [0, 4, 5],
        ];
        for [m, k, n] in sizes {
            let mut random = |length| Tensor::<f32>::normal([length], 0.0, 1.0, &mut rng).to_vec();
            // Gaps between rows, and between columns when turned.
            let (a, b, row) = (random((m + 3) * (k + 3)), random((k + 3) * (n + 3)), random(n));
            let (a16, a32) = stored::<f16>(&a);
            let (b16, b32) = stored::<bf16>(&b);
            for a_strides in [[k + 3, 1], [1, m + 3], [k + 2, 1]] {
                for b_strides in [[n + 3, 1], [1, k + 3], [1, k + 1]] {
                    let run = |a: Stored<'_>, b: Stored<'_>| {
                        let mut c = vec![f32::NAN; m * n];
                        let plus = Plus::Row(&row);
                        multiply_stored([m, k, n], (a, a_strides), (b, b_strides), &mut c, plus);
                        c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                    };
                    let mut expected = vec![f32::NAN; m * n];
                    let (a, b) = ((&a32[..], a_strides), (&b32[..], b_strides));
                    super::super::multiply([m, k, n], a, b, &mut expected, Plus::Row(&row));
                    let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
                    let context = format!("{m} × {k} × {n}, {a_strides:?} {b_strides:?}");
                    let [af, bf] = [Stored::F32(&a32), Stored::F32(&b32)];
                    let [ah, bh] = [Stored::F16(&a16), Stored::BF16(&b16)];
                    for (a, b) in [(af, bf), (ah, bf), (af, bh), (ah, bh)] {
                        assert!(run(a, b) == expected, "{context}");
                    }
                }
            }
        }
    }
}
