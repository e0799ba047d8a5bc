//! The named tensors of a file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dendra_autograd::{Parameters, StateDict};
use dendra_nn::Dtype;
use dendra_tensor::{AnyTensor, Error, Float, Result, Shape};
use serde_json::Value;

use crate::values::{Changed, Step, Values};

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// safetensors: one file, or several with an index.
    Safetensors,
    /// The files of `torch.save`: `.pt`, `.pth` or `.bin`.
    PyTorch,
    /// `.npy` or `.npz`.
    NumPy,
    /// The format of llama.cpp.
    Gguf,
    /// The HDF5 files of Keras, `.keras`, `.weights.h5` or `.h5`, and any other
    /// HDF5 file of numbers.
    Keras,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
            Self::NumPy => "NumPy",
            Self::Gguf => "GGUF",
            Self::Keras => "Keras (HDF5)",
        })
    }
}

/// A tensor of a file, whose values are read on demand.
#[derive(Clone, Debug)]
pub struct Weight {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) stored: String,
    pub(crate) values: Arc<dyn Values>,
    /// The position of the values in the file, for formats in which tensors
    /// share them.
    pub(crate) shared: Option<(String, u64)>,
}

impl Weight {
    /// A tensor of a file.
    pub(crate) fn new(
        name: impl Into<String>,
        shape: Shape,
        stored: impl Into<String>,
        values: impl Values + 'static,
    ) -> Self {
        let (name, stored) = (name.into(), stored.into());
        Self { name, shape, stored, values: Arc::new(values), shared: None }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type in the file, such as `"f32"`, `"bf16"` or `"q4_k"`.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// Reads the values. Floats of 16 and 8 bits and quantised elements become
    /// `f32`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or was changed since it was opened, or
    /// tensors do not support the element type.
    pub fn tensor(&self) -> Result<AnyTensor> {
        Ok(self.tensor_as_stored()?.widened())
    }

    /// Like [`tensor`](Self::tensor), except that floats of 16 bits keep their
    /// type, and so take half of the memory.
    ///
    /// # Errors
    ///
    /// Those of [`tensor`](Self::tensor).
    pub fn tensor_as_stored(&self) -> Result<AnyTensor> {
        let tensor = self.values.read().map_err(|error| within(error, &self.name))?;
        if *tensor.shape() != self.shape {
            let message = format!("expected shape {}, got {}", self.shape, tensor.shape());
            return Err(Error::data(self.name.clone(), message));
        }
        Ok(tensor)
    }

    /// The same tensor after a change of layout.
    pub(crate) fn changed(&self, step: Step) -> Self {
        let old = &self.shape;
        let shape = match &step {
            Step::Permute(axes) => axes.iter().map(|&axis| old[axis as usize]).collect(),
            Step::Reshape(shape) => Shape::from(shape.clone()),
            Step::Select(axis, indices) => {
                let mut shape = old.to_vec();
                shape[*axis as usize] = indices.len();
                Shape::from(shape)
            }
        };
        let values = Arc::new(Changed { values: Arc::clone(&self.values), step });
        Self { shape, values, shared: None, ..self.clone() }
    }

    pub(crate) fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }
}

/// The name of an element type in tables.
pub(crate) fn spelled(dtype: Dtype) -> String {
    dtype.to_string().to_lowercase()
}

/// Adds the name of a tensor to an error, after the file.
fn within(error: Error, name: &str) -> Error {
    match error {
        Error::File { path, message } => Error::file(path, format!("tensor {name:?}: {message}")),
        Error::Io { .. } => error,
        error => error.within(format!("tensor {name:?}")),
    }
}

/// The named tensors of a file or folder. See the [crate](crate) for an
/// example.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    format: Format,
    weights: Vec<Weight>,
    indices: HashMap<String, usize>,
    metadata: BTreeMap<String, Value>,
}

