//! Tensors whose element type is known at run time.
//!
//! The element types of ONNX share a few storage classes. Floats of 32 and
//! fewer bits are `f32`, rounded to their type after each operation. Integers
//! are computed in 64 bits and wrapped to their type; those of 8 and fewer bits
//! are stored in bytes. Strings are indices into a list.

use std::sync::Arc;

use dendra_autograd::Var;
use dendra_tensor::{Element, Error, Ops, Result, Shape, Tensor};

use crate::element::{ElementType, Kind};

/// A tensor of any element type of ONNX.
///
/// Floats are variables, so that a model can be trained.
#[derive(Clone, Debug)]
pub struct TypedTensor {
    element: ElementType,
    pub(crate) data: Data,
}

/// The elements, by storage class.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    F32(Var<f32>),
    F64(Var<f64>),
    I64(Tensor<i64>),
    U64(Tensor<u64>),
    I8(Tensor<i8>),
    U8(Tensor<u8>),
    Bool(Tensor<bool>),
    /// Indices into the list.
    Text(Tensor<i64>, Arc<Vec<String>>),
}

/// Applies a function of shape and position, which each storage class supports,
/// to the elements.
macro_rules! each {
    ($typed:expr, $x:ident => $result:expr) => {{
        use $crate::tensor::Data;
        let typed: &$crate::TypedTensor = $typed;
        let data = match &typed.data {
            Data::F32($x) => Data::F32($result),
            Data::F64($x) => Data::F64($result),
            Data::I64($x) => Data::I64($result),
            Data::U64($x) => Data::U64($result),
            Data::I8($x) => Data::I8($result),
            Data::U8($x) => Data::U8($result),
            Data::Bool($x) => Data::Bool($result),
            Data::Text($x, words) => Data::Text($result, words.clone()),
        };
        typed.with(data)
    }};
}

/// Applies a differentiable function to floats.
macro_rules! float {
    ($typed:expr, $x:ident => $result:expr) => {{
        let typed: &$crate::TypedTensor = $typed;
        match &typed.data {
            $crate::tensor::Data::F32($x) => Ok(typed.rounded($result)),
            $crate::tensor::Data::F64($x) => Ok(typed.with($crate::tensor::Data::F64($result))),
            _ => Err($crate::tensor::no_float(typed)),
        }
    }};
}

/// Applies a differentiable function to floats of one type.
macro_rules! floats {
    ($first:expr, [$($other:expr),*], |$x:ident, $rest:ident| $result:expr) => {{
        let first: &$crate::TypedTensor = $first;
        match &first.data {
            $crate::tensor::Data::F32($x) => {
                let $rest = [$($other.f32()?),*];
                Ok(first.rounded($result))
            }
            $crate::tensor::Data::F64($x) => {
                let $rest = [$($other.f64()?),*];
                Ok(first.with($crate::tensor::Data::F64($result)))
            }
            _ => Err($crate::tensor::no_float(first)),
        }
    }};
}

pub(crate) use {each, float, floats};

pub(crate) fn no_float(x: &TypedTensor) -> Error {
    Error::argument("input", format!("expected floats, got {}", x.element.name()))
}

impl TypedTensor {
    /// The same element type with other elements.
    pub(crate) fn with(&self, data: Data) -> Self {
        Self { element: self.element, data }
    }

    /// Floats of 32 bits, rounded to the element type.
    pub(crate) fn rounded(&self, x: Var<f32>) -> Self {
        Self::single(self.element, x)
    }

    /// Floats of a type that is stored in 32 bits.
    pub(crate) fn single(element: ElementType, x: Var<f32>) -> Self {
        let data = match element.narrow() {
            None => x,
            Some(narrow) => {
                let rounded = x.value().map(|x| narrow.round(f64::from(x), false) as f32);
                // The gradient passes through the rounding.
                match x.tape() {
                    Some(_) if rounded.is_finite() => &x + &Var::new(&rounded - x.value()),
                    _ => Var::new(rounded),
                }
            }
        };
        Self { element, data: Data::F32(data) }
    }

    /// Wraps integers to their type.
    pub(crate) fn whole(element: ElementType, x: Tensor<i64>) -> Self {
        let data = match element.kind() {
            Kind::Whole(64, _) => Data::I64(x),
            Kind::Whole(9.., _) => Data::I64(x.map(|x| element.wrap(x))),
            Kind::Whole(_, true) => Data::I8(x.map(|x| element.wrap(x) as i8)),
            Kind::Whole(_, false) => Data::U8(x.map(|x| element.wrap(x) as u8)),
            Kind::Unsigned64 => Data::U64(x.map(|x| x as u64)),
            Kind::Bool => Data::Bool(x.map(|x| x != 0)),
            Kind::Single(_) => return Self::single(element, Var::new(x.map(|x| x as f32))),
            Kind::Double => Data::F64(Var::new(x.map(|x| x as f64))),
            Kind::Text => {
                let words = x.to_vec().iter().map(i64::to_string).collect();
                return Self::text(x.shape().clone(), words);
            }
        };
        Self { element, data }
    }

