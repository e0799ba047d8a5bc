//! [`Network`]: a model from any file, ready to run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dendra_autograd::Tape;
use dendra_datasets::AnyPreprocessing;
#[cfg(feature = "tables")]
use dendra_datasets::Table;
use dendra_nn::{Module, Sequential};
use dendra_tensor::{AnyTensor, Error, Result, Tensor};

use crate::answer::Answer;
use crate::describe::{Axis, ElementType, Format, TensorInfo};
use crate::value::Value;

/// The largest number of samples that [`Network::predict`] runs at once, which
/// limits the memory.
const BATCH: usize = 128;

/// A model from a file of any format, ready to run.
///
/// Running it does not change it, so several threads can share it.
pub struct Network {
    pub(crate) model: Kind,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    pub(crate) preprocessing: AnyPreprocessing,
    pub(crate) classes: Arc<[String]>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The model, depending on the format.
pub(crate) enum Kind {
    Sequential(Box<Sequential>),
    #[cfg(feature = "quantised")]
    Quantised(Box<dendra_quant::Quantised>),
    #[cfg(feature = "onnx")]
    Onnx(Box<dendra_onnx::Model>),
}

impl Network {
    /// The format of the file.
    pub fn format(&self) -> Format {
        match &self.model {
            Kind::Sequential(_) => Format::Safetensors,
            #[cfg(feature = "quantised")]
            Kind::Quantised(_) => Format::Safetensors,
            #[cfg(feature = "onnx")]
            Kind::Onnx(_) => Format::Onnx,
        }
    }

    /// The required inputs of a run. The input of a `Sequential` is named
    /// `input`.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The outputs. The output of a `Sequential` is named `output`.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The names of the classes in the order of their labels; empty if there
    /// are none, as for a regression.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Sets the names of the classes, in the order of their labels.
    #[must_use]
    pub fn with_classes<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.classes = names.into_iter().map(Into::into).collect();
        self
    }

    /// The preprocessing, which converts raw data to inputs.
    pub fn preprocessing(&self) -> &AnyPreprocessing {
        &self.preprocessing
    }

    /// Sets the preprocessing, for a model whose file has none, such as an ONNX
    /// model.
    ///
    /// # Errors
    ///
    /// When the preprocessing returns inputs of another shape than the network
    /// accepts.
    pub fn with_preprocessing(mut self, preprocessing: AnyPreprocessing) -> Result<Self> {
        let refuse = |message| Err(Error::argument("Network::with_preprocessing", message));
        let input = self.only_input()?;
        if let (Some(made), Some(taken)) = (preprocessing.input_shape(), input.sample_shape())
            && made != taken
        {
            return refuse(format!(
                "expected a preprocessing for inputs of shape {taken}, got one for {made}"
            ));
        }
        self.preprocessing = preprocessing;
        Ok(self)
    }

    /// Metadata of the file that is not Dendra's: texts by key from another
    /// program.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Whether the outputs of a sample do not depend on the other samples of
    /// the batch. Independent requests can then be concatenated along the batch
    /// axis, with the same bits. It is true for a `Sequential`, whose layers,
    /// including user-defined ones, process samples independently in
    /// evaluation. An ONNX model may compute anything.
    pub fn has_independent_samples(&self) -> bool {
        self.format() == Format::Safetensors
    }

