//! Models in `tests/fixtures/onnx`, with what PyTorch and ONNX Runtime compute.

use std::fs;
use std::path::PathBuf;

use dendra_autograd::{EntryMut, Parameters, Path, Tape, Var};
use dendra_nn::{Linear, Module, load, save};
use dendra_onnx::{Dimension, ElementType, Model, Type, TypedTensor, Value};
use dendra_tensor::{Ops, Rng, Tensor};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/onnx")).join(name)
}

fn model(name: &str) -> Model {
    Model::load(fixture(name)).unwrap()
}

fn stored(name: &str) -> Tensor<f32> {
    let value = Value::from_tensor_proto(&fs::read(fixture(name)).unwrap()).unwrap();
    value.to().unwrap()
}

fn assert_close(found: &Tensor<f32>, expected: &Tensor<f32>, within: f32) {
    assert_eq!(found.shape(), expected.shape());
    for (a, b) in found.to_vec().into_iter().zip(expected.to_vec()) {
        assert!((a - b).abs() <= within * (1.0 + b.abs()), "{a} instead of {b}");
    }
}

#[test]
fn a_model_describes_itself() {
    let model = model("network.onnx");
    let inputs: Vec<_> = model.inputs().collect();
    let axes = [
        Dimension::Symbol("batch".to_owned()),
        Dimension::Fixed(1),
        Dimension::Fixed(4),
        Dimension::Fixed(4),
    ];
    assert_eq!(inputs[0].name, "x");
    assert_eq!(inputs[0].kind, Some(Type::Tensor(ElementType::F32, Some(axes.to_vec()))));
    assert_eq!(model.outputs()[0].name, "y");
    assert_eq!(model.producer(), "tests");
    let operators: Vec<_> = model.operators().map(|(operator, _)| operator).collect();
    assert_eq!(operators, ["Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm"]);
    let names: Vec<_> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    let expected =
        ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "dense.weight", "dense.bias"];
    assert_eq!(names, expected, "the running statistics are not trained");
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let model = model("network.onnx");
    let (x, y) = (stored("network_x.pb"), stored("network_y.pb"));
    // The first run makes the plan of the second.
    for _ in 0..2 {
        let outputs = model.run([("x", x.clone())]).unwrap();
        assert_close(&outputs[0].to().unwrap(), &y, 1e-5);
        assert_close(&outputs.get("y").unwrap().to().unwrap(), &y, 1e-5);
    }
    let found = model.forward(&Tape::training(0, 0).input(x)).unwrap();
    let gradients = found.square().sum().backward().unwrap();
    for (name, expected) in
        [("conv.weight", "network_conv_gradient.pb"), ("dense.weight", "network_dense_gradient.pb")]
    {
        let parameters = model.named_parameters();
        let (_, parameter) = parameters.iter().find(|(found, _)| found == name).unwrap();
        assert_close(gradients.get(parameter).unwrap(), &stored(expected), 1e-4);
    }
}

#[test]
fn a_model_runs_on_a_tape_of_ones_own() {
    let model = model("network.onnx");
    let tape = Tape::training(0, 0);
    let x = tape.leaf(stored("network_x.pb"));
    let outputs = model.run_on([("x", x.clone())], &tape).unwrap();
    let loss = outputs[0].tensor().unwrap().var().unwrap().square().sum();
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.wrt(&x).unwrap().shape(), x.shape());
    for (name, parameter) in model.named_parameters() {
        assert!(gradients.get(parameter).is_some(), "{name}");
    }
}

#[test]
fn shapes_that_come_from_data_are_bounded() {
    // Nodes of models that ask for more memory than there is; each is one
    // operator with its settings as initializers.
    let far = 1_i64 << 40;
    let small = || Value::from(Tensor::<f32>::zeros([1]));
    let lengths =
        |values: &[i64]| Value::from(Tensor::from_vec(values.to_vec(), [values.len()]).unwrap());
    let cases: [(&str, Vec<Value>); 6] = [
        ("ConstantOfShape", vec![lengths(&[far])]),
        ("Expand", vec![small(), lengths(&[far, far])]),
        ("Tile", vec![small(), lengths(&[far])]),
        ("Pad", vec![small(), lengths(&[far, far])]),
        ("Reshape", vec![small(), lengths(&[far, 1])]),
        ("Range", vec![0_i64.into(), i64::MAX.into(), 1_i64.into()]),
    ];
    for (operator, inputs) in cases {
        let model = single_node(operator, inputs.len());
        let names: Vec<String> = (0..inputs.len()).map(|i| format!("i{i}")).collect();
        let given = names.iter().map(String::as_str).zip(inputs);
        let error = model.run(given).unwrap_err().to_string();
        assert!(error.starts_with(operator) && error.len() < 300, "{error}");
    }
}