    /// Converts doubles to numbers of a type. They are rounded or, for
    /// integers, truncated to the range of the type.
    pub(crate) fn real(element: ElementType, x: Tensor<f64>) -> Self {
        let data = match element.kind() {
            Kind::Single(None) => Data::F32(Var::new(x.map(|x| x as f32))),
            Kind::Single(Some(narrow)) => {
                Data::F32(Var::new(x.map(|x| narrow.round(x, false) as f32)))
            }
            Kind::Double => Data::F64(Var::new(x)),
            Kind::Unsigned64 => Data::U64(x.map(|x| x as u64)),
            Kind::Bool => Data::Bool(x.map(|x| x != 0.0)),
            Kind::Text => {
                let words = x.to_vec().iter().map(f64::to_string).collect();
                return Self::text(x.shape().clone(), words);
            }
            Kind::Whole(..) => {
                let (low, high) = element.range();
                return Self::whole(element, x.map(|x| (x as i64).clamp(low, high)));
            }
        };
        Self { element, data }
    }

    /// Strings in row-major order.
    pub(crate) fn text(shape: impl Into<Shape>, words: Vec<String>) -> Self {
        let index = Tensor::from_fn(shape, |index| index as i64);
        Self { element: ElementType::Text, data: Data::Text(index, Arc::new(words)) }
    }

    pub(crate) fn ints(values: Vec<i64>) -> Self {
        let length = values.len();
        Tensor::from_vec(values, [length]).expect("a vector of its length").into()
    }

    /// The element type.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        match &self.data {
            Data::F32(x) => x.shape(),
            Data::F64(x) => x.shape(),
            Data::I64(x) | Data::Text(x, _) => x.shape(),
            Data::U64(x) => x.shape(),
            Data::I8(x) => x.shape(),
            Data::U8(x) => x.shape(),
            Data::Bool(x) => x.shape(),
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape().len()
    }

    pub(crate) fn len(&self) -> usize {
        self.shape().elements()
    }

    /// The variable of floats of 32 or fewer bits.
    ///
    /// # Errors
    ///
    /// When the elements have another type.
    pub fn var(&self) -> Result<&Var<f32>> {
        self.f32()
    }

    pub(crate) fn f32(&self) -> Result<&Var<f32>> {
        match &self.data {
            Data::F32(x) => Ok(x),
            _ => Err(self.unexpected("floats of 32 or fewer bits")),
        }
    }

    pub(crate) fn f64(&self) -> Result<&Var<f64>> {
        match &self.data {
            Data::F64(x) => Ok(x),
            _ => Err(self.unexpected("floats of 64 bits")),
        }
    }

    pub(crate) fn bools(&self) -> Result<&Tensor<bool>> {
        match &self.data {
            Data::Bool(x) => Ok(x),
            _ => Err(self.unexpected("booleans")),
        }
    }

    /// Integers as 64 bits; those of 64 unsigned bits wrap around.
    pub(crate) fn wholes(&self) -> Result<Tensor<i64>> {
        match &self.data {
            Data::I64(x) => Ok(x.clone()),
            Data::I8(x) => Ok(x.map(i64::from)),
            Data::U8(x) => Ok(x.map(i64::from)),
            Data::U64(x) => Ok(x.map(|x| x as i64)),
            Data::Bool(x) => Ok(x.map(i64::from)),
            _ => Err(self.unexpected("integers")),
        }
    }

    /// Numbers as doubles, without gradients.
    pub(crate) fn reals(&self) -> Result<Tensor<f64>> {
        match &self.data {
            Data::F32(x) => Ok(x.value().map(f64::from)),
            Data::F64(x) => Ok(x.value().clone()),
            Data::I64(x) => Ok(x.map(|x| x as f64)),
            Data::U64(x) => Ok(x.map(|x| x as f64)),
            Data::I8(x) => Ok(x.map(f64::from)),
            Data::U8(x) => Ok(x.map(f64::from)),
            Data::Bool(x) => Ok(x.map(|x| f64::from(u8::from(x)))),
            Data::Text(..) => Err(self.unexpected("numbers")),
        }
    }

    /// The strings in row-major order.
    ///
    /// # Errors
    ///
    /// When the elements are not strings.
    pub fn strings(&self) -> Result<Vec<String>> {
        match &self.data {
            Data::Text(index, words) => {
                Ok(index.to_vec().iter().map(|&index| words[index as usize].clone()).collect())
            }
            _ => Err(self.unexpected("strings")),
        }
    }

    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        Error::argument("input", format!("expected {expected}, got {}", self.element.name()))
    }

    /// The elements converted to `T`, without gradients.
    ///
    /// # Errors
    ///
    /// When the elements are strings.
    pub fn to<T: dendra_tensor::Number>(&self) -> Result<Tensor<T>> {
        Ok(self.reals()?.cast())
    }

    pub(crate) fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        Ok(each!(self, x => x.reshape(&shape)?))
    }

    pub(crate) fn broadcast_to(&self, shape: &Shape) -> Result<Self> {
        Ok(each!(self, x => x.broadcast_to(shape)?))
    }

    pub(crate) fn permute(&self, axes: &[isize]) -> Result<Self> {
        Ok(each!(self, x => x.permute(axes)?))
    }

    /// The elements at row-major positions.
    pub(crate) fn take(&self, positions: &[usize], shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        Ok(each!(self, x => x.reshape([x.shape().elements()])?.index_select(0, positions)?
            .reshape(&shape)?))
    }

    pub(crate) fn narrow_axis(&self, axis: isize, start: usize, length: usize) -> Result<Self> {
        Ok(each!(self, x => x.narrow(axis, start, length)?))
    }

    /// The index of an axis counted from the front.
    pub(crate) fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.rank())
    }

    /// Concatenates tensors of one type along an axis.
    pub(crate) fn cat(parts: &[&Self], axis: usize) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::argument("cat", "expected at least one tensor, got none"));
        };
        if let Some(other) = parts.iter().find(|part| part.element != first.element) {
            return Err(other.unexpected(first.element.name()));
        }
        macro_rules! joined {
            ($class:ident) => {{
                let of = |part: &&Self| match &part.data {
                    Data::$class(x) => Ok(x.clone()),
                    _ => Err(part.unexpected(first.element.name())),
                };
                let parts = parts.iter().map(of).collect::<Result<Vec<_>>>()?;
                Data::$class(cat(&parts, axis as isize)?)
            }};
        }
        Ok(first.with(match &first.data {
            Data::F32(_) => {
                let parts = parts.iter().map(|part| part.f32()).collect::<Result<Vec<_>>>()?;
                Data::F32(Var::cat(&parts, axis as isize)?)
            }
            Data::F64(_) => {
                let parts = parts.iter().map(|part| part.f64()).collect::<Result<Vec<_>>>()?;
                Data::F64(Var::cat(&parts, axis as isize)?)
            }
            Data::I64(_) => joined!(I64),
            Data::U64(_) => joined!(U64),
            Data::I8(_) => joined!(I8),
            Data::U8(_) => joined!(U8),
            Data::Bool(_) => joined!(Bool),
            Data::Text(..) => {
                let (mut words, mut indices) = (Vec::new(), Vec::new());
                for part in parts {
                    let start = words.len();
                    words.extend(part.strings()?);
                    indices.push(Tensor::from_fn(part.shape().clone(), |i| (start + i) as i64));
                }
                Data::Text(cat(&indices, axis as isize)?, Arc::new(words))
            }
        }))
    }
}

