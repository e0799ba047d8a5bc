//! Fuses element-wise functions with the operator before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_tensor::Shape;

use super::Fused;
use super::chain::{Binary, Link, Source, Unary};
use super::lower::name;
use super::specialise::Known;
use crate::element::ElementType;
use crate::plan::{Action, Node, Setting, Step};

/// The largest number of functions between an element and its last use.
const LONGEST_DETOUR: usize = 12;

/// Operators whose output is a view of their input, which must not be
/// overwritten while they run.
const VIEWS: [&str; 10] = [
    "Cast",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Fuses steps in which each computes a value that only the next one reads.
pub(super) fn fuse(steps: Vec<Step>, known: &[Known], outputs: &[usize]) -> Vec<Step> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); known.len()];
    for (index, step) in steps.iter().enumerate() {
        for id in step.reads() {
            if readers[id].last() != Some(&index) {
                readers[id].push(index);
            }
        }
    }
    let mut is_output = vec![false; known.len()];
    outputs.iter().for_each(|&id| is_output[id] = true);
    let mut fuser =
        Fuser { steps: steps.into_iter().map(Some).collect(), known, readers, is_output };
    // If the outputs of two operators are added, the sum is fused with the
    // later one, whose output is still in the cache.
    for index in (0..fuser.steps.len()).rev() {
        fuser.after_operator(index);
    }
    for index in 0..fuser.steps.len() {
        fuser.alone(index);
    }
    fuser.steps.into_iter().flatten().collect()
}

struct Fuser<'a> {
    /// The steps; `None` for a step that was fused into another one.
    steps: Vec<Option<Step>>,
    known: &'a [Known],
    /// The steps that read each value.
    readers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
}

/// A chain of functions.
#[derive(Default)]
struct Chain {
    links: Vec<Link>,
    operands: Vec<usize>,
    /// The original steps of the functions.
    steps: Vec<usize>,
}

impl Chain {
    fn binary(&mut self, function: Binary, source: Source) {
        self.links.push(Link::Binary(function, source));
    }

    fn keeps(&self) -> bool {
        self.links.contains(&Link::Keep)
    }

    fn append(&mut self, other: Self) {
        let before = self.operands.len();
        self.links.extend(other.links.into_iter().map(|link| match link {
            Link::Binary(function, Source::Operand { index, inner, count }) => {
                Link::Binary(function, Source::Operand { index: index + before, inner, count })
            }
            link => link,
        }));
        self.operands.extend(other.operands);
        self.steps.extend(other.steps);
    }
}

