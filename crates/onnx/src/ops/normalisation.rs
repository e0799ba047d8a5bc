//! Normalisation, softmax and dropout.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result, Shape, Tensor};

use super::{Operator, many, one};
use crate::call::Call;
use crate::element::ElementType;
use crate::tensor::{Data, TypedTensor, float, floats};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    many("BatchNormalization", batch_norm),
    many("Dropout", dropout),
    one("GroupNormalization", group_norm),
    one("Hardmax", hardmax),
    one("InstanceNormalization", instance_norm),
    one("LRN", local_response),
    many("LayerNormalization", layer_norm),
    one("LogSoftmax", log_softmax),
    one("LpNormalization", lp_norm),
    one("MeanVarianceNormalization", mean_variance),
    one("RMSNormalization", rms_norm),
    one("Softmax", softmax),
];

/// A vector with one number for each channel, to broadcast over `[N, C, …]`.
fn per_channel(vector: &TypedTensor, rank: usize) -> Result<TypedTensor> {
    let ones = vec![1; rank.saturating_sub(2)];
    vector.reshape([vector.len()].into_iter().chain(ones).collect::<Shape>())
}

fn batch_norm(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let epsilon = call.float("epsilon", 1e-5_f32.into());
    let is_training = call.flag("training_mode");
    let momentum = call.float("momentum", 0.9_f32.into());
    let [scale, bias, mean, variance] =
        [1, 2, 3, 4].map(|index| per_channel(call.tensor(index)?, x.rank()));
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    if !is_training {
        let y = normalised(x, &mean, &variance, &scale, &bias, epsilon)?;
        return Ok(vec![y.into()]);
    }
    let axes: Vec<isize> = (0..x.rank() as isize).filter(|&axis| axis != 1).collect();
    let of_batch = float!(x, x => x.mean_axes(&axes, true)?)?;
    let spread = float!(x, x => x.var_axes(&axes, 0.0, true)?)?;
    let y = normalised(
        x,
        &without_batch(&of_batch)?,
        &without_batch(&spread)?,
        &scale,
        &bias,
        epsilon,
    )?;
    let running = |old: &TypedTensor, new: &TypedTensor| -> Result<Value> {
        let (old, new) = (old.reals()?.to_vec(), new.reals()?.to_vec());
        let moved = old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum));
        let moved: Vec<f64> = moved.collect();
        let length = moved.len();
        Ok(TypedTensor::real(mean.element(), Tensor::from_vec(moved, [length])?).into())
    };
    Ok(vec![y.into(), running(&mean, &of_batch)?, running(&variance, &spread)?])
}

/// Reshapes `[1, C, …]` to `[C, …]`.
fn without_batch(x: &TypedTensor) -> Result<TypedTensor> {
    x.reshape(&x.shape()[1..])
}

/// (x − mean) / √(variance + ε) · scale + bias. The settings may be of another
/// float type.
fn normalised(
    x: &TypedTensor,
    mean: &TypedTensor,
    variance: &TypedTensor,
    scale: &TypedTensor,
    bias: &TypedTensor,
    epsilon: f64,
) -> Result<TypedTensor> {
    let same = |other: &TypedTensor| super::cast::convert(other, x.element(), false);
    let (mean, variance) = (same(mean)?, same(variance)?);
    let (scale, bias) = (same(scale)?, same(bias)?);
    floats!(x, [mean, variance, scale, bias], |x, others| {
        let [mean, variance, scale, bias] = others;
        // Two passes over x instead of four.
        let factor = variance.add_scalar(epsilon).rsqrt().mul(scale)?;
        x.mul(&factor)?.add(&bias.sub(&mean.mul(&factor)?)?)?
    })
}

fn instance_norm(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let epsilon = call.float("epsilon", 1e-5_f32.into());
    let (scale, bias) =
        (per_channel(call.tensor(1)?, x.rank())?, per_channel(call.tensor(2)?, x.rank())?);
    let axes: Vec<isize> = (2..x.rank() as isize).collect();
    floats!(x, [scale, bias], |x, others| {
        standardised(x, &axes, epsilon)?.mul(others[0])?.add(others[1])?
    })
}

