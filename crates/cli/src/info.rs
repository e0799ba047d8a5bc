//! `dendra info` and `dendra summary`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use dendra_datasets::AnyPreprocessing;
use dendra_deploy::{Format, Network};
use dendra_nn::{Sequential, StateFile};
use dendra_onnx::Model;
use dendra_quant::Quantised;
use dendra_tensor::{Error, Result};
use dendra_train::terminal_width;
use dendra_weights::Weights;
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::{Info, Summary};
use crate::model::TARGET;
use crate::screen::Screen;

/// The number of tensors that are listed without `--all`.
const LISTED: usize = 30;

/// The number of columns, classes and metadata entries that are listed.
const NAMED: usize = 12;

pub(crate) fn run(arguments: &Info, screen: Screen) -> Result<(), Failure> {
    let path = &arguments.file;
    let bytes = fs::metadata(path).map_err(|error| Error::io(path, error))?.len();
    let (weights, network) = match (Weights::open(path), Network::load(path)) {
        (Ok(weights), network) => (Some(weights), network.ok()),
        (Err(_), Ok(network)) => (None, Some(network)),
        (Err(of_weights), Err(of_network)) => {
            let onnx = path.extension().is_some_and(|ending| ending == "onnx");
            return Err(if onnx { of_network } else { of_weights }.into());
        }
    };
    let found = Found { path, bytes, weights: weights.as_ref(), network: network.as_ref() };
    screen.json(&found.json())?;
    if !screen.is_json() {
        screen.result(found.text(arguments.all).trim_end())?;
    }
    Ok(())
}

/// The contents of a file: named tensors, a network, or both.
struct Found<'a> {
    path: &'a Path,
    bytes: u64,
    weights: Option<&'a Weights>,
    network: Option<&'a Network>,
}

impl Found<'_> {
    fn format(&self) -> String {
        match (self.weights, self.network) {
            (Some(weights), _) => weights.format().to_string(),
            (None, Some(network)) => network.format().to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// The metadata that are not shown elsewhere.
    fn metadata(&self) -> BTreeMap<String, Value> {
        let hidden = |key: &str| key.starts_with("dendra.");
        match (self.weights, self.network) {
            (Some(weights), _) => {
                let all = weights.metadata().iter().filter(|(key, _)| !hidden(key));
                all.map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            (None, Some(network)) => {
                let all = network.metadata().iter();
                all.map(|(key, value)| (key.clone(), value.clone().into())).collect()
            }
            (None, None) => BTreeMap::new(),
        }
    }

    fn target(&self) -> Option<&str> {
        self.weights?.metadata().get(TARGET)?.as_str()
    }

    fn json(&self) -> Value {
        let tensors = self.weights.map(|weights| {
            let tensor = |weight: &dendra_weights::Weight| {
                let shape = weight.shape().to_vec();
                json!({ "name": weight.name(), "shape": shape, "type": weight.stored() })
            };
            weights.iter().map(tensor).collect::<Vec<_>>()
        });
        let network = self.network.map(|network| {
            let info = |info: &dendra_deploy::TensorInfo| {
                let axes = info
                    .axes
                    .as_ref()
                    .map(|axes| axes.iter().map(|axis| axis.to_string()).collect::<Vec<_>>());
                json!({ "name": info.name, "type": info.element.name(), "axes": axes })
            };
            json!({
                "inputs": network.inputs().iter().map(info).collect::<Vec<_>>(),
                "outputs": network.outputs().iter().map(info).collect::<Vec<_>>(),
                "preprocessing": network.preprocessing().kind(),
                "columns": columns(network.preprocessing()),
                "classes": network.class_names(),
                "target": self.target(),
            })
        });
        json!({
            "file": self.path.display().to_string(),
            "format": self.format(),
            "bytes": self.bytes,
            "network": network,
            "tensors": tensors,
            "metadata": self.metadata(),
        })
    }

    fn text(&self, all: bool) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{}", folded(&format!("{name:<15}{value}"), 15));
        };
        line("file", self.path.display().to_string());
        let what = match (self.network, self.weights) {
            (Some(_), _) => "a network with its weights",
            (None, _) => "weights without a network",
        };
        line("format", format!("{}, {what}, {}", self.format(), size(self.bytes)));
        if let Some(network) = self.network {
            let list = |infos: &[dendra_deploy::TensorInfo]| {
                infos.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            };
            line("inputs", list(network.inputs()));
            line("outputs", list(network.outputs()));
            if let Some(kind) = network.preprocessing().kind() {
                line("preprocessing", described(network.preprocessing(), kind));
            }
            if let Some(columns) = columns(network.preprocessing()) {
                line("columns", named(&columns));
            }
            if let Some(target) = self.target() {
                line("predicts", target.to_owned());
            }
            if !network.class_names().is_empty() {
                let classes = network.class_names();
                line("classes", format!("{}: {}", classes.len(), named(classes)));
            }
        }
        let metadata = self.metadata();
        for (key, value) in metadata.iter().take(NAMED) {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let short: String = value.chars().take(200).collect();
            let more = if short.len() < value.len() { "…" } else { "" };
            line("metadata", format!("{key}: {short}{more}"));
        }
        if metadata.len() > NAMED {
            line("metadata", format!("and {} more (--json has all)", metadata.len() - NAMED));
        }
        if let Some(weights) = self.weights {
            text += "\n";
            text += &tensors(weights, all);
        }
        text
    }
}

