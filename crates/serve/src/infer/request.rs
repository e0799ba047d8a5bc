//! Requests of the Open Inference Protocol: JSON, followed by binary data.

use dendra_deploy::{ElementType, Value};
use dendra_tensor::{AnyTensor, Element, Shape, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::data::Data;
use super::datatype;
use crate::failure::{Answered, Failure};

/// A request.
#[derive(Deserialize)]
pub(crate) struct Request {
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Json>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Json>,
    #[serde(default)]
    data: Option<Data>,
}

/// An output that a request asks for.
#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Json>,
}

/// The format of an output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) binary: bool,
    /// The number of most probable classes to send instead of the values.
    pub(crate) classes: Option<usize>,
}

impl Request {
    /// Reads a request. Its JSON has `length` bytes, or all if `None`; the
    /// binary data of the inputs follows.
    ///
    /// # Errors
    ///
    /// When the request is malformed or needs an extension that this server
    /// does not support.
    pub(crate) fn parse(
        body: &[u8],
        length: Option<usize>,
    ) -> Answered<(Self, Vec<(String, Value)>)> {
        let length = length.unwrap_or(body.len());
        let Some((json, mut rest)) = body.split_at_checked(length) else {
            return Err(Failure::bad(format!(
                "Inference-Header-Content-Length is {length}, but the body has {} bytes",
                body.len()
            )));
        };
        let mut request: Self = serde_json::from_slice(json)
            .map_err(|error| Failure::bad(format!("invalid request: {error}")))?;
        let mut values = Vec::with_capacity(request.inputs.len().min(64));
        for input in std::mem::take(&mut request.inputs) {
            let name = input.name.clone();
            let value = input
                .value(&mut rest)
                .map_err(|message| Failure::bad(format!("input {name:?}: {message}")))?;
            values.push((name, value));
        }
        if !rest.is_empty() {
            let message = format!("{} bytes follow the data of the last input", rest.len());
            return Err(Failure::bad(message));
        }
        Ok((request, values))
    }

    /// The outputs to send, given the names of all outputs.
    pub(crate) fn wanted<'a>(
        &self,
        all: impl Iterator<Item = &'a str> + Clone,
    ) -> Answered<Vec<Wanted>> {
        let binary = flag(&self.parameters, "binary_data_output")?.unwrap_or(false);
        if self.outputs.is_empty() {
            let wanted = |name: &str| Wanted { name: name.to_owned(), binary, classes: None };
            return Ok(all.map(wanted).collect());
        }
        let mut wanted: Vec<Wanted> = Vec::with_capacity(self.outputs.len().min(64));
        for output in &self.outputs {
            let name = &output.name;
            if !all.clone().any(|known| known == name) {
                return Err(Failure::bad(format!("the model has no output {name:?}")));
            }
            if wanted.iter().any(|other| other.name == *name) {
                return Err(Failure::bad(format!("the output {name:?} is requested twice")));
            }
            refuse_shared_memory(&output.parameters).map_err(Failure::bad)?;
            let binary = flag(&output.parameters, "binary_data")?.unwrap_or(binary);
            let classes = match output.parameters.get("classification") {
                None => None,
                Some(json) => match json.as_u64() {
                    Some(0) => None,
                    Some(count) => Some(count as usize),
                    None => return Err(Failure::bad("`classification` must be a number")),
                },
            };
            wanted.push(Wanted { name: name.clone(), binary, classes });
        }
        Ok(wanted)
    }
}

fn flag(parameters: &Map<String, Json>, name: &str) -> Answered<Option<bool>> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(Failure::bad(format!("`{name}` must be true or false, got {other}"))),
    }
}

fn refuse_shared_memory(parameters: &Map<String, Json>) -> Result<(), String> {
    match parameters.contains_key("shared_memory_region") {
        true => Err("shared memory is not supported".to_owned()),
        false => Ok(()),
    }
}

impl Input {
    /// The tensor. If it is binary, its bytes are the first of `rest`.
    fn value(self, rest: &mut &[u8]) -> Result<Value, String> {
        refuse_shared_memory(&self.parameters)?;
        let element = datatype::element(&self.datatype)
            .ok_or_else(|| format!("the datatype {:?} is not supported", self.datatype))?;
        let shape = Shape::from(self.shape);
        let count = shape.checked_elements().ok_or("the shape is too large")?;
        match (self.data, self.parameters.get("binary_data_size")) {
            (None, Some(size)) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("`binary_data_size` must be a number of bytes")?;
                let (bytes, others) = rest
                    .split_at_checked(size)
                    .ok_or_else(|| format!("expected {size} bytes of data, got {}", rest.len()))?;
                *rest = others;
                of_bytes(element, shape, count, bytes)
            }
            (Some(data), None) => of_data(element, shape, count, data),
            (None, None) => Err("expected `data` or `binary_data_size`, got neither".to_owned()),
            (Some(_), Some(_)) => Err("expected `data` or `binary_data_size`, got both".to_owned()),
        }
    }
}

