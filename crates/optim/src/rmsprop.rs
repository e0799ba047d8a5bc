//! RMSprop.

use dendra_derive::Setters;
use dendra_tensor::{Float, Number, Result};

use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_below_one, require_not_negative};

/// RMSprop, which divides the gradient by the root of the running mean of its
/// square.
///
/// With the gradient g (plus `weight_decay · w`) and momentum μ:
///
/// ```text
/// s = α·s + (1 − α)·g²
/// d = √s + ε                     or, centered,
/// a = α·a + (1 − α)·g            d = √(s − a²) + ε
/// v = μ·v + g / d
/// w = w − learning_rate · v
/// ```
///
/// PyTorch's default learning rate is 0.01.
///
/// Source: Tieleman and Hinton, "Neural networks for machine learning",
/// lecture 6, 2012; centered: Graves, "Generating sequences with recurrent
/// neural networks", 2013.
///
/// ```
/// use dendra_optim::RMSprop;
///
/// let optimizer: RMSprop = RMSprop::new(0.01).momentum(0.9).centered(true);
/// ```
pub type RMSprop<T = f32> = Descent<RMSpropRule, T>;

/// The update of [`RMSprop`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct RMSpropRule {
    /// The decay rate α of the running means.
    #[set(default = 0.99)]
    alpha: f64,
    /// The number ε, which is added to the denominator to avoid divisions by 0.
    #[set(default = 1e-8)]
    eps: f64,
    /// The momentum μ, the decay rate of the velocity.
    #[set(default = 0.0)]
    momentum: f64,
    /// Whether the step divides by the estimated standard deviation of the
    /// gradient.
    #[set(default = false)]
    centered: bool,
}

impl Rule for RMSpropRule {
    type AtStep = ();

    const NAME: &'static str = "RMSprop";

    fn state(&self) -> &'static [&'static str] {
        match (self.momentum != 0.0, self.centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
        }
    }

    fn check(&self) -> Result<()> {
        require_below_one(Self::NAME, "alpha", self.alpha)?;
        require_not_negative(Self::NAME, "eps", self.eps)?;
        require_not_negative(Self::NAME, "momentum", self.momentum)
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
        let (alpha, share) = (T::from_f64(self.alpha), T::from_f64(1.0 - self.alpha));
        let eps = T::from_f64(self.eps);
        let momentum = T::from_f64(self.momentum);

        let decayed = |w, g| g + weight_decay * w;
        let square = |s: T, g: T| alpha * s + share * (g * g);
        let mean = |a: T, g: T| a + share * (g - a);
        // Due to rounding, the variance of a constant gradient can be negative.
        let deviation = |s: T, a: T| (s - a * a).max_nan(Number::ZERO).sqrt();
        match (self.momentum != 0.0, self.centered) {
            (false, false) => elementwise(weight, gradient, state, |w, g, [s]| {
                let g = decayed(w, g);
                let s = square(s, g);
                (w - learning_rate * (g / (s.sqrt() + eps)), [s])
            }),
            (true, false) => elementwise(weight, gradient, state, |w, g, [s, v]| {
                let g = decayed(w, g);
                let s = square(s, g);
                let v = momentum * v + g / (s.sqrt() + eps);
                (w - learning_rate * v, [s, v])
            }),
            (false, true) => elementwise(weight, gradient, state, |w, g, [s, a]| {
                let g = decayed(w, g);
                let (s, a) = (square(s, g), mean(a, g));
                (w - learning_rate * (g / (deviation(s, a) + eps)), [s, a])
            }),
            (true, true) => elementwise(weight, gradient, state, |w, g, [s, v, a]| {
                let g = decayed(w, g);
                let (s, a) = (square(s, g), mean(a, g));
                let v = momentum * v + g / (deviation(s, a) + eps);
                (w - learning_rate * v, [s, v, a])
            }),
        }
    }
}
