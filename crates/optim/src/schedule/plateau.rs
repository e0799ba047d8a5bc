//! Reduction of the learning rate when training stops improving.

use dendra_autograd::{AnyTensor, Differences};
use dendra_derive::Setters;
use dendra_tensor::{Element, Result, Shape, Tensor};

use crate::rule::{require, require_not_negative};

/// Multiplies the learning rate by a factor when a metric, such as the validation
/// loss, has not improved for more than `patience` observations.
///
/// It does not implement [`Schedule`](crate::Schedule), since it depends on the course
/// of the training. Pass it to
/// [`reduce_on_plateau`](crate::Descent::reduce_on_plateau) of an optimizer, and the
/// metrics to [`observe`](crate::Optimizer::observe). Its state is part of the state of
/// the optimizer.
///
/// ```
/// use dendra_optim::{Optimizer, ReduceLROnPlateau, SGD};
///
/// let plateau = ReduceLROnPlateau::new().factor(0.5).patience(1);
/// let mut optimizer: SGD = SGD::new(0.1).reduce_on_plateau(plateau);
/// for loss in [1.0, 0.9, 0.9, 0.9] {
///     optimizer.observe(loss);
/// }
/// assert_eq!(optimizer.learning_rate(), 0.05);
/// ```
#[derive(Clone, Debug, PartialEq, Setters)]
#[set(new)]
pub struct ReduceLROnPlateau {
    /// The factor of each reduction.
    #[set(default = 0.1)]
    factor: f64,
    /// The number of consecutive observations without improvement that are allowed.
    #[set(default = 10)]
    patience: u64,
    #[set(skip, default = 1e-4)]
    threshold: f64,
    #[set(skip, default = false)]
    absolute: bool,
    /// Whether larger metrics are better, as for an accuracy (PyTorch's
    /// `mode="max"`).
    #[set(default = false)]
    maximize: bool,
    /// The number of observations to ignore after a reduction.
    #[set(default = 0)]
    cooldown: u64,
    /// The minimum learning rate.
    #[set(default = 0.0)]
    min_lr: f64,
    /// Changes of the learning rate up to this size are skipped.
    #[set(default = 1e-8)]
    eps: f64,
    /// `None` before the first observation.
    #[set(skip)]
    best: Option<f64>,
    #[set(skip)]
    num_bad_epochs: u64,
    #[set(skip)]
    cooldown_counter: u64,
}

impl ReduceLROnPlateau {
    /// Sets the minimum improvement relative to the best metric. The default is
    /// 1e-4.
    #[must_use]
    pub fn threshold(mut self, share: f64) -> Self {
        (self.threshold, self.absolute) = (share, false);
        self
    }

    /// Sets the minimum improvement as an absolute difference (PyTorch's
    /// `threshold_mode="abs"`).
    #[must_use]
    pub fn absolute_threshold(mut self, difference: f64) -> Self {
        (self.threshold, self.absolute) = (difference, true);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    pub fn check(&self) -> Result<()> {
        const NAME: &str = "ReduceLROnPlateau";
        let factor = self.factor;
        require((0.0..1.0).contains(&factor), NAME, "factor", "at least 0 and below 1", factor)?;
        require_not_negative(NAME, "threshold", self.threshold)?;
        require_not_negative(NAME, "min_lr", self.min_lr)?;
        require_not_negative(NAME, "eps", self.eps)
    }

    /// Returns whether a metric is better than the best so far. NaN and the worst
    /// possible infinity never are.
    fn is_better(&self, figure: f64) -> bool {
        let sign = if self.maximize { 1.0 } else { -1.0 };
        let best = self.best.unwrap_or(-sign * f64::INFINITY);
        // Uses factors, since the difference from infinity can be NaN.
        let least = match self.absolute {
            true => best + sign * self.threshold,
            false => best * (1.0 + sign * self.threshold),
        };
        if self.maximize { figure > least } else { figure < least }
    }

    /// Returns the learning rate after an observation.
    pub(crate) fn observe(&mut self, figure: f64, learning_rate: f64) -> f64 {
        if self.is_better(figure) {
            self.best = Some(figure);
            self.num_bad_epochs = 0;
        } else {
            self.num_bad_epochs += 1;
        }
        if self.cooldown_counter > 0 {
            self.cooldown_counter -= 1;
            self.num_bad_epochs = 0;
        }
        if self.num_bad_epochs <= self.patience {
            return learning_rate;
        }
        self.cooldown_counter = self.cooldown;
        self.num_bad_epochs = 0;
        let reduced = (learning_rate * self.factor).max(self.min_lr);
        if learning_rate - reduced > self.eps { reduced } else { learning_rate }
    }

    /// Returns the state: the best metric (NaN for none), the number of observations
    /// since then without improvement, and the number of observations to ignore.
    pub(crate) fn state(&self) -> Tensor<f64> {
        let best = self.best.unwrap_or(f64::NAN);
        Tensor::from([best, self.num_bad_epochs as f64, self.cooldown_counter as f64])
    }

    /// Loads a state from [`state`](Self::state). Errors are added to `differences`.
    pub(crate) fn load(
        &mut self,
        name: &str,
        state: Option<&AnyTensor>,
        differences: &mut Differences,
    ) {
        differences.compare(name, state, f64::NAME, &Shape::from([3]));
        let values = state.and_then(|state| state.downcast::<f64>()).map(Tensor::to_vec);
        if let Some([best, bad, cooldown]) = values.as_deref() {
            self.best = (!best.is_nan()).then_some(*best);
            self.num_bad_epochs = *bad as u64;
            self.cooldown_counter = *cooldown as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_is_no_progress() {
        let mut plateau = ReduceLROnPlateau::new().patience(0).factor(0.5);
        assert_eq!(plateau.observe(1.0, 8.0), 8.0);
        assert_eq!(plateau.observe(f64::NAN, 8.0), 4.0);
        assert_eq!(plateau.observe(0.5, 4.0), 4.0);
    }

    #[test]
    fn an_infinite_loss_at_first_is_got_over() {
        for new in [ReduceLROnPlateau::new(), ReduceLROnPlateau::new().absolute_threshold(0.1)] {
            let mut plateau = new.patience(1).factor(0.5);
            for figure in [f64::INFINITY, 3.0, 2.0, f64::INFINITY, 1.0] {
                assert_eq!(plateau.observe(figure, 8.0), 8.0, "{figure}");
            }
            let mut plateau = plateau.maximize(true);
            plateau.best = None;
            assert_eq!(plateau.observe(f64::NEG_INFINITY, 8.0), 8.0);
            assert_eq!(plateau.observe(f64::NEG_INFINITY, 8.0), 4.0);
            assert_eq!(plateau.observe(-5.0, 4.0), 4.0);
            assert_eq!(plateau.best, Some(-5.0));
        }
    }

    #[test]
    fn invalid_settings_are_named() {
        let message = |plateau: ReduceLROnPlateau| plateau.check().unwrap_err().to_string();
        let new = ReduceLROnPlateau::new;
        assert!(message(new().factor(1.0)).contains("factor must be"));
        assert!(message(new().threshold(f64::NAN)).contains("threshold"));
        assert!(message(new().min_lr(-1.0)).contains("min_lr"));
    }
}
