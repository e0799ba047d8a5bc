//! Traces of forward passes: all operations from the inputs to the outputs.

mod display;
mod graph;
mod matching;
mod parts;
mod replay;
mod size;
mod summary;
mod svg;

pub use replay::Executed;
pub use size::Size;

use dendra_autograd::{AnyTensor, Function, Parameters, Tape};
use dendra_tensor::ops::{Attribute, Recorded};
use dendra_tensor::{Error, Float, Result, Tensor, Tensors};

use self::summary::Held;
use crate::module::{Model, Output};

/// A recorded forward pass of a model in evaluation mode. It contains the
/// operations with their settings, the parameters by name, the constants, the
/// tensors of integers and booleans with the functions that compute them, and the
/// part of the model to which each of these belongs.
///
/// `{}` formats a trace as a table. [`replay`](Self::replay) computes the outputs
/// for other inputs and any number of samples; the bits are equal to those of the
/// model.
///
/// ```
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Sequential, Trace};
///
/// let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
/// let trace = Trace::of(&model, &Tensor::<f32>::zeros([1, 4]))?;
/// assert_eq!(
///     trace.to_string(),
///     "\
/// part  value  operation                     shape
/// -------------------------------------------------
///       x      input                         [N, 4]
/// 0     %0     linear(x, 0.weight, 0.bias)   [N, 8]
/// 1     %1     relu(%0)                      [N, 8]
/// 2     %2     linear(%1, 2.weight, 2.bias)  [N, 3]
///              output %2
/// "
/// );
/// let y = trace.replay(&Tensor::<f32>::ones([5, 4]))?;
/// assert_eq!(*y[0].shape(), [5, 3]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Trace<T: Float = f32> {
    nodes: Vec<Node<T>>,
    outputs: Vec<usize>,
    /// The batch axis of each input.
    batch_axes: Vec<Option<usize>>,
    parts: Vec<Part>,
    /// The number of samples in the recorded calls.
    samples: usize,
    held: Vec<Held>,
}

/// A value of a [`Trace`] and its origin.
#[derive(Debug)]
pub struct Node<T: Float = f32> {
    /// The kind of the value, or the operation that computes it.
    pub kind: NodeKind<T>,
    /// The indices of the input values.
    pub parents: Vec<usize>,
    /// The settings of an operation or function.
    pub settings: Vec<(&'static str, Setting)>,
    /// The path of the part of the model to which the value belongs, such as
    /// `encoder.0`; empty for the whole model.
    pub part: String,
    /// The name of the element type, such as `f32`.
    pub element: &'static str,
    /// The shape of the value.
    pub shape: Vec<Size>,
}

/// The kind of a value of a [`Trace`], or the operation that computes it.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeKind<T: Float = f32> {
    /// An input of the model.
    Input {
        /// Its index.
        index: usize,
    },
    /// A parameter.
    Parameter {
        /// Its path.
        name: String,
        /// Its value.
        value: Tensor<T>,
        /// Whether training changes it.
        trainable: bool,
    },
    /// A buffer.
    Buffer {
        /// Its path.
        name: String,
        /// Its value.
        value: AnyTensor,
    },
    /// A constant.
    Constant {
        /// Its value. If it grows with the batch, the value for one sample.
        value: AnyTensor,
        /// The axis along which it is repeated for each sample.
        repeated: Option<usize>,
    },
    /// An operation, recorded on two samples.
    Operation(Box<dyn Recorded<T>>),
    /// A function without a gradient.
    Function(Box<dyn Function>),
}

/// A setting of an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// A value that is the same for any batch.
    Value(Attribute),
    /// A number that grows with the batch.
    Size(Size),
    /// Numbers of which some can grow with the batch, such as a shape.
    Sizes(Vec<Size>),
    /// The index of a value of the trace, for indices and masks computed from data.
    Node(usize),
}

/// A part of a model that was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The path, such as `encoder.0`.
    pub path: String,
    /// The description, such as `Linear 784 → 64`; empty if no container provided
    /// one.
    pub description: String,
}

