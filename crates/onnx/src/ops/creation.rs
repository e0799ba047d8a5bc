//! Constant and random tensors.

use dendra_tensor::{Result, Rng, Shape, Tensor};

use super::shape::check_size;
use super::{Operator, one};
use crate::call::{Call, shape_of};
use crate::element::ElementType;
use crate::plan::{Node, Setting};
use crate::tensor::TypedTensor;

pub(super) const TABLE: &[Operator] = &[
    one("Bernoulli", bernoulli),
    one("Constant", unreached),
    one("ConstantOfShape", constant_of_shape),
    one("EyeLike", eye_like),
    one("Multinomial", multinomial),
    one("RandomNormal", random_normal),
    one("RandomNormalLike", random_normal_like),
    one("RandomUniform", random_uniform),
    one("RandomUniformLike", random_uniform_like),
    one("Range", range),
];

/// The value of a `Constant`, which is known before the model runs.
pub(super) fn constant(node: &Node) -> Option<TypedTensor> {
    let (_, setting) = node.attributes.iter().next()?;
    Some(match setting {
        Setting::Tensor(tensor) => tensor.clone(),
        Setting::Float(value) => Tensor::scalar(*value).into(),
        Setting::Int(value) => Tensor::scalar(*value).into(),
        Setting::Text(value) => TypedTensor::text(Shape::scalar(), vec![value.clone()]),
        Setting::Floats(values) => Tensor::from_vec(values.clone(), [values.len()]).ok()?.into(),
        Setting::Ints(values) => TypedTensor::ints(values.clone()),
        Setting::Texts(values) => TypedTensor::text([values.len()], values.clone()),
    })
}

fn unreached(call: &Call<'_>) -> Result<TypedTensor> {
    call.refuse("expected one output")
}

fn constant_of_shape(call: &Call<'_>) -> Result<TypedTensor> {
    let shape = shape_of(&call.integers(0)?)?;
    check_size(&shape)?;
    match call.tensor_setting("value") {
        Some(value) if value.len() == 1 => value.reshape(Shape::scalar())?.broadcast_to(&shape),
        Some(value) => call.refuse(format!("expected one value, got shape {}", value.shape())),
        None => Ok(Tensor::try_full(shape, 0.0_f32)?.into()),
    }
}

fn eye_like(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let element = match call.optional_int("dtype") {
        Some(code) => ElementType::from_code(code)?,
        None => x.element(),
    };
    let k = call.int("k", 0);
    let &[rows, columns] = &x.shape()[..] else {
        return call.refuse(format!("expected a matrix, got shape {}", x.shape()));
    };
    let one = |i: usize| i64::from((i % columns) as i64 - (i / columns) as i64 == k);
    Ok(TypedTensor::whole(element, Tensor::from_fn([rows, columns], one)))
}

fn range(call: &Call<'_>) -> Result<TypedTensor> {
    let element = call.tensor(0)?.element();
    if element.is_float() {
        let number = |index| Ok(call.number(index)?.unwrap_or(0.0));
        let (start, limit, step): (f64, f64, f64) = (number(0)?, number(1)?, number(2)?);
        let count = ((limit - start) / step).ceil().max(0.0);
        if !count.is_finite() || count >= 1e15 {
            return call.refuse(format!("there is no range from {start} to {limit} by {step}"));
        }
        let shape = Shape::from([count as usize]);
        check_size(&shape)?;
        return Ok(TypedTensor::real(element, Tensor::from_fn(shape, |i| start + i as f64 * step)));
    }
    let (start, limit, step) = (call.integer(0)?, call.integer(1)?, call.integer(2)?);
    if step == 0 {
        return call.refuse("the step is 0");
    }
    let distance = i128::from(limit) - i128::from(start);
    let step = i128::from(step);
    let count = ((distance + step - step.signum()) / step).max(0);
    let shape = Shape::from([usize::try_from(count).unwrap_or(usize::MAX)]);
    check_size(&shape)?;
    let value = |i: usize| start.wrapping_add((step as i64).wrapping_mul(i as i64));
    Ok(TypedTensor::whole(element, Tensor::from_fn(shape, value)))
}

/// Random numbers of the type in the setting, of the input, or of 32 bits.
fn drawn(
    call: &Call<'_>,
    shape: Shape,
    default: ElementType,
    draw: &dyn Fn(&mut Rng) -> f64,
) -> Result<TypedTensor> {
    let element = match call.optional_int("dtype") {
        Some(code) => ElementType::from_code(code)?,
        None => default,
    };
    check_size(&shape)?;
    let mut rng = call.random();
    Ok(TypedTensor::real(element, Tensor::from_fn(shape, |_| draw(&mut rng))))
}

fn shape_setting(call: &Call<'_>) -> Result<Shape> {
    shape_of(call.ints("shape").unwrap_or_default())
}

fn random_normal(call: &Call<'_>) -> Result<TypedTensor> {
    let (mean, scale) = (call.float("mean", 0.0), call.float("scale", 1.0));
    drawn(call, shape_setting(call)?, ElementType::F32, &|rng| mean + scale * rng.normal())
}

fn random_normal_like(call: &Call<'_>) -> Result<TypedTensor> {
    let (mean, scale) = (call.float("mean", 0.0), call.float("scale", 1.0));
    let x = call.tensor(0)?;
    drawn(call, x.shape().clone(), x.element(), &|rng| mean + scale * rng.normal())
}

fn random_uniform(call: &Call<'_>) -> Result<TypedTensor> {
    let (low, high) = (call.float("low", 0.0), call.float("high", 1.0));
    drawn(call, shape_setting(call)?, ElementType::F32, &|rng| low + (high - low) * rng.uniform())
}

fn random_uniform_like(call: &Call<'_>) -> Result<TypedTensor> {
    let (low, high) = (call.float("low", 0.0), call.float("high", 1.0));
    let x = call.tensor(0)?;
    drawn(call, x.shape().clone(), x.element(), &|rng| low + (high - low) * rng.uniform())
}

fn bernoulli(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let element = match call.optional_int("dtype") {
        Some(code) => ElementType::from_code(code)?,
        None => x.element(),
    };
    let mut rng = call.random();
    let chances = x.reals()?.to_vec();
    let drawn = Tensor::from_fn(x.shape().clone(), |i| i64::from(rng.uniform() < chances[i]));
    Ok(TypedTensor::whole(element, drawn))
}

/// Classes drawn by their unnormalised log-probabilities.
fn multinomial(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let samples = usize::try_from(call.int("sample_size", 1)).unwrap_or(0);
    let element = ElementType::from_code(call.int("dtype", 6))?;
    let &[batch, classes] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [batch, classes], got {}", x.shape()));
    };
    check_size(&[batch, samples].into())?;
    if classes == 0 {
        return call.refuse("there are no classes");
    }
    let logits = x.reals()?.to_vec();
    let mut rng = call.random();
    let draw = |i: usize| {
        let row = &logits[i / samples * classes..][..classes];
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |x: &f64| (x - most).exp();
        let mut left = rng.uniform() * row.iter().map(weight).sum::<f64>();
        let found = row.iter().position(|x| {
            left -= weight(x);
            left < 0.0
        });
        found.unwrap_or(classes - 1) as i64
    };
    Ok(TypedTensor::whole(element, Tensor::from_fn([batch, samples], draw)))
}
