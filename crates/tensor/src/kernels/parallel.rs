//! Splitting work over threads, the same way for any number of threads.
//!
//! Work is cut into chunks whose sizes depend on the problem alone, whoever
//! runs them. A problem too small to pay for the hand-over runs
//! on the caller's thread, chunk by chunk, with the same results.

use std::marker::PhantomData;
use std::slice;
use std::time::{Duration, Instant};

use super::simd;
use super::team::for_each_index;
use crate::element::Element;
use crate::threads::num_threads;

/// Roughly how many elementary steps (additions, loads) a chunk should hold
/// for handing it to another thread to pay.
pub const GRAIN: usize = 64 * 1024;
/// Elementary steps from which on another thread pays: some microseconds of
/// work.
const WORTH_A_THREAD: usize = GRAIN / 2;

/// Calls `work(index, chunk)` for each consecutive chunk of `chunk_length`
/// elements of `out`, in parallel when the whole costs enough steps;
/// `cost` is the number of elementary steps per element of `out`.
///
/// `work` is called through a pointer, so that the rest is compiled once per
/// element type and not once per kernel.
pub fn for_each_chunk<T: Send>(
    out: &mut [T],
    chunk_length: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    fn run<T: Send>(
        out: &mut [T],
        chunk_length: usize,
        parallel: bool,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        if !parallel {
            return out.chunks_mut(chunk_length).enumerate().for_each(|(i, chunk)| work(i, chunk));
        }
        let (start, length) = (Start(out.as_mut_ptr()), out.len());
        for_each_index(length.div_ceil(chunk_length), &|index| {
            let begin = index * chunk_length;
            let length = chunk_length.min(length - begin);
            // SAFETY: the chunk lies within `out`, and as each index comes once
            // no other call has it.
            let chunk = unsafe { slice::from_raw_parts_mut(start.get().add(begin), length) };
            work(index, chunk);
        });
    }
    let parallel = pays(out.len(), cost);
    run(out, chunk_length.max(1), parallel, &work);
}

/// Where a slice begins whose chunks several threads work on.
struct Start<T>(*mut T);

// SAFETY: each thread touches its own chunks, and T may go to other threads.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Rows of a buffer that several threads fill, each row one of them.
pub(crate) struct Rows<'a, T> {
    start: Start<T>,
    count: usize,
    width: usize,
    buffer: PhantomData<&'a mut [T]>,
}

impl<'a, T: Element> Rows<'a, T> {
    /// All rows of this width, which is not 0, of a buffer.
    pub(crate) fn new(buffer: &'a mut [T], width: usize) -> Self {
        let count = buffer.len() / width;
        Self { start: Start(buffer.as_mut_ptr()), count, width, buffer: PhantomData }
    }

    /// Writes a row.
    ///
    /// # Safety
    ///
    /// No other thread writes the same row.
    pub(crate) unsafe fn write(&self, row: usize, values: &[T]) {
        assert!(row < self.count && values.len() == self.width, "a row of the buffer");
        let to = self.start.get().wrapping_add(row * self.width);
        // SAFETY: the row lies within the buffer, which nobody else has while
        // this exists, and the caller promises the rest.
        unsafe { to.copy_from_nonoverlapping(values.as_ptr(), self.width) };
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
    let parallel = pays(first.len(), cost);
    let pairs = first.chunks_mut(first_length.max(1)).zip(second.chunks_mut(second_length.max(1)));
    let mut pairs: Vec<_> = pairs.collect();
    for_each_chunk(&mut pairs, 1, cost_of(parallel), |index, pair| {
        let (first, second) = &mut pair[0];
        work(index, first, second);
    });
}

/// Whether `elements` that cost `cost` steps each are worth more than one
/// thread.
pub fn pays(elements: usize, cost: usize) -> bool {
    elements.saturating_mul(cost) >= WORTH_A_THREAD && num_threads() > 1
}

/// A cost that decides whether to work in parallel.
fn cost_of(parallel: bool) -> usize {
    if parallel { WORTH_A_THREAD } else { 0 }
}

/// How many rows of `row_cost` steps make up one grain.
pub fn rows_per_chunk(row_cost: usize) -> usize {
    (GRAIN / row_cost.max(1)).max(1)
}

/// Calls `work(index)` for every index below `count`, in parallel when the
/// whole costs enough steps, and collects the results in order.
pub fn map<R: Send>(count: usize, cost: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for_each_chunk(&mut results, 1, cost, |index, slot| slot[0] = Some(work(index)));
    results.into_iter().map(|result| result.expect("every chunk was worked on")).collect()
}

/// Calls `work(place, chunk)` for consecutive chunks of `out`, which begin at
/// that place and all cost about the same per element. The first tells by its
/// time whether the others are worth another thread, so that no one has to know
/// the cost of a function; what is computed does not depend on it.
pub(crate) fn for_each_equal_chunk<T: Send>(out: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    let work = |index: usize, chunk: &mut [T]| work(index * MAP_CHUNK, chunk);
    if out.len() < 2 * MAP_CHUNK || num_threads() < 2 {
        return for_each_chunk(out, MAP_CHUNK, 0, work);
    }
    let (first, rest) = out.split_at_mut(MAP_CHUNK);
    let begin = Instant::now();
    work(0, first);
    let whole = begin.elapsed() * (rest.len() / MAP_CHUNK) as u32;
    let cost = cost_of(whole > SAVES_TIME);
    for_each_chunk(rest, MAP_CHUNK, cost, |index, chunk| work(index + 1, chunk));
}

/// Fills `out` with `f` of the elements of `x`, in parallel and vectorised.
///
/// Each loop has a copy of `f`: what it holds is then in registers. Behind a
/// reference it would have to be read again after every store, which might have
/// changed it, and a read under a condition keeps a loop from being vectorised.
pub(crate) fn map_slice<A: Element, B: Element>(
    x: &[A],
    out: &mut [B],
    f: impl Fn(A) -> B + Sync + Copy,
) {
    for_each_equal_chunk(out, |first, out| {
        let x = &x[first..][..out.len()];
        simd::dispatch(
            #[inline(always)]
            move || {
                for (slot, &x) in out.iter_mut().zip(x) {
                    *slot = f(x);
                }
            },
        );
    });
}

/// Replaces each element of `values` by `f` of it and those of `x` and `y` at
/// its place, in parallel and vectorised as [`map_slice`] does.
pub(crate) fn update_slice<T: Element>(
    values: &mut [T],
    [x, y]: [&[T]; 2],
    f: impl Fn(T, T, T) -> T + Sync + Copy,
) {
    for_each_equal_chunk(values, |first, values| {
        let (x, y) = (&x[first..][..values.len()], &y[first..][..values.len()]);
        simd::dispatch(
            #[inline(always)]
            move || {
                for ((value, &x), &y) in values.iter_mut().zip(x).zip(y) {
                    *value = f(*value, x, y);
                }
            },
        );
    });
}

/// Elements of a chunk of a map. Few, since the first chunk is computed alone.
const MAP_CHUNK: usize = 2 * 1024;
/// Work that is worth another thread.
const SAVES_TIME: Duration = Duration::from_micros(4);
