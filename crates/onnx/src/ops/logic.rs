//! Comparisons and booleans.

use dendra_tensor::{Number, Ops, Result, Shape, Tensor};

use super::{Operator, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, zip};

pub(super) const TABLE: &[Operator] = &[
    one("And", and),
    one("Equal", equal),
    one("Greater", greater),
    one("GreaterOrEqual", greater_or_equal),
    one("IsInf", is_inf),
    one("IsNaN", is_nan),
    one("Less", less),
    one("LessOrEqual", less_or_equal),
    one("Not", not),
    one("Or", or),
    one("Where", where_),
    one("Xor", xor),
];

macro_rules! booleans {
    ($($name:ident $method:ident;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            let [a, b] = aligned(call)?;
            Ok(a.bools()?.$method(b.bools()?)?.into())
        }
    )*};
}

booleans! {
    and logical_and;
    or logical_or;
    xor logical_xor;
}

fn not(call: &Call<'_>) -> Result<TypedTensor> {
    Ok(call.tensor(0)?.bools()?.map(|x| !x).into())
}

/// The operands; before version 7 the second is aligned with an axis.
fn aligned(call: &Call<'_>) -> Result<[TypedTensor; 2]> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let b = match call.optional_int("axis") {
        Some(axis) if call.version() < 7 => {
            let after = a.rank().saturating_sub(a.axis(axis)? + b.rank());
            let ones = std::iter::repeat_n(1, after);
            b.reshape(b.shape().iter().copied().chain(ones).collect::<Shape>())?
        }
        _ => b.clone(),
    };
    Ok([a.clone(), b])
}

macro_rules! comparisons {
    ($($name:ident $method:ident;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            let [a, b] = aligned(call)?;
            let found = match (&a.data, &b.data) {
                (Data::F32(a), Data::F32(b)) => a.value().$method(b.value())?,
                (Data::F64(a), Data::F64(b)) => a.value().$method(b.value())?,
                (Data::U64(a), Data::U64(b)) => a.$method(b)?,
                _ => a.wholes()?.$method(&b.wholes()?)?,
            };
            Ok(found.into())
        }
    )*};
}

comparisons! {
    equal_numbers eq_elements;
    greater gt;
    greater_or_equal ge;
    less lt;
    less_or_equal le;
}

fn equal(call: &Call<'_>) -> Result<TypedTensor> {
    let [a, b] = aligned(call)?;
    if !matches!((&a.data, &b.data), (Data::Text(..), Data::Text(..))) {
        return equal_numbers(call);
    }
    let (x, y) = (a.strings()?, b.strings()?);
    let indices = |x: &TypedTensor| Tensor::from_fn(x.shape().clone(), |i| i as i64);
    let same = zip(&indices(&a), &indices(&b), &|i, j| x[i as usize] == y[j as usize])?;
    Ok(same.into())
}

fn is_inf(call: &Call<'_>) -> Result<TypedTensor> {
    let negative = call.int("detect_negative", 1) != 0;
    let positive = call.int("detect_positive", 1) != 0;
    let is_found = |x: f64| (negative && x == f64::LOWEST) || (positive && x == f64::HIGHEST);
    Ok(call.tensor(0)?.reals()?.map(is_found).into())
}

fn is_nan(call: &Call<'_>) -> Result<TypedTensor> {
    Ok(call.tensor(0)?.reals()?.map(f64::is_nan).into())
}

fn where_(call: &Call<'_>) -> Result<TypedTensor> {
    let mask = call.tensor(0)?.bools()?;
    select(mask, call.tensor(1)?, call.tensor(2)?)
}

/// The elements of the first tensor where a mask is true, else those of the
/// second; all broadcast.
pub(super) fn select(mask: &Tensor<bool>, a: &TypedTensor, b: &TypedTensor) -> Result<TypedTensor> {
    let shape = mask.shape().broadcast(a.shape(), "Where")?.broadcast(b.shape(), "Where")?;
    let mask = mask.broadcast_to(&shape)?;
    let (a, b) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
    match (&a.data, &b.data) {
        (Data::F32(x), Data::F32(y)) => Ok(a.with(Data::F32(x.where_mask(&mask, y)?))),
        (Data::F64(x), Data::F64(y)) => Ok(a.with(Data::F64(x.where_mask(&mask, y)?))),
        _ => {
            // Both are concatenated, and one element of each pair is selected.
            let count = shape.elements();
            let joined = TypedTensor::cat(&[&a.reshape([count])?, &b.reshape([count])?], 0)?;
            let mask = mask.to_vec().into_iter().enumerate();
            let positions: Vec<usize> =
                mask.map(|(i, first)| if first { i } else { count + i }).collect();
            joined.take(&positions, shape)
        }
    }
}
