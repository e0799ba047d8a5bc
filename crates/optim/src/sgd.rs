//! Stochastic gradient descent.

use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_not_negative};

/// Stochastic gradient descent, with optional momentum.
///
/// With the gradient g (plus `weight_decay · w`), momentum μ and dampening τ:
///
/// ```text
/// v = g                      in the first step
/// v = μ·v + (1 − τ)·g        later
/// w = w − learning_rate · v                 or, with Nesterov's momentum,
/// w = w − learning_rate · (g + μ·v)
/// ```
///
/// PyTorch's default learning rate is 0.001.
///
/// Source: Sutskever et al., "On the importance of initialization and momentum
/// in deep learning", 2013. As in PyTorch, the learning rate multiplies the whole
/// velocity.
///
/// ```
/// use dendra_optim::SGD;
///
/// let optimizer: SGD = SGD::new(0.1).momentum(0.9).nesterov(true).weight_decay(1e-4);
/// ```
pub type SGD<T = f32> = Descent<SGDRule, T>;

/// The update of [`SGD`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct SGDRule {
    /// The momentum μ, the decay rate of the velocity.
    #[set(default = 0.0)]
    momentum: f64,
    /// The dampening τ, which reduces the weight of the gradient in the velocity.
    #[set(default = 0.0)]
    dampening: f64,
    /// Whether the step uses Nesterov's momentum. This requires a momentum above 0 and
    /// no dampening.
    #[set(default = false)]
    nesterov: bool,
}

impl Rule for SGDRule {
    /// The weight of the gradient in the velocity.
    type AtStep = f64;

    const NAME: &'static str = "SGD";

    fn state(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }

    fn check(&self) -> Result<()> {
        require_not_negative(Self::NAME, "momentum", self.momentum)?;
        require_not_negative(Self::NAME, "dampening", self.dampening)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::argument(
                Self::NAME,
                format!(
                    "nesterov needs a momentum above 0 and a dampening of 0, got {} and {}",
                    self.momentum, self.dampening
                ),
            ));
        }
        Ok(())
    }

    fn at_step(&self, step: u64) -> f64 {
        // The velocity starts at 0, so in the first step it becomes the gradient.
        if step == 1 { 1.0 } else { 1.0 - self.dampening }
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<f64>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        let learning_rate = T::from_f64(now.learning_rate);
        let weight_decay = T::from_f64(now.weight_decay);
        let momentum = T::from_f64(self.momentum);
        let share = T::from_f64(now.at_step);
        if self.momentum == 0.0 {
            elementwise(weight, gradient, state, |w, g, []| {
                let g = g + weight_decay * w;
                (w - learning_rate * g, [])
            });
        } else if self.nesterov {
            elementwise(weight, gradient, state, |w, g, [velocity]| {
                let g = g + weight_decay * w;
                let velocity = momentum * velocity + share * g;
                (w - learning_rate * (g + momentum * velocity), [velocity])
            });
        } else {
            elementwise(weight, gradient, state, |w, g, [velocity]| {
                let g = g + weight_decay * w;
                let velocity = momentum * velocity + share * g;
                (w - learning_rate * velocity, [velocity])
            });
        }
    }
}
