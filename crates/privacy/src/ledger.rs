//! What was released about the data: the list that accounting starts from.

use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

/// Steps of the Poisson-subsampled Gaussian mechanism with the same settings:
/// each takes every sample with probability `sample_rate`, sums values of a
/// norm of at most C, and adds normal noise with the standard deviation
/// `noise_multiplier · C`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mechanism {
    /// The standard deviation of the noise for a norm of 1.
    pub noise_multiplier: f64,
    /// The probability with which a sample takes part in a step.
    pub sample_rate: f64,
    /// The number of steps.
    pub steps: u64,
}

impl Mechanism {
    /// Checks that the numbers are possible.
    ///
    /// # Errors
    ///
    /// When the noise is negative or not finite, the rate is not from 0 to 1,
    /// or there are 2⁵³ steps or more.
    pub fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::argument("Mechanism", message));
        if !(self.noise_multiplier >= 0.0 && self.noise_multiplier.is_finite()) {
            return fail(format!(
                "noise_multiplier: expected 0 or more, got {}",
                self.noise_multiplier
            ));
        }
        if !(0.0..=1.0).contains(&self.sample_rate) {
            return fail(format!("sample_rate: expected 0 to 1, got {}", self.sample_rate));
        }
        if self.steps >= 1 << f64::MANTISSA_DIGITS {
            return fail(format!("steps: expected fewer than 2^53, got {}", self.steps));
        }
        Ok(())
    }

    /// Whether it tells nothing about the data.
    pub(crate) fn is_silent(&self) -> bool {
        self.steps == 0 || self.sample_rate == 0.0
    }
}

/// Everything that was released about one data set, in order.
///
/// It can be stored with the formats of `serde`, so that a resumed training
/// goes on counting. An [`Accountant`](crate::Accountant) turns it into a
/// guarantee.
///
/// ```
/// use dendra_privacy::{Accountant, Ledger, Mechanism};
///
/// let mut ledger = Ledger::new();
/// ledger.record(Mechanism { noise_multiplier: 1.5, sample_rate: 0.04, steps: 2250 })?;
/// let epsilon = Accountant::Renyi.epsilon(&ledger, 1e-5)?;
/// assert!((epsilon - 7.329_11).abs() < 1e-5);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<Mechanism>,
}

impl Ledger {
    /// A ledger of a data set about which nothing was released.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds steps.
    ///
    /// # Errors
    ///
    /// Those of [`Mechanism::check`], also for the sum with the steps of the
    /// same settings before.
    pub fn record(&mut self, mechanism: Mechanism) -> Result<()> {
        mechanism.check()?;
        if let Some(last) = self.entries.last_mut()
            && (last.noise_multiplier, last.sample_rate)
                == (mechanism.noise_multiplier, mechanism.sample_rate)
        {
            let sum = Mechanism { steps: last.steps + mechanism.steps, ..mechanism };
            sum.check()?;
            *last = sum;
        } else {
            self.entries.push(mechanism);
        }
        Ok(())
    }

    /// The mechanisms in the order of recording; adjacent ones differ in their
    /// settings.
    pub fn entries(&self) -> &[Mechanism] {
        &self.entries
    }

    /// The number of steps.
    pub fn steps(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.steps))
    }

    /// The mechanisms that tell something about the data, one for all steps of
    /// the same settings. Entries that were read from a file are checked here.
    pub(crate) fn distinct(&self) -> Result<Vec<Mechanism>> {
        let mut found: Vec<Mechanism> = Vec::new();
        for entry in &self.entries {
            entry.check()?;
            let same = |other: &&mut Mechanism| {
                (other.noise_multiplier, other.sample_rate)
                    == (entry.noise_multiplier, entry.sample_rate)
            };
            match found.iter_mut().find(same) {
                _ if entry.is_silent() => {}
                Some(other) => other.steps = other.steps.saturating_add(entry.steps),
                None => found.push(*entry),
            }
        }
        found.iter().try_for_each(Mechanism::check)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(noise_multiplier: f64, sample_rate: f64, steps: u64) -> Mechanism {
        Mechanism { noise_multiplier, sample_rate, steps }
    }

    #[test]
    fn equal_steps_are_one_entry_and_files_keep_it() {
        let mut ledger = Ledger::new();
        for mechanism in [steps(1.0, 0.1, 1), steps(1.0, 0.1, 2), steps(2.0, 0.1, 1)] {
            ledger.record(mechanism).unwrap();
        }
        ledger.record(steps(1.0, 0.1, 4)).unwrap();
        let expected = [steps(1.0, 0.1, 3), steps(2.0, 0.1, 1), steps(1.0, 0.1, 4)];
        assert_eq!(ledger.entries(), expected);
        assert_eq!(ledger.steps(), 8);
        assert_eq!(ledger.distinct().unwrap(), [steps(1.0, 0.1, 7), steps(2.0, 0.1, 1)]);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }

    #[test]
    fn impossible_mechanisms_are_refused_also_from_files() {
        for (mechanism, part) in [
            (steps(-1.0, 0.1, 1), "noise_multiplier: expected 0 or more, got -1"),
            (steps(f64::NAN, 0.1, 1), "noise_multiplier"),
            (steps(1.0, 1.5, 1), "sample_rate: expected 0 to 1, got 1.5"),
            (steps(1.0, 0.5, u64::MAX), "steps: expected fewer than 2^53"),
        ] {
            let error = Ledger::new().record(mechanism).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            let read = Ledger { entries: vec![mechanism] };
            assert!(read.distinct().is_err(), "{mechanism:?}");
        }
    }
}
