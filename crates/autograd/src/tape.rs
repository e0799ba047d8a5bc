//! The tape: what happened, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dendra_tensor::ops::{Op, Recorded, Recorder, Term, TermCotangents, record};
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor, warn_if_unoptimised};
use smallvec::SmallVec;

use crate::gradients::{Gradients, Update};
use crate::param::{Buffer, Counter, Param, ParamId};
use crate::recording::Recording;
use crate::var::Var;

/// Nodes for which a tape has room at first: those of a small network, in less
/// than a kilobyte. For a block of more, glibc's allocator clears its lists of
/// small ones away.
const NODES: usize = 32;

/// What a second pass over a tape is told.
const USED: &str = "this tape was used already: backward consumes what it recorded; start a new \
                    tape for every step";

/// The record of one forward pass, and what else a forward pass may need:
/// training or evaluation mode, and the random stream.
///
/// A tape serves one step: [`Var::backward`] consumes what it recorded. A
/// clone is another handle of the same tape.
pub struct Tape<T: Float = f32> {
    shared: Arc<Shared<T>>,
}

struct Shared<T: Float> {
    mode: Mode,
    random: Rng,
    record: Mutex<Record<T>>,
    /// All that happens, on a tape that traces.
    recording: Option<Box<Mutex<Recording<T>>>>,
}

struct Record<T: Float> {
    nodes: Vec<Node<T>>,
    parameters: BTreeMap<ParamId, usize>,
    updates: Vec<Update<T>>,
    /// How many random streams were handed out.
    streams: u64,
    /// Whether `backward` was called.
    finished: bool,
}

/// Where a value that needs a gradient came from.
enum Node<T: Float> {
    /// [`Tape::leaf`].
    Leaf,
    /// [`Param::on`].
    Param(ParamId),
    /// The same value as that of another node.
    Alias(usize),
    /// An operation.
    Operation(Box<dyn Recorded<T>>),
    /// Lent to the pass that is being recorded.
    Lent,
}

/// What a forward pass is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Training,
    Evaluation,
    Inference,
}

impl<T: Float> Clone for Tape<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Float> Tape<T> {
    fn new(mode: Mode, random: Rng) -> Self {
        let record = Mutex::new(Record {
            nodes: Vec::with_capacity(NODES),
            parameters: BTreeMap::new(),
            updates: Vec::new(),
            streams: 0,
            finished: false,
        });
        Self { shared: Arc::new(Shared { mode, random, record, recording: None }) }
    }

    /// A tape in training mode. Whatever is random in the forward pass depends
    /// on seed and step, and on nothing else.
    pub fn training(seed: u64, step: u64) -> Self {
        warn_if_unoptimised();
        Self::new(Mode::Training, Rng::seed(seed).fork(step))
    }

    /// A tape in evaluation mode: dropout passes values through, and batch
    /// normalisation uses its running statistics. For gradients of a trained
    /// model, such as saliency maps; without gradients no tape is needed.
    pub fn evaluation() -> Self {
        Self::new(Mode::Evaluation, Rng::seed(0))
    }

    /// A tape in evaluation mode on which nothing needs a gradient, so nothing
    /// is recorded: for models that ask for a tape where gradients are not
    /// wanted.
    pub fn inference() -> Self {
        Self::new(Mode::Inference, Rng::seed(0))
    }

    /// A tape in evaluation mode that keeps all that happens on it, for
    /// [`take_recording`](Self::take_recording); no gradient can be asked for.
    pub fn tracing() -> Self {
        let mut tape = Self::evaluation();
        if let Some(shared) = Arc::get_mut(&mut tape.shared) {
            shared.recording = Some(Box::new(Mutex::new(Recording::new())));
        }
        tape
    }

