//! Resilient backpropagation.

use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, sign};

/// Rprop, which uses only the sign of the gradient. Each weight has its own step
/// size, which grows while the sign is constant and shrinks when it changes. Rprop is
/// meant for gradients of the whole data set, because in batches signs change by
/// chance.
///
/// With the gradient g (plus `weight_decay · w`) and the previous gradient h:
///
/// ```text
/// s = min(s·η⁺, s_max)              where g·h > 0
/// s = max(s·η⁻, s_min) and g = 0    where g·h < 0
/// w = w − sign(g)·s
/// h = g
/// ```
///
/// s starts at the learning rate, which has no effect on later steps.
///
/// PyTorch's default learning rate is 0.01.
///
/// Source: Riedmiller and Braun, "A direct adaptive method for faster
/// backpropagation learning: the RPROP algorithm", 1993.
///
/// ```
/// use dendra_optim::Rprop;
///
/// let optimizer: Rprop = Rprop::new(0.01).step_sizes(1e-6, 1.0);
/// ```
pub type Rprop<T = f32> = Descent<RpropRule, T>;

/// The update of [`Rprop`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct RpropRule {
    /// The factors by which steps shrink and grow.
    #[set(each(minus, plus), default = [0.5, 1.2])]
    etas: [f64; 2],
    /// The smallest and the largest step.
    #[set(each(least, largest), default = [1e-6, 50.0])]
    step_sizes: [f64; 2],
}

impl Rule for RpropRule {
    type AtStep = ();

    const NAME: &'static str = "Rprop";

    fn state(&self) -> &'static [&'static str] {
        &["prev", "step_size"]
    }

    fn initial_state(&self, name: &str, learning_rate: f64) -> f64 {
        if name == "step_size" { learning_rate } else { 0.0 }
    }

    fn check(&self) -> Result<()> {
        let ([minus, plus], [least, largest]) = (self.etas, self.step_sizes);
        if !(0.0 < minus && minus < 1.0 && 1.0 < plus && plus.is_finite()) {
            let message = format!("etas must be below and above 1, got {minus} and {plus}");
            return Err(Error::argument(Self::NAME, message));
        }
        if !(0.0 <= least && least <= largest && largest.is_finite()) {
            let message =
                format!("step_sizes must be in ascending order, got {least} and {largest}");
            return Err(Error::argument(Self::NAME, message));
        }
        Ok(())
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
        let weight_decay = T::from_f64(now.weight_decay);
        let [minus, plus] = self.etas.map(T::from_f64);
        let [least, largest] = self.step_sizes.map(T::from_f64);
        elementwise(weight, gradient, state, |w, g, [before, size]| {
            let g = g + weight_decay * w;
            let trend = g * before;
            let factor = if trend > T::ZERO {
                plus
            } else if trend < T::ZERO {
                minus
            } else {
                T::ONE
            };
            let size = (size * factor).max_nan(least).min_nan(largest);
            let g = if trend < T::ZERO { T::ZERO } else { g };
            (w - sign(g) * size, [g, size])
        });
    }
}
