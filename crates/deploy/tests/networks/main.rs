//! The format of each kind of file is detected, and predictions are those of
//! the model that wrote the file.

use std::fs;
use std::path::PathBuf;
use std::thread;

use dendra_datasets::{AnyPreprocessing, TextEncoder, Vocabulary, data_to_metadata};
use dendra_deploy::{Answer, ElementType, Format, Network, Value};
use dendra_nn::{Module, Sequential, StateFile, autograd::Var};
use dendra_tensor::{Rng, Tensor};
use tempfile::TempDir;

#[cfg(feature = "images")]
mod images;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(feature = "tables")]
mod tables;

/// A folder that is removed at the end, and a path in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn classifier() -> Sequential {
    Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(1)).unwrap()
}

fn normal(shape: &[usize]) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(7))
}

/// Writes a model with a preprocessing as `Predictor::save` does.
fn save_with(
    file: StateFile,
    preprocessing: &impl dendra_datasets::Preprocessing,
    classes: &[&str],
    path: &PathBuf,
) {
    let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
    let mut file = file;
    file.metadata.extend(data_to_metadata(preprocessing, &classes).unwrap());
    file.write(path).unwrap();
}

#[test]
fn a_network_serves_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Network>();
    let (_folder, path) = place("net");
    classifier().save(&path).unwrap();
    let (network, x) = (Network::load(&path).unwrap(), normal(&[5, 4]));
    let expected = network.run(&[("input", x.clone().into())]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(network.run(&[("input", x.clone().into())]).unwrap(), expected);
            });
        }
    });
}

#[test]
fn a_sequential_without_preprocessing() {
    let (_folder, path) = place("any.name");
    let model = classifier();
    let mut file = model.to_file().unwrap();
    file.metadata.insert("trained by".to_owned(), "someone".to_owned());
    file.write(&path).unwrap();

    for network in [Network::load(&path), Network::parse(&fs::read(&path).unwrap())] {
        let network = network.unwrap();
        assert_eq!(network.format(), Format::Safetensors);
        assert_eq!(network.inputs()[0].to_string(), "input: f32 [batch, 4]");
        assert_eq!(network.outputs()[0].to_string(), "output: f32 [batch, 3]");
        assert_eq!(network.inputs()[0].element, ElementType::F32);
        assert_eq!(
            network.metadata().iter().collect::<Vec<_>>(),
            [(&"trained by".to_owned(), &"someone".to_owned())]
        );
        assert!(network.class_names().is_empty() && network.has_independent_samples());

        let x = normal(&[300, 4]);
        let expected = model.forward(&Var::new(x.clone())).unwrap().into_value();
        let outputs = network.run(&[("input", x.clone().into())]).unwrap();
        assert_eq!(outputs, [Value::from(expected.clone())]);

        // More samples than are run at once, without and with class names.
        let answers = network.predict(x.clone()).unwrap();
        let numbers: Vec<f64> = expected.to_vec().into_iter().map(f64::from).collect();
        let rows = numbers.chunks(3).map(|row| Answer::Numbers(row.to_vec()));
        assert_eq!(answers, rows.collect::<Vec<_>>());
        let network = network.with_classes(["a", "b", "c"]);
        for (answer, row) in network.predict(x).unwrap().iter().zip(numbers.chunks(3)) {
            let best = (0..3).reduce(|best, next| if row[next] > row[best] { next } else { best });
            assert_eq!(answer.class().unwrap().label(), best.unwrap());
        }
    }
}

#[test]
fn a_checkpoint_of_a_training_run_is_a_model() {
    let (_folder, path) = place("checkpoint");
    let file = classifier().to_file().unwrap();
    let mut checkpoint = StateFile { metadata: file.metadata.clone(), ..StateFile::default() };
    checkpoint.state.extend("model", &file.state);
    checkpoint.metadata.insert(dendra_nn::CHECKPOINT_KEY.to_owned(), "{}".to_owned());
    checkpoint.write(&path).unwrap();
    let network = Network::load(&path).unwrap();
    let x = normal(&[2, 4]);
    let expected = classifier().forward(&Var::new(x.clone())).unwrap().into_value();
    assert_eq!(network.run(&[("input", x.into())]).unwrap(), [expected.into()]);
}

