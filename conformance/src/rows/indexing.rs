//! Selecting, writing, searching and counting elements.

use dendra_autograd::Var;
use dendra_tensor::Float;
use dendra_tensor::ScatterReduction;
use dendra_tensor::{Ops, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Any, Argument, Constant};
use crate::call::{Call, Given, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = picking();
    rows.extend(counting());
    rows
}

fn picking<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "gather" (input: Var<T>, dim: isize, index: Tensor<i64>) => input.gather(dim, &index);
        "take_along_dim" (input: Var<T>, indices: Tensor<i64>, dim: Option<isize> = None) => {
            match dim {
                Some(axis) => Ok::<_, Stop>(input.take_along(axis, &indices)?),
                None => Ok(input.flatten(0, -1)?.take_along(0, &indices.flatten(0, -1)?)?),
            }
        };
        "index_select" (input: Var<T>, dim: isize, index: Indices) => {
            input.index_select(dim, &index.0)
        };
        "index_add" (
            input: Var<T>, dim: isize, index: Indices, source: Var<T>, alpha: f64 = 1.0,
        ) => input.index_add(dim, &index.0, &source.mul_scalar(alpha));
        "index_copy" (input: Var<T>, dim: isize, index: Indices, source: Var<T>) => {
            input.index_copy(dim, &index.0, &source)
        };
        "index_fill" (input: Var<T>, dim: isize, index: Indices, value: f64) => {
            input.index_fill(dim, &index.0, value)
        };
        "take" (input: Var<T>, index: Tensor<i64>) => {
            let count = input.value().len() as i64;
            let from_front = |i| if i < 0 { i + count } else { i } as usize;
            let places = index.to_vec().into_iter().map(from_front);
            input.take(&places.collect::<Vec<_>>())?.reshape(index.shape())
        };
        "masked_select" (input: Var<T>, mask: Tensor<bool>) => input.masked_select(&mask);
        "masked_scatter" (input: Var<T>, mask: Tensor<bool>, source: Var<T>) => {
            input.masked_scatter(&mask, &source)
        };
        "scatter" (
            input: Var<T>, dim: isize, index: Tensor<i64>, src: Var<T>,
            reduce: Option<String> = None,
        ) => match reduce.as_deref() {
            None if src.value().rank() == 0 && index.rank() > 0 => {
                Ok(input.scatter(dim, &index, &src.broadcast_to(index.shape())?)?)
            }
            None => Ok(input.scatter(dim, &index, &src)?),
            Some(how) => Err(Stop::inexpressible(format!("scatter with the reduction {how}"))),
        };
        "scatter_add" (input: Var<T>, dim: isize, index: Tensor<i64>, src: Var<T>) => {
            input.scatter_add(dim, &index, &src)
        };
        "index_reduce.mean" | "index_reduce.prod" | "index_reduce.amax" | "index_reduce.amin" (
            input: Var<T>, dim: isize, index: Indices, source: Var<T>, reduce: ScatterReduction,
            include_self: bool = true,
        ) => input.index_reduce(dim, &index.0, &source, reduce, include_self);
        "scatter_reduce.sum" | "scatter_reduce.prod" | "scatter_reduce.mean"
            | "scatter_reduce.amax" | "scatter_reduce.amin" (
            input: Var<T>, dim: isize, index: Tensor<i64>, src: Var<T>, reduce: ScatterReduction,
            include_self: bool = true,
        ) => input.scatter_reduce(dim, &index, &src, reduce, include_self);
        "nn.functional.embedding" (
            weight: Var<T>, input: Tensor<i64>, padding_idx: Option<isize> = None,
        ) => {
            let rows = weight.value().shape()[0] as isize;
            let padding = padding_idx.map(|row| if row < 0 { row + rows } else { row } as usize);
            weight.embedding(&input, padding)
        };
    }
}

fn counting<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nonzero" | "argwhere" (input: Any<T>, as_tuple: bool = false) => {
            let truth = input.truth();
            // With `as_tuple`, PyTorch treats a number as a vector.
            let number = as_tuple && truth.rank() == 0;
            let places = if number { truth.reshape([1])?.nonzero() } else { truth.nonzero() };
            match as_tuple {
                true => places.unbind(1),
                false => Ok(vec![places]),
            }
        };
        "unique" (
            input: Constant<T>, sorted: bool = true, return_inverse: bool = false,
            return_counts: bool = false, dim: Option<isize> = None,
        ) => {
            let _ = sorted;
            let (values, inverse, counts) = match dim {
                Some(axis) => input.0.unique_axis(axis)?,
                None => input.0.unique(),
            };
            (values, return_inverse.then_some(inverse), return_counts.then_some(counts))
        };
        "unique_consecutive" (
            input: Constant<T>, return_inverse: bool = false, return_counts: bool = false,
            dim: Option<isize> = None,
        ) => {
            let (values, inverse, counts) = match dim {
                Some(axis) => input.0.unique_consecutive_axis(axis)?,
                None => input.0.unique_consecutive(),
            };
            (values, return_inverse.then_some(inverse), return_counts.then_some(counts))
        };
        "isin" (elements: Var<T>, test_elements: Var<T>) => {
            elements.value().isin(&test_elements.value().to_vec())
        };
        "searchsorted" (
            sorted_sequence: Var<T>, values: Var<T>, right: bool = false,
            side: Option<String> = None, sorter: Option<Tensor<i64>> = None,
            out_int32: bool = false,
        ) => {
            let _ = out_int32;
            let right = right || side.as_deref() == Some("right");
            let sorted_sequence = match sorter {
                Some(order) => sorted_sequence.gather(-1, &order)?,
                None => sorted_sequence,
            };
            sorted_sequence.value().searchsorted(values.value(), right)
        };
        "bucketize" (
            input: Var<T>, boundaries: Var<T>, right: bool = false, out_int32: bool = false,
        ) => {
            let _ = out_int32;
            input.value().bucketize(boundaries.value(), right)
        };
        "histc" (input: Var<T>, bins: usize = 100, min: f64 = 0.0, max: f64 = 0.0) => {
            let number = |x: Var<T>| x.value().item().map(T::to_f64);
            let (low, high) = match min == max {
                true => (number(input.min()?)?, number(input.max()?)?),
                false => (min, max),
            };
            let (low, high) = if low == high { (low - 1.0, high + 1.0) } else { (low, high) };
            input.value().histc(bins, low, high)?.cast::<T>()
        };
        "bincount" (input: Tensor<i64>, minlength: usize = 0) => input.bincount(minlength);
        "nn.functional.one_hot" (input: Tensor<i64>, num_classes: i64 = -1) => match num_classes {
            -1 => input.one_hot::<i64>(input.max()?.item()? as usize + 1),
            count => input.one_hot::<i64>(count as usize),
        };
    }
}

/// Indices of an axis without negative values.
struct Indices(Vec<usize>);

impl<T: Float> Argument<T> for Indices {
    const KIND: &str = "indices from 0 on";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        let Given::Int(index) = call.given(value)? else { return None };
        let indices = index.to_vec().into_iter().map(|i| i.try_into().ok());
        indices.collect::<Option<_>>().map(Self)
    }
}

impl<T: Float> Argument<T> for ScatterReduction {
    const KIND: &str = "a reduction";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        Some(match value.as_str()? {
            "sum" => Self::Sum,
            "prod" => Self::Prod,
            "mean" => Self::Mean,
            "amax" => Self::Max,
            "amin" => Self::Min,
            _ => return None,
        })
    }
}