impl Weights {
    /// The tensors in the order of the file; an error if a name occurs twice.
    pub(crate) fn new(
        path: &Path,
        format: Format,
        weights: Vec<Weight>,
        metadata: BTreeMap<String, Value>,
    ) -> Result<Self> {
        let mut indices = HashMap::new();
        for (index, weight) in weights.iter().enumerate() {
            if indices.insert(weight.name.clone(), index).is_some() {
                let message = format!("two tensors have the name {:?}", weight.name);
                return Err(Error::file(path, message));
            }
        }
        Ok(Self { path: path.to_owned(), format, weights, indices, metadata })
    }

    /// The same file with other tensors.
    pub(crate) fn with(&self, weights: Vec<Weight>) -> Result<Self> {
        Self::new(&self.path, self.format, weights, self.metadata.clone())
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The other content of the file: the metadata of safetensors and GGUF, the
    /// configuration of a Keras model, or the numbers and strings next to a
    /// PyTorch state dict.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// Iterates over the tensors, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Weight> {
        self.weights.iter()
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The tensor with this name, without its values.
    pub fn get(&self, name: &str) -> Option<&Weight> {
        self.indices.get(name).map(|&index| &self.weights[index])
    }

    /// Reads the tensor with this name.
    ///
    /// # Errors
    ///
    /// When there is no such tensor, and the errors of [`Weight::tensor`].
    pub fn tensor(&self, name: &str) -> Result<AnyTensor> {
        match self.get(name) {
            Some(weight) => weight.tensor(),
            None => Err(Error::file(&self.path, format!("the tensor {name:?} is missing"))),
        }
    }

    /// Reads all tensors.
    ///
    /// # Errors
    ///
    /// The errors of [`Weight::tensor`].
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        for weight in &self.weights {
            state.insert(weight.name.clone(), weight.tensor()?);
        }
        Ok(state)
    }

    /// Like [`state_dict`](Self::state_dict), except that floats of 16 bits keep
    /// their type. A model of `f32` loads them too.
    ///
    /// # Errors
    ///
    /// The errors of [`Weight::tensor`].
    pub fn state_dict_as_stored(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        for weight in &self.weights {
            state.insert(weight.name.clone(), weight.tensor_as_stored()?);
        }
        Ok(state)
    }

    /// Loads all tensors into a model, whose names must be the same.
    ///
    /// # Errors
    ///
    /// The errors of [`Weight::tensor`] and of [`Parameters::load_state_dict`]:
    /// one error lists all missing, unexpected and mismatched tensors, and the
    /// model is unchanged.
    pub fn load_into<T: Float>(&self, model: &mut (impl Parameters<T> + ?Sized)) -> Result<()> {
        let loaded = model.load_state_dict(&self.state_dict_as_stored()?);
        loaded.map_err(|error| error.within(self.path.display().to_string()))
    }

    /// Renames the tensors; `rename` returns the new name, or `None` to drop
    /// the tensor. No values are read.
    ///
    /// # Errors
    ///
    /// When two tensors get the same name.
    pub fn renamed(&self, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let renamed = |weight: &Weight| rename(&weight.name).map(|name| weight.named(name));
        self.with(self.weights.iter().filter_map(renamed).collect())
    }
}

/// A table of the tensors with name, shape and element type.
impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes: Vec<String> = self.weights.iter().map(|w| w.shape.to_string()).collect();
        let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        let names = width(&mut self.weights.iter().map(|w| w.name.chars().count()));
        let middle = width(&mut shapes.iter().map(String::len));
        for (weight, shape) in self.weights.iter().zip(&shapes) {
            writeln!(f, "{:names$}  {shape:middle$}  {}", weight.name, weight.stored)?;
        }
        let elements: u128 = self.weights.iter().map(|w| w.shape.elements() as u128).sum();
        write!(f, "{} tensors, {elements} elements, {}", self.weights.len(), self.format)
    }
}
