//! One run of a model as a graph. Values are identified by their memory.

use std::collections::HashMap;

use dendra_autograd::{AnyTensor, Entry, Event, Function, ParamId, Parameters, Path, Plain};
use dendra_autograd::{AsAny, Recording, Scope, Tape};
use dendra_tensor::ops::{Attribute, Attributes, Recorded};
use dendra_tensor::{Float, Memory, Result, Tensor};

/// A run of a model.
pub(super) struct Graph<T: Float> {
    pub(super) nodes: Vec<RawNode<T>>,
    pub(super) outputs: Vec<usize>,
    pub(super) scopes: Vec<Scope>,
}

/// A value of one run.
pub(super) struct RawNode<T: Float> {
    pub(super) kind: RawKind<T>,
    pub(super) value: AnyTensor,
    pub(super) parents: Vec<usize>,
    pub(super) attributes: Attributes,
    /// Attributes that are values of the graph.
    pub(super) links: Vec<(&'static str, usize)>,
    pub(super) scope: usize,
}

/// The kind of a value of one run.
pub(super) enum RawKind<T: Float> {
    Input(usize),
    /// A parameter or buffer, by its index in the state.
    State(usize),
    Constant,
    Operation(Box<dyn Recorded<T>>),
    Function(Box<dyn Function>),
}

/// A parameter or buffer of the model.
pub(super) struct State<T: Float> {
    pub(super) name: String,
    pub(super) value: Tensor<T>,
    /// For a parameter: its identity, and whether it is trainable.
    pub(super) param: Option<(ParamId, bool)>,
}

/// Returns the parameters and buffers of a model.
pub(super) fn state_of<T: Float>(model: &dyn Parameters<T>) -> Vec<State<T>> {
    let mut all = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        let (value, param) = match entry {
            Entry::Param(param) => (param.value(), Some((param.id(), param.is_trainable()))),
            Entry::Buffer(buffer) => (buffer.value(), None),
            Entry::Counter(_) => return,
        };
        all.push(State { name: path.as_str().to_owned(), value: value.clone(), param });
    });
    all
}

/// A function of tensors and a tape.
pub(super) type Run<'a, T> = &'a dyn Fn(&[AnyTensor], &Tape<T>) -> Result<Vec<AnyTensor>>;

/// Runs a model and returns the graph of all values that its outputs depend on.
pub(super) fn graph_of<T: Float>(
    state: &[State<T>],
    inputs: &[AnyTensor],
    run: Run<'_, T>,
) -> Result<Graph<T>> {
    let tape = Tape::tracing();
    let outputs = run(inputs, &tape)?;
    let Some(Recording { events, scopes, .. }) = tape.take_recording() else {
        unreachable!("the tape traces")
    };
    let mut builder = Builder { nodes: Vec::new(), known: HashMap::new(), state: HashMap::new() };
    for (index, input) in inputs.iter().enumerate() {
        builder.push(RawKind::Input(index), input.clone(), Vec::new());
    }
    for (index, entry) in state.iter().enumerate() {
        let Some(memory) = entry.value.memory() else { continue };
        builder.state.insert(memory, (index, entry.value.as_any()?));
    }
    let by_id: HashMap<ParamId, usize> = state
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((entry.param?.0, index)))
        .collect();
    // The node of each event.
    let mut values = Vec::with_capacity(events.len());
    for event in events {
        let node = match event {
            Event::Value(value) => builder.find_or_constant(&value.as_any()?),
            Event::Parameter { id, value } => builder.parameter(by_id.get(&id), &value.as_any()?),
            Event::Call { call, scope } => {
                let parents = call.parents().iter().flatten().map(|&event| values[event]).collect();
                let attributes = call.attributes();
                let links = builder.links(&attributes);
                let value = call.output().as_any()?;
                let node = builder.push(RawKind::Operation(call), value, parents);
                builder.nodes[node].attributes = attributes;
                builder.nodes[node].links = links;
                builder.nodes[node].scope = scope;
                node
            }
            Event::Function { function, inputs, output, scope } => {
                let parents = inputs.iter().map(|input| builder.find_or_constant(input)).collect();
                let attributes = function.attributes();
                let node = builder.push(RawKind::Function(function), output, parents);
                builder.nodes[node].attributes = attributes;
                builder.nodes[node].scope = scope;
                node
            }
        };
        values.push(node);
    }
    let outputs = outputs.iter().map(|output| builder.find_or_constant(output)).collect();
    Ok(Graph { nodes: builder.nodes, outputs, scopes }.without_dead(inputs.len()))
}

