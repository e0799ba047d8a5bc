//! Reductions, running functions, and functions composed of them.

use dendra_autograd::Var;
use dendra_tensor::Float;
use dendra_tensor::{Ops, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Any, Argument, Axes};
use crate::call::Call;

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = sums();
    rows.extend(extremes());
    rows.extend(running());
    rows
}

fn sums<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "sum" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.sum_axes(&dim.of(input.value().rank()), keepdim)
        };
        "mean" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.mean_axes(&dim.of(input.value().rank()), keepdim)
        };
        "prod" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.prod_axes(&dim.of(input.value().rank()), keepdim)
        };
        "nansum" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.nansum_axes(&dim.of(input.value().rank()), keepdim)
        };
        "nanmean" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.nanmean_axes(&dim.of(input.value().rank()), keepdim)
        };
        "var.unbiased" (input: Var<T>, unbiased: bool) => input.var(chosen(None, unbiased));
        "std.unbiased" (input: Var<T>, unbiased: bool) => input.std(chosen(None, unbiased));
        "var_mean.unbiased" (input: Var<T>, unbiased: bool) => {
            (input.var(chosen(None, unbiased)), input.mean())
        };
        "std_mean.unbiased" (input: Var<T>, unbiased: bool) => {
            (input.std(chosen(None, unbiased)), input.mean())
        };
        "var" (
            input: Var<T>, dim: Axes = Axes::All, unbiased: bool = true, keepdim: bool = false,
            correction: Option<f64> = None,
        ) => {
            let axes = dim.of(input.value().rank());
            input.var_axes(&axes, chosen(correction, unbiased), keepdim)
        };
        "std" (
            input: Var<T>, dim: Axes = Axes::All, unbiased: bool = true, keepdim: bool = false,
            correction: Option<f64> = None,
        ) => {
            let axes = dim.of(input.value().rank());
            input.std_axes(&axes, chosen(correction, unbiased), keepdim)
        };
        "var_mean" (
            input: Var<T>, dim: Axes = Axes::All, unbiased: bool = true, keepdim: bool = false,
            correction: Option<f64> = None,
        ) => {
            let axes = dim.of(input.value().rank());
            let var = input.var_axes(&axes, chosen(correction, unbiased), keepdim);
            (var, input.mean_axes(&axes, keepdim))
        };
        "std_mean" (
            input: Var<T>, dim: Axes = Axes::All, unbiased: bool = true, keepdim: bool = false,
            correction: Option<f64> = None,
        ) => {
            let axes = dim.of(input.value().rank());
            let std = input.std_axes(&axes, chosen(correction, unbiased), keepdim);
            (std, input.mean_axes(&axes, keepdim))
        };
        "logsumexp" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            let rank = input.value().rank();
            let mut axes = input.value().shape().axes("logsumexp", &dim.of(rank))?;
            axes.sort_unstable();
            let from_last = axes.iter().rev();
            from_last.copied().try_fold(input, |x, axis| x.logsumexp(axis as isize, keepdim))
        };
        "linalg.vector_norm" | "norm" | "norm.inf" | "norm.fro" (
            input: Var<T>, ord: Order = Order(2.0), dim: Axes = Axes::All, keepdim: bool = false,
            p: Order = Order(f64::NAN),
        ) => {
            let order = if p.0.is_nan() { ord.0 } else { p.0 };
            input.norm_axes(order, &dim.of(input.value().rank()), keepdim)
        };
        "dist" (input: Var<T>, other: Var<T>, p: f64 = 2.0) => {
            input.dist(&other, p)
        };
        "all" (input: Any<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            let truth = input.truth();
            truth.all_axes(&dim.of(truth.rank()), keepdim)
        };
        "any" (input: Any<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            let truth = input.truth();
            truth.any_axes(&dim.of(truth.rank()), keepdim)
        };
    }
}

/// The correction, if given, or the one that `unbiased` stands for.
fn chosen(correction: Option<f64>, unbiased: bool) -> f64 {
    correction.unwrap_or(f64::from(u8::from(unbiased)))
}