    pub(crate) fn recording(&self) -> Option<MutexGuard<'_, Recording<T>>> {
        let recording = self.shared.recording.as_ref()?;
        Some(recording.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this is a forward pass of training.
    pub fn is_training(&self) -> bool {
        self.shared.mode == Mode::Training
    }

    /// Whether both are handles of one tape.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A value on this tape whose gradient is not wanted: data.
    pub fn input(&self, value: Tensor<T>) -> Var<T> {
        let node = self.recording().map(|mut recording| recording.value(&value));
        Var::placed(value, self.clone(), node)
    }

    /// A value on this tape whose gradient is wanted; ask for it with
    /// [`Gradients::wrt`].
    ///
    /// On a tape for [`inference`](Self::inference) it is an
    /// [`input`](Self::input).
    pub fn leaf(&self, value: Tensor<T>) -> Var<T> {
        if self.shared.mode == Mode::Inference || self.is_tracing() {
            return self.input(value);
        }
        let node = self.shared.record().push(Node::Leaf);
        Var::placed(value, self.clone(), Some(node))
    }

    /// The parameter on this tape; the same node however often it is used.
    pub(crate) fn parameter(&self, param: &Param<T>) -> Var<T> {
        if self.shared.mode == Mode::Inference || self.is_tracing() {
            return self.input(param.value().clone());
        }
        let mut record = self.shared.record();
        let node = match record.parameters.get(&param.id()) {
            Some(&node) => node,
            None => {
                let node = record.push(Node::Param(param.id()));
                record.parameters.insert(param.id(), node);
                node
            }
        };
        drop(record);
        Var::placed(param.value().clone(), self.clone(), Some(node))
    }

    /// A random stream of its own for the next random operation.
    pub fn random_stream(&self) -> Rng {
        let mut record = self.shared.record();
        record.streams += 1;
        self.shared.random.fork(record.streams)
    }

    /// Moves a buffer towards `target` when the gradients are applied:
    /// `buffer = (1 − weight) · buffer + weight · target`.
    pub fn update_towards(&self, buffer: &Buffer<T>, target: Tensor<T>, weight: f64) {
        self.shared.record().updates.push(Update::Towards { buffer: buffer.id(), target, weight });
    }

    /// Has a buffer that is the mean of `seen` targets be that of one more, when
    /// the gradients are applied. Several of one step count one after the other.
    pub fn update_average(&self, buffer: &Buffer<T>, target: Tensor<T>, seen: u64) {
        self.shared.record().updates.push(Update::Average { buffer: buffer.id(), target, seen });
    }

    /// Counts up when the gradients are applied.
    pub fn increment(&self, counter: &Counter) {
        self.shared.record().updates.push(Update::Increment { buffer: counter.id() });
    }

    /// Applies an operation and, when an input needs a gradient, records it.
    pub(crate) fn apply<O: Op<T>>(&self, operation: O, inputs: &[&Var<T>]) -> Var<T> {
        if let Some(recording) = self.recording() {
            return self.trace(recording, operation, inputs);
        }
        let values: SmallVec<[&Tensor<T>; 4]> = inputs.iter().map(|input| input.value()).collect();
        if inputs.iter().all(|input| input.node().is_none()) {
            return self.input(operation.forward(&values).0);
        }
        let parents = inputs.iter().map(|input| input.node()).collect();
        let call = record(operation, &values, parents);
        let output = call.output().clone();
        let node = self.shared.record().push(Node::Operation(call));
        Var::placed(output, self.clone(), Some(node))
    }

    fn refuse_if_tracing(&self) -> Result<()> {
        match self.is_tracing() {
            true => Err(Error::tape("a tape that traces gives no gradients")),
            false => Ok(()),
        }
    }

    /// The value of a variable of this tape as a term; `None` of another tape.
    fn term(&self, var: &Var<T>) -> Option<Term<T>> {
        let value = var.value().clone();
        Some(match var.node() {
            None => Term::constant(value),
            Some(node) if var.tape().is_some_and(|tape| tape.is_same(self)) => {
                Term::recorded(value, self.shared.clone(), node)
            }
            Some(_) => return None,
        })
    }

    /// The gradients of ⟨cotangent, output⟩ by values of this tape, which keeps
    /// what it recorded. What computes them is recorded, too, where `again`
    /// says that they shall have gradients.
    pub(crate) fn grad(
        &self,
        output: &Var<T>,
        cotangent: &Var<T>,
        wrt: &[&Var<T>],
        again: bool,
    ) -> Result<Vec<Option<Var<T>>>> {
        self.refuse_if_tracing()?;
        if self.shared.record().finished {
            return Err(Error::tape(USED));
        }
        let other =
            || Error::tape("a value is on another tape than the one whose gradient this is");
        let terms = [output, cotangent].map(|var| self.term(var));
        let [Some(output), Some(cotangent)] = terms else { return Err(other()) };
        let mut nodes = Vec::with_capacity(wrt.len());
        for (index, &var) in wrt.iter().enumerate() {
            match (self.term(var), var.node()) {
                (Some(_), Some(node)) => nodes.push(node),
                (None, _) => return Err(other()),
                _ => {
                    let message =
                        format!("value {index} that a gradient is asked for is a constant");
                    return Err(Error::tape(message));
                }
            }
        }
        let gradients = self.shared.pull_back(&output, &cotangent, &nodes, again)?;
        let var = |term: Term<T>| {
            let node = term.node();
            Var::placed(term.into_value(), self.clone(), node)
        };
        Ok(gradients.into_iter().map(|gradient| gradient.map(var)).collect())
    }

    /// The gradients of a node that holds one element.
    pub(crate) fn backward(&self, loss: &Tensor<T>, node: Option<usize>) -> Result<Gradients<T>> {
        self.refuse_if_tracing()?;
        let mut record = self.shared.record();
        if record.finished {
            return Err(Error::tape(USED));
        }
        let Some(last) = node else {
            return Err(Error::tape(
                "the loss depends on no parameter and no leaf of its tape, so there is no gradient",
            ));
        };
        if loss.len() != 1 {
            let shape = loss.shape();
            return Err(Error::tape(format!(
                "backward needs a scalar loss, got shape {shape}; reduce it with sum() or mean()"
            )));
        }
        record.finished = true;
        let mut nodes = std::mem::take(&mut record.nodes);
        let updates = std::mem::take(&mut record.updates);
        let mut parameters = Vec::with_capacity(record.parameters.len());
        drop(record);

        nodes.truncate(last + 1);
        let mut cotangents: SmallVec<[Option<Tensor<T>>; NODES]> =
            (0..nodes.len()).map(|_| None).collect();
        cotangents[last] = Some(Tensor::ones(loss.shape()));
        let mut leaves = Vec::new();
        // Nodes were recorded in topological order, so one loop backwards does
        // it; what is done with goes back to the pool at once.
        while let Some(node) = nodes.pop() {
            let Some(cotangent) = cotangents.pop().flatten() else { continue };
            match node {
                Node::Leaf => leaves.push((nodes.len(), cotangent)),
                Node::Param(id) => parameters.push((id, cotangent)),
                Node::Alias(of) => add(&mut cotangents[of], cotangent),
                Node::Lent => {}
                Node::Operation(call) => {
                    let parents = call.parents();
                    let needs: SmallVec<[bool; 3]> = parents.iter().map(Option::is_some).collect();
                    let gradients = call.vjp(&needs, cotangent);
                    for (&parent, gradient) in parents.iter().zip(gradients) {
                        let (Some(parent), Some(gradient)) = (parent, gradient) else { continue };
                        add(&mut cotangents[parent], gradient);
                    }
                }
            }
        }
        Ok(Gradients::new(self.clone(), loss.item()?, parameters, leaves, updates))
    }

    /// The first recorded operation that an infinity or NaN went into or came
    /// out of, in words that name it and the parameters beside it; `name`
    /// tells a parameter's name. `None` when everything is finite. Call it
    /// before `backward`, which consumes the record.
    pub fn first_not_finite(&self, name: impl Fn(ParamId) -> Option<String>) -> Option<String> {
        let record = self.shared.record();
        let param_name = |id| name(id).unwrap_or_else(|| "unnamed parameter".to_owned());
        let mut latest = None;
        for node in &record.nodes {
            let Node::Operation(call) = node else { continue };
            let mut own = None;
            let mut constant_is_bad = false;
            for (input, parent) in call.inputs().iter().zip(call.parents()) {
                match parent.map(|parent| &record.nodes[parent]) {
                    Some(&Node::Param(id)) => {
                        own = own.or(Some(id));
                        if !input.is_finite() {
                            return Some(format!("the value of `{}`", param_name(id)));
                        }
                    }
                    Some(Node::Leaf) if !input.is_finite() => return Some("a leaf".to_owned()),
                    // What another operation put out was looked at there.
                    Some(_) => {}
                    None => constant_is_bad |= !input.is_finite(),
                }
            }
            let name = call.name();
            let place = match (own, latest) {
                (Some(id), _) => format!("`{name}` with `{}`", param_name(id)),
                (None, Some(id)) => format!("`{name}` after `{}`", param_name(id)),
                (None, None) => format!("`{name}`"),
            };
            if constant_is_bad {
                return Some(format!("the input of {place}"));
            }
            if !call.output().is_finite() {
                return Some(format!("the output of {place}"));
            }
            latest = own.or(latest);
        }
        None
    }
}

/// Adds to a sum that may not have begun.
fn add<V: std::ops::Add<Output = V>>(sum: &mut Option<V>, term: V) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + term,
        None => term,
    });
}

