//! From a ledger to a guarantee, and from a guarantee to the noise it needs.

use dendra_tensor::{Error, Result};

use crate::gaussian;
use crate::ledger::{Ledger, Mechanism};
use crate::prv::{self, Bounds};
use crate::renyi::{self, Conversion};

/// How the guarantee of a [`Ledger`] is computed.
///
/// Data sets are neighbours when one has one sample more than the other. The
/// guarantees hold if each step draws every sample independently (Poisson
/// sampling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accountant {
    /// Rényi differential privacy (Mironov, Talwar and Zhang, 2019) with the
    /// conversion of Canonne, Kamath and Steinke (2020): an upper bound, fast,
    /// for any δ.
    Renyi,
    /// As [`Renyi`](Self::Renyi), with the older conversion of Mironov (2017),
    /// whose ε is larger: for comparison with older figures.
    RenyiMironov,
    /// Numerical composition (Gopi, Lee and Wutschitz, 2021): the upper of two
    /// bounds that differ by about 0.02. It is the tightest one.
    Prv,
    /// The central limit theorem for Gaussian differential privacy (Bu, Dong,
    /// Long and Su, "Deep learning with Gaussian differential privacy", 2020).
    /// It is exact for a rate of 1. Otherwise it is an approximation for many
    /// steps, which may be below the true value: not a guarantee.
    GaussianLimit,
}

/// A limit of what may be released about a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The privacy loss ε.
    pub epsilon: f64,
    /// The probability δ of a larger loss; below one over the number of samples.
    pub delta: f64,
}

/// The precision of the noise that is found, relative to it.
const PRECISION: f64 = 1e-4;

/// The noise at which the search ends. Even one step on all samples is then
/// almost perfectly private.
const MOST_NOISE: f64 = 1e6;

impl Accountant {
    /// The ε that the ledger guarantees for this δ; infinite when the loss is
    /// too large to be computed.
    ///
    /// # Errors
    ///
    /// When δ is not between 0 and 1, the ledger has impossible entries, or δ
    /// is too small for [`Prv`](Self::Prv).
    pub fn epsilon(self, ledger: &Ledger, delta: f64) -> Result<f64> {
        check_delta(delta)?;
        self.of(&ledger.distinct()?, delta)
    }

    fn of(self, mechanisms: &[Mechanism], delta: f64) -> Result<f64> {
        if mechanisms.is_empty() {
            return Ok(0.0);
        }
        if mechanisms.iter().any(|mechanism| mechanism.noise_multiplier == 0.0) {
            return Ok(f64::INFINITY);
        }
        let renyi = |conversion| renyi::epsilon(mechanisms, delta, conversion, renyi::orders());
        Ok(match self {
            Self::Renyi => renyi(Conversion::Canonne),
            Self::RenyiMironov => renyi(Conversion::Mironov),
            Self::Prv => prv::bounds(mechanisms, delta)?.map_or(f64::INFINITY, |found| found.upper),
            Self::GaussianLimit => gaussian::epsilon(mechanisms, delta),
        })
    }

    /// The least noise multiplier with which this many steps stay within the
    /// budget, to four digits and rounded up.
    ///
    /// # Errors
    ///
    /// When the budget or the rate is impossible, or no noise is enough.
    ///
    /// ```
    /// use dendra_privacy::{Accountant, Budget};
    ///
    /// let budget = Budget { epsilon: 3.0, delta: 1e-5 };
    /// let noise = Accountant::Renyi.noise_multiplier(budget, 0.004, 15_000)?;
    /// assert!((noise - 0.994).abs() < 0.001, "{noise}");
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn noise_multiplier(self, budget: Budget, sample_rate: f64, steps: u64) -> Result<f64> {
        budget.check()?;
        let mechanism = |noise_multiplier| Mechanism { noise_multiplier, sample_rate, steps };
        mechanism(1.0).check()?;
        if mechanism(1.0).is_silent() {
            return Ok(0.0);
        }
        let enough = |noise| Ok(self.of(&[mechanism(noise)], budget.delta)? <= budget.epsilon);
        let (mut low, mut high) = (0.0, 1.0);
        while !enough(high)? {
            (low, high) = (high, 2.0 * high);
            if high > MOST_NOISE {
                let message = format!(
                    "no noise up to {MOST_NOISE} keeps {steps} steps within an epsilon of {}",
                    budget.epsilon
                );
                return Err(Error::argument("Accountant::noise_multiplier", message));
            }
        }
        while high - low > PRECISION * high {
            let middle = (low + high) / 2.0;
            if enough(middle)? { high = middle } else { low = middle }
        }
        Ok(high)
    }

    /// How many further steps with these settings a ledger may have within the
    /// budget; the `steps` of the mechanism are not used. At most 2⁵², where
    /// steps cost nothing.
    ///
    /// # Errors
    ///
    /// Those of [`epsilon`](Self::epsilon).
    pub fn remaining_steps(
        self,
        ledger: &Ledger,
        mechanism: Mechanism,
        budget: Budget,
    ) -> Result<u64> {
        const MOST: u64 = 1 << 52;
        budget.check()?;
        let fits = |steps: u64| {
            let mut after = ledger.clone();
            after.record(Mechanism { steps, ..mechanism })?;
            Ok(self.epsilon(&after, budget.delta)? <= budget.epsilon)
        };
        if (Mechanism { steps: 1, ..mechanism }).is_silent() {
            return Ok(MOST);
        }
        let (mut low, mut high) = (0, 1);
        while fits(high)? {
            (low, high) = (high, 2 * high);
            if high > MOST / 2 {
                return Ok(low);
            }
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle)? { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

impl Ledger {
    /// Bounds of ε for this δ by numerical composition; `None` when the loss is
    /// too large for it.
    ///
    /// # Errors
    ///
    /// As [`Accountant::epsilon`] for [`Accountant::Prv`].
    pub fn bounds(&self, delta: f64) -> Result<Option<Bounds>> {
        check_delta(delta)?;
        let mechanisms = self.distinct()?;
        if mechanisms.iter().any(|mechanism| mechanism.noise_multiplier == 0.0) {
            return Ok(None);
        }
        prv::bounds(&mechanisms, delta)
    }
}

impl Budget {
    pub(crate) fn check(&self) -> Result<()> {
        check_delta(self.delta)?;
        if self.epsilon > 0.0 && self.epsilon.is_finite() {
            return Ok(());
        }
        let message = format!("epsilon: expected a positive number, got {}", self.epsilon);
        Err(Error::argument("Budget", message))
    }
}

fn check_delta(delta: f64) -> Result<()> {
    if delta > 0.0 && delta < 1.0 {
        return Ok(());
    }
    let message = format!("delta: expected a number between 0 and 1, got {delta}");
    Err(Error::argument("Accountant", message))
}
