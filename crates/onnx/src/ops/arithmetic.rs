//! Arithmetic of tensors that broadcast.

use dendra_autograd::Var;
use dendra_tensor::{Ops, Result, Shape};

use super::{Operator, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, float, floats, zip};

pub(super) const TABLE: &[Operator] = &[
    one("Add", add),
    one("BitShift", bit_shift),
    one("BitwiseAnd", bitwise_and),
    one("BitwiseNot", bitwise_not),
    one("BitwiseOr", bitwise_or),
    one("BitwiseXor", bitwise_xor),
    one("Clip", clip),
    one("Div", div),
    one("Max", max),
    one("Mean", mean),
    one("Min", min),
    one("Mod", modulo),
    one("Mul", mul),
    one("PRelu", prelu),
    one("Pow", pow),
    one("Sub", sub),
    one("Sum", sum),
];

/// Functions of two tensors of one type: of floats, and of integers of 64 bits,
/// signed or not.
macro_rules! binary {
    ($($name:ident $two:ident: $float:ident, |$a:ident, $b:ident| $integer:expr;)*) => {$(
        fn $name(call: &Call<'_>) -> Result<TypedTensor> {
            let second = old_broadcast(call)?;
            $two(call.tensor(0)?, &second)
        }

        pub(super) fn $two(first: &TypedTensor, second: &TypedTensor) -> Result<TypedTensor> {
            if first.element() != second.element() {
                return Err(second.unexpected(first.element().name()));
            }
            match (&first.data, &second.data) {
                (Data::F32(_) | Data::F64(_), _) => {
                    floats!(first, [second], |x, others| x.$float(others[0])?)
                }
                (Data::U64(a), Data::U64(b)) => {
                    Ok(first.with(Data::U64(zip(a, b, &|$a, $b| $integer)?)))
                }
                _ => integers(first, second, &|$a, $b| $integer),
            }
        }
    )*};
}

binary! {
    add add_two: add, |a, b| a.wrapping_add(b);
    sub sub_two: sub, |a, b| a.wrapping_sub(b);
    mul mul_two: mul, |a, b| a.wrapping_mul(b);
    div div_two: div, |a, b| a.checked_div(b).unwrap_or(0);
}

/// The second operand. Before version 7 it is aligned with an axis.
fn old_broadcast(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    match call.optional_int("axis") {
        Some(axis) if call.version() < 7 => {
            let axis = a.axis(axis)?;
            let after = a.rank().saturating_sub(axis + b.rank());
            let ones = std::iter::repeat_n(1, after);
            b.reshape(b.shape().iter().copied().chain(ones).collect::<Shape>())
        }
        _ => Ok(b.clone()),
    }
}

/// Wraps integers to their type.
fn integers(a: &TypedTensor, b: &TypedTensor, f: &dyn Fn(i64, i64) -> i64) -> Result<TypedTensor> {
    Ok(TypedTensor::whole(a.element(), zip(&a.wholes()?, &b.wholes()?, f)?))
}

fn bitwise_and(call: &Call<'_>) -> Result<TypedTensor> {
    integers(call.tensor(0)?, call.tensor(1)?, &|a, b| a & b)
}

fn bitwise_or(call: &Call<'_>) -> Result<TypedTensor> {
    integers(call.tensor(0)?, call.tensor(1)?, &|a, b| a | b)
}

fn bitwise_xor(call: &Call<'_>) -> Result<TypedTensor> {
    integers(call.tensor(0)?, call.tensor(1)?, &|a, b| a ^ b)
}

fn bitwise_not(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    Ok(TypedTensor::whole(x.element(), x.wholes()?.map(|x| !x)))
}

fn bit_shift(call: &Call<'_>) -> Result<TypedTensor> {
    let is_left = call.text("direction", "LEFT") == "LEFT";
    integers(call.tensor(0)?, call.tensor(1)?, &|a, b| {
        let by = u32::try_from(b).unwrap_or(u32::MAX);
        let shifted = if is_left { (a as u64).checked_shl(by) } else { (a as u64).checked_shr(by) };
        shifted.unwrap_or(0) as i64
    })
}

fn modulo(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let is_truncated = call.flag("fmod");
    if a.element().is_float() {
        return floats!(a, [b], |x, others| if is_truncated {
            x.fmod(others[0])?
        } else {
            x.remainder(others[0])?
        });
    }
    if let (Data::U64(x), Data::U64(y)) = (&a.data, &b.data) {
        return Ok(a.with(Data::U64(zip(x, y, &|x, y| x.checked_rem(y).unwrap_or(0))?)));
    }
    integers(a, b, &|a, b| {
        let rest = a.checked_rem(b).unwrap_or(0);
        // The remainder has the sign of the divisor.
        if !is_truncated && rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
    })
}