fn cat<T: Element>(parts: &[Tensor<T>], axis: isize) -> Result<Tensor<T>> {
    Tensor::<T>::cat(&parts.iter().collect::<Vec<_>>(), axis)
}

/// Converts an axis of a tensor of `rank` axes to a non-negative index.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front).ok().filter(|&axis| axis < rank).ok_or_else(|| {
        Error::shape("axis", format!("there is no axis {axis} in a tensor of {rank} axes"))
    })
}

/// Combines the elements of two tensors, which broadcast.
pub(crate) fn zip<A: Element + Copy, C: Element>(
    a: &Tensor<A>,
    b: &Tensor<A>,
    f: &dyn Fn(A, A) -> C,
) -> Result<Tensor<C>> {
    let shape = a.shape().broadcast(b.shape(), "broadcast")?;
    let a = a.broadcast_to(&shape)?.to_vec();
    let b = b.broadcast_to(&shape)?.to_vec();
    Tensor::from_vec(a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect(), shape)
}

macro_rules! from_tensor {
    ($($type:ty: $element:ident, |$x:ident| $data:expr;)*) => {$(
        impl From<Tensor<$type>> for TypedTensor {
            fn from($x: Tensor<$type>) -> Self {
                Self { element: ElementType::$element, data: $data }
            }
        }
    )*};
}
from_tensor! {
    f32: F32, |x| Data::F32(Var::new(x));
    f64: F64, |x| Data::F64(Var::new(x));
    i64: I64, |x| Data::I64(x);
    i32: I32, |x| Data::I64(x.map(i64::from));
    i16: I16, |x| Data::I64(x.map(i64::from));
    u16: U16, |x| Data::I64(x.map(i64::from));
    u32: U32, |x| Data::I64(x.map(i64::from));
    u64: U64, |x| Data::U64(x);
    i8: I8, |x| Data::I8(x);
    u8: U8, |x| Data::U8(x);
    bool: Bool, |x| Data::Bool(x);
}

impl From<Var<f32>> for TypedTensor {
    fn from(x: Var<f32>) -> Self {
        Self { element: ElementType::F32, data: Data::F32(x) }
    }
}

impl From<Var<f64>> for TypedTensor {
    fn from(x: Var<f64>) -> Self {
        Self { element: ElementType::F64, data: Data::F64(x) }
    }
}
