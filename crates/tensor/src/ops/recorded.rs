//! Calls of operations with the types erased, as a tape stores them.
//!
//! A call can be differentiated in two ways. [`Recorded::vjp`] computes with
//! tensors, with the operation's own kernels. [`Recorded::vjp_terms`] computes
//! the same gradients with [`Term`]s, by operations that are themselves
//! recorded, so that the gradients can be differentiated again.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::narrow::HalfTensor;
use super::recipe::Recipe;
use super::{Attribute, Attributes, Op, Ops, record};
#[cfg(feature = "gradients")]
use super::{Cotangents, SampleCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::ops_operators;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A call of an operation with its types erased.
pub trait Recorded<T: Float>: Send + Sync {
    /// [`Op::NAME`].
    fn name(&self) -> &'static str;

    /// [`Op::attributes`].
    fn attributes(&self) -> Attributes;

    /// [`Op::multiply_adds`] of this call.
    fn multiply_adds(&self) -> u64;

    /// The inputs.
    fn inputs(&self) -> &[Tensor<T>];

    /// The nodes of the inputs on the tape that stores the call; `None` for
    /// constants.
    fn parents(&self) -> &[Option<usize>];

    /// The output of the call.
    fn output(&self) -> &Tensor<T>;

    /// The output in half precision, for a call that keeps it so.
    fn half_output(&self) -> Option<&HalfTensor> {
        None
    }

    /// Whether an input is the rounded value of the one that the call was given.
    fn rounds_input(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// Takes the inputs and the output out of the call. It keeps their shapes;
    /// its other methods that use values must not be called any more.
    fn take_values(&mut self) -> (Vec<Tensor<T>>, Tensor<T>);

    /// The gradients of the inputs that need one; see [`Op::vjp`].
    #[cfg(feature = "gradients")]
    fn vjp(&self, needs: &[bool], cotangent: Tensor<T>) -> Cotangents<T>;

    /// Like [`vjp`](Self::vjp) with these inputs and this output instead of
    /// those of the call.
    #[cfg(feature = "gradients")]
    fn vjp_of(
        &self,
        values: (&[Tensor<T>], &Tensor<T>),
        needs: &[bool],
        cotangent: Tensor<T>,
    ) -> Cotangents<T>;

    /// Like [`Op::add_vjp`].
    #[cfg(feature = "gradients")]
    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool;

    /// The same gradients as terms; see [`Op::vjp_terms`].
    ///
    /// # Errors
    ///
    /// When the gradient cannot be differentiated again.
    #[cfg(feature = "gradients")]
    fn vjp_terms(
        &self,
        inputs: &[Term<T>],
        output: &Term<T>,
        needs: &[bool],
        cotangent: &Term<T>,
    ) -> Result<TermCotangents<T>>;

    /// The same operation applied to other inputs, from other nodes.
    ///
    /// # Errors
    ///
    /// When the operation's shape rule refuses the inputs.
    fn replay(&self, inputs: &[&Tensor<T>], parents: Parents) -> Result<Box<dyn Recorded<T>>> {
        self.replay_with(&[], inputs, parents)
    }

    /// Like [`replay`](Self::replay), with other values of some settings.
    ///
    /// # Errors
    ///
    /// When [`Op::with_setting`] does not know a setting, or the shape rule
    /// refuses the inputs.
    fn replay_with(
        &self,
        settings: &[(&'static str, Attribute)],
        inputs: &[&Tensor<T>],
        parents: Parents,
    ) -> Result<Box<dyn Recorded<T>>>;

    /// The operation without the values.
    fn recipe(&self) -> Box<dyn Recipe<T>>;

    /// Like [`Op::vjp_per_sample`].
    ///
    /// # Errors
    ///
    /// When the operation mixes samples.
    #[cfg(feature = "gradients")]
    fn vjp_per_sample(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>>;

    /// Like [`Op::sample_norms`].
    #[cfg(feature = "gradients")]
    fn sample_norms(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>>;

    /// Like [`Op::is_elementwise`].
    fn is_elementwise(&self) -> bool;
}

impl<T: Float> fmt::Debug for dyn Recorded<T> + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The nodes of an operation's inputs; `None` for constants.
pub type Parents = SmallVec<[Option<usize>; 3]>;

/// Records the calls of operations on [`Term`]s: a tape.
pub trait Recorder<T: Float>: Send + Sync {
    /// Records a call and returns the node of its output.
    fn record(&self, call: Box<dyn Recorded<T>>) -> usize;

    /// A new node with the value and the gradient of another.
    fn alias(&self, node: usize) -> usize;

    /// The gradient of ⟨cotangent, output⟩ with respect to each of some nodes,
    /// recorded; `None` where the output does not depend on the node.
    ///
    /// # Errors
    ///
    /// When the gradient of an operation in between cannot be differentiated
    /// again.
    fn pull(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        nodes: &[usize],
    ) -> Result<Vec<Option<Term<T>>>>;
}

/// A value in the gradient of an operation. If it is on a tape, operations on
/// it are recorded there. Its functions are the methods of [`Ops`] and the
/// operators.
pub struct Term<T: Float = f32> {
    value: Tensor<T>,
    node: Option<(Arc<dyn Recorder<T>>, usize)>,
}

/// One gradient for each input; `None` where it is not needed.
pub type TermCotangents<T> = SmallVec<[Option<Term<T>>; 3]>;

/// One call of an operation, with everything that its recorded gradient needs.
#[derive(Debug)]
pub struct TermCall<'a, T: Float, S> {
    /// The inputs.
    pub inputs: &'a [Term<T>],
    /// The output.
    pub output: &'a Term<T>,
    /// What `forward` kept for the gradient.
    pub saved: &'a S,
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
    /// The gradient of the result with respect to the output.
    pub cotangent: &'a Term<T>,
}

impl<T: Float> Term<T> {
    /// A value that was recorded as a node.
    pub fn recorded(value: Tensor<T>, recorder: Arc<dyn Recorder<T>>, node: usize) -> Self {
        Self { value, node: Some((recorder, node)) }
    }

    #[inline(never)]
    fn values<'a>(terms: &[&'a Self]) -> SmallVec<[&'a Tensor<T>; 4]> {
        terms.iter().map(|term| &term.value).collect()
    }

    /// The tape that records a call with these inputs, and their nodes; `None`
    /// if all are constants.
    #[inline(never)]
    fn parents<'a>(terms: &[&'a Self]) -> Option<(&'a Arc<dyn Recorder<T>>, Parents)> {
        let recorder = terms.iter().find_map(|term| term.recorder())?;
        Some((recorder, terms.iter().map(|term| term.node()).collect()))
    }

    /// The output of a call, which is recorded.
    #[inline(never)]
    fn keep(recorder: &Arc<dyn Recorder<T>>, call: Box<dyn Recorded<T>>) -> Self {
        let value = call.output().clone();
        let node = recorder.record(call);
        Self::recorded(value, Arc::clone(recorder), node)
    }

    /// The node of the value; `None` for constants.
    pub fn node(&self) -> Option<usize> {
        self.node.as_ref().map(|&(_, node)| node)
    }

    /// The tape that records operations on the value; `None` for constants.
    pub fn recorder(&self) -> Option<&Arc<dyn Recorder<T>>> {
        self.node.as_ref().map(|(recorder, _)| recorder)
    }

    /// The shape of the value.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The value alone.
    pub fn into_value(self) -> Tensor<T> {
        self.value
    }

    /// The sum over the axes that broadcasting repeated, so that the result has
    /// this shape: the gradient of an operand that was broadcast to the shape
    /// of the result.
    ///
    /// # Errors
    ///
    /// When this shape does not broadcast to the value's.
    pub fn sum_to(&self, shape: &Shape) -> Result<Self> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        let added = self.shape().len().checked_sub(shape.len()).ok_or_else(|| {
            let message = format!("{shape} does not broadcast to {}", self.shape());
            Error::shape("sum_to", message)
        })?;
        let stretched =
            |&axis: &usize| axis < added || (shape[axis - added] == 1 && self.shape()[axis] != 1);
        let axes: Vec<isize> =
            (0..self.shape().len()).filter(stretched).map(|axis| axis as isize).collect();
        // An empty list of axes would mean all axes.
        let sum = if axes.is_empty() { self.clone() } else { self.sum_axes(&axes, true)? };
        sum.reshape(shape.clone())
    }
}

