//! The examples that train on one's own data: what they save, another process
//! predicts with.

#![cfg(all(feature = "tables", feature = "images"))]

use std::env;
use std::fs;
use std::process::Command;

use dendra::datasets::{Csv, Encoder, ImageEncoder, TextEncoder};
use dendra::prelude::*;

#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../examples/flowers.rs"]
mod flowers;
#[cfg(feature = "onnx")]
#[path = "saved_with_their_data/onnx_programs.rs"]
mod onnx_programs;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../examples/reviews.rs"]
mod reviews;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../examples/shapes.rs"]
mod shapes;
#[cfg(all(feature = "onnx", feature = "tokenizers", feature = "weights"))]
#[path = "saved_with_their_data/trained_elsewhere.rs"]
mod trained_elsewhere;

/// The environment variable that tells the other process the model's file.
const MODEL: &str = "DENDRA_TEST_MODEL";

/// The path of a file of the examples' data.
fn data(name: &str) -> String {
    format!("{}/../../examples/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a test of this file in a process of its own, and gives what it prints.
fn elsewhere(test: &str, model: &str) -> String {
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", test, "--ignored", "--nocapture"]).env(MODEL, model);
    let output = program.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A file for a model, in a folder that is removed with it.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors").display().to_string();
    (folder, path)
}

fn model() -> String {
    env::var(MODEL).expect("the test that asks for this process names the model")
}

#[test]
fn flowers() {
    let (_folder, model) = place();
    flowers::train(&data("flowers.csv"), &model).unwrap();
    let answers = elsewhere("the_flowers_of_a_saved_model", &model);
    assert!(answers.contains("row 0: daisy (") && answers.contains("row 1: tulip ("), "{answers}");
}

#[test]
#[ignore = "runs in a process of its own"]
fn the_flowers_of_a_saved_model() {
    let new = b"colour,petal_width,petal_length,stem_length\nwhite,0.4,1.7,17\nyellow,2.8,6.1,39\n";
    let table = format!("{}.csv", model());
    fs::write(&table, new).unwrap();
    flowers::predict(&model(), &table).unwrap();

    // Other data, and other kinds of data, are told.
    let predictor = Predictor::<Encoder>::load(model()).unwrap();
    let incomplete = Csv::new().parse(b"petal_width\n0.2\n").unwrap();
    let error = predictor.predict(&incomplete).unwrap_err().to_string();
    assert!(error.contains("there is no column \"petal_length\""), "{error}");
    let error = Predictor::<ImageEncoder>::load(model()).unwrap_err().to_string();
    assert!(error.contains("its preprocessing is `table`"), "{error}");
    assert_eq!(predictor.class_names(), ["daisy", "poppy", "tulip"]);
}

#[test]
fn shapes() {
    let (_folder, model) = place();
    shapes::train(&data("shapes"), &model).unwrap();
    let answers = elsewhere("the_shapes_of_a_saved_model", &model);
    for shape in ["circle", "square", "triangle"] {
        assert!(answers.contains(&format!("shapes/{shape}/03.png: {shape} (")), "{answers}");
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn the_shapes_of_a_saved_model() {
    let pictures =
        ["circle", "square", "triangle"].map(|shape| data(&format!("shapes/{shape}/03.png")));
    shapes::predict(&model(), &pictures).unwrap();
    let predictor = Predictor::<ImageEncoder>::load(model()).unwrap();
    let error = predictor.predict("no.png").unwrap_err().to_string();
    assert!(error.starts_with("no.png: "), "{error}");
}

#[test]
fn reviews() {
    let (_folder, model) = place();
    reviews::train(&data("reviews.csv"), &model).unwrap();
    let answers = elsewhere("the_reviews_of_a_saved_model", &model);
    for answer in ["A wonderful film.: good (", "The music was awful!: bad ("] {
        assert!(answers.contains(answer), "{answers}");
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn the_reviews_of_a_saved_model() {
    let texts = ["A wonderful film.", "The music was awful!"].map(str::to_owned);
    reviews::predict(&model(), &texts).unwrap();
    let predictor = Predictor::<TextEncoder>::load(model()).unwrap();
    let answer = &predictor.predict("What a dreadful plot.").unwrap()[0];
    let ranked = answer.ranked();
    assert_eq!((answer.class(), ranked[0].0, ranked.len()), ("bad", "bad", 2));
    assert!((ranked[0].1 + ranked[1].1 - 1.0).abs() < 1e-6);
}

/// Files that say nonsense of the preprocessing.
#[test]
fn a_preprocessing_that_makes_no_sense_is_refused() {
    use dendra::nn::StateFile;

    let (_folder, path) = place();
    let encoder = TextEncoder::new(Vocabulary::words(["a b", "b c"], 9), 3).unwrap();
    let builder = Sequential::tokens([3]).embedding(encoder.vocabulary().len(), 2).gru(2);
    let model = builder.last_step().dense(2).build(&mut Rng::seed(0)).unwrap();
    let unnamed = Predictor::new(model.clone(), encoder.clone());
    let error = unnamed.predict("a").unwrap_err().to_string();
    assert!(error.contains("the classes have no names"), "{error}");
    let three = unnamed.clone().classes(["x", "y", "z"]);
    let error = three.predict("a").unwrap_err().to_string();
    assert!(error.contains("expected outputs [samples, 3], got [1, 2]"), "{error}");
    unnamed.classes(["x", "y"]).save(&path).unwrap();

    let sound = StateFile::read(&path).unwrap();
    let json = sound.metadata["dendra.preprocessing"].clone();
    Predictor::<TextEncoder>::load(&path).unwrap();
    for (part, instead) in [
        ("\"length\":3", "\"length\":4"),
        ("\"length\":3", "\"length\":0"),
        ("\"length\":3", "\"length\":18446744073709551615"),
        ("\"length\":3", "\"length\":-1"),
        ("\"length\":3", "\"width\":3"),
        ("\"a\"", "\"b\""),
        ("\"version\":1", "\"version\":2"),
        ("\"text\"", "\"table\""),
        ("}", ""),
    ] {
        assert!(json.contains(part), "{json}");
        let mut file = sound.clone();
        let wrong = json.replacen(part, instead, 1);
        file.metadata.insert("dendra.preprocessing".to_owned(), wrong);
        file.write(&path).unwrap();
        let error = Predictor::<TextEncoder>::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path), "{error}");
    }
    // A model that was saved alone.
    model.save(&path).unwrap();
    let error = Predictor::<TextEncoder>::load(&path).unwrap_err().to_string();
    assert!(error.contains("save the model with `Predictor::save`"), "{error}");
}
