//! Conversions between element types.

use dendra_autograd::Var;
use dendra_tensor::{Error, Result, Shape, Tensor};

use super::{Operator, one};
use crate::call::Call;
use crate::data::from_raw;
use crate::element::{ElementType, Kind};
use crate::tensor::{Data, TypedTensor};

pub(super) const TABLE: &[Operator] =
    &[one("BitCast", bit_cast), one("Cast", cast), one("CastLike", cast_like)];

fn cast(call: &Call<'_>) -> Result<TypedTensor> {
    let to = ElementType::from_code(call.int("to", 0))?;
    converted(call, to)
}

fn cast_like(call: &Call<'_>) -> Result<TypedTensor> {
    converted(call, call.tensor(1)?.element())
}

fn converted(call: &Call<'_>, to: ElementType) -> Result<TypedTensor> {
    let saturate = call.int("saturate", 1) != 0;
    if to == ElementType::F8E8M0 {
        let mode = call.text("round_mode", "up").to_owned();
        let power = move |x: f64| to_power(x, &mode, saturate);
        let x = call.tensor(0)?.reals()?.map(power);
        return Ok(TypedTensor::single(to, Var::new(x.map(|x| x as f32))));
    }
    convert(call.tensor(0)?, to, saturate)
}

/// The power of two for a number.
fn to_power(x: f64, mode: &str, saturate: bool) -> f64 {
    if x.is_nan() {
        return x;
    }
    let x = x.abs();
    let (low, high) = (f64::powi(2.0, -127), f64::powi(2.0, 127));
    if x.is_infinite() {
        return if saturate { high } else { f64::NAN };
    }
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let below = f64::powi(2.0, exponent.max(-200));
    let rounded = match mode {
        "down" => below,
        "nearest" => {
            if x >= below * 1.5 {
                below * 2.0
            } else {
                below
            }
        }
        _ => {
            if x > below {
                below * 2.0
            } else {
                below
            }
        }
    };
    match rounded {
        _ if rounded > high => {
            if saturate {
                high
            } else {
                f64::NAN
            }
        }
        _ => rounded.max(low),
    }
}

/// Converts the elements to another type. Floats are truncated to integers, and
/// integers wrap around. Numbers too large for narrow floats become the largest
/// one if `saturate`.
pub(super) fn convert(x: &TypedTensor, to: ElementType, saturate: bool) -> Result<TypedTensor> {
    if x.element() == to {
        return Ok(x.clone());
    }
    match (&x.data, to.kind()) {
        // The same storage class keeps the gradient.
        (Data::F32(values), Kind::Single(None)) => Ok(values.clone().into()),
        (Data::F32(values), Kind::Single(Some(_))) if to.bits() == 16 => {
            Ok(TypedTensor::single(to, values.clone()))
        }
        (Data::Text(..), _) => parsed(x, to, saturate),
        (Data::F32(values), Kind::Text) => {
            let words = values.value().to_vec().into_iter().map(|x| number(f64::from(x), 9));
            Ok(TypedTensor::text(x.shape().clone(), words.collect()))
        }
        (Data::F64(values), Kind::Text) => {
            let words = values.value().to_vec().into_iter().map(|x| number(x, 17));
            Ok(TypedTensor::text(x.shape().clone(), words.collect()))
        }
        (Data::U64(values), Kind::Text) => {
            let words = values.to_vec().into_iter().map(|x| x.to_string());
            Ok(TypedTensor::text(x.shape().clone(), words.collect()))
        }
        (Data::F32(_) | Data::F64(_) | Data::U64(_), Kind::Single(_) | Kind::Double) => {
            narrowed(to, x.reals()?, saturate)
        }
        (Data::F32(_) | Data::F64(_), Kind::Whole(..)) => {
            // Floats outside the range of 64 bits have no integer; those inside
            // wrap around.
            Ok(TypedTensor::whole(to, x.reals()?.map(|x| x as i64)))
        }
        (Data::F32(_) | Data::F64(_), _) => Ok(TypedTensor::real(to, x.reals()?)),
        (_, Kind::Single(Some(_))) => narrowed(to, x.reals()?, saturate),
        (Data::Bool(x), Kind::Single(None)) => Ok(x.map(|x| f32::from(u8::from(x))).into()),
        _ => Ok(TypedTensor::whole(to, x.wholes()?)),
    }
}

