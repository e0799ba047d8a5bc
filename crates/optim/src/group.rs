//! Parameter groups: settings that can differ between parameters.

use dendra_derive::Setters;
use dendra_tensor::Result;

use crate::rule::require_not_negative;

/// The settings of a group of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct Group {
    /// The factor of the learning rate.
    #[set(default = 1.0)]
    pub(crate) learning_rate_factor: f64,
    /// The weight decay, instead of the optimizer's.
    #[set(default = 0.0)]
    pub(crate) weight_decay: f64,
}

impl Group {
    pub(crate) fn check(&self, context: &str) -> Result<()> {
        require_not_negative(context, "learning_rate_factor", self.learning_rate_factor)?;
        require_not_negative(context, "weight_decay", self.weight_decay)
    }
}

/// A group of parameters, selected by name, and the change of their settings.
pub(crate) struct Exception {
    pub(crate) belongs: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub(crate) change: Box<dyn Fn(Group) -> Group + Send + Sync>,
}
