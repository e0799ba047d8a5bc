//! A network and its training, as held by Python.
//!
//! Locks are taken without holding the GIL, so that waiting for a lock never
//! blocks other Python threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use dendra_autograd::{Entry, EntryMut, Parameters, Path, StateDict, Tape, Var};
use dendra_datasets::Samples;
use dendra_nn::{LayerSettings, Model, Output, Sequential, StateFile};
use dendra_onnx::Export;
use dendra_optim::SGD;
use dendra_tensor::{Error, Result, Rng, Shape, Tensor};
use dendra_train::Trainer;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::{Arguments, Refusal};
use crate::array;
use crate::data::{Array, Column, Form, Pairs, Values};
use crate::error::{check_signals, compute, exception};
use crate::fit::{self, Watcher};
use crate::named;
use crate::objective::{AnyLoss, AnyMetric, Targets};
use crate::optimizer::AnyOptimizer;

/// A network of floats or token ids that stops at Ctrl-C.
#[derive(Clone)]
pub(crate) struct Net(pub(crate) Sequential);

impl Parameters for Net {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
        self.0.visit(path, visitor);
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
    ) {
        self.0.visit_mut(path, visitor);
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.0.metadata()
    }
}

impl Model<Values> for Net {
    type Output = Var;

    fn run(&self, inputs: &Values, tape: &Tape) -> Result<Var> {
        check_signals()?;
        match inputs {
            Values::Floats(x) => self.0.run(x, tape),
            Values::Integers(ids) => self.0.run(ids, tape),
        }
    }
}

/// The state that training changes.
pub(crate) struct Live {
    pub(crate) net: Net,
    /// The optimizer of the last training, and the epochs trained with it.
    pub(crate) optimizer: Option<AnyOptimizer>,
    pub(crate) epochs: u64,
}

/// A network with the state of its training.
#[pyclass(frozen, module = "dendra._dendra")]
pub(crate) struct Network {
    live: RwLock<Live>,
    /// A copy of the network for other threads while it is trained.
    snapshot: Mutex<Option<Arc<Net>>>,
}

/// A planned layer, as stored in files.
#[derive(Deserialize)]
struct Planned {
    name: Option<String>,
    layer: LayerSettings,
}

/// The loss and the metrics of a training or an evaluation, as JSON.
#[derive(Clone, Deserialize)]
pub(crate) struct Objective {
    loss: Value,
    metrics: Vec<Value>,
}

impl Objective {
    pub(crate) fn loss(&self) -> Result<AnyLoss, Refusal> {
        named::loss(Arguments::of_object("loss", self.loss.clone())?)
    }

    pub(crate) fn metrics(&self) -> Result<Vec<AnyMetric>, Refusal> {
        let metric = |value: &Value| named::metric(Arguments::of_object("metric", value.clone())?);
        self.metrics.iter().map(metric).collect()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Name(message) | Refusal::Value(message) => Error::tape(message),
        }
    }
}

impl Network {
    fn new(model: Sequential) -> Self {
        let live = Live { net: Net(model), optimizer: None, epochs: 0 };
        Self { live: RwLock::new(live), snapshot: Mutex::new(None) }
    }

    /// Calls `f` with the network, or with its copy during training.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Net) -> R) -> R {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(net) = snapshot.clone() {
            drop(snapshot);
            return f(&net);
        }
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        drop(snapshot);
        f(&live.net)
    }

    /// Calls `f` with exclusive access to the network; other threads use a
    /// copy.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Live) -> Result<R>) -> Result<R> {
        let copy = Arc::new(self.read(Net::clone));
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.is_some() {
            return Err(Error::argument("Sequential", "the network is being trained"));
        }
        *snapshot = Some(copy);
        drop(snapshot);
        let live: RwLockWriteGuard<'_, Live> =
            self.live.write().unwrap_or_else(PoisonError::into_inner);
        Changing { network: self, live }.with(f)
    }

    /// Updates the copy for other threads to the present state of training.
    pub(crate) fn show(&self, net: &Net) {
        let copy = Arc::new(net.clone());
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }

    fn inputs<'a>(&self, py: Python<'_>, array: &'a Array<'_>) -> PyResult<Column<'a>> {
        let tokens = py.detach(|| self.read(|net| net.0.takes_tokens()));
        Column::new("x", array, Some(if tokens { Form::Integers } else { Form::Floats }))
    }

    pub(crate) fn pairs<'a>(
        &self,
        py: Python<'_>,
        (x, y): (&'a Array<'_>, &'a Array<'_>),
        targets: Targets,
    ) -> PyResult<Pairs<'a>> {
        let form = match targets {
            Targets::Labels => Some(Form::Integers),
            Targets::Floats => Some(Form::Floats),
            Targets::Either => None,
        };
        let (inputs, targets) = (self.inputs(py, x)?, Column::new("y", y, form)?);
        Pairs::new(inputs, targets).map_err(exception)
    }
}

