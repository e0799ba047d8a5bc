//! Functions of shape and position.

use dendra_tensor::{Ops, PadMode, Result, Shape, Tensor};

use super::logic::select;
use super::{Operator, many, one};
use crate::call::{Call, lengths, shape_of};
use crate::tensor::{Data, TypedTensor, axis_of, each};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("CenterCropPad", center_crop_pad),
    one("Concat", concat),
    one("DepthToSpace", depth_to_space),
    one("Expand", expand),
    one("Flatten", flatten),
    many("Identity", identity),
    one("Pad", pad),
    one("Reshape", reshape),
    one("ReverseSequence", reverse_sequence),
    one("Shape", shape),
    one("Size", size),
    one("Slice", slice),
    one("SpaceToDepth", space_to_depth),
    many("Split", split),
    one("Squeeze", squeeze),
    one("Tile", tile),
    one("Transpose", transpose),
    one("Trilu", trilu),
    one("Unsqueeze", unsqueeze),
];

fn identity(call: &Call<'_>) -> Result<Vec<Value>> {
    match call.value(0) {
        Some(value) => Ok(vec![value.clone()]),
        None => call.refuse("the input is missing"),
    }
}

fn shape(call: &Call<'_>) -> Result<TypedTensor> {
    let shape = call.tensor(0)?.shape();
    let rank = shape.len() as i64;
    let bound = |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (bound(call.int("start", 0)), bound(call.int("end", rank)));
    let taken = if start < end { Shape::from(&shape[start..end]) } else { Shape::scalar() };
    Ok(lengths(&taken).into())
}

fn size(call: &Call<'_>) -> Result<TypedTensor> {
    Ok(Tensor::scalar(call.tensor(0)?.len() as i64).into())
}

fn reshape(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some(asked) = call.integers_of("shape", 1)? else {
        return call.refuse("the shape is missing");
    };
    let copies = !call.flag("allowzero");
    let mut sizes = Vec::with_capacity(asked.len());
    for (axis, &length) in asked.iter().enumerate() {
        sizes.push(match length {
            0 if copies => match x.shape().get(axis) {
                Some(&length) => length as i64,
                None => return call.refuse(format!("there is no axis {axis} to copy")),
            },
            length => length,
        });
    }
    if let Some(open) = sizes.iter().position(|&length| length == -1) {
        let others = sizes.iter().enumerate().filter(|(axis, _)| *axis != open);
        let known = others.map(|(_, &length)| length).try_fold(1_i64, i64::checked_mul);
        let count = x.len() as i64;
        sizes[open] = match known {
            Some(known) if known > 0 && count % known == 0 => count / known,
            _ => return call.refuse(format!("{} does not fit {asked:?}", x.shape())),
        };
    }
    x.reshape(shape_of(&sizes)?)
}

fn flatten(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axis = call.int("axis", 1);
    let rank = x.rank() as i64;
    let split = if axis < 0 { axis + rank } else { axis };
    if !(0..=rank).contains(&split) {
        return call.refuse(format!("there is no axis {axis} in shape {}", x.shape()));
    }
    let (rows, columns) = x.shape().split_at(split as usize);
    x.reshape([rows.iter().product(), columns.iter().product::<usize>()])
}

fn squeeze(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axes = match call.integers_of("axes", 1)? {
        None => (0..x.rank()).filter(|&axis| x.shape()[axis] == 1).collect(),
        Some(axes) => axes.iter().map(|&axis| x.axis(axis)).collect::<Result<Vec<_>>>()?,
    };
    if let Some(axis) = axes.iter().find(|&&axis| x.shape()[axis] != 1) {
        return call.refuse(format!("axis {axis} of shape {} is not of length 1", x.shape()));
    }
    let left = x.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    x.reshape(left.map(|(_, &length)| length).collect::<Shape>())
}

fn unsqueeze(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some(axes) = call.integers_of("axes", 1)? else {
        return call.refuse("the axes are missing");
    };
    let rank = x.rank() + axes.len();
    let axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut old = x.shape().iter();
    let length = |axis| if axes.contains(&axis) { Some(1) } else { old.next().copied() };
    let shape: Option<Shape> = (0..rank).map(length).collect::<Option<Vec<_>>>().map(Shape::from);
    match shape {
        Some(shape) => x.reshape(shape),
        None => call.refuse(format!("the axes {axes:?} are not distinct")),
    }
}

