//! Convolutions.

use dendra_autograd::Var;
use dendra_tensor::ops::conv2d::Conv2d;
use dendra_tensor::{
    Conv2dOptions, ConvOptions, ConvTransposeOptions, Float, Ops, PadMode, Result, Shape, Tensor,
};

use super::pool::{Window, window};
use super::shape::check_size;
use super::{Operator, many, one};
use crate::call::{Call, shape_of};
use crate::tensor::{TypedTensor, float, floats};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    many("CausalConvWithState", causal_conv),
    one("Col2Im", col2im),
    one("Conv", conv),
    one("ConvTranspose", conv_transpose),
    one("DeformConv", deform_conv),
];

fn conv(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
    let kernel = weight.shape().get(2..).unwrap_or_default().to_vec();
    let window = window(call, x.shape(), Some(&kernel))?;
    let groups = usize::try_from(call.int("group", 1)).unwrap_or(0);
    if call.is_special() && matches!(kernel.len(), 1 | 2) {
        return fused(call, &window, groups);
    }
    match call.optional(2)? {
        Some(bias) => floats!(x, [weight, bias], |x, others| {
            convolution(x, others[0], Some(others[1]), &window, groups)?
        }),
        None => {
            floats!(x, [weight], |x, others| convolution(x, others[0], None, &window, groups)?)
        }
    }
}

/// A convolution along one or two axes with the functions that follow it.
fn fused(call: &Call<'_>, window: &Window, groups: usize) -> Result<TypedTensor> {
    let (x, padding) = padded(call.tensor(0)?.f32()?.value(), window)?;
    let weight = call.tensor(1)?.f32()?.value().clone();
    let bias = call.optional(2)?.map(|bias| bias.f32()).transpose()?;
    let is_row = window.kernel.len() == 1;
    // A sequence is an image with one row.
    let [x, weight] = match is_row {
        true => [x.unsqueeze(2)?, weight.unsqueeze(2)?],
        false => [x, weight],
    };
    let along = |list: &[usize], one: usize| match *list {
        [rows, columns] => [rows, columns],
        _ => [one, list[0]],
    };
    let options = Conv2dOptions {
        stride: along(&window.stride, 1),
        padding: along(&padding, 0),
        dilation: along(&window.dilation, 1),
        groups,
    };
    let inputs: Vec<&Tensor<f32>> = [&x, &weight].into_iter().chain(bias.map(Var::value)).collect();
    let conv = Conv2d { options };
    let panels = call.packed(|| conv.packed(x.shape(), &weight).unwrap_or_default());
    let y = conv.forward_then(&inputs, panels, call.then())?;
    Ok(if is_row { y.squeeze(2)? } else { y }.into())
}

/// The input with the padding that differs on both sides, and the padding that
/// is left to the convolution.
fn padded<X: Ops>(x: &X, window: &Window) -> Result<(X, Vec<usize>)> {
    if window.before == window.after {
        return Ok((x.clone(), window.before.clone()));
    }
    let sides = window.before.iter().zip(&window.after).rev();
    let padding: Vec<[isize; 2]> =
        sides.map(|(&before, &after)| [before as isize, after as isize]).collect();
    Ok((x.pad(&padding, PadMode::Constant(0.0))?, vec![0; padding.len()]))
}

/// A convolution along one, two or three axes.
pub(super) fn convolution<T: Float>(
    x: &Var<T>,
    weight: &Var<T>,
    bias: Option<&Var<T>>,
    window: &Window,
    groups: usize,
) -> Result<Var<T>> {
    let (x, padding) = padded(x, window)?;
    let (stride, dilation) = (&window.stride, &window.dilation);
    macro_rules! along {
        ($conv:ident) => {{
            let all = |list: &[usize]| list.try_into().expect("one number for each axis");
            let (stride, padding, dilation) = (all(stride), all(&padding), all(dilation));
            x.$conv(weight, bias, ConvOptions { stride, padding, dilation, groups })
        }};
    }
    match window.kernel.len() {
        1 => along!(conv1d),
        2 => along!(conv2d),
        3 => along!(conv3d),
        axes => Err(dendra_tensor::Error::shape(
            "Conv",
            format!("expected one to three axes besides batch and channels, got {axes}"),
        )),
    }
}

