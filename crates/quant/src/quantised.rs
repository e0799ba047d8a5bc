//! A network with integer weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_autograd::{AnyTensor, Entry, EntryMut, Parameters, Path, StateDict, Tape, Var};
use dendra_nn::{Model, NodeKind, Trace};
use dendra_tensor::{Error, Result, Tensor, Tensors};

use crate::affine::Affine;
use crate::engine::Engine;
use crate::few_bits::FewBits;
use crate::layers::Layer;
use crate::plan::{Plan, Step};
use crate::quantizer::Scheme;
use crate::weights::LayerWeights;
use crate::work::{Dynamic, Static, Work};

/// The weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LayerState {
    Integers(LayerWeights),
    /// With the bias.
    FewBits(FewBits, Tensor<f32>),
}

impl LayerState {
    /// The most elements that it can stand for: its weights, and six numbers for
    /// each filter.
    pub(crate) fn elements(&self) -> usize {
        let (weights, filters) = match self {
            Self::Integers(weights) => (weights.integers.len(), weights.filters()),
            Self::FewBits(weights, bias) => (weights.shape().iter().product(), bias.len()),
        };
        weights + 6 * filters + 1
    }
}

/// A network whose layers have integer weights: what [`Quantizer`](crate::Quantizer)
/// makes. Its outputs have the same bits on every CPU and for any number of
/// threads, as far as its layers are integers.
#[derive(Debug)]
pub struct Quantised {
    pub(crate) engine: Engine,
    pub(crate) scheme: Scheme,
    pub(crate) layers: BTreeMap<String, LayerState>,
    pub(crate) ranges: BTreeMap<usize, [f32; 2]>,
    /// The parameters and buffers that are still floats.
    pub(crate) rest: StateDict,
    /// The shapes of what was folded into integer weights, by name.
    pub(crate) folded: BTreeMap<String, Vec<usize>>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A layer of a [`Quantised`] network of [`Scheme::Static`], for those who write
/// it in other formats.
#[derive(Clone, Copy, Debug)]
pub struct IntegerLayer<'a> {
    /// The path of the layer.
    pub name: &'a str,
    /// Its weights.
    pub weights: &'a LayerWeights,
    /// The bias in the unit of the sums, that of the input times that of each
    /// filter.
    pub bias: &'a [i32],
    /// The unit of the input.
    pub input: Affine,
    /// The unit of the output; `None` where it is floats.
    pub output: Option<Affine>,
    /// The node of the trace that has the inputs of the layer.
    pub node: usize,
    /// The nodes of the trace that it replaces, in order: itself, a batch
    /// normalisation, an activation.
    pub nodes: &'a [usize],
    /// The range of the activation.
    pub limits: [f32; 2],
}

