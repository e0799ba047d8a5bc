//! The graph that an export writes, and the calls of a trace that it reads.

use std::collections::{HashMap, HashSet};

use dendra_nn::Size;
use dendra_tensor::{AnyTensor, Error, Result, Tensor};

/// A node of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) operator: &'static str,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) settings: Vec<(&'static str, Setting)>,
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Int(i64),
    Float(f64),
    Text(&'static str),
    Ints(Vec<i64>),
    Texts(Vec<&'static str>),
}

macro_rules! from {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<$type> for Setting {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
from! {
    i64 => Int;
    f64 => Float;
    &'static str => Text;
    Vec<i64> => Ints;
    Vec<&'static str> => Texts;
}

/// The attributes of a node.
pub(super) type Settings = Vec<(&'static str, Setting)>;

/// An input or output of the file. Its axes are numbers or names.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) element: &'static str,
    pub(super) shape: Vec<String>,
}

/// The file that is being written. Values are referred to by name.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) initializers: Vec<(String, AnyTensor)>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    taken: HashSet<String>,
    /// The constants without a name.
    constants: Vec<(AnyTensor, String)>,
    /// The values that were concatenated along axis 0, with their lengths.
    joined: HashMap<String, Vec<(i64, String)>>,
    /// An input and its batch axis, and the batch size `[1]`.
    batch: Option<(String, i64)>,
    samples: Option<String>,
    /// The part of the model and the operation that are being written.
    context: String,
}

impl Graph {
    /// A name that is not in use.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut count = 1;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{name}_{count}");
            count += 1;
        }
        unique
    }

    pub(super) fn input(&mut self, port: Port, batch_axis: Option<usize>) {
        if let (None, Some(axis)) = (&self.batch, batch_axis) {
            self.batch = Some((port.name.clone(), axis as i64));
        }
        self.inputs.push(port);
    }

    /// Renames the inputs and outputs.
    pub(super) fn name_ports(&mut self, inputs: &[&str], outputs: &[&str]) -> Result<()> {
        let counts = [self.inputs.len(), self.outputs.len()];
        if [inputs.len(), outputs.len()] != counts {
            let [inputs, outputs] = counts;
            let message = format!("expected names of {inputs} inputs and {outputs} outputs");
            return Err(Error::argument("Export::named", message));
        }
        // This takes two steps, because a new name may be an old one of another
        // port.
        let names: Vec<&str> = inputs.iter().chain(outputs).copied().collect();
        let mut temporary = Vec::with_capacity(names.len());
        for index in 0..names.len() {
            let name = self.unique("renamed");
            let old = self.name_port(index, &name);
            self.taken.remove(&old);
            temporary.push(name);
        }
        for (index, name) in names.iter().enumerate() {
            if !self.taken.insert((*name).to_owned()) {
                return Err(Error::argument(
                    "Export::named",
                    format!("the name {name:?} is in use"),
                ));
            }
            self.name_port(index, name);
            self.taken.remove(&temporary[index]);
        }
        Ok(())
    }

    /// Renames a port, counted from the first input; returns the old name.
    fn name_port(&mut self, index: usize, name: &str) -> String {
        let port = match index.checked_sub(self.inputs.len()) {
            None => &mut self.inputs[index].name,
            Some(index) => &mut self.outputs[index].name,
        };
        let old = std::mem::replace(port, name.to_owned());
        self.rename(&old, name);
        old
    }

    /// Sets the part of the model and the operation for the following nodes.
    pub(super) fn enter(&mut self, part: &str, operation: &str) {
        self.context =
            if part.is_empty() { operation.to_owned() } else { format!("{part}/{operation}") };
    }

    /// Adds a node with one output and returns the name of the output.
    pub(super) fn op(&mut self, operator: &'static str, inputs: &[&str]) -> String {
        self.op_with(operator, inputs, vec![])
    }

    /// Like [`op`](Self::op), with attributes.
    pub(super) fn op_with(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        settings: Settings,
    ) -> String {
        let [output] = self.ops_with(operator, inputs, settings);
        output
    }

    /// Like [`op_with`](Self::op_with), with several outputs.
    pub(super) fn ops_with<const N: usize>(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        settings: Settings,
    ) -> [String; N] {
        let name = self.unique(&format!("{}/{operator}", self.context));
        let outputs: [String; N] = std::array::from_fn(|index| match index {
            0 => name.clone(),
            _ => self.unique(&format!("{name}.{index}")),
        });
        // Missing inputs at the end are not written.
        let count = inputs.iter().rposition(|input| !input.is_empty()).map_or(0, |last| last + 1);
        let inputs = inputs[..count].iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(Node { name, operator, inputs, outputs: outputs.to_vec(), settings });
        outputs
    }

    /// Adds a named tensor and returns its name, which is another one if that
    /// name is in use.
    pub(super) fn initializer(&mut self, name: &str, value: AnyTensor) -> String {
        let name = self.unique(name);
        self.initializers.push((name.clone(), value));
        name
    }

    /// Adds a tensor without a name; equal tensors are written once.
    pub(super) fn constant(&mut self, value: impl Into<AnyTensor>) -> String {
        let value = value.into();
        let is_same =
            |known: &AnyTensor| known.shape() == value.shape() && known.has_bits_of(&value);
        if let Some((_, name)) = self.constants.iter().find(|(known, _)| is_same(known)) {
            return name.clone();
        }
        let name = self.initializer("constant", value.clone());
        self.constants.push((value, name.clone()));
        name
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::from_fn([values.len()], |index| values[index]))
    }

    /// A scalar of this element type.
    pub(super) fn scalar(&mut self, element: &str, number: f64) -> String {
        match element {
            "f64" => self.constant(Tensor::scalar(number)),
            "i64" => self.constant(Tensor::scalar(number as i64)),
            _ => self.constant(Tensor::scalar(number as f32)),
        }
    }

    /// The batch size, `[1]`.
    fn samples(&mut self) -> Result<String> {
        if let Some(samples) = &self.samples {
            return Ok(samples.clone());
        }
        let Some((input, axis)) = self.batch.clone() else {
            return Err(Error::argument(
                "onnx::export",
                "expected an input with a batch axis, got none",
            ));
        };
        let ends = vec![("start", axis.into()), ("end", (axis + 1).into())];
        let samples = self.op_with("Shape", &[&input], ends);
        self.samples = Some(samples.clone());
        Ok(samples)
    }

    /// A list of numbers, some of which depend on the batch size.
    pub(super) fn sizes(&mut self, sizes: &[Size]) -> Result<String> {
        let fixed = |size: &Size| match size {
            Size::Fixed(number) => Some(*number),
            Size::PerSample(_) => None,
        };
        let mut parts = Vec::new();
        for chunk in sizes.chunk_by(|a, b| fixed(a).is_some() && fixed(b).is_some()) {
            let numbers: Option<Vec<i64>> = chunk.iter().map(fixed).collect();
            parts.push(match (numbers, chunk) {
                (Some(numbers), _) => self.ints(&numbers),
                (None, [Size::PerSample(1), ..]) => self.samples()?,
                (None, [size, ..]) => {
                    let (samples, factor) = (self.samples()?, self.ints(&[size.of(1)]));
                    self.op("Mul", &[&samples, &factor])
                }
                (None, []) => unreachable!("a chunk has an element"),
            });
        }
        Ok(match &parts[..] {
            [] => self.ints(&[]),
            [one] => one.clone(),
            parts => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                self.op_with("Concat", &parts, vec![("axis", 0.into())])
            }
        })
    }

    /// Reshapes a value.
    pub(super) fn reshape(&mut self, x: &str, shape: &[Size]) -> Result<String> {
        let grows = shape.iter().filter(|size| matches!(size, Size::PerSample(_))).count();
        if shape.contains(&Size::Fixed(0)) || grows > 1 {
            let sizes = self.sizes(shape)?;
            return Ok(self.op_with("Reshape", &[x, &sizes], vec![("allowzero", 1.into())]));
        }
        let numbers = shape.iter().map(|size| match size {
            Size::Fixed(number) => *number,
            Size::PerSample(_) => -1,
        });
        let numbers = self.ints(&numbers.collect::<Vec<_>>());
        Ok(self.op("Reshape", &[x, &numbers]))
    }

    /// Removes or inserts axes of length 1.
    pub(super) fn squeeze(&mut self, x: &str, axis: i64) -> String {
        let axes = self.ints(&[axis]);
        self.op("Squeeze", &[x, &axes])
    }

    pub(super) fn unsqueeze(&mut self, x: &str, axis: i64) -> String {
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[x, &axes])
    }

    /// Selects elements at constant indices of an axis.
    pub(super) fn pick(&mut self, x: &str, axis: i64, indices: Tensor<i64>) -> String {
        let indices = self.constant(indices);
        self.op_with("Gather", &[x, &indices], vec![("axis", axis.into())])
    }

    pub(super) fn transpose(&mut self, x: &str, axes: Vec<i64>) -> String {
        self.op_with("Transpose", &[x], vec![("perm", axes.into())])
    }

    /// A reduction over some axes, which are kept with length 1.
    pub(super) fn reduce(&mut self, operator: &'static str, x: &str, axes: &[i64]) -> String {
        let axes = self.ints(axes);
        self.op_with(operator, &[x, &axes], vec![("keepdims", 1.into())])
    }

    /// Concatenates values along axis 0; [`part`](Self::part) finds each of
    /// them.
    pub(super) fn join(&mut self, parts: Vec<(i64, String)>) -> String {
        let names: Vec<&str> = parts.iter().map(|(_, name)| name.as_str()).collect();
        let all = self.op_with("Concat", &names, vec![("axis", 0.into())]);
        self.joined.insert(all.clone(), parts);
        all
    }

    /// The value at `start..end` of a concatenated one.
    pub(super) fn part(&self, joined: &str, start: i64, end: i64) -> Option<String> {
        let mut at = 0;
        for (length, name) in self.joined.get(joined)? {
            if (at, at + length) == (start, end) {
                return Some(name.clone());
            }
            at += length;
        }
        None
    }

    /// Makes a value an output with this name.
    pub(super) fn output(&mut self, value: &str, port: Port) {
        self.context = "output".to_owned();
        let identity = self.op("Identity", &[value]);
        self.rename(&identity, &port.name);
        self.outputs.push(port);
    }

    /// Removes the nodes and tensors that no output depends on, and the copies
    /// that only rename an output.
    pub(super) fn finish(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let node = &self.nodes[index];
            let (source, output) = (node.inputs.first().cloned(), node.outputs[0].clone());
            let is_named = self.outputs.iter().any(|port| port.name == output);
            let Some(source) = source.filter(|_| is_named && node.operator == "Identity") else {
                continue;
            };
            let is_computed = self.nodes.iter().any(|node| node.outputs.contains(&source));
            if is_computed && !self.outputs.iter().any(|port| port.name == source) {
                self.nodes.remove(index);
                self.rename(&source, &output);
            }
        }
        let mut used: HashSet<String> = self.outputs.iter().map(|port| port.name.clone()).collect();
        let mut kept: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..).rev() {
            if node.outputs.iter().any(|output| used.contains(output)) {
                used.extend(node.inputs.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.initializers.retain(|(name, _)| used.contains(name));
    }

    fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.nodes {
            for name in node.inputs.iter_mut().chain(&mut node.outputs) {
                if name == from {
                    to.clone_into(name);
                }
            }
        }
    }
}
