//! The record of a tape that traces: calls of operations, constants included,
//! functions without a gradient, and the part of the model that each belongs
//! to.

use std::fmt::Display;
use std::sync::MutexGuard;

use dendra_tensor::ops::{Op, Recorded, record};
use dendra_tensor::{AnyTensor, Element, Error, Float, Result, Tensor, Tensors};
use smallvec::SmallVec;

use crate::function::Function;
use crate::param::{Param, ParamId};
use crate::parameters::{Entry, Parameters, Path};
use crate::tape::Tape;
use crate::var::Var;

/// The record of a tape made by [`Tape::tracing`].
#[derive(Debug)]
pub struct Recording<T: Float = f32> {
    /// The events, in order.
    pub events: Vec<Event<T>>,
    /// The parts that were entered; the first is the whole model.
    pub scopes: Vec<Scope>,
    /// The part that is being computed.
    current: usize,
}

/// An event; a value of the tape is the index of its event.
#[derive(Debug)]
pub enum Event<T: Float> {
    /// A value came from outside: data, a parameter, a constant, or a value of
    /// the tape that was taken off it.
    Value(Tensor<T>),
    /// A parameter was put on the tape.
    Parameter {
        /// Its identity.
        id: ParamId,
        /// Its value.
        value: Tensor<T>,
    },
    /// An operation was called; the parents of the call are events.
    Call {
        /// The call.
        call: Box<dyn Recorded<T>>,
        /// The index of the part.
        scope: usize,
    },
    /// A function without a gradient was called.
    Function {
        /// The function.
        function: Box<dyn Function>,
        /// The inputs.
        inputs: Vec<AnyTensor>,
        /// The output.
        output: AnyTensor,
        /// The index of the part.
        scope: usize,
    },
}

/// A part of a model that was entered; see [`Tape::enter`].
#[derive(Clone, Debug)]
pub struct Scope {
    /// The part in which it was entered; the whole model is in itself.
    pub parent: usize,
    /// Its name in its container.
    pub name: String,
    /// Its description, such as `Linear 784 → 64`.
    pub description: String,
    /// One of the parameters of the container and its path there, from which
    /// the path of the container in the model follows.
    pub anchor: Option<(ParamId, String)>,
}

impl<T: Float> Recording<T> {
    pub(crate) fn new() -> Self {
        let whole =
            Scope { parent: 0, name: String::new(), description: String::new(), anchor: None };
        Self { events: Vec::new(), scopes: vec![whole], current: 0 }
    }

    /// Notes a value that came from outside.
    pub(crate) fn value(&mut self, value: &Tensor<T>) -> usize {
        self.push(Event::Value(value.clone()))
    }

    /// Notes a parameter.
    pub(crate) fn parameter(&mut self, param: &Param<T>) -> usize {
        self.push(Event::Parameter { id: param.id(), value: param.value().clone() })
    }

    fn push(&mut self, event: Event<T>) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }
}

/// While it lives, all computed values belong to a part; see [`Tape::enter`].
#[derive(Debug)]
#[must_use = "the part is left at once when this is dropped"]
pub struct Inside<T: Float> {
    tape: Tape<T>,
    outer: usize,
}

impl<T: Float> Drop for Inside<T> {
    fn drop(&mut self) {
        if let Some(mut recording) = self.tape.recording() {
            recording.current = self.outer;
        }
    }
}

/// Recording events of a trace.
impl<T: Float> Tape<T> {
    /// Whether all events are recorded.
    pub fn is_tracing(&self) -> bool {
        self.recording().is_some()
    }

    /// Begins a part of a model, `name` in its container, for as long as the
    /// returned value lives; a container of layers calls it before each of them.
    /// `None`, and no work, where the tape does not trace.
    pub fn enter(
        &self,
        container: &dyn Parameters<T>,
        name: &dyn Display,
        description: &dyn Display,
    ) -> Option<Inside<T>> {
        let mut recording = self.recording()?;
        let mut anchor = None;
        container.visit(&mut Path::default(), &mut |path, entry| {
            if let (None, Entry::Param(param)) = (&anchor, entry) {
                anchor = Some((param.id(), path.as_str().to_owned()));
            }
        });
        let outer = recording.current;
        recording.current = recording.scopes.len();
        let (name, description) = (name.to_string(), description.to_string());
        recording.scopes.push(Scope { parent: outer, name, description, anchor });
        Some(Inside { tape: self.clone(), outer })
    }