fn transpose(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axes: Vec<isize> = match call.ints("perm") {
        Some(axes) => axes.iter().map(|&axis| axis as isize).collect(),
        None => (0..x.rank() as isize).rev().collect(),
    };
    x.permute(&axes)
}

fn expand(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let shape = x.shape().broadcast(&shape_of(&call.integers(1)?)?, "Expand")?;
    check_size(&shape)?;
    x.broadcast_to(&shape)
}

fn tile(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    // Version 1 repeats one axis.
    let counts = if call.inputs.len() == 3 && call.version() < 6 {
        let mut counts = vec![1; x.rank()];
        counts[x.axis(call.integer(2)?)?] = call.integer(1)?;
        counts
    } else {
        call.integers(1)?
    };
    let counts = shape_of(&counts)?;
    if counts.len() != x.rank() {
        return call.refuse(format!("expected {} repeats, got {}", x.rank(), counts.len()));
    }
    let total = counts.iter().zip(x.shape().iter());
    let total: Shape = total.map(|(&count, &length)| count.saturating_mul(length)).collect();
    check_size(&total)?;
    Ok(each!(x, x => x.repeat(&counts)?))
}

/// Checks that a tensor whose shape comes from data fits into memory.
pub(super) fn check_size(shape: &Shape) -> Result<()> {
    if shape.checked_elements().is_some_and(|count| count <= MOST_ELEMENTS) {
        return Ok(());
    }
    Err(dendra_tensor::Error::shape("onnx", format!("a tensor of shape {shape} is too large")))
}

/// The largest number of elements of a tensor whose shape comes from data.
const MOST_ELEMENTS: usize = 1 << 30;

fn concat(call: &Call<'_>) -> Result<TypedTensor> {
    let parts = call.tensors()?;
    let Some(first) = parts.first() else {
        return call.refuse("expected at least one input");
    };
    TypedTensor::cat(&parts, first.axis(call.int("axis", 1))?)
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.int("axis", 0))?;
    let length = x.shape()[axis];
    let sizes: Vec<usize> = match call.integers_of("split", 1)? {
        Some(sizes) => shape_of(&sizes)?.to_vec(),
        None => {
            let count = call.outputs().max(1);
            let each = length.div_ceil(count);
            (0..count).map(|i| each.min(length.saturating_sub(i * each))).collect()
        }
    };
    if sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size)) != Some(length) {
        return call.refuse(format!("the sizes {sizes:?} do not add up to {length}"));
    }
    let mut start = 0;
    let parts = sizes.iter().map(|&size| {
        start += size;
        Ok(x.narrow_axis(axis as isize, start - size, size)?.into())
    });
    parts.collect()
}

fn slice(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let missing = || call.refuse("expected starts and ends");
    let (starts, ends, axes, steps) = if call.version() < 10 {
        let (Some(starts), Some(ends)) = (call.ints("starts"), call.ints("ends")) else {
            return missing();
        };
        (starts.to_vec(), ends.to_vec(), call.ints("axes").map(<[i64]>::to_vec), None)
    } else {
        let (starts, ends) = (call.integers(1)?, call.integers(2)?);
        (starts, ends, call.optional_integers(3)?, call.optional_integers(4)?)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&count| count != starts.len()) {
        return call.refuse("starts, ends, axes and steps have different lengths");
    }
    let mut y = x.clone();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = x.axis(axis)?;
        y = sliced(&y, axis, start, end, step)?;
    }
    Ok(y)
}

