//! All named objects with their documentation, for Python.

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::layers::{self, ALIASES, DOCS, FIELDS, Field, KINDS};
use crate::named::{LOSSES, METRICS, OPTIMIZERS, Row, SCHEDULES};
use crate::optimizer::SHARED;

/// The groups by name: lists of
/// `{name, method, doc, arguments: [setting], settings: [setting]}`, where a
/// setting is `{name, type, doc, default}`. It has no default if it is required
/// or its default is not known here.
pub(crate) fn table() -> Value {
    json!({
        "layers": KINDS.iter().map(layer).collect::<Vec<_>>(),
        "optimizers": OPTIMIZERS.iter().map(|row| named(row, &SHARED)).collect::<Vec<_>>(),
        "schedules": SCHEDULES.iter().map(|row| named(row, &[])).collect::<Vec<_>>(),
        "losses": LOSSES.iter().map(|row| named(row, &[])).collect::<Vec<_>>(),
        "metrics": METRICS.iter().map(|row| named(row, &[])).collect::<Vec<_>>(),
    })
}

fn layer(kind: &layers::Kind) -> Value {
    let fields = fields(kind.settings);
    let argument = |(name, ty): &(&str, &str)| setting(name, ty, fields, None);
    let arguments: Vec<Value> = kind.arguments.iter().map(argument).collect();
    // The settings that the method derives from arbitrary arguments are the
    // defaults. A setting that depends on the arguments has no default of its
    // own.
    let sample = |number| {
        let made = layers::layer(kind.name, Arguments::sample(kind.name, number));
        made.ok().and_then(|made| made.as_object().cloned()).unwrap_or_default()
    };
    let (made, other) = (sample(1), sample(2));
    let default = |name: &str| made.get(name).filter(|found| other.get(name) == Some(*found));
    let is_argument = |name: &str| kind.arguments.iter().any(|(argument, _)| *argument == name);
    let of_fields = fields.iter().map(|field| (field.name, default(field.name).cloned()));
    let in_file = made.iter().filter(|(name, _)| fields.iter().all(|field| field.name != *name));
    let in_file = in_file.map(|(name, _)| (name.as_str(), default(name).cloned()));
    let settings: Vec<Value> = of_fields
        .chain(in_file)
        .filter(|(name, _)| *name != "kind" && !is_argument(name))
        .map(|(name, default)| setting(name, "", fields, default))
        .collect();
    let own = doc(kind.name);
    let doc = if own.is_empty() { doc_of_alias(kind.name, kind.settings) } else { own };
    let doc = [doc.as_str(), kind.doc].join("\n\n").trim().to_owned();
    json!({
        "name": kind.name, "method": kind.method, "doc": doc,
        "arguments": arguments, "settings": settings,
    })
}

fn named(row: &Row, shared: &[(&str, &str, &str, &str)]) -> Value {
    let fields = fields(row.name);
    let argument = |(name, default): &(&str, &str)| {
        let ty = if *name == "learning_rate" { "f64" } else { "" };
        setting(name, ty, fields, literal(default))
    };
    let own = row.settings.iter().map(|name| setting(name, "", fields, None));
    let shared = shared.iter().map(|(name, ty, default, doc)| {
        with_default(json!({ "name": name, "type": ty, "doc": doc }), literal(default))
    });
    json!({
        "name": row.name, "doc": doc(row.name),
        "arguments": row.arguments.iter().map(argument).collect::<Vec<_>>(),
        "settings": own.chain(shared).collect::<Vec<_>>(),
    })
}

/// A setting with the type and documentation from its source; values given here
/// take precedence.
fn setting(name: &str, ty: &str, fields: &[Field], default: Option<Value>) -> Value {
    let field = fields.iter().find(|field| field.name == name);
    let (of_field, doc) = field.map_or(("", ""), |field| (field.kind, field.doc));
    let default = default.or_else(|| literal(field?.default?));
    let ty = if ty.is_empty() { of_field } else { ty };
    with_default(json!({ "name": name, "type": ty, "doc": doc }), default)
}

fn with_default(mut setting: Value, default: Option<Value>) -> Value {
    if let Some(default) = default {
        setting["default"] = default;
    }
    setting
}

/// The value of a Rust expression, if it is a simple one.
fn literal(expression: &str) -> Option<Value> {
    let inner = expression.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')'));
    let expression = inner.unwrap_or(expression);
    if expression == "None" {
        return Some(Value::Null);
    }
    if let Ok(value) = serde_json::from_str(expression) {
        return Some(value);
    }
    if let Some((one, other)) = expression.split_once(" / ") {
        return Some(json!(one.parse::<f64>().ok()? / other.parse::<f64>().ok()?));
    }
    let (_, variant) = expression.split_once("::")?;
    let is_name = variant.chars().all(char::is_alphanumeric);
    is_name.then(|| json!(variant.to_lowercase()))
}

/// The fields of a struct, also behind a type alias.
fn fields(name: &str) -> &'static [Field] {
    let of = |name: &str| FIELDS.iter().find(|(found, _)| *found == name).map(|(_, all)| *all);
    let words = |text: &'static str| text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let alias = ALIASES.iter().find(|(found, _)| *found == name);
    of(name)
        .or_else(|| alias.and_then(|(_, target)| words(target).find_map(of)))
        .unwrap_or_default()
}

fn text(name: &str) -> Option<&'static str> {
    DOCS.iter().find(|(found, _)| *found == name).map(|(_, text)| *text)
}

/// The documentation of a type; for an alias followed by that of the aliased
/// type.
fn doc(name: &str) -> String {
    let own = text(name).unwrap_or_default();
    let target = ALIASES.iter().find(|(found, _)| *found == name).map(|(_, target)| *target);
    let behind = target.and_then(|target| text(target.split(['<', ';']).next()?));
    [own, behind.filter(|_| own.len() < 80).unwrap_or_default()].join("\n\n").trim().to_owned()
}

/// The documentation of a kind that a macro defines, such as `ZeroPad2d`.
fn doc_of_alias(kind: &str, settings: &str) -> String {
    doc(if text(settings).is_some() {
        settings
    } else {
        kind.trim_end_matches(['1', '2', '3', 'd'])
    })
}
