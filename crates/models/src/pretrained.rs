//! Pretrained networks: settings and weights from a folder in the layout of
//! Hugging Face, and from files with torchvision's names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dendra_autograd::{Entry, Parameters, Path as StatePath, StateDict};
use dendra_nn::StateFile;
use dendra_tensor::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A network that can be read from a folder with `config.json` and weights.
pub trait Pretrained: Parameters + Sized {
    /// The content of `config.json`.
    type Config: DeserializeOwned;

    /// The accepted values of `model_type` in `config.json`.
    const MODEL_TYPES: &'static [&'static str];

    /// The prefix of the names of the body. Files with another head than this
    /// network's, or without one, may have or lack it.
    const BASE: &'static str;

    /// The names of parameters that are tied to others and that the network
    /// does not contain itself.
    const TIED: &'static [&'static str];

    /// Makes the network without values.
    ///
    /// # Errors
    ///
    /// When a setting is invalid.
    fn blank(config: &Self::Config) -> Result<Self>;

    /// Reads the network from a folder with `config.json` and
    /// `model.safetensors`, or the files in `model.safetensors.index.json`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, belongs to another kind of network, or has
    /// other names or shapes than the network; the error lists these.
    fn from_pretrained(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG);
        let config = read_config(&path, Self::MODEL_TYPES)?;
        let config =
            Self::Config::deserialize(config).map_err(|error| wrong_json(&path, &error))?;
        let mut model = Self::blank(&config).map_err(|error| error.within(shown(&path)))?;
        let state = body_names::<Self>(&model, renamed(read_weights(folder)?)?)?;
        model.load_state_dict(&state).map_err(|error| shortened(error).within(shown(folder)))?;
        model.name_parameters();
        Ok(model)
    }
}

/// The settings of a network with a classifier, whose `config.json` contains
/// the names of the classes.
#[derive(Clone, Debug, Deserialize)]
pub struct Labels<C> {
    /// The settings of the body.
    #[serde(flatten)]
    pub model: C,
    /// The name of each class by its index.
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    #[serde(default)]
    num_labels: Option<usize>,
}

