//! Ranges of activations, from their values on a data set.

use dendra_tensor::{Error, Result, Tensor};

/// How the range of an activation follows from the values that were observed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observer {
    /// All values are within the range.
    MinMax,
    /// So many percent of the values are below the end of the range, and as many
    /// above its start: `Percentile(99.99)`. The others are limited to it.
    Percentile(f64),
    /// The range whose bytes tell the most about the values: the one with the
    /// least Kullback–Leibler divergence of their distributions, as in TensorRT
    /// (Migacz, "8-bit inference with TensorRT", 2017).
    Entropy,
}

/// The bins of a histogram. Half of them are for negative values.
const BINS: usize = 4096;
/// The ranges that [`Observer::Entropy`] compares.
const CANDIDATES: usize = 100;
/// The values of a byte.
const LEVELS: usize = 256;

/// The distribution of the values of an activation.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// The least and the largest value.
    low: f32,
    high: f32,
    /// The bins are over −reach .. reach.
    reach: f32,
    bins: Vec<u64>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { low: 0.0, high: 0.0, reach: 0.0, bins: vec![0; BINS] }
    }

    /// Counts values.
    ///
    /// # Errors
    ///
    /// When one is not finite.
    pub(crate) fn count(&mut self, values: &Tensor<f32>) -> Result<()> {
        let values = values.to_vec();
        let (mut low, mut high) = (self.low, self.high);
        for &x in &values {
            if !x.is_finite() {
                let message = format!("an activation is {x}, which has no byte");
                return Err(Error::not_finite("Quantizer::observe", message));
            }
            low = low.min(x);
            high = high.max(x);
        }
        (self.low, self.high) = (low, high);
        self.widen(high.max(-low));
        if self.reach > 0.0 {
            let scale = BINS as f32 / 2.0 / self.reach;
            for x in values {
                let bin = (x * scale + BINS as f32 / 2.0) as usize;
                self.bins[bin.min(BINS - 1)] += 1;
            }
        }
        Ok(())
    }

    /// Makes the bins wide enough for a number. The reach is a power of two, so
    /// that it does not depend on the order of the batches.
    fn widen(&mut self, largest: f32) {
        if largest <= self.reach {
            return;
        }
        let mut reach = if self.reach > 0.0 { self.reach } else { f32::MIN_POSITIVE };
        while reach < largest {
            if self.reach > 0.0 {
                self.halve();
            }
            reach *= 2.0;
        }
        self.reach = reach;
    }

    /// Joins pairs of bins.
    fn halve(&mut self) {
        let mut bins = vec![0; BINS];
        for (index, count) in self.bins.iter().enumerate() {
            bins[BINS / 4 + index / 2] += count;
        }
        self.bins = bins;
    }

    /// The range that an observer chooses.
    pub(crate) fn range(&self, observer: Observer) -> [f32; 2] {
        let all = [self.low, self.high];
        match observer {
            Observer::MinMax => all,
            Observer::Percentile(percent) => {
                let share = (percent / 100.0).clamp(0.5, 1.0);
                let high = self.quantile(share, self.bins.iter().rev());
                let low = self.quantile(share, self.bins.iter());
                [(-low).clamp(self.low, 0.0), high.clamp(0.0, self.high)]
            }
            Observer::Entropy => self.most_telling(),
        }
    }

    /// The distance from −reach, along bins from the far end, beyond which less
    /// than `1 − share` of the values are.
    fn quantile<'a>(&self, share: f64, from_end: impl Iterator<Item = &'a u64>) -> f32 {
        let total: u64 = self.bins.iter().sum();
        let mut beyond = 0;
        let mut bins = 0;
        for count in from_end {
            beyond += count;
            if beyond as f64 > total as f64 * (1.0 - share) {
                break;
            }
            bins += 1;
        }
        (BINS as f32 / 2.0 - bins as f32) * self.reach / (BINS as f32 / 2.0)
    }

    fn most_telling(&self) -> [f32; 2] {
        let mut best = ([self.low, self.high], f64::INFINITY);
        let most = self.high.max(-self.low);
        for candidate in (1..=CANDIDATES).rev() {
            let limit = most * candidate as f32 / CANDIDATES as f32;
            let range = [self.low.max(-limit), self.high.min(limit)];
            let divergence = self.divergence(range);
            if divergence < best.1 {
                best = (range, divergence);
            }
        }
        best.0
    }

    fn bin(&self, x: f32) -> usize {
        let bin = (x / self.reach + 1.0) * (BINS as f32 / 2.0);
        (bin as usize).min(BINS - 1)
    }

    /// The divergence of the values limited to a range from what bytes tell of
    /// them.
    fn divergence(&self, [low, high]: [f32; 2]) -> f64 {
        if self.reach == 0.0 {
            return 0.0;
        }
        let (first, last) = (self.bin(low), self.bin(high));
        let inside = &self.bins[first..=last];
        let mut limited: Vec<f64> = inside.iter().map(|&count| count as f64).collect();
        let count = limited.len();
        limited[0] += self.bins[..first].iter().sum::<u64>() as f64;
        limited[count - 1] += self.bins[last + 1..].iter().sum::<u64>() as f64;
        let mut told = vec![0.0; count];
        for level in 0..LEVELS {
            let (from, to) = (level * count / LEVELS, (level + 1) * count / LEVELS);
            let bins = &inside[from..to];
            let filled = bins.iter().filter(|&&count| count > 0).count().max(1);
            let each = bins.iter().sum::<u64>() as f64 / filled as f64;
            for (told, &count) in told[from..to].iter_mut().zip(bins) {
                *told = if count > 0 { each } else { 0.0 };
            }
        }
        let (all, all_told) = (limited.iter().sum::<f64>(), told.iter().sum::<f64>());
        // Bins without values get a small share, so that the quotient is finite.
        let terms = limited.iter().zip(&told).filter(|&(&p, _)| p > 0.0).map(|(p, q)| {
            let (p, q) = (p / all, (q / all_told.max(1.0)).max(1e-9));
            p * (p / q).ln()
        });
        terms.sum()
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;

    fn observed(batches: &[Tensor<f32>]) -> Histogram {
        let mut histogram = Histogram::new();
        batches.iter().for_each(|batch| histogram.count(batch).unwrap());
        histogram
    }

    #[test]
    fn the_range_does_not_depend_on_the_order_of_the_batches() {
        let rng = &mut Rng::seed(1);
        let batch = |std| Tensor::normal([1000], 0.0, std, &mut rng.fork(std as u64));
        let batches = [batch(1.0), batch(9.0), batch(3.0)];
        let (a, b) = (observed(&batches), observed(&[batch(9.0), batch(3.0), batch(1.0)]));
        for observer in [Observer::MinMax, Observer::Percentile(99.0), Observer::Entropy] {
            assert_eq!(a.range(observer), b.range(observer));
        }
    }

    #[test]
    fn outliers_widen_only_the_range_of_all_values() {
        let rng = &mut Rng::seed(2);
        let mut values = Tensor::<f32>::normal([100_000], 0.0, 1.0, rng).to_vec();
        values[7] = 200.0;
        let histogram = observed(&[Tensor::from_vec(values, [100_000]).unwrap()]);
        assert_eq!(histogram.range(Observer::MinMax)[1], 200.0);
        // 99.9 percent of a normal distribution are below 3.09.
        let [low, high] = histogram.range(Observer::Percentile(99.9));
        assert!((high - 3.09).abs() < 0.3 && (low + 3.09).abs() < 0.3, "{low} .. {high}");
        assert!(histogram.range(Observer::Entropy)[1] < 120.0);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let error = Histogram::new().count(&Tensor::from([1.0, f32::NAN])).unwrap_err();
        assert!(error.to_string().contains("an activation is NaN"));
        assert_eq!(observed(&[Tensor::zeros([4])]).range(Observer::Entropy), [0.0, 0.0]);
    }

    #[test]
    fn activations_without_negative_values_start_at_0() {
        let values = Tensor::<f32>::uniform([10_000], 0.0, 5.0, &mut Rng::seed(3));
        let histogram = observed(&[values]);
        for observer in [Observer::MinMax, Observer::Percentile(99.9), Observer::Entropy] {
            let [low, high] = histogram.range(observer);
            assert!(low == 0.0 && high > 4.0, "{observer:?}: {low} .. {high}");
        }
    }
}
