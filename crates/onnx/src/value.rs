//! The inputs and outputs of a model: tensors, sequences and optional values.

use dendra_autograd::Var;
use dendra_tensor::{Error, Result, Tensor};

use crate::tensor::TypedTensor;

/// A value of a model.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor.
    Tensor(TypedTensor),
    /// A list of values of one type.
    Sequence(Vec<Value>),
    /// An optional value.
    Optional(Option<Box<Value>>),
}

impl Value {
    /// The tensor, which may be in an optional value.
    ///
    /// # Errors
    ///
    /// When the value is not a tensor.
    pub fn tensor(&self) -> Result<&TypedTensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Optional(Some(value)) => value.tensor(),
            other => Err(other.unexpected("a tensor")),
        }
    }

    /// The values of a sequence.
    ///
    /// # Errors
    ///
    /// When the value is not a sequence.
    pub fn sequence(&self) -> Result<&[Value]> {
        match self {
            Self::Sequence(values) => Ok(values),
            Self::Optional(Some(value)) => value.sequence(),
            other => Err(other.unexpected("a sequence")),
        }
    }

    /// The elements of a tensor converted to `T`, without gradients.
    ///
    /// # Errors
    ///
    /// When the value is not a tensor of numbers.
    pub fn to<T: dendra_tensor::Number>(&self) -> Result<Tensor<T>> {
        self.tensor()?.to()
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found = match self {
            Self::Tensor(_) => "a tensor",
            Self::Sequence(_) => "a sequence",
            Self::Optional(Some(_)) => "an optional value",
            Self::Optional(None) => "an optional value that is missing",
        };
        Error::argument("input", format!("expected {expected}, got {found}"))
    }
}

impl From<TypedTensor> for Value {
    fn from(tensor: TypedTensor) -> Self {
        Self::Tensor(tensor)
    }
}

macro_rules! from_tensors {
    ($($type:ty)*) => {$(
        impl From<Tensor<$type>> for Value {
            fn from(tensor: Tensor<$type>) -> Self {
                Self::Tensor(tensor.into())
            }
        }
    )*};
}
from_tensors! { f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool }

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Tensor::scalar(value).into()
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Tensor::scalar(value).into()
    }
}

impl From<Var<f32>> for Value {
    fn from(x: Var<f32>) -> Self {
        Self::Tensor(x.into())
    }
}