fn conv_transpose(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
    let (shape, kernel) = (x.shape(), weight.shape().get(2..).unwrap_or_default());
    let axes = kernel.len();
    if shape.len() != axes + 2 || axes == 0 {
        return call.refuse(format!("a weight of {} does not fit {shape}", weight.shape()));
    }
    let setting = |name, default| setting(call, name, axes, default);
    let (stride, dilation) = (setting("strides", 1)?, setting("dilations", 1)?);
    let more = setting("output_padding", 0)?;
    let groups = usize::try_from(call.int("group", 1)).unwrap_or(0);
    // The full output, from which the padding is cut off.
    let full: Vec<usize> = (0..axes)
        .map(|i| {
            shape[i + 2].saturating_sub(1) * stride[i]
                + kernel[i].saturating_sub(1) * dilation[i]
                + 1
        })
        .collect();
    let asked = call.ints("output_shape").map(shape_of).transpose()?;
    let auto = call.text("auto_pad", "NOTSET").to_owned();
    let pads = setting_of(call, "pads", 2 * axes, 0)?;
    let mut sides = Vec::with_capacity(axes);
    for i in 0..axes {
        let length = match &asked {
            Some(asked) if asked.len() >= axes => Some(asked[asked.len() - axes + i]),
            _ if auto.starts_with("SAME") => Some(shape[i + 2] * stride[i]),
            _ => None,
        };
        let (before, length) = match length {
            Some(length) => {
                let total = (full[i] + more[i]) as i64 - length as i64;
                let total = total.max(0);
                let half = total / 2;
                (if auto == "SAME_LOWER" { total - half } else { half }, length as i64)
            }
            None => {
                let (before, after) = (pads[i] as i64, pads[axes + i] as i64);
                (before, full[i] as i64 + more[i] as i64 - before - after)
            }
        };
        if length < 0 {
            return call.refuse("the padding is larger than the output");
        }
        check_size(&Shape::from([length as usize]))?;
        sides.push([-before as isize, (length - full[i] as i64 + before) as isize]);
    }
    sides.reverse();
    let channels = weight.shape()[1].saturating_mul(groups);
    let bias_shape: Shape = [channels].into_iter().chain(vec![1; axes]).collect();
    let transposed = floats!(x, [weight], |x, others| {
        let y = transposed(x, others[0], &stride, &dilation, groups)?;
        y.pad(&sides, PadMode::Constant(0.0))?
    })?;
    match call.optional(2)? {
        Some(bias) => {
            let bias = bias.reshape(bias_shape)?;
            floats!(&transposed, [bias], |x, others| x.add(others[0])?)
        }
        None => Ok(transposed),
    }
}

fn transposed<T: Float>(
    x: &Var<T>,
    weight: &Var<T>,
    stride: &[usize],
    dilation: &[usize],
    groups: usize,
) -> Result<Var<T>> {
    macro_rules! along {
        ($conv:ident) => {{
            let all = |list: &[usize]| list.try_into().expect("one number for each axis");
            let (stride, dilation) = (all(stride), all(dilation));
            let options = ConvTransposeOptions { stride, dilation, groups, ..Default::default() };
            x.$conv(weight, None, options)
        }};
    }
    match stride.len() {
        1 => along!(conv_transpose1d),
        2 => along!(conv_transpose2d),
        3 => along!(conv_transpose3d),
        axes => Err(dendra_tensor::Error::shape(
            "ConvTranspose",
            format!("expected one to three axes besides batch and channels, got {axes}"),
        )),
    }
}

/// A setting with one number for each axis.
pub(super) fn setting(
    call: &Call<'_>,
    name: &str,
    axes: usize,
    default: usize,
) -> Result<Vec<usize>> {
    setting_of(call, name, axes, default)
}

fn setting_of(call: &Call<'_>, name: &str, count: usize, default: usize) -> Result<Vec<usize>> {
    let Some(values) = call.ints(name).filter(|values| !values.is_empty()) else {
        return Ok(vec![default; count]);
    };
    let values = shape_of(values)?.to_vec();
    if values.len() != count || (default == 1 && values.contains(&0)) {
        return call.refuse(format!("expected {count} numbers for {name}, got {values:?}"));
    }
    check_size(&values.iter().map(|&x| x.max(1)).collect())?;
    Ok(values)
}

/// A causal depthwise convolution of `[N, C, length]`, which continues after
/// the last elements of an earlier call.
fn causal_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, channels, length], &[_, _, kernel]) = (&x.shape()[..], &weight.shape()[..])
    else {
        return call.refuse(format!("{} is not [N, C, length]", x.shape()));
    };
    let kept = kernel.saturating_sub(1);
    let state = match call.optional(3)? {
        Some(state) => state.clone(),
        None => TypedTensor::whole(x.element(), Tensor::try_full([batch, channels, kept], 0)?),
    };
    let joined = TypedTensor::cat(&[&state, x], 2)?;
    let window = Window {
        kernel: vec![kernel],
        stride: vec![1],
        dilation: vec![1],
        before: vec![0],
        after: vec![0],
        output: vec![length],
    };
    let y = match call.optional(2)? {
        Some(bias) => floats!(&joined, [weight, bias], |x, others| {
            convolution(x, others[0], Some(others[1]), &window, channels)?
        })?,
        None => floats!(&joined, [weight], |x, others| {
            convolution(x, others[0], None, &window, channels)?
        })?,
    };
    let y = match call.text("activation", "none") {
        "silu" | "swish" => float!(&y, x => x.silu())?,
        _ => y,
    };
    let total = joined.shape()[2];
    let state = joined.narrow_axis(2, total - kept, kept)?;
    Ok(vec![y.into(), state.into()])
}

