//! Elements by index: gathering, scattering, ordering.

use dendra_autograd::Var;
use dendra_tensor::{Error, Ops, Result, Shape, Tensor};

use super::shape::check_size;
use super::{Operator, many, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, axis_of, each};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("ArgMax", arg_max),
    one("ArgMin", arg_min),
    one("Compress", compress),
    one("Gather", gather),
    one("GatherElements", gather_elements),
    one("GatherND", gather_nd),
    one("NonZero", non_zero),
    one("OneHot", one_hot),
    one("Scatter", scatter_elements),
    one("ScatterElements", scatter_elements),
    one("ScatterND", scatter_nd),
    one("TensorScatter", tensor_scatter),
    many("TopK", top_k),
    many("Unique", unique),
];

/// Converts an index to a non-negative one.
fn from_front(index: i64, length: usize) -> Result<usize> {
    let front = if index < 0 { index + length as i64 } else { index };
    usize::try_from(front).ok().filter(|&index| index < length).ok_or_else(|| {
        Error::argument("index", format!("index {index} is out of range for length {length}"))
    })
}

fn gather(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = x.axis(call.int("axis", 0))?;
    let length = x.shape()[axis];
    let found = indices.wholes()?.to_vec();
    let found = found.into_iter().map(|index| from_front(index, length));
    let found = found.collect::<Result<Vec<_>>>()?;
    let (before, after) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
    let shape: Shape = before.iter().chain(indices.shape().iter()).chain(after).copied().collect();
    check_size(&shape)?;
    Ok(each!(x, x => x.index_select(axis as isize, &found)?.reshape(&shape)?))
}

/// Converts indices to non-negative ones, for an axis of this length.
fn positive(indices: &TypedTensor, length: usize) -> Result<Tensor<i64>> {
    let values = indices.wholes()?.to_vec();
    let values = values.into_iter().map(|index| Ok(from_front(index, length)? as i64));
    Tensor::from_vec(values.collect::<Result<_>>()?, indices.shape().clone())
}

fn gather_elements(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.int("axis", 0))?;
    let indices = positive(call.tensor(1)?, x.shape()[axis])?;
    Ok(each!(x, x => x.gather(axis as isize, &indices)?))
}

/// The position, in slices, of the slice that each row of indices selects.
fn slices(shape: &[usize], rows: &[i64], width: usize, offset: usize) -> Result<Vec<usize>> {
    let row = |row: &[i64]| {
        let mut axes = row.iter().zip(shape);
        axes.try_fold(0, |position, (&index, &length)| {
            Ok(position * length + from_front(index, length)?)
        })
    };
    if width == 0 {
        return Ok(vec![offset]);
    }
    rows.chunks(width).map(|indices| Ok(row(indices)? + offset)).collect()
}

fn gather_nd(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let (shape, index_shape) = (x.shape(), indices.shape());
    let Some(&width) = index_shape.last() else {
        return call.refuse("the indices are a scalar");
    };
    let fits = batch < index_shape.len() && batch <= shape.len();
    if !fits || batch + width > shape.len() || shape[..batch] != index_shape[..batch] {
        return call.refuse(format!("indices of {index_shape} do not fit shape {shape}"));
    }
    let batches: usize = shape[..batch].iter().product();
    let indexed = &shape[batch..batch + width];
    let per_batch: usize = indexed.iter().product();
    let rest = &shape[batch + width..];
    let values = indices.wholes()?.to_vec();
    let per_rows = values.len() / batches.max(1);
    let mut found = Vec::new();
    for i in 0..batches {
        let rows = &values[i * per_rows..(i + 1) * per_rows];
        found.extend(slices(indexed, rows, width, i * per_batch)?);
    }
    let size: usize = rest.iter().product();
    let out: Shape = index_shape[..index_shape.len() - 1].iter().chain(rest).copied().collect();
    check_size(&out)?;
    Ok(each!(x, x => x.reshape([batches * per_batch, size])?.index_select(0, &found)?
        .reshape(&out)?))
}

