//! What of a trace can be computed with integers.

use dendra_nn::{Node, NodeKind, Setting, Size, Trace};
use dendra_tensor::ops::Attribute;

use crate::kernels::{MAX_DEPTH, Window};

/// A part of a trace that is one step of integers.
#[derive(Debug)]
pub(crate) enum Found {
    Layer(Layer),
    Add(Add),
    Pool(Pool),
    Reshape(Reshape),
}

/// A layer with weights, with the normalisation and the activation after it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The path of the layer.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The nodes of its weight and its bias.
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    /// The batch normalisation that is folded into the weights.
    pub(crate) norm: Option<usize>,
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// The range of the activation.
    pub(crate) limits: [f32; 2],
    /// The nodes that it replaces.
    pub(crate) nodes: Vec<usize>,
}

/// The kind of a [`Layer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Linear,
    Convolution(Window),
    Depthwise(Window),
}

/// A sum of two values of the same shape.
#[derive(Clone, Debug)]
pub(crate) struct Add {
    pub(crate) inputs: [usize; 2],
    pub(crate) output: usize,
    pub(crate) limits: [f32; 2],
    pub(crate) nodes: Vec<usize>,
}

/// A max pooling.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) window: Window,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}

/// A change of shape, such as flattening.
#[derive(Clone, Debug)]
pub(crate) struct Reshape {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) shape: Vec<Size>,
}

/// No activation.
pub(crate) const ALL: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// The parts of a trace, each with the index of its first node, in order.
/// Values that no node computes have indices from the number of nodes on; their
/// number is returned, too.
pub(crate) fn find(trace: &Trace<f32>) -> (Vec<(usize, Found)>, usize) {
    let mut reader = Reader::new(trace);
    let mut found = Vec::new();
    for (index, node) in trace.nodes().iter().enumerate() {
        if node.element != "f32" || reader.taken[index] {
            continue;
        }
        match node.name() {
            "linear" | "conv2d" | "conv2d_relu" => {
                let Some(mut layer) = reader.layer(index, node) else { continue };
                let pools = flag(node, "max_pool");
                let size = sizes(&node.shape, 2);
                match (pools, size) {
                    (false, _) => found.push((index, Found::Layer(layer))),
                    (true, Some(size)) => {
                        layer.output = reader.slots;
                        reader.slots += 1;
                        let (input, output) = (layer.output, index);
                        let two = [2, 2];
                        let window =
                            Window { kernel: two, stride: two, padding: [0; 2], dilation: [1; 2] };
                        found.push((index, Found::Layer(layer)));
                        found.push((index, Found::Pool(Pool { input, output, window, size })));
                    }
                    (true, None) => continue,
                }
            }
            "add" => found.extend(reader.add(index, node).map(|add| (index, Found::Add(add)))),
            "max_pool2d" => found.extend(pool(index, node).map(|pool| (index, Found::Pool(pool)))),
            "reshape" => found.push((
                index,
                Found::Reshape(Reshape {
                    input: node.parents[0],
                    output: index,
                    shape: node.shape.clone(),
                }),
            )),
            _ => {}
        }
    }
    (found, reader.slots)
}

struct Reader<'a> {
    nodes: &'a [Node<f32>],
    /// The nodes that use a value; outputs of the model count as one more.
    users: Vec<Vec<usize>>,
    /// Nodes that a part before replaces.
    taken: Vec<bool>,
    slots: usize,
}

