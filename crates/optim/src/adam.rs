//! Adam and AdamW.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_betas, require_not_negative};

/// Adam, which divides the running mean of the gradient by the root of the running
/// mean of its square.
///
/// In step t, with the gradient g (plus `weight_decay · w`):
///
/// ```text
/// m = β₁·m + (1 − β₁)·g              m̂ = m / (1 − β₁ᵗ)
/// v = β₂·v + (1 − β₂)·g²             v̂ = v / (1 − β₂ᵗ)
/// w = w − learning_rate · m̂ / (√v̂ + ε)
/// ```
///
/// PyTorch's default learning rate is 0.001.
///
/// Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2014;
/// AMSGrad: Reddi et al., "On the convergence of Adam and beyond", 2018.
///
/// ```
/// use dendra_optim::Adam;
///
/// let optimizer: Adam = Adam::new(1e-3).betas(0.9, 0.99).clip_norm(1.0);
/// ```
pub type Adam<T = f32> = Descent<AdamRule<false>, T>;

/// Adam with decoupled weight decay: `w = (1 − learning_rate · weight_decay) · w`
/// before Adam's update with the plain gradient. The default weight decay is 0.01.
///
/// Source: Loshchilov and Hutter, "Decoupled weight decay regularization",
/// 2017.
pub type AdamW<T = f32> = Descent<AdamRule<true>, T>;

/// The update of [`Adam`] and, with `DECOUPLED` weight decay, of [`AdamW`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct AdamRule<const DECOUPLED: bool> {
    /// The decay rates β₁ and β₂ of the running means of the gradient and of its
    /// square.
    #[set(each(beta1, beta2), default = [0.9, 0.999])]
    betas: [f64; 2],
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-8)]
    eps: f64,
    /// Whether to use the maximum of all running means of the square so far
    /// (AMSGrad).
    #[set(default = false)]
    amsgrad: bool,
}

/// The bias corrections of both running means: 1 − β₁ᵗ and 1 − β₂ᵗ.
#[derive(Clone, Copy, Debug)]
pub struct BiasCorrections([f64; 2]);

impl<const DECOUPLED: bool> Rule for AdamRule<DECOUPLED> {
    type AtStep = BiasCorrections;

    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };
    const WEIGHT_DECAY: f64 = if DECOUPLED { 0.01 } else { 0.0 };

    fn state(&self) -> &'static [&'static str] {
        let names = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        if self.amsgrad { names } else { &names[..2] }
    }

    fn check(&self) -> Result<()> {
        require_betas(Self::NAME, self.betas)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn at_step(&self, step: u64) -> BiasCorrections {
        BiasCorrections(self.betas.map(|beta| 1.0 - beta.powf(step as f64)))
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<BiasCorrections>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let BiasCorrections([correction1, correction2]) = now.at_step;
        let step_size = T::from_f64(now.learning_rate / correction1);
        let root_factor = T::from_f64(1.0 / correction2.sqrt());
        let [beta1, beta2] = self.betas;
        let share1 = T::from_f64(1.0 - beta1);
        let (beta2, share2) = (T::from_f64(beta2), T::from_f64(1.0 - beta2));
        let eps = T::from_f64(self.eps);
        let weight_decay = T::from_f64(now.weight_decay);
        let shrink = T::from_f64(1.0 - now.learning_rate * now.weight_decay);

        let decayed = |w, g| if DECOUPLED { (shrink * w, g) } else { (w, g + weight_decay * w) };
        let averages = |g, exp_avg, exp_avg_sq| {
            let exp_avg = exp_avg + share1 * (g - exp_avg);
            let exp_avg_sq = beta2 * exp_avg_sq + share2 * (g * g);
            (exp_avg, exp_avg_sq)
        };
        let step = |exp_avg, square: T| step_size * exp_avg / (square.sqrt() * root_factor + eps);

        if self.amsgrad {
            elementwise(weight, gradient, state, |w, g, [exp_avg, exp_avg_sq, max_exp_avg_sq]| {
                let (w, g) = decayed(w, g);
                let (exp_avg, exp_avg_sq) = averages(g, exp_avg, exp_avg_sq);
                let max_exp_avg_sq = exp_avg_sq.max_nan(max_exp_avg_sq);
                (w - step(exp_avg, max_exp_avg_sq), [exp_avg, exp_avg_sq, max_exp_avg_sq])
            });
        } else {
            elementwise(weight, gradient, state, |w, g, [exp_avg, exp_avg_sq]| {
                let (w, g) = decayed(w, g);
                let (exp_avg, exp_avg_sq) = averages(g, exp_avg, exp_avg_sq);
                (w - step(exp_avg, exp_avg_sq), [exp_avg, exp_avg_sq])
            });
        }
    }
}
