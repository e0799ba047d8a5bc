//! Tokenizers against those of Python.

use std::path::{Path, PathBuf};

use dendra_models::{PaddingSide, Tokenizer};
use serde_json::from_value;

use crate::filling::read;

fn file(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    fixtures.join(format!("{name}.json"))
}

#[test]
fn ids_and_texts_are_those_of_python() {
    let fixture = read(include_str!("../fixtures/tokens.json"));
    let texts: Vec<String> = from_value(fixture["texts"].clone()).unwrap();
    for name in ["bpe", "word_piece", "unigram"] {
        let tokenizer = Tokenizer::from_file(file(name)).unwrap();
        let ids: Vec<Vec<i64>> = from_value(fixture[&format!("{name}/ids")].clone()).unwrap();
        let decoded: Vec<String> = from_value(fixture[&format!("{name}/decoded")].clone()).unwrap();
        for ((text, ids), decoded) in texts.iter().zip(&ids).zip(&decoded) {
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.decode(ids).unwrap(), decoded, "{name}: {text:?}");
        }
    }
}

#[test]
fn batches_are_padded_and_cut_off() {
    let fixture = read(include_str!("../fixtures/tokens.json"));
    let tokenizer = Tokenizer::from_file(file("word_piece")).unwrap();
    let pairs = [("who are you", "a friend")];
    let batch = tokenizer.encode_pairs(&pairs, PaddingSide::Right).unwrap();
    let [ids, types]: [Vec<i64>; 2] = from_value(fixture["word_piece/pair"].clone()).unwrap();
    assert_eq!(batch.input_ids.to_vec(), ids);
    assert_eq!(batch.token_type_ids.unwrap().to_vec(), types);

    let texts = ["a", "the king and the queen"];
    let batch = tokenizer.encode_batch(&texts, PaddingSide::Right).unwrap();
    let mask = batch.attention_mask.unwrap();
    let row = &batch.input_ids.to_vec()[..mask.shape()[1]];
    assert_eq!(row[..3], tokenizer.encode("a").unwrap());
    assert!(row[3..].iter().all(|&id| id == tokenizer.padding_id()));
    assert_eq!(tokenizer.padding_id(), tokenizer.token_to_id("[PAD]").unwrap());

    let short = tokenizer.clone().max_length(4).unwrap();
    let batch = short.encode_batch(&texts, PaddingSide::Left).unwrap();
    assert_eq!(*batch.input_ids.shape(), [2, 4]);
    assert!(!batch.attention_mask.unwrap().to_vec()[0]);
    assert_eq!(short.decode_batch(&batch.input_ids).unwrap()[0], "a");
    assert!(tokenizer.encode_batch(&[], PaddingSide::Left).is_err());
    assert!(tokenizer.decode(&[-1]).is_err());
}

#[test]
fn broken_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Tokenizer::from_pretrained(folder.path()).is_err());
    let path = folder.path().join("tokenizer.json");
    let whole = std::fs::read_to_string(file("bpe")).unwrap();
    for text in ["", "{}", "[1, 2]", "{\"model\": {\"type\": \"BPE\"}}", &whole[..2000]] {
        std::fs::write(&path, text).unwrap();
        assert!(Tokenizer::from_pretrained(folder.path()).is_err(), "{text:.40}");
    }
}