impl<C> Labels<C> {
    /// The number of classes; 2 if the file has no names, as in transformers.
    pub fn num_labels(&self) -> usize {
        match self.id2label.len() {
            0 => self.num_labels.unwrap_or(2),
            count => count,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The longest list of names in an error. A wrong size in the settings can make
/// all names of a thousand layers missing.
const MAX_NAMES: usize = 3000;

/// The longest message about a value, in bytes.
const MAX_VALUE: usize = 500;

/// Shortens the list of names in an error.
fn shortened(error: Error) -> Error {
    match error {
        Error::State { mut message } if message.len() > MAX_NAMES => {
            let end = (0..=MAX_NAMES).rev().find(|&end| message.is_char_boundary(end));
            let end = end.unwrap_or_default();
            let left_out = message[end..].matches(", ").count();
            message.truncate(end);
            Error::state(format!("{message} … and {left_out} more"))
        }
        error => error,
    }
}

/// The largest JSON file that is read, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// Reads a JSON file.
fn read_json(path: &Path) -> Result<Value> {
    let about = fs::metadata(path).map_err(|error| Error::io(path, error))?;
    if about.len() > MAX_TEXT {
        return Err(Error::file(path, format!("expected at most {MAX_TEXT} bytes of JSON")));
    }
    let text = fs::read(path).map_err(|error| Error::io(path, error))?;
    serde_json::from_slice(&text).map_err(|error| wrong_json(path, &error))
}

/// An error for a file, with long values shortened.
fn wrong_json(path: &Path, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    let end = message.char_indices().nth(MAX_VALUE).map_or(message.len(), |(end, _)| end);
    let more = if end < message.len() { " …" } else { "" };
    Error::file(path, format!("{}{more}", &message[..end]))
}

/// Reads the `config.json` of one of these kinds of networks.
fn read_config(path: &Path, kinds: &[&str]) -> Result<Value> {
    let mut config = read_json(path)?;
    if let Some(kind) = config.get("model_type").and_then(Value::as_str)
        && !kinds.contains(&kind)
    {
        let message = format!("expected the model_type {}, got {kind:?}", kinds.join(" or "));
        return Err(Error::file(path, message));
    }
    // Older files use this key for the kind of position scaling.
    if let Some(Value::Object(scaling)) = config.get_mut("rope_scaling")
        && let Some(kind) = scaling.get("type").cloned()
    {
        scaling.entry("rope_type").or_insert(kind);
    }
    Ok(config)
}

/// The file of the settings.
pub(crate) const CONFIG: &str = "config.json";
/// The file of the weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The index of the weight files, if there are several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Reads the tensors of `model.safetensors`, or of the files in its index.
fn read_weights(folder: &Path) -> Result<StateDict> {
    let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
    if whole.exists() || !index.exists() {
        return Ok(StateFile::read(whole)?.state);
    }
    let mut state = StateDict::new();
    for file in files_of_index(&index)? {
        for (name, tensor) in StateFile::read(folder.join(file))?.state.iter() {
            state.insert(name, tensor.clone());
        }
    }
    Ok(state)
}

/// The names of the weight files in an index. All must be in the folder of the
/// index.
pub(crate) fn files_of_index(index: &Path) -> Result<BTreeSet<String>> {
    let wrong = |message: &str| Error::file(index, message);
    let content = read_json(index)?;
    let map = content.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("expected an object weight_map"))?;
    let files: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let files = files.ok_or_else(|| wrong("expected names of files in weight_map"))?;
    // A name with a folder could refer to any file.
    match files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
        None => Ok(files.into_iter().map(str::to_owned).collect()),
        Some(file) => {
            Err(wrong(&format!("expected the name of a file in this folder, got {file:?}")))
        }
    }
}

/// State that follows from the settings of a network and that other libraries
/// store.
const DERIVED: [&str; 8] = [
    ".relative_position_index",
    ".relative_coords_table",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    ".attn.bias",
    ".attn.masked_bias",
    ".rotary_emb.inv_freq",
    "crossattention.bias",
];

/// Removes derived state, and converts the names in old files to the present
/// ones.
fn renamed(state: StateDict) -> Result<StateDict> {
    state.renamed(&|name| {
        if DERIVED.iter().any(|derived| name.ends_with(derived)) {
            return None;
        }
        let name = match name.rsplit_once('.') {
            // The first files of BERT were converted from TensorFlow.
            Some((layer, "gamma")) if layer.ends_with("LayerNorm") => format!("{layer}.weight"),
            Some((layer, "beta")) if layer.ends_with("LayerNorm") => format!("{layer}.bias"),
            _ => name.to_owned(),
        };
        // The first files of DenseNet and ViT in torchvision.
        let mut name = name;
        for (old, new) in [
            (".norm.1.", ".norm1."),
            (".norm.2.", ".norm2."),
            (".conv.1.", ".conv1."),
            (".conv.2.", ".conv2."),
        ] {
            if name.contains(".denselayer") {
                name = name.replace(old, new);
            }
        }
        if name.contains(".encoder_layer_") {
            name = name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.");
        }
        Some(name)
    })
}

/// Loads the state of a torchvision network, as written by
/// `safetensors.torch.save_file(model.state_dict(), path)`. Buffers that follow
/// from the settings are skipped, and the names in old files are converted to
/// the present ones.
///
/// # Errors
///
/// When names or shapes differ from those of the model. The error lists all of
/// them, and the model is unchanged.
pub fn load_state(model: &mut dyn Parameters, state: StateDict) -> Result<()> {
    model.load_state_dict(&renamed(state)?)
}

/// The names of the state of a model.
fn names(model: &dyn Parameters) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    model.visit(&mut StatePath::default(), &mut |path, entry| {
        if !matches!(entry, Entry::Counter(_)) {
            names.insert(path.as_str().to_owned());
        }
    });
    names
}

/// Converts the state to the names that the network uses for its body, without
/// tied parameters and without the heads of other networks.
fn body_names<M: Pretrained>(model: &M, state: StateDict) -> Result<StateDict> {
    let own = names(model);
    let prefix = format!("{}.", M::BASE);
    let is_of_body = |name: &str| name.starts_with(&prefix);
    let wanted = own.iter().any(|name| is_of_body(name));
    let given = state.iter().any(|(name, _)| is_of_body(name));
    let is_tied = |name: &str| M::TIED.contains(&name) && !own.contains(name);
    let state = state.renamed(&|name| match (wanted, given) {
        _ if is_tied(name) => None,
        // The prefix of the body is added to a body without a head.
        (true, false) if !own.contains(name) => Some(format!("{prefix}{name}")),
        (false, true) => name.strip_prefix(&prefix).map(str::to_owned),
        _ => Some(name.to_owned()),
    })?;
    // Parts of the body for another task, such as a pooler.
    let unused = |name: &str| {
        let name = name.strip_prefix(&prefix).unwrap_or(name);
        name.starts_with("pooler.") && !own.iter().any(|own| own.contains("pooler."))
    };
    state.renamed(&|name| (!unused(name)).then(|| name.to_owned()))
}
