//! Calls of operations with the types erased: what a tape holds.
//!
//! A call can be differentiated in two ways. [`Recorded::vjp`] computes with
//! tensors, in the operation's own kernels. [`Recorded::vjp_terms`] gives the
//! same gradients as [`Term`]s, made of operations that are recorded in turn,
//! so that gradients have gradients.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Attribute, Attributes, Call, Cotangents, Op, Ops, SampleCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::ops_operators;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A call of an operation, its types erased.
pub trait Recorded<T: Float>: Send + Sync {
    /// [`Op::NAME`].
    fn name(&self) -> &'static str;

    /// [`Op::attributes`].
    fn attributes(&self) -> Attributes;

    /// [`Op::multiply_adds`] of this call.
    fn multiply_adds(&self) -> u64;

    /// What went in.
    fn inputs(&self) -> &[Tensor<T>];

    /// The nodes of the inputs on the tape that keeps the call; `None` for
    /// constants.
    fn parents(&self) -> &[Option<usize>];

    /// What came out.
    fn output(&self) -> &Tensor<T>;

    /// The gradients of those inputs that need one, as [`Op::vjp`].
    fn vjp(&self, needs: &[bool], cotangent: Tensor<T>) -> Cotangents<T>;

    /// As [`Op::add_vjp`].
    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool;

    /// The same gradients as terms, as [`Op::vjp_terms`].
    ///
    /// # Errors
    ///
    /// When the gradient cannot be differentiated again.
    fn vjp_terms(
        &self,
        inputs: &[Term<T>],
        output: &Term<T>,
        needs: &[bool],
        cotangent: &Term<T>,
    ) -> Result<TermCotangents<T>>;

    /// The same operation applied to other inputs, which come from other nodes.
    ///
    /// # Errors
    ///
    /// When the operation's shape rule refuses the inputs.
    fn replay(&self, inputs: &[&Tensor<T>], parents: Parents) -> Result<Box<dyn Recorded<T>>> {
        self.replay_with(&[], inputs, parents)
    }

    /// As [`replay`](Self::replay), with other values of some settings.
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

