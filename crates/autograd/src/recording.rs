//! The recording of a tracing tape: calls of operations, constants, functions
//! without a gradient, and the part of the model to which each belongs.

use std::fmt::Display;

use dendra_tensor::ops::Recorded;
use dendra_tensor::{AnyTensor, Element, Error, Float, Result, Tensor, Tensors};

use crate::function::Function;
use crate::param::{Param, ParamId};
use crate::parameters::{Entry, Parameters, Path};
use crate::tape::Tape;
use crate::var::Var;

/// The recording of a tape made by [`Tape::tracing`].
#[derive(Debug)]
pub struct Recording<T: Float = f32> {
    /// The events, in order.
    pub events: Vec<Event<T>>,
    /// The parts of the model that were entered; the first is the whole model.
    pub scopes: Vec<Scope>,
    /// The part that is being computed.
    current: usize,
}

/// An event; a value of the tape is the index of its event.
#[derive(Debug)]
pub enum Event<T: Float> {
    /// A value from outside: data, a constant, or a value that was detached
    /// from the tape.
    Value(Tensor<T>),
    /// A parameter was put on the tape.
    Parameter {
        /// The parameter.
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
    /// The part in which it was entered; for the whole model, the model itself.
    pub parent: usize,
    /// Its name in its container.
    pub name: String,
    /// Its description, such as `Linear 784 → 64`.
    pub description: String,
    /// One of the parameters of the container and its path in the container,
    /// from which the path of the container in the model follows.
    pub anchor: Option<(ParamId, String)>,
}

impl<T: Float> Recording<T> {
    pub(crate) fn new() -> Self {
        let whole =
            Scope { parent: 0, name: String::new(), description: String::new(), anchor: None };
        Self { events: Vec::new(), scopes: vec![whole], current: 0 }
    }

    /// Records a value from outside.
    pub(crate) fn value(&mut self, value: &Tensor<T>) -> usize {
        self.push(Event::Value(value.clone()))
    }

    /// Records a parameter.
    pub(crate) fn parameter(&mut self, param: &Param<T>) -> usize {
        self.push(Event::Parameter { id: param.id(), value: param.value().clone() })
    }

    /// Records the call of an operation.
    pub(crate) fn call(&mut self, call: Box<dyn Recorded<T>>) -> usize {
        self.push(Event::Call { call, scope: self.current })
    }

    fn push(&mut self, event: Event<T>) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }
}

/// While this exists, computations belong to a part; see [`Tape::enter`].
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

/// Recording a trace.
impl<T: Float> Tape<T> {
    /// Whether the tape records everything.
    pub fn is_tracing(&self) -> bool {
        self.recording().is_some()
    }

    /// Enters the part `name` of a container until the returned value is
    /// dropped; a container of layers calls this before each layer. Returns
    /// `None` and does nothing if the tape does not trace.
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
    /// gradient for these inputs. This is necessary for comparisons, argmax, masks
    /// and integers, because they are computed by methods of tensors, which a tape
    /// does not record. Does nothing if the tape does not trace.
    ///
    /// ```
    /// use dendra_autograd::{Comparison, Plain, Tape, Var};
    /// use dendra_tensor::{Ops, Result, Tensor};
    ///
    /// /// Doubles all values below 0.
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
    /// Returns an error if the tape traces and the function returns another
    /// output.
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
                format!("`{}` returns another output than the one given to note", function.name());
            return Err(Error::tape(message));
        }
        let (function, scope) = (Box::new(function) as Box<dyn Function>, recording.current);
        recording.push(Event::Function { function, inputs, output, scope });
        Ok(())
    }

    /// Calls a function without a gradient and records it in a trace. If its output
    /// is put on the tape by [`input`](Self::input), the trace connects the two. In
    /// this way any computation on data can be part of a trace as one function.
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
    /// Returns an error if the inputs do not match, or the output has another
    /// element type.
    pub fn call<E: Element>(
        &self,
        function: impl Function,
        inputs: &[&dyn AsAny],
    ) -> Result<Tensor<E>> {
        let inputs = inputs.iter().map(|input| input.as_any()).collect::<Result<Vec<_>>>()?;
        let output = function.apply(&inputs)?;
        let typed = output.downcast().cloned().ok_or_else(|| {
            let (name, found) = (function.name(), output.element());
            Error::tape(format!("`{name}` returns elements of type {found}, expected {}", E::NAME))
        })?;
        if let Some(mut recording) = self.recording() {
            let (function, scope) = (Box::new(function) as Box<dyn Function>, recording.current);
            recording.push(Event::Function { function, inputs, output, scope });
        }
        Ok(typed)
    }

    /// Takes everything that was recorded since the tape was made; `None` if
    /// the tape does not trace.
    pub fn take_recording(&self) -> Option<Recording<T>> {
        self.recording().map(|mut recording| std::mem::replace(&mut *recording, Recording::new()))
    }
}

/// A tensor of any element type, for recording.
pub trait AsAny {
    /// The tensor with its element type erased.
    ///
    /// # Errors
    ///
    /// Returns an error if traces do not support its element type.
    fn as_any(&self) -> Result<AnyTensor>;
}

impl<E: Element> AsAny for Tensor<E> {
    fn as_any(&self) -> Result<AnyTensor> {
        AnyTensor::upcast(self).ok_or_else(|| {
            Error::tape(format!("traces do not support tensors with elements of type {}", E::NAME))
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

    /// The result is on the same tape as this one.
    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        let value = self.value().with_tensors(tensors)?;
        Ok(match self.tape() {
            Some(tape) => tape.input(value),
            None => Self::new(value),
        })
    }
}