struct Builder<T: Float> {
    nodes: Vec<RawNode<T>>,
    known: HashMap<Memory, usize>,
    /// Parameters and buffers that have no node yet.
    state: HashMap<Memory, (usize, AnyTensor)>,
}

impl<T: Float> Builder<T> {
    fn push(&mut self, kind: RawKind<T>, value: AnyTensor, parents: Vec<usize>) -> usize {
        let node = self.nodes.len();
        if let Some(memory) = value.memory() {
            self.known.insert(memory, node);
        }
        let (attributes, links, scope) = (Attributes::new(), Vec::new(), 0);
        self.nodes.push(RawNode { kind, value, parents, attributes, links, scope });
        node
    }

    /// Finds the node with this memory, or adds a view of a node that contains it.
    fn find(&mut self, value: &AnyTensor) -> Option<usize> {
        let memory = value.memory()?;
        if let Some(&node) = self.known.get(&memory) {
            return Some(node);
        }
        if let Some((index, value)) = self.state.remove(&memory) {
            return Some(self.push(RawKind::State(index), value, Vec::new()));
        }
        let is_base = |base: &AnyTensor| value.offset_in(base);
        let base = self.nodes.iter().rposition(|node| is_base(&node.value).is_some());
        let base = match base {
            Some(base) => base,
            None => {
                let entry = self.state.iter().find(|(_, (_, base))| is_base(base).is_some());
                let memory = entry?.0.clone();
                let (index, value) = self.state.remove(&memory)?;
                self.push(RawKind::State(index), value, Vec::new())
            }
        };
        let offset = value.offset_in(&self.nodes[base].value)?;
        let view = Plain::View { shape: value.shape().clone(), strides: value.strides(), offset };
        let (attributes, scope) = (view.attributes(), self.nodes[base].scope);
        let node = self.push(RawKind::Function(Box::new(view)), value.clone(), vec![base]);
        self.nodes[node].attributes = attributes;
        self.nodes[node].scope = scope;
        Some(node)
    }

    /// Returns the node of the parameter with this index in the state. Without an
    /// index, the node is found by its memory.
    fn parameter(&mut self, index: Option<&usize>, value: &AnyTensor) -> usize {
        let Some(&index) = index else { return self.find_or_constant(value) };
        let is_it = |node: &RawNode<T>| matches!(node.kind, RawKind::State(of) if of == index);
        if let Some(node) = self.nodes.iter().position(is_it) {
            return node;
        }
        if let Some(memory) = value.memory() {
            self.state.remove(&memory);
        }
        self.push(RawKind::State(index), value.clone(), Vec::new())
    }

    fn find_or_constant(&mut self, value: &AnyTensor) -> usize {
        match self.find(value) {
            Some(node) => node,
            None => self.push(RawKind::Constant, value.clone(), Vec::new()),
        }
    }

    /// Returns the attributes that are values of the graph.
    fn links(&mut self, attributes: &Attributes) -> Vec<(&'static str, usize)> {
        let mut links = Vec::new();
        for (name, attribute) in attributes {
            let value = match attribute {
                Attribute::Indices(indices) => AnyTensor::I64(indices.clone()),
                Attribute::Mask(mask) => AnyTensor::Bool(mask.clone()),
                _ => continue,
            };
            if let Some(node) = self.find(&value)
                && !matches!(self.nodes[node].kind, RawKind::Constant)
            {
                links.push((*name, node));
            }
        }
        links
    }
}

impl<T: Float> Graph<T> {
    /// Removes the values that no output depends on. Inputs are kept.
    fn without_dead(mut self, inputs: usize) -> Self {
        let mut alive = vec![false; self.nodes.len()];
        alive[..inputs].fill(true);
        for &output in &self.outputs {
            alive[output] = true;
        }
        for (node, raw) in self.nodes.iter().enumerate().rev() {
            if alive[node] {
                let linked = raw.links.iter().map(|&(_, node)| node);
                for source in raw.parents.iter().copied().chain(linked) {
                    alive[source] = true;
                }
            }
        }
        let mut renumbered = Vec::with_capacity(alive.len());
        let mut count = 0;
        for &alive in &alive {
            renumbered.push(count);
            count += usize::from(alive);
        }
        let mut alive = alive.into_iter();
        self.nodes.retain(|_| alive.next() == Some(true));
        for node in &mut self.nodes {
            let links = node.links.iter_mut().map(|(_, node)| node);
            for source in node.parents.iter_mut().chain(links) {
                *source = renumbered[*source];
            }
        }
        for output in &mut self.outputs {
            *output = renumbered[*output];
        }
        self
    }
}