fn narrowed(to: ElementType, x: Tensor<f64>, saturate: bool) -> Result<TypedTensor> {
    Ok(match to.narrow() {
        // The wider floats become infinite.
        Some(narrow) => {
            let saturate = saturate && to.bits() <= 8;
            TypedTensor::single(to, Var::new(x.map(|x| narrow.round(x, saturate) as f32)))
        }
        None => TypedTensor::real(to, x),
    })
}

/// A number with few digits, as NumPy writes it.
fn number(x: f64, digits: usize) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let single = x as f32;
    let text =
        if digits < 10 && f64::from(single) == x { single.to_string() } else { x.to_string() };
    if text.contains(['.', 'e']) { text } else { format!("{text}.0") }
}

fn parsed(x: &TypedTensor, to: ElementType, saturate: bool) -> Result<TypedTensor> {
    let words = x.strings()?;
    let shape: Shape = x.shape().clone();
    let wrong = |word: &str| Error::argument("Cast", format!("{word:?} is not a {}", to.name()));
    if to.is_float() {
        let parse = |word: &String| {
            let word = word.trim();
            word.parse::<f64>().map_err(|_| wrong(word))
        };
        let numbers = words.iter().map(parse).collect::<Result<Vec<_>>>()?;
        return narrowed(to, Tensor::from_vec(numbers, shape)?, saturate);
    }
    let parse = |word: &String| {
        let word = word.trim();
        let whole = word.parse::<i128>().ok().map(|x| x as i64);
        whole.or_else(|| word.parse::<f64>().ok().map(|x| x as i64)).ok_or_else(|| wrong(word))
    };
    let numbers = words.iter().map(parse).collect::<Result<Vec<_>>>()?;
    Ok(TypedTensor::whole(to, Tensor::from_vec(numbers, shape)?))
}

/// Reinterprets the bits of the elements as another type of the same size.
fn bit_cast(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let to = ElementType::from_code(call.int("to", 0))?;
    if x.element().bits() != to.bits() || to.bits() == 0 {
        let (from, to) = (x.element().name(), to.name());
        return call.refuse(format!("{from} and {to} have different sizes"));
    }
    from_raw(to, x.shape().clone(), x.len(), &raw(x)?)
}

/// The elements as bytes of a file.
pub(crate) fn raw(x: &TypedTensor) -> Result<Vec<u8>> {
    let bits = x.element().bits();
    let bytes = bits.div_ceil(8);
    let codes: Vec<u64> = match &x.data {
        Data::F32(values) => {
            let narrow = x.element().narrow();
            let values = values.value().to_vec().into_iter();
            values
                .map(|x| match narrow {
                    Some(narrow) => u64::from(narrow.encode(f64::from(x))),
                    None => u64::from(x.to_bits()),
                })
                .collect()
        }
        Data::F64(values) => values.value().to_vec().into_iter().map(f64::to_bits).collect(),
        Data::Text(..) => return Err(x.unexpected("numbers")),
        _ => x.wholes()?.to_vec().into_iter().map(|x| x as u64).collect(),
    };
    if bits >= 8 {
        return Ok(codes.iter().flat_map(|code| code.to_le_bytes()[..bytes].to_vec()).collect());
    }
    let packed = codes.chunks(8 / bits).map(|codes| {
        let parts = codes.iter().enumerate();
        parts.fold(0, |byte, (i, &code)| byte | ((code as u8) & ((1 << bits) - 1)) << (i * bits))
    });
    Ok(packed.collect())
}
