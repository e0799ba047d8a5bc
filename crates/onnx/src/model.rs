//! Models.

use std::fmt;
use std::fs;
use std::ops::Index;
use std::path::Path as FilePath;
use std::sync::Arc;

use dendra_autograd::{Entry, EntryMut, Param, Parameters, Path, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Error, Result, Tensor};

use crate::build::build;
use crate::call::{Running, Watch, run};
use crate::data::Source;
use crate::fast::Fast;
use crate::plan::{Plan, Step};
use crate::proto::{self, Dimension, Type, ValueInfo};
use crate::tensor::TypedTensor;
use crate::value::Value;

/// A network from an ONNX file.
pub struct Model {
    plan: Plan,
    inputs: Vec<ValueInfo>,
    /// The inputs with a default value.
    defaults: Vec<String>,
    outputs: Vec<ValueInfo>,
    output_names: Arc<[String]>,
    parameters: Vec<(String, Param<f32>)>,
    producer: String,
    metadata: Vec<(String, String)>,
    head: Option<Box<Head>>,
    fast: Fast,
}

/// A network that replaces the last layers.
type Head = dyn Module + Send + Sync;

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Model");
        debug.field("inputs", &self.inputs).field("outputs", &self.outputs);
        debug.field("steps", &self.plan.steps.len()).finish_non_exhaustive()
    }
}

/// The outputs of a run, in the order of the model.
#[derive(Clone, Debug)]
pub struct Outputs {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl Outputs {
    /// The output with this name.
    ///
    /// # Errors
    ///
    /// When the model has no output with this name.
    pub fn get(&self, name: &str) -> Result<&Value> {
        match self.names.iter().position(|found| found == name) {
            Some(index) => Ok(&self.values[index]),
            None => {
                let names = self.names.join(", ");
                let message = format!("there is no output {name:?}, only {names}");
                Err(Error::argument("Outputs::get", message))
            }
        }
    }

    /// The names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// The output at an index.
impl Index<usize> for Outputs {
    type Output = Value;

    fn index(&self, index: usize) -> &Value {
        &self.values[index]
    }
}

impl Model {
    /// Loads a model. Its external data must be in the same folder or below.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is invalid, or the model has operators
    /// that are not supported; the error lists all of them.
    pub fn load(path: impl AsRef<FilePath>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => FilePath::new("."),
        };
        let source = Source { folder: Some(folder) };
        Self::read(&bytes, &source).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Loads a model from the bytes of a file without external data.
    ///
    /// # Errors
    ///
    /// The errors of [`load`](Self::load).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, &Source { folder: None })
    }

    fn read(bytes: &[u8], source: &Source<'_>) -> Result<Self> {
        let model = proto::model(bytes, source)?;
        let (plan, parameters) = build(&model)?;
        let graph = model.graph.unwrap_or_default();
        let defaults = graph.initializers.into_iter().map(|(name, _)| name);
        let is_input = |name: &String| graph.inputs.iter().any(|input| input.name == *name);
        let mut model = Self {
            plan,
            defaults: defaults.filter(is_input).collect(),
            output_names: graph.outputs.iter().map(|output| output.name.clone()).collect(),
            inputs: graph.inputs,
            outputs: graph.outputs,
            parameters,
            producer: model.producer,
            metadata: model.metadata,
            head: None,
            fast: Fast::default(),
        };
        model.name_parameters();
        Ok(model)
    }

    /// The required inputs of a run.
    pub fn inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        self.inputs.iter().filter(|input| !self.defaults.contains(&input.name))
    }

    /// The outputs.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// The program that wrote the model.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// An entry of the model's metadata, such as the names of the classes.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The operators of the model's graph, in order of execution, each with the
    /// name of its node or of its first output.
    pub fn operators(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plan.steps.iter().map(|step| (step.node.operator.as_str(), step.node.name.as_str()))
    }