/// (x − mean) / √(variance + ε) over some axes.
fn standardised<T: Float>(x: &Var<T>, axes: &[isize], epsilon: f64) -> Result<Var<T>> {
    let centred = x.sub(&x.mean_axes(axes, true)?)?;
    let variance = centred.square().mean_axes(axes, true)?;
    centred.mul(&variance.add_scalar(epsilon).rsqrt())
}

fn group_norm(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let epsilon = call.float("epsilon", 1e-5_f32.into());
    let groups = usize::try_from(call.int("num_groups", 1)).unwrap_or(0);
    let shape = x.shape();
    if groups == 0 || shape.len() < 2 || shape[1] % groups != 0 {
        return call.refuse(format!("shape {shape} does not divide into {groups} groups"));
    }
    let channels = shape[1];
    // Before version 21 there is one scale for each group.
    let each = |vector: &TypedTensor| -> Result<TypedTensor> {
        let per_group = channels / groups;
        let vector = match vector.len() {
            length if length == groups && length != channels => {
                let indices: Vec<usize> =
                    (0..channels).map(|channel| channel / per_group).collect();
                &vector.take(&indices, [channels])?
            }
            _ => vector,
        };
        per_channel(vector, shape.len())
    };
    let (scale, bias) = (each(call.tensor(1)?)?, each(call.tensor(2)?)?);
    floats!(x, [scale, bias], |x, others| {
        let size = shape[1..].iter().product::<usize>() / groups;
        let grouped = x.reshape([shape[0], groups, size])?;
        let y = standardised(&grouped, &[2], epsilon)?.reshape(shape)?;
        y.mul(others[0])?.add(others[1])?
    })
}

/// The axes from that of the setting to the last.
fn last_axes(call: &Call<'_>) -> Result<Vec<isize>> {
    let x = call.tensor(0)?;
    Ok((x.axis(call.int("axis", -1))? as isize..x.rank() as isize).collect())
}

fn layer_norm(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let epsilon = call.float("epsilon", 1e-5_f32.into());
    let axes = last_axes(call)?;
    let (scale, bias) = (call.tensor(1)?, call.optional(2)?);
    let zero = TypedTensor::whole(scale.element(), Tensor::scalar(0));
    let bias = bias.unwrap_or(&zero);
    let wide = wider(x)?;
    let (scale, bias) = (
        super::cast::convert(scale, wide.element(), false)?,
        super::cast::convert(bias, wide.element(), false)?,
    );
    let y = floats!(&wide, [scale, bias], |x, others| {
        standardised(x, &axes, epsilon)?.mul(others[0])?.add(others[1])?
    })?;
    let mut outputs: Vec<Value> = vec![super::cast::convert(&y, x.element(), false)?.into()];
    if call.outputs() > 1 {
        let mean = float!(&wide, x => x.mean_axes(&axes, true)?)?;
        let factor = float!(&wide, x => {
            x.var_axes(&axes, 0.0, true)?.add_scalar(epsilon).rsqrt()
        })?;
        outputs.extend([Value::from(mean), factor.into()]);
    }
    Ok(outputs)
}

/// Converts floats of few bits to floats of 32 bits.
pub(super) fn wider(x: &TypedTensor) -> Result<TypedTensor> {
    match x.element().narrow() {
        Some(_) => super::cast::convert(x, ElementType::F32, false),
        None => Ok(x.clone()),
    }
}

fn rms_norm(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let epsilon = call.float("epsilon", 1e-5_f32.into());
    let axes = last_axes(call)?;
    let wide = wider(x)?;
    let scale = super::cast::convert(call.tensor(1)?, wide.element(), false)?;
    let y = floats!(&wide, [scale], |x, others| {
        let factor = x.square().mean_axes(&axes, true)?.add_scalar(epsilon).rsqrt();
        x.mul(&factor)?.mul(others[0])?
    })?;
    super::cast::convert(&y, x.element(), false)
}

