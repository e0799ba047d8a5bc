//! Files of every format, as the library of the format has written them, have
//! the values that this library reads.

use std::path::{Path, PathBuf};

use dendra_autograd::StateDict;
use dendra_nn::{Linear, Parameters, StateFile};
use dendra_tensor::{AnyTensor, Error, Rng, Tensor};
use dendra_weights::{Format, Weights, write_npz};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Weights {
    Weights::open(fixture(name)).unwrap()
}

/// The right values, which the library that wrote the file has computed.
fn right(name: &str) -> StateDict {
    StateFile::read(fixture(&format!("{name}.right.safetensors"))).unwrap().state
}

#[track_caller]
fn assert_same(found: &StateDict, right: &StateDict) {
    let names = |state: &StateDict| state.iter().map(|(name, _)| name.to_owned()).collect();
    let (found_names, right_names): (Vec<String>, Vec<String>) = (names(found), names(right));
    assert_eq!(found_names, right_names);
    for ((name, found), (_, right)) in found.iter().zip(right.iter()) {
        assert_eq!((found.element(), found.shape()), (right.element(), right.shape()), "{name}");
        assert!(found.has_bits_of(right), "{name}: found {found:?}, expected {right:?}");
    }
}

#[track_caller]
fn assert_right(name: &str, format: Format) -> Weights {
    let weights = open(name);
    assert_eq!(weights.format(), format);
    assert_same(&weights.state_dict().unwrap(), &right(name));
    let bytes = std::fs::read(fixture(name)).unwrap();
    let in_memory = Weights::from_bytes(bytes).unwrap();
    assert_same(&in_memory.state_dict().unwrap(), &right(name));
    weights
}

