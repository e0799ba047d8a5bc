//! Quantised networks as safetensors files.
//!
//! A layer `fc` has the tensors `fc.weight` (integers of the shape of the float
//! weight), `fc.weight.scale` and `fc.bias`; everything that is still float has
//! its own name. The metadata have the scheme, the ranges of the activations and
//! the architecture of a `Sequential`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dendra_autograd::{AnyTensor, StateDict};
use dendra_nn::{Model, Output, Sequential, StateFile, Trace};
use dendra_tensor::{Error, Result, Rng, Shape, Tensor, Tensors};
use serde::{Deserialize, Serialize};

use crate::few_bits::FewBits;
use crate::quantised::{LayerState, Quantised};
use crate::quantizer::Scheme;
use crate::weights::LayerWeights;

/// The metadata key of what a file has besides its tensors.
const KEY: &str = "dendra.quantised";
/// The format version that is written and read.
const VERSION: u64 = 1;
/// The most numbers that a layer of a network in a file may return for a sample.
/// The network runs when it is loaded, and a small file may ask for any picture.
const MOST_NUMBERS: usize = 1 << 28;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u64,
    scheme: String,
    /// The names of the operations of the trace, to which the ranges belong.
    operations: Vec<String>,
    /// The least and the largest value by the index of an operation.
    ranges: BTreeMap<usize, [f32; 2]>,
    /// The shapes of the weights by layer.
    layers: BTreeMap<String, Vec<usize>>,
    /// The shapes of the floats that the integers replace.
    folded: BTreeMap<String, Vec<usize>>,
}

const SCHEMES: [(&str, Scheme); 5] = [
    ("static", Scheme::Static),
    ("dynamic", Scheme::Dynamic),
    ("weights16", Scheme::WeightsIn16Bits),
    ("weights8", Scheme::WeightsIn8Bits),
    ("weights4", Scheme::WeightsIn4Bits),
];

fn operations(trace: &Trace<f32>) -> Vec<String> {
    trace.nodes().iter().map(|node| node.name().to_owned()).collect()
}

