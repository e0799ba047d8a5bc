//! Random numbers from a counter-based generator.
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011) turns a key and a counter into four random words. A number
//! therefore depends only on seed, stream and position: streams never overlap,
//! and nothing depends on the order in which threads draw.

use crate::kernels::simd;

/// A stream of random numbers.
///
/// ```
/// use dendra_tensor::Rng;
///
/// let mut a = Rng::seed(42);
/// let mut b = Rng::seed(42);
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert_ne!(a.fork(1).next_u64(), a.fork(2).next_u64());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    stream: u64,
    /// The number of words drawn so far.
    position: u64,
    /// The words of the block at `position / 4`, once it was computed.
    block: Option<[u32; 4]>,
}

impl Rng {
    /// The first stream of a seed.
    pub fn seed(seed: u64) -> Self {
        Self::from_state([seed, 0, 0])
    }

    /// An independent stream for `label`. It depends on this generator's seed
    /// and stream and on the label, but not on how many numbers were drawn, and
    /// it does not advance this generator.
    pub fn fork(&self, label: u64) -> Self {
        let mixed = philox(
            [self.seed as u32, (self.seed >> 32) as u32],
            [label as u32, (label >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32],
        );
        Self::from_state([self.seed ^ join(mixed[0], mixed[1]), join(mixed[2], mixed[3]), 0])
    }

    /// Seed, stream and position, from which [`from_state`](Self::from_state)
    /// continues.
    pub fn state(&self) -> [u64; 3] {
        [self.seed, self.stream, self.position]
    }

    /// The generator with a state that [`state`](Self::state) returned.
    pub fn from_state([seed, stream, position]: [u64; 3]) -> Self {
        Self { seed, stream, position, block: None }
    }

    /// 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        let offset = (self.position % 4) as usize;
        let (seed, stream, index) = (self.seed, self.stream, self.position / 4);
        self.position += 1;
        match &mut self.block {
            Some(block) if offset != 0 => block[offset],
            block => block.insert(philox(
                [seed as u32, (seed >> 32) as u32],
                [index as u32, (index >> 32) as u32, stream as u32, (stream >> 32) as u32],
            ))[offset],
        }
    }

    /// Skips this many words.
    pub(crate) fn skip(&mut self, words: u64) {
        (self.position, self.block) = (self.position.wrapping_add(words), None);
    }

    /// The words that [`next_u32`](Self::next_u32) would return after skipping
    /// `skipped` words, computed many at a time.
    pub(crate) fn words(&self, skipped: u64, out: &mut [u32]) {
        const BLOCKS: usize = 16;
        let (seed, stream) = (self.seed, self.stream);
        let mut position = self.position.wrapping_add(skipped);
        let mut rest = out;
        simd::dispatch(
            #[inline(always)]
            || {
                while !rest.is_empty() {
                    let index: [u64; BLOCKS] =
                        std::array::from_fn(|i| (position / 4).wrapping_add(i as u64));
                    let words = philox_of(
                        [seed as u32, (seed >> 32) as u32],
                        [
                            index.map(|index| index as u32),
                            index.map(|index| (index >> 32) as u32),
                            [stream as u32; BLOCKS],
                            [(stream >> 32) as u32; BLOCKS],
                        ],
                    );
                    let blocks: [[u32; 4]; BLOCKS] =
                        std::array::from_fn(|i| words.map(|word| word[i]));
                    let words = &blocks.as_flattened()[(position % 4) as usize..];
                    let count = words.len().min(rest.len());
                    let (now, later) = std::mem::take(&mut rest).split_at_mut(count);
                    now.copy_from_slice(&words[..count]);
                    rest = later;
                    position = position.wrapping_add(count as u64);
                }
            },
        );
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32();
        join(low, self.next_u32())
    }