impl<T: Float> Shared<T> {
    fn record(&self) -> MutexGuard<'_, Record<T>> {
        // A panic while recording leaves at worst a node too many.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Recorder::pull`]; with `again` the gradients are recorded.
    fn pull_back(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        wrt: &[usize],
        again: bool,
    ) -> Result<Vec<Option<Term<T>>>> {
        let mut found: Vec<Option<Term<T>>> = vec![None; wrt.len()];
        let (Some(recorder), Some(last)) = (output.recorder(), output.node()) else {
            return Ok(found);
        };
        let Some(&first) = wrt.iter().min() else { return Ok(found) };
        if first > last {
            return Ok(found);
        }
        let mut path = vec![false; last - first + 1];
        {
            let record = self.record();
            let on_path =
                |path: &[bool], node: usize| node.checked_sub(first).is_some_and(|i| path[i]);
            for node in first..=last {
                path[node - first] = wrt.contains(&node)
                    || match &record.nodes[node] {
                        Node::Alias(of) => on_path(&path, *of),
                        Node::Operation(call) => {
                            call.parents().iter().flatten().any(|&parent| on_path(&path, parent))
                        }
                        Node::Leaf | Node::Param(_) | Node::Lent => false,
                    };
            }
        }
        let mut cotangents: Vec<Option<Term<T>>> = vec![None; path.len()];
        cotangents[last - first] = Some(cotangent.clone());
        for node in (first..=last).rev() {
            let Some(cotangent) = cotangents[node - first].take() else { continue };
            for (found, &asked) in found.iter_mut().zip(wrt) {
                if asked == node {
                    *found = Some(cotangent.clone());
                }
            }
            let needed = |parent: usize| parent.checked_sub(first).filter(|&index| path[index]);
            let lent = std::mem::replace(&mut self.record().nodes[node], Node::Lent);
            let gradients = match &lent {
                Node::Alias(of) => {
                    if let Some(index) = needed(*of) {
                        add(&mut cotangents[index], cotangent);
                    }
                    Ok(TermCotangents::new())
                }
                Node::Operation(call) => {
                    let needs: SmallVec<[bool; 3]> = call
                        .parents()
                        .iter()
                        .map(|parent| parent.and_then(needed).is_some())
                        .collect();
                    match again {
                        true => vjp_terms(&**call, recorder, node, &needs, &cotangent),
                        false => {
                            let gradients = call.vjp(&needs, cotangent.into_value());
                            Ok(gradients.into_iter().map(|g| g.map(Term::constant)).collect())
                        }
                    }
                }
                Node::Leaf | Node::Param(_) | Node::Lent => Ok(TermCotangents::new()),
            };
            if let (Node::Operation(call), Ok(gradients)) = (&lent, &gradients) {
                for (&parent, gradient) in call.parents().iter().zip(gradients) {
                    if let (Some(index), Some(gradient)) =
                        (parent.and_then(needed), gradient.clone())
                    {
                        add(&mut cotangents[index], gradient);
                    }
                }
            }
            self.record().nodes[node] = lent;
            gradients?;
        }
        Ok(found)
    }
}

