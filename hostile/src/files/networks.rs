//! Settings of networks and lists of the files of their weights.

use serde_json::{Map, Value};

use super::{Files, Hostile};
use crate::pretrained::sound;

/// Values that a setting should not have, as they stand in a file.
const VALUES: [&str; 10] = [
    "0",
    "-1",
    "1024",
    "16777216",
    "18446744073709551615",
    "1e308",
    "null",
    "\"7\"",
    "[1, [2]]",
    "{\"type\": {}}",
];

fn written(settings: &Map<String, Value>, key: &str, value: &str) -> String {
    let entries = settings.iter().map(|(known, old)| match known == key {
        true => format!("{known:?}: {value}"),
        false => format!("{known:?}: {old}"),
    });
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["pretrained"]);
    for text in sound() {
        let settings: Map<String, Value> = serde_json::from_str(text).expect("it is sound");
        let kind = settings.get("model_type").and_then(Value::as_str).unwrap_or("a list");
        let of = |what: String| format!("{what} of {kind} in {} bytes", text.len());
        files.truncated(&of("a text".to_owned()), text.trim_end().as_bytes(), [0, 1, 40, 300, 500]);
        for key in settings.keys().filter(|key| *key != "architectures") {
            for (number, value) in VALUES.iter().enumerate() {
                let name = of(format!("{key} as value {number}"));
                files.withstood(name, written(&settings, key, value));
            }
            let mut fewer = settings.clone();
            fewer.remove(key);
            files.withstood(of(format!("no {key}")), Value::Object(fewer).to_string());
        }
        for size in ["vocab_size", "hidden_size", "n_embd", "dim", "num_hidden_layers", "n_layer"] {
            for value in ["0", "-1", "16777217", "1e9", "\"4\"", "99999999999999999999999"] {
                if settings.contains_key(size) {
                    let name = of(format!("{size} {}", value.replace('"', "quoted ")));
                    files.refused(name, written(&settings, size, value));
                }
            }
        }
    }
    let bert = |more: &str| format!("{{\"model_type\": \"bert\", {more}}}");
    files.refused("another network", "{\"model_type\": \"t5\"}");
    files.refused("a list instead of settings", "[]");
    files.refused("nested 100,000 deep", "[".repeat(100_000));
    files.refused("a nested setting", bert(&format!("\"x\": {}", "{\"a\":".repeat(1000))));
    files.refused("bytes that are not UTF-8", &b"{\"model_type\": \"\xff\"}"[..]);
    files.refused("a setting twice", bert("\"hidden_size\": 4, \"hidden_size\": 8"));
    files.refused(
        "heads that do not divide",
        bert("\"hidden_size\": 10, \"num_attention_heads\": 3"),
    );
    files.refused("no heads", bert("\"num_attention_heads\": 0"));
    let labels = (0..5_000).map(|label| format!("\"{label}\": \"x\"")).collect::<Vec<_>>();
    let labels = format!("\"id2label\": {{{}}}", labels.join(", "));
    files.refused("5,000 classes", bert(&labels));
    files.refused(
        "an unknown activation",
        bert(&format!("\"hidden_act\": {:?}", "x".repeat(99_999))),
    );
    let list = |map: &str| format!("{{\"weight_map\": {map}}}");
    for (what, map) in [
        ("without files", "{}"),
        ("that is a text", "\"model.safetensors\""),
        ("of numbers", "{\"a\": 1}"),
        ("with a folder above", "{\"a\": \"../model.safetensors\"}"),
        ("with the root", "{\"a\": \"/model.safetensors\"}"),
        ("with a folder", "{\"a\": \"network/model.safetensors\"}"),
        ("with two dots", "{\"a\": \"..\"}"),
        ("without a name", "{\"a\": \"\"}"),
        ("with itself", "{\"a\": \"model.safetensors.index.json\"}"),
        ("with settings", "{\"a\": \"config.json\"}"),
    ] {
        files.refused(format!("a list {what}"), list(map));
    }
    files.files
}
