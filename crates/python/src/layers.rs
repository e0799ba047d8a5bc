//! Layers by the name of their kind.

use dendra_nn::*;
use serde::Deserialize as _;
use serde_json::Value;

use crate::arguments::{Arguments, Refusal, first_fitting};

/// A row of the table of kinds.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The method of the builder.
    pub(crate) method: &'static str,
    /// The type of the settings.
    pub(crate) settings: &'static str,
    pub(crate) doc: &'static str,
    /// The arguments of the method, with their types.
    pub(crate) arguments: &'static [(&'static str, &'static str)],
}

/// A setting as declared in the source code.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// The type.
    pub(crate) kind: &'static str,
    /// The expression of the default.
    pub(crate) default: Option<&'static str>,
    pub(crate) doc: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The settings of a layer of this kind as stored in files: the settings that
/// the kind's method derives from its arguments, overridden by the given
/// settings.
pub(crate) fn layer(kind: &str, mut arguments: Arguments) -> Result<Value, Refusal> {
    // The input shape is not part of the settings.
    let builder = add(Sequential::input([1]), kind, &mut arguments)?;
    let planned = serde_json::to_value(builder)
        .map_err(|error| Refusal::Value(format!("{kind}: {error}")))?;
    let mut layer = planned[0]["layer"].clone();
    let settings = layer.as_object().map_or(0, |object| object.len() - 1);
    for (name, value) in arguments.rest() {
        if settings == 0 {
            return Err(Refusal::Name(format!(
                "{kind} has no setting `{name}`, it has no settings"
            )));
        }
        let with = |value: Value| {
            let mut changed = layer.clone();
            changed[&name] = value;
            LayerSettings::deserialize(&changed).and_then(serde_json::to_value)
        };
        layer = match first_fitting(&value, with) {
            Ok(changed) => changed,
            Err(error) => {
                let message = format!("{kind}: {name}: {error}");
                return Err(match message.contains("unknown field") {
                    true => Refusal::Name(message),
                    false => Refusal::Value(message),
                });
            }
        };
    }
    Ok(layer)
}
