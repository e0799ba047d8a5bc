//! [`Value`]: an input or output of a network.

use dendra_tensor::{AnyTensor, Element, Error, Result, Shape, Tensor, bf16, f16};

use crate::describe::ElementType;

/// A tensor of numbers or strings.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Numbers or booleans.
    Tensor(AnyTensor),
    /// Strings in row-major order, as many as the shape has elements.
    Texts(Shape, Vec<String>),
}

impl Value {
    /// Strings of this shape, in row-major order.
    ///
    /// # Errors
    ///
    /// When their number does not match the shape.
    pub fn texts(shape: impl Into<Shape>, texts: Vec<String>) -> Result<Self> {
        let shape = shape.into();
        if shape.checked_elements() != Some(texts.len()) {
            let message = format!(
                "expected as many texts as shape {shape} has elements, got {}",
                texts.len()
            );
            return Err(Error::shape("Value::texts", message));
        }
        Ok(Self::Texts(shape, texts))
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Texts(shape, _) => shape,
        }
    }

    /// The element type.
    pub fn element(&self) -> ElementType {
        match self {
            Self::Tensor(tensor) => ElementType::of(tensor),
            Self::Texts(..) => ElementType::Text,
        }
    }

    /// The tensor, if its elements are of type `T`.
    pub fn tensor<T: Element>(&self) -> Option<&Tensor<T>> {
        match self {
            Self::Tensor(tensor) => tensor.downcast(),
            Self::Texts(..) => None,
        }
    }

    /// Splits a value into parts with these numbers of samples along the batch
    /// axis: the inverse of [`join`](Self::join).
    ///
    /// # Errors
    ///
    /// When the batch axis is shorter.
    pub fn split(&self, counts: &[usize]) -> Result<Vec<Self>> {
        let mut start = 0;
        let part = |&count: &usize| {
            let rows: Vec<usize> = (start..start + count).collect();
            start += count;
            match self {
                Self::Tensor(tensor) => Ok(Self::Tensor(tensor.index_select(0, &rows)?)),
                Self::Texts(shape, texts) => {
                    let (&samples, sample) = shape.split_first().ok_or_else(no_samples)?;
                    let each: usize = sample.iter().product();
                    if start > samples {
                        return Err(no_samples());
                    }
                    let texts = texts[(start - count) * each..start * each].to_vec();
                    let shape: Vec<usize> = [&[count], sample].concat();
                    Ok(Self::Texts(shape.into(), texts))
                }
            }
        };
        counts.iter().map(part).collect()
    }

    /// Concatenates values along the batch axis.
    ///
    /// # Errors
    ///
    /// When there are no values, or their element types or other axes differ.
    pub fn join(parts: &[&Self]) -> Result<Self> {
        let refuse =
            || Error::argument("Value::join", "expected values of the same type and shape");
        match parts.first().ok_or_else(refuse)? {
            Self::Texts(first, _) => {
                let (mut all, mut count) = (Vec::new(), 0);
                for part in parts {
                    let Self::Texts(shape, texts) = part else { return Err(refuse()) };
                    if shape.is_empty() || first.is_empty() || shape[1..] != first[1..] {
                        return Err(refuse());
                    }
                    count += shape[0];
                    all.extend(texts.iter().cloned());
                }
                let shape: Vec<usize> = [&[count], &first[1..]].concat();
                Self::texts(shape, all)
            }
            Self::Tensor(first) => join_tensors(first, parts).ok_or_else(refuse)?.map(Self::Tensor),
        }
    }
}

fn no_samples() -> Error {
    Error::shape(
        "Value::split",
        "expected at least as many samples along the first axis as requested",
    )
}

/// `None` if the element types differ.
fn join_tensors(first: &AnyTensor, parts: &[&Value]) -> Option<Result<AnyTensor>> {
    fn joined<T: Element>(parts: &[&Value]) -> Option<Result<AnyTensor>>
    where
        AnyTensor: From<Tensor<T>>,
    {
        let parts: Option<Vec<&Tensor<T>>> = parts.iter().map(|part| part.tensor()).collect();
        Some(Tensor::cat(&parts?, 0).map(AnyTensor::from))
    }
    match first {
        AnyTensor::F32(_) => joined::<f32>(parts),
        AnyTensor::F64(_) => joined::<f64>(parts),
        AnyTensor::F16(_) => joined::<f16>(parts),
        AnyTensor::BF16(_) => joined::<bf16>(parts),
        AnyTensor::U8(_) => joined::<u8>(parts),
        AnyTensor::U16(_) => joined::<u16>(parts),
        AnyTensor::U32(_) => joined::<u32>(parts),
        AnyTensor::U64(_) => joined::<u64>(parts),
        AnyTensor::I8(_) => joined::<i8>(parts),
        AnyTensor::I16(_) => joined::<i16>(parts),
        AnyTensor::I32(_) => joined::<i32>(parts),
        AnyTensor::I64(_) => joined::<i64>(parts),
        AnyTensor::Bool(_) => joined::<bool>(parts),
    }
}

/// Elements of half precision become `f32`, in which networks compute.
impl From<AnyTensor> for Value {
    fn from(tensor: AnyTensor) -> Self {
        Self::Tensor(tensor.widened())
    }
}

impl<T: Element> From<Tensor<T>> for Value
where
    AnyTensor: From<Tensor<T>>,
{
    fn from(tensor: Tensor<T>) -> Self {
        Self::Tensor(tensor.into())
    }
}