/// Exclusive access to a network. The copy for other threads is dropped with
/// it, also after a panic.
struct Changing<'a> {
    network: &'a Network,
    live: RwLockWriteGuard<'a, Live>,
}

impl Changing<'_> {
    fn with<R>(mut self, f: impl FnOnce(&mut Live) -> Result<R>) -> Result<R> {
        f(&mut self.live)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        *self.network.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn read_json<T: for<'a> Deserialize<'a>>(what: &str, text: &str) -> PyResult<T> {
    serde_json::from_str(text)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(format!("{what}: {error}")))
}

#[pymethods]
impl Network {
    /// Creates a network for samples of this shape, with new parameters.
    #[new]
    fn build(
        py: Python<'_>,
        shape: Vec<usize>,
        tokens: bool,
        layers: &str,
        seed: u64,
    ) -> PyResult<Self> {
        let layers: Vec<Planned> = read_json("layers", layers)?;
        compute(py, "Sequential", || {
            let mut builder = match tokens {
                true => Sequential::tokens(shape),
                false => Sequential::input(shape),
            };
            for Planned { name, layer } in layers {
                builder = builder.layer(layer);
                if let Some(name) = name {
                    builder = builder.named(name);
                }
            }
            Ok(Self::new(builder.build(&mut Rng::seed(seed))?))
        })
    }