/// The gradients of a call, the one of `node`, as terms.
fn vjp_terms<T: Float>(
    call: &dyn Recorded<T>,
    recorder: &Arc<dyn Recorder<T>>,
    node: usize,
    needs: &[bool],
    cotangent: &Term<T>,
) -> Result<TermCotangents<T>> {
    let inputs = call.inputs().iter().zip(call.parents());
    let inputs: Vec<Term<T>> = inputs
        .map(|(input, parent)| match parent {
            Some(parent) => Term::recorded(input.clone(), Arc::clone(recorder), *parent),
            None => Term::constant(input.clone()),
        })
        .collect();
    let output = Term::recorded(call.output().clone(), Arc::clone(recorder), node);
    call.vjp_terms(&inputs, &output, needs, cotangent)
}

impl<T: Float> Recorder<T> for Shared<T> {
    fn record(&self, call: Box<dyn Recorded<T>>) -> usize {
        Self::record(self).push(Node::Operation(call))
    }

    fn alias(&self, node: usize) -> usize {
        Self::record(self).push(Node::Alias(node))
    }

    fn pull(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        nodes: &[usize],
    ) -> Result<Vec<Option<Term<T>>>> {
        self.pull_back(output, cotangent, nodes, true)
    }
}

impl<T: Float> Record<T> {
    fn push(&mut self, node: Node<T>) -> usize {
        if self.finished {
            // Nothing will ask for this node again: `backward` refuses.
            return 0;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

impl<T: Float> fmt::Debug for Tape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.shared.mode {
            Mode::Training => "training",
            Mode::Evaluation => "evaluation",
            Mode::Inference => "inference",
        };
        write!(f, "Tape ({mode}, {} nodes)", self.shared.record().nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Ops;

    use super::*;

    #[test]
    fn misuse_is_explained() {
        let message = |result: Result<Gradients>| match result {
            Ok(_) => panic!("expected an error"),
            Err(error) => error.to_string(),
        };
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::from([1.0, 2.0]));
        assert!(message(x.square().backward()).contains("scalar loss, got shape [2]"));
        assert!(message(tape.input(Tensor::scalar(1.0)).backward()).contains("no parameter"));
        assert!(message(Var::new(Tensor::scalar(1.0)).backward()).contains("not on a tape"));
        let other = Tape::training(0, 0).leaf(Tensor::from([1.0, 2.0]));
        let error = x.add(&other).unwrap_err().to_string();
        assert!(error.contains("different tapes"), "{error}");
        let loss = x.square().sum();
        assert!(loss.backward().is_ok());
        assert!(message(loss.backward()).contains("used already"));
        assert!(message(x.sum().backward()).contains("used already"));
    }

    #[test]
    fn a_value_used_several_times_accumulates() {
        let weight = Param::new(Tensor::scalar(3.0));
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::scalar(2.0));
        let (a, b) = (weight.on(&x), weight.on(&x));
        // w·x + x·w·x, so ∂w = x + x² and ∂x = w + 2wx
        let loss = &a * &x + &x * &b * &x;
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.get(&weight).unwrap().item().unwrap(), 6.0);
        assert_eq!(gradients.wrt(&x).unwrap().item().unwrap(), 15.0);
    }

    #[test]
    fn random_streams_depend_on_seed_step_and_order_alone() {
        let draw = |seed, step| {
            let tape = Tape::<f32>::training(seed, step);
            [tape.random_stream().next_u64(), tape.random_stream().next_u64()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        let [first, second] = draw(1, 2);
        assert_ne!(first, second);
        assert_ne!(draw(1, 3)[0], first);
        assert_ne!(draw(2, 2)[0], first);
    }

    #[test]
    fn the_first_bad_value_is_named() {
        let weight = Param::new(Tensor::from([[1.0_f32, f32::MAX]]));
        let name = |id| (id == weight.id()).then(|| "fc1.weight".to_owned());
        let run = |input: f32| {
            let tape = Tape::training(0, 0);
            let x = tape.input(Tensor::from([[1.0, input]]));
            let _ = x.linear(&weight.on(&x), None).unwrap().relu().sum();
            tape.first_not_finite(name)
        };
        assert_eq!(run(1.0), None);
        assert_eq!(run(f32::NAN).unwrap(), "the input of `linear` with `fc1.weight`");
        assert_eq!(run(2.0).unwrap(), "the output of `linear` with `fc1.weight`");
    }
}
