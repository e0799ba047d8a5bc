//! Schedules that decay in steps or smoothly, and warm-ups.

use dendra_derive::Setters;
use dendra_tensor::Result;

use super::{Schedule, require_count};
use crate::rule::require_not_negative;

/// Step decay at regular intervals: `base · gamma^⌊count / step_size⌋`.
#[derive(Clone, Copy, Debug, Setters)]
pub struct StepLR {
    step_size: u64,
    /// The factor of each decay.
    #[set(default = 0.1)]
    gamma: f64,
}

impl StepLR {
    /// Creates a schedule with the factor 0.1 every `step_size` counts.
    pub fn new(step_size: u64) -> Self {
        Self::with_defaults(step_size)
    }
}

impl Schedule for StepLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        base * self.gamma.powf((count / self.step_size.max(1)) as f64)
    }

    fn check(&self) -> Result<()> {
        require_count("StepLR", "step_size", self.step_size)?;
        require_not_negative("StepLR", "gamma", self.gamma)
    }
}

/// Step decay at given counts: `base · gammaⁿ` after n of them.
#[derive(Clone, Debug, Setters)]
pub struct MultiStepLR {
    milestones: Vec<u64>,
    /// The factor of each decay.
    #[set(default = 0.1)]
    gamma: f64,
}

impl MultiStepLR {
    /// Creates a schedule with the factor 0.1 at each of `milestones`.
    pub fn new(milestones: impl Into<Vec<u64>>) -> Self {
        Self::with_defaults(milestones.into())
    }
}

impl Schedule for MultiStepLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= count).count();
        base * self.gamma.powf(passed as f64)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("MultiStepLR", "gamma", self.gamma)
    }
}

/// Exponential decay: `base · gamma^count`.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialLR {
    gamma: f64,
}

impl ExponentialLR {
    /// Creates a schedule that multiplies the learning rate by `gamma` at every count.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Schedule for ExponentialLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        base * self.gamma.powf(count as f64)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("ExponentialLR", "gamma", self.gamma)
    }
}

/// A linear change from `start_factor · base` to `end_factor · base`, which is then
/// kept. This is the usual warm-up.
///
/// With `total_iters` 0 the factor is `end_factor`; in PyTorch it is `start_factor`.
#[derive(Clone, Copy, Debug, Setters)]
pub struct LinearLR {
    total_iters: u64,
    /// The factor at the start.
    #[set(default = 1.0 / 3.0)]
    start_factor: f64,
    /// The factor at the end.
    #[set(default = 1.0)]
    end_factor: f64,
}

impl LinearLR {
    /// Creates a linear increase from a third of the base to the base in `total_iters`
    /// counts.
    pub fn new(total_iters: u64) -> Self {
        Self::with_defaults(total_iters)
    }
}

impl Schedule for LinearLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        if count >= self.total_iters {
            return base * self.end_factor;
        }
        let share = count as f64 / self.total_iters as f64;
        base * (self.start_factor + (self.end_factor - self.start_factor) * share)
    }

    fn check(&self) -> Result<()> {
        require_not_negative("LinearLR", "start_factor", self.start_factor)?;
        require_not_negative("LinearLR", "end_factor", self.end_factor)
    }
}

/// `factor · base` up to a count, and the base from there on.
///
/// With `total_iters` 0 it is always the base; in PyTorch it is always
/// `factor · base`.
#[derive(Clone, Copy, Debug, Setters)]
pub struct ConstantLR {
    total_iters: u64,
    /// The factor at the start.
    #[set(default = 1.0 / 3.0)]
    factor: f64,
}

impl ConstantLR {
    /// Creates a schedule with a third of the base for `total_iters` counts.
    pub fn new(total_iters: u64) -> Self {
        Self::with_defaults(total_iters)
    }
}

impl Schedule for ConstantLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        if count < self.total_iters { base * self.factor } else { base }
    }

    fn check(&self) -> Result<()> {
        require_not_negative("ConstantLR", "factor", self.factor)
    }
}

/// Polynomial decay to 0: `base · (1 − count / total_iters)^power`, and 0 from
/// `total_iters` on. With a power of 0 it is the base.
#[derive(Clone, Copy, Debug, Setters)]
pub struct PolynomialLR {
    total_iters: u64,
    /// The exponent.
    #[set(default = 1.0)]
    power: f64,
}

impl PolynomialLR {
    /// Creates a linear decay to 0 in `total_iters` counts.
    pub fn new(total_iters: u64) -> Self {
        Self::with_defaults(total_iters)
    }
}

impl Schedule for PolynomialLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let total = self.total_iters.max(1);
        base * (1.0 - count.min(total) as f64 / total as f64).powf(self.power)
    }

    fn check(&self) -> Result<()> {
        require_count("PolynomialLR", "total_iters", self.total_iters)?;
        require_not_negative("PolynomialLR", "power", self.power)
    }
}

/// A linear increase followed by an inverse square root decay:
/// `base · d_model^(−1/2) · min(n^(−1/2), n · warmup_steps^(−3/2))` in step
/// n = count + 1. The base is usually 1.
///
/// Source: Vaswani et al., "Attention is all you need", 2017, section 5.3;
/// named after one of the authors. PyTorch has no such schedule.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "inverse square root")]
pub struct NoamLR {
    d_model: u64,
    warmup_steps: u64,
}

impl NoamLR {
    /// Creates the schedule for a model of this width. Its maximum,
    /// `base / √(d_model · warmup_steps)`, is after `warmup_steps`.
    pub fn new(d_model: u64, warmup_steps: u64) -> Self {
        Self { d_model, warmup_steps }
    }
}

impl Schedule for NoamLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let (step, warmup) = (count as f64 + 1.0, self.warmup_steps.max(1) as f64);
        let width = self.d_model.max(1) as f64;
        base * width.powf(-0.5) * step.powf(-0.5).min(step * warmup.powf(-1.5))
    }

    fn check(&self) -> Result<()> {
        require_count("NoamLR", "d_model", self.d_model)?;
        require_count("NoamLR", "warmup_steps", self.warmup_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_end_where_they_say() {
        let of = |schedule: &dyn Schedule, counts: [u64; 4]| {
            counts.map(|count| schedule.learning_rate(8.0, count))
        };
        let square = PolynomialLR::new(4).power(2.0);
        assert_eq!(of(&square, [0, 2, 4, u64::MAX]), [8.0, 2.0, 0.0, 0.0]);
        let constant = PolynomialLR::new(4).power(0.0);
        assert_eq!(of(&constant, [0, 3, 4, u64::MAX]), [8.0; 4]);
        let constant = ConstantLR::new(3).factor(0.25);
        assert_eq!(of(&constant, [0, 2, 3, u64::MAX]), [2.0, 2.0, 8.0, 8.0]);
    }

    #[test]
    fn noam_peaks_after_the_warm_up() {
        let noam = NoamLR::new(512, 4000);
        let peak = (512.0_f64 * 4000.0).sqrt().recip();
        assert!((noam.learning_rate(1.0, 3999) - peak).abs() < 1e-15);
        assert!((noam.learning_rate(1.0, 1999) - peak / 2.0).abs() < 1e-15);
        assert!((noam.learning_rate(1.0, 15_999) - peak / 2.0).abs() < 1e-15);
        assert!(NoamLR::new(0, 1).check().unwrap_err().to_string().contains("d_model"));
    }
}
