//! Networks of integers: sound files in which one statement is changed.

use std::collections::BTreeMap;

use dendra_autograd::AnyTensor;
use dendra_nn::{Sequential, StateFile};
use dendra_quant::{Quantizer, Scheme};
use dendra_tensor::{Result, Rng, Tensor};
use serde_json::{Value, json};

use super::{Files, Hostile};

/// The metadata key of the description.
const KEY: &str = "dendra.quantised";

/// Changes to the description that are always wrong: the key and its value.
fn wrong_statements() -> Vec<(&'static str, Value)> {
    vec![
        ("version", json!(2)),
        ("version", json!(-1)),
        ("scheme", json!("weights8")),
        ("scheme", json!("int3")),
        ("operations", json!([])),
        ("operations", json!(["linear", "linear", "linear", "linear"])),
        ("ranges", json!({})),
        ("ranges", json!({"0": [0.0]})),
        ("ranges", json!({"0": [null, 1.0]})),
        ("ranges", json!({"-1": [0.0, 1.0]})),
        ("layers", json!({})),
        ("layers", json!({"9": [4, 4]})),
        ("layers", json!({"0": []})),
        ("layers", json!({"0": [u64::MAX, u64::MAX]})),
        ("folded", json!({})),
        ("folded", json!({"0.weight": [u64::MAX, 2]})),
        ("folded", json!({"0.weight": [1_u64 << 40]})),
        ("folded", json!({"0.weight": [1, 1]})),
        ("unknown", json!(1)),
    ]
}

/// Changes that a reader may accept.
fn odd_statements() -> Vec<(&'static str, Value)> {
    let ranges = |low: f64, high: f64| {
        let range = |index: usize| (index.to_string(), json!([low, high]));
        Value::Object((0..12).map(range).collect())
    };
    vec![
        ("ranges", ranges(1.0, -1.0)),
        ("ranges", ranges(0.0, 0.0)),
        ("ranges", ranges(-1e38, 1e38)),
        ("ranges", ranges(1e-45, 2e-45)),
        ("ranges", json!({"99999999999": [0.0, 1.0], "1": [0.0, 1.0]})),
        ("scheme", json!("dynamic")),
        ("scheme", json!("static")),
    ]
}

/// The bytes of a file.
fn bytes(file: &StateFile) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    file.write(&path).expect("a file in a temporary folder");
    std::fs::read(path).expect("it was written")
}

/// The file with a changed text in its metadata.
fn with_text(file: &StateFile, key: &str, text: String) -> Vec<u8> {
    let mut metadata = file.metadata.clone();
    metadata.insert(key.to_owned(), text);
    bytes(&StateFile { state: file.state.clone(), metadata })
}

fn description(file: &StateFile) -> BTreeMap<String, Value> {
    serde_json::from_str(&file.metadata[KEY]).expect("it was written as such")
}

fn sound(scheme: Scheme) -> Result<StateFile> {
    let mut rng = Rng::seed(1);
    let layers = Sequential::input([2, 8, 8]).conv2d(3, 3).batch_norm2d().relu().max_pool2d(2);
    let model = layers.flatten().dense(4).build(&mut rng)?;
    let x = Tensor::<f32>::normal([2, 2, 8, 8], 0.0, 1.0, &mut rng);
    let mut quantizer = Quantizer::of(&model, &x)?;
    quantizer.observe(&x)?;
    quantizer.finish(scheme)?.to_file()
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["quantised"]);
    for (scheme, name) in [(Scheme::Static, "static"), (Scheme::WeightsIn4Bits, "weights4")] {
        let sound = sound(scheme).expect("a sound network");
        let whole = bytes(&sound);
        files.truncated(name, &whole, (0..whole.len()).step_by(97));
        let stated = |key: &str, value: &Value| {
            let mut all = description(&sound);
            all.insert(key.to_owned(), value.clone());
            with_text(&sound, KEY, json!(all).to_string())
        };
        for (number, (key, value)) in wrong_statements().into_iter().enumerate() {
            // The ranges are for static networks alone, and so is a scheme of whole layers.
            let matters = scheme == Scheme::Static || !["ranges", "scheme"].contains(&key);
            let name = format!("{name}: {key}, change {number}");
            match matters {
                true => files.refused(name, stated(key, &value)),
                false => files.withstood(name, stated(key, &value)),
            }
        }
        for (number, (key, value)) in odd_statements().into_iter().enumerate() {
            files.withstood(format!("{name}: odd {key} {number}"), stated(key, &value));
        }
        for key in description(&sound).keys() {
            let mut fewer = description(&sound);
            fewer.remove(key);
            let text = json!(fewer).to_string();
            files.refused(format!("{name}: no {key}"), with_text(&sound, KEY, text));
        }
        files.refused(format!("{name}: nested"), with_text(&sound, KEY, "[".repeat(100_000)));
        let (key, architecture) = sound
            .metadata
            .iter()
            .find(|(key, text)| *key != KEY && text.contains("Conv2d"))
            .expect("the architecture");
        for (number, shape) in ["[2,9,8]", "[2,40000,40000]", "[0,8,8]", "[2]"].iter().enumerate() {
            let other = architecture.replace("[2,8,8]", shape);
            assert_ne!(&other, architecture, "{architecture}");
            let name = format!("{name}: inputs of another shape {number}");
            files.refused(name, with_text(&sound, key, other));
        }
        for (path, tensor) in sound.state.iter() {
            let mut state = sound.state.clone();
            state.remove(path);
            let fewer = StateFile { state, metadata: sound.metadata.clone() };
            let without = format!("{name}: without {path}");
            // Old files of PyTorch lack the counter.
            match path.ends_with("num_batches_tracked") {
                true => files.withstood(without, bytes(&fewer)),
                false => files.refused(without, bytes(&fewer)),
            }
            for (number, value) in [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e-45].iter().enumerate() {
                let AnyTensor::F32(tensor) = tensor else { continue };
                let mut state = sound.state.clone();
                state.insert(path, Tensor::full(tensor.shape().clone(), *value));
                let file = StateFile { state, metadata: sound.metadata.clone() };
                files.withstood(format!("{name}: {path} of value {number}"), bytes(&file));
            }
            let mut state = sound.state.clone();
            state.insert(path, Tensor::<i8>::full([5, 1, 3], -128));
            let file = StateFile { state, metadata: sound.metadata.clone() };
            files.refused(format!("{name}: {path} of another shape"), bytes(&file));
        }
    }
    files.files
}
