//! Lion.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, sign};

/// Lion, which steps by the sign of the momentum. It has one state tensor; Adam has
/// two. Compared to Adam, use a learning rate that is smaller by a factor of 3 to 10,
/// and a weight decay that is larger by the same factor.
///
/// With the gradient g:
///
/// ```text
/// c = β₁·m + (1 − β₁)·g
/// w = (1 − learning_rate · weight_decay)·w − learning_rate · sign(c)
/// m = β₂·m + (1 − β₂)·g
/// ```
///
/// The paper's learning rate is 1e-4.
///
/// Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.
/// PyTorch has no Lion.
///
/// ```
/// use dendra_optim::Lion;
///
/// let optimizer: Lion = Lion::new(1e-4).weight_decay(0.1);
/// ```
pub type Lion<T = f32> = Descent<LionRule, T>;

/// The update of [`Lion`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct LionRule {
    /// The weight β₁ of the momentum in the direction of a step, and the decay rate β₂
    /// of the momentum.
    #[set(each(beta1, beta2), default = [0.9, 0.99])]
    betas: [f64; 2],
}

impl Rule for LionRule {
    type AtStep = ();

    const NAME: &'static str = "Lion";

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg"]
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)
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
        let [_, shrink] = now.decay(true).map(T::from_f64);
        let [share1, share2] = self.betas.map(|beta| T::from_f64(1.0 - beta));
        elementwise(weight, gradient, state, |w, g, [m]| {
            let direction = sign(m + share1 * (g - m));
            (shrink * w - learning_rate * direction, [m + share2 * (g - m)])
        });
    }
}
