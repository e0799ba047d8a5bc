//! Splitting work over threads, in the same way for any number of threads.
//!
//! Work is split into chunks whose sizes depend only on the problem, not on the
//! threads. A problem that is too small for several threads runs on the
//! caller's thread, chunk by chunk, with the same results.

use std::marker::PhantomData;
use std::slice;
use std::time::{Duration, Instant};

use super::simd;
use super::team::for_each_index;
use crate::element::Element;
use crate::threads::num_threads;

/// The approximate number of elementary steps (additions, loads) in a chunk for
/// which another thread saves time.
pub const GRAIN: usize = 64 * 1024;
/// The number of elementary steps from which on another thread saves time: some
/// microseconds of work.
const WORTH_A_THREAD: usize = GRAIN / 2;

/// Calls `work(index, chunk)` for each consecutive chunk of `chunk_length`
/// elements of `out`, in parallel if the total number of steps is large enough;
/// `cost` is the number of elementary steps per element of `out`.
///
/// `work` is called through a pointer, so that the other code is compiled once
/// per element type and not once per kernel.
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
            // SAFETY: the chunk is within `out`, and each index occurs once, so
            // no other call has this chunk.
            let chunk = unsafe { slice::from_raw_parts_mut(start.get().add(begin), length) };
            work(index, chunk);
        });
    }
    let parallel = pays(out.len(), cost);
    run(out, chunk_length.max(1), parallel, &work);
}

/// The start of a slice whose chunks several threads process.
struct Start<T>(*mut T);

// SAFETY: each thread accesses its own chunks, and T may be sent to other
// threads.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// The rows of a buffer that several threads write, each row by one thread.
pub(crate) struct Rows<'a, T> {
    start: Start<T>,
    count: usize,
    width: usize,
    buffer: PhantomData<&'a mut [T]>,
}

impl<'a, T: Element> Rows<'a, T> {
    /// The rows of a buffer with this width, which is not 0.
    pub(crate) fn new(buffer: &'a mut [T], width: usize) -> Self {
        let count = buffer.len() / width;
        Self { start: Start(buffer.as_mut_ptr()), count, width, buffer: PhantomData }
    }

    /// Writes a row.
    ///
    /// # Safety
    ///
    /// No other thread may write the same row.
    pub(crate) unsafe fn write(&self, row: usize, values: &[T]) {
        assert!(row < self.count && values.len() == self.width, "a row of the buffer");
        let to = self.start.get().wrapping_add(row * self.width);
        // SAFETY: the row is within the buffer, which is borrowed mutably while
        // this exists, and the caller guarantees the rest.
        unsafe { to.copy_from_nonoverlapping(values.as_ptr(), self.width) };
    }
}

/// Like [`for_each_chunk`], for two outputs that are split into the same number
/// of chunks; `cost` is the number of elementary steps per element of `first`.
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

/// Whether several threads save time for `elements` that cost `cost` steps
/// each.
pub fn pays(elements: usize, cost: usize) -> bool {
    elements.saturating_mul(cost) >= WORTH_A_THREAD && num_threads() > 1
}

/// A cost with which the work runs in parallel or not.
fn cost_of(parallel: bool) -> usize {
    if parallel { WORTH_A_THREAD } else { 0 }
}

/// The number of rows of `row_cost` steps that make up one grain.
pub fn rows_per_chunk(row_cost: usize) -> usize {
    (GRAIN / row_cost.max(1)).max(1)
}

/// Calls `work(index)` for every index below `count`, in parallel if the total
/// number of steps is large enough, and collects the results in order.
pub fn map<R: Send>(count: usize, cost: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for_each_chunk(&mut results, 1, cost, |index, slot| slot[0] = Some(work(index)));
    results.into_iter().map(|result| result.expect("every chunk was worked on")).collect()
}

/// Calls `work(begin, chunk)` for consecutive chunks of `out`, which begin at
/// index `begin` and cost about the same per element. The time of the first
/// chunk decides whether several threads process the others, so that the cost
/// of a function need not be known. The results do not depend on this.
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
/// Each loop has its own copy of `f`, so that the values in it stay in
/// registers. Behind a reference, they would have to be read again after every
/// store, which might have changed them, and a conditional read prevents
/// vectorisation.
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

/// Replaces each element of `values` by `f` of it and the elements of `x` and
/// `y` at the same index, in parallel and vectorised like [`map_slice`].
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

/// The number of elements in a chunk of a map. It is small, because the first
/// chunk is computed by one thread.
const MAP_CHUNK: usize = 2 * 1024;
/// The time of the work for which another thread saves time.
const SAVES_TIME: Duration = Duration::from_micros(4);
