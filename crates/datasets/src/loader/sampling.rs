//! The samples of an epoch and their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_tensor::{Error, Result, Rng};

/// How the samples of an epoch are chosen.
#[derive(Clone, Debug)]
pub(super) enum Sampling {
    InOrder,
    Shuffled,
    /// The cumulative sums of the weights, up to the total.
    Weighted(Arc<[f64]>),
}

impl Sampling {
    /// Draws by weight, with one weight for each of `len` samples.
    pub(super) fn weighted(weights: &[f64], len: usize) -> Result<Self> {
        let context = "DataLoader::weighted";
        if weights.len() != len {
            let message =
                format!("expected {len} weights, one for each sample, got {}", weights.len());
            return Err(Error::argument(context, message));
        }
        if let Some(index) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0)
        {
            let message =
                format!("sample {index} has weight {}, expected 0 or more", weights[index]);
            return Err(Error::argument(context, message));
        }
        let mut total = 0.0;
        let sums: Arc<[f64]> = weights
            .iter()
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        if total > 0.0 && total.is_finite() {
            return Ok(Self::Weighted(sums));
        }
        let message = format!("the weights add up to {total}, expected a number above 0");
        Err(Error::argument(context, message))
    }

    /// The number of samples in an epoch.
    pub(super) fn count(&self, len: usize, samples: Option<usize>) -> usize {
        match self {
            Self::Weighted(_) => samples.unwrap_or(len),
            _ => samples.map_or(len, |samples| samples.min(len)),
        }
    }

    /// The samples of an epoch.
    pub(super) fn order(
        &self,
        len: usize,
        samples: Option<usize>,
        seed: u64,
        epoch: u64,
    ) -> Vec<usize> {
        let count = self.count(len, samples);
        let mut rng = Rng::seed(seed).fork(epoch);
        match self {
            Self::InOrder => (0..count).collect(),
            Self::Shuffled => {
                let mut order = rng.permutation(len);
                order.truncate(count);
                order
            }
            Self::Weighted(sums) => (0..count).map(|_| drawn(sums, rng.uniform())).collect(),
        }
    }
}

/// The sample that corresponds to a number in `0 .. 1`.
fn drawn(sums: &[f64], uniform: f64) -> usize {
    let total = sums[sums.len() - 1];
    let index = sums.partition_point(|&sum| sum <= uniform * total);
    // Rounding may give the total itself: then it is the last sample whose
    // weight is not 0.
    if index < sums.len() { index } else { sums.partition_point(|&sum| sum < total) }
}

/// Weights with which all classes are equally likely.
pub(super) fn balancing_weights(labels: &[i64]) -> Vec<f64> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
    labels.iter().map(|label| 1.0 / counts[label] as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_weight_zero_are_never_drawn() {
        let sums = [0.0, 1.0, 1.0, 4.0, 4.0];
        let found = [0.0, 0.2499, 0.25, 0.999_999, 1.0].map(|uniform| drawn(&sums, uniform));
        assert_eq!(found, [1, 1, 3, 3, 3]);
    }
}
