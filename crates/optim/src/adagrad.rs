//! Adagrad.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_not_negative};

/// Adagrad, whose steps shrink with the accumulated squared gradients of a weight.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// s = s + g²
/// w = w − learning_rate / (1 + (t − 1)·lr_decay) · g / (√s + ε)
/// ```
///
/// PyTorch's default learning rate is 0.01.
///
/// Source: Duchi et al., "Adaptive subgradient methods for online learning and
/// stochastic optimization", 2011.
///
/// ```
/// use dendra_optim::Adagrad;
///
/// let optimizer: Adagrad = Adagrad::new(0.01).initial_accumulator_value(0.1);
/// ```
pub type Adagrad<T = f32> = Descent<AdagradRule, T>;

/// The update of [`Adagrad`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct AdagradRule {
    /// The decay of the learning rate per step.
    #[set(default = 0.0)]
    lr_decay: f64,
    /// The initial value of the sum of squares.
    #[set(default = 0.0)]
    initial_accumulator_value: f64,
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-10)]
    eps: f64,
}

impl Rule for AdagradRule {
    /// The divisor of the learning rate.
    type AtStep = f64;

    const NAME: &'static str = "Adagrad";

    fn state(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn initial_state(&self, _: &str, _: f64) -> f64 {
        self.initial_accumulator_value
    }

    fn check(&self) -> Result<()> {
        require_not_negative(Self::NAME, "lr_decay", self.lr_decay)?;
        let initial = self.initial_accumulator_value;
        require_not_negative(Self::NAME, "initial_accumulator_value", initial)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, step: u64) -> f64 {
        1.0 + (step - 1) as f64 * self.lr_decay
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<f64>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let learning_rate = T::from_f64(now.learning_rate / now.at_step);
        let weight_decay = T::from_f64(now.weight_decay);
        let eps = T::from_f64(self.eps);
        elementwise(weight, gradient, state, |w, g, [sum]| {
            let g = g + weight_decay * w;
            let sum = sum + g * g;
            (w - learning_rate * g / (sum.sqrt() + eps), [sum])
        });
    }
}
