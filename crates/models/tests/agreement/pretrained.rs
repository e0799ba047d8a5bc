//! Folders that transformers has saved.

use std::fs;
use std::path::{Path, PathBuf};

use dendra_autograd::{Parameters, Tape};
use dendra_models::*;
use dendra_nn::{Model, StateFile};
use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::filling::read;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pretrained").join(name)
}

/// What the network in a folder returns for a text.
fn output<M: Pretrained + Model<TokenBatch, Output = dendra_autograd::Var>>(
    name: &str,
) -> Result<Vec<f32>> {
    let model = M::from_pretrained(folder(name))?;
    let tokens = Tensor::from([[3, 1, 4, 1, 5]]).into();
    Ok(model.run(&tokens, &Tape::inference())?.into_value().to_vec())
}

#[test]
fn folders_of_transformers_are_read() {
    for (name, expected) in &read(include_str!("../fixtures/pretrained.json")) {
        let found = match &name[..] {
            "gpt2" => output::<GPT2LMHeadModel>(name),
            "bert" => output::<BertModel>(name),
            "bert_masked_lm" => output::<BertForMaskedLM>(name),
            "bert_classifier" => output::<BertForSequenceClassification>(name),
            "distilbert" => output::<DistilBertModel>(name),
            "llama_sharded" => output::<LlamaForCausalLM>(name),
            // The body alone, whose names lack `transformer.`, has all of the network.
            "gpt2_body" => {
                let tied = output::<GPT2LMHeadModel>(name).unwrap();
                assert_eq!(tied, output::<GPT2LMHeadModel>("gpt2").unwrap());
                continue;
            }
            _ => panic!("no network for {name}"),
        };
        let found = found.unwrap();
        let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
        }
    }
}

#[test]
fn the_body_of_another_network_is_read() {
    let whole = BertForMaskedLM::from_pretrained(folder("bert_masked_lm")).unwrap();
    let body = SentenceEmbedder::from_pretrained(folder("bert_masked_lm")).unwrap();
    assert_eq!(whole.bert.state_dict(), body.bert.state_dict());
    // It was saved without a pooler.
    let error = BertModel::from_pretrained(folder("bert_masked_lm")).unwrap_err().to_string();
    assert!(error.contains("missing: pooler.dense.weight, pooler.dense.bias"), "{error}");
    // A classifier of three classes, by its names.
    let classifier = BertForSequenceClassification::from_pretrained(folder("bert_classifier"));
    assert_eq!(*classifier.unwrap().classifier.weight.value().shape(), [3, 4]);
}

#[test]
fn wrong_folders_are_told() {
    let error = |result: Result<GPT2LMHeadModel>| result.unwrap_err().to_string();
    let read = |folder: &Path| error(GPT2LMHeadModel::from_pretrained(folder));
    assert!(read(&folder("bert")).contains("expected the model_type gpt2, got \"bert\""));
    assert!(matches!(GPT2LMHeadModel::from_pretrained(folder("nowhere")), Err(Error::Io { .. })));

    let made = tempfile::tempdir().unwrap();
    let config = made.path().join("config.json");
    let refused = |text: &str| {
        fs::write(&config, text).unwrap();
        read(made.path())
    };
    assert!(refused("{").contains("config.json"));
    assert!(refused("{\"n_embd\": -3}").contains("invalid value"));
    assert!(refused("{\"n_embd\": 1e30}").contains("config.json"));
    assert!(refused("{\"n_embd\": 4611686018427387904}").contains("n_embd must be in"));
    assert!(refused("{\"n_layer\": 4000000000}").contains("n_layer must be in"));
    assert!(refused("{\"n_layer\": 100000}").contains("n_layer must be in 1 ..= 1024"));
    assert!(refused("{\"resid_pdrop\": 7}").contains("0 ..= 1"));
    assert!(refused("{\"activation_function\": \"sin\"}").contains("unknown variant"));

    // An index that leads out of the folder, or holds no names.
    let index = made.path().join("model.safetensors.index.json");
    fs::write(&index, "{\"weight_map\": {\"wte.weight\": \"../other.safetensors\"}}").unwrap();
    assert!(refused("{}").contains("expected the name of a file in this folder"));
    fs::write(&index, "{\"weight_map\": {\"wte.weight\": 3}}").unwrap();
    assert!(refused("{}").contains("expected names of files in weight_map"));
    fs::write(&index, "[]").unwrap();
    assert!(refused("{}").contains("expected an object weight_map"));
}

#[test]
fn old_names_of_torchvision_are_brought_up_to_date() {
    let rng = &mut Rng::seed(1);
    let trained = DenseNet::new(4, &[1, 1], 8).num_classes(2).build(rng).unwrap();
    let old = trained.state_dict().renamed(&|name| {
        let name = name.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.");
        Some(name.replace(".conv1.", ".conv.1.").replace(".conv2.", ".conv.2."))
    });
    let mut fresh = DenseNet::new(4, &[1, 1], 8).num_classes(2).blank().unwrap();
    load_state(&mut fresh, old.unwrap()).unwrap();
    assert_eq!(fresh.state_dict(), trained.state_dict());

    let trained = SwinTransformer::new(4, [1], [2]).num_classes(2).build(rng).unwrap();
    let mut state = trained.state_dict();
    let buffer = "features.1.0.attn.relative_position_index";
    state.insert(buffer, Tensor::<i64>::zeros([49 * 49]));
    let mut fresh = SwinTransformer::new(4, [1], [2]).num_classes(2).blank().unwrap();
    load_state(&mut fresh, state).unwrap();
    assert_eq!(fresh.state_dict(), trained.state_dict());
}

#[test]
fn a_network_goes_to_a_file_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet.safetensors");
    let trained = ResNet::resnet18().planes(4).num_classes(3).build(&mut Rng::seed(3)).unwrap();
    dendra_nn::save(&trained, &path).unwrap();
    let mut fresh = ResNet::resnet18().planes(4).num_classes(3).blank().unwrap();
    load_state(&mut fresh, StateFile::read(&path).unwrap().state).unwrap();
    assert_eq!(fresh.state_dict(), trained.state_dict());
}
