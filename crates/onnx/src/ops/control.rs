//! Operators that run graphs.

use dendra_tensor::{Error, Result, Tensor};

use super::{Operator, many};
use crate::call::Call;
use crate::tensor::{TypedTensor, axis_of};
use crate::value::Value;

pub(super) const TABLE: &[Operator] =
    &[many("If", if_), many("Loop", loop_), many("Scan", scan), many("SequenceMap", sequence_map)];

/// The single element of a boolean tensor.
fn condition(value: &Value) -> Result<bool> {
    let values = value.tensor()?.bools()?.to_vec();
    match values[..] {
        [value] => Ok(value),
        _ => Err(Error::shape("condition", format!("expected one, got {}", values.len()))),
    }
}

fn if_(call: &Call<'_>) -> Result<Vec<Value>> {
    let Some(value) = call.value(0) else { return call.refuse("the condition is missing") };
    let branch = if condition(value)? { "then_branch" } else { "else_branch" };
    call.graph(branch)?.run(Vec::new())
}

fn loop_(call: &Call<'_>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    let most = call.value(0).map(|_| call.integer(0)).transpose()?;
    let mut goes_on = call.value(1).map_or(Ok(true), condition)?;
    let mut state: Vec<Value> =
        call.inputs.iter().skip(2).flatten().map(|&value| value.clone()).collect();
    let carried = state.len();
    let scanned = call.outputs().saturating_sub(carried);
    let mut rows: Vec<Vec<Value>> = vec![Vec::new(); scanned];
    let mut step = 0;
    while goes_on && most.is_none_or(|most| step < most) {
        let mut inputs: Vec<Value> = vec![Tensor::scalar(step).into(), Tensor::scalar(true).into()];
        inputs.append(&mut state);
        let mut outputs = body.run(inputs)?.into_iter();
        let Some(next) = outputs.next() else {
            return call.refuse("the body has no condition");
        };
        goes_on = condition(&next)?;
        state = outputs.by_ref().take(carried).collect();
        for (rows, value) in rows.iter_mut().zip(outputs) {
            rows.push(value);
        }
        step += 1;
    }
    for rows in rows {
        state.push(stacked(&rows, 0, false)?.into());
    }
    Ok(state)
}

/// Values stacked along a new axis.
fn stacked(rows: &[Value], axis: i64, is_reversed: bool) -> Result<TypedTensor> {
    let Some(first) = rows.first() else {
        // The type of an empty list is unknown; the usual one is float.
        return Ok(Tensor::<f32>::zeros([0]).into());
    };
    let first = first.tensor()?;
    let axis = axis_of(axis, first.rank() + 1)?;
    let mut shape = first.shape().to_vec();
    shape.insert(axis, 1);
    let rows = rows.iter().map(|row| row.tensor()?.reshape(&shape[..]));
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    if is_reversed {
        rows.reverse();
    }
    TypedTensor::cat(&rows.iter().collect::<Vec<_>>(), axis)
}

fn scan(call: &Call<'_>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    // Version 8 has a batch axis and the lengths of the samples.
    let is_batched = call.version() < 9;
    let inputs: Vec<Value> = call
        .inputs
        .iter()
        .skip(usize::from(is_batched))
        .flatten()
        .map(|&value| value.clone())
        .collect();
    let scanned = usize::try_from(call.int("num_scan_inputs", 1)).unwrap_or(usize::MAX);
    let Some(carried) = inputs.len().checked_sub(scanned) else {
        return call.refuse(format!("{} inputs are fewer than {scanned}", inputs.len()));
    };
    if !is_batched {
        return scan_once(call, &body, inputs, carried);
    }
    let Some(first) = inputs.first() else { return call.refuse("there are no inputs") };
    let batch = first.tensor()?.shape().first().copied().unwrap_or(0);
    let mut samples = Vec::with_capacity(batch);
    for index in 0..batch {
        let of_sample = inputs.iter().map(|value| {
            let x = value.tensor()?;
            Ok(x.narrow_axis(0, index, 1)?.reshape(&x.shape()[1..])?.into())
        });
        samples.push(scan_once(call, &body, of_sample.collect::<Result<_>>()?, carried)?);
    }
    let count = samples.first().map_or(0, Vec::len);
    (0..count)
        .map(|output| {
            let of_output: Vec<Value> =
                samples.iter().map(|sample| sample[output].clone()).collect();
            Ok(stacked(&of_output, 0, false)?.into())
        })
        .collect()
}

fn scan_once(
    call: &Call<'_>,
    body: &crate::call::Subgraph<'_>,
    inputs: Vec<Value>,
    carried: usize,
) -> Result<Vec<Value>> {
    let (state, sequences) = inputs.split_at(carried);
    let mut state = state.to_vec();
    let outputs = call.outputs().saturating_sub(carried);
    let at = |name: &str, index: usize| {
        call.ints(name).and_then(|list| list.get(index)).copied().unwrap_or(0)
    };
    let is_backward = |name: &str, old: usize, index: usize| {
        let old = call.ints("directions").and_then(|list| list.get(old)).copied();
        old.unwrap_or_else(|| at(name, index)) == 1
    };
    let mut length = None;
    let mut axes = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let x = sequence.tensor()?;
        let axis = x.axis(at("scan_input_axes", index))?;
        let own = x.shape()[axis];
        if length.is_some_and(|length| length != own) {
            return call.refuse("the sequences have different lengths");
        }
        length = Some(own);
        axes.push(axis);
    }
    let length = length.unwrap_or(0);
    let mut rows: Vec<Vec<Value>> = vec![Vec::new(); outputs];
    for step in 0..length {
        for (index, (sequence, &axis)) in sequences.iter().zip(&axes).enumerate() {
            let x = sequence.tensor()?;
            let backward = is_backward("scan_input_directions", index, index);
            let step = if backward { length - 1 - step } else { step };
            let mut shape = x.shape().to_vec();
            shape.remove(axis);
            state.push(x.narrow_axis(axis as isize, step, 1)?.reshape(shape)?.into());
        }
        let mut results = body.run(std::mem::take(&mut state))?.into_iter();
        state = results.by_ref().take(carried).collect();
        for (rows, value) in rows.iter_mut().zip(results) {
            rows.push(value);
        }
    }
    for (index, rows) in rows.iter().enumerate() {
        let backward = at("scan_output_directions", index) == 1;
        state.push(stacked(rows, at("scan_output_axes", index), backward)?.into());
    }
    Ok(state)
}

fn sequence_map(call: &Call<'_>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    let Some(first) = call.value(0) else { return call.refuse("the sequence is missing") };
    let length = first.sequence()?.len();
    let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); call.outputs()];
    for index in 0..length {
        let inputs = call.inputs.iter().flatten().map(|&value| match value {
            Value::Sequence(values) => values.get(index).cloned().ok_or_else(|| {
                Error::argument("SequenceMap", "the sequences have different lengths")
            }),
            other => Ok(other.clone()),
        });
        let results = body.run(inputs.collect::<Result<_>>()?)?;
        for (output, value) in outputs.iter_mut().zip(results) {
            output.push(value);
        }
    }
    Ok(outputs.into_iter().map(Value::Sequence).collect())
}
