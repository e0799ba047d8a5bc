//! Folding a row of numbers to one.

use std::hint;

use crate::element::Element;

/// Accumulators of one row; twice as many were slower.
const LANES: usize = 32;

/// Folds a row with many accumulators, in an order that depends on its length
/// alone. Inlined, so that it is compiled for the caller's instruction set.
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
    // Where the compiler sees what follows it arranges the loop above in pairs
    // of numbers, the shape in which this ends.
    let mut lanes = hint::black_box(lanes);
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, value);
    }
    // The far half onto the near one, until one is left.
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