    /// A uniformly distributed number in `0 .. 1`, with 53 random bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number of the standard normal distribution, by the method of Box and
    /// Muller (1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A uniformly distributed integer in `0 .. n`, without bias.
    ///
    /// # Panics
    ///
    /// When `n` is 0.
    #[track_caller]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "the upper bound must be at least 1");
        below(n, || self.next_u64())
    }

    /// Shuffles the items (Fisher and Yates).
    pub fn shuffle<X>(&mut self, items: &mut [X]) {
        let mut words = [0; 64];
        let mut drawn = 0;
        for last in (1..items.len()).rev() {
            let other = below(last + 1, || {
                let next = drawn % words.len();
                if next == 0 {
                    self.words(drawn as u64, &mut words);
                }
                drawn += 2;
                join(words[next], words[next + 1])
            });
            items.swap(last, other);
        }
        self.skip(drawn as u64);
    }

    /// The numbers `0 .. n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// A uniformly distributed integer in `0 .. n`, from random bits.
fn below(n: usize, mut bits: impl FnMut() -> u64) -> usize {
    let n = n as u64;
    // Lemire, "Fast random integer generation in an interval" (2019).
    let mut product = u128::from(bits()) * u128::from(n);
    if (product as u64) < n {
        let reject_below = n.wrapping_neg() % n;
        while (product as u64) < reject_below {
            product = u128::from(bits()) * u128::from(n);
        }
    }
    (product >> 64) as usize
}

/// Ten rounds of Philox over four words.
#[inline(always)]
fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    philox_of(key, counter.map(|word| [word])).map(|[word]| word)
}

/// The same for `N` counters side by side.
#[inline(always)]
fn philox_of<const N: usize>(mut key: [u32; 2], mut counter: [[u32; N]; 4]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        for i in 0..N {
            let left = u64::from(a[i]) * 0xD251_1F53;
            let right = u64::from(c[i]) * 0xCD9E_8D57;
            counter[0][i] = (right >> 32) as u32 ^ b[i] ^ key[0];
            counter[1][i] = right as u32;
            counter[2][i] = (left >> 32) as u32 ^ d[i] ^ key[1];
            counter[3][i] = left as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn a_shuffle_draws_one_number_after_the_other() {
        for (before, n) in [(0, 1), (0, 7), (1, 33), (3, 34), (2, 200)] {
            let mut rng = Rng::seed(before).fork(n as u64);
            (0..before).for_each(|_| _ = rng.next_u32());
            let mut one_by_one = rng.clone();
            let mut expected: Vec<usize> = (0..n).collect();
            for last in (1..n).rev() {
                expected.swap(last, one_by_one.below(last + 1));
            }
            assert_eq!(rng.permutation(n), expected);
            assert_eq!(rng.next_u64(), one_by_one.next_u64());
        }
    }

    #[test]
    fn a_saved_state_goes_on_where_it_was() {
        for drawn in 0..9 {
            let mut rng = Rng::seed(7).fork(3);
            (0..drawn).for_each(|_| _ = rng.next_u32());
            let mut again = Rng::from_state(rng.state());
            for _ in 0..9 {
                assert_eq!(rng.next_u32(), again.next_u32());
            }
        }
    }

    #[test]
    fn words_made_together_are_those_drawn_one_by_one() {
        // Including the carry into the upper half of the block's number.
        for start in [0, 5, 4 * u64::from(u32::MAX) - 30] {
            let rng = Rng::from_state([7, 11, start]);
            for (skipped, count) in [(0, 200), (3, 1), (62, 70), (1000, 64)] {
                let mut words = vec![0; count];
                rng.words(skipped, &mut words);
                let mut drawn = Rng::from_state([7, 11, start + skipped]);
                assert!(words.into_iter().all(|word| word == drawn.next_u32()));
            }
        }
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut rng = Rng::seed(1);
        let n = 200_000;
        let moments = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / n as f64;
            (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64)
        };
        let (mean, variance) = moments((0..n).map(|_| rng.uniform()).collect());
        assert!((mean - 0.5).abs() < 3e-3 && (variance - 1.0 / 12.0).abs() < 1e-3);
        let (mean, variance) = moments((0..n).map(|_| rng.normal()).collect());
        assert!(mean.abs() < 1e-2 && (variance - 1.0).abs() < 2e-2);
        let (mean, _) = moments((0..n).map(|_| rng.below(7) as f64).collect());
        assert!((mean - 3.0).abs() < 2e-2);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Rng::seed(3).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