fn message(outcome: Result<Weights, Error>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn safetensors() {
    let weights = assert_right("all.safetensors", Format::Safetensors);
    assert_eq!(weights.metadata()["format"], "pt");
    assert_eq!(weights.get("brain").unwrap().stored(), "bf16");
    assert_eq!(weights.get("e4m3").unwrap().stored(), "f8_e4m3");
}

#[test]
fn pytorch_archives() {
    let weights = assert_right("zip.pt", Format::PyTorch);
    let names: Vec<&str> = weights.iter().map(|weight| weight.name()).collect();
    assert_eq!(names[..4], ["weight", "transposed", "column", "rows"]);
    assert_eq!(weights.metadata()["epoch"], 3);
    assert_eq!(weights.metadata()["loss"], 0.25);
    assert_eq!(weights.metadata()["name"], "small");
    assert_right("new.pt", Format::PyTorch);
    assert_eq!(assert_right("nested.pt", Format::PyTorch).metadata()["step"], 5);
    assert_right("script.pt", Format::PyTorch);
}

#[test]
fn pytorch_before_1_6() {
    let weights = assert_right("legacy.pth", Format::PyTorch);
    let names: Vec<&str> = weights.iter().map(|weight| weight.name()).collect();
    assert_eq!(names[..4], ["weight", "transposed", "column", "rows"]);
}

#[test]
fn a_model_of_pytorch_is_not_built() {
    let error = message(Weights::open(fixture("whole_model.pt")));
    let expected = "asks for \"torch.nn.modules.linear.Linear\", which is not run";
    assert!(error.contains(expected) && error.contains("model.state_dict()"), "{error}");
    let error = message(Weights::open(fixture("sparse.pt")));
    assert!(error.contains("is not supported (torch._utils._rebuild_sparse_tensor)"), "{error}");
    let complex = open("complex.pt");
    assert_eq!(complex.get("complex").unwrap().stored(), "c64");
    let error = complex.tensor("complex").unwrap_err().to_string();
    assert!(error.contains("tensor \"complex\": elements of type C64 are not"), "{error}");
}

#[test]
fn numpy() {
    let weights = assert_right_numpy("stored.npz");
    assert_eq!(weights.get("fortran").unwrap().shape().to_vec(), [2, 3, 2]);
    assert_right_numpy("packed.npz");
    let matrix = open("matrix.npy");
    assert!(matrix.tensor("matrix").unwrap().has_bits_of(&weights.tensor("matrix").unwrap()));
}

fn assert_right_numpy(name: &str) -> Weights {
    let weights = open(name);
    assert_eq!(weights.format(), Format::NumPy);
    assert_same(&weights.state_dict().unwrap(), &right("stored.npz"));
    weights
}

#[test]
fn gguf() {
    let weights = open("all.gguf");
    assert_eq!(weights.format(), Format::Gguf);
    let known = weights.renamed(&|name| (name != "odd").then(|| name.to_owned())).unwrap();
    assert_same(&known.state_dict().unwrap(), &right("all.gguf"));
    assert_eq!(weights.get("Q4_K").unwrap().stored(), "q4_k");
    let error = weights.tensor("odd").unwrap_err().to_string();
    assert!(error.contains("tensor \"odd\": elements of type iq2_xxs cannot"), "{error}");
    let metadata = weights.metadata();
    assert_eq!(metadata["answer"], 42);
    assert_eq!(metadata["rate"], 0.5);
    assert_eq!(metadata["yes"], true);
    assert_eq!(metadata["tokens"], serde_json::json!(["a", "b", "é"]));
    assert_eq!(metadata["numbers"], serde_json::json!([1, -2, 3]));
    assert_eq!(metadata["general.architecture"], "llama");
}

#[test]
fn hdf5_of_both_versions() {
    for name in ["old.h5", "latest.h5"] {
        let weights = assert_right(name, Format::Keras);
        assert_eq!(weights.metadata()["fixed"], "text", "{name}");
        assert_eq!(weights.metadata()["variable"], "tëxt", "{name}");
        assert_eq!(weights.metadata()["many@name"], "twelve", "{name}");
        assert!(!weights.metadata().contains_key("number"));
    }
}

#[test]
fn several_files_with_an_index() {
    for name in ["sharded", "sharded/model.safetensors.index.json"] {
        let weights = open(name);
        let names: Vec<&str> = weights.iter().map(|weight| weight.name()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let c: AnyTensor = Tensor::full([2, 2], 3.0_f32).into();
        assert_eq!(weights.tensor("c").unwrap(), c);
    }
    assert_eq!(open("sharded_bin").len(), 1);
}

#[test]
fn an_index_stays_in_its_folder_and_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    let shard = "model-00001-of-00002.safetensors";
    std::fs::copy(fixture("sharded").join(shard), folder.path().join(shard)).unwrap();
    let open = |text: &str| {
        std::fs::write(&index, text).unwrap();
        message(Weights::open(folder.path()))
    };
    let error = open(r#"{"weight_map": {"a": "../secret"}}"#);
    assert!(error.contains("\"../secret\" is not in the folder"), "{error}");
    let error = open(r#"{"weight_map": {"a": "/etc/passwd"}}"#);
    assert!(error.contains("is not in the folder"), "{error}");
    let error = open(&format!(r#"{{"weight_map": {{"a": "{shard}", "z": "{shard}"}}}}"#));
    assert!(error.contains(&format!("tensors are missing: z (in {shard})")), "{error}");
    let error = open("{}");
    assert!(error.contains("without `weight_map`"), "{error}");
    let error = open("{");
    assert!(error.contains("invalid JSON"), "{error}");
}

#[test]
fn a_folder_with_one_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let error = message(Weights::open(folder.path()));
    assert!(error.contains("expected a weight file"), "{error}");
    std::fs::copy(fixture("matrix.npy"), folder.path().join("b.npy")).unwrap();
    assert_eq!(Weights::open(folder.path()).unwrap().len(), 1);
    std::fs::copy(fixture("matrix.npy"), folder.path().join("a.npy")).unwrap();
    let error = message(Weights::open(folder.path()));
    assert!(error.contains(r#"found ["a.npy", "b.npy"]"#), "{error}");
}

#[test]
fn what_is_no_file_of_weights_is_told() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "not a weight file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`"),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "a zip archive without weights"),
        (b"\x80\x02cos\nsystem\n", "asks for \"os.system\", which is not run"),
    ];
    for (bytes, expected) in cases {
        let error = message(Weights::from_bytes(bytes));
        assert!(error.contains(expected), "{error}");
    }
    let error = open("sharded").tensor("d").unwrap_err().to_string();
    assert!(error.contains("the tensor \"d\" is missing"), "{error}");
}

#[test]
fn npz_files_come_back_and_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.npz");
    let state = open("stored.npz").state_dict().unwrap();
    write_npz(&state, &path).unwrap();
    assert_same(&Weights::open(&path).unwrap().state_dict().unwrap(), &state);

    let linear = |seed| Linear::new(3, 2).init(&mut Rng::seed(seed)).unwrap();
    let (trained, mut fresh): (Linear, Linear) = (linear(1), linear(2));
    write_npz(&trained.state_dict(), &path).unwrap();
    let weights = Weights::open(&path).unwrap();
    weights.load_into(&mut fresh).unwrap();
    assert_eq!(fresh.state_dict(), trained.state_dict());
    let renamed = weights.renamed(&|name| Some(format!("fc.{name}"))).unwrap();
    let error = renamed.load_into(&mut fresh).unwrap_err().to_string();
    assert!(error.contains("missing: weight, bias; unexpected: fc.bias, fc.weight"), "{error}");
    assert!(error.contains("state.npz"), "{error}");
}

#[test]
fn a_table_shows_names_shapes_and_types() {
    let expected = "\
a  [2]     f32
b  [1]     f32
c  [2, 2]  f32
3 tensors, 7 elements, safetensors";
    assert_eq!(open("sharded").to_string(), expected);
}

#[test]
fn names_and_layouts_are_converted() {
    let weights = open("zip.pt");
    let untied = weights.without_ties().unwrap();
    assert!(untied.get("weight").is_some() && untied.get("tied").is_none());
    assert!(untied.get("transposed").is_some(), "another shape of the same values stays");
    let tied = untied.with_tied("head", "weight").unwrap();
    assert_eq!(tied.tensor("head").unwrap(), tied.tensor("weight").unwrap());
    assert!(tied.with_tied("head", "weight").is_err() && tied.with_tied("x", "no").is_err());

    let transposed = weights.transposed(&|name| name == "weight").unwrap();
    assert_eq!(transposed.tensor("weight").unwrap(), weights.tensor("transposed").unwrap());
    assert!(weights.transposed(&|name| name == "column").is_err());

    let rename = |name: &str| match name {
        "weight" => Some("h.0.attn.c_attn.weight".to_owned()),
        "column" => Some("ln_1.gamma".to_owned()),
        "rows" => Some("ln_1.beta".to_owned()),
        _ => None,
    };
    let converted = weights.renamed(&rename).unwrap().from_gpt2_layout().unwrap();
    let converted = converted.from_hugging_face().unwrap();
    let names: Vec<&str> = converted.iter().map(|weight| weight.name()).collect();
    assert_eq!(names, ["h.0.attn.c_attn.weight", "ln_1.weight", "ln_1.bias"]);
    assert_eq!(converted.get(names[0]).unwrap().shape().to_vec(), [4, 6]);
    let error = weights.renamed(&|_| Some("same".to_owned())).unwrap_err().to_string();
    assert!(error.contains("two tensors have the name \"same\""), "{error}");
}
