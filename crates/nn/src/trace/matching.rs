//! Combines two runs of a model, on two and on three samples, into one trace for
//! any number of samples.

use dendra_autograd::{AnyTensor, Parameters};
use dendra_tensor::ops::Attribute;
use dendra_tensor::{Float, Result};

use super::graph::{Graph, RawKind, RawNode, Run, State, graph_of, state_of};
use super::parts::parts_of;
use super::summary::{Held, held_by};
use super::{Node, NodeKind, Setting, Size, Trace, refuse};

/// The numbers of samples in the two runs.
const SAMPLES: [usize; 2] = [2, 3];

pub(super) fn trace<T: Float>(
    model: &dyn Parameters<T>,
    inputs: &[AnyTensor],
    batch_axes: &[Option<usize>],
    run: Run<'_, T>,
) -> Result<Trace<T>> {
    let samples = samples_of(inputs, batch_axes)?;
    if samples == 0 {
        return Err(refuse("expected inputs of at least one sample"));
    }
    let state = state_of(model);
    let select = |indices: &[usize], reversed: bool| -> Result<Vec<AnyTensor>> {
        let each = inputs.iter().zip(batch_axes);
        each.map(|(input, &axis)| match axis {
            Some(axis) => {
                let selected = input.index_select(axis as isize, indices)?;
                if reversed { other_way_round(&selected, axis) } else { Ok(selected) }
            }
            None => Ok(input.clone()),
        })
        .collect()
    };
    let first = select(&[0, 1 % samples], false)?;
    // Different samples, so that values that depend on the data differ.
    let indices: Vec<usize> =
        (0..SAMPLES[1]).map(|i| (2 * samples - 1 - i % samples) % samples).collect();
    let second = select(&indices, false)?;
    let a = graph_of(&state, &first, run)?;
    let b = match samples {
        1 => match graph_of(&state, &select(&indices, true)?, run) {
            Ok(b) => b,
            // The model does not accept the values in reverse order.
            Err(_) => graph_of(&state, &second, run)?,
        },
        _ => graph_of(&state, &second, run)?,
    };
    let held = held_by(model);
    merge(a, b, &state, batch_axes, held)
}

/// Returns the number of samples in a batch of inputs.
pub(super) fn samples_of(inputs: &[AnyTensor], batch_axes: &[Option<usize>]) -> Result<usize> {
    if inputs.len() != batch_axes.len() {
        let (found, expected) = (inputs.len(), batch_axes.len());
        return Err(refuse(format!("expected {expected} input tensors, got {found}")));
    }
    let mut samples = None;
    for (index, (input, axis)) in inputs.iter().zip(batch_axes).enumerate() {
        let Some(axis) = *axis else { continue };
        let shape = input.shape();
        let found = shape.get(axis).copied().ok_or_else(|| {
            refuse(format!("input {index} of shape {shape} has no batch axis {axis}"))
        })?;
        let expected = *samples.get_or_insert(found);
        if found != expected {
            let message = format!("input {index} has {found} samples, previous inputs {expected}");
            return Err(refuse(message));
        }
    }
    samples.ok_or_else(|| refuse("no input has a batch axis"))
}

/// Reverses the values along the last axis of the samples.
fn other_way_round(x: &AnyTensor, batch_axis: usize) -> Result<AnyTensor> {
    let axis = (0..x.shape().len()).rev().find(|&axis| axis != batch_axis && x.shape()[axis] > 1);
    match axis {
        Some(axis) => {
            let indices: Vec<usize> = (0..x.shape()[axis]).rev().collect();
            x.index_select(axis as isize, &indices)
        }
        None => Ok(x.clone()),
    }
}

/// The comparison of the values of two runs.
struct Merging<'a, T: Float> {
    a: &'a Graph<T>,
    b: &'a Graph<T>,
    paths: &'a [String],
}

