//! Operators of the domain `ai.onnx.ml`.

use std::collections::HashMap;

use dendra_tensor::{Error, Ops, Result, Shape, Tensor};

use super::indexing::keys;
use super::{Operator, of, one};
use crate::call::Call;
use crate::tensor::{TypedTensor, each};

const DOMAIN: &str = "ai.onnx.ml";

pub(super) const TABLE: &[Operator] = &[
    of(DOMAIN, one("ArrayFeatureExtractor", features)),
    of(DOMAIN, one("Binarizer", binarizer)),
    of(DOMAIN, one("LabelEncoder", label_encoder)),
];

/// The elements at some indices of the last axis.
fn features(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices) = (call.tensor(0)?, call.integers(1)?);
    let indices: Vec<usize> =
        indices.into_iter().map(|index| usize::try_from(index).unwrap_or(usize::MAX)).collect();
    let x = if x.rank() == 1 { &x.reshape([1, x.len()])? } else { x };
    Ok(each!(x, x => x.index_select(-1, &indices)?))
}

fn binarizer(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let threshold = call.float("threshold", 0.0);
    let y = x.reals()?.map(|x| i64::from(x > threshold));
    Ok(TypedTensor::whole(x.element(), y))
}

/// The keys or values of an encoder, of any type.
fn list(call: &Call<'_>, prefix: &str) -> Option<TypedTensor> {
    if let Some(tensor) = call.tensor_setting(&format!("{prefix}_tensor")) {
        return Some(tensor.clone());
    }
    if let Some(words) = call.texts(&format!("{prefix}_strings")) {
        return Some(TypedTensor::text([words.len()], words.to_vec()));
    }
    if let Some(ints) = call.ints(&format!("{prefix}_int64s")) {
        return Some(TypedTensor::ints(ints.to_vec()));
    }
    let floats = call.floats(&format!("{prefix}_floats"))?;
    let length = floats.len();
    let floats = Tensor::from_vec(floats, [length]).ok()?;
    Some(TypedTensor::real(crate::ElementType::F32, floats))
}

fn label_encoder(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let missing = || Error::argument("LabelEncoder", "keys or values are missing");
    let (names, values) =
        (list(call, "keys").ok_or_else(missing)?, list(call, "values").ok_or_else(missing)?);
    let default = match call.tensor_setting("default_tensor") {
        Some(default) => default.clone(),
        None => match values.strings() {
            Ok(_) => {
                let word = call.text("default_string", "_Unused").to_owned();
                TypedTensor::text(Shape::scalar(), vec![word])
            }
            Err(_) if values.element().is_float() => {
                let value = call.float("default_float", 0.0);
                TypedTensor::real(values.element(), Tensor::scalar(value))
            }
            Err(_) => {
                let value = call.int("default_int64", -1);
                TypedTensor::whole(values.element(), Tensor::scalar(value))
            }
        },
    };
    if names.len() != values.len() || names.element() != x.element() {
        return call.refuse("keys, values and input do not fit each other");
    }
    // Sorts the keys and the input together.
    let joined = TypedTensor::cat(&[&names.reshape([names.len()])?, &x.reshape([x.len()])?], 0)?;
    let codes = keys(&joined)?.to_vec();
    let (known, asked) = codes.split_at(names.len());
    let mut indices = HashMap::new();
    for (index, &code) in known.iter().enumerate() {
        indices.entry(code).or_insert(index);
    }
    let all = TypedTensor::cat(&[&values.reshape([values.len()])?, &default.reshape([1])?], 0)?;
    let found: Vec<usize> =
        asked.iter().map(|code| indices.get(code).copied().unwrap_or(values.len())).collect();
    all.take(&found, x.shape().clone())
}
