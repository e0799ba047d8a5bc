//! The factors of dropout.

use super::parallel::for_each_equal_chunk;
use super::simd;
use crate::element::Float;
use crate::random::Rng;

/// The number of factors that are made at a time, from random words on the
/// stack.
const WORDS: usize = 256;

/// Random factors: 0 for numbers that are dropped, and one constant for the
/// others.
pub(crate) struct Dropout<T> {
    /// Random words below this value mean that the number is dropped.
    threshold: u64,
    kept: T,
    /// The random stream. The index of a number is its position in the stream.
    rng: Rng,
}

impl<T: Float> Dropout<T> {
    /// Drops numbers with probability `p`.
    pub(crate) fn new(p: f64, kept: T, rng: &Rng) -> Self {
        // The share `p` of the 2³² values of a word.
        let threshold = (p * 2.0_f64.powi(32)) as u64;
        Self { threshold, kept, rng: rng.clone() }
    }

    /// The factors of the numbers from index `first` on.
    pub(crate) fn factors(&self, first: usize, out: &mut [T]) {
        let mut words = [0; WORDS];
        for (index, out) in out.chunks_mut(WORDS).enumerate() {
            let words = &mut words[..out.len()];
            self.rng.words((first + index * WORDS) as u64, words);
            simd::dispatch(
                #[inline(always)]
                || {
                    for (factor, &word) in out.iter_mut().zip(&*words) {
                        let left_out = u64::from(word) < self.threshold;
                        *factor = if left_out { T::ZERO } else { self.kept };
                    }
                },
            );
        }
    }

    /// The factors of all numbers, in parallel.
    pub(crate) fn all_factors(&self, out: &mut [T]) {
        for_each_equal_chunk(out, |first, out| self.factors(first, out));
    }
}