fn extremes<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "amax" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.max_axes(&dim.of(input.value().rank()), keepdim)
        };
        "amin" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.min_axes(&dim.of(input.value().rank()), keepdim)
        };
        "max.reduction_no_dim" (input: Var<T>) => input.max();
        "min.reduction_no_dim" (input: Var<T>) => input.min();
        "max.reduction_with_dim" (input: Var<T>, dim: isize, keepdim: bool = false) => {
            input.max_along(dim, keepdim)
        };
        "min.reduction_with_dim" (input: Var<T>, dim: isize, keepdim: bool = false) => {
            input.min_along(dim, keepdim)
        };
        "argmax" (input: Var<T>, dim: Option<isize> = None, keepdim: bool = false) => {
            extreme(&input, dim, keepdim, Tensor::argmax)
        };
        "argmin" (input: Var<T>, dim: Option<isize> = None, keepdim: bool = false) => {
            extreme(&input, dim, keepdim, Tensor::argmin)
        };
        "median" (input: Var<T>, dim: Option<isize> = None, keepdim: bool = false) => match dim {
            Some(axis) => input.median(axis, keepdim).map(|(x, at)| (x, Some(at))),
            None => Ok((input.flatten(0, -1)?.median(0, false)?.0, None)),
        };
        "nanmedian" (input: Var<T>, dim: Option<isize> = None, keepdim: bool = false) => match dim {
            Some(axis) => input.nanmedian(axis, keepdim).map(|(x, at)| (x, Some(at))),
            None => Ok((input.flatten(0, -1)?.nanmedian(0, false)?.0, None)),
        };
        "mode" (input: Var<T>, dim: isize = -1, keepdim: bool = false) => input.mode(dim, keepdim);
        "kthvalue" (input: Var<T>, k: usize, dim: isize = -1, keepdim: bool = false) => {
            input.kthvalue(k, dim, keepdim)
        };
        "topk" (
            input: Var<T>, k: usize, dim: isize = -1, largest: bool = true, sorted: bool = true,
        ) => {
            let _ = sorted;
            input.topk(k, dim, largest)
        };
        "sort" (
            input: Var<T>, dim: isize = -1, descending: bool = false, stable: bool = false,
        ) => {
            let _ = stable;
            input.sort(dim, descending)
        };
        "msort" (input: Var<T>) => input.sort(0, false).map(|(sorted, _)| sorted);
        "argsort" (
            input: Var<T>, dim: isize = -1, descending: bool = false, stable: bool = false,
        ) => {
            let _ = stable;
            input.value().argsort(dim, descending)
        };
    }
}

fn extreme<T: Float>(
    input: &Var<T>,
    dim: Option<isize>,
    keep: bool,
    index: fn(&Tensor<T>, isize) -> dendra_tensor::Result<Tensor<i64>>,
) -> dendra_tensor::Result<Tensor<i64>> {
    let found = match dim {
        Some(axis) => index(input.value(), axis)?,
        None => index(&input.value().flatten(0, -1)?, 0)?,
    };
    match (dim, keep) {
        _ if !keep || input.value().rank() == 0 => Ok(found),
        (Some(axis), _) => found.unsqueeze(axis),
        (None, _) => found.reshape(vec![1; input.value().rank()]),
    }
}

fn running<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "cumsum" (input: Var<T>, dim: isize) => input.cumsum(dim);
        "cumprod" (input: Var<T>, dim: isize) => input.cumprod(dim);
        "cummax" (input: Var<T>, dim: isize) => input.cummax(dim);
        "cummin" (input: Var<T>, dim: isize) => input.cummin(dim);
        "logcumsumexp" (input: Var<T>, dim: isize) => input.logcumsumexp(dim);
        "softmax" | "softmax.with_dtype" (input: Var<T>, dim: isize) => input.softmax(dim);
        "log_softmax" | "log_softmax.with_dtype" (input: Var<T>, dim: isize) => {
            input.log_softmax(dim)
        };
        "nn.functional.softmin" | "nn.functional.softmin.with_dtype" (input: Var<T>, dim: isize)
            => input.softmin(dim);
    }
}

/// The order of a norm; the Frobenius norm is that of the vector of all
/// elements.
#[derive(Clone, Copy)]
struct Order(f64);

impl<T: Float> Argument<T> for Order {
    const KIND: &str = "an order of a vector's norm";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match value.as_str() {
            Some("fro") => Some(Self(2.0)),
            Some("nuc") => None,
            _ if value.is_null() => Some(Self(2.0)),
            _ => Argument::<T>::read(value, call).map(Self),
        }
    }
}
