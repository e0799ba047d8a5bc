//! Folding a row of numbers to one.

use crate::element::Element;

/// Accumulators of one row; enough to keep the adders busy.
const LANES: usize = 32;

/// Folds a row with many accumulators, in an order that depends on its length
/// alone. Inlined, so that it is compiled for the caller's instruction set.
#[inline(always)]
pub(crate) fn fold_slice<T: Element>(row: &[T], identity: T, f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [identity; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    if rest.len() == row.len() {
        return rest.iter().fold(identity, |sum, &value| f(sum, value));
    }
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, value);
    }
    fold_lanes(&mut lanes, f)
}

/// Folds accumulators, the far half onto the near one. A function of its own,
/// since the compiler would otherwise arrange the loops before it in pairs of
/// numbers, the shape in which this ends.
#[inline(never)]
fn fold_lanes<T: Element>(lanes: &mut [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}
