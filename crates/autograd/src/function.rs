//! Functions without a gradient, by name, which a trace records besides
//! operations.

use std::fmt;

use dendra_tensor::ops::{Attribute, Attributes};
use dendra_tensor::{Element, Error, Float, Number, Ops, Result, Shape, Tensor};

use dendra_tensor::AnyTensor;

/// A function of tensors of any element types that has no gradient:
/// comparisons, argmax, masks, integer arithmetic. It is called as a method of
/// [`Tensor`]; [`Tape::note`](crate::Tape::note) then records the call in a
/// trace, so that it can be repeated for other inputs.
///
/// [`Plain`] contains the usual ones.
pub trait Function: Send + Sync + 'static {
    /// The name in errors and traces.
    fn name(&self) -> &'static str;

    /// The settings by name.
    fn attributes(&self) -> Attributes {
        Attributes::new()
    }

    /// The output.
    ///
    /// # Errors
    ///
    /// Returns an error if the inputs do not match.
    fn apply(&self, inputs: &[AnyTensor]) -> Result<AnyTensor>;

    /// The same function with another value of a setting that depends on the
    /// size of the batch; `None` for any other setting.
    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Box<dyn Function>> {
        let _ = (name, value);
        None
    }
}

impl fmt::Debug for dyn Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The usual functions without a gradient.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Plain {
    /// Converts floats that are whole numbers to integers.
    Integers,
    /// Converts numbers or booleans to another type, `f32`, `f64` or `i64`.
    Cast {
        /// The name of the type.
        element: &'static str,
    },
    /// Compares two tensors, which broadcast.
    Compare(Comparison),
    /// Compares a tensor with a number.
    CompareScalar(Comparison, f64),
    /// Negates booleans.
    Not,
    /// Whether both booleans are true; they broadcast.
    And,
    /// Whether at least one boolean is true; they broadcast.
    Or,
    /// The indices of the largest elements along an axis.
    Argmax {
        /// The axis, which is removed.
        axis: isize,
    },
    /// The indices of the smallest elements along an axis.
    Argmin {
        /// The axis, which is removed.
        axis: isize,
    },
    /// Replaces elements by a number where a mask, the second input, is true.
    MaskedFill {
        /// The number.
        value: f64,
    },
    /// The mask of padded sequences, `[N, length]`, from lengths `[N]`: true at
    /// positions before the length.
    LengthMask {
        /// The number of positions.
        length: usize,
    },
    /// Joins tensors along an axis.
    Cat {
        /// The axis.
        axis: isize,
    },
    /// The sum of two integer tensors, which broadcast.
    Add,
    /// The difference of two integer tensors, which broadcast.
    Sub,
    /// The product of two integer tensors, which broadcast.
    Mul,
    /// Adds a number to integers.
    AddScalar(i64),
    /// Multiplies integers by a number.
    MulScalar(i64),
    /// A view of a tensor with another shape and other strides; see
    /// [`Tensor::as_strided`]. Traces record views by themselves.
    View {
        /// The shape.
        shape: Shape,
        /// The strides, in elements.
        strides: Vec<isize>,
        /// The offset of the first element.
        offset: usize,
    },
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

impl Comparison {
    fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
        }
    }

    fn with<T: Number>(self, a: &Tensor<T>, number: f64) -> Result<Tensor<bool>> {
        self.of(a, &Tensor::scalar(T::from_f64(number)))
    }

    fn of<T: Number>(self, a: &Tensor<T>, b: &Tensor<T>) -> Result<Tensor<bool>> {
        match self {
            Self::Eq => a.eq_elements(b),
            Self::Ne => a.ne_elements(b),
            Self::Lt => a.lt(b),
            Self::Le => a.le(b),
            Self::Gt => a.gt(b),
            Self::Ge => a.ge(b),
        }
    }
}

/// Converts floats that are whole numbers to integers.
///
/// # Errors
///
/// Returns an error if a number is not whole.
pub fn integers<T: Float>(x: &Tensor<T>) -> Result<Tensor<i64>> {
    let is_whole = |x: &T| x.is_finite() && x.floor() == *x;
    match x.to_vec().into_iter().find(|value| !is_whole(value)) {
        Some(value) => Err(Error::data("", format!("expected whole numbers, got {value}"))),
        None => Ok(x.map(|x| x.to_f64() as i64)),
    }
}

