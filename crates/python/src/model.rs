//! ONNX models.

use std::path::PathBuf;

use dendra_onnx::{Dimension, ElementType, Model, Type, TypedTensor, Value, ValueInfo};
use dendra_tensor::{AnyTensor, Result};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::array;
use crate::error::{compute, exception};

/// The name, the element type and the axis lengths of an input or output. An
/// axis length is a number, a name, or `None` if any length is allowed.
type Port = (String, Option<String>, Option<Vec<Option<Length>>>);

#[derive(IntoPyObject)]
enum Length {
    Number(usize),
    Name(String),
}

/// A model loaded from an ONNX file.
#[pyclass(frozen, module = "dendra._dendra")]
pub(crate) struct Onnx(Model);

fn port(info: &ValueInfo) -> Port {
    let Some(Type::Tensor(element, axes)) = &info.kind else {
        return (info.name.clone(), None, None);
    };
    let length = |axis: &Dimension| match axis {
        Dimension::Fixed(length) => Some(Length::Number(*length)),
        Dimension::Symbol(name) => Some(Length::Name(name.clone())),
        Dimension::Unknown => None,
    };
    let axes = axes.as_ref().map(|axes| axes.iter().map(length).collect());
    (info.name.clone(), Some(element.name().to_owned()), axes)
}

#[pymethods]
impl Onnx {
    /// Loads a file.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        compute(py, "load", || Ok(Self(Model::load(&path)?)))
    }

    /// Loads the bytes of a file.
    #[staticmethod]
    fn parse(py: Python<'_>, file: &[u8]) -> PyResult<Self> {
        compute(py, "parse", || Ok(Self(Model::parse(file)?)))
    }

    #[getter]
    fn inputs(&self) -> Vec<Port> {
        self.0.inputs().map(port).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<Port> {
        self.0.outputs().iter().map(port).collect()
    }

    /// The framework that wrote the file.
    #[getter]
    fn producer(&self) -> String {
        self.0.producer().to_owned()
    }

    /// Runs the model on arrays by name.
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut given: Vec<(String, Value)> = Vec::new();
        for (name, input) in inputs.iter() {
            given.push((name.extract()?, value(array::tensor(&input)?)));
        }
        let outputs = compute(py, "run", || {
            self.0.run(given.iter().map(|(name, value)| (name.as_str(), value.clone())))
        })?;
        let arrays = PyDict::new(py);
        for (name, output) in outputs.iter() {
            arrays.set_item(name, object(py, output)?)?;
        }
        Ok(arrays)
    }
}

fn value(tensor: AnyTensor) -> Value {
    macro_rules! of {
        ($($variant:ident)*) => {
            match tensor {
                $(AnyTensor::$variant(tensor) => tensor.into(),)*
                AnyTensor::F16(tensor) => tensor.cast::<f32>().into(),
                AnyTensor::BF16(tensor) => tensor.cast::<f32>().into(),
            }
        };
    }
    of! { F32 F64 U8 U16 U32 U64 I8 I16 I32 I64 Bool }
}

/// An output as an array, a list of outputs, or `None`.
fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Tensor(tensor) => array_of(py, tensor),
        Value::Sequence(values) => {
            let values = values.iter().map(|value| object(py, value)).collect::<PyResult<Vec<_>>>();
            Ok(PyList::new(py, values?)?.into_any())
        }
        Value::Optional(Some(value)) => object(py, value),
        Value::Optional(None) => Ok(py.None().into_bound(py)),
    }
}

fn array_of<'py>(py: Python<'py>, tensor: &TypedTensor) -> PyResult<Bound<'py, PyAny>> {
    fn cast(tensor: &TypedTensor) -> Result<AnyTensor> {
        Ok(match tensor.element() {
            ElementType::F64 => tensor.to::<f64>()?.into(),
            ElementType::I8 => tensor.to::<i8>()?.into(),
            ElementType::I16 => tensor.to::<i16>()?.into(),
            ElementType::I32 => tensor.to::<i32>()?.into(),
            ElementType::U8 => tensor.to::<u8>()?.into(),
            ElementType::U16 => tensor.to::<u16>()?.into(),
            ElementType::U32 => tensor.to::<u32>()?.into(),
            ElementType::Bool => tensor.to::<u8>()?.map(|x| x != 0).into(),
            _ => match tensor.var() {
                Ok(floats) => floats.value().clone().into(),
                Err(_) => tensor.to::<i64>()?.into(),
            },
        })
    }
    if tensor.element() == ElementType::Text {
        return Ok(PyList::new(py, tensor.strings().map_err(exception)?)?.into_any());
    }
    let tensor = cast(tensor).map_err(|error| PyValueError::new_err(error.to_string()))?;
    array::owned(py, tensor)
}
