//! Responses of the Open Inference Protocol.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use dendra_deploy::{Network, Value};
use dendra_tensor::{AnyTensor, Tensor};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::datatype;
use super::request::{Request, Wanted};
use crate::failure::{Answered, Failure};
use crate::models::VERSION;

/// The header with the length of the JSON part before the binary data.
pub(crate) const LENGTH: &str = "inference-header-content-length";

#[derive(Serialize)]
struct Written<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

struct Output<'a> {
    name: &'a str,
    value: &'a Value,
    /// The number of its bytes after the JSON; `None` if its elements are in
    /// the JSON.
    bytes: Option<usize>,
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("datatype", datatype::name(self.value.element()))?;
        map.serialize_entry("shape", &self.value.shape()[..])?;
        match self.bytes {
            Some(bytes) => {
                let parameters = serde_json::json!({ "binary_data_size": bytes });
                map.serialize_entry("parameters", &parameters)?;
            }
            None => serialize_data(&mut map, self.value)?,
        }
        map.end()
    }
}

/// Numbers that are not finite become `null`.
fn serialize_data<M: SerializeMap>(map: &mut M, value: &Value) -> Result<(), M::Error> {
    match value {
        Value::Texts(_, texts) => map.serialize_entry("data", texts),
        Value::Tensor(AnyTensor::F32(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::F64(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::F16(x)) => map.serialize_entry("data", &x.cast::<f32>().to_vec()),
        Value::Tensor(AnyTensor::BF16(x)) => map.serialize_entry("data", &x.cast::<f32>().to_vec()),
        Value::Tensor(AnyTensor::U8(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::U16(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::U32(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::U64(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::I8(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::I16(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::I32(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::I64(x)) => map.serialize_entry("data", &x.to_vec()),
        Value::Tensor(AnyTensor::Bool(x)) => map.serialize_entry("data", &x.to_vec()),
    }
}

/// Appends the elements as little-endian bytes.
fn append(bytes: &mut Vec<u8>, value: &Value) {
    bytes.reserve(value.shape().elements() * datatype::size(value.element()));
    macro_rules! numbers {
        ($x:expr) => {
            $x.to_vec().into_iter().for_each(|x| bytes.extend(x.to_le_bytes()))
        };
    }
    match value {
        Value::Texts(_, texts) => {
            for text in texts {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
        }
        Value::Tensor(AnyTensor::F32(x)) => numbers!(x),
        Value::Tensor(AnyTensor::F64(x)) => numbers!(x),
        Value::Tensor(AnyTensor::F16(x)) => numbers!(x.cast::<f32>()),
        Value::Tensor(AnyTensor::BF16(x)) => numbers!(x.cast::<f32>()),
        Value::Tensor(AnyTensor::U8(x)) => bytes.extend(x.to_vec()),
        Value::Tensor(AnyTensor::U16(x)) => numbers!(x),
        Value::Tensor(AnyTensor::U32(x)) => numbers!(x),
        Value::Tensor(AnyTensor::U64(x)) => numbers!(x),
        Value::Tensor(AnyTensor::I8(x)) => numbers!(x),
        Value::Tensor(AnyTensor::I16(x)) => numbers!(x),
        Value::Tensor(AnyTensor::I32(x)) => numbers!(x),
        Value::Tensor(AnyTensor::I64(x)) => numbers!(x),
        Value::Tensor(AnyTensor::Bool(x)) => bytes.extend(x.to_vec().into_iter().map(u8::from)),
    }
}

/// The response with the requested outputs of a network.
pub(crate) fn respond(
    model: &str,
    network: &Network,
    request: &Request,
    wanted: &[Wanted],
    outputs: Vec<Value>,
) -> Answered<Response> {
    let mut chosen = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let index = network.outputs().iter().position(|info| info.name == wanted.name);
        let output = index.and_then(|index| outputs.get(index));
        let output =
            output.ok_or_else(|| Failure::internal("the model returned no such output"))?;
        chosen.push(match wanted.classes {
            None => output.clone(),
            Some(count) => best_classes(output, count, network.class_names())?,
        });
    }
    let mut bytes = Vec::new();
    let mut written = Vec::with_capacity(wanted.len());
    for (wanted, value) in wanted.iter().zip(&chosen) {
        let start = bytes.len();
        if wanted.binary {
            append(&mut bytes, value);
        }
        let bytes = wanted.binary.then(|| bytes.len() - start);
        written.push(Output { name: &wanted.name, value, bytes });
    }
    let id = request.id.as_deref();
    let written = Written { model_name: model, model_version: VERSION, id, outputs: written };
    let mut body = serde_json::to_vec(&written).map_err(|e| Failure::internal(e.to_string()))?;
    let (kind, length) = match wanted.iter().any(|wanted| wanted.binary) {
        true => ("application/octet-stream", Some(body.len())),
        false => ("application/json", None),
    };
    body.append(&mut bytes);
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(length) = length {
        response.headers_mut().insert(LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// The largest values of each sample, as strings `VALUE:INDEX` or, for classes
/// with names, `VALUE:INDEX:NAME`.
fn best_classes(output: &Value, count: usize, names: &[String]) -> Answered<Value> {
    let numbers: Option<Tensor<f64>> = match output {
        Value::Tensor(AnyTensor::F32(x)) => Some(x.map(f64::from)),
        Value::Tensor(AnyTensor::F64(x)) => Some(x.clone()),
        _ => None,
    };
    let refuse = || Failure::bad("`classification` needs an output of floats with two axes");
    let numbers = numbers.ok_or_else(refuse)?;
    let [samples, classes] = numbers.shape()[..] else { return Err(refuse()) };
    let count = count.min(classes);
    let mut texts = Vec::with_capacity(samples * count);
    for row in numbers.to_vec().chunks_exact(classes.max(1)) {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        for &index in &order[..count] {
            let name = names.get(index).map_or(String::new(), |name| format!(":{name}"));
            texts.push(format!("{:.6}:{index}{name}", row[index]));
        }
    }
    Value::texts([samples, count], texts).map_err(Failure::from)
}
