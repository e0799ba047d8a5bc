//! Learning-rate schedules: pure functions of a count, so that a resumed
//! training goes on exactly.

use std::f64::consts::PI;

use dendra_tensor::Result;

use crate::rule::{require, require_not_negative};

/// A learning rate that depends on a count, of steps or of epochs.
///
/// A closure of the base learning rate and the count is a schedule too.
///
/// ```
/// use dendra_optim::{Adam, CosineAnnealingLr, LinearLr, Schedule, Sgd, StepLr};
///
/// // A tenth of the learning rate every 30 epochs.
/// let optimizer: Sgd = Sgd::new(0.1).epoch_schedule(StepLr::new(30));
/// // 500 steps of warm-up, then down to 0 along a cosine.
/// let schedule = LinearLr::new(500).start_factor(0.01).then(500, CosineAnnealingLr::new(9_500));
/// assert_eq!(schedule.learning_rate(1.0, 0), 0.01);
/// assert_eq!(schedule.learning_rate(1.0, 500), 1.0);
/// assert!(schedule.learning_rate(1.0, 9_999) < 1e-6);
/// let optimizer: Adam = Adam::new(1e-3).schedule(schedule);
/// // Noam's schedule (Vaswani et al., 2017) as a closure.
/// let noam = |base: f64, step: u64| {
///     let step = step as f64 + 1.0;
///     base * f64::min(step.powf(-0.5), step * f64::powf(4000.0, -1.5))
/// };
/// let optimizer: Adam = Adam::new(0.05).schedule(noam);
/// ```
pub trait Schedule: Send + Sync {
    /// The learning rate at a count, which is 0 in the first step or epoch.
    fn learning_rate(&self, base: f64, count: u64) -> f64;

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// When one is invalid; the error names it.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// This schedule up to a count, and from there on `next`, which counts
    /// from 0 again (PyTorch's `SequentialLR`).
    fn then<S: Schedule>(self, count: u64, next: S) -> Sequence<Self, S>
    where
        Self: Sized,
    {
        Sequence { first: self, count, next }
    }

    /// Both at once: the learning rate that this schedule gives is the base of
    /// `next` (PyTorch's `ChainedScheduler`).
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

/// One schedule after another; see [`Schedule::then`].
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

/// One schedule upon another; see [`Schedule::chain`].
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

fn require_count(place: &str, setting: &str, count: u64) -> Result<()> {
    require(count > 0, place, setting, "at least 1", count as f64)
}

/// `base · gamma^⌊count / step_size⌋`: steps down at regular distances.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "StepLR")]
pub struct StepLr {
    step_size: u64,
    gamma: f64,
}

impl StepLr {
    /// A tenth every `step_size` counts.
    pub fn new(step_size: u64) -> Self {
        Self { step_size, gamma: 0.1 }
    }

    /// What each step multiplies by; 0.1 unless set.
    #[must_use]
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }
}

impl Schedule for StepLr {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        base * self.gamma.powf((count / self.step_size.max(1)) as f64)
    }

    fn check(&self) -> Result<()> {
        require_count("StepLr", "step_size", self.step_size)?;
        require_not_negative("StepLr", "gamma", self.gamma)
    }
}

/// Steps down at the given counts: `base · gammaⁿ` after n of them.
#[derive(Clone, Debug)]
#[doc(alias = "MultiStepLR")]
pub struct MultiStepLr {
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStepLr {
    /// A tenth at each of `milestones`.
    pub fn new(milestones: impl Into<Vec<u64>>) -> Self {
        Self { milestones: milestones.into(), gamma: 0.1 }
    }

    /// What each step multiplies by; 0.1 unless set.
    #[must_use]
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }
}

impl Schedule for MultiStepLr {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= count).count();
        base * self.gamma.powf(passed as f64)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("MultiStepLr", "gamma", self.gamma)
    }
}

/// `base · gamma^count`.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "ExponentialLR")]
pub struct ExponentialLr {
    gamma: f64,
}

impl ExponentialLr {
    /// Multiplies by `gamma` at every count.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for ExponentialLr {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        base * self.gamma.powf(count as f64)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("ExponentialLr", "gamma", self.gamma)
    }
}

/// Half a cosine from the base down to `eta_min`, where it stays:
/// `eta_min + (base − eta_min) · (1 + cos(π · count / t_max)) / 2`.
///
/// PyTorch's rises again when it goes on for more than `t_max` counts.
///
/// Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
/// restarts", 2016.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "CosineAnnealingLR")]
pub struct CosineAnnealingLr {
    t_max: u64,
    eta_min: f64,
}

