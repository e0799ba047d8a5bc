//! Indexing by several tensors at once, and copies with other values at some positions.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Argument, Axes};
use crate::call::{Call, Given, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "__getitem__" (input: Var<T>, index: Vec<Value>) => indexed(call, input, &index);
        "index_put" (
            input: Var<T>, indices: Vec<Value>, values: Var<T>, accumulate: bool = false,
        ) => {
            let named = named(call, &indices)?;
            let named: Vec<_> = named.iter().map(Option::as_ref).collect();
            match accumulate {
                true => Ok::<_, Stop>(input.index_put_accumulate(&named, &values)?),
                false => Ok(input.index_put(&named, &values)?),
            }
        };
        "put" (input: Var<T>, index: Tensor<i64>, source: Var<T>, accumulate: bool = false) => {
            let places = from_front(&index, input.value().len());
            match accumulate {
                true => input.put_accumulate(&places, &source),
                false => input.put(&places, &source),
            }
        };
        "slice_scatter" (
            input: Var<T>, src: Var<T>, dim: isize = 0, start: Option<isize> = None,
            end: Option<isize> = None, step: isize = 1,
        ) => input.slice_scatter(&src, dim, start.unwrap_or(0), end, step);
        "select_scatter" (input: Var<T>, src: Var<T>, dim: isize, index: isize) => {
            input.select_scatter(&src, dim, index)
        };
        "diagonal_scatter" (
            input: Var<T>, src: Var<T>, offset: isize = 0, dim1: isize = 0, dim2: isize = 1,
        ) => input.diagonal_scatter(&src, offset, dim1, dim2);
        "count_nonzero" (input: Var<T>, dim: Axes = Axes::All) => {
            input.value().count_nonzero_axes(&dim.of(input.value().rank()), false)
        };
    }
}

/// Indices without negative values, for a tensor of `count` elements.
fn from_front(index: &Tensor<i64>, count: usize) -> Vec<usize> {
    let place = |i: i64| if i < 0 { i + count as i64 } else { i } as usize;
    index.to_vec().into_iter().map(place).collect()
}

/// Index tensors; a mask is replaced by the indices of its true elements.
fn named<T: Float>(call: &Call<'_, T>, given: &[Value]) -> Result<Vec<Option<Tensor<i64>>>, Stop> {
    let mut named = Vec::new();
    for value in given {
        match call.given(value) {
            Some(Given::Int(index)) => named.push(Some(index.clone())),
            Some(Given::Bool(mask)) => {
                named.extend(mask.nonzero().unbind(1)?.into_iter().map(Some));
            }
            _ if value.is_null() => named.push(None),
            _ => return Err(Stop::inexpressible("such an index")),
        }
    }
    Ok(named)
}

/// First applies slices and integers, from the last axis on, and then the index tensors.
fn indexed<T: Float>(call: &Call<'_, T>, x: Var<T>, index: &[Value]) -> Result<Var<T>, Stop> {
    let axes = |value: &Value| match call.given(value) {
        Some(Given::Bool(mask)) => mask.rank(),
        _ => usize::from(value.get("ellipsis").is_none()),
    };
    let counted: usize = index.iter().map(axes).sum();
    let skipped = x.value().rank().saturating_sub(counted);
    let mut x = x;
    let (mut axis, mut tensors) = (0, Vec::new());
    for value in index {
        let bound = |i: usize| value["slice"][i].as_i64().map(|bound| bound as isize);
        if value.get("ellipsis").is_some() {
            tensors.extend(std::iter::repeat_n(Value::Null, skipped));
            axis += skipped;
        } else if value.get("slice").is_some() {
            x = x.slice(axis as isize, bound(0).unwrap_or(0), bound(1), bound(2).unwrap_or(1))?;
            tensors.push(Value::Null);
            axis += 1;
        } else if let Some(position) = value.as_i64() {
            x = x.select(axis as isize, position as isize)?;
        } else {
            axis += axes(value);
            tensors.push(value.clone());
        }
    }
    if tensors.iter().all(Value::is_null) {
        return Ok(x);
    }
    let lists = tensors.into_iter().map(|value| match &value {
        Value::Array(_) => {
            let list: Option<Vec<i64>> = Argument::<T>::read(&value, call);
            let list = list.ok_or(Stop::inexpressible("such an index"))?;
            Ok(vec![Some(Tensor::from_vec(list.clone(), [list.len()])?)])
        }
        _ => named(call, std::slice::from_ref(&value)),
    });
    let named = lists.collect::<Result<Vec<_>, Stop>>()?.concat();
    Ok(x.index(&named.iter().map(Option::as_ref).collect::<Vec<_>>())?)
}