impl Fuser<'_> {
    fn shape(&self, id: usize) -> Option<&Shape> {
        match self.known[id].form.as_ref()? {
            (ElementType::F32, shape) => Some(shape),
            _ => None,
        }
    }

    fn number(&self, id: usize) -> Option<f32> {
        let x = self.known[id].constant.as_ref()?.tensor().ok()?;
        let x = x.f32().ok().filter(|_| x.element() == ElementType::F32)?;
        x.value().to_vec().first().copied().filter(|_| x.value().len() == 1)
    }

    /// The only output of a step.
    fn output(&self, index: usize) -> Option<usize> {
        match self.steps[index].as_ref()?.outputs[..] {
            [Some(id)] => Some(id),
            _ => None,
        }
    }

    /// Fuses an operator that is not element-wise with the functions after it.
    fn after_operator(&mut self, index: usize) {
        let Some(output) = self.output(index) else { return };
        let step = self.steps[index].as_ref().expect("it has an output");
        let is_head = matches!(step.node.action, Action::Operator(_))
            && !VIEWS.contains(&name(&step.node))
            && step.graphs.is_empty()
            && self.shape(output).is_some()
            && step.inputs.iter().flatten().all(|&id| self.link(index, id).is_none());
        if !is_head {
            return;
        }
        let chain = self.follow(output);
        if !chain.links.is_empty() {
            let (head, inputs) = (step.node.clone(), step.inputs.clone());
            self.steps[index] = None;
            self.join(Some(head), inputs, chain);
        }
    }

    /// Fuses an element-wise function with those after it.
    fn alone(&mut self, index: usize) {
        let Some(step) = &self.steps[index] else { return };
        if self.output(index).is_none() || !matches!(step.node.action, Action::Operator(_)) {
            return;
        }
        let mut inputs: Vec<usize> = step.inputs.iter().flatten().copied().collect();
        // An input that no other step reads may be overwritten.
        inputs.sort_by_key(|&id| (self.known[id].constant.is_some(), self.readers[id].len()));
        let Some((input, mut chain)) =
            inputs.iter().find_map(|&id| Some((id, self.link(index, id)?)))
        else {
            return;
        };
        let is_last = self.readers[input].len() == 1 && !self.is_output[input];
        chain.append(self.follow(self.output(index).expect("one output")));
        if chain.steps.len() > 1 || is_last {
            self.join(None, vec![Some(input)], chain);
        }
    }

    /// Replaces the steps of a chain by one step.
    fn join(&mut self, head: Option<Arc<Node>>, mut inputs: Vec<Option<usize>>, chain: Chain) {
        let last = *chain.steps.last().expect("a chain has steps");
        let (mut node, mut outputs) = (None, Vec::new());
        let mut names: Vec<String> = head.iter().map(|node| node.operator.clone()).collect();
        for &index in &chain.steps {
            let step = self.steps[index].take().expect("a step that was found");
            names.push(step.node.operator.clone());
            outputs = step.outputs;
            node = Some(step.node);
        }
        let node = node.expect("a chain has steps");
        let head_inputs = if head.is_some() { inputs.len() } else { 1 };
        inputs.extend(chain.operands.iter().map(|&id| Some(id)));
        let fused = Fused { head, head_inputs, links: chain.links };
        let node = Node {
            packed: None,
            action: Action::Fused(fused),
            name: node.name.clone(),
            operator: names.join("+"),
            version: node.version,
            attributes: BTreeMap::new(),
        };
        let graphs = BTreeMap::new();
        let step = Step { node: Arc::new(node), inputs, outputs, graphs, last: Vec::new() };
        self.steps[last] = Some(step);
    }

    /// The functions after a value that is not read elsewhere.
    fn follow(&self, mut id: usize) -> Chain {
        let mut chain = Chain::default();
        while let Some(next) = self.next(id) {
            id = self.output(*next.steps.last().expect("it has steps")).expect("one output");
            chain.append(next);
        }
        chain
    }

    /// The only step that reads a value, or the steps up to its second reader.
    fn next(&self, id: usize) -> Option<Chain> {
        if self.is_output[id] {
            return None;
        }
        match self.readers[id][..] {
            [reader] => self.link(reader, id),
            [first, ..] => self.detour(id, first),
            [] => None,
        }
    }

    /// A chain that starts at a value and ends with the last of several
    /// functions of the value itself, such as x · σ(x).
    fn detour(&self, id: usize, first: usize) -> Option<Chain> {
        let mut chain = Chain { links: vec![Link::Keep], ..Chain::default() };
        let (mut at, mut reader, mut left) = (id, first, self.readers[id].len());
        for _ in 0..LONGEST_DETOUR {
            chain.append(self.link_to(reader, at, id)?);
            at = self.output(reader)?;
            left -= usize::from(self.readers[id].contains(&reader));
            if left == 0 {
                return Some(chain);
            }
            match self.readers[at][..] {
                [next] if !self.is_output[at] => reader = next,
                _ => return None,
            }
        }
        None
    }

    /// Converts a step to functions of the elements of an input and of a kept
    /// value.
    fn link_to(&self, index: usize, id: usize, kept: usize) -> Option<Chain> {
        let step = self.steps[index].as_ref()?;
        if let (Some(function), [Some(x), Some(y)]) = (function(&step.node), &step.inputs[..])
            && ([*x, *y] == [id, kept] || [*x, *y] == [kept, id])
        {
            self.fits(index, id)?;
            let mut chain = Chain { steps: vec![index], ..Chain::default() };
            chain.binary(if *x == id { function } else { turned(function) }, Source::Kept);
            return Some(chain);
        }
        let link = self.link(index, id)?;
        (!link.keeps() && !link.operands.contains(&kept)).then_some(link)
    }

    /// Whether the output of a step has the type and shape of one of its inputs.
    fn fits(&self, index: usize, id: usize) -> Option<()> {
        let output = self.output(index)?;
        (self.shape(output)? == self.shape(id)?).then_some(())
    }

    /// Converts a step to functions of the elements of one of its inputs.
    fn link(&self, index: usize, id: usize) -> Option<Chain> {
        let step = self.steps[index].as_ref()?;
        self.fits(index, id)?;
        let mut chain = Chain { steps: vec![index], ..Chain::default() };
        let node = &step.node;
        if let Some(function) = function(node) {
            let [Some(x), Some(y)] = step.inputs[..] else { return None };
            if x == y {
                chain.links.push(Link::Keep);
                chain.binary(function, Source::Kept);
                return Some(chain);
            }
            let (function, other) = if x == id { (function, y) } else { (turned(function), x) };
            let source = match self.number(other) {
                Some(number) => Source::Number(number),
                None => {
                    chain.operands.push(other);
                    spread(self.shape(other)?, self.shape(id)?)?
                }
            };
            chain.binary(function, source);
            return Some(chain);
        }
        if step.inputs[0] != Some(id) {
            return None;
        }
        let float = |name: &str, default: f32| match node.attributes.get(name) {
            Some(Setting::Float(x)) => *x,
            _ => default,
        };
        let unary = |function| vec![Link::Unary(function)];
        chain.links = match name(node) {
            "Abs" => unary(Unary::Abs),
            "Clip" => {
                let bound = |index: usize, name: &str, default| match step.inputs.get(index) {
                    Some(Some(bound)) => self.number(*bound),
                    _ => Some(float(name, default)),
                };
                let (low, high) =
                    (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
                unary(Unary::Clamp(low.min(high), high))
            }
            "Erf" => unary(Unary::Erf),
            "Exp" => unary(Unary::Exp),
            "Gelu" if !node.attributes.contains_key("approximate") => unary(Unary::Gelu),
            "HardSigmoid" => vec![
                Link::Binary(Binary::Multiply, Source::Number(float("alpha", 0.2))),
                Link::Binary(Binary::Add, Source::Number(float("beta", 0.5))),
                Link::Unary(Unary::Clamp(0.0, 1.0)),
            ],
            "HardSwish" => vec![
                Link::Keep,
                Link::Binary(Binary::Add, Source::Number(3.0)),
                Link::Unary(Unary::Clamp(0.0, 6.0)),
                Link::Binary(Binary::Divide, Source::Number(6.0)),
                Link::Binary(Binary::Multiply, Source::Kept),
            ],
            "LeakyRelu" => unary(Unary::LeakyRelu(float("alpha", 0.01))),
            "Log" => unary(Unary::Log),
            "Neg" => unary(Unary::Negate),
            "Pow" => {
                let exponent = (*step.inputs.get(1)?)?;
                match self.number(exponent)? {
                    0.5 => unary(Unary::Sqrt),
                    2.0 => vec![Link::Keep, Link::Binary(Binary::Multiply, Source::Kept)],
                    _ => return None,
                }
            }
            "Reciprocal" => unary(Unary::Reciprocal),
            "Relu" => unary(Unary::Relu),
            "Sigmoid" => unary(Unary::Sigmoid),
            "Sqrt" => unary(Unary::Sqrt),
            "Tanh" => unary(Unary::Tanh),
            _ => return None,
        };
        Some(chain)
    }
}

