//! The tape: a record of operations in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dendra_tensor::ops::{Op, Parents, Recorded, record};
use dendra_tensor::{Float, HalfPrecision, Rng, Tensor, warn_if_unoptimised};
use smallvec::SmallVec;

#[cfg(feature = "gradients")]
use crate::checkpoint::Part;
use crate::gradients::Update;
#[cfg(feature = "gradients")]
use crate::hooks::Watch;
use crate::param::{Buffer, Counter, Param, ParamId};
use crate::recording::Recording;
use crate::shared_batch_norm::SharedBatchNorm;
use crate::var::Var;

/// The initial capacity of a tape in nodes. It is sufficient for a small network
/// and takes less than a kilobyte. A larger allocation would make glibc's
/// allocator consolidate its lists of small blocks, which is slow.
pub(crate) const NODES: usize = 32;

/// The record of one forward pass. It also contains the mode (training or
/// evaluation) and the random stream of the pass.
///
/// A tape serves one step: [`Var::backward`] consumes the record. A clone is
/// another handle of the same tape.
pub struct Tape<T: Float = f32> {
    pub(crate) shared: Arc<Shared<T>>,
}

pub(crate) struct Shared<T: Float> {
    mode: Mode,
    /// The precision to which operands of products are rounded.
    pub(crate) autocast: Option<HalfPrecision>,
    random: Rng,
    record: Mutex<Record<T>>,
    /// The tape that records for this one, which differs from it only in the
    /// mode, in autocast and in batch normalisation.
    recorder: Option<Arc<Shared<T>>>,
    /// The recording of a tracing tape.
    recording: Option<Box<Mutex<Recording<T>>>>,
    /// The rule for the batch normalisation of training, if it is not that of a
    /// single batch.
    pub(crate) batch_norm: Option<Arc<dyn SharedBatchNorm<T>>>,
}

pub(crate) struct Record<T: Float> {
    pub(crate) nodes: Vec<Node<T>>,
    pub(crate) parameters: BTreeMap<ParamId, usize>,
    pub(crate) updates: Vec<Update<T>>,
    /// The number of random streams created so far.
    streams: u64,
    /// What a pass has to do besides computing gradients; `None` for nothing.
    #[cfg(feature = "gradients")]
    pub(crate) watch: Option<Box<Watch<T>>>,
    /// Whether a pass that keeps the record is running.
    #[cfg(feature = "gradients")]
    pub(crate) passing: bool,
    /// Whether `backward` was called.
    #[cfg(feature = "gradients")]
    pub(crate) finished: bool,
}

/// The origin of a value that needs a gradient.
#[cfg_attr(not(feature = "gradients"), expect(dead_code, reason = "gradients use it"))]
pub(crate) enum Node<T: Float> {
    /// [`Tape::leaf`].
    Leaf,
    /// [`Param::on`].
    Param(ParamId),
    /// The same value as that of another node.
    Alias(usize),
    /// An operation.
    Operation(Box<dyn Recorded<T>>),
    /// Taken by a pass that is being recorded.
    #[cfg(feature = "gradients")]
    Lent,
    /// An operation that a later [`Node::Part`] recomputes; the nodes of its
    /// inputs.
    #[cfg(feature = "gradients")]
    Dropped(Box<[Option<usize>]>),
    /// The end of a part that is recomputed.
    #[cfg(feature = "gradients")]
    Part(Box<Part<T>>),
}

