//! Adadelta.

use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_below_one, require_not_negative};

/// Adadelta: steps whose size comes from the steps before, so that they have
/// the unit of the weights.
///
/// With the gradient g (plus `weight_decay · w`):
///
/// ```text
/// s = ρ·s + (1 − ρ)·g²
/// d = √(a + ε) / √(s + ε) · g
/// a = ρ·a + (1 − ρ)·d²
/// w = w − learning_rate · d
/// ```
///
/// Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
///
/// ```
/// use dendra_optim::Adadelta;
///
/// let optimizer: Adadelta = Adadelta::new(1.0).rho(0.95);
/// ```
pub type Adadelta<T = f32> = Descent<AdadeltaRule, T>;

/// The update of [`Adadelta`].
#[derive(Clone, Copy, Debug)]
pub struct AdadeltaRule {
    rho: f64,
    eps: f64,
}

impl<T: Float> Adadelta<T> {
    /// Adadelta with ρ = 0.9, ε = 1e-6 and no weight decay; PyTorch's learning
    /// rate is 1.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_rule(AdadeltaRule { rho: 0.9, eps: 1e-6 }, learning_rate)
    }

    /// How much of the running means a step keeps; 0.9 unless set.
    #[must_use]
    pub fn rho(self, rho: f64) -> Self {
        self.change_rule(|rule| rule.rho = rho)
    }

    /// What lets the first steps begin; 1e-6 unless set.
    #[must_use]
    pub fn eps(self, eps: f64) -> Self {
        self.change_rule(|rule| rule.eps = eps)
    }
}

impl Rule for AdadeltaRule {
    type AtStep = ();

    const NAME: &'static str = "Adadelta";

    fn state(&self) -> &'static [&'static str] {
        &["square_avg", "acc_delta"]
    }

    fn check(&self) -> Result<()> {
        require_below_one(Self::NAME, "rho", self.rho)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, _: u64) {}

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<()>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let learning_rate = T::from_f64(now.learning_rate);
        let weight_decay = T::from_f64(now.weight_decay);
        let (rho, share) = (T::from_f64(self.rho), T::from_f64(1.0 - self.rho));
        let eps = T::from_f64(self.eps);
        elementwise(weight, gradient, state, |w, g, [s, a]| {
            let g = g + weight_decay * w;
            let s = rho * s + share * (g * g);
            let d = (a + eps).sqrt() / (s + eps).sqrt() * g;
            let a = rho * a + share * (d * d);
            (w - learning_rate * d, [s, a])
        });
    }
}
