//! Splitting work over threads, the same way for any number of threads.
//!
//! Work is cut into chunks whose sizes depend on the problem alone; rayon
//! decides who runs which. A problem too small to pay for the hand-over runs
//! on the caller's thread, chunk by chunk, with the same results.

use rayon::prelude::*;

use crate::element::Element;

/// Roughly how many elementary steps (additions, loads) a chunk should hold
/// for handing it to another thread to pay.
pub const GRAIN: usize = 64 * 1024;

/// Calls `work(index, chunk)` for each consecutive chunk of `chunk_length`
/// elements of `out`, in parallel when the whole costs more than two grains;
/// `cost` is the number of elementary steps per element of `out`.
pub fn for_each_chunk<T: Send>(
    out: &mut [T],
    chunk_length: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunk_length = chunk_length.max(1);
    if pays(out.len(), cost) && out.len() > chunk_length {
        out.par_chunks_mut(chunk_length).enumerate().for_each(|(index, chunk)| work(index, chunk));
    } else {
        out.chunks_mut(chunk_length).enumerate().for_each(|(index, chunk)| work(index, chunk));
    }
}

/// As [`for_each_chunk`], for two outputs that are cut into equally many
/// chunks; `cost` is the number of elementary steps per element of `first`.
pub fn for_each_chunk_pair<A: Send, B: Send>(
    (first, first_length): (&mut [A], usize),
    (second, second_length): (&mut [B], usize),
    cost: usize,
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (first_length, second_length) = (first_length.max(1), second_length.max(1));
    if pays(first.len(), cost) && first.len() > first_length {
        first
            .par_chunks_mut(first_length)
            .zip(second.par_chunks_mut(second_length))
            .enumerate()
            .for_each(|(index, (first, second))| work(index, first, second));
    } else {
        first
            .chunks_mut(first_length)
            .zip(second.chunks_mut(second_length))
            .enumerate()
            .for_each(|(index, (first, second))| work(index, first, second));
    }
}

/// Whether `elements` that cost `cost` steps each are worth more than one
/// thread.
pub fn pays(elements: usize, cost: usize) -> bool {
    elements.saturating_mul(cost) >= 2 * GRAIN && rayon::current_num_threads() > 1
}

/// How many rows of `row_cost` steps make up one grain.
pub fn rows_per_chunk(row_cost: usize) -> usize {
    (GRAIN / row_cost.max(1)).max(1)
}

/// Calls `work(index)` for every index below `count`, in parallel when the
/// whole costs more than two grains, and collects the results in order.
pub fn map<R: Send>(count: usize, cost: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if pays(count, cost) && count > 1 {
        (0..count).into_par_iter().map(&work).collect()
    } else {
        (0..count).map(work).collect()
    }
}

/// Fills `out` with `f` of the elements of `inputs` at the same place, in
/// parallel and vectorised.
pub(crate) fn map_slices<A: Element, B: Element, const N: usize>(
    inputs: [&[A]; N],
    out: &mut [B],
    f: impl Fn([A; N]) -> B + Sync,
) {
    // Slices of one length let the compiler drop the bounds checks.
    for_each_chunk(out, GRAIN / 2, 1, |index, out| {
        let start = index * (GRAIN / 2);
        let inputs = inputs.map(|input| &input[start..start + out.len()]);
        super::simd::dispatch(
            #[inline(always)]
            || {
                for (i, slot) in out.iter_mut().enumerate() {
                    *slot = f(inputs.map(|input| input[i]));
                }
            },
        );
    });
}
