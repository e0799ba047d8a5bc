//! Reduction of a row to one number.

use std::hint;

use crate::element::{Element, Float};

/// The number of accumulators for a row. Twice as many are slower.
pub(crate) const LANES: usize = 32;

/// An associative operation that reduces numbers to one.
pub(crate) trait Fold<T: Element>: Sync {
    /// The result for two numbers.
    fn pair(&self, a: T, b: T) -> T;

    /// The result for a row; `identity` for an empty one.
    #[inline(always)]
    fn row(&self, row: &[T], identity: T) -> T {
        fold_slice(
            row,
            identity,
            #[inline(always)]
            |a, b| self.pair(a, b),
        )
    }
}

impl<T: Element, F: Fn(T, T) -> T + Sync> Fold<T> for F {
    #[inline(always)]
    fn pair(&self, a: T, b: T) -> T {
        self(a, b)
    }
}

/// The largest or smallest number, or NaN if there is one.
pub(crate) struct Extreme<B>(B);

/// The largest number.
pub(crate) fn largest<T: Float>() -> Extreme<impl Fn(T, T) -> bool + Sync> {
    Extreme(
        #[inline(always)]
        |a, b| a > b,
    )
}

/// The smallest number.
pub(crate) fn smallest<T: Float>() -> Extreme<impl Fn(T, T) -> bool + Sync> {
    Extreme(
        #[inline(always)]
        |a, b| a < b,
    )
}

impl<T: Float, B: Fn(T, T) -> bool + Sync> Fold<T> for Extreme<B> {
    #[inline(always)]
    fn pair(&self, a: T, b: T) -> T {
        if (self.0)(a, b) || a.is_nan() { a } else { b }
    }

    /// Searches for the extreme and for NaN separately: an operation that
    /// propagates NaN is a chain of four instructions for each number instead
    /// of one.
    #[inline(always)]
    fn row(&self, row: &[T], identity: T) -> T {
        let best = |a, b| if (self.0)(b, a) { b } else { a };
        let nan = |a: T, b: T| if b.is_nan() { b } else { a };
        let (chunks, rest) = row.as_chunks::<LANES>();
        let (mut found, mut poison) = (identity, T::ZERO);
        if !chunks.is_empty() {
            let (mut lanes, mut nans) = ([identity; LANES], [T::ZERO; LANES]);
            for chunk in chunks {
                for i in 0..LANES {
                    lanes[i] = best(lanes[i], chunk[i]);
                    nans[i] = nan(nans[i], chunk[i]);
                }
            }
            found = halved(loop_ends(lanes), best);
            poison = halved(loop_ends(nans), nan);
        }
        for &x in rest {
            (found, poison) = (best(found, x), nan(poison, x));
        }
        nan(found, poison)
    }
}

/// Reduces a row with many accumulators, in an order that depends only on its
/// length. Inlined, so that it is compiled for the caller's instruction set.
#[inline(always)]
pub(crate) fn fold_slice<T: Element>(row: &[T], identity: T, f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [identity; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    if chunks.is_empty() {
        return rest.iter().fold(identity, |sum, &value| f(sum, value));
    }
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, value);
        }
    }
    let mut lanes = loop_ends(lanes);
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, value);
    }
    halved(lanes, f)
}

/// Hides the code after a loop from the compiler, which would otherwise arrange
/// the loop in pairs of numbers to suit the end of the reduction.
#[inline(always)]
pub(crate) fn loop_ends<T>(lanes: [T; LANES]) -> [T; LANES] {
    hint::black_box(lanes)
}

/// Combines the second half with the first, until one number is left.
#[inline(always)]
pub(crate) fn halved<T: Copy>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (near, far) = lanes.split_at_mut(width);
        for (near, &far) in near.iter_mut().zip(&*far) {
            *near = f(*near, far);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Rows of every length compared with a plain loop, with NaN at any index.
    #[test]
    fn extremes_match_a_plain_loop() {
        let mut rng = Rng::seed(2);
        for length in 0..100 {
            let mut row: Vec<f64> = (0..length).map(|_| rng.normal()).collect();
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let min = row.iter().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(largest().row(&row, f64::NEG_INFINITY), max, "{length}");
            assert_eq!(smallest().row(&row, f64::INFINITY), min, "{length}");
            for index in 0..length {
                let number = row[index];
                for nan in [f64::NAN, -f64::NAN] {
                    row[index] = nan;
                    assert!(largest().row(&row, f64::NEG_INFINITY).is_nan(), "{length}, {index}");
                    assert!(smallest().row(&row, f64::INFINITY).is_nan(), "{length}, {index}");
                }
                row[index] = number;
            }
        }
    }
}