/// A model of one node, whose inputs have no type.
fn single_node(operator: &str, inputs: usize) -> Model {
    let field = |number: u8, content: &[u8]| {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    };
    let names: Vec<String> = (0..inputs).map(|i| format!("i{i}")).collect();
    let read: Vec<u8> = names.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    let node = [read, field(2, b"y"), field(4, operator.as_bytes())].concat();
    let given = names.iter().flat_map(|name| field(11, &field(1, name.as_bytes())));
    let graph: Vec<u8> =
        field(1, &node).into_iter().chain(given).chain(field(12, &field(1, b"y"))).collect();
    let version = [0x10, 21];
    Model::parse(&[field(8, &version), field(7, &graph)].concat()).unwrap()
}

#[test]
fn a_new_head_is_trained_and_saved() {
    let mut net = model("network.onnx");
    net.set_trainable(false);
    net.replace_head("dense", Linear::new(12, 2).init(&mut Rng::seed(1)).unwrap()).unwrap();
    let names: Vec<_> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    let kept = ["conv.weight", "conv.bias", "norm.weight", "norm.bias"];
    assert_eq!(names, [&kept[..], &["head.weight", "head.bias"]].concat());
    let x = stored("network_x.pb");
    let loss = net.forward(&Tape::training(0, 0).input(x.clone())).unwrap().square().sum();
    let gradients = loss.backward().unwrap();
    let has_gradient = |name: &str| {
        let parameters = net.named_parameters();
        let (_, parameter) = parameters.iter().find(|(found, _)| found == name).unwrap();
        gradients.get(parameter).is_some()
    };
    assert!(has_gradient("head.weight") && !has_gradient("conv.weight"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save(&net, &path).unwrap();
    let mut other = model("network.onnx");
    other.replace_head("dense", Linear::new(12, 2).init(&mut Rng::seed(2)).unwrap()).unwrap();
    load(&mut other, &path).unwrap();
    let plain = |net: &Model| net.forward(&Var::new(x.clone())).unwrap().into_value();
    assert_eq!(plain(&net), plain(&other));
    let error = net.replace_head("dens", Linear::new(12, 2).init(&mut Rng::seed(1)).unwrap());
    assert!(error.unwrap_err().to_string().contains("there is no node \"dens\""));
}

#[test]
fn wrong_inputs_are_explained() {
    let model = model("network.onnx");
    let message = |inputs: Vec<(&str, Value)>| model.run(inputs).unwrap_err().to_string();
    assert!(message(vec![]).contains("the input \"x\" is missing"));
    let x = || Value::from(Tensor::<f32>::zeros([1, 1, 4, 4]));
    assert!(message(vec![("y", x())]).contains("there is no input \"y\", only x"));
    let wide = Value::from(Tensor::<f64>::zeros([1, 1, 4, 4]));
    assert!(message(vec![("x", wide)]).contains("expected float32, got float64"));
    let long = Value::from(Tensor::<f32>::zeros([1, 1, 5, 4]));
    assert!(message(vec![("x", long)]).contains("expected length 4 for axis 2"));
}

#[test]
fn external_data_is_read_from_the_models_folder_alone() {
    let y = model("external.onnx").run([("x", Tensor::from([[1.0_f32, 10.0]]))]).unwrap();
    assert_eq!(y[0].to::<f32>().unwrap().to_vec(), [30.0, 41.0, 52.0]);
    let bytes = fs::read(fixture("external.onnx")).unwrap();
    assert!(Model::parse(&bytes).unwrap_err().to_string().contains("loaded from a file"));
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::copy(fixture("external.data"), folder.path().join("secret.data")).unwrap();
    // The same length, so that the messages stay whole.
    let text = |name: &str| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(13).position(|part| part == b"external.data").unwrap();
        bytes[at..at + 13].copy_from_slice(name.as_bytes());
        let path = inner.join("model.onnx");
        fs::write(&path, bytes).unwrap();
        Model::load(path).unwrap_err().to_string()
    };
    assert!(text("../secret.dat").contains("outside the model's folder"));
    assert!(text("/etc/password").contains("outside the model's folder"));
    #[cfg(unix)]
    {
        let link = inner.join("linkedto.data");
        std::os::unix::fs::symlink(folder.path().join("secret.data"), link).unwrap();
        assert!(text("linkedto.data").contains("outside the model's folder"));
    }
    fs::write(inner.join("tooshort.data"), [0; 23]).unwrap();
    assert!(text("tooshort.data").contains("24 bytes at 0 are outside"));
}

#[test]
fn branches_and_loops_see_the_values_around_them() {
    let model = model("control.onnx");
    let run = |x: i64, limit: i64| {
        let inputs = [("x", Tensor::scalar(x)), ("limit", Tensor::scalar(limit))];
        model.run(inputs).unwrap()[0].to::<i64>().unwrap().to_vec()
    };
    for _ in 0..2 {
        assert_eq!(run(3, 20), [6, 12, 24]);
        assert_eq!(run(3, 3), [3]);
    }
    // More integers than plans are kept for.
    for x in 1..12 {
        assert_eq!(run(x, 1000)[0], 2 * x);
        assert_eq!(run(x, 0), [x]);
    }
}

#[test]
fn a_model_that_has_changed_runs_with_its_new_parameters() {
    let mut net = model("network.onnx");
    let x = stored("network_x.pb");
    let run = |net: &Model| net.run([("x", x.clone())]).unwrap()[0].to::<f32>().unwrap();
    let (before, again) = (run(&net), run(&net));
    assert_close(&again, &before, 1e-6);
    net.visit_mut(&mut Path::default(), &mut |path, entry| {
        if let (EntryMut::Param(param), true) = (entry, path.as_str() == "norm.bias") {
            *param.value_mut() = param.value() + 1.0;
        }
    });
    let on_tape = net.forward(&Tape::evaluation().input(x.clone())).unwrap().into_value();
    for _ in 0..2 {
        let after = run(&net);
        assert_close(&after, &on_tape, 1e-5);
        assert!(after.to_vec().iter().zip(before.to_vec()).any(|(a, b)| (a - b).abs() > 1e-3));
    }
}

#[test]
fn integers_of_8_bits_are_multiplied_exactly() {
    let model = model("quantised.onnx");
    for _ in 0..2 {
        let outputs = model.run([("x", stored("quantised_x.pb"))]).unwrap();
        assert_close(&outputs[0].to().unwrap(), &stored("quantised_y.pb"), 1e-6);
    }
}

/// Whether two tensors have the same type, shape and, up to rounding, elements.
fn difference(found: &TypedTensor, expected: &TypedTensor) -> Option<String> {
    if (found.element(), found.shape()) != (expected.element(), expected.shape()) {
        let type_of = |x: &TypedTensor| format!("{} {}", x.element().name(), x.shape());
        return Some(format!("{} instead of {}", type_of(found), type_of(expected)));
    }
    let numbers = |x: &TypedTensor| x.to::<f64>().unwrap().to_vec();
    let mut pairs = numbers(found).into_iter().zip(numbers(expected));
    let close = |(a, b): &(f64, f64)| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 + 1e-5 * b.abs()
    };
    pairs.find(|pair| !close(pair)).map(|(a, b)| format!("{a} instead of {b}"))
}

#[test]
fn operators_agree_with_onnx_runtime() {
    let model = model("operators.onnx");
    model.run([("", Value::Optional(None)); 0]).unwrap();
    let outputs = model.run([("", Value::Optional(None)); 0]).unwrap();
    let bytes = fs::read(fixture("operators_y.pb")).unwrap();
    let expected = Value::from_sequence_proto(&bytes).unwrap();
    let expected = expected.sequence().unwrap();
    assert!(expected.len() > 170 && outputs.iter().count() == expected.len());
    let differences = outputs.iter().zip(expected).filter_map(|((name, found), expected)| {
        let difference = difference(found.tensor().unwrap(), expected.tensor().unwrap())?;
        Some(format!("{name}: {difference}"))
    });
    assert_eq!(differences.collect::<Vec<_>>(), [""; 0]);
}
