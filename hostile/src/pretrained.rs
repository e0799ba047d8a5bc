//! Folders of networks that others trained, of which one text is hostile.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use dendra_models::{
    BertForSequenceClassification, BertModel, DistilBertModel, GPT2LMHeadModel, LlamaForCausalLM,
    Pretrained,
};
use dendra_tensor::{Error, Result};
use tempfile::TempDir;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../crates/models/tests/fixtures/pretrained/", $name))
    };
}

/// A sound folder: a word that its settings have, its files, and what reads it.
struct Folder {
    word: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    read: fn(&Path) -> Result<()>,
}

fn read<M: Pretrained>(folder: &Path) -> Result<()> {
    M::from_pretrained(folder).map(drop)
}

/// A word of one is not part of the settings of those before.
const FOLDERS: [Folder; 5] = [
    Folder {
        word: "gpt2",
        files: &[
            ("config.json", fixture!("gpt2/config.json")),
            ("model.safetensors", fixture!("gpt2/model.safetensors")),
        ],
        read: read::<GPT2LMHeadModel>,
    },
    Folder {
        word: "llama",
        files: &[
            ("config.json", fixture!("llama_sharded/config.json")),
            (
                "model.safetensors.index.json",
                fixture!("llama_sharded/model.safetensors.index.json"),
            ),
            (
                "model-00001-of-00004.safetensors",
                fixture!("llama_sharded/model-00001-of-00004.safetensors"),
            ),
            (
                "model-00002-of-00004.safetensors",
                fixture!("llama_sharded/model-00002-of-00004.safetensors"),
            ),
            (
                "model-00003-of-00004.safetensors",
                fixture!("llama_sharded/model-00003-of-00004.safetensors"),
            ),
            (
                "model-00004-of-00004.safetensors",
                fixture!("llama_sharded/model-00004-of-00004.safetensors"),
            ),
        ],
        read: read::<LlamaForCausalLM>,
    },
    Folder {
        word: "distilbert",
        files: &[
            ("config.json", fixture!("distilbert/config.json")),
            ("model.safetensors", fixture!("distilbert/model.safetensors")),
        ],
        read: read::<DistilBertModel>,
    },
    Folder {
        word: "id2label",
        files: &[
            ("config.json", fixture!("bert_classifier/config.json")),
            ("model.safetensors", fixture!("bert_classifier/model.safetensors")),
        ],
        read: read::<BertForSequenceClassification>,
    },
    Folder {
        word: "",
        files: &[
            ("config.json", fixture!("bert/config.json")),
            ("model.safetensors", fixture!("bert/model.safetensors")),
        ],
        read: read::<BertModel>,
    },
];

/// The texts of sound folders.
pub(crate) fn sound() -> impl Iterator<Item = &'static str> {
    let files = FOLDERS.iter().flat_map(|folder| folder.files);
    let texts = files.filter(|(name, _)| name.ends_with(".json"));
    texts.map(|(_, text)| std::str::from_utf8(text).expect("JSON is UTF-8"))
}

/// The settings of a network, or the list of the files of its weights where there is
/// `weight_map` in it, with sound weights of that kind of network beside.
pub fn pretrained(bytes: &[u8]) -> Result<()> {
    thread_local! {
        static AROUND: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    let has = |word: &str| {
        word.is_empty() || bytes.windows(word.len()).any(|part| part == word.as_bytes())
    };
    let is_list = has("weight_map");
    let is_it = |folder: &&Folder| if is_list { folder.word == "llama" } else { has(folder.word) };
    let folder = FOLDERS.iter().find(is_it).expect("the last one takes all");
    let name = if is_list { "model.safetensors.index.json" } else { "config.json" };
    AROUND.with_borrow_mut(|around| {
        if around.is_none() {
            *around = Some(sound_folders()?);
        }
        let around = around.as_ref().expect("it was made").path();
        let place = around.join(format!("network{}", folder.word));
        let sound = folder.files.iter().find(|(known, _)| *known == name).expect("it has it").1;
        write(&place.join(name), bytes)?;
        let outcome = (folder.read)(&place);
        write(&place.join(name), sound)?;
        outcome
    })
}

fn sound_folders() -> Result<TempDir> {
    let around = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
    for folder in &FOLDERS {
        let place = around.path().join(format!("network{}", folder.word));
        fs::create_dir(&place).map_err(|error| Error::io(&place, error))?;
        for (name, content) in folder.files {
            write(&place.join(name), content)?;
        }
    }
    Ok(around)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).map_err(|error| Error::io(path, error))
}