/// The table of tensors.
fn tensors(weights: &Weights, all: bool) -> String {
    let table = weights.to_string();
    let lines: Vec<&str> = table.lines().collect();
    if all || lines.len() <= LISTED + 2 {
        return table;
    }
    let hidden = lines.len() - 1 - LISTED;
    let shown = lines[..LISTED].join("\n");
    format!("{shown}\n… and {hidden} more (--all lists them)\n{}", lines[lines.len() - 1])
}

/// The input columns of a network for tables.
fn columns(preprocessing: &AnyPreprocessing) -> Option<Vec<String>> {
    match preprocessing {
        AnyPreprocessing::Table(encoder) => {
            Some(encoder.columns().map(|column| column.name.to_owned()).collect())
        }
        _ => None,
    }
}

fn described(preprocessing: &AnyPreprocessing, kind: &str) -> String {
    let shape = preprocessing.input_shape();
    match (preprocessing, shape.as_deref()) {
        (AnyPreprocessing::Table(_), Some([inputs])) => {
            format!("rows of a table, which become {inputs} inputs")
        }
        (AnyPreprocessing::Image(_), Some([channels, height, width])) => {
            let colour = if *channels == 1 { "grey" } else { "colour" };
            format!("pictures (PNG, JPEG), which become {height}×{width} pixels in {colour}")
        }
        (AnyPreprocessing::Text(encoder), Some([length])) => format!(
            "texts, of which {length} words are read, with a vocabulary of {}",
            encoder.vocabulary().len()
        ),
        _ => format!("{kind}, which this version does not know"),
    }
}

/// Lists the first names.
fn named(names: &[String]) -> String {
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ") + &more
}

/// A size in bytes, in the unit with the fewest digits.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "KiB", "MiB"] {
        if size < 1024.0 {
            let digits = usize::from(unit != "bytes");
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

/// A line wrapped at spaces to the width of the terminal, with continuation
/// lines indented.
fn folded(line: &str, indent: usize) -> String {
    let width = terminal_width().max(indent + 20);
    let (head, rest) = line.split_at(line.char_indices().nth(indent).map_or(line.len(), |at| at.0));
    let (mut text, mut column) = (head.to_owned(), indent);
    for (index, word) in rest.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > width {
            text += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += length;
    }
    text
}

pub(crate) fn summary(arguments: &Summary, screen: Screen) -> Result<(), Failure> {
    let path = &arguments.model;
    let network = Network::load(path)?;
    match network.format() {
        Format::Onnx => {
            let model = Model::load(path)?;
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (operator, _) in model.operators() {
                *counts.entry(operator).or_default() += 1;
            }
            screen.json(&json!({ "operators": counts }))?;
            let list = |what: &str, infos: &[dendra_deploy::TensorInfo]| -> Result<()> {
                infos.iter().try_for_each(|info| screen.result(format_args!("{what} {info}")))
            };
            list("input ", network.inputs())?;
            list("output", network.outputs())?;
            screen.result("")?;
            for (operator, count) in &counts {
                screen.result(format_args!("{count:>6}  {operator}"))?;
            }
            let all: usize = counts.values().sum();
            screen.result(format_args!("{all:>6}  operators in total"))?;
        }
        _ => {
            let file = StateFile::read(path)?;
            let (summary, integers) = if Quantised::is_in(&file.metadata) {
                let network = Quantised::from_file(file, path)?;
                let layers = network.layers().map(str::to_owned).collect();
                (network.trace().summary(), layers)
            } else {
                (Sequential::from_file(file, path)?.summary(), Vec::new())
            };
            let rows = summary.rows.iter().map(|row| {
                json!({
                    "name": row.name,
                    "layer": row.layer,
                    "output": row.output,
                    "parameters": row.parameters,
                })
            });
            screen.json(&json!({
                "layers": rows.collect::<Vec<_>>(),
                "trainable": summary.trainable,
                "frozen": summary.frozen,
                "bytes": summary.bytes,
                "layers_of_integers": integers,
            }))?;
            let width = terminal_width();
            screen.result(format!("{summary:.width$}").trim_end())?;
            if !integers.is_empty() {
                screen.result(format_args!("layers of integers: {}", integers.join(", ")))?;
            }
        }
    }
    Ok(())
}
