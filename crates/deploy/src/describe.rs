//! Descriptions of the inputs and outputs of a network: names, element types
//! and shapes.

use std::fmt;

use dendra_tensor::{AnyTensor, Shape};

use crate::value::Value;

/// The format of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A safetensors file with the architecture of a `Sequential`.
    Safetensors,
    /// An ONNX model.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Onnx => "ONNX",
        })
    }
}

macro_rules! elements {
    ($($(#[$doc:meta])* $name:ident $text:literal)*) => {
        /// The element type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ElementType { $($(#[$doc])* $name,)* }

        impl ElementType {
            /// The name, such as `"f32"`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

elements! {
    /// Booleans.
    Bool "bool"
    /// 8-bit unsigned integers.
    U8 "u8"
    /// 16-bit unsigned integers.
    U16 "u16"
    /// 32-bit unsigned integers.
    U32 "u32"
    /// 64-bit unsigned integers.
    U64 "u64"
    /// 8-bit integers.
    I8 "i8"
    /// 16-bit integers.
    I16 "i16"
    /// 32-bit integers.
    I32 "i32"
    /// 64-bit integers.
    I64 "i64"
    /// 32-bit floats.
    F32 "f32"
    /// 64-bit floats.
    F64 "f64"
    /// Strings.
    Text "text"
}

impl ElementType {
    /// The element type of a tensor; elements of half precision count as `f32`, in which networks
    /// compute.
    pub fn of(tensor: &AnyTensor) -> Self {
        match tensor {
            AnyTensor::F32(_) | AnyTensor::F16(_) | AnyTensor::BF16(_) => Self::F32,
            AnyTensor::F64(_) => Self::F64,
            AnyTensor::U8(_) => Self::U8,
            AnyTensor::U16(_) => Self::U16,
            AnyTensor::U32(_) => Self::U32,
            AnyTensor::U64(_) => Self::U64,
            AnyTensor::I8(_) => Self::I8,
            AnyTensor::I16(_) => Self::I16,
            AnyTensor::I32(_) => Self::I32,
            AnyTensor::I64(_) => Self::I64,
            AnyTensor::Bool(_) => Self::Bool,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The length of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// A fixed length.
    Fixed(usize),
    /// Any length. The name may be empty.
    Free(String),
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => length.fmt(f),
            Self::Free(name) if name.is_empty() => f.write_str("?"),
            Self::Free(name) => f.write_str(name),
        }
    }
}

/// An input or output of a network. It prints as `input: f32 [batch, 4]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name.
    pub name: String,
    /// The element type.
    pub element: ElementType,
    /// The axes, if the model declares them.
    pub axes: Option<Vec<Axis>>,
}

impl TensorInfo {
    /// A tensor with any number of samples of this shape.
    pub(crate) fn batch(name: &str, element: ElementType, sample: &Shape) -> Self {
        let fixed = sample.iter().map(|&length| Axis::Fixed(length));
        let axes = [Axis::Free("batch".to_owned())].into_iter().chain(fixed).collect();
        Self { name: name.to_owned(), element, axes: Some(axes) }
    }

    /// Whether a value has the element type and the axes.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        let fits = |axes: &Vec<Axis>| {
            let mut both = axes.iter().zip(value.shape().iter());
            axes.len() == value.shape().len()
                && both.all(|(axis, length)| match axis {
                    Axis::Fixed(expected) => expected == length,
                    Axis::Free(_) => true,
                })
        };
        self.element == value.element() && self.axes.as_ref().is_none_or(fits)
    }

    /// The shape of one sample, without the batch axis; `None` if it is not
    /// fixed.
    pub fn sample_shape(&self) -> Option<Shape> {
        let (_, sample) = self.axes.as_ref()?.split_first()?;
        sample
            .iter()
            .map(|axis| match axis {
                Axis::Fixed(length) => Some(*length),
                Axis::Free(_) => None,
            })
            .collect()
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.element)?;
        if let Some(axes) = &self.axes {
            let axes: Vec<String> = axes.iter().map(Axis::to_string).collect();
            write!(f, " [{}]", axes.join(", "))?;
        }
        Ok(())
    }
}