/// The purpose of a forward pass.
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
        let record = Mutex::new(Record::with_room_for(NODES));
        let (autocast, recorder, recording, batch_norm) = (None, None, None, None);
        Self::of(Shared { mode, autocast, random, record, recorder, recording, batch_norm })
    }

    fn of(shared: Shared<T>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// This tape in evaluation mode, for a part of a model; operations are
    /// recorded on this tape.
    pub(crate) fn in_evaluation(&self) -> Self {
        self.with(Mode::Evaluation, self.shared.autocast, self.shared.batch_norm.clone())
    }

    /// This tape with another autocast, for a part of a model; operations are
    /// recorded on this tape.
    pub(crate) fn with_autocast(&self, autocast: Option<HalfPrecision>) -> Self {
        self.with(self.shared.mode, autocast, self.shared.batch_norm.clone())
    }

    /// This tape with another rule for batch normalisation; operations are
    /// recorded on this tape.
    pub(crate) fn with_batch_norm(&self, batch_norm: Arc<dyn SharedBatchNorm<T>>) -> Self {
        self.with(self.shared.mode, self.shared.autocast, Some(batch_norm))
    }

    /// Another handle of this tape, with these settings.
    fn with(
        &self,
        mode: Mode,
        autocast: Option<HalfPrecision>,
        batch_norm: Option<Arc<dyn SharedBatchNorm<T>>>,
    ) -> Self {
        // This record is never used: the recorder's record is used instead.
        let record = Mutex::new(Record::with_room_for(0));
        let random = self.shared.random.clone();
        let recorder = Some(Arc::clone(self.recorder()));
        let recording = None;
        Self::of(Shared { mode, autocast, random, record, recorder, recording, batch_norm })
    }

    /// The tape that records for this one.
    pub(crate) fn recorder(&self) -> &Arc<Shared<T>> {
        self.shared.recorder.as_ref().unwrap_or(&self.shared)
    }

    /// A tape in training mode. Random values of the forward pass depend only
    /// on seed and step.
    pub fn training(seed: u64, step: u64) -> Self {
        warn_if_unoptimised();
        Self::new(Mode::Training, Rng::seed(seed).fork(step))
    }

    /// A tape in evaluation mode: dropout passes values through, and batch
    /// normalisation uses its running statistics. It is meant for gradients of
    /// a trained model, such as saliency maps; without gradients no tape is
    /// needed.
    pub fn evaluation() -> Self {
        Self::new(Mode::Evaluation, Rng::seed(0))
    }

    /// A tape in evaluation mode on which nothing needs a gradient, so nothing
    /// is recorded. It is meant for models that require a tape when no
    /// gradients are wanted.
    pub fn inference() -> Self {
        Self::new(Mode::Inference, Rng::seed(0))
    }

    /// A tape in evaluation mode that records everything for
    /// [`take_recording`](Self::take_recording); it computes no gradients.
    pub fn tracing() -> Self {
        let mut tape = Self::evaluation();
        if let Some(shared) = Arc::get_mut(&mut tape.shared) {
            shared.recording = Some(Box::new(Mutex::new(Recording::new())));
        }
        tape
    }

    pub(crate) fn recording(&self) -> Option<MutexGuard<'_, Recording<T>>> {
        let recording = self.recorder().recording.as_ref()?;
        Some(recording.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the tape is in training mode.
    pub fn is_training(&self) -> bool {
        self.shared.mode == Mode::Training
    }

    /// Whether something on this tape distinguishes operations: a trace, or a
    /// hook of [`register_rule_hook`](Self::register_rule_hook). A container
    /// then runs its layers one by one instead of several as one operation.
    pub fn distinguishes_operations(&self) -> bool {
        self.is_tracing() || self.shared.record().has_rules()
    }

    /// Whether both are handles of the same tape.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.recorder(), other.recorder())
    }

    /// A value on this tape that needs no gradient: data.
    pub fn input(&self, value: Tensor<T>) -> Var<T> {
        let node = self.recording().map(|mut recording| recording.value(&value));
        Var::on_tape(value, self.clone(), node)
    }

    /// A value on this tape that needs a gradient; get it with
    /// [`Gradients::wrt`](crate::Gradients::wrt).
    ///
    /// On a tape for [`inference`](Self::inference) it is an
    /// [`input`](Self::input).
    pub fn leaf(&self, value: Tensor<T>) -> Var<T> {
        if !self.records() || self.is_tracing() {
            return self.input(value);
        }
        let node = self.shared.record().push(Node::Leaf);
        Var::on_tape(value, self.clone(), Some(node))
    }

    /// Whether what needs a gradient is recorded.
    fn records(&self) -> bool {
        cfg!(feature = "gradients") && self.shared.mode != Mode::Inference
    }

    /// The parameter on this tape; all uses share one node.
    pub(crate) fn parameter(&self, param: &Param<T>) -> Var<T> {
        if let Some(mut recording) = self.recording() {
            let node = recording.parameter(param);
            return Var::on_tape(param.value().clone(), self.clone(), Some(node));
        }
        if !self.records() {
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
        Var::on_tape(param.value().clone(), self.clone(), Some(node))
    }

    /// A new random stream for the next random operation.
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

    /// When the gradients are applied, adds `target` to a buffer that is the
    /// mean of `seen` targets. Several updates of one step are added one after
    /// the other.
    pub fn update_average(&self, buffer: &Buffer<T>, target: Tensor<T>, seen: u64) {
        self.shared.record().updates.push(Update::Average { buffer: buffer.id(), target, seen });
    }

    /// Increments the counter when the gradients are applied.
    pub fn increment(&self, counter: &Counter) {
        self.shared.record().updates.push(Update::Increment { buffer: counter.id() });
    }

    /// Applies an operation and, when an input needs a gradient, records it.
    pub(crate) fn apply<O: Op<T>>(&self, operation: O, inputs: &[&Var<T>]) -> Var<T> {
        if let Some(inputs) = self.narrow(O::PRODUCT_OPERANDS, inputs) {
            let call = record(operation, &inputs.references(), inputs.parents.clone());
            return self.keep_narrow(inputs, call);
        }
        let values = values(inputs);
        match self.parents(inputs) {
            Some(parents) => self.keep(record(operation, &values, parents)),
            None => Var::on_tape(operation.forward(&values).0, self.clone(), None),
        }
    }

    // The following functions are not generic over the operation, so that they are
    // compiled only once.

    /// The nodes of the inputs of a call; `None` if the call is not recorded.
    #[inline(never)]
    pub(crate) fn parents(&self, inputs: &[&Var<T>]) -> Option<Parents> {
        if let Some(mut recording) = self.recording() {
            let mut node =
                |input: &Var<T>| input.node().unwrap_or_else(|| recording.value(input.value()));
            return Some(inputs.iter().map(|&input| Some(node(input))).collect());
        }
        let parents: Parents = inputs.iter().map(|input| input.node()).collect();
        parents.iter().any(Option::is_some).then_some(parents)
    }

    /// Records a call and returns its output.
    #[inline(never)]
    pub(crate) fn keep(&self, call: Box<dyn Recorded<T>>) -> Var<T> {
        let output = call.output().clone();
        let node = match self.recording() {
            Some(mut recording) => recording.call(call),
            None => self.shared.record().push(Node::Operation(call)),
        };
        Var::on_tape(output, self.clone(), Some(node))
    }
}

#[inline(never)]
fn values<'a, T: Float>(inputs: &[&'a Var<T>]) -> SmallVec<[&'a Tensor<T>; 4]> {
    inputs.iter().map(|input| input.value()).collect()
}

