//! From a trained network to one of integers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dendra_autograd::{AnyTensor, StateDict};
use dendra_nn::{Model, NodeKind, Output, Trace};
use dendra_tensor::{Error, Result, Tensor, Tensors};

use crate::affine::SEVEN_BITS;
use crate::few_bits::FewBits;
use crate::layers::{Found, Kind, Layer, find};
use crate::observe::{Histogram, Observer};
use crate::plan::Plan;
use crate::quantised::{LayerState, Quantised};
use crate::weights::{LayerWeights, folded};

/// What becomes integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// Weights and activations; the ranges of the activations are those observed
    /// on a data set. The fastest scheme.
    Static,
    /// Weights and activations; the range of an activation is that of each sample
    /// when the network runs, so no data set is needed. Activations are floats
    /// between layers.
    Dynamic,
    /// The weights of linear layers alone, as `bf16`: activations stay floats. The
    /// range of weights is that of `f32`, so no layer is too sensitive.
    WeightsIn16Bits,
    /// The weights of linear layers alone, in 8 bits: activations stay floats.
    WeightsIn8Bits,
    /// The weights of linear layers alone, in 4 bits.
    WeightsIn4Bits,
}

impl Scheme {
    /// The bits of weights that are multiplied with floats.
    pub(crate) fn few_bits(self) -> Option<u8> {
        match self {
            Self::Static | Self::Dynamic => None,
            Self::WeightsIn16Bits => Some(16),
            Self::WeightsIn8Bits => Some(8),
            Self::WeightsIn4Bits => Some(4),
        }
    }
}

/// Makes a [`Quantised`] network of a trained one.
///
/// Linear layers and convolutions (of one group, or with one filter for each
/// channel) get integer weights, with a unit for each filter; a batch
/// normalisation after one is folded into them, and ReLU, ReLU6 and clamps cost
/// nothing. Max pooling, changes of shape and sums, such as those of residual
/// blocks, keep bytes. Everything else is computed with floats.
///
/// ```
/// use dendra_nn::Sequential;
/// use dendra_quant::{Quantizer, Scheme};
/// use dendra_tensor::{Rng, Tensor};
///
/// let rng = &mut Rng::seed(1);
/// let model = Sequential::input([4]).dense(16).relu().dense(3).build(rng)?;
/// let x = Tensor::<f32>::normal([64, 4], 0.0, 1.0, rng);
/// let mut quantizer = Quantizer::of(&model, &x)?;
/// quantizer.observe(&x)?;
/// let quantised = quantizer.finish(Scheme::Static)?;
/// assert_eq!(quantised.layers().count(), 2);
/// assert_eq!(*quantised.predict(&x)?.shape(), [64, 3]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Quantizer {
    trace: Arc<Trace<f32>>,
    state: StateDict,
    metadata: BTreeMap<String, String>,
    layers: Vec<Layer>,
    observer: Observer,
    /// The largest integer weight.
    largest: f32,
    float_layers: BTreeSet<String>,
    /// The distributions of the values whose ranges may be needed.
    seen: BTreeMap<usize, Histogram>,
    /// Ranges that are not observed, such as those that training found.
    given: BTreeMap<usize, [f32; 2]>,
    samples: usize,
}