    /// Runs the network on inputs by name. The outputs are in the order of
    /// [`outputs`](Self::outputs).
    ///
    /// # Errors
    ///
    /// When an input is missing, unknown or given twice, or has another element
    /// type or shape than the model accepts.
    pub fn run(&self, inputs: &[(&str, Value)]) -> Result<Vec<Value>> {
        self.check(inputs)?;
        match &self.model {
            Kind::Sequential(model) => {
                let output = match &inputs[0].1 {
                    Value::Tensor(AnyTensor::F32(x)) => {
                        model.forward(&Tape::inference().input(x.clone()))
                    }
                    Value::Tensor(AnyTensor::I64(ids)) => {
                        model.forward_tokens(ids, Some(&Tape::inference()))
                    }
                    other => Err(Error::argument(
                        "Network::run",
                        format!("expected f32 or i64, got {}", other.element()),
                    )),
                };
                Ok(vec![output?.into_value().into()])
            }
            #[cfg(feature = "quantised")]
            Kind::Quantised(model) => match &inputs[0].1 {
                Value::Tensor(x) => {
                    let outputs = model.run_on(std::slice::from_ref(x))?;
                    Ok(outputs.into_iter().map(Value::from).collect())
                }
                Value::Texts(..) => {
                    Err(Error::argument("Network::run", "expected numbers, got texts"))
                }
            },
            #[cfg(feature = "onnx")]
            Kind::Onnx(model) => crate::onnx::run(model, &self.outputs, inputs),
        }
    }

    /// Checks the names, element types and shapes of inputs, as
    /// [`run`](Self::run) also does.
    ///
    /// # Errors
    ///
    /// When an input is missing, unknown or given twice, or has another element
    /// type or shape than the model declares.
    pub fn check<S: AsRef<str>>(&self, inputs: &[(S, Value)]) -> Result<()> {
        let refuse = |message: String| Err(Error::argument("Network::run", message));
        let names = || self.inputs.iter().map(|info| info.name.as_str()).collect::<Vec<_>>();
        for (index, (name, value)) in inputs.iter().enumerate() {
            let name = name.as_ref();
            let Some(info) = self.inputs.iter().find(|info| info.name == name) else {
                let names = names().join(", ");
                return refuse(format!("there is no input {name:?}, only {names}"));
            };
            if inputs[..index].iter().any(|(earlier, _)| earlier.as_ref() == name) {
                return refuse(format!("the input {name:?} is given twice"));
            }
            if !info.takes(value) {
                let (element, shape) = (value.element(), value.shape());
                return refuse(format!("expected the input {info}, got {element} {shape}"));
            }
        }
        let is_given = |name: &str| inputs.iter().any(|(given, _)| given.as_ref() == name);
        match names().into_iter().find(|name| !is_given(name)) {
            Some(missing) => refuse(format!("the input {missing:?} is missing")),
            None => Ok(()),
        }
    }

    /// The input, if the network has a single one.
    fn only_input(&self) -> Result<&TensorInfo> {
        match &self.inputs[..] {
            [input] => Ok(input),
            inputs => {
                let message = format!("expected a network of one input, got {}", inputs.len());
                Err(Error::argument("Network::predict", message))
            }
        }
    }

    /// Predicts each sample of an input, without preprocessing. The network
    /// must have one input. A large batch is run in parts.
    ///
    /// # Errors
    ///
    /// When the network has several inputs or rejects this one, has no float
    /// output, or the outputs do not match the classes.
    pub fn predict(&self, input: impl Into<Value>) -> Result<Vec<Answer>> {
        let (info, input) = (self.only_input()?, input.into());
        let samples = input.shape().first().copied().unwrap_or(0);
        let most = match info.axes.as_deref() {
            Some([Axis::Fixed(length), ..]) => (*length).max(1),
            _ => BATCH,
        };
        if samples <= most {
            return self.answers(&self.run(&[(&info.name, input)])?);
        }
        let counts: Vec<usize> =
            (0..samples).step_by(most).map(|start| most.min(samples - start)).collect();
        let mut answers = Vec::with_capacity(samples);
        for part in input.split(&counts)? {
            answers.extend(self.answers(&self.run(&[(&info.name, part)])?)?);
        }
        Ok(answers)
    }

    /// Converts the outputs of [`run`](Self::run) to an answer for each sample.
    /// It uses the first float output, which contains logits or probabilities
    /// if there are class names.
    ///
    /// # Errors
    ///
    /// When there is no float output, or it has another shape than
    /// `[samples, classes]` or, for two classes, `[samples, 1]`.
    pub fn answers(&self, outputs: &[Value]) -> Result<Vec<Answer>> {
        Answer::of(outputs, &self.classes)
    }