    /// As [`Op::vjp_per_sample`].
    ///
    /// # Errors
    ///
    /// When the operation mixes samples.
    fn vjp_per_sample(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>>;

    /// As [`Op::sample_norms`].
    fn sample_norms(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>>;

    /// As [`Op::is_elementwise`].
    fn is_elementwise(&self) -> bool;
}

/// An operation, its types erased: a call whose values were dropped.
pub trait Recipe<T: Float>: Send + Sync {
    /// Applies the operation to inputs of the shapes that the call had.
    fn apply(&self, inputs: &[&Tensor<T>], parents: Parents) -> Box<dyn Recorded<T>>;
}

/// An operation alone.
struct Alone<O>(O);

impl<T: Float, O> Recipe<T> for Alone<O>
where
    O: Op<T>,
{
    fn apply(&self, inputs: &[&Tensor<T>], parents: Parents) -> Box<dyn Recorded<T>> {
        record(self.0.clone(), inputs, parents)
    }
}

/// The nodes of an operation's inputs; `None` for constants.
pub type Parents = SmallVec<[Option<usize>; 3]>;

/// Applies an operation to inputs that fit it and keeps the call.
#[inline(never)]
pub fn record<T: Float, O: Op<T>>(
    operation: O,
    inputs: &[&Tensor<T>],
    parents: Parents,
) -> Box<dyn Recorded<T>> {
    let (output, saved) = operation.forward(inputs);
    let inputs = inputs.iter().map(|&input| input.clone()).collect();
    Box::new(Applied { operation, inputs, parents, output, saved })
}

/// An operation, what went in and came out, and what its forward kept.
struct Applied<O, T: Float, S> {
    operation: O,
    inputs: Vec<Tensor<T>>,
    parents: Parents,
    output: Tensor<T>,
    saved: S,
}

impl<T: Float, O> Recorded<T> for Applied<O, T, O::Saved>
where
    O: Op<T>,
{
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn attributes(&self) -> Attributes {
        self.operation.attributes()
    }

    fn multiply_adds(&self) -> u64 {
        let shapes: SmallVec<[&Shape; 4]> = self.inputs.iter().map(Tensor::shape).collect();
        self.operation.multiply_adds(&shapes, self.output.shape())
    }

    fn inputs(&self) -> &[Tensor<T>] {
        &self.inputs
    }

    fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    fn output(&self) -> &Tensor<T> {
        &self.output
    }

    fn vjp(&self, needs: &[bool], cotangent: Tensor<T>) -> Cotangents<T> {
        let Self { operation, inputs, output, saved, .. } = self;
        operation.vjp(Call { inputs, output, saved, needs, cotangent })
    }

    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool {
        self.operation.add_vjp(cotangent, sum)
    }

    fn vjp_terms(
        &self,
        inputs: &[Term<T>],
        output: &Term<T>,
        needs: &[bool],
        cotangent: &Term<T>,
    ) -> Result<TermCotangents<T>> {
        let saved = &self.saved;
        self.operation.vjp_terms(TermCall { inputs, output, saved, needs, cotangent })
    }

    fn replay_with(
        &self,
        settings: &[(&'static str, Attribute)],
        inputs: &[&Tensor<T>],
        parents: Parents,
    ) -> Result<Box<dyn Recorded<T>>> {
        let mut operation = self.operation.clone();
        for (name, value) in settings {
            operation = operation.with_setting(name, value).ok_or_else(|| {
                let message = format!("the setting `{name}` cannot become {value}");
                Error::argument(O::NAME, message)
            })?;
        }
        let shapes: SmallVec<[&Shape; 4]> = inputs.iter().map(|input| input.shape()).collect();
        let output = operation.output_shape(&shapes)?;
        output.check_memory::<T>(O::NAME)?;
        Ok(record(operation, inputs, parents))
    }

    fn recipe(&self) -> Box<dyn Recipe<T>> {
        Box::new(Alone(self.operation.clone()))
    }

    fn vjp_per_sample(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let Self { operation, inputs, output, saved, .. } = self;
        operation.vjp_per_sample(Call { inputs, output, saved, needs, cotangent }, samples)
    }

    fn sample_norms(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>> {
        let Self { operation, inputs, output, saved, .. } = self;
        operation.sample_norms(Call { inputs, output, saved, needs, cotangent }, samples)
    }

    fn is_elementwise(&self) -> bool {
        self.operation.is_elementwise()
    }
}

/// Keeps the calls of operations on [`Term`]s: a tape.
pub trait Recorder<T: Float>: Send + Sync {
    /// Keeps a call and gives the node of its output.
    fn record(&self, call: Box<dyn Recorded<T>>) -> usize;

    /// A node with the value and the gradient of another.
    fn alias(&self, node: usize) -> usize;

    /// The gradient of ⟨cotangent, output⟩ by each of some nodes, recorded; `None`
    /// where the output does not depend on the node.
    ///
    /// # Errors
    ///
    /// When a gradient on the way cannot be differentiated again.
    fn pull(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        nodes: &[usize],
    ) -> Result<Vec<Option<Term<T>>>>;
}

/// A value in the gradient of an operation: it may sit on a tape, and what is
/// computed with it is recorded there. Its functions are the methods of
/// [`Ops`] and the operators.
pub struct Term<T: Float = f32> {
    value: Tensor<T>,
    node: Option<(Arc<dyn Recorder<T>>, usize)>,
}

/// One gradient for each input; `None` where it is not needed.
pub type TermCotangents<T> = SmallVec<[Option<Term<T>>; 3]>;

/// One call of an operation, seen from the gradient that is recorded.
pub struct TermCall<'a, T: Float, S> {
    /// What went in.
    pub inputs: &'a [Term<T>],
    /// What came out.
    pub output: &'a Term<T>,
    /// What `forward` kept.
    pub saved: &'a S,
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
    /// The gradient of the result with respect to the output.
    pub cotangent: &'a Term<T>,
}

impl<T: Float> Term<T> {
    /// A value that came from a node.
    pub fn recorded(value: Tensor<T>, recorder: Arc<dyn Recorder<T>>, node: usize) -> Self {
        Self { value, node: Some((recorder, node)) }
    }

    /// The node it came from; `None` for constants.
    pub fn node(&self) -> Option<usize> {
        self.node.as_ref().map(|&(_, node)| node)
    }

    /// What records the operations on it; `None` for constants.
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

    /// Summed over what broadcasting stretched, so that it has this shape: the
    /// gradient of an operand that was stretched to the shape of the result.
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
        // Without axes nothing is summed: an empty list would mean all of them.
        let sum = if axes.is_empty() { self.clone() } else { self.sum_axes(&axes, true)? };
        sum.reshape(shape.clone())
    }
}

impl<T: Float, S> TermCall<'_, T, S> {
    /// The gradients of all inputs, each computed only where it is needed.
    ///
    /// # Errors
    ///
    /// What `gradient` returns.
    pub fn each(&self, gradient: impl Fn(usize) -> Result<Term<T>>) -> Result<TermCotangents<T>> {
        let each = self.needs.iter().enumerate();
        each.map(|(i, &needed)| needed.then(|| gradient(i)).transpose()).collect()
    }

    /// The gradients of an operation that can be composed of others: those of
    /// the composition.
    ///
    /// # Errors
    ///
    /// What `function` returns, and when one of its operations has a gradient
    /// that cannot be differentiated again.
    pub fn compose(
        &self,
        function: impl FnOnce(&[Term<T>]) -> Result<Term<T>>,
    ) -> Result<TermCotangents<T>> {
        let Some((recorder, _)) = &self.output.node else {
            return Err(Error::tape("the output of a recorded operation must be on a tape"));
        };
        // Nodes of their own, since one value may be several inputs.
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
        let values: SmallVec<[&Tensor<T>; 4]> = inputs.iter().map(|input| &input.value).collect();
        let Some((recorder, _)) = inputs.iter().find_map(|input| input.node.as_ref()) else {
            return Self::constant(operation.forward(&values).0);
        };
        let parents = inputs.iter().map(|input| input.node()).collect();
        let call = record(operation, &values, parents);
        let value = call.output().clone();
        let node = recorder.record(call);
        Self::recorded(value, Arc::clone(recorder), node)
    }

    fn ensure_together(_: &[&Self]) -> Result<()> {
        // All come from one call, so from one tape.
        Ok(())
    }
}

ops_operators! { Term<T>, f64, |x| x }