    /// Replaces a node and everything that depends on it by a network, such as
    /// a classifier for other classes. The input of the network is the first
    /// input of the node. The model then has one output. The parameters of the
    /// network are named `head.…`; parameters that only the old layers used are
    /// removed.
    ///
    /// # Errors
    ///
    /// When the model has no such node, or its first input is a parameter.
    pub fn replace_head(
        &mut self,
        node: &str,
        head: impl Module + Send + 'static,
    ) -> Result<()> {
        let refuse = |message: String| Err(Error::argument("onnx::Model::replace_head", message));
        let Some(step) = self.plan.steps.iter().find(|step| step.node.name == node) else {
            let last = self.plan.steps.iter().rev().take(5).map(|step| step.node.name.as_str());
            let last = last.collect::<Vec<_>>().join(", ");
            return refuse(format!("there is no node {node:?}; the last ones are {last}"));
        };
        let computed = |slot: &usize| {
            let produced = self.plan.steps.iter().flat_map(|step| step.outputs.iter().flatten());
            produced.chain(&self.plan.inputs).any(|found| found == slot)
        };
        let Some(slot) = step.inputs.first().copied().flatten().filter(computed) else {
            return refuse(format!("the first input of {node:?} is a constant"));
        };
        self.fast.clear();
        let kept = self.plan.cut(slot);
        let mut parameters = std::mem::take(&mut self.parameters).into_iter().enumerate();
        self.parameters = parameters
            .by_ref()
            .filter(|(index, _)| kept.contains(index))
            .map(|(_, parameter)| parameter)
            .collect();
        self.outputs.truncate(1);
        self.outputs.iter_mut().for_each(|output| output.kind = None);
        self.output_names = self.outputs.iter().map(|output| output.name.clone()).collect();
        self.head = Some(Box::new(head));
        self.name_parameters();
        Ok(())
    }

    /// Runs the model on inputs by name.
    ///
    /// # Errors
    ///
    /// When an input is missing, unknown or has another type or shape than the
    /// model declares, or an operator fails.
    pub fn run<'a, V: Into<Value>>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, V)>,
    ) -> Result<Outputs> {
        let inputs = inputs.into_iter().map(|(name, value)| (name, value.into())).collect();
        self.run_values(inputs, None, None)
    }

    /// Like [`run`](Self::run), and calls `watch` for each operator of the
    /// graph with the name of its node and the seconds that it took.
    ///
    /// # Errors
    ///
    /// The errors of [`run`](Self::run).
    pub fn run_watched<'a, V: Into<Value>>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, V)>,
        watch: &mut dyn FnMut(&str, &str, f64),
    ) -> Result<Outputs> {
        let inputs = inputs.into_iter().map(|(name, value)| (name, value.into())).collect();
        let watch = &mut |step: &Step, seconds| {
            watch(&step.node.operator, &step.node.name, seconds);
        };
        self.run_values(inputs, None, Some(watch))
    }

    /// Runs the model on a tape, which records the operators that have a
    /// gradient. Use it to implement `Model` for models with several inputs.
    /// [`TypedTensor::var`] returns the variable of an output.
    ///
    /// # Errors
    ///
    /// The errors of [`run`](Self::run).
    pub fn run_on<'a, V: Into<Value>>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, V)>,
        tape: &Tape,
    ) -> Result<Outputs> {
        let inputs = inputs.into_iter().map(|(name, value)| (name, value.into())).collect();
        let anchor = tape.input(Tensor::scalar(0.0));
        self.run_values(inputs, Some(anchor), None)
    }

    /// Runs the model. Parameters join the tape of the anchor.
    fn run_values(
        &self,
        given: Vec<(&str, Value)>,
        anchor: Option<Var<f32>>,
        watch: Option<Watch<'_>>,
    ) -> Result<Outputs> {
        let mut slots = Vec::with_capacity(given.len());
        for (name, value) in given {
            let Some(index) = self.inputs.iter().position(|input| input.name == name) else {
                let names: Vec<&str> = self.inputs().map(|input| &input.name[..]).collect();
                let message = format!("there is no input {name:?}, only {}", names.join(", "));
                return Err(Error::argument("onnx::Model::run", message));
            };
            if let Some(kind) = &self.inputs[index].kind {
                check(kind, &value).map_err(|message| {
                    Error::argument("onnx::Model::run", format!("input {name:?}: {message}"))
                })?;
            }
            slots.push((self.plan.inputs[index], value));
        }
        for (input, slot) in self.inputs.iter().zip(&self.plan.inputs) {
            let is_given = slots.iter().any(|(given, _)| given == slot);
            if !is_given && !self.defaults.contains(&input.name) {
                let message = format!("the input {:?} is missing", input.name);
                return Err(Error::argument("onnx::Model::run", message));
            }
        }
        let is_recorded = anchor.as_ref().is_some_and(|anchor| anchor.tape().is_some());
        let mut values = if is_recorded {
            let running = Running { anchor, parameters: &self.parameters };
            run(&self.plan, &running, slots, watch)?
        } else {
            self.fast.run(&self.plan, &self.parameters, slots, watch)?
        };
        if let Some(head) = &self.head {
            values[0] = head.forward(values[0].tensor()?.f32()?)?.into();
        }
        Ok(Outputs { names: Arc::clone(&self.output_names), values })
    }
}

