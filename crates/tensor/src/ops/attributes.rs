//! The settings of an operation by name, for traces and exports.

use std::fmt;

use crate::element::Float;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The settings of an operation, in the order of its fields.
pub type Attributes = Vec<(&'static str, Attribute)>;

/// The value of one setting.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// An optional setting that is not set.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// The name of a choice, such as a mode.
    Text(String),
    /// Integers: axes, sizes, a shape.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f64>),
    /// Indices or labels, such as those of an embedding.
    Indices(Tensor<i64>),
    /// A mask.
    Mask(Tensor<bool>),
    /// The values of a tensor that is a setting and not an input, in double
    /// precision.
    Values(Tensor<f64>),
}

/// Implements the conversion of Rust types to attributes.
macro_rules! attributes_from {
    ($($type:ty: |$value:ident| $attribute:expr;)*) => {$(
        impl From<$type> for Attribute {
            fn from($value: $type) -> Self {
                $attribute
            }
        }
    )*};
}
attributes_from! {
    bool: |value| Self::Bool(value);
    i64: |value| Self::Int(value);
    usize: |value| Self::Int(value as i64);
    isize: |value| Self::Int(value as i64);
    f64: |value| Self::Float(value);
    &str: |value| Self::Text(value.to_owned());
    String: |value| Self::Text(value);
    &Shape: |value| Self::from(&value[..]);
    &[usize]: |value| Self::Ints(value.iter().map(|&value| value as i64).collect());
    &[isize]: |value| Self::Ints(value.iter().map(|&value| value as i64).collect());
    &[f64]: |value| Self::Floats(value.to_vec());
    &Tensor<i64>: |value| Self::Indices(value.clone());
    &Tensor<bool>: |value| Self::Mask(value.clone());
}

impl<const N: usize> From<[usize; N]> for Attribute {
    fn from(value: [usize; N]) -> Self {
        Self::from(&value[..])
    }
}

impl<const N: usize> From<[isize; N]> for Attribute {
    fn from(value: [isize; N]) -> Self {
        Self::from(&value[..])
    }
}

impl<A: Into<Attribute>> From<Option<A>> for Attribute {
    fn from(value: Option<A>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl Attribute {
    /// The shape, if the attribute is a list of integers that are not negative.
    pub fn to_shape(&self) -> Option<Shape> {
        self.to_sizes().map(Shape::from)
    }

    /// The sizes, if the attribute is a list of integers that are not negative.
    pub fn to_sizes(&self) -> Option<Vec<usize>> {
        let Self::Ints(values) = self else { return None };
        values.iter().map(|&value| usize::try_from(value).ok()).collect()
    }

    /// The indices, if the attribute is a tensor of indices.
    pub fn to_indices(&self) -> Option<Tensor<i64>> {
        let Self::Indices(values) = self else { return None };
        Some(values.clone())
    }

    /// The mask, if the attribute is one.
    pub fn to_mask(&self) -> Option<Tensor<bool>> {
        let Self::Mask(values) = self else { return None };
        Some(values.clone())
    }

    /// The attribute for a tensor that is a setting.
    pub fn values<T: Float>(value: &Tensor<T>) -> Self {
        Self::Values(value.cast())
    }
}

/// Prints, for example, `2`, `0.5`, `[1, 1]`, `reflect`; of tensors only type
/// and shape.
impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Ints(values) => write!(f, "{values:?}"),
            Self::Floats(values) => write!(f, "{values:?}"),
            Self::Indices(values) => write!(f, "i64 {}", values.shape()),
            Self::Mask(values) => write!(f, "bool {}", values.shape()),
            Self::Values(values) => write!(f, "f64 {}", values.shape()),
        }
    }
}
