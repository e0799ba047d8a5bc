//! A plan: a graph as a list of steps over numbered slots.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use dendra_tensor::kernels::gemm::Panels;

use crate::fast::Fused;
use crate::ops::Operator;
use crate::proto::Attribute;
use crate::tensor::TypedTensor;
use crate::value::Value;

/// A graph that is ready to run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The number of slots.
    pub(crate) slots: usize,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) constants: Vec<(usize, Value)>,
    /// Slots with the indices of the model's parameters.
    pub(crate) parameters: Vec<(usize, usize)>,
}

/// A node and the values that it reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) node: Arc<Node>,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    pub(crate) graphs: BTreeMap<String, Graph>,
    /// The slots that no later step reads.
    pub(crate) last: Vec<usize>,
}

/// The operator of a node, without its position in a graph.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) action: Action,
    /// The name of the node, or of its first output.
    pub(crate) name: String,
    pub(crate) operator: String,
    /// The version of the operator set.
    pub(crate) version: i64,
    pub(crate) attributes: BTreeMap<String, Setting>,
    /// The place for a constant weight in the layout of the kernels.
    pub(crate) packed: Option<Arc<Packed>>,
}

/// A constant weight in the layout of the kernels, which the first call fills.
pub(crate) type Packed = OnceLock<Vec<Panels<f32>>>;

impl Node {
    /// The same with another operator, and no place for a packed weight.
    pub(crate) fn with(&self, operator: &'static Operator) -> Self {
        Self {
            action: Action::Operator(operator),
            name: self.name.clone(),
            operator: self.operator.clone(),
            version: self.version,
            attributes: self.attributes.clone(),
            packed: None,
        }
    }
}

/// A graph that a node runs.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) plan: Arc<Plan>,
    /// Pairs of slots of the surrounding graph and of this one.
    pub(crate) captures: Vec<(usize, usize)>,
}

/// The action of a step.
#[derive(Debug)]
pub(crate) enum Action {
    Operator(&'static Operator),
    /// A function of the model.
    Function(Box<Plan>),
    /// Several fused nodes.
    Fused(Fused),
}

impl Step {
    /// The slots that the step reads, including those of its graphs.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        let captures = self.graphs.values().flat_map(|graph| &graph.captures);
        self.inputs.iter().flatten().copied().chain(captures.map(|&(outer, _)| outer))
    }

    /// The slots that the step writes.
    pub(crate) fn writes(&self) -> impl Iterator<Item = usize> {
        self.outputs.iter().flatten().copied()
    }
}

/// The value of an attribute that is not a graph.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(TypedTensor),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Setting {
    /// `None` for graphs.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        Some(match attribute {
            Attribute::None | Attribute::Graph(_) => return None,
            Attribute::Float(x) => Self::Float(*x),
            Attribute::Int(x) => Self::Int(*x),
            Attribute::Text(x) => Self::Text(x.clone()),
            Attribute::Tensor(x) => Self::Tensor(x.clone()),
            Attribute::Floats(x) => Self::Floats(x.clone()),
            Attribute::Ints(x) => Self::Ints(x.clone()),
            Attribute::Texts(x) => Self::Texts(x.clone()),
        })
    }
}

impl Plan {
    /// Makes a slot the only output and removes the steps that it does not
    /// depend on. Returns the indices of the remaining parameters, which are
    /// renumbered.
    pub(crate) fn cut(&mut self, output: usize) -> Vec<usize> {
        let mut is_needed = vec![false; self.slots];
        is_needed[output] = true;
        let mut kept = Vec::new();
        while let Some(step) = self.steps.pop() {
            if !step.writes().any(|slot| is_needed[slot]) {
                continue;
            }
            step.reads().for_each(|slot| is_needed[slot] = true);
            kept.push(step);
        }
        kept.reverse();
        self.steps = kept;
        self.outputs = vec![output];
        self.constants.retain(|(slot, _)| is_needed[*slot]);
        self.parameters.retain(|(slot, _)| is_needed[*slot]);
        let left: Vec<usize> = self.parameters.iter().map(|(_, index)| *index).collect();
        for (new, (_, index)) in self.parameters.iter_mut().enumerate() {
            *index = new;
        }
        self.free_early();
        left
    }

    /// Records in each step which values no later step reads.
    pub(crate) fn free_early(&mut self) {
        let mut is_read = vec![false; self.slots];
        for &slot in &self.outputs {
            is_read[slot] = true;
        }
        for step in self.steps.iter_mut().rev() {
            let mut last = Vec::new();
            for slot in step.reads().chain(step.writes()) {
                if !std::mem::replace(&mut is_read[slot], true) {
                    last.push(slot);
                }
            }
            step.last = last;
        }
    }
}
