//! Adamax.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, require_not_negative};

/// Adamax: Adam with a decaying maximum of absolute gradients instead of the root of
/// the mean square.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// m = β₁·m + (1 − β₁)·g
/// u = max(β₂·u, |g| + ε)
/// w = w − learning_rate / (1 − β₁ᵗ) · m / u
/// ```
///
/// PyTorch's default learning rate is 0.002.
///
/// Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2014,
/// section 7.1.
///
/// ```
/// use dendra_optim::Adamax;
///
/// let optimizer: Adamax = Adamax::new(2e-3).betas(0.9, 0.99);
/// ```
pub type Adamax<T = f32> = Descent<AdamaxRule, T>;

/// The update of [`Adamax`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct AdamaxRule {
    /// The decay rates β₁ of the running mean and β₂ of the maximum.
    #[set(each(beta1, beta2), default = [0.9, 0.999])]
    betas: [f64; 2],
    /// The number ε, which keeps the denominator above 0.
    #[set(default = 1e-8)]
    eps: f64,
}

impl Rule for AdamaxRule {
    /// 1 − β₁ᵗ
    type AtStep = f64;

    const NAME: &'static str = "Adamax";

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_inf"]
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, step: u64) -> f64 {
        1.0 - self.betas[0].powf(step as f64)
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<f64>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let step_size = T::from_f64(now.learning_rate / now.at_step);
        let weight_decay = T::from_f64(now.weight_decay);
        let (share, beta2) = (T::from_f64(1.0 - self.betas[0]), T::from_f64(self.betas[1]));
        let eps = T::from_f64(self.eps);
        elementwise(weight, gradient, state, |w, g, [m, u]| {
            let g = g + weight_decay * w;
            let m = m + share * (g - m);
            let u = (beta2 * u).max_nan(g.abs() + eps);
            (w - step_size * m / u, [m, u])
        });
    }
}
