//! Averaged stochastic gradient descent.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_not_negative};

/// Averaged stochastic gradient descent: descent with slowly decreasing steps, and
/// the mean of the weights from a given step on.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// η = learning_rate / (1 + λ · learning_rate · (t − 1))^α
/// w = (1 − λ·η)·w − η·g
/// a = a + (w − a) / max(1, t − 1 − t₀)
/// ```
///
/// The mean a is the entry `ax` of the optimizer's state.
/// [`WeightAverage`](crate::WeightAverage) averages the weights for any optimizer.
/// PyTorch computes η from the learning rate of the previous step, which differs if
/// there is a schedule.
///
/// PyTorch's default learning rate is 0.01.
///
/// Source: Polyak and Juditsky, "Acceleration of stochastic approximation by
/// averaging", 1992.
///
/// ```
/// use dendra_optim::ASGD;
///
/// let optimizer: ASGD = ASGD::new(0.01).t0(1000.0);
/// ```
pub type ASGD<T = f32> = Descent<ASGDRule, T>;

/// The update of [`ASGD`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct ASGDRule {
    /// The decay λ of steps and weights.
    #[set(default = 1e-4)]
    lambd: f64,
    /// The exponent α in the decay of steps.
    #[set(default = 0.75)]
    alpha: f64,
    /// The step t₀ at which averaging starts.
    #[set(default = 1e6)]
    t0: f64,
}

/// The number of previous steps, and the weight of this step in the mean.
#[derive(Clone, Copy, Debug)]
pub struct Averaging {
    before: f64,
    share: f64,
}

impl Rule for ASGDRule {
    type AtStep = Averaging;

    const NAME: &'static str = "ASGD";

    fn state(&self) -> &'static [&'static str] {
        &["ax"]
    }

    fn check(&self) -> Result<()> {
        require_not_negative(Self::NAME, "lambd", self.lambd)?;
        require_not_negative(Self::NAME, "alpha", self.alpha)?;
        require_not_negative(Self::NAME, "t0", self.t0)
    }

    fn at_step(&self, step: u64) -> Averaging {
        let before = (step - 1) as f64;
        Averaging { before, share: 1.0 / (before - self.t0).max(1.0) }
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<Averaging>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let (rate, Averaging { before, share }) = (now.learning_rate, now.at_step);
        let eta = rate / (1.0 + self.lambd * rate * before).powf(self.alpha);
        let shrink = T::from_f64(1.0 - self.lambd * eta);
        let (eta, share) = (T::from_f64(eta), T::from_f64(share));
        let weight_decay = T::from_f64(now.weight_decay);
        elementwise(weight, gradient, state, |w, g, [a]| {
            let g = g + weight_decay * w;
            let w = shrink * w - eta * g;
            // With a weight of 1 the result is exactly w, without rounding errors.
            let a = if share == T::ONE { w } else { a + share * (w - a) };
            (w, [a])
        });
    }
}
