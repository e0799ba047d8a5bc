//! A trace of a forward pass: all operations from inputs to outputs.

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

/// A forward pass of a model in evaluation mode, from inputs to outputs: the
/// operations with their settings, the parameters by name, constants, tensors of
/// integers and booleans and the functions that make them, and the part of the
/// model that each belongs to.
///
/// It prints as a table, and [`replay`](Self::replay) computes what the model
/// computes, to the bit, on other inputs and for any number of samples.
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
    /// The axis of the samples of each input.
    batch_axes: Vec<Option<usize>>,
    parts: Vec<Part>,
    /// The samples that the operations were called on.
    samples: usize,
    held: Vec<Held>,
}

/// A value of a [`Trace`] and where it comes from.
#[derive(Debug)]
pub struct Node<T: Float = f32> {
    /// The kind of the value, or the operation that computes it.
    pub kind: NodeKind<T>,
    /// The inputs, by index.
    pub parents: Vec<usize>,
    /// The settings of an operation or function.
    pub settings: Vec<(&'static str, Setting)>,
    /// The path of the part of the model that it belongs to, as `encoder.0`;
    /// empty for the model as a whole.
    pub part: String,
    /// The name of the element type, as `f32`.
    pub element: &'static str,
    /// The shape.
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
        /// Its value; where it grows with the batch, that of one sample.
        value: AnyTensor,
        /// The axis along which it is repeated for each sample.
        repeated: Option<usize>,
    },
    /// An operation, as it was called on two samples.
    Operation(Box<dyn Recorded<T>>),
    /// A function without a gradient.
    Function(Box<dyn Function>),
}

/// A setting of an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// The same for any batch.
    Value(Attribute),
    /// A number that grows with the batch.
    Size(Size),
    /// Numbers of which some grow with the batch, such as a shape.
    Sizes(Vec<Size>),
    /// A value of the trace, by index: indices and masks that come from data.
    Node(usize),
}

/// A part of a model that was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The path, as `encoder.0`.
    pub path: String,
    /// Its description, such as `Linear 784 → 64`; empty where no container
    /// gave one.
    pub description: String,
}

impl<T: Float> Trace<T> {
    /// Traces a model on a batch of inputs, whose axis 0 is that of the samples.
    ///
    /// The model runs twice, on two samples and on three: what differs in
    /// proportion grows with the batch, and what differs otherwise would be
    /// wrong on other inputs and is refused. For this the inputs should be as
    /// the model gets them, not all the same.
    ///
    /// # Errors
    ///
    /// When the model does not take the inputs, or something in it depends on
    /// the data and no trace sees how; the error names the operation and its
    /// part. [`Tape::note`] lets traces see a function.
    pub fn of<I: Tensors, M: Model<I, T>>(model: &M, inputs: &I) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        Self::of_function(model, inputs, |inputs, tape| Ok(model.run(inputs, tape)?.into_values()))
    }

    /// Traces a function of a model that takes any tensors.
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
    /// As [`of`](Self::of).
    pub fn of_function<I: Tensors, O: Tensors>(
        model: &dyn Parameters<T>,
        inputs: &I,
        function: impl Fn(&I, &Tape<T>) -> Result<O>,
    ) -> Result<Self> {
        let axes: Vec<Option<usize>> =
            inputs.tensors()?.iter().map(|x| (!x.shape().is_empty()).then_some(0)).collect();
        Self::along(&axes, model, inputs, function)
    }

    /// As [`of_function`](Self::of_function), with the axis of the samples of
    /// each input tensor; `None` for what all samples share.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
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

    /// The values in the order in which they are computed; parents come first.
    pub fn nodes(&self) -> &[Node<T>] {
        &self.nodes
    }

    /// The outputs, by index.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The index of the output of a part of the model: the last value that is
    /// computed in it.
    ///
    /// # Errors
    ///
    /// When nothing is computed in a part of this path.
    pub fn output_of(&self, part: &str) -> Result<usize> {
        let is_in = |node: &Node<T>| node.is_computed() && parts::is_within(&node.part, part);
        self.nodes.iter().rposition(is_in).ok_or_else(|| {
            let paths = self.parts.iter().map(|part| part.path.as_str());
            let known: Vec<&str> = paths.filter(|path| !path.is_empty()).collect();
            refuse(format!("expected one of the parts {}, got {part:?}", known.join(", ")))
        })
    }

    /// The parts of the model, in the order in which they are computed.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl<T: Float> Node<T> {
    /// The name of the operation or function, as `log_softmax`; `input`,
    /// `parameter`, `buffer` or `constant` of other values.
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

    /// Whether it is computed, by an operation or a function.
    pub fn is_computed(&self) -> bool {
        matches!(self.kind, NodeKind::Operation(_) | NodeKind::Function(_))
    }

    /// Whether it is another value seen through another shape, which costs nothing.
    pub fn is_view(&self) -> bool {
        match &self.kind {
            NodeKind::Operation(call) => {
                call.inputs().iter().any(|input| call.output().shares_memory_with(input))
            }
            NodeKind::Function(function) => function.name() == "view",
            _ => false,
        }
    }

    /// All values that it is computed from, those of settings included.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        let settings = self.settings.iter().filter_map(|(_, setting)| match setting {
            Setting::Node(node) => Some(*node),
            _ => None,
        });
        self.parents.iter().copied().chain(settings)
    }
}

/// An error of a trace.
fn refuse(message: impl Into<String>) -> Error {
    Error::argument("Trace", message)
}