    /// Records in a trace that `output` is the result of a function without a
    /// gradient for these inputs: comparisons, arg-max, masks and integers are
    /// computed by methods of tensors, which no tape records. Does nothing
    /// where the tape does not trace.
    ///
    /// ```
    /// use dendra_autograd::{Comparison, Plain, Tape, Var};
    /// use dendra_tensor::{Ops, Result, Tensor};
    ///
    /// /// Values of which those below 0 count twice.
    /// fn doubled(x: &Var) -> Result<Var> {
    ///     let negative = x.value().lt_scalar(0.0);
    ///     x.note(Plain::CompareScalar(Comparison::Lt, 0.0), &[x.value()], &negative)?;
    ///     (x * 2.0_f32).where_mask(&negative, x)
    /// }
    ///
    /// let y = doubled(&Tape::tracing().input(Tensor::from([-1.0, 1.0])))?;
    /// assert_eq!(y.value().to_vec(), [-2.0, 1.0]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a trace finds that the function gives another output.
    pub fn note(
        &self,
        function: impl Function,
        inputs: &[&dyn AsAny],
        output: &dyn AsAny,
    ) -> Result<()> {
        let Some(mut recording) = self.recording() else { return Ok(()) };
        let inputs = inputs.iter().map(|input| input.as_any()).collect::<Result<Vec<_>>>()?;
        let output = output.as_any()?;
        if !function.apply(&inputs)?.has_bits_of(&output) {
            let message =
                format!("a trace was told that `{}` gave another output", function.name());
            return Err(Error::tape(message));
        }
        let (function, scope) = (Box::new(function) as Box<dyn Function>, recording.current);
        recording.push(Event::Function { function, inputs, output, scope });
        Ok(())
    }

    /// Calls a function without a gradient and records it in a trace. If its
    /// output is put on the tape by [`input`](Self::input), the trace
    /// recognises it. So a computation that depends on the data in other ways
    /// than operations do can be one function of a trace.
    ///
    /// ```
    /// use dendra_autograd::{Plain, Tape};
    /// use dendra_tensor::Tensor;
    ///
    /// let tape = Tape::<f32>::inference();
    /// let mask: Tensor<bool> = tape.call(Plain::Not, &[&Tensor::from([true, false])])?;
    /// assert_eq!(mask.to_vec(), [false, true]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the inputs do not fit, or the output has another element type.
    pub fn call<E: Element>(
        &self,
        function: impl Function,
        inputs: &[&dyn AsAny],
    ) -> Result<Tensor<E>> {
        let inputs = inputs.iter().map(|input| input.as_any()).collect::<Result<Vec<_>>>()?;
        let output = function.apply(&inputs)?;
        let typed = output.downcast().cloned().ok_or_else(|| {
            let (name, found) = (function.name(), output.element());
            Error::tape(format!("`{name}` gives elements of type {found}, not {}", E::NAME))
        })?;
        if let Some(mut recording) = self.recording() {
            let (function, scope) = (Box::new(function) as Box<dyn Function>, recording.current);
            recording.push(Event::Function { function, inputs, output, scope });
        }
        Ok(typed)
    }

    /// Takes out what was recorded since the tape was made; `None` where it does
    /// not trace.
    pub fn take_recording(&self) -> Option<Recording<T>> {
        self.recording().map(|mut recording| std::mem::replace(&mut *recording, Recording::new()))
    }

    /// Applies an operation and records it.
    #[inline(never)]
    pub(crate) fn trace<O: Op<T>>(
        &self,
        mut recording: MutexGuard<'_, Recording<T>>,
        operation: O,
        inputs: &[&Var<T>],
    ) -> Var<T> {
        let values: SmallVec<[&Tensor<T>; 4]> = inputs.iter().map(|input| input.value()).collect();
        let parents = inputs
            .iter()
            .map(|input| Some(input.node().unwrap_or_else(|| recording.value(input.value()))))
            .collect();
        let call = record(operation, &values, parents);
        let output = call.output().clone();
        let scope = recording.current;
        let node = recording.push(Event::Call { call, scope });
        drop(recording);
        Var::placed(output, self.clone(), Some(node))
    }
}

/// A tensor of any element type, to be noted.
pub trait AsAny {
    /// The tensor with its type found out at run time.
    ///
    /// # Errors
    ///
    /// When its elements have a type that no trace holds.
    fn as_any(&self) -> Result<AnyTensor>;
}

impl<E: Element> AsAny for Tensor<E> {
    fn as_any(&self) -> Result<AnyTensor> {
        AnyTensor::upcast(self).ok_or_else(|| {
            Error::tape(format!("a trace holds no tensors with elements of type {}", E::NAME))
        })
    }
}

impl AsAny for AnyTensor {
    fn as_any(&self) -> Result<AnyTensor> {
        Ok(self.clone())
    }
}

impl<T: Float> Tensors for Var<T> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        self.value().tensors()
    }

    /// On the tape where this one is.
    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        let value = self.value().with_tensors(tensors)?;
        Ok(match self.tape() {
            Some(tape) => tape.input(value),
            None => Self::new(value),
        })
    }
}