/// Checks a value against the declared type.
fn check(kind: &Type, value: &Value) -> std::result::Result<(), String> {
    match (kind, value) {
        (Type::Tensor(element, axes), Value::Tensor(x)) => {
            if x.element() != *element {
                let (expected, found) = (element.name(), x.element().name());
                return Err(format!("expected {expected}, got {found}"));
            }
            axes.as_ref().map_or(Ok(()), |axes| check_axes(axes, x))
        }
        (Type::Sequence(kind), Value::Sequence(values)) => {
            // The tensors of a sequence may have different shapes.
            let kind = match &**kind {
                Type::Tensor(element, _) => &Type::Tensor(*element, None),
                other => other,
            };
            values.iter().try_for_each(|value| check(kind, value))
        }
        (Type::Optional(_), Value::Optional(None)) => Ok(()),
        (Type::Optional(kind), Value::Optional(Some(value))) => check(kind, value),
        (Type::Optional(kind), value) => check(kind, value),
        (Type::Tensor(..), _) => Err("expected a tensor".to_owned()),
        (Type::Sequence(_), _) => Err("expected a sequence".to_owned()),
    }
}

/// Checks the number of axes and the lengths that are numbers. Names are not
/// checked, because some exporters give one name to axes of different lengths.
fn check_axes(axes: &[Dimension], x: &TypedTensor) -> std::result::Result<(), String> {
    let shape = x.shape();
    if axes.len() != shape.len() {
        return Err(format!("expected {} axes, got shape {shape}", axes.len()));
    }
    for (axis, (expected, &length)) in axes.iter().zip(shape.iter()).enumerate() {
        match expected {
            Dimension::Fixed(expected) if *expected != length => {
                return Err(format!("expected length {expected} for axis {axis} of shape {shape}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The float initializers by their names.
impl Parameters for Model {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
        for (name, param) in &self.parameters {
            path.enter(name, |path| param.visit(path, visitor));
        }
        if let Some(head) = &self.head {
            path.enter("head", |path| head.visit(path, visitor));
        }
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
    ) {
        self.fast.clear();
        for (name, param) in &mut self.parameters {
            path.enter(name, |path| param.visit_mut(path, visitor));
        }
        if let Some(head) = &mut self.head {
            path.enter("head", |path| head.visit_mut(path, visitor));
        }
    }
}

/// A model of one float tensor; it returns the first output.
impl Module for Model {
    fn forward(&self, x: &Var<f32>) -> Result<Var<f32>> {
        let names: Vec<&str> = self.inputs().map(|input| &input.name[..]).collect();
        let [name] = names[..] else {
            let message = format!("expected a model of one input, got {}", names.len());
            return Err(Error::argument("onnx::Model::forward", message));
        };
        let outputs = self.run_values(vec![(name, x.clone().into())], Some(x.clone()), None)?;
        match outputs.values.into_iter().next() {
            Some(Value::Tensor(y)) => Ok(y.f32()?.clone()),
            _ => Err(Error::argument(
                "onnx::Model::forward",
                "expected a tensor as the first output, got another value",
            )),
        }
    }
}
