//! `dendra quantize`.

use std::fs;
use std::path::Path;

use dendra_datasets::{AnyPreprocessing, ImageFolder};
use dendra_nn::{Model, Sequential, StateFile, check_writable};
use dendra_onnx::Export;
use dendra_quant::{Observer, Quantised, Quantizer, Scheme};
use dendra_tensor::{AnyTensor, Element, Error, Result, Tensor, Tensors};
use serde_json::json;

use crate::Failure;
use crate::arguments::{Observe, Quantize, TableFormat, Whole};
use crate::data::texts::Texts;
use crate::data::{Kind, ending, in_file, pictures, table, unsuitable};
use crate::model::{COLUMN, of_floats};
use crate::screen::Screen;

/// The samples that run at once.
const BATCH: usize = 64;

pub(crate) fn run(arguments: &Quantize, screen: Screen) -> Result<(), Failure> {
    let Quantize { model: path, data, output, .. } = arguments;
    let format = ending(output);
    if !["safetensors", "onnx"].contains(&format.as_str()) {
        let message = "expected an extension that is a format: .safetensors or .onnx";
        return Err(Failure::Usage(format!("{}: {message}", output.display())));
    }
    let scheme = match arguments.scheme {
        Whole::Static => Scheme::Static,
        Whole::Dynamic => Scheme::Dynamic,
        Whole::Weights16 => Scheme::WeightsIn16Bits,
        Whole::Weights8 => Scheme::WeightsIn8Bits,
        Whole::Weights4 => Scheme::WeightsIn4Bits,
    };
    if format == "onnx" && scheme != Scheme::Static {
        let message = "an ONNX file holds a network of --scheme static";
        return Err(Failure::Usage(message.to_owned()));
    }
    check_writable(output)?;
    let file = StateFile::read(path)?;
    let metadata = file.metadata.clone();
    let model = of_floats(file, path)?;
    let inputs = inputs(path, &metadata, data, arguments)?;
    let reached = match inputs {
        AnyTensor::F32(inputs) => quantise(&model, &inputs, scheme, arguments),
        AnyTensor::I64(inputs) => quantise(&model, &inputs, scheme, arguments),
        _ => Err(Error::argument("dendra quantize", "expected inputs of f32 or i64")),
    };
    let Reached { mut network, sensitivity, same, samples } =
        reached.map_err(|error| in_file(path, error))?;
    for (key, value) in metadata {
        network.set_metadata(key, value);
    }
    match format.as_str() {
        "onnx" => Export::of_quantised(&network)?.named(&["input"], &["output"])?.save(output)?,
        _ => network.save(output)?,
    }
    let size = |path: &Path| {
        fs::metadata(path).map(|about| about.len()).map_err(|error| Error::io(path, error))
    };
    let (before, after) = (size(path)?, size(output)?);
    if let Some(table) = &sensitivity {
        screen.result(table.trim_end())?;
    }
    let layers: Vec<&str> = network.layers().collect();
    screen.json(&json!({
        "output": output.display().to_string(),
        "layers": layers,
        "bytes_before": before,
        "bytes_after": after,
        "samples": samples,
        "same_answers": same,
    }))?;
    screen.inform(format_args!(
        "saved {}: {} layers of integers, {before} bytes became {after}",
        output.display(),
        layers.len()
    ))?;
    let share = 100.0 * same as f64 / samples.max(1) as f64;
    screen.inform(format_args!(
        "  the largest output is the same as before for {same} of {samples} samples ({share:.2} %)"
    ))?;
    Ok(())
}

/// A network of integers, and how it compares with that of floats.
struct Reached {
    network: Quantised,
    sensitivity: Option<String>,
    /// The samples whose largest output is the same one.
    same: usize,
    samples: usize,
}

fn quantise<X: Element>(
    model: &Sequential,
    inputs: &Tensor<X>,
    scheme: Scheme,
    arguments: &Quantize,
) -> Result<Reached>
where
    Sequential: Model<Tensor<X>>,
    Tensor<X>: Tensors,
    <<Sequential as Model<Tensor<X>>>::Output as dendra_nn::Output>::Values: Tensors,
{
    let samples = inputs.shape()[0];
    let samples = arguments.samples.map_or(samples, |most| samples.min(most as usize));
    let batch = |first: usize| {
        let indices: Vec<usize> = (first..samples.min(first + BATCH)).collect();
        inputs.index_select(0, &indices)
    };
    let mut quantizer = Quantizer::of(model, &batch(0)?)?;
    quantizer.set_observer(match arguments.observer {
        Observe::MinMax => Observer::MinMax,
        Observe::Percentile => Observer::Percentile(arguments.percentile),
        Observe::Entropy => Observer::Entropy,
    });
    quantizer.keep_float(&arguments.keep_float)?;
    if scheme == Scheme::Static || arguments.sensitivity {
        for first in (0..samples).step_by(BATCH) {
            quantizer.observe(&batch(first)?)?;
        }
    }
    let sensitivity = match arguments.sensitivity {
        true => Some(quantizer.sensitivity(&batch(0)?)?.to_string()),
        false => None,
    };
    let network = quantizer.finish(scheme)?;
    let mut same = 0;
    for first in (0..samples).step_by(BATCH) {
        let batch = batch(first)?;
        let expected = quantizer.floats(&batch)?;
        let found = network.predict(&batch)?;
        same += answers(&expected).iter().zip(answers(&found)).filter(|(a, b)| *a == b).count();
    }
    Ok(Reached { network, sensitivity, same, samples })
}

/// The index of the largest output of each sample.
fn answers(outputs: &Tensor) -> Vec<usize> {
    let samples = outputs.shape().first().copied().unwrap_or(1).max(1);
    let width = (outputs.len() / samples).max(1);
    let largest = |row: &[f32]| {
        (0..row.len()).fold(0, |best, index| if row[index] > row[best] { index } else { best })
    };
    outputs.to_vec().chunks(width).map(largest).collect()
}

/// The inputs that the preprocessing of a model makes of data.
fn inputs(
    path: &Path,
    metadata: &std::collections::BTreeMap<String, String>,
    data: &Path,
    arguments: &Quantize,
) -> Result<AnyTensor, Failure> {
    let preprocessing = AnyPreprocessing::from_metadata(metadata)
        .map_err(|error| Error::file(path, error.to_string()))?;
    let format: &TableFormat = &arguments.table;
    let found = match (&preprocessing, Kind::of(data)?) {
        (AnyPreprocessing::Table(encoder), Kind::Table) => {
            let (rows, _) = table::read(data, format)?;
            encoder.inputs(&rows).map_err(|error| in_file(data, error))?.into()
        }
        (AnyPreprocessing::Text(encoder), Kind::Table) => {
            let (rows, _) = table::read(data, format)?;
            let Some(column) = metadata.get(COLUMN) else {
                let message = "does not say which column it reads";
                return Err(Error::file(path, message).into());
            };
            let texts = Texts::of_column(&rows, column).map_err(|error| in_file(data, error))?;
            encoder.inputs(&texts)?.into()
        }
        (AnyPreprocessing::Text(encoder), Kind::Texts) => {
            encoder.inputs(&Texts::of_folder(data)?.texts)?.into()
        }
        (AnyPreprocessing::Image(encoder), Kind::Pictures) => {
            pictures::inputs(&ImageFolder::open(data)?, encoder)?.into()
        }
        _ => return Err(unsuitable(path, &preprocessing, data).into()),
    };
    Ok(found)
}