fn merge<T: Float>(
    a: Graph<T>,
    b: Graph<T>,
    state: &[State<T>],
    batch_axes: &[Option<usize>],
    held: Vec<Held>,
) -> Result<Trace<T>> {
    let (paths, parts) = parts_of(&a, state);
    let merging = Merging { a: &a, b: &b, paths: &paths };
    let mut details = Vec::with_capacity(a.nodes.len());
    for node in 0..a.nodes.len() {
        details.push(merging.details(node)?);
    }
    if a.nodes.len() != b.nodes.len() || a.outputs != b.outputs {
        return Err(refuse("the outputs of the model depend on the number of samples"));
    }
    let mut nodes = Vec::with_capacity(a.nodes.len());
    for ((raw, details), part) in a.nodes.into_iter().zip(details).zip(paths) {
        let element = raw.value.element();
        let kind = match (raw.kind, details.constant) {
            (RawKind::Input(index), _) => NodeKind::Input { index },
            (RawKind::State(index), _) => {
                let State { name, value, param } = &state[index];
                let name = name.clone();
                match param {
                    Some((_, trainable)) => {
                        NodeKind::Parameter { name, value: value.clone(), trainable: *trainable }
                    }
                    None => NodeKind::Buffer { name, value: raw.value },
                }
            }
            (RawKind::Constant, repeated) => match repeated {
                Some((value, axis)) => NodeKind::Constant { value, repeated: Some(axis) },
                None => NodeKind::Constant { value: raw.value, repeated: None },
            },
            (RawKind::Operation(call), _) => NodeKind::Operation(call),
            (RawKind::Function(function), _) => NodeKind::Function(function),
        };
        let Details { shape, settings, .. } = details;
        nodes.push(Node { kind, parents: raw.parents, settings, part, element, shape });
    }
    let (outputs, batch_axes, samples) = (a.outputs, batch_axes.to_vec(), SAMPLES[0]);
    Ok(Trace { nodes, outputs, batch_axes, parts, samples, held })
}

/// The properties of a value, derived from two runs.
struct Details {
    shape: Vec<Size>,
    settings: Vec<(&'static str, Setting)>,
    /// For a constant that grows with the batch: its value for one sample, and the
    /// batch axis.
    constant: Option<(AnyTensor, usize)>,
}

impl<T: Float> Merging<'_, T> {
    fn details(&self, node: usize) -> Result<Details> {
        let a = &self.a.nodes[node];
        let Some(b) = self.b.nodes.get(node) else {
            return Err(self.other_operations(node, "nothing"));
        };
        if !is_same(&a.kind, &b.kind) || a.parents != b.parents || a.links != b.links {
            return Err(self.other_operations(node, name_of(b)));
        }
        let shape = self.shape(node, a, b)?;
        let constant = match a.kind {
            RawKind::Constant => self.constant(node, &a.value, &b.value, &shape)?,
            _ => None,
        };
        let mut settings = Vec::with_capacity(a.attributes.len());
        for (index, (name, of_a)) in a.attributes.iter().enumerate() {
            let setting = match a.links.iter().find(|(linked, _)| linked == name) {
                Some(&(_, node)) => Setting::Node(node),
                None => match b.attributes.get(index) {
                    Some((_, of_b)) => self.setting(node, name, of_a, of_b)?,
                    None => return Err(self.other_operations(node, name_of(b))),
                },
            };
            settings.push((*name, setting));
        }
        Ok(Details { shape, settings, constant })
    }

    fn shape(&self, node: usize, a: &RawNode<T>, b: &RawNode<T>) -> Result<Vec<Size>> {
        let (a, b) = (a.value.shape(), b.value.shape());
        let sizes =
            a.iter().zip(b.iter()).map(|(&a, &b)| Size::between([a as i64, b as i64], SAMPLES));
        let sizes: Option<Vec<Size>> = if a.len() == b.len() { sizes.collect() } else { None };
        sizes.ok_or_else(|| {
            refuse(format!(
                "{} has shape {a} for {} samples and {b} for {}, which does not grow in proportion",
                self.described(node),
                SAMPLES[0],
                SAMPLES[1]
            ))
        })
    }

    fn setting(&self, node: usize, name: &str, a: &Attribute, b: &Attribute) -> Result<Setting> {
        if a == b {
            return Ok(Setting::Value(a.clone()));
        }
        let found = match (a, b) {
            (&Attribute::Int(a), &Attribute::Int(b)) => {
                Size::between([a, b], SAMPLES).map(Setting::Size)
            }
            (Attribute::Ints(a), Attribute::Ints(b)) => {
                let sizes = a.iter().zip(b).map(|(&a, &b)| Size::between([a, b], SAMPLES));
                let sizes = if a.len() == b.len() { sizes.collect() } else { None };
                sizes.map(Setting::Sizes).or_else(|| self.input_of([a, b]).map(Setting::Node))
            }
            (Attribute::Indices(a), Attribute::Indices(b)) => {
                self.input_of([&a.to_vec(), &b.to_vec()]).map(Setting::Node)
            }
            _ => None,
        };
        found.ok_or_else(|| {
            refuse(format!(
                "the setting `{name}` of {} depends on the inputs through a computation that was \
                 not recorded; record it with Tape::note",
                self.described(node)
            ))
        })
    }