/// Calls a function of number tensors with the element type of the input.
macro_rules! for_numbers {
    ($input:expr, |$x:ident| $value:expr, else $other:expr) => {
        match $input {
            AnyTensor::F32($x) => $value,
            AnyTensor::F64($x) => $value,
            AnyTensor::I64($x) => $value,
            _ => $other,
        }
    };
}

/// Calls a function of tensors with the element type of the input.
macro_rules! for_elements {
    ($input:expr, |$x:ident| $value:expr, else $other:expr) => {
        match $input {
            AnyTensor::Bool($x) => $value,
            input => for_numbers!(input, |$x| $value, else $other),
        }
    };
}

impl Plain {
    fn refuse(&self, inputs: &[AnyTensor]) -> Error {
        let inputs: Vec<String> =
            inputs.iter().map(|input| format!("{} {}", input.element(), input.shape())).collect();
        Error::argument(self.name(), format!("does not accept inputs [{}]", inputs.join(", ")))
    }

    /// The inputs, which must have the same type.
    fn all<'a, T: Element>(&self, inputs: &'a [AnyTensor]) -> Result<Vec<&'a Tensor<T>>> {
        let typed: Option<Vec<&Tensor<T>>> = inputs.iter().map(AnyTensor::downcast).collect();
        typed.ok_or_else(|| self.refuse(inputs))
    }

    /// Two inputs, which must have the same type.
    fn two<'a, T: Element>(&self, inputs: &'a [AnyTensor]) -> Result<[&'a Tensor<T>; 2]> {
        self.all(inputs)?.try_into().map_err(|_| self.refuse(inputs))
    }
}

fn any<T: Element>(tensor: Tensor<T>) -> Result<AnyTensor> {
    AnyTensor::upcast(&tensor).ok_or_else(|| {
        Error::argument("AnyTensor", format!("elements of type {} are not supported", T::NAME))
    })
}

fn floats_of<T: Float>(x: &AnyTensor) -> Option<Tensor<T>> {
    Some(match x {
        AnyTensor::Bool(x) => x.cast(),
        AnyTensor::F32(x) => x.cast(),
        AnyTensor::F64(x) => x.cast(),
        AnyTensor::F16(x) => x.cast(),
        AnyTensor::BF16(x) => x.cast(),
        AnyTensor::I64(x) => x.map(|x: i64| T::from_f64(x as f64)),
        _ => return None,
    })
}

