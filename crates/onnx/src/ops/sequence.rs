//! Sequences and optional values.

use dendra_tensor::{Error, Result, Tensor};

use super::{Operator, many, one};
use crate::call::Call;
use crate::tensor::{TypedTensor, axis_of};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("ConcatFromSequence", concat),
    many("Optional", optional),
    many("OptionalGetElement", get_element),
    one("OptionalHasElement", has_element),
    many("SequenceAt", at),
    many("SequenceConstruct", construct),
    many("SequenceEmpty", empty),
    many("SequenceErase", erase),
    many("SequenceInsert", insert),
    one("SequenceLength", length),
    many("SplitToSequence", split),
];

/// The values of the first input.
fn values<'a>(call: &'a Call<'_>) -> Result<&'a [Value]> {
    match call.value(0) {
        Some(value) => value.sequence(),
        None => call.refuse("the sequence is missing"),
    }
}

/// Converts an index to a non-negative one, at most `most`.
fn position(call: &Call<'_>, input: usize, length: usize, most: usize) -> Result<usize> {
    let index = call.integer(input)?;
    let front = if index < 0 { index + length as i64 } else { index };
    usize::try_from(front).ok().filter(|&index| index <= most && most <= length).ok_or_else(|| {
        Error::argument("index", format!("index {index} is out of range for length {length}"))
    })
}

fn at(call: &Call<'_>) -> Result<Vec<Value>> {
    let values = values(call)?;
    let index = position(call, 1, values.len(), values.len())?;
    match values.get(index) {
        Some(value) => Ok(vec![value.clone()]),
        None => call.refuse(format!("index {index} is out of range")),
    }
}

fn construct(call: &Call<'_>) -> Result<Vec<Value>> {
    Ok(vec![Value::Sequence(call.inputs.iter().flatten().map(|&value| value.clone()).collect())])
}

fn empty(_: &Call<'_>) -> Result<Vec<Value>> {
    Ok(vec![Value::Sequence(Vec::new())])
}

fn erase(call: &Call<'_>) -> Result<Vec<Value>> {
    let mut values = values(call)?.to_vec();
    let index = match call.value(1) {
        Some(_) => position(call, 1, values.len(), values.len())?,
        None => values.len().saturating_sub(1),
    };
    if index >= values.len() {
        return call.refuse(format!("index {index} is out of range"));
    }
    values.remove(index);
    Ok(vec![Value::Sequence(values)])
}

fn insert(call: &Call<'_>) -> Result<Vec<Value>> {
    let mut values = values(call)?.to_vec();
    let Some(new) = call.value(1) else { return call.refuse("the tensor is missing") };
    let index = match call.value(2) {
        Some(_) => position(call, 2, values.len(), values.len())?,
        None => values.len(),
    };
    values.insert(index, new.clone());
    Ok(vec![Value::Sequence(values)])
}

fn length(call: &Call<'_>) -> Result<TypedTensor> {
    Ok(Tensor::scalar(values(call)?.len() as i64).into())
}

fn concat(call: &Call<'_>) -> Result<TypedTensor> {
    let tensors = values(call)?.iter().map(Value::tensor).collect::<Result<Vec<_>>>()?;
    let Some(first) = tensors.first() else { return call.refuse("the sequence is empty") };
    if !call.flag("new_axis") {
        return TypedTensor::cat(&tensors, first.axis(call.int("axis", 0))?);
    }
    let axis = axis_of(call.int("axis", 0), first.rank() + 1)?;
    let mut shape = first.shape().to_vec();
    shape.insert(axis, 1);
    let rows = tensors.iter().map(|row| row.reshape(&shape[..])).collect::<Result<Vec<_>>>()?;
    TypedTensor::cat(&rows.iter().collect::<Vec<_>>(), axis)
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.int("axis", 0))?;
    let length = x.shape()[axis];
    let sizes: Vec<usize> = match call.optional(1)? {
        None => vec![1; length],
        Some(sizes) => {
            let given = sizes.wholes()?.to_vec();
            let given: Vec<usize> =
                given.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
            match (sizes.rank(), &given[..]) {
                (0, &[size]) if size > 0 => {
                    let starts = (0..length).step_by(size);
                    starts.map(|start| size.min(length - start)).collect()
                }
                _ => given,
            }
        }
    };
    if sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) != Some(length) {
        return call.refuse(format!("the sizes {sizes:?} do not add up to {length}"));
    }
    let keeps = call.value(1).is_some() || call.int("keepdims", 1) != 0;
    let mut start = 0;
    let parts = sizes.iter().map(|&size| {
        start += size;
        let part = x.narrow_axis(axis as isize, start - size, size)?;
        if keeps {
            return Ok(part.into());
        }
        let mut shape = part.shape().to_vec();
        shape.remove(axis);
        Ok(part.reshape(shape)?.into())
    });
    Ok(vec![Value::Sequence(parts.collect::<Result<_>>()?)])
}

fn optional(call: &Call<'_>) -> Result<Vec<Value>> {
    Ok(vec![Value::Optional(call.value(0).cloned().map(Box::new))])
}

fn get_element(call: &Call<'_>) -> Result<Vec<Value>> {
    match call.value(0) {
        Some(Value::Optional(Some(value))) => Ok(vec![(**value).clone()]),
        Some(Value::Optional(None)) | None => call.refuse("the optional value is missing"),
        Some(value) => Ok(vec![value.clone()]),
    }
}

fn has_element(call: &Call<'_>) -> Result<TypedTensor> {
    Ok(Tensor::scalar(!matches!(call.value(0), None | Some(Value::Optional(None)))).into())
}