#[test]
fn texts() {
    let (_folder, path) = place("mood");
    let encoder = TextEncoder::new(Vocabulary::words(["good bad day"], 10), 4).unwrap();
    let builder = Sequential::tokens([4]).embedding(encoder.vocabulary().len(), 3).gru(4);
    let model = builder.last_step().dense(2).build(&mut Rng::seed(3)).unwrap();
    save_with(model.to_file().unwrap(), &encoder, &["bad", "good"], &path);

    let network = Network::load(&path).unwrap();
    assert_eq!(network.preprocessing(), &AnyPreprocessing::Text(encoder.clone()));
    assert_eq!(network.inputs()[0].to_string(), "input: i64 [batch, 4]");
    let texts = ["a good day", "bad"];
    let answers = network.predict_texts(&texts).unwrap();
    let ids = encoder.inputs(&texts).unwrap();
    assert_eq!(answers, network.predict(ids).unwrap());
    assert_eq!(network.predict_json(br#"{"texts": ["a good day", "bad"]}"#).unwrap(), answers);

    let class = answers[0].class().unwrap();
    let json = serde_json::to_value(&answers[0]).unwrap();
    assert_eq!(json["class"], class.class());
    assert_eq!(json["ranked"][0][0], class.class());
    assert_eq!(json["ranked"][0][1], class.probability());
    assert_eq!(answers[0].to_string(), class.to_string());

    // Rows are rejected, and the ids are accepted as numbers.
    let error = network.predict_json(br#"{"rows": [[1, 2, 3, 4]]}"#).unwrap_err().to_string();
    assert!(error.contains("kind `text`"), "{error}");
    assert_eq!(network.prepare_numbers(&[0.0, 0.0, 0.0, 3.0]).unwrap().shape()[..], [1, 4]);
    let error = network.prepare_numbers(&[0.0, 0.5, 0.0, 3.0]).unwrap_err().to_string();
    assert!(error.contains("expected integers, got 0.5"), "{error}");
}

#[test]
fn numbers_as_json() {
    let (_folder, path) = place("net");
    let builder = Sequential::input([1, 2, 2]).flatten().dense(1);
    builder.build(&mut Rng::seed(1)).unwrap().save(&path).unwrap();
    let network = Network::load(&path).unwrap();
    let x =
        Tensor::from_vec(vec![0.1_f32, 2.0, -3.0, 4e-3, 1.0, 1.0, 0.0, 7.0], [2, 1, 2, 2]).unwrap();
    let expected = network.predict(x).unwrap();
    for json in [
        r#"{"rows": [[[[0.1, 2], [-3, 4e-3]]], [1, true, false, 7]]}"#,
        r#"{"rows": [[0.1, 2, -3, 4e-3], [[1, 1], [0, 7]]]}"#,
    ] {
        assert_eq!(network.predict_json(json.as_bytes()).unwrap(), expected, "{json}");
    }
    assert!(network.predict_json(br#"{"rows": []}"#).unwrap().is_empty());
    let deep = format!("{{\"rows\": [{}1{}]}}", "[".repeat(60), "]".repeat(60));
    for (json, expected) in [
        ("", "EOF"),
        ("[]", "expected"),
        (r#"{"rows": [[1, 2, 3]]}"#, "expected 4 numbers for each sample"),
        (r#"{"rows": [[1, 2, 3, 4, 5, 6, 7, 8]]}"#, "got 8 numbers in a row"),
        (
            r#"{"rows": [[1, 2, 3, 4], [1, 2]]}"#,
            "expected 4 numbers in row 1 as in the first, got 2",
        ),
        (r#"{"rows": [["a"]]}"#, "row 0: expected a list of numbers"),
        (r#"{"rows": [{"a": 1}]}"#, "table"),
        (r#"{"texts": ["a"]}"#, "no preprocessing that takes texts"),
        (&deep, "nested"),
    ] {
        let error = network.predict_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

#[test]
fn wrong_inputs_are_told() {
    let (_folder, path) = place("net");
    classifier().save(&path).unwrap();
    let network = Network::load(&path).unwrap();
    let x = || Value::from(Tensor::<f32>::zeros([1, 4]));
    for (inputs, expected) in [
        (vec![], "the input \"input\" is missing"),
        (vec![("x", x())], "there is no input \"x\", only input"),
        (vec![("input", x()), ("input", x())], "given twice"),
        (
            vec![("input", Tensor::<i64>::zeros([1, 4]).into())],
            "input: f32 [batch, 4], got i64 [1, 4]",
        ),
        (vec![("input", Value::texts([1], vec!["a".to_owned()]).unwrap())], "got text"),
        (
            vec![("input", Tensor::<f32>::zeros([1, 5]).into())],
            "expected the input input: f32 [batch, 4], got f32 [1, 5]",
        ),
    ] {
        let error = network.run(&inputs).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let two = network.with_classes(["a", "b"]);
    let error = two.predict(Tensor::<f32>::zeros([1, 4])).unwrap_err().to_string();
    assert!(error.contains("expected outputs [samples, 2], got [1, 3]"), "{error}");
}

#[test]
fn other_files_are_told() {
    let (folder, path) = place("net");
    let error = Network::load(&path).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    assert!(Network::load(folder.path()).is_err());
    fs::write(&path, "what is this").unwrap();
    let error = Network::load(&path).unwrap_err().to_string();
    assert!(error.contains("it starts with \"what is t\""), "{error}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");

    // Weights without a network.
    StateFile { state: classifier().to_file().unwrap().state, ..StateFile::default() }
        .write(&path)
        .unwrap();
    let error = Network::load(&path).unwrap_err().to_string();
    assert!(error.contains("holds no architecture"), "{error}");

    // A preprocessing of another shape.
    let encoder = TextEncoder::new(Vocabulary::bytes(), 9).unwrap();
    save_with(classifier().to_file().unwrap(), &encoder, &[], &path);
    let error = Network::load(&path).unwrap_err().to_string();
    assert!(error.contains("inputs of shape [4], got one for [9]"), "{error}");
}

/// Each truncation and many changes of a file give an error or a network, but
/// never a panic.
#[test]
fn damaged_bytes() {
    let (_folder, path) = place("net");
    Sequential::input([2]).dense(2).build(&mut Rng::seed(1)).unwrap().save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(Network::parse(&bytes).is_ok());
    // A weight that does not match the checksum.
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let error = Network::parse(&flipped).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    for length in 0..bytes.len() {
        assert!(Network::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    for index in 0..bytes.len() {
        for flip in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[index] ^= flip;
            if let Ok(network) = Network::parse(&damaged) {
                drop(network.run(&[("input", Tensor::<f32>::zeros([1, 2]).into())]));
            }
        }
    }
}

#[test]
fn values_are_joined_and_split() {
    let a = Value::from(Tensor::from([[1_i64, 2], [3, 4]]));
    let b = Value::from(Tensor::from([[5_i64, 6]]));
    let both = Value::join(&[&a, &b]).unwrap();
    assert_eq!(both.shape()[..], [3, 2]);
    assert_eq!(both.split(&[2, 1]).unwrap(), [a.clone(), b.clone()]);
    assert!(both.split(&[2, 2]).is_err());
    assert!(Value::join(&[&a, &Tensor::<f32>::zeros([1, 2]).into()]).is_err());
    assert!(Value::join(&[]).is_err());
    let texts = |n: usize| Value::texts([n, 2], vec!["x".to_owned(); 2 * n]).unwrap();
    let joined = Value::join(&[&texts(1), &texts(2)]).unwrap();
    assert_eq!(joined, texts(3));
    assert_eq!(joined.split(&[1, 2]).unwrap(), [texts(1), texts(2)]);
    assert!(joined.split(&[4]).is_err());
    assert!(Value::join(&[&texts(1), &a]).is_err());
}