/// The slice of one axis from a start to an end, which are limited to the axis.
pub(super) fn sliced(
    x: &TypedTensor,
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
) -> Result<TypedTensor> {
    let length = x.shape()[axis] as i64;
    let absolute = |bound: i64| if bound < 0 { bound.saturating_add(length) } else { bound };
    let (low, high) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let (start, end) = (absolute(start).clamp(low, high), absolute(end).clamp(low, high));
    let is_empty = if step < 0 { start <= end } else { start >= end };
    let axis = axis as isize;
    if is_empty && step != 0 {
        return x.narrow_axis(axis, 0, 0);
    }
    let end = (end >= 0).then_some(end as isize);
    let step = isize::try_from(step).unwrap_or(isize::MAX).max(-isize::MAX);
    Ok(each!(x, x => x.slice(axis, start as isize, end, step)?))
}

/// The row-major positions in a tensor of the selected indices of each axis;
/// `missing` where an axis has no index.
pub(super) fn positions(shape: &Shape, maps: &[Vec<Option<usize>>], missing: usize) -> Vec<usize> {
    let mut positions = vec![Some(0)];
    for (&length, map) in shape.iter().zip(maps) {
        let next = positions.iter().flat_map(|&outer: &Option<usize>| {
            map.iter().map(move |&index| Some(outer? * length + index?))
        });
        positions = next.collect();
    }
    positions.into_iter().map(|position| position.unwrap_or(missing)).collect()
}

/// The elements at the selected indices of each axis, and `fill` where an axis
/// has no index.
pub(super) fn mapped(
    x: &TypedTensor,
    maps: &[Vec<Option<usize>>],
    fill: &TypedTensor,
) -> Result<TypedTensor> {
    let shape: Shape = maps.iter().map(Vec::len).collect();
    check_size(&shape)?;
    let joined = TypedTensor::cat(&[&x.reshape([x.len()])?, &fill.reshape([1])?], 0)?;
    joined.take(&positions(x.shape(), maps, x.len()), shape)
}

fn pad(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let Some(pads) = call.integers_of("pads", 1)? else {
        return call.refuse("the pads are missing");
    };
    let axes: Vec<usize> = match call.optional_integers(3)? {
        Some(axes) => axes.iter().map(|&axis| x.axis(axis)).collect::<Result<_>>()?,
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return call.refuse(format!("expected {} pads, got {}", 2 * axes.len(), pads.len()));
    }
    let mut around = vec![[0; 2]; x.rank()];
    for (i, &axis) in axes.iter().enumerate() {
        around[axis] = [pads[i], pads[axes.len() + i]];
    }
    let mode = call.text("mode", "constant");
    let total = |(&length, &[low, high]): (&usize, &[i64; 2])| {
        let total = low.checked_add(high)?.checked_add(length as i64)?;
        usize::try_from(total).ok()
    };
    let lengths = x.shape().iter().zip(&around).map(total).collect::<Option<Vec<usize>>>();
    let Some(lengths) = lengths else {
        return call.refuse(format!("the pads {pads:?} do not fit shape {}", x.shape()));
    };
    check_size(&lengths[..].into())?;
    if let (Data::F32(values), "constant") = (&x.data, mode) {
        let value = call.number(2)?.unwrap_or(call.float("value", 0.0));
        let padding: Vec<[isize; 2]> =
            around.iter().rev().map(|&[low, high]| [low as isize, high as isize]).collect();
        return Ok(x.rounded(values.pad(&padding, PadMode::Constant(value))?));
    }
    let mut maps = Vec::with_capacity(x.rank());
    for ((&length, &[low, _]), &total) in x.shape().iter().zip(&around).zip(&lengths) {
        let (length, total) = (length as i64, total as i64);
        let index = |i: i64| match mode {
            _ if length == 0 => None,
            "reflect" => Some(reflected(i, length)),
            "edge" => Some(i.clamp(0, length - 1)),
            "wrap" => Some(i.rem_euclid(length)),
            _ => Some(i).filter(|i| (0..length).contains(i)),
        };
        maps.push((0..total).map(|i| index(i - low).map(|i| i as usize)).collect());
    }
    let fill = match call.optional(2)? {
        Some(fill) if fill.len() == 1 => fill.clone(),
        _ => zero(x),
    };
    mapped(x, &maps, &fill)
}

/// Reflects an index outside an axis at its ends.
fn reflected(index: i64, length: i64) -> i64 {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length - 1);
    let index = index.rem_euclid(period);
    index.min(period - index)
}