impl<T: Float> Shared<T> {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record<T>> {
        // A panic while recording leaves at most an unused node.
        let recorder = self.recorder.as_deref().unwrap_or(self);
        recorder.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Float> Record<T> {
    fn with_room_for(nodes: usize) -> Self {
        Self {
            nodes: Vec::with_capacity(nodes),
            parameters: BTreeMap::new(),
            updates: Vec::new(),
            streams: 0,
            #[cfg(feature = "gradients")]
            watch: None,
            #[cfg(feature = "gradients")]
            passing: false,
            #[cfg(feature = "gradients")]
            finished: false,
        }
    }

    /// Whether a rule of an operation is replaced.
    fn has_rules(&self) -> bool {
        #[cfg(feature = "gradients")]
        let has_rules = self.watch.as_ref().is_some_and(|watch| !watch.rules.is_empty());
        #[cfg(not(feature = "gradients"))]
        let has_rules = false;
        has_rules
    }

    pub(crate) fn push(&mut self, node: Node<T>) -> usize {
        #[cfg(feature = "gradients")]
        if self.finished {
            // The node is never used: `backward` returns an error.
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
    use dendra_tensor::{Ops, Result};

    use super::*;
    use crate::gradients::Gradients;

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
        assert!(message(loss.backward()).contains("already used"));
        assert!(message(x.sum().backward()).contains("already used"));
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
}
