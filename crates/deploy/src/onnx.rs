//! ONNX models.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dendra_datasets::AnyPreprocessing;
use dendra_onnx::{Dimension, Model, Type, TypedTensor, ValueInfo};
use dendra_tensor::{AnyTensor, Error, Number, Result};

use crate::describe::{Axis, ElementType, TensorInfo};
use crate::network::{Kind, Network};
use crate::value::Value;

impl Network {
    pub(crate) fn load_onnx(path: &Path) -> Result<Self> {
        Self::of_onnx(Model::load(path)?).map_err(|error| Error::file(path, error.to_string()))
    }

    pub(crate) fn parse_onnx(bytes: &[u8]) -> Result<Self> {
        Self::of_onnx(Model::parse(bytes)?)
    }

    fn of_onnx(model: Model) -> Result<Self> {
        let inputs = model.inputs().map(describe).collect::<Result<Vec<_>>>()?;
        let outputs = model.outputs().iter().map(describe).collect::<Result<Vec<_>>>()?;
        let mut metadata = BTreeMap::new();
        if !model.producer().is_empty() {
            metadata.insert("producer".to_owned(), model.producer().to_owned());
        }
        Ok(Self {
            model: Kind::Onnx(Box::new(model)),
            inputs,
            outputs,
            preprocessing: AnyPreprocessing::None,
            classes: Arc::default(),
            metadata,
        })
    }
}

fn describe(info: &ValueInfo) -> Result<TensorInfo> {
    let refuse = |message: String| Err(Error::data(format!("{:?}", info.name), message));
    let (element, axes) = match &info.kind {
        Some(Type::Tensor(element, axes)) => (*element, axes),
        Some(_) => return refuse("only tensors are supported as inputs and outputs".to_owned()),
        None => return refuse("the model does not declare its element type".to_owned()),
    };
    let Some(element) = element_type(element) else {
        return refuse(format!("the element type {} is not supported", element.name()));
    };
    let axis = |dimension: &Dimension| match dimension {
        Dimension::Fixed(length) => Axis::Fixed(*length),
        Dimension::Symbol(name) => Axis::Free(name.clone()),
        Dimension::Unknown => Axis::Free(String::new()),
    };
    let axes = axes.as_ref().map(|axes| axes.iter().map(axis).collect());
    Ok(TensorInfo { name: info.name.clone(), element, axes })
}

fn element_type(element: dendra_onnx::ElementType) -> Option<ElementType> {
    use dendra_onnx::ElementType as Onnx;
    Some(match element {
        Onnx::Bool => ElementType::Bool,
        Onnx::U8 => ElementType::U8,
        Onnx::U16 => ElementType::U16,
        Onnx::U32 => ElementType::U32,
        Onnx::U64 => ElementType::U64,
        Onnx::I8 => ElementType::I8,
        Onnx::I16 => ElementType::I16,
        Onnx::I32 => ElementType::I32,
        Onnx::I64 => ElementType::I64,
        Onnx::F32 => ElementType::F32,
        Onnx::F64 => ElementType::F64,
        Onnx::Text => ElementType::Text,
        _ => return None,
    })
}

pub(crate) fn run(
    model: &Model,
    outputs: &[TensorInfo],
    inputs: &[(&str, Value)],
) -> Result<Vec<Value>> {
    let mut values = Vec::with_capacity(inputs.len());
    for (name, value) in inputs {
        values.push((*name, to_onnx(name, value)?));
    }
    let found = model.run(values)?.into_values();
    let convert = |(value, info): (dendra_onnx::Value, &TensorInfo)| {
        from_onnx(value.tensor()?).map_err(|error| error.within(format!("output {:?}", info.name)))
    };
    found.into_iter().zip(outputs).map(convert).collect()
}

fn to_onnx(name: &str, value: &Value) -> Result<dendra_onnx::Value> {
    Ok(match value {
        Value::Tensor(AnyTensor::F32(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::F64(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::F16(x)) => x.cast::<f32>().into(),
        Value::Tensor(AnyTensor::BF16(x)) => x.cast::<f32>().into(),
        Value::Tensor(AnyTensor::U8(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::U16(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::U32(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::U64(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::I8(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::I16(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::I32(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::I64(x)) => x.clone().into(),
        Value::Tensor(AnyTensor::Bool(x)) => x.clone().into(),
        Value::Texts(..) => {
            let message = "string inputs are not supported";
            return Err(Error::argument(format!("input {name:?}"), message));
        }
    })
}

fn from_onnx(tensor: &TypedTensor) -> Result<Value> {
    fn of<T: Number>(tensor: &TypedTensor) -> Result<Value>
    where
        Value: From<dendra_tensor::Tensor<T>>,
    {
        Ok(tensor.to::<T>()?.into())
    }
    match element_type(tensor.element()) {
        Some(ElementType::Text) => Value::texts(tensor.shape().clone(), tensor.strings()?),
        Some(ElementType::Bool) => Ok(tensor.to::<u8>()?.map(|x| x != 0).into()),
        Some(ElementType::U8) => of::<u8>(tensor),
        Some(ElementType::U16) => of::<u16>(tensor),
        Some(ElementType::U32) => of::<u32>(tensor),
        Some(ElementType::U64) => of::<u64>(tensor),
        Some(ElementType::I8) => of::<i8>(tensor),
        Some(ElementType::I16) => of::<i16>(tensor),
        Some(ElementType::I32) => of::<i32>(tensor),
        Some(ElementType::I64) => of::<i64>(tensor),
        Some(ElementType::F64) => of::<f64>(tensor),
        Some(ElementType::F32) => of::<f32>(tensor),
        None => {
            let message = format!("the element type {} is not supported", tensor.element().name());
            Err(Error::argument("Network::run", message))
        }
    }
}