/// The zero, or the empty string, of a tensor's type.
pub(super) fn zero(x: &TypedTensor) -> TypedTensor {
    if let Data::Text(..) = x.data {
        return TypedTensor::text(Shape::scalar(), vec![String::new()]);
    }
    TypedTensor::whole(x.element(), Tensor::scalar(0))
}

fn center_crop_pad(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let sizes = shape_of(&call.integers(1)?)?;
    let axes: Vec<usize> = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| x.axis(axis)).collect::<Result<_>>()?,
        None => (0..x.rank()).collect(),
    };
    if axes.len() != sizes.len() {
        return call.refuse(format!("expected {} lengths, got {}", axes.len(), sizes.len()));
    }
    check_size(&sizes)?;
    let mut maps: Vec<Vec<Option<usize>>> =
        x.shape().iter().map(|&length| (0..length).map(Some).collect()).collect();
    for (&axis, &size) in axes.iter().zip(sizes.iter()) {
        let length = x.shape()[axis];
        let (cut, added) = (length.saturating_sub(size) / 2, size.saturating_sub(length) / 2);
        let index = |i: usize| (i + cut).checked_sub(added).filter(|&i| i < length);
        maps[axis] = (0..size).map(index).collect();
    }
    mapped(x, &maps, &zero(x))
}

fn depth_to_space(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let block = usize::try_from(call.int("blocksize", 0)).unwrap_or(0);
    let &[n, c, h, w] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [N, C, H, W], got {}", x.shape()));
    };
    if block == 0 || block.checked_mul(block).is_none_or(|square| c % square != 0) {
        return call.refuse(format!("{c} channels do not divide into blocks of {block}"));
    }
    let channels = c / (block * block);
    let split = if call.text("mode", "DCR") == "DCR" {
        x.reshape([n, block, block, channels, h, w])?.permute(&[0, 3, 4, 1, 5, 2])?
    } else {
        x.reshape([n, channels, block, block, h, w])?.permute(&[0, 1, 4, 2, 5, 3])?
    };
    split.reshape([n, channels, h * block, w * block])
}

fn space_to_depth(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let block = usize::try_from(call.int("blocksize", 0)).unwrap_or(0);
    let &[n, c, h, w] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [N, C, H, W], got {}", x.shape()));
    };
    if block == 0 || h % block != 0 || w % block != 0 {
        return call.refuse(format!("{} does not divide into blocks of {block}", x.shape()));
    }
    let split = x.reshape([n, c, h / block, block, w / block, block])?;
    split.permute(&[0, 3, 5, 1, 2, 4])?.reshape([n, c * block * block, h / block, w / block])
}

fn trilu(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let k = call.value(1).map_or(Ok(0), |_| call.integer(1))?;
    let is_upper = call.int("upper", 1) != 0;
    let &[.., rows, columns] = &x.shape()[..] else {
        return call.refuse(format!("expected a matrix, got shape {}", x.shape()));
    };
    let kept = |index: usize| {
        let offset = (index % columns) as i64 - (index / columns) as i64;
        if is_upper { offset >= k } else { offset <= k }
    };
    let mask = Tensor::from_fn([rows, columns], kept);
    select(&mask, x, &zero(x))
}

fn reverse_sequence(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let lengths = call.integers(1)?;
    let (time, batch) = (x.axis(call.int("time_axis", 0))?, x.axis(call.int("batch_axis", 1))?);
    let shape = x.shape();
    if time == batch || lengths.len() != shape[batch] {
        return call.refuse(format!("{} lengths do not fit shape {shape}", lengths.len()));
    }
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let (time_stride, batch_stride) = (stride(time), stride(batch));
    let position = |index: usize| {
        let step = index / time_stride % shape[time];
        let length = lengths[index / batch_stride % shape[batch]];
        let length = usize::try_from(length).unwrap_or(0).min(shape[time]);
        let from = if step < length { length - 1 - step } else { step };
        index - step * time_stride + from * time_stride
    };
    let positions: Vec<usize> = (0..x.len()).map(position).collect();
    x.take(&positions, shape.clone())
}
