//! `dendra convert`.

use std::collections::BTreeMap;
use std::path::Path;

use dendra_autograd::{Parameters, StateDict};
use dendra_nn::{CHECKPOINT_KEY, StateFile, check_writable};
use dendra_onnx::{Export, Model};
use dendra_quant::Quantised;
use dendra_tensor::{Error, Result, Shape, Tensor, bf16, f16};
use dendra_weights::{Format, Weights, write_npz};
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::{Convert, Precision};
use crate::data::ending;
use crate::model::of_floats;
use crate::screen::Screen;

const FORMATS: &str = "expected an extension that is a format: .safetensors, .npz or .onnx";

pub(crate) fn run(arguments: &Convert, screen: Screen) -> Result<(), Failure> {
    let Convert { input, output, as_stored, precision } = arguments;
    let format = ending(output);
    if !["safetensors", "npz", "onnx"].contains(&format.as_str()) {
        return Err(Failure::Usage(format!("{}: {FORMATS}", output.display())));
    }
    if output.exists() && same(input, output) {
        return Err(Failure::Usage(format!("{} is both input and output", input.display())));
    }
    if format == "onnx" && precision.is_some() {
        let message = "--precision is for weights, and an ONNX file would hold a network";
        return Err(Failure::Usage(message.to_owned()));
    }
    if format == "npz" && matches!(precision, Some(Precision::Bf16)) {
        return Err(Failure::Usage("NumPy has no bf16: expected f32 or f16 for .npz".to_owned()));
    }
    check_writable(output)?;
    if format == "onnx" {
        let (inputs, outputs) = export(input, output)?;
        screen.json(&json!({ "output": output.display().to_string(), "format": "ONNX" }))?;
        let what = "a network with any number of samples";
        screen.inform(format_args!("saved {}: {what}", output.display()))?;
        screen.inform(format_args!("  input [N, {inputs}], output [N, {outputs}]"))?;
        return Ok(());
    }
    let (state, metadata) = read(input, *as_stored)?;
    if precision.is_some() && Quantised::is_in(&metadata) {
        let message = "it is a network of integers, expected one of floats for --precision";
        return Err(Error::file(input, message).into());
    }
    let in_file = |error: Error| error.within(input.display().to_string());
    let state = match precision {
        Some(Precision::F32) => state.cast_floats::<f32>().map_err(in_file)?,
        Some(Precision::F16) => state.cast_floats::<f16>().map_err(in_file)?,
        Some(Precision::Bf16) => state.cast_floats::<bf16>().map_err(in_file)?,
        None if format == "npz" => without_bf16(state),
        None => state,
    };
    let tensors = state.iter().count();
    match format.as_str() {
        "npz" => write_npz(&state, output)?,
        _ => StateFile { state, metadata }.write(output)?,
    }
    screen.json(&json!({
        "output": output.display().to_string(),
        "format": if format == "npz" { "NumPy" } else { "safetensors" },
        "tensors": tensors,
    }))?;
    screen.inform(format_args!("saved {}: {tensors} tensors", output.display()))?;
    Ok(())
}

/// The same state with `bf16`, which NumPy does not have, as `f32`.
fn without_bf16(state: StateDict) -> StateDict {
    let mut result = StateDict::new();
    for (name, value) in state.iter() {
        let value = value.clone();
        result.insert(name, if value.element() == "bf16" { value.widened() } else { value });
    }
    result
}

fn same(input: &Path, output: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(input).is_some_and(|input| Some(input) == real(output))
}

/// The tensors of a file, and the part of its metadata that a safetensors file
/// can store.
fn read(input: &Path, as_stored: bool) -> Result<(StateDict, BTreeMap<String, String>)> {
    let weights = match Weights::open(input) {
        Ok(weights) => weights,
        Err(error) => {
            // An ONNX model also has named weights.
            let Ok(model) = Model::load(input) else { return Err(error) };
            return Ok((model.state_dict(), BTreeMap::new()));
        }
    };
    let metadata = match weights.format() {
        // A file of Dendra has the architecture and the preprocessing in its
        // metadata.
        Format::Safetensors if input.is_file() => {
            let file = StateFile::read(input)?;
            let mut metadata = file.metadata.clone();
            metadata.remove(CHECKPOINT_KEY);
            return Ok((file.into_model_state(), metadata));
        }
        _ => weights.metadata().iter().filter_map(text).collect(),
    };
    let weights = match weights.format() {
        Format::Keras if !as_stored => weights.from_keras_layout()?,
        _ => weights,
    };
    Ok((weights.state_dict_as_stored()?, metadata))
}

/// A metadata entry as text; lists such as vocabularies are left out.
fn text((key, value): (&String, &Value)) -> Option<(String, String)> {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return None,
    };
    Some((key.clone(), value))
}

/// Writes a network of Dendra as an ONNX file, and returns the shapes of its
/// input and output.
fn export(input: &Path, output: &Path) -> Result<(String, String)> {
    if let Ok(weights) = Weights::open(input)
        && weights.format() != Format::Safetensors
    {
        let message = "it contains weights without a network, expected a model of Dendra";
        return Err(Error::file(input, message));
    }
    let file = StateFile::read(input)?;
    let classes = dendra_datasets::classes_from_metadata(&file.metadata)
        .map_err(|error| Error::file(input, error.to_string()))?;
    let model = of_floats(file, input)?;
    let shape: Shape = [1].into_iter().chain(model.input_shape().iter().copied()).collect();
    let export = match model.takes_tokens() {
        true => Export::of(&model, &Tensor::<i64>::zeros(shape))?,
        false => Export::of(&model, &Tensor::<f32>::zeros(shape))?,
    };
    let export = export.named(&["input"], &["output"])?;
    let export = match classes.is_empty() {
        true => export,
        false => export.metadata("classes", &classes.join(",")),
    };
    export.save(output)?;
    let shown = |shape: &Shape| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    Ok((shown(model.input_shape()), shown(model.output_shape())))
}