    /// Loads a network from a file.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        compute(py, "load", || Ok(Self::new(Sequential::load(&path)?)))
    }

    /// Creates the network with this architecture and state.
    #[staticmethod]
    fn restore(
        py: Python<'_>,
        metadata: BTreeMap<String, String>,
        state: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let file = StateFile { state: state_of(state)?, metadata };
        compute(py, "restore", || Ok(Self::new(Sequential::from_file(file, "state")?)))
    }

    /// The architecture, as the metadata of a file.
    fn metadata(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        compute(py, "metadata", || self.read(|net| Ok(net.0.to_file()?.metadata)))
    }

    /// Writes architecture and state.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        compute(py, "save", || self.read(|net| net.0.save(&path)))
    }

    /// Writes an ONNX file.
    fn export(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        compute(py, "export", || {
            self.read(|Net(model)| {
                let sample = model.input_shape().iter().copied();
                let batch: Shape = [2].into_iter().chain(sample).collect();
                let export = match model.takes_tokens() {
                    true => Export::of(model, &Tensor::<i64>::zeros(batch))?,
                    false => Export::of(model, &Tensor::<f32>::zeros(batch))?,
                };
                export.save(&path)
            })
        })
    }

    fn summary(&self, py: Python<'_>) -> PyResult<String> {
        compute(py, "summary", || self.read(|net| Ok(net.0.summary().to_string())))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        compute(py, "repr", || self.read(|net| Ok(format!("{:?}", net.0))))
    }

    /// The shape of a sample.
    #[getter]
    fn input_shape(&self, py: Python<'_>) -> Vec<usize> {
        py.detach(|| self.read(|net| net.0.input_shape().to_vec()))
    }

    /// The shape of the output for a sample.
    #[getter]
    fn output_shape(&self, py: Python<'_>) -> Vec<usize> {
        py.detach(|| self.read(|net| net.0.output_shape().to_vec()))
    }

    /// Whether the network takes token ids.
    #[getter]
    fn takes_tokens(&self, py: Python<'_>) -> bool {
        py.detach(|| self.read(|net| net.0.takes_tokens()))
    }

    /// The number of trainable values.
    #[getter]
    fn parameter_count(&self, py: Python<'_>) -> usize {
        py.detach(|| self.read(|net| net.0.parameter_count()))
    }

    /// The parameters and buffers as read-only arrays.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = py.detach(|| self.read(|net| net.0.state_dict()));
        let arrays = PyDict::new(py);
        for (name, tensor) in state.iter() {
            arrays.set_item(name, array::read_only(py, tensor)?)?;
        }
        Ok(arrays)
    }

    /// Loads parameters and buffers.
    fn load_state_dict(&self, py: Python<'_>, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let state = state_of(state)?;
        compute(py, "load_state_dict", || self.change(|live| live.net.0.load_state_dict(&state)))
    }

    /// Freezes or unfreezes the parameters whose names start with one of these.
    fn set_trainable(&self, py: Python<'_>, trainable: bool, names: Vec<String>) -> PyResult<()> {
        compute(py, "set_trainable", || {
            self.change(|live| {
                let belongs = |name: &str| names.iter().any(|start| name.starts_with(start));
                let found = live.net.0.named_parameters().into_iter();
                if !found.map(|(name, _)| name).any(|name| belongs(&name)) {
                    let message = format!("no parameter has a name that starts with {names:?}");
                    return Err(Error::argument("set_trainable", message));
                }
                live.net.0.set_trainable_where(trainable, &belongs);
                Ok(())
            })
        })
    }

    /// The outputs for some samples.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        batch_size: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let x = Array::of(x)?;
        let inputs = self.inputs(py, &x)?;
        let output = compute(py, "predict", || self.read(|net| outputs(net, &inputs, batch_size)))?;
        array::owned(py, output)
    }

    /// Computes the loss and the metrics on some samples.
    fn evaluate(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        y: &Bound<'_, PyAny>,
        objective: &str,
    ) -> PyResult<Vec<(String, f64)>> {
        let objective: Objective = read_json("objective", objective)?;
        let targets = objective.loss()?.targets();
        let (x, y) = (Array::of(x)?, Array::of(y)?);
        let pairs = self.pairs(py, (&x, &y), targets)?;
        compute(py, "evaluate", || {
            let net = self.read(Net::clone);
            let mut trainer = Trainer::new(net, SGD::new(0.0), objective.loss()?);
            for metric in objective.metrics()? {
                trainer = trainer.metric(metric);
            }
            let found = trainer.evaluate(&pairs)?;
            Ok([("loss".to_owned(), found.loss)].into_iter().chain(found.metrics).collect())
        })
    }

    /// Trains the network, and returns the metrics of the epochs, the skipped
    /// steps, and the reason of early stopping.
    #[pyo3(signature = (x, y, settings, validation=None, callback=None))]
    fn fit(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        y: &Bound<'_, PyAny>,
        settings: &str,
        validation: Option<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
        callback: Option<Py<PyAny>>,
    ) -> PyResult<fit::Figures> {
        let settings: fit::Settings = read_json("fit", settings)?;
        let targets = settings.objective.loss()?.targets();
        let (x, y) = (Array::of(x)?, Array::of(y)?);
        let pairs = self.pairs(py, (&x, &y), targets)?;
        let arrays = match &validation {
            Some((x, y)) => Some((Array::of(x)?, Array::of(y)?)),
            None => None,
        };
        let validation = match &arrays {
            Some((x, y)) => Some(self.pairs(py, (x, y), targets)?),
            None => None,
        };
        let watcher = callback.map(|callback| Watcher::new(callback, self, &settings));
        compute(py, "fit", || {
            self.change(|live| fit::fit(live, &settings, &pairs, validation.as_ref(), watcher))
        })
    }
}

/// The outputs for all samples, computed in batches.
fn outputs(net: &Net, inputs: &Column<'_>, batch_size: usize) -> Result<Tensor> {
    let samples = inputs.len();
    let batch_size = batch_size.max(1);
    let run = |start: usize| {
        let indices: Vec<usize> = (start..samples.min(start.saturating_add(batch_size))).collect();
        Ok(net.run(&inputs.batch(&indices), &Tape::inference())?.into_values())
    };
    if samples <= batch_size {
        return run(0);
    }
    let outputs = (0..samples).step_by(batch_size).map(run).collect::<Result<Vec<Tensor>>>()?;
    Samples::join(&outputs.iter().collect::<Vec<_>>())
}

/// A state dict from arrays, whose elements are copied.
fn state_of(arrays: &Bound<'_, PyDict>) -> PyResult<StateDict> {
    let mut state = StateDict::new();
    for (name, array) in arrays.iter() {
        state.insert(name.extract::<String>()?, array::tensor(&array)?);
    }
    Ok(state)
}