    /// Prepares the inputs from texts.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for texts, or rejects one.
    pub fn prepare_texts<X: AsRef<str>>(&self, texts: &[X]) -> Result<Value> {
        Ok(self.preprocessing.texts(texts)?.into())
    }

    /// Predicts each text.
    ///
    /// # Errors
    ///
    /// The errors of [`prepare_texts`](Self::prepare_texts) and
    /// [`predict`](Self::predict).
    pub fn predict_texts<X: AsRef<str>>(&self, texts: &[X]) -> Result<Vec<Answer>> {
        self.predict(self.prepare_texts(texts)?)
    }

    /// Prepares the inputs from the rows of a table.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for tables, or rejects this one.
    #[cfg(feature = "tables")]
    pub fn prepare_table(&self, table: &Table) -> Result<Value> {
        Ok(self.preprocessing.table(table)?.into())
    }

    /// Predicts each row of a table.
    ///
    /// # Errors
    ///
    /// The errors of [`prepare_table`](Self::prepare_table) and
    /// [`predict`](Self::predict).
    #[cfg(feature = "tables")]
    pub fn predict_table(&self, table: &Table) -> Result<Vec<Answer>> {
        self.predict(self.prepare_table(table)?)
    }

    /// Prepares the inputs from the contents of PNG or JPEG files.
    ///
    /// # Errors
    ///
    /// When the preprocessing is not for pictures, or one cannot be decoded.
    #[cfg(feature = "images")]
    pub fn prepare_images<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<Value> {
        Ok(self.preprocessing.images(files)?.into())
    }

    /// Predicts the contents of each PNG or JPEG file.
    ///
    /// # Errors
    ///
    /// The errors of [`prepare_images`](Self::prepare_images) and
    /// [`predict`](Self::predict).
    #[cfg(feature = "images")]
    pub fn predict_images<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<Vec<Answer>> {
        self.predict(self.prepare_images(files)?)
    }

    /// Prepares the input from the numbers of all samples in row-major order.
    /// They are converted to the element type of the input, which must be the
    /// only one.
    ///
    /// # Errors
    ///
    /// When the shape of a sample is not fixed, the number of elements is not a
    /// multiple of its size, or a number does not fit the element type.
    pub fn prepare_numbers(&self, numbers: &[f64]) -> Result<Value> {
        let refuse = |message: String| Err(Error::argument("Network::prepare_numbers", message));
        let input = self.only_input()?;
        let Some(sample) = input.sample_shape() else {
            return refuse(format!("expected samples of a fixed shape, got {input}"));
        };
        let each = sample.elements();
        if each == 0 || !numbers.len().is_multiple_of(each) {
            return refuse(format!(
                "expected {each} numbers for each sample of shape {sample}, got {}",
                numbers.len()
            ));
        }
        let shape: Vec<usize> = [&[numbers.len() / each], &sample[..]].concat();
        let whole = |number: &&f64| number.fract() != 0.0 || number.abs() >= 9e15;
        match input.element {
            ElementType::F32 => {
                let numbers = numbers.iter().map(|&number| number as f32).collect();
                Ok(Tensor::from_vec(numbers, shape)?.into())
            }
            ElementType::F64 => Ok(Tensor::from_vec(numbers.to_vec(), shape)?.into()),
            ElementType::I64 => {
                if let Some(number) = numbers.iter().find(whole) {
                    return refuse(format!("expected integers, got {number}"));
                }
                let numbers = numbers.iter().map(|&number| number as i64).collect();
                Ok(Tensor::from_vec(numbers, shape)?.into())
            }
            other => refuse(format!("expected an input of f32, f64 or i64, got {other}")),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Network");
        debug.field("format", &self.format()).field("inputs", &self.inputs);
        debug.field("outputs", &self.outputs).field("classes", &self.classes);
        debug.field("preprocessing", &self.preprocessing.kind()).finish_non_exhaustive()
    }
}
