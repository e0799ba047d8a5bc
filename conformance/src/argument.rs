//! Conversion of PyTorch's arguments to values of Dendra.

use dendra_autograd::Var;
use dendra_losses::Reduction;
use dendra_tensor::Float;
use dendra_tensor::PadMode;
use dendra_tensor::{Ops, Shape, Tensor};
use serde_json::Value;

use crate::call::{Call, Given, Stop};

/// A type to which an argument can be converted.
pub(crate) trait Argument<T: Float>: Sized {
    /// A description of the type, for errors.
    const KIND: &str;
    /// Whether it is a number that gets no gradient.
    const CONSTANT: bool = false;

    /// Whether it is a parameter of the layer that the row makes.
    const STATE: bool = false;

    /// The argument, if the value can be converted.
    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self>;
}

macro_rules! arguments {
    ($($type:ty, $kind:literal, $constant:literal, |$value:ident, $call:ident| $read:expr;)*) => {$(
        impl<T: Float> Argument<T> for $type {
            const KIND: &str = $kind;
            const CONSTANT: bool = $constant;

            fn read($value: &Value, $call: &Call<'_, T>) -> Option<Self> {
                $read
            }
        }
    )*};
}

arguments! {
    bool, "true or false", false, |value, _call| value.as_bool();
    isize, "an integer", false, |value, call| integer(value, call).map(|x| x as isize);
    i64, "an integer", false, |value, call| integer(value, call);
    usize, "a size", false, |value, call| integer(value, call)?.try_into().ok();
    f64, "a number", true, |value, call| match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(name) => name.parse().ok(),
        Value::Object(_) => match call.given(value)? {
            Given::Float(x) => x.value().item().ok().map(dendra_tensor::Number::to_f64),
            Given::Int(x) => x.item().ok().map(|x| x as f64),
            Given::Bool(_) => None,
        },
        _ => value.as_f64(),
    };
    String, "a name", false, |value, _call| value.as_str().map(str::to_owned);
    Tensor<i64>, "a tensor of integers", false, |value, call| match call.given(value)? {
        Given::Int(x) => Some(x.clone()),
        _ => None,
    };
    Tensor<bool>, "a tensor of booleans", false, |value, call| match call.given(value)? {
        Given::Bool(x) => Some(x.clone()),
        _ => None,
    };
    Reduction, "a reduction", false, |value, _call| match value.as_str()? {
        "mean" => Some(Reduction::Mean),
        "sum" => Some(Reduction::Sum),
        "none" => Some(Reduction::None),
        _ => None,
    };
    Value, "anything", false, |value, _call| Some(value.clone());
}

/// A number stands for a tensor without axes; integers and booleans stand for
/// numbers.
impl<T: Float> Argument<T> for Var<T> {
    const KIND: &str = "a tensor of the floating-point type";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match value {
            Value::Object(_) => match call.given(value)? {
                Given::Float(x) => Some(x.clone()),
                Given::Int(x) => Some(Self::constant(x.cast())),
                Given::Bool(x) => Some(Self::constant(x.cast())),
            },
            _ => {
                let number: f64 = Argument::<T>::read(value, call)?;
                Some(Self::constant(Tensor::scalar(T::from_f64(number))))
            }
        }
    }
}

/// Numbers that get no gradient in Dendra, such as the target of a loss.
pub(crate) struct Constant<T: Float>(pub(crate) Tensor<T>);

impl<T: Float> Argument<T> for Constant<T> {
    const KIND: &str = <Var<T> as Argument<T>>::KIND;
    const CONSTANT: bool = true;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        <Var<T> as Argument<T>>::read(value, call).map(|x| Self(x.into_value()))
    }
}

impl<T: Float, A: Argument<T>> Argument<T> for Option<A> {
    const KIND: &str = A::KIND;
    const CONSTANT: bool = A::CONSTANT;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        if value.is_null() { Some(None) } else { A::read(value, call).map(Some) }
    }
}

