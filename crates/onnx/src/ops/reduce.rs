//! Reductions and running sums.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result, Shape, Tensor};

use super::{Operator, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, each, float};

pub(super) const TABLE: &[Operator] = &[
    one("CumProd", cum_prod),
    one("CumSum", cum_sum),
    one("ReduceL1", l1),
    one("ReduceL2", l2),
    one("ReduceLogSum", log_sum),
    one("ReduceLogSumExp", log_sum_exp),
    one("ReduceMax", max),
    one("ReduceMean", mean),
    one("ReduceMin", min),
    one("ReduceProd", prod),
    one("ReduceSum", sum),
    one("ReduceSumSquare", sum_square),
];

/// The axes to reduce and whether they are kept; `None` for no reduction.
fn axes(call: &Call<'_>) -> Result<Option<(Vec<isize>, bool)>> {
    let x = call.tensor(0)?;
    let keep = call.int("keepdims", 1) != 0;
    let given = call.integers_of("axes", 1)?.unwrap_or_default();
    if given.is_empty() {
        let all = (0..x.rank() as isize).collect();
        return Ok((!call.flag("noop_with_empty_axes")).then_some((all, keep)));
    }
    let axes = given.iter().map(|&axis| Ok(x.axis(axis)? as isize));
    Ok(Some((axes.collect::<Result<_>>()?, keep)))
}

/// Reduces floats by the given function, and other numbers as doubles.
macro_rules! reductions {
    ($($name:ident |$x:ident, $axes:ident, $keep:ident| $result:expr;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            let input = call.tensor(0)?;
            let (axes, $keep) = axes(call)?.unwrap_or_default();
            let $axes = &axes[..];
            if input.element().is_float() {
                return float!(input, $x => $result);
            }
            let $x = &Var::new(input.reals()?);
            let reduced: Var<f64> = $result;
            Ok(TypedTensor::real(input.element(), reduced.into_value()))
        }
    )*};
}

reductions! {
    l1 |x, axes, keep| x.abs().sum_axes(axes, keep)?;
    l2 |x, axes, keep| x.square().sum_axes(axes, keep)?.sqrt();
    log_sum |x, axes, keep| x.sum_axes(axes, keep)?.ln();
    log_sum_exp |x, axes, keep| log_sum_exp_of(x, axes, keep)?;
    mean |x, axes, keep| x.mean_axes(axes, keep)?;
    sum_square |x, axes, keep| x.square().sum_axes(axes, keep)?;
}

/// ln Σ exp(x), computed with the maximum subtracted.
fn log_sum_exp_of<T: Float>(x: &Var<T>, axes: &[isize], keep: bool) -> Result<Var<T>> {
    if x.value().is_empty() {
        return Ok(x.exp().sum_axes(axes, keep)?.ln());
    }
    let max = x.value().max_axes(axes, true)?;
    let max = max.map(|x| if x.is_finite() { x } else { T::ZERO });
    let rest = x.sub(&Var::new(max.clone()))?.exp().sum_axes(axes, keep)?.ln();
    rest.add(&Var::new(max.reshape(rest.shape())?))
}

fn sum(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some((axes, keep)) = axes(call)? else { return Ok(x.clone()) };
    if x.element().is_float() {
        return float!(x, x => x.sum_axes(&axes, keep)?);
    }
    Ok(TypedTensor::whole(x.element(), x.wholes()?.sum_axes(&axes, keep)?))
}

fn prod(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some((axes, keep)) = axes(call)? else { return Ok(x.clone()) };
    if x.element().is_float() {
        return float!(x, x => x.prod_axes(&axes, keep)?);
    }
    Ok(TypedTensor::whole(x.element(), x.wholes()?.prod_axes(&axes, keep)?))
}

fn max(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some((axes, keep)) = axes(call)? else { return Ok(x.clone()) };
    if x.len() == 0 {
        return nothing(x, &axes, keep, f64::NEG_INFINITY);
    }
    match &x.data {
        Data::F32(_) | Data::F64(_) => float!(x, x => x.max_axes(&axes, keep)?),
        Data::U64(values) => Ok(x.with(Data::U64(values.max_axes(&axes, keep)?))),
        _ => Ok(TypedTensor::whole(x.element(), x.wholes()?.max_axes(&axes, keep)?)),
    }
}

fn min(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some((axes, keep)) = axes(call)? else { return Ok(x.clone()) };
    if x.len() == 0 {
        return nothing(x, &axes, keep, f64::INFINITY);
    }
    match &x.data {
        Data::F32(_) | Data::F64(_) => float!(x, x => x.min_axes(&axes, keep)?),
        Data::U64(values) => Ok(x.with(Data::U64(values.min_axes(&axes, keep)?))),
        _ => Ok(TypedTensor::whole(x.element(), x.wholes()?.min_axes(&axes, keep)?)),
    }
}

/// The extreme of no elements: the other end of the range of the type.
fn nothing(x: &TypedTensor, axes: &[isize], keep: bool, value: f64) -> Result<TypedTensor> {
    let lengths = x.shape().iter().enumerate().filter_map(|(axis, &length)| {
        let is_reduced = axes.contains(&(axis as isize));
        if is_reduced { keep.then_some(1) } else { Some(length) }
    });
    let shape: Shape = lengths.collect();
    Ok(TypedTensor::real(x.element(), Tensor::try_full(shape, value)?))
}

fn cum_sum(call: &Call<'_>) -> Result<TypedTensor> {
    running(call, 0, &|x, axis| match x.element().is_float() {
        true => float!(x, x => x.cumsum(axis)?),
        false => Ok(TypedTensor::whole(x.element(), x.wholes()?.cumsum(axis)?)),
    })
}

fn cum_prod(call: &Call<'_>) -> Result<TypedTensor> {
    running(call, 1, &|x, axis| match x.element().is_float() {
        true => float!(x, x => x.cumprod(axis)?),
        false => Ok(TypedTensor::whole(x.element(), x.wholes()?.cumprod(axis)?)),
    })
}

/// A running sum or product, `neutral` before the first element.
fn running(
    call: &Call<'_>,
    neutral: i64,
    f: &dyn Fn(&TypedTensor, isize) -> Result<TypedTensor>,
) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.integer(1)?)?;
    let (along, length) = (axis as isize, x.shape()[axis]);
    let is_reversed = call.flag("reverse");
    let flip = |x: &TypedTensor| -> Result<TypedTensor> {
        if is_reversed { Ok(each!(x, x => x.flip(&[along])?)) } else { Ok(x.clone()) }
    };
    let mut x = flip(x)?;
    if call.flag("exclusive") && length > 0 {
        let mut shape = x.shape().to_vec();
        shape[axis] = 1;
        let first = TypedTensor::whole(x.element(), Tensor::try_full(shape, neutral)?);
        x = TypedTensor::cat(&[&first, &x.narrow_axis(along, 0, length - 1)?], axis)?;
    }
    flip(&f(&x, along)?)
}