impl Quantizer {
    /// Prepares a network. `example` is a batch of its inputs; see
    /// [`Trace::of`].
    ///
    /// # Errors
    ///
    /// When the model cannot be traced, or has no layer that can be computed with
    /// integers.
    pub fn of<I: Tensors, M: Model<I>>(model: &M, example: &I) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        let trace = Trace::of(model, example)?;
        Self::of_trace(trace, model.state_dict(), model.metadata())
    }

    /// As [`of`](Self::of), for the trace of any function of a model with this
    /// state.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_trace(
        trace: Trace<f32>,
        state: StateDict,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self> {
        let (found, _) = find(&trace);
        let layers = found.into_iter().filter_map(|(_, found)| match found {
            Found::Layer(layer) => Some(layer),
            _ => None,
        });
        let layers: Vec<Layer> = layers.collect();
        if layers.is_empty() {
            let message = "the model has no linear layer and no convolution";
            return Err(Error::argument("Quantizer", message));
        }
        let plan = Plan::of(&trace, true, &|_| true)?;
        let mut wanted = plan.observed();
        // Where a layer stays float, the values beside it are observed, too.
        for layer in &layers {
            wanted.extend([layer.input, layer.output]);
        }
        let seen = wanted.into_iter().map(|slot| (plan.seen_at(slot), Histogram::new())).collect();
        Ok(Self {
            trace: Arc::new(trace),
            state,
            metadata,
            layers,
            observer: Observer::MinMax,
            largest: SEVEN_BITS,
            float_layers: BTreeSet::new(),
            seen,
            given: BTreeMap::new(),
            samples: 0,
        })
    }

    /// Sets how ranges follow from observed values; [`Observer::MinMax`] without
    /// this.
    pub fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }

    /// Makes weights integers of −127 ..= 127 instead of −63 ..= 63. They are twice
    /// as fine, and the products slower on CPUs whose widest instructions are
    /// those of AVX2, where sums have to be widened more often. The results are the
    /// same on all CPUs with either.
    pub fn use_all_bits_of_weights(&mut self) {
        self.largest = 127.0;
    }

    /// The paths of the layers that can have integer weights, in the order of
    /// computation.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|layer| layer.name.as_str())
    }

    /// Leaves layers as they are, such as those to which the outputs are most
    /// sensitive.
    ///
    /// # Errors
    ///
    /// When there is no such layer.
    pub fn keep_float<N: AsRef<str>>(&mut self, names: impl IntoIterator<Item = N>) -> Result<()> {
        for name in names {
            let name = name.as_ref();
            if !self.layers().any(|known| known == name) {
                let known: Vec<&str> = self.layers().collect();
                let message =
                    format!("there is no layer {name:?}; the layers are {}", known.join(", "));
                return Err(Error::argument("Quantizer::keep_float", message));
            }
            self.float_layers.insert(name.to_owned());
        }
        Ok(())
    }

    /// Runs the network on a batch and keeps the distributions of its values.
    ///
    /// # Errors
    ///
    /// When the network does not accept the inputs, or a value is not finite.
    pub fn observe(&mut self, inputs: &impl Tensors) -> Result<()> {
        let given = inputs.tensors()?;
        self.samples += self.trace.samples_of(inputs)?;
        for (index, node) in self.trace.nodes().iter().enumerate() {
            if let NodeKind::Input { index: input } = &node.kind
                && let Some(histogram) = self.seen.get_mut(&index)
                && let Some(x) = given.get(*input).and_then(AnyTensor::downcast)
            {
                histogram.count(x)?;
            }
        }
        let seen = &mut self.seen;
        self.trace.replay_watched(inputs, &mut |value| match (
            seen.get_mut(&value.index),
            value.value.downcast(),
        ) {
            (Some(histogram), Some(x)) => histogram.count(x),
            _ => Ok(()),
        })?;
        Ok(())
    }

    /// Sets the range of the input of a layer, instead of the observed one, and of
    /// what that is computed from by pooling or another shape.
    pub(crate) fn give_range(&mut self, layer: &str, range: [f32; 2]) {
        let (found, _) = find(&self.trace);
        for known in self.layers.iter().filter(|known| known.name == layer) {
            let mut slot = Some(known.input);
            while let Some(output) = slot {
                self.given.insert(output, range);
                slot = found.iter().find_map(|(_, found)| match found {
                    Found::Pool(pool) if pool.output == output => Some(pool.input),
                    Found::Reshape(reshape) if reshape.output == output => Some(reshape.input),
                    _ => None,
                });
            }
        }
    }

    /// The network with integers.
    ///
    /// # Errors
    ///
    /// When [`Scheme::Static`] was chosen and nothing was observed, or no layer
    /// is left.
    pub fn finish(&self, scheme: Scheme) -> Result<Quantised> {
        self.finish_where(scheme, &|layer| !self.float_layers.contains(&layer.name))
    }

    pub(crate) fn finish_where(
        &self,
        scheme: Scheme,
        is_chosen: &dyn Fn(&Layer) -> bool,
    ) -> Result<Quantised> {
        let bits = scheme.few_bits();
        let is_whole =
            |layer: &Layer| is_chosen(layer) && (bits.is_none() || layer.kind == Kind::Linear);
        let chosen: Vec<&Layer> = self.layers.iter().filter(|layer| is_whole(layer)).collect();
        if chosen.is_empty() {
            let message = "no layer is left that becomes integers";
            return Err(Error::argument("Quantizer::finish", message));
        }
        if scheme == Scheme::Static && self.samples == 0 {
            let message = "call `observe` with batches of the data first: a static network needs \
                           the ranges of its activations";
            return Err(Error::argument("Quantizer::finish", message));
        }
        let mut layers = BTreeMap::new();
        for layer in chosen {
            let state = match bits {
                None => LayerState::Integers(LayerWeights::of(&self.trace, layer, self.largest)?),
                Some(bits) => {
                    let (weight, bias, shape) = folded(&self.trace, layer);
                    let filters = [shape[0]];
                    let weight = Tensor::from_vec(weight, shape)?;
                    LayerState::FewBits(
                        FewBits::of(&weight, bits)?,
                        Tensor::from_vec(bias, filters)?,
                    )
                }
            };
            layers.insert(layer.name.clone(), state);
        }
        let mut ranges = BTreeMap::new();
        if scheme == Scheme::Static {
            ranges.extend(self.seen.iter().map(|(&slot, seen)| (slot, seen.range(self.observer))));
            ranges.extend(self.given.iter().map(|(&slot, &range)| (slot, range)));
        }
        Quantised::assemble(
            Arc::clone(&self.trace),
            scheme,
            layers,
            ranges,
            &self.state,
            self.metadata.clone(),
        )
    }

    /// The output of the network without integers, for comparisons.
    ///
    /// # Errors
    ///
    /// When the network does not accept the inputs, or has several outputs.
    pub fn floats(&self, inputs: &impl Tensors) -> Result<Tensor<f32>> {
        match &self.reference(inputs)?[..] {
            [AnyTensor::F32(output)] => Ok(output.clone()),
            _ => Err(Error::argument("Quantizer::floats", "the network has several outputs")),
        }
    }

    /// All outputs of the network without integers.
    pub(crate) fn reference(&self, inputs: &impl Tensors) -> Result<Vec<AnyTensor>> {
        self.trace.replay(inputs)
    }
}

impl Quantizer {
    pub(crate) fn samples_in(&self, inputs: &impl Tensors) -> Result<usize> {
        self.trace.samples_of(inputs)
    }

    /// The number of weights of a layer.
    pub(crate) fn weights_of(&self, name: &str) -> usize {
        let layer = self.layers.iter().find(|layer| layer.name == name);
        match layer.map(|layer| &self.trace.nodes()[layer.weight].kind) {
            Some(NodeKind::Parameter { value, .. }) => value.len(),
            _ => 0,
        }
    }
}
