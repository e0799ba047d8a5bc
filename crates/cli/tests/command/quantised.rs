//! Networks of integers.

use crate::{Place, flowers};

#[test]
fn a_model_becomes_a_network_of_integers() {
    let place = Place::new();
    place.write("flowers.csv", flowers(90));
    place.ok(&["train", "flowers.csv", "-t", "kind", "--layers", "64,64", "-o", "m.safetensors"]);
    let quantize = |more: &[&str]| {
        let arguments = [&["quantize", "m.safetensors", "flowers.csv"], more].concat();
        place.json(&arguments)
    };
    let json = quantize(&["-o", "int8.safetensors"]);
    assert_eq!(json["layers"], serde_json::json!(["0", "2", "output"]), "{json}");
    assert_eq!(json["samples"], 90);
    assert!(json["same_answers"].as_u64().unwrap() >= 88, "{json}");
    let share = json["bytes_after"].as_f64().unwrap() / json["bytes_before"].as_f64().unwrap();
    assert!(share < 0.7, "{json}");

    // Other commands take such files.
    let predict = |model| place.ok(&["predict", model, "flowers.csv"]);
    let same = |a: String, b: String| {
        let kind = |line: &str| ["daisy", "poppy", "tulip"].map(|kind| line.find(kind)).into_iter();
        let kinds = |text: &str| {
            text.lines().map(|line| kind(line).position(|at| at.is_some())).collect::<Vec<_>>()
        };
        let (a, b) = (kinds(&a), kinds(&b));
        a.len() == b.len() && a.iter().zip(&b).filter(|(a, b)| a == b).count() + 2 >= a.len()
    };
    assert!(same(predict("m.safetensors"), predict("int8.safetensors")));
    let accuracy = |model| {
        let json = place.json(&["evaluate", model, "flowers.csv"]);
        json["figures"]["accuracy"].as_f64().unwrap()
    };
    let (floats, integers) = (accuracy("m.safetensors"), accuracy("int8.safetensors"));
    assert!(floats > 0.8 && (floats - integers).abs() < 0.03, "{floats} {integers}");
    let summary = place.ok(&["summary", "int8.safetensors"]);
    assert!(summary.contains("\nlayers of integers: 0, 2, output\n"), "{summary}");
    for arguments in [
        &["convert", "int8.safetensors", "no.onnx"][..],
        &["quantize", "int8.safetensors", "flowers.csv", "-o", "no.onnx"],
    ] {
        let ran = place.run(arguments);
        assert!(ran.code == Some(1) && ran.err.contains("a network of integers"), "{ran:?}");
    }
    place.ok(&["bench", "int8.safetensors", "--batch", "4", "--on", "1", "--seconds", "0.02"]);

    for scheme in ["dynamic", "weights8", "weights4"] {
        quantize(&["-o", "other.safetensors", "--scheme", scheme]);
        assert!(same(predict("m.safetensors"), predict("other.safetensors")), "{scheme}");
    }
    let json = quantize(&["-o", "m.onnx", "--observer", "entropy", "--keep-float", "output"]);
    assert_eq!(json["layers"], serde_json::json!(["0", "2"]), "{json}");
    assert!(place.ok(&["summary", "m.onnx"]).contains("QuantizeLinear"));
    let table =
        place.ok(&["quantize", "m.safetensors", "flowers.csv", "-o", "m.onnx", "--sensitivity"]);
    assert!(table.starts_with("layer") && table.contains("agreement"), "{table}");

    let wrong = |more: &[&str], code: i32, expected: &str| {
        let arguments = [&["quantize", "m.safetensors", "flowers.csv"], more].concat();
        let ran = place.run(&arguments);
        assert!(ran.code == Some(code) && ran.err.contains(expected), "{more:?}: {ran:?}");
    };
    wrong(&["-o", "m.npz"], 2, "expected an extension that is a format");
    wrong(&["-o", "m.onnx", "--scheme", "dynamic"], 2, "--scheme static");
    wrong(&["-o", "x.safetensors", "--keep-float", "9"], 1, "there is no layer \"9\"");
}
