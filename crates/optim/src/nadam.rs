//! NAdam.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, require_not_negative};

/// NAdam: Adam with Nesterov's momentum.
///
/// In step t, with the gradient g (plus `weight_decay · w`) and the momentum
/// decay ψ:
///
/// ```text
/// μₜ = β₁ · (1 − 0.96^(t·ψ) / 2)
/// m = β₁·m + (1 − β₁)·g              v = β₂·v + (1 − β₂)·g²
/// m̂ = μₜ₊₁·m / (1 − μ₁·…·μₜ₊₁) + (1 − μₜ)·g / (1 − μ₁·…·μₜ)
/// w = w − learning_rate · m̂ / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// PyTorch stores the product of all μ as `mu_product`. Here it is computed from the
/// number of updates.
///
/// PyTorch's default learning rate is 0.002.
///
/// Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
///
/// ```
/// use dendra_optim::NAdam;
///
/// let optimizer: NAdam = NAdam::new(2e-3).weight_decay(0.01).decoupled_weight_decay(true);
/// ```
pub type NAdam<T = f32> = Descent<NAdamRule, T>;

/// The update of [`NAdam`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct NAdamRule {
    /// The decay rates β₁ and β₂ of the running means of the gradient and of its
    /// square.
    #[set(each(beta1, beta2), default = [0.9, 0.999])]
    betas: [f64; 2],
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-8)]
    eps: f64,
    /// The momentum decay ψ, which determines how fast the momentum approaches β₁.
    #[set(default = 4e-3)]
    momentum_decay: f64,
    /// Whether weight decay is decoupled from the gradient, as in
    /// [`AdamW`](crate::AdamW).
    #[set(default = false)]
    decoupled_weight_decay: bool,
}

/// The factors of the gradient and of its running mean, and 1 − β₂ᵗ.
#[derive(Clone, Copy, Debug)]
pub struct NesterovFactors {
    gradient: f64,
    mean: f64,
    correction2: f64,
}

impl NAdamRule {
    /// Returns the momentum of a step.
    fn momentum(&self, step: u64) -> f64 {
        self.betas[0] * (1.0 - 0.5 * 0.96_f64.powf(step as f64 * self.momentum_decay))
    }
}

impl Rule for NAdamRule {
    type AtStep = NesterovFactors;

    const NAME: &'static str = "NAdam";

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)?;
        require_not_negative(Self::NAME, "eps", self.eps)?;
        require_not_negative(Self::NAME, "momentum_decay", self.momentum_decay)
    }

    fn at_step(&self, step: u64) -> NesterovFactors {
        let mut product = 1.0;
        for earlier in 1..=step {
            product *= self.momentum(earlier);
            if product < f64::EPSILON / 4.0 {
                // From here on `1.0 - product` rounds to 1.
                break;
            }
        }
        let (now, next) = (self.momentum(step), self.momentum(step + 1));
        NesterovFactors {
            gradient: (1.0 - now) / (1.0 - product),
            mean: next / (1.0 - product * next),
            correction2: 1.0 - self.betas[1].powf(step as f64),
        }
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<NesterovFactors>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let rate = now.learning_rate;
        let of_gradient = T::from_f64(rate * now.at_step.gradient);
        let of_mean = T::from_f64(rate * now.at_step.mean);
        let root_factor = T::from_f64(1.0 / now.at_step.correction2.sqrt());
        let [beta1, beta2] = self.betas;
        let share1 = T::from_f64(1.0 - beta1);
        let (beta2, share2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
        let eps = T::from_f64(self.eps);
        let [in_gradient, shrink] = now.decay(self.decoupled_weight_decay).map(T::from_f64);
        elementwise(weight, gradient, state, |w, g, [m, v]| {
            let (w, g) = (shrink * w, g + in_gradient * w);
            let m = m + share1 * (g - m);
            let v = beta2 * v + share2 * (g * g);
            let root = v.sqrt() * root_factor + eps;
            (w - (of_gradient * g + of_mean * m) / root, [m, v])
        });
    }
}