/// A tensor of little-endian bytes.
fn of_bytes(
    element: ElementType,
    shape: Shape,
    count: usize,
    bytes: &[u8],
) -> Result<Value, String> {
    fn numbers<T: Element, const N: usize>(
        bytes: &[u8],
        shape: Shape,
        of: fn([u8; N]) -> T,
    ) -> Result<Value, String>
    where
        AnyTensor: From<Tensor<T>>,
    {
        let (elements, _) = bytes.as_chunks::<N>();
        let elements = elements.iter().map(|&bytes| of(bytes)).collect();
        Ok(Tensor::from_vec(elements, shape).map_err(|error| error.to_string())?.into())
    }
    if element == ElementType::Text {
        return texts_of_bytes(shape, count, bytes);
    }
    let size = datatype::size(element);
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "shape {shape} of {} needs {count} elements of {size} bytes, got {} bytes",
            datatype::name(element),
            bytes.len()
        ));
    }
    match element {
        ElementType::Bool => match bytes.iter().find(|byte| **byte > 1) {
            Some(byte) => Err(format!("expected a boolean byte of 0 or 1, got {byte}")),
            None => numbers(bytes, shape, |[byte]: [u8; 1]| byte != 0),
        },
        ElementType::U8 => numbers(bytes, shape, u8::from_le_bytes),
        ElementType::U16 => numbers(bytes, shape, u16::from_le_bytes),
        ElementType::U32 => numbers(bytes, shape, u32::from_le_bytes),
        ElementType::U64 => numbers(bytes, shape, u64::from_le_bytes),
        ElementType::I8 => numbers(bytes, shape, i8::from_le_bytes),
        ElementType::I16 => numbers(bytes, shape, i16::from_le_bytes),
        ElementType::I32 => numbers(bytes, shape, i32::from_le_bytes),
        ElementType::I64 => numbers(bytes, shape, i64::from_le_bytes),
        ElementType::F32 => numbers(bytes, shape, f32::from_le_bytes),
        ElementType::F64 => numbers(bytes, shape, f64::from_le_bytes),
        other => Err(format!("elements of type {other} are not supported")),
    }
}

/// Strings, each after its length in four bytes.
fn texts_of_bytes(shape: Shape, count: usize, mut bytes: &[u8]) -> Result<Value, String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((text, rest)) = rest.split_at_checked(length) else {
            return Err(format!("expected a string of {length} bytes, got {}", rest.len()));
        };
        let text = std::str::from_utf8(text).map_err(|_| "a string is not UTF-8".to_owned())?;
        texts.push(text.to_owned());
        bytes = rest;
    }
    if !bytes.is_empty() || texts.len() != count {
        return Err(format!("shape {shape} needs {count} strings, got {}", texts.len()));
    }
    Value::texts(shape, texts).map_err(|error| error.to_string())
}

/// A tensor of elements from JSON.
fn of_data(element: ElementType, shape: Shape, count: usize, data: Data) -> Result<Value, String> {
    if data.len() != count {
        return Err(format!("shape {shape} needs {count} elements, got {}", data.len()));
    }
    let tensor = |result: dendra_tensor::Result<AnyTensor>| {
        result.map(Value::Tensor).map_err(|error| error.to_string())
    };
    macro_rules! whole {
        ($type:ty) => {{
            let out_of_range =
                || format!("a number is out of the range of {}", datatype::name(element));
            let numbers: Option<Vec<$type>> = match &data {
                Data::Empty => Some(Vec::new()),
                Data::Ints(all) => all.iter().map(|&x| x.try_into().ok()).collect(),
                Data::Large(all) => all.iter().map(|&x| x.try_into().ok()).collect(),
                other => return Err(mismatch(element, other)),
            };
            tensor(Tensor::from_vec(numbers.ok_or_else(out_of_range)?, shape).map(AnyTensor::from))
        }};
    }
    match element {
        ElementType::U8 => whole!(u8),
        ElementType::U16 => whole!(u16),
        ElementType::U32 => whole!(u32),
        ElementType::U64 => whole!(u64),
        ElementType::I8 => whole!(i8),
        ElementType::I16 => whole!(i16),
        ElementType::I32 => whole!(i32),
        ElementType::I64 => whole!(i64),
        ElementType::F32 => {
            let numbers = floats(element, data)?.into_iter().map(|x| x as f32).collect();
            tensor(Tensor::from_vec(numbers, shape).map(AnyTensor::from))
        }
        ElementType::F64 => {
            tensor(Tensor::from_vec(floats(element, data)?, shape).map(AnyTensor::from))
        }
        ElementType::Bool => {
            let values = match data {
                Data::Empty => Vec::new(),
                Data::Bools(all) => all,
                Data::Ints(all) if all.iter().all(|x| matches!(x, 0 | 1)) => {
                    all.into_iter().map(|x| x == 1).collect()
                }
                other => return Err(mismatch(element, &other)),
            };
            tensor(Tensor::from_vec(values, shape).map(AnyTensor::from))
        }
        ElementType::Text => {
            let texts = match data {
                Data::Empty => Vec::new(),
                Data::Texts(all) => all,
                other => return Err(mismatch(element, &other)),
            };
            Value::texts(shape, texts).map_err(|error| error.to_string())
        }
        other => Err(format!("elements of type {other} are not supported")),
    }
}

fn floats(element: ElementType, data: Data) -> Result<Vec<f64>, String> {
    match data {
        Data::Empty => Ok(Vec::new()),
        Data::Floats(all) => Ok(all),
        Data::Ints(all) => Ok(all.into_iter().map(|x| x as f64).collect()),
        Data::Large(all) => Ok(all.into_iter().map(|x| x as f64).collect()),
        other => Err(mismatch(element, &other)),
    }
}

fn mismatch(element: ElementType, data: &Data) -> String {
    format!("expected elements of {}, got {}", datatype::name(element), data.kind())
}
