//! Schedules with increasing and decreasing phases.

use dendra_derive::Setters;
use dendra_tensor::Result;

use super::cosine::half_cosine;
use super::{Schedule, require_count};
use crate::rule::{require, require_not_negative};

/// One cycle over the whole training: along cosines from `base / div_factor` up to the
/// base, and down to `base / (div_factor · final_div_factor)`.
///
/// The base is `max_lr` in PyTorch. The momentum is constant; PyTorch also cycles the
/// momentum. After the last count the learning rate is constant; in PyTorch this is
/// an error.
///
/// Source: Smith and Topin, "Super-convergence: very fast training of neural
/// networks using large learning rates", 2017.
///
/// ```
/// use dendra_optim::{OneCycleLR, Schedule, SGD};
///
/// let schedule = OneCycleLR::new(1000);
/// assert!((schedule.learning_rate(0.1, 0) - 0.004).abs() < 1e-12);
/// assert!((schedule.learning_rate(0.1, 299) - 0.1).abs() < 1e-12);
/// assert!((schedule.learning_rate(0.1, 999) - 0.4e-6).abs() < 1e-12);
/// let optimizer: SGD = SGD::new(0.1).momentum(0.9).schedule(schedule);
/// ```
#[derive(Clone, Copy, Debug, Setters)]
pub struct OneCycleLR {
    total_steps: u64,
    /// The fraction of the counts, from 0 to 1, in which the learning rate increases.
    #[set(default = 0.3)]
    pct_start: f64,
    /// The ratio of the base to the first learning rate.
    #[set(default = 25.0)]
    div_factor: f64,
    /// The ratio of the first to the last learning rate.
    #[set(default = 1e4)]
    final_div_factor: f64,
    /// Whether the decrease has two phases: down to the first learning rate in as many
    /// counts as the increase, then down to the last one. If the increase takes more
    /// than half of the counts, the schedule ends during the first of these phases.
    #[set(default = false)]
    three_phase: bool,
    /// Whether the learning rate changes linearly instead of along cosines (PyTorch's
    /// `anneal_strategy`).
    #[set(default = false)]
    linear: bool,
}

impl OneCycleLR {
    /// Creates a cycle over `total_steps` counts. The first 30 % of them increase the
    /// learning rate; the ratios are 25 and 10,000.
    pub fn new(total_steps: u64) -> Self {
        Self::with_defaults(total_steps)
    }
}

impl Schedule for OneCycleLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let first = base / self.div_factor;
        let last = first / self.final_div_factor;
        let steps = self.total_steps.max(1) as f64;
        let (up, end) = (self.pct_start * steps - 1.0, steps - 1.0);
        // The end of each phase, and its first and last learning rate.
        let phases = match self.three_phase {
            true => vec![(up, first, base), (2.0 * up, base, first), (end, first, last)],
            false => vec![(up, first, base), (end, base, last)],
        };
        let at = (count as f64).min(end);
        let mut start = 0.0;
        for (end, from, to) in phases {
            if at <= end {
                let share = if end > start { (at - start) / (end - start) } else { 1.0 };
                return match self.linear {
                    true => from + (to - from) * share,
                    false => half_cosine(from, to, share),
                };
            }
            start = end;
        }
        last
    }

    fn check(&self) -> Result<()> {
        const NAME: &str = "OneCycleLR";
        require_count(NAME, "total_steps", self.total_steps)?;
        let share = self.pct_start;
        require((0.0..=1.0).contains(&share), NAME, "pct_start", "from 0 to 1", share)?;
        for (name, factor) in
            [("div_factor", self.div_factor), ("final_div_factor", self.final_div_factor)]
        {
            require(factor.is_finite() && factor > 0.0, NAME, name, "above 0", factor)?;
        }
        Ok(())
    }
}

/// The change of the amplitude of a [`CyclicLR`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CyclicMode {
    /// The amplitude is constant.
    Triangular,
    /// Each cycle has half the amplitude of the previous one.
    Triangular2,
    /// The amplitude is multiplied by this number at every count.
    ExpRange(f64),
}

/// Repeated linear cycles between the base and `max_lr`.
///
/// Source: Smith, "Cyclical learning rates for training neural networks", 2015.
#[derive(Clone, Copy, Debug, Setters)]
pub struct CyclicLR {
    max_lr: f64,
    /// The number of counts in which the learning rate increases.
    #[set(default = 2000)]
    step_size_up: u64,
    /// The number of counts in which the learning rate decreases; it can be 0. The
    /// default is the number of counts in which it increases.
    #[set]
    step_size_down: Option<u64>,
    /// The change of the amplitude.
    #[set(default = CyclicMode::Triangular)]
    mode: CyclicMode,
}

impl CyclicLR {
    /// Creates cycles with 2000 increasing and 2000 decreasing counts.
    pub fn new(max_lr: f64) -> Self {
        Self::with_defaults(max_lr)
    }
}

impl Schedule for CyclicLR {
    fn learning_rate(&self, base: f64, count: u64) -> f64 {
        let up = self.step_size_up.max(1);
        let down = self.step_size_down.unwrap_or(up);
        let length = up.saturating_add(down);
        let (cycle, at) = (count / length, count % length);
        let share = match at.checked_sub(up) {
            None => at as f64 / up as f64,
            Some(past) => 1.0 - past as f64 / down as f64,
        };
        let scale = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 0.5_f64.powf(cycle as f64),
            CyclicMode::ExpRange(gamma) => gamma.powf(count as f64),
        };
        base + (self.max_lr - base) * share * scale
    }

    fn check(&self) -> Result<()> {
        const NAME: &str = "CyclicLR";
        require_not_negative(NAME, "max_lr", self.max_lr)?;
        require_count(NAME, "step_size_up", self.step_size_up)?;
        match self.mode {
            CyclicMode::ExpRange(gamma) => require_not_negative(NAME, "gamma", gamma),
            CyclicMode::Triangular | CyclicMode::Triangular2 => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_stays_where_it_ends() {
        let cycle = OneCycleLR::new(10);
        let end = cycle.learning_rate(1.0, 9);
        assert!((end - 1.0 / 25e4).abs() < 1e-12);
        assert_eq!(cycle.learning_rate(1.0, u64::MAX), end);
        assert_eq!(OneCycleLR::new(0).learning_rate(1.0, 3), 1.0 / 25.0 / 1e4);
    }

    #[test]
    fn invalid_settings_are_named() {
        let message = |schedule: &dyn Schedule| schedule.check().unwrap_err().to_string();
        assert!(message(&OneCycleLR::new(0)).contains("total_steps"));
        assert!(message(&OneCycleLR::new(5).pct_start(1.5)).contains("pct_start"));
        assert!(message(&OneCycleLR::new(5).div_factor(0.0)).contains("div_factor"));
        assert!(message(&CyclicLR::new(-1.0)).contains("max_lr"));
        assert!(message(&CyclicLR::new(1.0).step_size_up(0)).contains("step_size_up"));
    }
}
