//! [`Network`]: a model of any file, ready to run.

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
/// bounds the memory.
const BATCH: usize = 128;

/// A model that was read from a file of any format, ready to run.
///
/// It changes nothing when it runs, so one network serves many threads.
pub struct Network {
    pub(crate) model: Kind,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    pub(crate) preprocessing: AnyPreprocessing,
    pub(crate) classes: Arc<[String]>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The model by its format.
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

    /// The inputs that a run needs. The one of a `Sequential` is named `input`.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The outputs. The one of a `Sequential` is named `output`.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The names of the classes in the order of their labels; empty if they have
    /// none, as for a regression.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Sets the names of the classes, in the order of their labels.
    #[must_use]
    pub fn with_classes<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.classes = names.into_iter().map(Into::into).collect();
        self
    }

    /// What makes inputs of raw data.
    pub fn preprocessing(&self) -> &AnyPreprocessing {
        &self.preprocessing
    }

    /// Sets the preprocessing, for a model whose file has none, such as an ONNX
    /// model.
    ///
    /// # Errors
    ///
    /// When it makes inputs of another shape than the network takes.
    pub fn with_preprocessing(mut self, preprocessing: AnyPreprocessing) -> Result<Self> {
        let refuse = |message| Err(Error::argument("Network::with_preprocessing", message));
        let input = self.only_input()?;
        if let (Some(made), Some(taken)) = (preprocessing.input_shape(), input.sample_shape())
            && made != taken
        {
            return refuse(format!(
                "the network takes {taken}, and the preprocessing makes {made}"
            ));
        }
        self.preprocessing = preprocessing;
        Ok(self)
    }

    /// Texts of the file by key, beside those of Dendra itself: what another
    /// program wrote there.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Whether the samples of a batch do not influence each other's outputs, so
    /// that independent requests may be joined along the first axis and give the
    /// same bits as alone. It is true for a `Sequential`, whose layers, also those
    /// of a user's own, take each sample for itself in evaluation; an ONNX model
    /// may compute anything from its inputs.
    pub fn has_independent_samples(&self) -> bool {
        self.format() == Format::Safetensors
    }

    /// The outputs for inputs by name, in the order of
    /// [`outputs`](Self::outputs).
    ///
    /// # Errors
    ///
    /// When an input is missing, unknown or given twice, or has another element
    /// type or shape than the model takes.
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

    /// Checks the names, element types and shapes of inputs, which
    /// [`run`](Self::run) does too.
    ///
    /// # Errors
    ///
    /// When an input is missing, unknown or given twice, or has another element
    /// type or shape than the model states.
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
                let message = format!("expected a network of one input, it has {}", inputs.len());
                Err(Error::argument("Network::predict", message))
            }
        }
    }

    /// The answer for each sample of the inputs of a network that has one input,
    /// without preprocessing. Many samples are run in parts.
    ///
    /// # Errors
    ///
    /// When the network has several inputs or refuses this one, has no output of
    /// floats, or has outputs that are not those of its classes.
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

    /// The answers in outputs that [`run`](Self::run) gave, one for each sample:
    /// those of the first output of floats, which are logits or probabilities if
    /// the classes have names.
    ///
    /// # Errors
    ///
    /// When there is no output of floats, or it has another shape than
    /// `[samples, classes]` or, for two classes, `[samples, 1]`.
    pub fn answers(&self, outputs: &[Value]) -> Result<Vec<Answer>> {
        Answer::of(outputs, &self.classes)
    }

    /// The inputs for some texts.
    ///
    /// # Errors
    ///
    /// When the preprocessing is none of texts, or refuses one.
    pub fn prepare_texts<X: AsRef<str>>(&self, texts: &[X]) -> Result<Value> {
        Ok(self.preprocessing.texts(texts)?.into())
    }

    /// The answer for each text.
    ///
    /// # Errors
    ///
    /// Those of [`prepare_texts`](Self::prepare_texts) and
    /// [`predict`](Self::predict).
    pub fn predict_texts<X: AsRef<str>>(&self, texts: &[X]) -> Result<Vec<Answer>> {
        self.predict(self.prepare_texts(texts)?)
    }

    /// The inputs for the rows of a table.
    ///
    /// # Errors
    ///
    /// When the preprocessing is none of tables, or refuses this one.
    #[cfg(feature = "tables")]
    pub fn prepare_table(&self, table: &Table) -> Result<Value> {
        Ok(self.preprocessing.table(table)?.into())
    }

    /// The answer for each row of a table.
    ///
    /// # Errors
    ///
    /// Those of [`prepare_table`](Self::prepare_table) and
    /// [`predict`](Self::predict).
    #[cfg(feature = "tables")]
    pub fn predict_table(&self, table: &Table) -> Result<Vec<Answer>> {
        self.predict(self.prepare_table(table)?)
    }

    /// The inputs for the contents of some PNG or JPEG files.
    ///
    /// # Errors
    ///
    /// When the preprocessing is none of pictures, or one cannot be decoded.
    #[cfg(feature = "images")]
    pub fn prepare_images<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<Value> {
        Ok(self.preprocessing.images(files)?.into())
    }

    /// The answer for the contents of each PNG or JPEG file.
    ///
    /// # Errors
    ///
    /// Those of [`prepare_images`](Self::prepare_images) and
    /// [`predict`](Self::predict).
    #[cfg(feature = "images")]
    pub fn predict_images<X: AsRef<[u8]>>(&self, files: &[X]) -> Result<Vec<Answer>> {
        self.predict(self.prepare_images(files)?)
    }

    /// The inputs for samples that are numbers: a flat list of as many as the
    /// samples need, in row-major order. They become the element type of the
    /// input, which must be the only one.
    ///
    /// # Errors
    ///
    /// When the shape of a sample is not fixed, the numbers are no multiple of
    /// its size, or a number does not exist in the element type.
    pub fn prepare_numbers(&self, numbers: &[f64]) -> Result<Value> {
        let refuse = |message: String| Err(Error::argument("Network::prepare_numbers", message));
        let input = self.only_input()?;
        let Some(sample) = input.sample_shape() else {
            return refuse(format!("the samples of the input have no fixed shape: {input}"));
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
            other => refuse(format!("expected an input of f32, f64 or i64, it is {other}")),
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
