//! Averaged stochastic gradient descent.

use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_not_negative};

/// Averaged stochastic gradient descent: steps that shrink slowly, and the mean
/// of the weights from some step on.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// η = learning_rate / (1 + λ · learning_rate · (t − 1))^α
/// w = (1 − λ·η)·w − η·g
/// a = a + (w − a) / max(1, t − 1 − t₀)
/// ```
///
/// The mean a is the entry `ax` of the optimizer's state;
/// [`WeightAverage`](crate::WeightAverage) averages the weights of any
/// optimizer. PyTorch takes η from the learning rate of the step before, which
/// differs under a schedule.
///
/// Source: Polyak and Juditsky, "Acceleration of stochastic approximation by
/// averaging", 1992.
///
/// ```
/// use dendra_optim::Asgd;
///
/// let optimizer: Asgd = Asgd::new(0.01).t0(1000.0);
/// ```
pub type Asgd<T = f32> = Descent<AsgdRule, T>;

/// The update of [`Asgd`].
#[derive(Clone, Copy, Debug)]
pub struct AsgdRule {
    lambd: f64,
    alpha: f64,
    t0: f64,
}

impl<T: Float> Asgd<T> {
    /// With λ = 1e-4, α = 0.75, t₀ = 1e6 and no weight decay; PyTorch's
    /// learning rate is 0.01.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_rule(AsgdRule { lambd: 1e-4, alpha: 0.75, t0: 1e6 }, learning_rate)
    }

    /// λ, how fast steps and weights shrink; 1e-4 unless set.
    #[must_use]
    pub fn lambd(self, lambd: f64) -> Self {
        self.change_rule(|rule| rule.lambd = lambd)
    }

    /// α, the power by which steps shrink; 0.75 unless set.
    #[must_use]
    pub fn alpha(self, alpha: f64) -> Self {
        self.change_rule(|rule| rule.alpha = alpha)
    }

    /// The step from which on weights are averaged; 1e6 unless set.
    #[must_use]
    pub fn t0(self, t0: f64) -> Self {
        self.change_rule(|rule| rule.t0 = t0)
    }
}

/// How many steps came before, and the weight of this one in the mean.
#[derive(Clone, Copy, Debug)]
pub struct Averaging {
    before: f64,
    share: f64,
}

impl Rule for AsgdRule {
    type AtStep = Averaging;

    const NAME: &'static str = "Asgd";

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
            // At a share of 1 exactly w, which the sum might miss by a bit.
            let a = if share == T::ONE { w } else { a + share * (w - a) };
            (w, [a])
        });
    }
}