impl<T: Float, S> TermCall<'_, T, S> {
    /// The gradients of all inputs, computed only where needed.
    ///
    /// # Errors
    ///
    /// The error that `gradient` returns.
    pub fn each(&self, gradient: impl Fn(usize) -> Result<Term<T>>) -> Result<TermCotangents<T>> {
        #[inline(never)]
        fn where_needed<T: Float>(
            needs: &[bool],
            gradient: &dyn Fn(usize) -> Result<Term<T>>,
        ) -> Result<TermCotangents<T>> {
            let needs = needs.iter().enumerate();
            needs.map(|(index, &needed)| needed.then(|| gradient(index)).transpose()).collect()
        }
        where_needed(self.needs, &gradient)
    }

    /// The gradients of an operation that can be composed of others, computed
    /// from that composition.
    ///
    /// # Errors
    ///
    /// The error that `function` returns, and when the gradient of one of its
    /// operations cannot be differentiated again.
    pub fn compose(
        &self,
        function: impl FnOnce(&[Term<T>]) -> Result<Term<T>>,
    ) -> Result<TermCotangents<T>> {
        let Some((recorder, _)) = &self.output.node else {
            return Err(Error::tape("the output of a recorded operation must be on a tape"));
        };
        // One new node for each input, since one value may be several inputs.
        let mut nodes = Vec::new();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (input, &needed) in self.inputs.iter().zip(self.needs) {
            let value = input.value.clone();
            inputs.push(match &input.node {
                Some((_, node)) if needed => {
                    let alias = recorder.alias(*node);
                    nodes.push(alias);
                    Term::recorded(value, Arc::clone(recorder), alias)
                }
                _ => input.clone(),
            });
        }
        let output = function(&inputs)?;
        let mut gradients = recorder.pull(&output, self.cotangent, &nodes)?.into_iter();
        let gradient = |(input, &needed): (&Term<T>, &bool)| {
            needed.then(|| {
                let zeros = || Term::constant(Tensor::zeros(input.shape()));
                gradients.next().flatten().unwrap_or_else(zeros)
            })
        };
        Ok(self.inputs.iter().zip(self.needs).map(gradient).collect())
    }
}

impl<T: Float> Clone for Term<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), node: self.node.clone() }
    }
}

impl<T: Float> fmt::Debug for Term<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Term ")?;
        self.value.fmt(f)
    }
}

impl<T: Float> Ops for Term<T> {
    type Element = T;

    fn value(&self) -> &Tensor<T> {
        &self.value
    }

    fn constant(value: Tensor<T>) -> Self {
        Self { value, node: None }
    }

    fn apply<O: Op<T>>(operation: O, inputs: &[&Self]) -> Self {
        let values = Term::values(inputs);
        let Some((recorder, parents)) = Term::parents(inputs) else {
            return Self::constant(operation.forward(&values).0);
        };
        Term::keep(recorder, record(operation, &values, parents))
    }

    fn ensure_together(_: &[&Self]) -> Result<()> {
        // All terms come from one call, so from one tape.
        Ok(())
    }
}

ops_operators! { Term<T>, f64, |x| x }