impl Quantised {
    /// The contents of the file that [`save`](Self::save) writes.
    ///
    /// # Errors
    ///
    /// When a tensor cannot be stored.
    pub fn to_file(&self) -> Result<StateFile> {
        let mut state = self.rest.clone();
        let mut layers = BTreeMap::new();
        for (name, layer) in &self.layers {
            let (integers, scales, bias, shape): (AnyTensor, _, _, Vec<usize>) = match layer {
                LayerState::Integers(LayerWeights { integers, scales, bias }) => {
                    let shape = integers.shape().to_vec();
                    (integers.clone().into(), Some(scales.clone()), bias, shape)
                }
                LayerState::FewBits(weights, bias) => {
                    let (data, scales) = weights.parts()?;
                    (data, scales, bias, weights.shape().to_vec())
                }
            };
            state.insert(format!("{name}.weight"), integers);
            if let Some(scales) = scales {
                state.insert(format!("{name}.weight.scale"), scales);
            }
            state.insert(format!("{name}.bias"), bias.clone());
            layers.insert(name.clone(), shape);
        }
        let scheme = SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme);
        let description = Description {
            version: VERSION,
            scheme: scheme.map_or("", |(name, _)| name).to_owned(),
            operations: operations(self.trace()),
            ranges: self.ranges.clone(),
            layers,
            folded: self.folded.clone(),
        };
        let text = serde_json::to_string(&description)
            .map_err(|error| Error::argument("Quantised::to_file", error.to_string()))?;
        let mut metadata = self.metadata.clone();
        metadata.insert(KEY.to_owned(), text);
        Ok(StateFile { state, metadata })
    }

    /// Writes the network to a safetensors file, of about a quarter of the size
    /// of that with floats.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_quant::{Quantised, Quantizer, Scheme};
    /// use dendra_tensor::{Rng, Tensor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("net.safetensors");
    /// let model = Sequential::input([8]).dense(16).relu().dense(3).build(&mut Rng::seed(1))?;
    /// let x = Tensor::<f32>::ones([2, 8]);
    /// let quantised = Quantizer::of(&model, &x)?.finish(Scheme::Dynamic)?;
    /// quantised.save(&path)?;
    /// assert_eq!(Quantised::load(&path)?.predict(&x)?, quantised.predict(&x)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_file()?.write(path)
    }

    /// Whether the metadata of a file are those of a quantised network.
    pub fn is_in(metadata: &BTreeMap<String, String>) -> bool {
        metadata.contains_key(KEY)
    }

    /// Reads a network that was made of a [`Sequential`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, or holds no architecture, see
    /// [`load_for`](Self::load_for), or when a layer returns more than 2²⁸ numbers
    /// for a sample.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_file(StateFile::read(path)?, path)
    }

    /// As [`load`](Self::load), of a file in memory; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_file(file: StateFile, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let contents = Contents::of(file, path)?;
        let floats =
            StateFile { state: contents.with_blanks(path)?, metadata: contents.metadata.clone() };
        let model = Sequential::from_file(floats, path)?;
        let shapes = model.layer_shapes().chain([model.input_shape()]);
        if let Some(shape) = shapes.max_by_key(|shape| shape.elements())
            && shape.elements() > MOST_NUMBERS
        {
            let message =
                format!("has a layer of shape {shape}: expected at most {MOST_NUMBERS} numbers");
            return Err(Error::file(path, message));
        }
        let shape: Shape = [2].into_iter().chain(model.input_shape().iter().copied()).collect();
        let trace = match model.takes_tokens() {
            true => Trace::of(&model, &Tensor::<i64>::zeros(shape))?,
            false => Trace::of(&model, &Tensor::<f32>::normal(shape, 0.0, 1.0, &mut Rng::seed(0)))?,
        };
        contents.into_network(trace, path)
    }

    /// Reads a network that was made of any model. `model` is of the same
    /// architecture, with any weights, and `example` a batch of its inputs.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, or is of another model.
    pub fn load_for<I: Tensors, M: Model<I>>(
        model: &mut M,
        example: &I,
        path: impl AsRef<Path>,
    ) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        let path = path.as_ref();
        let contents = Contents::of(StateFile::read(path)?, path)?;
        let state = contents.with_blanks(path)?;
        let place = |error: Error| error.within(path.display().to_string());
        model.load_state_dict(&state).map_err(place)?;
        contents.into_network(Trace::of(model, example)?, path)
    }
}

/// A file, read and compared with itself.
struct Contents {
    description: Description,
    scheme: Scheme,
    layers: BTreeMap<String, LayerState>,
    rest: StateDict,
    metadata: BTreeMap<String, String>,
}