/// A copy with `updates` combined with the elements at row-major positions.
fn scattered(
    x: &TypedTensor,
    positions: &[usize],
    updates: &TypedTensor,
    reduction: &str,
) -> Result<TypedTensor> {
    let flat = updates.reshape([updates.len()])?;
    if reduction == "none" {
        // Both are concatenated, and the last update of each element is
        // selected.
        let mut from: Vec<usize> = (0..x.len()).collect();
        for (i, &position) in positions.iter().enumerate() {
            from[position] = x.len() + i;
        }
        let joined = TypedTensor::cat(&[&x.reshape([x.len()])?, &flat], 0)?;
        return joined.take(&from, x.shape().clone());
    }
    match (&x.data, &flat.data, reduction) {
        (Data::F32(x_values), Data::F32(updates), "add") => {
            Ok(x.rounded(x_values.put_accumulate(positions, updates)?))
        }
        (Data::F64(x_values), Data::F64(updates), "add") => {
            Ok(x.with(Data::F64(x_values.put_accumulate(positions, updates)?)))
        }
        (Data::F32(_) | Data::F64(_), ..) => {
            let f = |a: f64, b: f64| match reduction {
                "mul" => a * b,
                "max" => a.max(b),
                _ => a.min(b),
            };
            let combined = combine(x.reals()?.to_vec(), positions, &flat.reals()?.to_vec(), &f);
            Ok(TypedTensor::real(x.element(), Tensor::from_vec(combined, x.shape().clone())?))
        }
        _ => {
            let f = |a: i64, b: i64| match reduction {
                "add" => a.wrapping_add(b),
                "mul" => a.wrapping_mul(b),
                "max" => a.max(b),
                _ => a.min(b),
            };
            let combined = combine(x.wholes()?.to_vec(), positions, &flat.wholes()?.to_vec(), &f);
            Ok(TypedTensor::whole(x.element(), Tensor::from_vec(combined, x.shape().clone())?))
        }
    }
}

fn combine<T: Copy>(
    mut values: Vec<T>,
    positions: &[usize],
    updates: &[T],
    f: &dyn Fn(T, T) -> T,
) -> Vec<T> {
    for (&position, &update) in positions.iter().zip(updates) {
        values[position] = f(values[position], update);
    }
    values
}

fn scatter_elements(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let axis = x.axis(call.int("axis", 0))?;
    let (shape, index_shape) = (x.shape(), indices.shape());
    let fits = index_shape == updates.shape() && index_shape.len() == shape.len();
    let inside = (0..shape.len()).all(|i| i == axis || index_shape[i] <= shape[i]);
    if !fits || !inside {
        return call.refuse(format!("indices of {index_shape} do not fit shape {shape}"));
    }
    let mut positions = Vec::with_capacity(indices.len());
    for (i, &index) in indices.wholes()?.to_vec().iter().enumerate() {
        let (mut rest, mut position, mut stride) = (i, 0, 1);
        for at in (0..shape.len()).rev() {
            let own = rest % index_shape[at];
            let coordinate = if at == axis { from_front(index, shape[at])? } else { own };
            position += coordinate * stride;
            stride *= shape[at];
            rest /= index_shape[at];
        }
        positions.push(position);
    }
    scattered(x, &positions, updates, call.text("reduction", "none"))
}

fn scatter_nd(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let (shape, index_shape) = (x.shape(), indices.shape());
    let Some(&width) = index_shape.last().filter(|&&width| width <= shape.len()) else {
        return call.refuse(format!("indices of {index_shape} do not fit shape {shape}"));
    };
    let size: usize = shape[width..].iter().product();
    let found = slices(&shape[..width], &indices.wholes()?.to_vec(), width, 0)?;
    if found.len().checked_mul(size) != Some(updates.len()) {
        return call.refuse(format!("updates of {} do not fit the indices", updates.shape()));
    }
    let positions: Vec<usize> =
        found.iter().flat_map(|slice| slice * size..(slice + 1) * size).collect();
    scattered(x, &positions, updates, call.text("reduction", "none"))
}

