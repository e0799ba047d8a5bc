//! Runs the tests that the Python package `onnx` carries: models with stored
//! inputs and outputs.
//!
//! The first argument is the package's folder `backend/test/data`; with a
//! second one only tests whose names contain it are run. Each test is a line of
//! the output: its kind, its name, its status and a message, separated by tabs.
//! `onnx_nodes.py` makes a page of these lines.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dendra_onnx::{Model, Type, TypedTensor, Value};

/// The kinds of tests that have stored inputs and outputs.
const KINDS: [&str; 4] = ["node", "simple", "pytorch-converted", "pytorch-operator"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: conformance-onnx FOLDER [PART OF A NAME]");
        return ExitCode::FAILURE;
    };
    let only = arguments.next().unwrap_or_default();
    std::panic::set_hook(Box::new(|_| {}));
    for kind in KINDS {
        for test in folders(&Path::new(&folder).join(kind)) {
            let name = test.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.contains(&only) || !test.join("model.onnx").is_file() {
                continue;
            }
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(&test)));
            let (status, message) = match outcome {
                Ok(Ok(())) => ("passed", String::new()),
                Ok(Err((status, message))) => (status, message),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or(panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
                    ("panicked", text.unwrap_or_default())
                }
            };
            let message = message.replace(['\n', '\t'], " ");
            println!("{kind}\t{name}\t{status}\t{message}");
        }
    }
    ExitCode::SUCCESS
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// A status and a message.
type Failure = (&'static str, String);

fn run(test: &Path) -> Result<(), Failure> {
    let refused = |error: dendra_onnx::Error| ("refused", error.to_string());
    let model = Model::load(test.join("model.onnx")).map_err(refused)?;
    let (relative, absolute) = tolerance(test);
    for set in folders(test) {
        let inputs: Vec<_> = model.inputs().collect();
        let mut given = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            if let Some(value) = value(&set.join(format!("input_{index}.pb")), input.kind.as_ref())
                .map_err(refused)?
            {
                given.push((input.name.as_str(), value));
            }
        }
        // The first run for inputs of some shapes makes a plan, which the second one uses.
        let run = |given| model.run(given).map_err(|error| ("failed", error.to_string()));
        run(given.clone())?;
        let outputs = run(given)?;
        for (index, (output, found)) in
            model.outputs().iter().zip(outputs.into_values()).enumerate()
        {
            let path = set.join(format!("output_{index}.pb"));
            let Some(expected) = value(&path, output.kind.as_ref()).map_err(refused)? else {
                continue;
            };
            compare(&found, &expected, relative, absolute)
                .map_err(|message| ("differs", format!("output {index}: {message}")))?;
        }
    }
    Ok(())
}

/// A value of a file, if it exists.
fn value(path: &Path, kind: Option<&Type>) -> dendra_onnx::Result<Option<Value>> {
    let Ok(bytes) = fs::read(path) else { return Ok(None) };
    Ok(Some(match kind {
        Some(Type::Sequence(_)) => Value::from_sequence_proto(&bytes)?,
        Some(Type::Optional(_)) => Value::from_optional_proto(&bytes)?,
        _ => Value::from_tensor_proto(&bytes)?,
    }))
}

/// The relative and the absolute tolerance of a test.
fn tolerance(test: &Path) -> (f64, f64) {
    let text = fs::read_to_string(test.join("data.json")).unwrap_or_default();
    let settings: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let setting = |name: &str, default| settings[name].as_f64().unwrap_or(default);
    (setting("rtol", 1e-3), setting("atol", 1e-7))
}

fn compare(found: &Value, expected: &Value, relative: f64, absolute: f64) -> Result<(), String> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => {
            compare_tensors(found, expected, relative, absolute)
        }
        (Value::Sequence(found), Value::Sequence(expected)) => {
            if found.len() != expected.len() {
                return Err(format!("{} values instead of {}", found.len(), expected.len()));
            }
            let mut pairs = found.iter().zip(expected);
            pairs.try_for_each(|(a, b)| compare(a, b, relative, absolute))
        }
        (Value::Optional(Some(found)), Value::Optional(Some(expected))) => {
            compare(found, expected, relative, absolute)
        }
        (Value::Optional(None), Value::Optional(None)) => Ok(()),
        (found, Value::Optional(Some(expected))) => compare(found, expected, relative, absolute),
        (found, expected) => Err(format!("{found:?} instead of {expected:?}")),
    }
}

fn compare_tensors(
    found: &TypedTensor,
    expected: &TypedTensor,
    relative: f64,
    absolute: f64,
) -> Result<(), String> {
    if found.element() != expected.element() {
        let (found, expected) = (found.element().name(), expected.element().name());
        return Err(format!("{found} instead of {expected}"));
    }
    if found.shape() != expected.shape() {
        return Err(format!("shape {} instead of {}", found.shape(), expected.shape()));
    }
    if let (Ok(found), Ok(expected)) = (found.strings(), expected.strings()) {
        return if found == expected { Ok(()) } else { Err(format!("{found:?}, {expected:?}")) };
    }
    let numbers = |x: &TypedTensor| x.to::<f64>().map(|x| x.to_vec()).unwrap_or_default();
    for (index, (a, b)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        let close =
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + relative * b.abs();
        if !close {
            return Err(format!("{a} instead of {b} at {index}"));
        }
    }
    Ok(())
}