impl Contents {
    fn of(file: StateFile, path: &Path) -> Result<Self> {
        let wrong = |message: String| Error::file(path, message);
        let StateFile { mut state, mut metadata } = file;
        let text = metadata
            .remove(KEY)
            .ok_or_else(|| wrong("is no quantised network of Dendra".to_owned()))?;
        let description: Description =
            serde_json::from_str(&text).map_err(|error| wrong(format!("{KEY}: {error}")))?;
        if description.version != VERSION {
            let found = description.version;
            return Err(wrong(format!("has format version {found}, expected {VERSION}")));
        }
        let scheme = SCHEMES.iter().find(|(name, _)| *name == description.scheme);
        let Some(&(_, scheme)) = scheme else {
            return Err(wrong(format!("has the unknown scheme {:?}", description.scheme)));
        };
        let mut layers = BTreeMap::new();
        for (name, shape) in &description.layers {
            let integers = state.remove(&format!("{name}.weight"));
            let scales = state.remove(&format!("{name}.weight.scale"));
            let bias = state.remove(&format!("{name}.bias"));
            let scales = match scales {
                Some(AnyTensor::F32(scales)) => Some(scales),
                None => None,
                Some(_) => return Err(wrong(format!("the units of layer {name} are not f32"))),
            };
            // Halves have no units.
            let has_units = scales.is_some() || scheme == Scheme::WeightsIn16Bits;
            let (Some(integers), Some(AnyTensor::F32(bias)), true) = (integers, bias, has_units)
            else {
                return Err(wrong(format!("lacks the weights of layer {name}")));
            };
            let filters = shape.first().copied().unwrap_or(0);
            let layer = match (integers, scales, scheme) {
                (AnyTensor::I8(integers), Some(scales), Scheme::Static | Scheme::Dynamic)
                    if integers.shape()[..] == shape[..] && *scales.shape() == [filters] =>
                {
                    LayerState::Integers(LayerWeights { integers, scales, bias: bias.clone() })
                }
                (data, scales, scheme) if shape.len() == 2 && scheme.few_bits().is_some() => {
                    let bits = scheme.few_bits().unwrap_or_default();
                    let weights = FewBits::from_parts(bits, shape[1], &(data, scales))
                        .ok()
                        .filter(|weights| weights.shape()[..] == shape[..])
                        .ok_or_else(|| {
                            wrong(format!("the weights of layer {name} do not fit {shape:?}"))
                        })?;
                    LayerState::FewBits(weights, bias.clone())
                }
                _ => {
                    return Err(wrong(format!("the weights of layer {name} do not fit {shape:?}")));
                }
            };
            if *bias.shape() != [filters] {
                return Err(wrong(format!("the bias of layer {name} does not fit {shape:?}")));
            }
            layers.insert(name.clone(), layer);
        }
        // What the integers replace was not larger than they are: two weights in a
        // byte, and a normalisation for each filter.
        let elements = |shape: &[usize]| {
            shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length))
        };
        let replaced = description
            .folded
            .values()
            .try_fold(0_usize, |sum, shape| sum.checked_add(elements(shape)?));
        let held: usize = layers.values().map(LayerState::elements).sum();
        if replaced.is_none_or(|replaced| replaced > held) {
            return Err(wrong("replaces more weights than it holds".to_owned()));
        }
        Ok(Self { description, scheme, layers, rest: state, metadata })
    }

    /// The state of the float network, with zeros that take no memory where the
    /// file has integers.
    fn with_blanks(&self, path: &Path) -> Result<StateDict> {
        let mut state = self.rest.clone();
        for (name, shape) in &self.description.folded {
            let is_counter = name.ends_with("num_batches_tracked");
            let shape = Shape::from(shape.clone());
            let blank = match is_counter {
                true => AnyTensor::from(Tensor::<i64>::scalar(0)),
                false => {
                    // A variance is not 0.
                    let value = if name.ends_with("running_var") { 1.0 } else { 0.0 };
                    let blank = Tensor::<f32>::scalar(value).broadcast_to(shape);
                    blank.map_err(|error| Error::file(path, format!("{name}: {error}")))?.into()
                }
            };
            state.insert(name.clone(), blank);
        }
        Ok(state)
    }

    fn into_network(self, trace: Trace<f32>, path: &Path) -> Result<Quantised> {
        let Self { description, scheme, layers, rest, metadata } = self;
        if operations(&trace) != description.operations {
            let message = "was made of a network with other operations";
            return Err(Error::file(path, message));
        }
        let names: Vec<String> = layers.keys().cloned().collect();
        let network = Quantised::assemble(
            Arc::new(trace),
            scheme,
            layers,
            description.ranges,
            &rest,
            metadata,
        );
        let mut network = network.map_err(|error| Error::file(path, error.to_string()))?;
        if let Some(name) = names.iter().find(|name| network.layers().all(|known| known != *name)) {
            return Err(Error::file(path, format!("the network has no layer {name}")));
        }
        network.folded = description.folded;
        Ok(network)
    }
}
