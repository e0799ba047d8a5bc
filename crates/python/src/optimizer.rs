//! An optimizer of any kind, with the settings common to all kinds.

use dendra_optim::{Descent, Optimizer, ReduceLROnPlateau, Rule, Schedule};
use serde_json::Value;

use crate::arguments::{Arguments, Refusal};
use crate::named;

/// The settings common to all optimizers, with their types, defaults and
/// documentation.
pub(crate) const SHARED: [(&str, &str, &str, &str); 8] = [
    ("weight_decay", "f64", "", "The weight decay factor."),
    ("clip_norm", "Option<f64>", "None", "The largest global norm of the gradients."),
    ("clip_value", "Option<f64>", "None", "The largest absolute value of a gradient."),
    ("maximize", "bool", "false", "Whether the loss is maximised."),
    (
        "allow_missing_gradients",
        "bool",
        "false",
        "Whether parameters on which the loss does not depend stay as they are; by default they \
         are an error.",
    ),
    ("schedule", "Option<Schedule>", "None", "The learning rate schedule by step."),
    ("epoch_schedule", "Option<Schedule>", "None", "The learning rate schedule by epoch."),
    (
        "reduce_on_plateau",
        "Option<Schedule>",
        "None",
        "A `ReduceLROnPlateau`: the learning rate falls when the validation loss, or else the \
         training loss, no longer improves.",
    ),
];

/// An optimizer.
pub(crate) struct AnyOptimizer(pub(crate) Box<dyn Optimizer + Send + Sync>);

impl AnyOptimizer {
    /// An optimizer with the common settings.
    pub(crate) fn descent<R: Rule>(
        mut optimizer: Descent<R>,
        given: &mut Arguments,
    ) -> Result<Self, Refusal> {
        if let Some(weight_decay) = given.optional("weight_decay")? {
            optimizer = optimizer.weight_decay(weight_decay);
        }
        if let Some(Some(norm)) = given.optional("clip_norm")? {
            optimizer = optimizer.clip_norm(norm);
        }
        if let Some(Some(limit)) = given.optional("clip_value")? {
            optimizer = optimizer.clip_value(limit);
        }
        if let Some(maximize) = given.optional("maximize")? {
            optimizer = optimizer.maximize(maximize);
        }
        if given.optional("allow_missing_gradients")? == Some(true) {
            optimizer = optimizer.allow_missing_gradients();
        }
        if let Some(steps) = Self::schedule("schedule", given)? {
            optimizer = optimizer.schedule(steps);
        }
        if let Some(epochs) = Self::schedule("epoch_schedule", given)? {
            optimizer = optimizer.epoch_schedule(epochs);
        }
        match AnySchedule::of("reduce_on_plateau", given)? {
            None => {}
            Some(AnySchedule::Plateau(plateau)) => {
                optimizer = optimizer.reduce_on_plateau(plateau);
            }
            Some(AnySchedule::Schedule(_)) => {
                let message = "expected a ReduceLROnPlateau";
                return Err(Refusal::value(&given.context, "reduce_on_plateau", message));
            }
        }
        optimizer.check()?;
        Ok(Self(Box::new(optimizer)))
    }

    fn schedule(
        name: &'static str,
        given: &mut Arguments,
    ) -> Result<Option<impl Schedule + 'static>, Refusal> {
        match AnySchedule::of(name, given)? {
            None => Ok(None),
            Some(AnySchedule::Schedule(schedule)) => {
                Ok(Some(move |base: f64, count: u64| schedule.learning_rate(base, count)))
            }
            Some(AnySchedule::Plateau(_)) => {
                let message = "expected a ReduceLROnPlateau as the setting reduce_on_plateau";
                Err(Refusal::value(&given.context, name, message))
            }
        }
    }
}

/// A learning rate schedule.
pub(crate) enum AnySchedule {
    Schedule(Box<dyn Schedule>),
    Plateau(ReduceLROnPlateau),
}

impl AnySchedule {
    fn of(name: &'static str, given: &mut Arguments) -> Result<Option<Self>, Refusal> {
        match given.optional::<Value>(name)? {
            None | Some(Value::Null) => Ok(None),
            Some(object) => named::schedule(Arguments::of_object("schedule", object)?).map(Some),
        }
    }

    pub(crate) fn schedule(
        schedule: impl Schedule + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        schedule.check()?;
        Ok(Self::Schedule(Box::new(schedule)))
    }

    pub(crate) fn plateau(plateau: ReduceLROnPlateau, _: &mut Arguments) -> Result<Self, Refusal> {
        plateau.check()?;
        Ok(Self::Plateau(plateau))
    }
}
