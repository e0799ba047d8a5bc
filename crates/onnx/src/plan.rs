//! A graph as a list of steps over numbered slots.

use std::collections::BTreeMap;

use crate::ops::Operator;
use crate::proto::Attribute;
use crate::tensor::TypedTensor;
use crate::value::Value;

/// A graph that is ready to run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The number of values.
    pub(crate) slots: usize,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) constants: Vec<(usize, Value)>,
    /// Slots and the indices of the model's parameters in them.
    pub(crate) parameters: Vec<(usize, usize)>,
    /// Slots of the surrounding graph and of this one.
    pub(crate) captures: Vec<(usize, usize)>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    /// The name of the node, or of its first output.
    pub(crate) name: String,
    pub(crate) operator: String,
    /// The version of the operator set.
    pub(crate) version: i64,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    pub(crate) attributes: BTreeMap<String, Setting>,
    pub(crate) graphs: BTreeMap<String, Plan>,
    /// The slots that no later step reads.
    pub(crate) last: Vec<usize>,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Action {
    Operator(&'static Operator),
    /// A function of the model.
    Function(Box<Plan>),
}

/// The value of an attribute that is no graph.
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
    /// Makes a slot the only output and removes what it does not depend on.
    /// Returns the indices of the parameters that are left, which are renumbered.
    pub(crate) fn cut(&mut self, output: usize) -> Vec<usize> {
        let mut is_needed = vec![false; self.slots];
        is_needed[output] = true;
        let mut kept = Vec::new();
        while let Some(step) = self.steps.pop() {
            if !step.outputs.iter().flatten().any(|&slot| is_needed[slot]) {
                continue;
            }
            let captures = step.graphs.values().flat_map(|plan| plan.captures.iter());
            let read = step.inputs.iter().flatten().chain(captures.map(|(outer, _)| outer));
            read.for_each(|&slot| is_needed[slot] = true);
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

    /// Notes in each step which values no later step reads.
    pub(crate) fn free_early(&mut self) {
        let mut is_read = vec![false; self.slots];
        for &slot in &self.outputs {
            is_read[slot] = true;
        }
        for step in self.steps.iter_mut().rev() {
            let captures = step.graphs.values().flat_map(|plan| plan.captures.iter());
            let read = step.inputs.iter().flatten().chain(captures.map(|(outer, _)| outer));
            let read = read.chain(step.outputs.iter().flatten());
            let mut last = Vec::new();
            for &slot in read {
                if !std::mem::replace(&mut is_read[slot], true) {
                    last.push(slot);
                }
            }
            step.last = last;
        }
    }
}