impl<'a> Reader<'a> {
    fn new(trace: &'a Trace<f32>) -> Self {
        let nodes = trace.nodes();
        let mut users = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            node.sources().for_each(|source| users[source].push(index));
        }
        for &output in trace.outputs() {
            users[output].push(usize::MAX);
        }
        Self { nodes, users, taken: vec![false; nodes.len()], slots: nodes.len() }
    }

    /// The node that alone uses a value.
    fn only_user(&self, index: usize) -> Option<(usize, &'a Node<f32>)> {
        match self.users[index][..] {
            [user] => Some((user, self.nodes.get(user)?)),
            _ => None,
        }
    }

    /// Whether a value is a parameter that nothing else uses.
    fn is_own(&self, index: usize) -> bool {
        let is_parameter = matches!(self.nodes[index].kind, NodeKind::Parameter { .. });
        is_parameter && self.users[index].len() == 1
    }

    fn layer(&mut self, index: usize, node: &Node<f32>) -> Option<Layer> {
        let [input, weight, bias @ ..] = &node.parents[..] else { return None };
        let (input, weight, bias) = (*input, *weight, bias.first().copied());
        if !self.is_own(weight) || bias.is_some_and(|bias| !self.is_own(bias)) {
            return None;
        }
        let NodeKind::Parameter { name, value, .. } = &self.nodes[weight].kind else { return None };
        let shape = value.shape();
        let depth: usize = shape.get(1..)?.iter().product();
        let kind = match node.name() {
            "linear" if shape.len() == 2 && node.shape.len() >= 2 => Kind::Linear,
            "linear" => return None,
            _ => convolution(node, shape)?,
        };
        if depth > MAX_DEPTH || depth == 0 || shape[0] == 0 {
            return None;
        }
        let name = name.strip_suffix(".weight").unwrap_or(name).to_owned();
        let mut layer = Layer {
            name,
            kind,
            weight,
            bias,
            norm: None,
            input,
            output: index,
            limits: ALL,
            nodes: vec![index],
        };
        if node.name() == "conv2d_relu" {
            layer.limits[0] = 0.0;
            return Some(layer);
        }
        if let Some((user, norm)) = self.only_user(index)
            && norm.name() == "batch_norm"
            && norm.parents[0] == index
            && node.shape.len() == if kind == Kind::Linear { 2 } else { 4 }
            && norm.parents[1..].iter().all(|&parent| self.is_own(parent))
            && statistics(norm).is_some()
        {
            layer.norm = Some(user);
            layer.output = user;
            layer.nodes.push(user);
        }
        self.activation(&mut layer.output, &mut layer.limits, &mut layer.nodes);
        layer.nodes.iter().for_each(|&node| self.taken[node] = true);
        Some(layer)
    }

    /// Takes the activation after a value, if it limits that to a range.
    fn activation(&self, output: &mut usize, limits: &mut [f32; 2], nodes: &mut Vec<usize>) {
        let Some((user, node)) = self.only_user(*output) else { return };
        *limits = match node.name() {
            "relu" => [0.0, f32::INFINITY],
            "hardtanh" | "clamp" => match (float(node, "low"), float(node, "high")) {
                // Zero is within the range of all bytes.
                (Some(low), Some(high)) if low <= 0.0 && high >= 0.0 => [low, high],
                _ => return,
            },
            _ => return,
        };
        *output = user;
        nodes.push(user);
    }

    fn add(&mut self, index: usize, node: &Node<f32>) -> Option<Add> {
        let &[a, b] = &node.parents[..] else { return None };
        let same = |parent: usize| {
            let parent = &self.nodes[parent];
            parent.is_computed() && parent.shape == node.shape
        };
        if a == b || !same(a) || !same(b) {
            return None;
        }
        let mut add = Add { inputs: [a, b], output: index, limits: ALL, nodes: vec![index] };
        self.activation(&mut add.output, &mut add.limits, &mut add.nodes);
        add.nodes.iter().for_each(|&node| self.taken[node] = true);
        Some(add)
    }
}

fn convolution(node: &Node<f32>, weight: &[usize]) -> Option<Kind> {
    let &[filters, inputs, height, width] = weight else { return None };
    let window = Window {
        kernel: [height, width],
        stride: pair(node, "stride")?,
        padding: pair(node, "padding")?,
        dilation: pair(node, "dilation")?,
    };
    match int(node, "groups")? {
        1 => Some(Kind::Convolution(window)),
        groups if groups == filters && inputs == 1 => Some(Kind::Depthwise(window)),
        _ => None,
    }
}

fn pool(index: usize, node: &Node<f32>) -> Option<Pool> {
    let window = Window {
        kernel: pair(node, "kernel_size")?,
        stride: pair(node, "stride")?,
        padding: pair(node, "padding")?,
        dilation: pair(node, "dilation")?,
    };
    let (input, output) = (node.parents[0], index);
    Some(Pool { input, output, window, size: sizes(&node.shape, 2)? })
}

/// Two lengths of a shape from an axis on.
fn sizes(shape: &[Size], axis: usize) -> Option<[usize; 2]> {
    match shape.get(axis..)? {
        [Size::Fixed(a), Size::Fixed(b)] => {
            Some([usize::try_from(*a).ok()?, usize::try_from(*b).ok()?])
        }
        _ => None,
    }
}

fn setting<'a>(node: &'a Node<f32>, name: &str) -> Option<&'a Attribute> {
    node.settings.iter().find_map(|(known, setting)| match setting {
        Setting::Value(value) if *known == name => Some(value),
        _ => None,
    })
}

fn int(node: &Node<f32>, name: &str) -> Option<usize> {
    match setting(node, name)? {
        Attribute::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

fn pair(node: &Node<f32>, name: &str) -> Option<[usize; 2]> {
    match setting(node, name)? {
        Attribute::Ints(values) => match values[..] {
            [a, b] => Some([usize::try_from(a).ok()?, usize::try_from(b).ok()?]),
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn float(node: &Node<f32>, name: &str) -> Option<f32> {
    match setting(node, name)? {
        Attribute::Float(value) => Some(*value as f32),
        _ => None,
    }
}

fn flag(node: &Node<f32>, name: &str) -> bool {
    matches!(setting(node, name), Some(Attribute::Bool(true)))
}

/// The fixed means, variances and ε of a batch normalisation.
pub(crate) fn statistics(node: &Node<f32>) -> Option<[Vec<f64>; 2]> {
    match (setting(node, "mean")?, setting(node, "variance")?) {
        (Attribute::Values(mean), Attribute::Values(variance)) => {
            Some([mean.to_vec(), variance.to_vec()])
        }
        _ => None,
    }
}

pub(crate) fn epsilon(node: &Node<f32>) -> Option<f64> {
    match setting(node, "epsilon")? {
        Attribute::Float(value) => Some(*value),
        _ => None,
    }
}