fn pow(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, exponent) = (call.tensor(0)?, &old_broadcast(call)?);
    match &x.data {
        Data::F32(base) => {
            let exponent = match &exponent.data {
                Data::F32(exponent) => exponent.clone(),
                _ => Var::new(exponent.to()?),
            };
            Ok(x.rounded(power(base, &exponent)?))
        }
        Data::F64(base) => {
            let exponent = match &exponent.data {
                Data::F64(exponent) => exponent.clone(),
                _ => Var::new(exponent.to()?),
            };
            Ok(x.with(Data::F64(power(base, &exponent)?)))
        }
        _ if exponent.element().is_float() => {
            let power = zip(&x.reals()?, &exponent.reals()?, &f64::powf)?;
            Ok(TypedTensor::real(x.element(), power))
        }
        _ => integers(x, exponent, &|a, b| match u32::try_from(b) {
            Ok(b) => a.wrapping_pow(b),
            Err(_) => f64::powf(a as f64, b as f64) as i64,
        }),
    }
}

/// A power. The gradient for a constant exponent is also defined for negative
/// bases.
fn power<T: dendra_tensor::Float>(base: &Var<T>, exponent: &Var<T>) -> Result<Var<T>> {
    if exponent.value().len() == 1 && exponent.tape().is_none() && exponent.value().rank() == 0 {
        return Ok(base.powf(exponent.value().item()?.to_f64()));
    }
    base.pow(exponent)
}

fn fold(
    call: &Call<'_>,
    f: &dyn Fn(&TypedTensor, &TypedTensor) -> Result<TypedTensor>,
) -> Result<TypedTensor> {
    let tensors = call.tensors()?;
    let Some((&first, rest)) = tensors.split_first() else {
        return call.refuse("expected at least one input");
    };
    rest.iter().try_fold(first.clone(), |sum, x| f(&sum, x))
}

fn sum(call: &Call<'_>) -> Result<TypedTensor> {
    fold(call, &add_two)
}

fn mean(call: &Call<'_>) -> Result<TypedTensor> {
    let count = call.inputs.len() as f64;
    float!(&sum(call)?, x => x.mul_scalar(1.0 / count))
}

fn max(call: &Call<'_>) -> Result<TypedTensor> {
    fold(call, &|a, b| match (&a.data, &b.data) {
        (Data::F32(_) | Data::F64(_), _) => floats!(a, [b], |x, others| x.maximum(others[0])?),
        (Data::U64(x), Data::U64(y)) => Ok(a.with(Data::U64(zip(x, y, &|x, y| x.max(y))?))),
        _ => integers(a, b, &|a, b| a.max(b)),
    })
}

fn min(call: &Call<'_>) -> Result<TypedTensor> {
    fold(call, &|a, b| match (&a.data, &b.data) {
        (Data::F32(_) | Data::F64(_), _) => floats!(a, [b], |x, others| x.minimum(others[0])?),
        (Data::U64(x), Data::U64(y)) => Ok(a.with(Data::U64(zip(x, y, &|x, y| x.min(y))?))),
        _ => integers(a, b, &|a, b| a.min(b)),
    })
}

fn clip(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    if x.element().is_float() {
        let low = call.number(1)?.or(call.optional_float("min")).unwrap_or(f64::NEG_INFINITY);
        let high = call.number(2)?.or(call.optional_float("max")).unwrap_or(f64::INFINITY);
        // If `low` is above `high`, all elements become `high`.
        let low = low.min(high);
        return float!(x, x => x.clamp(low, high));
    }
    if let Data::U64(values) = &x.data {
        let bound = |index| match call.optional(index) {
            Ok(Some(TypedTensor { data: Data::U64(bound), .. })) => bound.to_vec().first().copied(),
            _ => None,
        };
        let (low, high) = (bound(1).unwrap_or(0), bound(2).unwrap_or(u64::MAX));
        return Ok(x.with(Data::U64(values.map(|x| x.max(low).min(high)))));
    }
    let bound = |index| call.value(index).map(|_| call.integer(index)).transpose();
    let (low, high) = (bound(1)?.unwrap_or(i64::MIN), bound(2)?.unwrap_or(i64::MAX));
    Ok(TypedTensor::whole(x.element(), x.wholes()?.map(|x| x.max(low).min(high))))
}

fn prelu(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, slope) = (call.tensor(0)?, call.tensor(1)?);
    if !x.element().is_float() {
        let negative = x.wholes()?.map(|x| x.min(0));
        let product = zip(&negative, &slope.wholes()?, &i64::wrapping_mul)?;
        let sum = zip(&x.wholes()?.map(|x| x.max(0)), &product, &i64::wrapping_add)?;
        return Ok(TypedTensor::whole(x.element(), sum));
    }
    // Before version 7 a vector of slopes belongs to axis 1.
    let slope = if call.version() < 7 && slope.rank() == 1 && x.rank() > 2 {
        let ones = std::iter::repeat_n(1, x.rank() - 2);
        &slope.reshape(slope.shape().iter().copied().chain(ones).collect::<Shape>())?
    } else {
        slope
    };
    floats!(x, [slope], |x, others| x.relu().add(&x.clamp_max(0.0).mul(others[0])?)?)
}