/// A function of two elements.
pub(super) fn function(node: &Node) -> Option<Binary> {
    Some(match name(node) {
        _ if node.version < 7 => return None,
        "Add" | "Sum" => Binary::Add,
        "Div" => Binary::Divide,
        "Max" => Binary::Maximum,
        "Min" => Binary::Minimum,
        "Mul" => Binary::Multiply,
        "Sub" => Binary::Subtract,
        _ => return None,
    })
}

/// The function with its operands exchanged.
fn turned(function: Binary) -> Binary {
    match function {
        Binary::Divide => Binary::DivideInto,
        Binary::Subtract => Binary::SubtractFrom,
        other => other,
    }
}

/// How a tensor of shape `from` broadcasts to the shape `to`, if all axes along
/// which it does not broadcast are adjacent.
fn spread(from: &Shape, to: &Shape) -> Option<Source> {
    let skipped = to.len().checked_sub(from.len())?;
    let lengths = |axis: usize| axis.checked_sub(skipped).map_or(1, |axis| from[axis]);
    let mut axes = (0..to.len()).filter(|&axis| lengths(axis) != 1);
    let (first, last) = match (axes.next(), axes.next_back()) {
        (Some(first), Some(last)) => (first, last),
        (Some(first), None) => (first, first),
        _ => (to.len(), to.len()),
    };
    let whole = if first < to.len() { first..last + 1 } else { 0..0 };
    if whole.clone().any(|axis| lengths(axis) != to[axis]) {
        return None;
    }
    let (inner, count) = (to[whole.end..].iter().product(), to[whole].iter().product());
    Some(Source::Operand { index: 0, inner, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_spread_along_adjacent_axes() {
        let of = |from: &[usize], to: &[usize]| spread(&Shape::from(from), &Shape::from(to));
        let operand = |inner, count| Some(Source::Operand { index: 0, inner, count });
        assert_eq!(of(&[1, 3, 1, 1], &[2, 3, 4, 5]), operand(20, 3));
        assert_eq!(of(&[2, 3, 1, 1], &[2, 3, 4, 5]), operand(20, 6));
        assert_eq!(of(&[5], &[2, 3, 4, 5]), operand(1, 5));
        assert_eq!(of(&[2, 3, 4, 5], &[2, 3, 4, 5]), operand(1, 120));
        assert_eq!(of(&[1, 1], &[3, 4]), operand(12, 1));
        assert_eq!(of(&[2, 1, 4, 1], &[2, 3, 4, 5]), None);
        assert_eq!(of(&[3, 1], &[3, 4]), operand(4, 3));
    }
}
