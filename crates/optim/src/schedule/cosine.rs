//! Cosine schedules.

use std::f64::consts::PI;

use dendra_derive::Setters;
use dendra_tensor::Result;

use super::{Schedule, require_count};
use crate::rule::require_not_negative;

/// Returns the value at a fraction `share` of half a cosine from `high` to `low`.
pub(super) fn half_cosine(high: f64, low: f64, share: f64) -> f64 {
    low + (high - low) * (1.0 + (PI * share).cos()) / 2.0
}

/// Cosine decay from the base to `eta_min` in `t_max` counts:
/// `eta_min + (base − eta_min) · (1 + cos(π · count / t_max)) / 2`.
///
/// As in PyTorch, the learning rate increases again after `t_max` counts, and reaches
/// the base after `2 · t_max`. To keep `eta_min` instead, add
/// `.then(t_max, |_: f64, _: u64| eta_min)`.
///
/// Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
/// restarts", 2016.
#[derive(Clone, Copy, Debug, Setters)]
pub struct CosineAnnealingLR {
    t_max: u64,
    /// The learning rate at the end.
    #[set(default = 0.0)]
    eta_min: f64,
}

impl CosineAnnealingLR {
    /// Creates a decay to 0 in `t_max` counts.
    pub fn new(t_max: u64) -> Self {
        Self::with_defaults(t_max)
    }
}

impl Schedule for CosineAnnealingLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let t_max = self.t_max.max(1);
        // The remainder keeps the result exact for large counts.
        let count = count % t_max.saturating_mul(2);
        half_cosine(base, self.eta_min, count as f64 / t_max as f64)
    }

    fn check(&self) -> Result<()> {
        require_count("CosineAnnealingLR", "t_max", self.t_max)?;
        require_not_negative("CosineAnnealingLR", "eta_min", self.eta_min)
    }
}

/// Repeated cosine decay from the base to `eta_min`. The first decay takes `t_0`
/// counts, each following one `t_mult` times as many as the previous one.
///
/// Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
/// restarts", 2016.
#[derive(Clone, Copy, Debug, Setters)]
pub struct CosineAnnealingWarmRestarts {
    t_0: u64,
    /// The ratio of the lengths of a decay and the previous one.
    #[set(default = 1)]
    t_mult: u64,
    /// The learning rate at the end of each decay.
    #[set(default = 0.0)]
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// Creates a schedule that decays to 0 every `t_0` counts.
    pub fn new(t_0: u64) -> Self {
        Self::with_defaults(t_0)
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let (mut length, mut since) = (self.t_0.max(1), count);
        if self.t_mult < 2 {
            since %= length;
        }
        while since >= length {
            since -= length;
            length = length.saturating_mul(self.t_mult);
        }
        half_cosine(base, self.eta_min, since as f64 / length as f64)
    }

    fn check(&self) -> Result<()> {
        require_count("CosineAnnealingWarmRestarts", "t_0", self.t_0)?;
        require_count("CosineAnnealingWarmRestarts", "t_mult", self.t_mult)?;
        require_not_negative("CosineAnnealingWarmRestarts", "eta_min", self.eta_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_restart_is_at_the_base() {
        let once = CosineAnnealingWarmRestarts::new(3);
        let doubling = CosineAnnealingWarmRestarts::new(3).t_mult(2).eta_min(1.0);
        for (schedule, restarts) in [(once, [0, 3, 6, 3_000_000]), (doubling, [0, 3, 9, 21])] {
            for count in restarts {
                assert_eq!(schedule.learning_rate(8.0, count), 8.0, "{schedule:?} at {count}");
                assert!(schedule.learning_rate(8.0, count + 1) < 8.0);
            }
        }
        assert!(doubling.learning_rate(8.0, u64::MAX) >= 1.0, "it comes to an end");
        let never = CosineAnnealingWarmRestarts::new(0).t_mult(0);
        assert!(never.check().is_err() && never.learning_rate(1.0, 7) == 1.0);
    }
}