impl CosineAnnealingLr {
    /// Down to 0 in `t_max` counts.
    pub fn new(t_max: u64) -> Self {
        Self { t_max, eta_min: 0.0 }
    }

    /// Where it ends; 0 unless set.
    #[must_use]
    pub fn eta_min(mut self, eta_min: f64) -> Self {
        self.eta_min = eta_min;
        self
    }
}

impl Schedule for CosineAnnealingLr {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        if count >= self.t_max {
            return self.eta_min;
        }
        let angle = PI * count as f64 / self.t_max as f64;
        self.eta_min + (base - self.eta_min) * (1.0 + angle.cos()) / 2.0
    }

    fn check(&self) -> Result<()> {
        require_count("CosineAnnealingLr", "t_max", self.t_max)?;
        require_not_negative("CosineAnnealingLr", "eta_min", self.eta_min)
    }
}

/// A straight line from `start_factor · base` to `end_factor · base`, where it
/// stays: the usual warm-up.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "LinearLR")]
pub struct LinearLr {
    total_iters: u64,
    start_factor: f64,
    end_factor: f64,
}

impl LinearLr {
    /// From a third of the base up to the base in `total_iters` counts.
    pub fn new(total_iters: u64) -> Self {
        Self { total_iters, start_factor: 1.0 / 3.0, end_factor: 1.0 }
    }

    /// The factor at first; 1/3 unless set.
    #[must_use]
    pub fn start_factor(mut self, factor: f64) -> Self {
        self.start_factor = factor;
        self
    }

    /// The factor in the end; 1 unless set.
    #[must_use]
    pub fn end_factor(mut self, factor: f64) -> Self {
        self.end_factor = factor;
        self
    }
}

impl Schedule for LinearLr {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        if count >= self.total_iters {
            return base * self.end_factor;
        }
        let share = count as f64 / self.total_iters as f64;
        base * (self.start_factor + (self.end_factor - self.start_factor) * share)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("LinearLr", "start_factor", self.start_factor)?;
        require_not_negative("LinearLr", "end_factor", self.end_factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: &dyn Schedule, counts: &[u64]) -> Vec<f64> {
        counts.iter().map(|&count| schedule.learning_rate(8.0, count)).collect()
    }

    #[test]
    fn schedules_stay_where_they_end() {
        let cosine = CosineAnnealingLr::new(4).eta_min(2.0);
        assert_eq!(rates(&cosine, &[0, 4, 5, 8, u64::MAX]), [8.0, 2.0, 2.0, 2.0, 2.0]);
        assert!((cosine.learning_rate(8.0, 2) - 5.0).abs() < 1e-12);
        let linear = LinearLr::new(4).start_factor(0.5);
        assert_eq!(rates(&linear, &[0, 2, 4, u64::MAX]), [4.0, 6.0, 8.0, 8.0]);
        assert_eq!(rates(&LinearLr::new(0), &[0, 1]), [8.0, 8.0]);
    }

    #[test]
    fn schedules_follow_and_multiply() {
        let halve = StepLr::new(2).gamma(0.5);
        let sequence = LinearLr::new(2).start_factor(0.25).end_factor(0.75).then(3, halve);
        assert_eq!(rates(&sequence, &[0, 1, 2, 3, 4, 5]), [2.0, 4.0, 6.0, 8.0, 8.0, 4.0]);
        let chain = halve.chain(MultiStepLr::new([1, 3]).gamma(0.5));
        assert_eq!(rates(&chain, &[0, 1, 2, 3, 4]), [8.0, 4.0, 2.0, 1.0, 0.5]);
        assert_eq!(rates(&|base, count| base + count as f64, &[0, 3]), [8.0, 11.0]);
    }

    #[test]
    fn invalid_settings_are_named_wherever_they_stand() {
        let message = |schedule: &dyn Schedule| schedule.check().unwrap_err().to_string();
        assert_eq!(message(&StepLr::new(0)), "StepLr: step_size must be at least 1, got 0");
        assert!(message(&ExponentialLr::new(f64::NAN)).contains("gamma"));
        let nested = ExponentialLr::new(0.9).chain(LinearLr::new(3)).then(3, StepLr::new(0));
        assert!(message(&nested).contains("step_size"));
        assert!(message(&CosineAnnealingLr::new(0)).contains("t_max"));
        assert!(message(&LinearLr::new(1).start_factor(-1.0)).contains("start_factor"));
        // What is invalid does not panic either.
        assert!(StepLr::new(0).learning_rate(1.0, 3) >= 0.0);
    }
}
