//! Parameter groups: what may differ from parameter to parameter.

use dendra_tensor::Result;

use crate::rule::require_not_negative;

/// The settings of a group of parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    pub(crate) learning_rate_factor: f64,
    pub(crate) weight_decay: f64,
}

impl Default for Group {
    fn default() -> Self {
        Self { learning_rate_factor: 1.0, weight_decay: 0.0 }
    }
}

impl Group {
    /// What the learning rate is multiplied by; 1 unless set.
    #[must_use]
    pub fn learning_rate_factor(mut self, factor: f64) -> Self {
        self.learning_rate_factor = factor;
        self
    }

    /// The weight decay, in place of the optimizer's.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    pub(crate) fn check(&self, place: &str) -> Result<()> {
        require_not_negative(place, "learning_rate_factor", self.learning_rate_factor)?;
        require_not_negative(place, "weight_decay", self.weight_decay)
    }
}

/// Which parameters, by name, differ from the others, and in what.
pub(crate) struct Exception {
    pub(crate) belongs: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub(crate) change: Box<dyn Fn(Group) -> Group + Send + Sync>,
}
