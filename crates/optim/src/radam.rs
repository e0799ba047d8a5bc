//! RAdam.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, require_not_negative};

/// RAdam: Adam that uses only the mean gradient until the estimate of the mean
/// square is accurate enough. It therefore needs no warm-up.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// m = β₁·m + (1 − β₁)·g              m̂ = m / (1 − β₁ᵗ)
/// v = β₂·v + (1 − β₂)·g²             ρ∞ = 2 / (1 − β₂) − 1
/// ρ = ρ∞ − 2·t·β₂ᵗ / (1 − β₂ᵗ)
/// w = w − learning_rate · m̂ · r·√(1 − β₂ᵗ) / (√v + ε)        where ρ > 5, with
///     r = √((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ))
/// w = w − learning_rate · m̂                                  else
/// ```
///
/// PyTorch's default learning rate is 0.001.
///
/// Source: Liu et al., "On the variance of the adaptive learning rate and
/// beyond", 2019.
///
/// ```
/// use dendra_optim::RAdam;
///
/// let optimizer: RAdam = RAdam::new(1e-3).weight_decay(0.01).decoupled_weight_decay(true);
/// ```
pub type RAdam<T = f32> = Descent<RAdamRule, T>;

/// The update of [`RAdam`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct RAdamRule {
    /// The decay rates β₁ and β₂ of the running means of the gradient and of its
    /// square.
    #[set(each(beta1, beta2), default = [0.9, 0.999])]
    betas: [f64; 2],
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-8)]
    eps: f64,
    /// Whether weight decay is decoupled from the gradient, as in
    /// [`AdamW`](crate::AdamW).
    #[set(default = false)]
    decoupled_weight_decay: bool,
}

/// 1 − β₁ᵗ, and r·√(1 − β₂ᵗ) once ρ > 5.
#[derive(Clone, Copy, Debug)]
pub struct Rectification {
    correction1: f64,
    factor: Option<f64>,
}

impl Rule for RAdamRule {
    type AtStep = Rectification;

    const NAME: &'static str = "RAdam";

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, step: u64) -> Rectification {
        let [kept1, kept2] = self.betas.map(|beta| beta.powf(step as f64));
        let last = 2.0 / (1.0 - self.betas[1]) - 1.0;
        let now = last - 2.0 * step as f64 * kept2 / (1.0 - kept2);
        let factor = (now > 5.0).then(|| {
            let rectified = (now - 4.0) * (now - 2.0) * last;
            let full = (last - 4.0) * (last - 2.0) * now;
            ((1.0 - kept2) * rectified / full).sqrt()
        });
        Rectification { correction1: 1.0 - kept1, factor }
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<Rectification>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let Rectification { correction1, factor } = now.at_step;
        let step_size = T::from_f64(now.learning_rate / correction1 * factor.unwrap_or(1.0));
        let [beta1, beta2] = self.betas;
        let share1 = T::from_f64(1.0 - beta1);
        let (beta2, share2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
        let eps = T::from_f64(self.eps);
        let [in_gradient, shrink] = now.decay(self.decoupled_weight_decay).map(T::from_f64);
        elementwise(weight, gradient, state, |w, g, [m, v]| {
            let (w, g) = (shrink * w, g + in_gradient * w);
            let m = m + share1 * (g - m);
            let v = beta2 * v + share2 * (g * g);
            let root = if factor.is_some() { v.sqrt() + eps } else { T::ONE };
            (w - step_size * m / root, [m, v])
        });
    }
}