/// A cache of keys or values, `[batch, …, length, …]`, to which new steps are
/// written at an index for each sample.
fn tensor_scatter(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, updates) = (call.tensor(0)?, call.tensor(1)?);
    let axis = x.axis(call.int("axis", -2))?;
    let is_circular = call.text("mode", "linear") == "circular";
    let shape = x.shape();
    let batch = shape[0];
    let starts = call.optional_integers(2)?.unwrap_or_else(|| vec![0; batch]);
    let new = updates.shape();
    let fits = axis > 0
        && new.len() == shape.len()
        && (0..shape.len()).all(|i| i == axis || shape[i] == new[i])
        && starts.len() == batch;
    if !fits {
        return call.refuse(format!("updates of {new} do not fit shape {shape}"));
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let (length, steps) = (shape[axis], new[axis]);
    let outer: usize = shape[1..axis].iter().product();
    let mut positions = Vec::with_capacity(updates.len());
    for (sample, &start) in starts.iter().enumerate() {
        for row in 0..outer {
            for step in 0..steps {
                let at = start.saturating_add(step as i64);
                let at = if is_circular { at.rem_euclid(length as i64) } else { at };
                let at = from_front(at, length)?;
                let begin = ((sample * outer + row) * length + at) * inner;
                positions.extend(begin..begin + inner);
            }
        }
    }
    scattered(x, &positions, updates, "none")
}

fn compress(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let condition = call.tensor(1)?.bools()?.to_vec();
    let (x, axis) = match call.optional_int("axis") {
        Some(axis) => (x.clone(), x.axis(axis)?),
        None => (x.reshape([x.len()])?, 0),
    };
    let length = x.shape()[axis];
    let kept = condition.iter().take(length).enumerate().filter(|(_, kept)| **kept);
    let kept: Vec<usize> = kept.map(|(index, _)| index).collect();
    Ok(each!(&x, x => x.index_select(axis as isize, &kept)?))
}

fn non_zero(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let found = x.reals()?.map(|x| x != 0.0).cast::<i64>().nonzero();
    if x.rank() == 0 {
        return Ok(found.reshape([1, found.shape()[0]])?.into())
            .or_else(|_: Error| call.refuse("expected a tensor with axes"));
    }
    Ok(found.transpose(0, 1)?.into())
}

fn one_hot(call: &Call<'_>) -> Result<TypedTensor> {
    let (indices, values) = (call.tensor(0)?, call.tensor(2)?);
    let depth = call.number(1)?.unwrap_or(0.0) as usize;
    let axis = axis_of(call.int("axis", -1), indices.rank() + 1)?;
    if values.len() != 2 {
        return call.refuse(format!("expected two values, got {}", values.len()));
    }
    let (before, after) = indices.shape().split_at(axis);
    let shape: Shape = before.iter().chain([&depth]).chain(after).copied().collect();
    check_size(&shape)?;
    let inner: usize = after.iter().product();
    let indices = indices.reals()?.to_vec();
    let places = indices.iter().enumerate().filter_map(|(i, &index)| {
        let index = from_front(index as i64, depth).ok()?;
        Some((i / inner * depth + index) * inner + i % inner)
    });
    if let (Data::F32(x), None) = (&values.data, values.f32().ok().and_then(Var::tape)) {
        let values_of = x.value().to_vec();
        let hot = Tensor::build(shape, |out| {
            out.fill(values_of[0]);
            places.for_each(|place| out[place] = values_of[1]);
        });
        return Ok(values.with(Data::F32(Var::new(hot))));
    }
    let mut which = vec![0; shape.elements()];
    places.for_each(|place| which[place] = 1);
    values.take(&which, shape)
}

