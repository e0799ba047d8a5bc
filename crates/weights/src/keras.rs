//! Keras files: HDF5, alone or in a `.keras` archive.

use std::collections::BTreeMap;

use dendra_tensor::Result;
use serde_json::Value;

use crate::archive::Archive;
use crate::open::Contents;
use crate::source::Source;
use crate::weights::{Format, Weight, spelled};
use crate::{hdf5, json};

/// The name of the weights in the archive.
pub(crate) const WEIGHTS: &str = "model.weights.h5";

/// The name of the configuration of the model in the archive.
const CONFIG: &str = "config.json";

/// The largest length of a configuration, in bytes.
const MOST_CONFIG: u64 = 1 << 24;

/// The key of the configuration in the metadata, which is also the attribute
/// that contains it in files of Keras 2.
pub(crate) const MODEL_CONFIG: &str = "model_config";

/// Reads datasets under their paths. The metadata contains the attributes of
/// groups under the path of the group, `@` and the name.
pub(crate) fn read_hdf5(source: &Source) -> Result<Contents> {
    let tree = hdf5::read(source)?;
    let mut weights = Vec::with_capacity(tree.datasets.len());
    for (path, dataset) in tree.datasets {
        let hdf5::Dataset { shape, dtype, values } = dataset;
        let stored = spelled(dtype);
        weights.push(Weight { name: path, shape, stored, values, shared: None });
    }
    let mut metadata = BTreeMap::new();
    for (path, attributes) in tree.attributes {
        for (name, text) in attributes {
            let key = if path.is_empty() { name } else { format!("{path}@{name}") };
            let value = match key == MODEL_CONFIG {
                true => json::parse(text.as_bytes()).map_err(|error| source.wrong(error))?,
                false => Value::String(text),
            };
            metadata.insert(key, value);
        }
    }
    Ok(Contents { format: Format::Keras, weights, metadata })
}

pub(crate) fn read_archive(archive: &Archive) -> Result<Contents> {
    let mut contents = read_hdf5(&archive.whole(WEIGHTS)?)?;
    if archive.has(CONFIG) && archive.length(CONFIG)? <= MOST_CONFIG {
        let config = archive.whole(CONFIG)?;
        let parsed = json::parse(&config.read(0, config.length())?);
        let parsed = parsed.map_err(|error| config.wrong(format!("{CONFIG}: {error}")))?;
        contents.metadata.insert(MODEL_CONFIG.to_owned(), parsed);
    }
    Ok(contents)
}