impl<T: Float> Trace<T> {
    /// Traces a model on a batch of inputs. Axis 0 of the inputs is the batch axis.
    ///
    /// The model runs twice, on two and on three samples. Sizes that differ in
    /// proportion to the number of samples grow with the batch. All other
    /// differences are errors, because the trace would be wrong for other inputs.
    /// To detect them, pass realistic inputs with samples that differ.
    ///
    /// # Errors
    ///
    /// Returns an error if the model does not accept the inputs, or if it contains
    /// a computation on data that the tape does not record. The error contains the
    /// operation and its part. [`Tape::note`] records such a computation.
    pub fn of<I: Tensors, M: Model<I, T>>(model: &M, inputs: &I) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        Self::of_function(model, inputs, |inputs, tape| Ok(model.run(inputs, tape)?.into_values()))
    }

    /// Traces a function that uses a model and takes any tensors.
    ///
    /// ```
    /// use dendra_nn::tensor::{Ops, Rng, Tensor};
    /// use dendra_nn::{Embedding, Trace};
    ///
    /// let words = Embedding::new(10, 4).init(&mut Rng::seed(0))?;
    /// let trace = Trace::of_function(&words, &Tensor::from([[1, 2, 3]]), |ids, tape| {
    ///     words.lookup(ids, Some(tape))?.sum_axes(&[1], false)
    /// })?;
    /// let y = trace.replay(&Tensor::from([[4_i64, 4, 9], [1, 0, 5]]))?;
    /// assert_eq!(*y[0].shape(), [2, 4]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`of`](Self::of).
    pub fn of_function<I: Tensors, O: Tensors>(
        model: &dyn Parameters<T>,
        inputs: &I,
        function: impl Fn(&I, &Tape<T>) -> Result<O>,
    ) -> Result<Self> {
        let axes: Vec<Option<usize>> =
            inputs.tensors()?.iter().map(|x| (!x.shape().is_empty()).then_some(0)).collect();
        Self::along(&axes, model, inputs, function)
    }

    /// Like [`of_function`](Self::of_function), with the batch axis of each input
    /// tensor; `None` for a tensor that all samples share.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`of`](Self::of).
    pub fn along<I: Tensors, O: Tensors>(
        batch_axes: &[Option<usize>],
        model: &dyn Parameters<T>,
        inputs: &I,
        function: impl Fn(&I, &Tape<T>) -> Result<O>,
    ) -> Result<Self> {
        let given = inputs.tensors()?;
        let run = |tensors: &[AnyTensor], tape: &Tape<T>| {
            let mut tensors = tensors.iter().cloned();
            function(&inputs.with_tensors(&mut tensors)?, tape)?.tensors()
        };
        matching::trace(model, &given, batch_axes, &run)
    }

    /// Returns the values in the order of computation: parents come first.
    pub fn nodes(&self) -> &[Node<T>] {
        &self.nodes
    }

    /// Returns the indices of the outputs.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Returns the index of the output of a part of the model, which is the last
    /// value computed in it.
    ///
    /// # Errors
    ///
    /// Returns an error if no value is computed in a part with this path.
    pub fn output_of(&self, part: &str) -> Result<usize> {
        let is_in = |node: &Node<T>| node.is_computed() && parts::is_within(&node.part, part);
        self.nodes.iter().rposition(is_in).ok_or_else(|| {
            let paths = self.parts.iter().map(|part| part.path.as_str());
            let known: Vec<&str> = paths.filter(|path| !path.is_empty()).collect();
            refuse(format!("expected one of the parts {}, got {part:?}", known.join(", ")))
        })
    }

    /// Returns the parts of the model in the order of computation.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl<T: Float> Node<T> {
    /// Returns the name of the operation or function, such as `log_softmax`, or
    /// `input`, `parameter`, `buffer` or `constant` for other values.
    pub fn name(&self) -> &str {
        match &self.kind {
            NodeKind::Input { .. } => "input",
            NodeKind::Parameter { .. } => "parameter",
            NodeKind::Buffer { .. } => "buffer",
            NodeKind::Constant { .. } => "constant",
            NodeKind::Operation(call) => call.name(),
            NodeKind::Function(function) => function.name(),
        }
    }

    /// Returns whether the value is computed by an operation or a function.
    pub fn is_computed(&self) -> bool {
        matches!(self.kind, NodeKind::Operation(_) | NodeKind::Function(_))
    }

    /// Returns whether the value is a view of another value, which costs no
    /// computation.
    pub fn is_view(&self) -> bool {
        match &self.kind {
            NodeKind::Operation(call) => {
                call.inputs().iter().any(|input| call.output().shares_memory_with(input))
            }
            NodeKind::Function(function) => function.name() == "view",
            _ => false,
        }
    }

    /// Returns the indices of all values from which this value is computed,
    /// including those in settings.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        let settings = self.settings.iter().filter_map(|(_, setting)| match setting {
            Setting::Node(node) => Some(*node),
            _ => None,
        });
        self.parents.iter().copied().chain(settings)
    }
}

/// Creates an error of a trace.
fn refuse(message: impl Into<String>) -> Error {
    Error::argument("Trace", message)
}