/// Integers in the order of the elements, with NaN as the largest.
pub(super) fn keys(x: &TypedTensor) -> Result<Tensor<i64>> {
    Ok(match &x.data {
        Data::F32(_) | Data::F64(_) => x.reals()?.map(|x| {
            // The two zeros are equal.
            let bits = if x.is_nan() { f64::NAN.abs() } else { x + 0.0 }.to_bits() as i64;
            if bits < 0 { bits ^ i64::MAX } else { bits }
        }),
        Data::U64(x) => x.map(|x| (x ^ 1 << 63) as i64),
        Data::Text(..) => {
            let words = x.strings()?;
            let mut sorted = words.clone();
            sorted.sort();
            let rank = |i: usize| sorted.partition_point(|word| *word < words[i]) as i64;
            Tensor::from_fn(x.shape().clone(), rank)
        }
        _ => x.wholes()?,
    })
}

fn arg_max(call: &Call<'_>) -> Result<TypedTensor> {
    arg(call, &|new, best| new > best)
}

fn arg_min(call: &Call<'_>) -> Result<TypedTensor> {
    arg(call, &|new, best| new < best)
}

/// The index along an axis of the element that is better than all others.
fn arg(call: &Call<'_>, better: &dyn Fn(i64, i64) -> bool) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axis = x.axis(call.int("axis", 0))?;
    let (keep, last) = (call.int("keepdims", 1) != 0, call.flag("select_last_index"));
    let length = x.shape()[axis];
    if length == 0 {
        return call.refuse(format!("axis {axis} of shape {} is empty", x.shape()));
    }
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let keys = keys(x)?.to_vec();
    let mut shape = x.shape().to_vec();
    if keep {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    let best = |i: usize| {
        let start = i / inner * length * inner + i % inner;
        let key = |step: usize| keys[start + step * inner];
        let best = (1..length).fold(0, |best, step| {
            let is_better = better(key(step), key(best)) || (last && key(step) == key(best));
            if is_better { step } else { best }
        });
        best as i64
    };
    Ok(Tensor::from_fn(shape, best).into())
}

fn top_k(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let count = match call.optional_int("k") {
        Some(count) => count,
        None => call.integer(1)?,
    };
    let axis = x.axis(call.int("axis", -1))? as isize;
    let largest = call.int("largest", 1) != 0;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let indices = keys(x)?.topk_indices(count, axis, largest)?;
    let values = each!(x, x => x.gather(axis, &indices)?);
    Ok(vec![values.into(), indices.into()])
}

fn unique(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let is_sorted = call.int("sorted", 1) != 0;
    let (x, axis) = match call.optional_int("axis") {
        Some(axis) => (x.clone(), x.axis(axis)?),
        None => (x.reshape([x.len()])?, 0),
    };
    let length = x.shape()[axis];
    let keys = keys(&x)?.movedim(axis as isize, 0)?.to_vec();
    let size = keys.len() / length.max(1);
    let slice = |index: usize| &keys[index * size..(index + 1) * size];
    let mut order: Vec<usize> = (0..length).collect();
    order.sort_by(|&a, &b| slice(a).cmp(slice(b)).then(a.cmp(&b)));
    // The first slice of each kind, and the kind of each slice.
    let (mut firsts, mut kind) = (Vec::<usize>::new(), vec![0; length]);
    for &index in &order {
        if firsts.last().is_none_or(|&first| slice(first) != slice(index)) {
            firsts.push(index);
        }
        kind[index] = firsts.len() - 1;
    }
    let mut ranks: Vec<usize> = (0..firsts.len()).collect();
    if !is_sorted {
        ranks.sort_by_key(|&kind| firsts[kind]);
    }
    let mut place = vec![0; firsts.len()];
    for (at, &rank) in ranks.iter().enumerate() {
        place[rank] = at;
    }
    let firsts: Vec<usize> = ranks.iter().map(|&rank| firsts[rank]).collect();
    let inverse: Vec<i64> = kind.iter().map(|&kind| place[kind] as i64).collect();
    let mut counts = vec![0; firsts.len()];
    for &at in &inverse {
        counts[at as usize] += 1;
    }
    let values = each!(&x, x => x.index_select(axis as isize, &firsts)?);
    let firsts = firsts.into_iter().map(|index| index as i64).collect();
    let ints = |values| Value::from(TypedTensor::ints(values));
    Ok(vec![values.into(), ints(firsts), ints(inverse), ints(counts)])
}
