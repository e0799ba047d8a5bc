//! Learning-rate schedules. They are pure functions of a count, so that a resumed
//! training run continues exactly.

mod cosine;
mod cycle;
mod decay;
mod plateau;

pub use cosine::*;
pub use cycle::*;
pub use decay::*;
pub use plateau::*;

use dendra_tensor::Result;

use crate::rule::require;

/// A learning rate that depends on the number of steps or epochs.
///
/// A closure that takes the base learning rate and the count is a schedule too.
///
/// ```
/// use dendra_optim::{Adam, CosineAnnealingLR, LinearLR, Schedule, SGD, StepLR};
///
/// // Multiplies the learning rate by 0.1 every 30 epochs.
/// let optimizer: SGD = SGD::new(0.1).epoch_schedule(StepLR::new(30));
/// // 500 steps of warm-up, followed by a cosine to 0.
/// let schedule = LinearLR::new(500).start_factor(0.01).then(500, CosineAnnealingLR::new(9_500));
/// assert_eq!(schedule.learning_rate(1.0, 0), 0.01);
/// assert_eq!(schedule.learning_rate(1.0, 500), 1.0);
/// assert!(schedule.learning_rate(1.0, 9_999) < 1e-6);
/// let optimizer: Adam = Adam::new(1e-3).schedule(schedule);
/// // A closure corresponds to PyTorch's `LambdaLR`.
/// let optimizer: Adam = Adam::new(0.05).schedule(|base: f64, step: u64| base / (step + 1) as f64);
/// ```
pub trait Schedule: Send + Sync {
    /// Returns the learning rate at a count, which is 0 in the first step or epoch.
    fn learning_rate(&self, base: f64, count: u64) -> f64;

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Follows this schedule up to a count and `next` from there on. `next` counts from
    /// 0 again (PyTorch's `SequentialLR`).
    fn then<S: Schedule>(self, count: u64, next: S) -> Sequence<Self, S>
    where
        Self: Sized,
    {
        Sequence { first: self, count, next }
    }

    /// Combines both schedules: the learning rate of this schedule is the base of
    /// `next`.
    ///
    /// For schedules that multiply the base by a factor, this equals PyTorch's
    /// `ChainedScheduler`. For other schedules (a cosine with `eta_min`, or after
    /// `t_max`) the learning rates differ, since in PyTorch they depend on the previous
    /// steps.
    fn chain<S: Schedule>(self, next: S) -> Chain<Self, S>
    where
        Self: Sized,
    {
        Chain { first: self, next }
    }
}

impl<F: Fn(f64, u64) -> f64 + Send + Sync> Schedule for F {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        self(base, count)
    }
}

/// Two schedules in sequence; see [`Schedule::then`].
#[derive(Clone, Copy, Debug)]
pub struct Sequence<A, B> {
    first: A,
    count: u64,
    next: B,
}

impl<A: Schedule, B: Schedule> Schedule for Sequence<A, B> {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        match count.checked_sub(self.count) {
            Some(count) => self.next.learning_rate(base, count),
            None => self.first.learning_rate(base, count),
        }
    }

    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.next.check()
    }
}

/// Two combined schedules; see [`Schedule::chain`].
#[derive(Clone, Copy, Debug)]
pub struct Chain<A, B> {
    first: A,
    next: B,
}

impl<A: Schedule, B: Schedule> Schedule for Chain<A, B> {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        self.next.learning_rate(self.first.learning_rate(base, count), count)
    }

    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.next.check()
    }
}

/// Returns an error unless a count is at least 1.
fn require_count(context: &str, setting: &str, count: u64) -> Result<()> {
    require(count > 0, context, setting, "at least 1", count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: &dyn Schedule, counts: &[u64]) -> Vec<f64> {
        counts.iter().map(|&count| schedule.learning_rate(8.0, count)).collect()
    }

    #[test]
    fn schedules_stay_where_they_end_but_for_the_cosine() {
        let cosine = CosineAnnealingLR::new(4).eta_min(2.0);
        assert_eq!(rates(&cosine, &[0, 4, 8, 12, u64::MAX - 3]), [8.0, 2.0, 8.0, 2.0, 2.0]);
        assert!((cosine.learning_rate(8.0, 2) - 5.0).abs() < 1e-12);
        assert!((cosine.learning_rate(8.0, 6) - 5.0).abs() < 1e-12);
        let linear = LinearLR::new(4).start_factor(0.5);
        assert_eq!(rates(&linear, &[0, 2, 4, u64::MAX]), [4.0, 6.0, 8.0, 8.0]);
        assert_eq!(rates(&LinearLR::new(0), &[0, 1]), [8.0, 8.0]);
    }

    #[test]
    fn schedules_follow_and_multiply() {
        let halve = StepLR::new(2).gamma(0.5);
        let sequence = LinearLR::new(2).start_factor(0.25).end_factor(0.75).then(3, halve);
        assert_eq!(rates(&sequence, &[0, 1, 2, 3, 4, 5]), [2.0, 4.0, 6.0, 8.0, 8.0, 4.0]);
        let chain = halve.chain(MultiStepLR::new([1, 3]).gamma(0.5));
        assert_eq!(rates(&chain, &[0, 1, 2, 3, 4]), [8.0, 4.0, 2.0, 1.0, 0.5]);
        assert_eq!(rates(&|base, count| base + count as f64, &[0, 3]), [8.0, 11.0]);
    }

    #[test]
    fn invalid_settings_are_named_wherever_they_stand() {
        let message = |schedule: &dyn Schedule| schedule.check().unwrap_err().to_string();
        assert_eq!(message(&StepLR::new(0)), "StepLR: step_size must be at least 1, got 0");
        assert!(message(&ExponentialLR::new(f64::NAN)).contains("gamma"));
        let nested = ExponentialLR::new(0.9).chain(LinearLR::new(3)).then(3, StepLR::new(0));
        assert!(message(&nested).contains("step_size"));
        assert!(message(&CosineAnnealingLR::new(0)).contains("t_max"));
        assert!(message(&LinearLR::new(1).start_factor(-1.0)).contains("start_factor"));
        // Invalid settings do not cause panics.
        assert!(StepLR::new(0).learning_rate(1.0, 3) >= 0.0);
    }
}