impl Function for Plain {
    fn name(&self) -> &'static str {
        match self {
            Self::Integers => "integers",
            Self::Cast { .. } => "cast",
            Self::Compare(comparison) | Self::CompareScalar(comparison, _) => comparison.name(),
            Self::Not => "logical_not",
            Self::And => "logical_and",
            Self::Or => "logical_or",
            Self::Argmax { .. } => "argmax",
            Self::Argmin { .. } => "argmin",
            Self::MaskedFill { .. } => "masked_fill",
            Self::LengthMask { .. } => "length_mask",
            Self::Cat { .. } => "cat",
            Self::Add | Self::AddScalar(_) => "add",
            Self::Sub => "sub",
            Self::Mul | Self::MulScalar(_) => "mul",
            Self::View { .. } => "view",
        }
    }

    fn attributes(&self) -> Attributes {
        match self {
            Self::Cast { element } => vec![("element", (*element).into())],
            Self::CompareScalar(_, number) => vec![("number", (*number).into())],
            Self::AddScalar(number) | Self::MulScalar(number) => {
                vec![("number", (*number).into())]
            }
            Self::Argmax { axis } | Self::Argmin { axis } | Self::Cat { axis } => {
                vec![("axis", (*axis).into())]
            }
            Self::MaskedFill { value } => vec![("value", (*value).into())],
            Self::LengthMask { length } => vec![("length", (*length).into())],
            Self::View { shape, strides, offset } => vec![
                ("shape", shape.into()),
                ("strides", strides[..].into()),
                ("offset", (*offset).into()),
            ],
            _ => Attributes::new(),
        }
    }

    fn apply(&self, inputs: &[AnyTensor]) -> Result<AnyTensor> {
        let refuse = || self.refuse(inputs);
        let first = inputs.first().ok_or_else(refuse)?;
        match self {
            Self::Integers => match first {
                AnyTensor::F32(x) => Ok(integers(x)?.into()),
                AnyTensor::F64(x) => Ok(integers(x)?.into()),
                _ => Err(refuse()),
            },
            Self::Cast { element } => match (*element, first) {
                ("f32", x) => floats_of::<f32>(x).map(AnyTensor::F32).ok_or_else(refuse),
                ("f64", x) => floats_of::<f64>(x).map(AnyTensor::F64).ok_or_else(refuse),
                ("i64", AnyTensor::Bool(x)) => Ok(AnyTensor::I64(x.cast())),
                _ => Err(refuse()),
            },
            Self::Compare(comparison) => for_numbers!(first, |x| {
                let other = inputs.get(1).and_then(AnyTensor::downcast).ok_or_else(refuse)?;
                Ok(comparison.of(x, other)?.into())
            }, else Err(refuse())),
            Self::CompareScalar(comparison, number) => for_numbers!(first, |x| {
                Ok(comparison.with(x, *number)?.into())
            }, else Err(refuse())),
            Self::Not => Ok(self.all::<bool>(inputs)?[0].logical_not().into()),
            Self::And | Self::Or => {
                let [a, b] = self.two::<bool>(inputs)?;
                let both = if *self == Self::And { a.logical_and(b) } else { a.logical_or(b) };
                Ok(both?.into())
            }
            Self::Argmax { axis } => match first {
                AnyTensor::F32(x) => Ok(x.argmax(*axis)?.into()),
                AnyTensor::F64(x) => Ok(x.argmax(*axis)?.into()),
                _ => Err(refuse()),
            },
            Self::Argmin { axis } => match first {
                AnyTensor::F32(x) => Ok(x.argmin(*axis)?.into()),
                AnyTensor::F64(x) => Ok(x.argmin(*axis)?.into()),
                _ => Err(refuse()),
            },
            Self::MaskedFill { value } => {
                let mask = inputs.get(1).and_then(AnyTensor::downcast).ok_or_else(refuse)?;
                match first {
                    AnyTensor::F32(x) => Ok(x.masked_fill(mask, *value)?.into()),
                    AnyTensor::F64(x) => Ok(x.masked_fill(mask, *value)?.into()),
                    _ => Err(refuse()),
                }
            }
            Self::LengthMask { length } => {
                let lengths = first.downcast::<i64>().filter(|x| x.rank() == 1);
                let lengths = lengths.ok_or_else(refuse)?.unsqueeze(1)?;
                Ok(Tensor::arange(*length).lt(&lengths)?.into())
            }
            Self::Cat { axis } => for_elements!(first, |x| {
                let mut all = vec![x];
                for input in &inputs[1..] {
                    all.push(input.downcast().ok_or_else(refuse)?);
                }
                any(Tensor::cat(&all, *axis)?)
            }, else Err(refuse())),
            Self::Add | Self::Sub | Self::Mul => {
                let [a, b] = self.two::<i64>(inputs)?;
                a.shape().broadcast(b.shape(), self.name())?;
                Ok(match self {
                    Self::Add => a + b,
                    Self::Sub => a - b,
                    _ => a * b,
                }
                .into())
            }
            Self::AddScalar(number) => {
                let number = *number;
                Ok(self.all::<i64>(inputs)?[0].map(|x| x.wrapping_add(number)).into())
            }
            Self::MulScalar(number) => {
                let number = *number;
                Ok(self.all::<i64>(inputs)?[0].map(|x| x.wrapping_mul(number)).into())
            }
            Self::View { shape, strides, offset } => for_elements!(first, |x| {
                any(x.contiguous().as_strided(shape, strides, *offset)?)
            }, else Err(refuse())),
        }
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Box<dyn Function>> {
        let Self::View { shape, strides, offset } = self.clone() else { return None };
        Some(Box::new(match (name, value) {
            ("shape", value) => Self::View { shape: value.to_shape()?, strides, offset },
            ("strides", Attribute::Ints(strides)) => {
                let strides = strides.iter().map(|&stride| stride as isize).collect();
                Self::View { shape, strides, offset }
            }
            ("offset", Attribute::Int(offset)) => {
                Self::View { shape, strides, offset: usize::try_from(*offset).ok()? }
            }
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(function: &Plain, inputs: &[AnyTensor]) -> AnyTensor {
        function.apply(inputs).unwrap()
    }

    #[test]
    fn functions_are_those_of_tensors() {
        let x = AnyTensor::from(Tensor::from([[1.0_f32, -2.0], [3.0, 0.0]]));
        let ids = AnyTensor::from(Tensor::from([4_i64, 0]));
        let mask = AnyTensor::from(Tensor::from([true, false]));
        let ints = |values: [i64; 2]| AnyTensor::from(Tensor::from(values));
        let bools = |values: [bool; 2]| AnyTensor::from(Tensor::from(values));
        let mut rows = vec![
            (Plain::Argmax { axis: 1 }, vec![x.clone()], ints([0, 0])),
            (Plain::Argmin { axis: 1 }, vec![x.clone()], ints([1, 1])),
            (Plain::Not, vec![mask.clone()], bools([false, true])),
            (Plain::And, vec![mask.clone(), bools([true; 2])], mask.clone()),
            (Plain::Or, vec![mask.clone(), bools([true; 2])], bools([true; 2])),
            (Plain::Cast { element: "i64" }, vec![mask.clone()], ints([1, 0])),
            (Plain::Add, vec![ids.clone(), ints([1, 2])], ints([5, 2])),
            (Plain::Sub, vec![ids.clone(), ints([1, 2])], ints([3, -2])),
            (Plain::Mul, vec![ids.clone(), ints([3, 2])], ints([12, 0])),
            (Plain::AddScalar(-1), vec![ids.clone()], ints([3, -1])),
            (Plain::MulScalar(2), vec![ids.clone()], ints([8, 0])),
        ];
        let comparisons = [
            (Comparison::Eq, [true, false]),
            (Comparison::Ne, [false, true]),
            (Comparison::Lt, [false, true]),
            (Comparison::Le, [true, true]),
            (Comparison::Gt, [false, false]),
            (Comparison::Ge, [true, false]),
        ];
        for (comparison, expected) in comparisons {
            let inputs = vec![ids.clone(), ints([4, 1])];
            rows.push((Plain::Compare(comparison), inputs, bools(expected)));
            let scalar = Plain::CompareScalar(comparison, 1.0);
            rows.push((scalar, vec![ints([1, 0])], bools(expected)));
        }
        for (function, inputs, expected) in rows {
            assert_eq!(applied(&function, &inputs), expected, "{function:?}");
        }
        let filled = applied(&Plain::MaskedFill { value: 9.0 }, &[x.clone(), mask.clone()]);
        assert_eq!(filled, Tensor::from([[9.0_f32, -2.0], [9.0, 0.0]]).into());
        let floats = applied(&Plain::Cast { element: "f64" }, std::slice::from_ref(&ids));
        assert_eq!(floats, Tensor::from([4.0_f64, 0.0]).into());
        let whole = applied(&Plain::Integers, std::slice::from_ref(&x));
        assert_eq!(whole, Tensor::from([[1_i64, -2], [3, 0]]).into());
        let both = applied(&Plain::Cat { axis: 0 }, &[ids.clone(), ids.clone()]);
        assert_eq!(both, Tensor::from([4_i64, 0, 4, 0]).into());
        let lengths = AnyTensor::from(Tensor::from([1_i64, 2]));
        let mask = applied(&Plain::LengthMask { length: 2 }, &[lengths]);
        assert_eq!(mask, Tensor::from([[true, false], [true, true]]).into());
    }

    #[test]
    fn views_take_other_settings_and_wrong_inputs_are_refused() {
        let x = AnyTensor::from(Tensor::<i64>::arange(6));
        let view = Plain::View { shape: [2].into(), strides: vec![1], offset: 0 };
        let wider = view.with_setting("strides", &Attribute::Ints(vec![3])).unwrap();
        let later = wider.with_setting("offset", &Attribute::Int(2)).unwrap();
        assert_eq!(later.apply(std::slice::from_ref(&x)).unwrap(), Tensor::from([2_i64, 5]).into());
        assert!(later.with_setting("offset", &Attribute::Int(-1)).is_none());
        assert!(Plain::Not.with_setting("shape", &Attribute::Ints(vec![2])).is_none());
        let error = Plain::Not.apply(&[x]).unwrap_err().to_string();
        assert_eq!(error, "logical_not: does not accept inputs [i64 [6]]");
        assert!(Plain::Or.apply(&[]).is_err());
        let half = AnyTensor::from(Tensor::from([0.5_f32]));
        assert!(Plain::Integers.apply(&[half]).is_err());
    }
}