/// A single value stands for a list of one, such as `2` for `(2,)`.
impl<T: Float, A: Argument<T>> Argument<T> for Vec<A> {
    const KIND: &str = A::KIND;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match value {
            Value::Array(values) => values.iter().map(|value| A::read(value, call)).collect(),
            _ => A::read(value, call).map(|one| vec![one]),
        }
    }
}

/// A single value stands for several equal ones, such as `3` for a kernel of 3
/// × 3.
impl<T: Float, A: Argument<T> + Copy, const N: usize> Argument<T> for [A; N] {
    const KIND: &str = A::KIND;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        let values: Vec<A> = Argument::<T>::read(value, call)?;
        match values[..] {
            [one] => Some([one; N]),
            _ => values.try_into().ok(),
        }
    }
}

fn integer<T: Float>(value: &Value, call: &Call<'_, T>) -> Option<i64> {
    match value {
        Value::Object(_) => match call.given(value)? {
            Given::Int(x) => x.item().ok(),
            _ => None,
        },
        _ => value.as_i64(),
    }
}

/// A tensor of any kind.
pub(crate) enum Any<T: Float> {
    Float(Var<T>),
    Int(Tensor<i64>),
    Bool(Tensor<bool>),
}

impl<T: Float> Argument<T> for Any<T> {
    const KIND: &str = "a tensor";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        Some(match call.given(value)? {
            Given::Float(x) => Self::Float(x.clone()),
            Given::Int(x) => Self::Int(x.clone()),
            Given::Bool(x) => Self::Bool(x.clone()),
        })
    }
}

/// The shape of a parameter of the layer that the row makes.
pub(crate) struct State(pub(crate) Shape);

impl<T: Float> Argument<T> for State {
    const KIND: &str = "a parameter";
    const STATE: bool = true;

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        let sizes = value.as_array()?.iter().map(|size| size.as_u64().map(|size| size as usize));
        sizes.collect::<Option<Vec<_>>>().map(|sizes| Self(sizes.into()))
    }
}

/// A mask of attention, which gets no gradient.
pub(crate) struct Mask<T: Float>(pub(crate) Any<T>);

impl<T: Float> Argument<T> for Mask<T> {
    const KIND: &str = "a mask";
    const CONSTANT: bool = true;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        Argument::<T>::read(value, call).map(Self)
    }
}

/// An axis, several, or all.
#[derive(Clone)]
pub(crate) enum Axes {
    /// `None`, or an empty list of axes.
    All,
    These(Vec<isize>),
}

impl<T: Float> Argument<T> for Axes {
    const KIND: &str = "axes";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        let axes: Option<Vec<isize>> = Argument::<T>::read(value, call)?;
        Some(axes.filter(|axes| !axes.is_empty()).map_or(Self::All, Self::These))
    }
}

impl Axes {
    /// The axes of a tensor of this rank.
    pub(crate) fn of(&self, rank: usize) -> Vec<isize> {
        match self {
            Self::All => (0..rank as isize).collect(),
            Self::These(axes) => axes.clone(),
        }
    }
}

/// One value for each of `D` axes; a single one stands for all.
pub(crate) fn each<A: Copy, const D: usize>(values: &[A]) -> Result<[A; D], Stop> {
    match values {
        &[one] => Ok([one; D]),
        _ => values.try_into().map_err(|_| Stop::inexpressible("another number of axes")),
    }
}

/// As [`each`]; a missing value or an empty list stands for the default.
pub(crate) fn sizes_or<A: Copy, const D: usize>(
    values: Option<&[A]>,
    default: [A; D],
) -> Result<[A; D], Stop> {
    values.filter(|values| !values.is_empty()).map_or(Ok(default), each)
}

/// PyTorch's names of padding modes.
pub(crate) fn pad_mode(name: &str, value: f64) -> PadMode {
    match name {
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        _ => PadMode::Constant(value),
    }
}