impl Quantised {
    pub(crate) fn assemble(
        trace: Arc<Trace<f32>>,
        scheme: Scheme,
        layers: BTreeMap<String, LayerState>,
        ranges: BTreeMap<usize, [f32; 2]>,
        state: &StateDict,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self> {
        let is_static = scheme == Scheme::Static;
        let plan = Plan::of(&trace, is_static, &|layer| layers.contains_key(&layer.name))?;
        let range_of = |slot: usize| {
            ranges
                .get(&plan.seen_at(slot))
                .copied()
                .ok_or_else(|| Error::argument("Quantised", format!("value {slot} has no range")))
        };
        let units = plan.units(&range_of)?;
        let (mut rest, mut folded) = (state.clone(), BTreeMap::new());
        let mut steps = Vec::with_capacity(plan.steps.len());
        for step in plan.steps {
            steps.push(match step {
                Step::Layer(layer, ()) => {
                    for name in replaced(&trace, &layer) {
                        if let Some(value) = rest.remove(&name) {
                            folded.insert(name, value.shape().to_vec());
                        }
                    }
                    let work = work(&layer, &layers[&layer.name], scheme, &units, &|slot| {
                        let [low, high] = ranges.get(&slot).copied().unwrap_or_default();
                        Affine::of_range(low, high)
                    });
                    let work = work.map_err(|error| error.within(layer.name.clone()))?;
                    Step::Layer(layer, work)
                }
                Step::Add(add) => Step::Add(add),
                Step::Pool(pool) => Step::Pool(pool),
                Step::Reshape(reshape) => Step::Reshape(reshape),
                Step::Float(node) => Step::Float(node),
            });
        }
        let engine = Engine::new(trace, steps, units);
        Ok(Self { engine, scheme, layers, ranges, rest, folded, metadata })
    }

    /// The scheme by which it was made.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The paths of the layers with integer weights.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.engine.steps.iter().filter_map(|step| match step {
            Step::Layer(layer, _) => Some(layer.name.as_str()),
            _ => None,
        })
    }

    /// The texts that the file of the network has besides its tensors, such as
    /// its architecture, its preprocessing and the names of its classes.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Adds a text to the file.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.metadata.insert(key.into(), value.into());
    }

    /// Computes the output for a batch of inputs.
    ///
    /// # Errors
    ///
    /// When the network does not accept the inputs, or has several outputs.
    pub fn predict(&self, inputs: &impl Tensors) -> Result<Tensor<f32>> {
        let mut outputs = self.run(inputs)?;
        match (outputs.pop(), outputs.is_empty()) {
            (Some(output), true) => Ok(output),
            _ => Err(Error::argument("Quantised::predict", "the network has several outputs")),
        }
    }

    /// Computes all outputs for a batch of inputs.
    ///
    /// # Errors
    ///
    /// When the network does not accept the inputs.
    pub fn run(&self, inputs: &impl Tensors) -> Result<Vec<Tensor<f32>>> {
        self.run_on(&inputs.tensors()?)
    }

    /// As [`run`](Self::run), on tensors of any element type.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_on(&self, inputs: &[AnyTensor]) -> Result<Vec<Tensor<f32>>> {
        self.engine.run(inputs)
    }

    /// The trace of the network, whose weights are floats.
    pub fn trace(&self) -> &Trace<f32> {
        &self.engine.trace
    }

    /// The layers with integer weights of a network of [`Scheme::Static`].
    pub fn integer_layers(&self) -> impl Iterator<Item = IntegerLayer<'_>> {
        self.engine.steps.iter().filter_map(|step| {
            let Step::Layer(layer, Work::Static(work)) = step else { return None };
            let LayerState::Integers(weights) = self.layers.get(&layer.name)? else { return None };
            Some(IntegerLayer {
                name: &layer.name,
                weights,
                bias: &work.bias,
                input: work.input,
                output: work.output,
                node: layer.nodes[0],
                nodes: &layer.nodes,
                limits: layer.limits,
            })
        })
    }

    /// The unit of a value of the trace that is bytes.
    pub fn unit(&self, node: usize) -> Option<Affine> {
        self.engine.units.get(node).copied().flatten()
    }
}

/// It has no parameters that can be trained.
impl Parameters for Quantised {
    fn visit<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&Path, Entry<'a, f32>)) {}

    fn visit_mut<'a>(&'a mut self, _: &mut Path, _: &mut dyn FnMut(&Path, EntryMut<'a, f32>)) {}
}

/// A model with one output, for metrics and reports.
impl<I: Tensors> Model<I> for Quantised {
    type Output = Var;

    fn run(&self, inputs: &I, tape: &Tape) -> Result<Var> {
        if tape.is_training() {
            let message = "integer weights cannot be trained: train the network of floats, if \
                           needed with `aware::prepare`";
            return Err(Error::argument("Quantised", message));
        }
        Ok(Var::new(self.predict(inputs)?))
    }
}

/// What a layer computes with.
fn work(
    layer: &Layer,
    state: &LayerState,
    scheme: Scheme,
    units: &[Option<Affine>],
    unit_of: &dyn Fn(usize) -> Affine,
) -> Result<Work> {
    Ok(match (state, scheme) {
        (LayerState::Integers(weights), Scheme::Static) => {
            let input = units[layer.input].unwrap_or_else(|| unit_of(layer.input));
            Work::Static(Static::of(layer, weights, input, units[layer.output])?)
        }
        (LayerState::Integers(weights), _) => Work::Dynamic(Dynamic::of(layer, weights)?),
        (LayerState::FewBits(weights, bias), _) => Work::FewBits(weights.clone(), bias.clone()),
    })
}

/// The parameters and buffers that integer weights replace.
fn replaced(trace: &Trace<f32>, layer: &Layer) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |index: usize| {
        if let NodeKind::Parameter { name, .. } = &trace.nodes()[index].kind {
            names.push(name.clone());
        }
    };
    add(layer.weight);
    layer.bias.iter().for_each(|&bias| add(bias));
    if let Some(norm) = layer.norm {
        let norm = &trace.nodes()[norm];
        norm.parents[1..].iter().for_each(|&parent| add(parent));
        let prefix = match norm.part.is_empty() {
            true => String::new(),
            false => format!("{}.", norm.part),
        };
        for buffer in ["running_mean", "running_var", "num_batches_tracked"] {
            names.push(format!("{prefix}{buffer}"));
        }
    }
    names
}
