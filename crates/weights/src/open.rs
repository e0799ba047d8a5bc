//! Opening files and folders and detecting their format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use dendra_tensor::{Error, Result};
use serde_json::Value;

use crate::archive::Archive;
use crate::source::{Source, in_memory};
use crate::weights::{Format, Weight, Weights};
use crate::{gguf, hdf5, json, keras, numpy, pytorch, safetensors};

/// The content of a file.
pub(crate) struct Contents {
    pub(crate) format: Format,
    pub(crate) weights: Vec<Weight>,
    pub(crate) metadata: BTreeMap<String, Value>,
}

/// The common names of a weight file or an index of several files, in the order
/// in which a folder is searched.
const NAMES: [&str; 7] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "adapter_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "model.weights.h5",
];

/// The extensions of weight files.
const ENDINGS: [&str; 9] = ["safetensors", "pt", "pth", "bin", "gguf", "keras", "h5", "npz", "npy"];

/// The largest length of an index of several files, in bytes.
const MOST_INDEX: u64 = 1 << 26;

impl Weights {
    /// Opens a weight file, an index of several files, or a folder with one of
    /// them. Only names and shapes are read, not values.
    ///
    /// A folder is one written by Hugging Face's `save_pretrained`, or one with
    /// a single weight file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has an unknown format, or is invalid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open(within_folder(path)?);
        }
        let source = Source::open(path)?;
        if first_byte(&source)? == Some(b'{') {
            return open_index(&source);
        }
        let Contents { format, weights, metadata } = read(&source)?;
        Self::new(path, format, weights, metadata)
    }

    /// Like [`open`](Self::open), for the bytes of a file in memory, such as
    /// those of `include_bytes!`.
    ///
    /// # Errors
    ///
    /// The errors of [`open`](Self::open).
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let path = in_memory();
        let Contents { format, weights, metadata } = read(&Source::memory(&path, bytes.into()))?;
        Self::new(&path, format, weights, metadata)
    }
}

/// The first byte that is not white space, which detects JSON.
fn first_byte(source: &Source) -> Result<Option<u8>> {
    Ok(source.head(64)?.into_iter().find(|byte| !byte.is_ascii_whitespace()))
}

fn read(source: &Source) -> Result<Contents> {
    let head = source.head(512)?;
    if head.starts_with(b"GGUF") {
        return gguf::read(source);
    }
    if head.starts_with(hdf5::SIGNATURE) {
        return keras::read_hdf5(source);
    }
    if head.starts_with(numpy::SIGNATURE) {
        return numpy::read_npy(source);
    }
    if head.starts_with(b"PK") {
        let archive = Archive::open(source)?;
        if archive.names().any(|name| name.ends_with("data.pkl")) {
            return pytorch::read_zip(source, &archive);
        }
        if archive.names().any(|name| name == keras::WEIGHTS) {
            return keras::read_archive(&archive);
        }
        if archive.names().any(|name| name.ends_with(".npy")) {
            return numpy::read_npz(source, &archive);
        }
        return Err(source.wrong(
            "a zip archive without weights: expected one of PyTorch (data.pkl), Keras \
             (model.weights.h5) or NumPy (.npy)",
        ));
    }
    if pytorch::begins_legacy(&head) {
        return pytorch::read_legacy(source);
    }
    if safetensors::begins(&head) {
        return safetensors::read(source);
    }
    let more = match head.get(257..262) {
        Some(b"ustar") => "; it is a tar archive, as PyTorch wrote before version 0.1.10",
        _ if head.starts_with(b"version https://git-lfs") => {
            "; it is a pointer to a file that `git lfs pull` downloads"
        }
        _ => "",
    };
    Err(source.wrong(format!(
        "not a weight file: expected safetensors, PyTorch, NumPy, GGUF or Keras{more}"
    )))
}

/// The weight file, or the index, in a folder.
fn within_folder(folder: &Path) -> Result<PathBuf> {
    if let Some(name) = NAMES.iter().find(|name| folder.join(name).is_file()) {
        return Ok(folder.join(name));
    }
    let failed = |error| Error::io(folder, error);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let is_index = path.to_string_lossy().ends_with(".index.json");
        if path.is_file() && (ENDINGS.contains(&ending) || is_index) {
            found.insert((!is_index, path));
        }
    }
    let indices = found.iter().filter(|(is_file, _)| !is_file).count();
    match found.first() {
        Some((_, path)) if found.len() == 1 || indices == 1 => Ok(path.clone()),
        None => Err(Error::file(folder, "expected a weight file in this folder, found none")),
        Some(_) => {
            let names: Vec<_> = found.iter().filter_map(|(_, path)| path.file_name()).collect();
            let message = format!("expected one weight file, found {names:?}: open one of them");
            Err(Error::file(folder, message))
        }
    }
}

/// Opens several files by an index that lists the file of each tensor.
fn open_index(source: &Source) -> Result<Weights> {
    if source.length() > MOST_INDEX {
        return Err(source.wrong(format!("an index of {} bytes is too long", source.length())));
    }
    let index = json::parse(&source.read(0, source.length())?).map_err(|e| source.wrong(e))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(source.wrong("expected an index of weights, got JSON without `weight_map`"));
    };
    let folder = source.path().parent().unwrap_or(Path::new(""));
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in map {
        let file =
            file.as_str().ok_or_else(|| source.wrong("expected file names in `weight_map`"))?;
        // An index of unknown origin must not open files outside its folder.
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(source.wrong(format!("{file:?} is not in the folder of the index")));
        }
        names.entry(file).or_default().insert(name);
    }
    let (mut format, mut weights) = (Format::Safetensors, Vec::new());
    let mut absent = Vec::new();
    for (file, mut expected) in names {
        let contents = read(&Source::open(&folder.join(file))?)?;
        format = contents.format;
        weights.extend(contents.weights.into_iter().filter(|w| expected.remove(w.name())));
        absent.extend(expected.into_iter().map(|name| format!("{name} (in {file})")));
    }
    if !absent.is_empty() {
        return Err(source.wrong(format!("tensors are missing: {}", shortened(&absent))));
    }
    let metadata = index.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    Weights::new(source.path(), format, weights, metadata.into_iter().collect())
}

/// The first names of a list that may be long.
pub(crate) fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=20 => shown,
        more => format!("{shown} and {} more", more - 20),
    }
}