/// Sums blocks into an image: the inverse of extracting the windows of an
/// image.
fn col2im(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let (image, block) = (shape_of(&call.integers(1)?)?, shape_of(&call.integers(2)?)?);
    let axes = image.len();
    let &[batch, columns, count] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [N, C·block, L], got {}", x.shape()));
    };
    let taps: usize = block.iter().product();
    if axes == 0 || block.len() != axes || taps == 0 || columns % taps != 0 {
        return call.refuse(format!("blocks of {block} do not fit shape {}", x.shape()));
    }
    let (stride, dilation) =
        (setting(call, "strides", axes, 1)?, setting(call, "dilations", axes, 1)?);
    let pads = setting_of(call, "pads", 2 * axes, 0)?;
    let window = Window::new(&image, &block, &stride, &dilation, &pads, false)?;
    if window.output.iter().product::<usize>() != count {
        return call.refuse(format!("{count} blocks do not fit an image of {image}"));
    }
    let channels = columns / taps;
    let size = image.elements();
    let shape: Shape = [batch, channels].into_iter().chain(image.iter().copied()).collect();
    check_size(&shape)?;
    let mut sums = vec![0.0; shape.elements()];
    let values = x.reals()?.to_vec();
    for plane in 0..batch * channels {
        for index in 0..count {
            for (tap, offset) in window.taps(&image, index).enumerate() {
                if let Some(offset) = offset {
                    sums[plane * size + offset] += values[(plane * taps + tap) * count + index];
                }
            }
        }
    }
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(sums, shape)?))
}

/// A convolution whose taps are shifted by offsets and weighted by a mask (Dai
/// et al., "Deformable convolutional networks", 2017).
fn deform_conv(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight, offset) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let (&[n, c, h, w], &[out, per_group, kh, kw]) = (&x.shape()[..], &weight.shape()[..]) else {
        return call.refuse(format!("{} is not [N, C, H, W]", x.shape()));
    };
    let window = window(call, x.shape(), Some(&[kh, kw]))?;
    let (groups, parts) = (call.int("group", 1), call.int("offset_group", 1));
    let (groups, parts) = (groups.max(1) as usize, parts.max(1) as usize);
    let [rows, columns] = window.output[..] else { return call.refuse("expected two axes") };
    let taps = kh * kw;
    let fits = per_group.checked_mul(groups) == Some(c)
        && out % groups == 0
        && c % parts == 0
        && *offset.shape() == [n, parts.saturating_mul(taps * 2), rows, columns];
    if !fits {
        return call.refuse("weight, offsets and input do not fit each other");
    }
    let (values, weights) = (x.reals()?.to_vec(), weight.reals()?.to_vec());
    let offsets = offset.reals()?.to_vec();
    let mask = call.optional(4)?.map(|mask| Ok(mask.reals()?.to_vec())).transpose();
    let mask: Option<Vec<f64>> = mask.map_err(|error: dendra_tensor::Error| error)?;
    let bias = match call.optional(3)? {
        Some(bias) => bias.reals()?.to_vec(),
        None => vec![0.0; out],
    };
    if mask.as_ref().is_some_and(|mask| mask.len() * 2 != offsets.len()) || bias.len() != out {
        return call.refuse("mask or bias do not fit");
    }
    let pixel = |plane: usize, y: i64, x: i64| {
        let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&x);
        if inside { values[(plane * h + y as usize) * w + x as usize] } else { 0.0 }
    };
    let sample = |plane: usize, y: f64, x: f64| {
        let (top, left) = (y.floor(), x.floor());
        let (down, right) = (y - top, x - left);
        let (top, left) = (top as i64, left as i64);
        (1.0 - down) * (1.0 - right) * pixel(plane, top, left)
            + (1.0 - down) * right * pixel(plane, top, left + 1)
            + down * (1.0 - right) * pixel(plane, top + 1, left)
            + down * right * pixel(plane, top + 1, left + 1)
    };
    let positions = rows * columns;
    let element = |index: usize| {
        let (image, o) = (index / positions / out, index / positions % out);
        let (row, column) = (index % positions / columns, index % columns);
        let group = o / (out / groups);
        let mut sum = bias[o];
        for i in 0..per_group {
            let channel = group * per_group + i;
            let part = channel / (c / parts);
            for tap in 0..taps {
                let at = |k: usize| (((image * parts + part) * taps + tap) * 2 + k) * positions;
                let position = row * columns + column;
                let base = |k: usize, step: usize, tap: usize| {
                    (step * window.stride[k] + tap * window.dilation[k]) as f64
                        - window.before[k] as f64
                };
                let y = base(0, row, tap / kw) + offsets[at(0) + position];
                let x = base(1, column, tap % kw) + offsets[at(1) + position];
                let factor = mask.as_ref().map_or(1.0, |mask| {
                    mask[((image * parts + part) * taps + tap) * positions + position]
                });
                let weight = weights[(o * per_group + i) * taps + tap];
                sum += weight * factor * sample(image * c + channel, y, x);
            }
        }
        sum
    };
    let y = Tensor::from_fn([n, out, rows, columns], element);
    Ok(TypedTensor::real(x.element(), y))
}
