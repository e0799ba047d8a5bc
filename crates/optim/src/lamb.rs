//! LAMB.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::clip::Norm;
use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, require_not_negative};

/// LAMB, for very large batches: Adam with steps proportional to the norm of the
/// weights of each parameter.
///
/// In step t, with the gradient g:
///
/// ```text
/// m = β₁·m + (1 − β₁)·g              m̂ = m / (1 − β₁ᵗ)
/// v = β₂·v + (1 − β₂)·g²             v̂ = v / (1 − β₂ᵗ)
/// d = m̂ / (√v̂ + ε) + weight_decay · w
/// w = w − learning_rate · ‖w‖ / ‖d‖ · d
/// ```
///
/// The quotient of the norms is 1 if one of them is 0.
///
/// Source: You et al., "Large batch optimization for deep learning: training
/// BERT in 76 minutes", 2019. PyTorch has no LAMB.
///
/// ```
/// use dendra_optim::Lamb;
///
/// let optimizer: Lamb = Lamb::new(1e-3)
///     .weight_decay(0.01)
///     .group(|name| name.ends_with("bias"), |group| group.weight_decay(0.0));
/// ```
pub type Lamb<T = f32> = Descent<LambRule, T>;

/// The update of [`Lamb`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct LambRule {
    /// The decay rates β₁ and β₂ of the running means of the gradient and of its
    /// square.
    #[set(each(beta1, beta2), default = [0.9, 0.999])]
    betas: [f64; 2],
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-6)]
    eps: f64,
}

impl Rule for LambRule {
    /// 1 − β₁ᵗ and 1 − β₂ᵗ
    type AtStep = [f64; 2];

    const NAME: &'static str = "Lamb";
    const WHOLE: bool = true;

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, step: u64) -> [f64; 2] {
        self.betas.map(|beta| 1.0 - beta.powf(step as f64))
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<[f64; 2]>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let mean_factor = T::from_f64(1.0 / now.at_step[0]);
        let root_factor = T::from_f64(1.0 / now.at_step[1].sqrt());
        let [beta1, beta2] = self.betas;
        let share1 = T::from_f64(1.0 - beta1);
        let (beta2, share2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
        let eps = T::from_f64(self.eps);
        let weight_decay = T::from_f64(now.weight_decay);
        let mut direction = weight.to_vec();
        elementwise(&mut direction, gradient, state, |w, g, [m, v]| {
            let m = m + share1 * (g - m);
            let v = beta2 * v + share2 * (g * g);
            let step = mean_factor * m / (v.sqrt() * root_factor + eps);
            (step + weight_decay * w, [m, v])
        });
        let norm = |values: &[T]| Norm::L2.of(std::iter::once(values));
        let (of_weight, of_step) = (norm(weight), norm(&direction));
        let trust = if of_weight > 0.0 && of_step > 0.0 { of_weight / of_step } else { 1.0 };
        let step_size = T::from_f64(now.learning_rate * trust);
        for (w, &d) in weight.iter_mut().zip(&direction) {
            *w -= step_size * d;
        }
    }
}