    /// Finds the integer input that has these values in the two runs.
    fn input_of(&self, values: [&Vec<i64>; 2]) -> Option<usize> {
        let has = |graph: &Graph<T>, node: usize, values: &Vec<i64>| {
            let raw = &graph.nodes[node];
            matches!(raw.kind, RawKind::Input(_))
                && raw.value.downcast::<i64>().is_some_and(|x| x.to_vec() == *values)
        };
        let nodes = 0..self.a.nodes.len();
        let mut nodes = nodes.filter(|&node| has(self.a, node, values[0]));
        nodes.find(|&node| has(self.b, node, values[1]))
    }

    /// Returns the value for one sample and the batch axis, if a constant grows with
    /// the batch.
    fn constant(
        &self,
        node: usize,
        a: &AnyTensor,
        b: &AnyTensor,
        shape: &[Size],
    ) -> Result<Option<(AnyTensor, usize)>> {
        if a.has_bits_of(b) {
            return Ok(None);
        }
        let refused = || {
            refuse(format!(
                "a constant of shape {} in {} depends on the inputs through a computation that \
                 was not recorded; record it with Tape::note",
                super::size::list(shape),
                self.user_of(node)
            ))
        };
        let growing = |size: &Size| matches!(size, Size::PerSample(_));
        let axis = shape.iter().position(growing).ok_or_else(refused)?;
        let Size::PerSample(length) = shape[axis] else { return Err(refused()) };
        let sample: Vec<usize> = (0..length.max(0) as usize).collect();
        let one = a.index_select(axis as isize, &sample)?;
        for (all, samples) in [(a, SAMPLES[0]), (b, SAMPLES[1])] {
            if !repeat(&one, axis, samples)?.has_bits_of(all) {
                return Err(refused());
            }
        }
        Ok(Some((one, axis)))
    }

    fn described(&self, node: usize) -> String {
        described(name_of(&self.a.nodes[node]), &self.paths[node])
    }

    /// Returns a description of the first operation that uses a value.
    fn user_of(&self, node: usize) -> String {
        let uses = |raw: &RawNode<T>| {
            raw.parents.contains(&node) || raw.links.iter().any(|&(_, linked)| linked == node)
        };
        let user = self.a.nodes.iter().position(uses);
        user.map_or_else(|| "the outputs".to_owned(), |user| self.described(user))
    }

    fn other_operations(&self, node: usize, other: &str) -> dendra_tensor::Error {
        refuse(format!(
            "the operations depend on the number of samples: {} for {} samples, `{other}` or the \
             same operation on other values for {}",
            self.described(node),
            SAMPLES[0],
            SAMPLES[1]
        ))
    }
}

/// Describes an operation and its part.
pub(super) fn described(name: &str, part: &str) -> String {
    match part {
        "" => format!("`{name}`"),
        part => format!("`{name}` of `{part}`"),
    }
}

fn name_of<T: Float>(raw: &RawNode<T>) -> &str {
    match &raw.kind {
        RawKind::Input(_) => "input",
        RawKind::State(_) => "parameter",
        RawKind::Constant => "constant",
        RawKind::Operation(call) => call.name(),
        RawKind::Function(function) => function.name(),
    }
}

fn is_same<T: Float>(a: &RawKind<T>, b: &RawKind<T>) -> bool {
    match (a, b) {
        (RawKind::Input(a), RawKind::Input(b)) | (RawKind::State(a), RawKind::State(b)) => a == b,
        (RawKind::Constant, RawKind::Constant) => true,
        (RawKind::Operation(a), RawKind::Operation(b)) => a.name() == b.name(),
        (RawKind::Function(a), RawKind::Function(b)) => a.name() == b.name(),
        _ => false,
    }
}

/// Repeats the values of one sample along an axis.
pub(super) fn repeat(one: &AnyTensor, axis: usize, samples: usize) -> Result<AnyTensor> {
    let length = one.shape().get(axis).copied().unwrap_or(0);
    let indices: Vec<usize> = (0..samples).flat_map(|_| 0..length).collect();
    one.index_select(axis as isize, &indices)
}