/// Local response normalisation over neighbouring channels (Krizhevsky et al.,
/// 2012).
fn local_response(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let size = call.int("size", 1).max(1) as usize;
    let (alpha, beta) = (call.float("alpha", 1e-4_f32.into()), call.float("beta", 0.75));
    let bias = call.float("bias", 1.0);
    if x.rank() < 2 || size > 1 << 20 {
        return call.refuse(format!("expected shape [N, C, …], got {}", x.shape()));
    }
    let (before, channels) = ((size - 1) / 2, x.shape()[1]);
    float!(x, x => {
        // A running sum over the channels gives each window as a difference.
        let squares = x.square();
        let windows = (0..channels).map(|channel| {
            let start = channel.saturating_sub(before);
            let end = (channel + size - before).min(channels);
            squares.narrow(1, start, end - start)?.sum_axes(&[1], true)
        });
        let windows = windows.collect::<Result<Vec<_>>>()?;
        let sums = Var::cat(&windows.iter().collect::<Vec<_>>(), 1)?;
        let factor = sums.mul_scalar(alpha / size as f64).add_scalar(bias).powf(-beta);
        x.mul(&factor)?
    })
}

fn lp_norm(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.int("axis", -1))? as isize;
    let p = call.int("p", 2);
    float!(x, x => {
        let norm = match p {
            1 => x.abs().sum_axes(&[axis], true)?,
            _ => x.norm_axes(2.0, &[axis], true)?,
        };
        // A vector of zeros is returned unchanged.
        let zero = norm.value().eq_scalar(dendra_tensor::Number::ZERO);
        x.div(&norm.masked_fill(&zero, 1.0)?)?
    })
}

fn mean_variance(call: &Call<'_>) -> Result<TypedTensor> {
    let axes: Vec<isize> = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| axis as isize).collect(),
        None => vec![0, 2, 3],
    };
    float!(call.tensor(0)?, x => {
        let centred = x.sub(&x.mean_axes(&axes, true)?)?;
        let deviation = centred.square().mean_axes(&axes, true)?.sqrt();
        centred.div(&deviation.add_scalar(1e-9))?
    })
}

/// Applies a function along an axis. Before version 13, that axis and all later
/// ones are merged.
fn along(
    call: &Call<'_>,
    f: &dyn Fn(&TypedTensor, isize) -> Result<TypedTensor>,
) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    if call.version() >= 13 {
        return f(x, x.axis(call.int("axis", -1))? as isize);
    }
    let axis = x.axis(call.int("axis", 1))?;
    let rows: usize = x.shape()[..axis].iter().product();
    let columns: usize = x.shape()[axis..].iter().product();
    f(&x.reshape([rows, columns])?, 1)?.reshape(x.shape())
}

fn softmax(call: &Call<'_>) -> Result<TypedTensor> {
    along(call, &|x, axis| float!(x, x => x.softmax(axis)?))
}

fn log_softmax(call: &Call<'_>) -> Result<TypedTensor> {
    along(call, &|x, axis| float!(x, x => x.log_softmax(axis)?))
}

/// 1 for the first of the largest elements along an axis, else 0.
fn hardmax(call: &Call<'_>) -> Result<TypedTensor> {
    along(call, &|x, axis| {
        let keys = super::indexing::keys(x)?;
        let best = keys.topk_indices(1, axis, true)?;
        let (length, inner) =
            (x.shape()[axis as usize], x.shape()[axis as usize + 1..].iter().product::<usize>());
        let best = best.to_vec();
        let is_best = |i: usize| {
            let (outer, step) = (i / inner / length, i / inner % length);
            i64::from(best[outer * inner + i % inner] == step as i64)
        };
        Ok(TypedTensor::whole(x.element(), Tensor::from_fn(x.shape().clone(), is_best)))
    })
}

fn dropout(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let ratio = call.number(1)?.unwrap_or(call.float("ratio", 0.5));
    let is_training = match call.optional(2)? {
        Some(flag) => flag.bools()?.to_vec().first() == Some(&true),
        None => match &x.data {
            Data::F32(x) => x.is_training(),
            _ => false,
        },
    };
    if !is_training || ratio == 0.0 {
        let mask: Tensor<bool> = Tensor::try_full(x.shape().clone(), true)?;
        return Ok(vec![x.clone().into(), mask.into()]);
    }
    let mut rng = call.random();
    let mask = Tensor::from_fn(x.shape().clone(), |_| rng.uniform() >= ratio);
    let factors = mask.map(|kept| if kept { 1.0 / (1.0 - ratio) } else { 0.0 });
    let factors = TypedTensor::real(x.element(), factors);
    let y = floats!(x, [factors], |x, others| x.mul(others[0])?)?;
    Ok(vec![y.into(), mask.into()])
}
