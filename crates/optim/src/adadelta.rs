//! Adadelta.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_below_one, require_not_negative};

/// Adadelta, which derives the size of steps from the sizes of previous steps. Steps
/// therefore have the unit of the weights.
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
/// PyTorch's default learning rate is 1.
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
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct AdadeltaRule {
    /// The decay rate ρ of the running means.
    #[set(default = 0.9)]
    rho: f64,
    /// The number ε, which is added to both means before the root. It determines the
    /// size of the first steps.
    #[set(default = 1e-6)]
    eps: f64,
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
