//! Tensors whose element type is known only at run time, and values made of
//! them.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::half::{bf16, f16};
use crate::memory::Memory;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Defines the tensor of any element type from the list of those types.
macro_rules! any_tensor {
    ($($variant:ident $type:ty;)*) => {
        /// A tensor whose element type is known at run time.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyTensor {$(
            #[doc = concat!("Elements of type `", stringify!($type), "`.")]
            $variant(Tensor<$type>),
        )*}

        impl AnyTensor {
            /// The shape.
            pub fn shape(&self) -> &Shape {
                match self { $(Self::$variant(tensor) => tensor.shape(),)* }
            }

            /// The name of the element type, such as `"f32"`.
            pub fn element(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$type>::NAME,)* }
            }

            /// The memory of its elements; see [`Tensor::memory`].
            pub fn memory(&self) -> Option<Memory> {
                match self { $(Self::$variant(tensor) => tensor.memory(),)* }
            }

            /// The strides of its axes, in elements.
            pub fn strides(&self) -> Vec<isize> {
                match self { $(Self::$variant(tensor) => tensor.strides().to_vec(),)* }
            }

            /// Like [`Tensor::offset_in`]; `None` when the element types differ.
            pub fn offset_in(&self, base: &Self) -> Option<usize> {
                match (self, base) {
                    $((Self::$variant(view), Self::$variant(base)) => view.offset_in(base),)*
                    _ => None,
                }
            }

            /// The elements at some indices of an axis; see
            /// [`Tensor::index_select`].
            ///
            /// # Errors
            ///
            /// When the axis or an index does not exist.
            pub fn index_select(&self, axis: isize, indices: &[usize]) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(x) => Self::$variant(x.index_select(axis, indices)?),)*
                })
            }

            /// The elements under another shape; see [`Tensor::reshape`].
            ///
            /// # Errors
            ///
            /// When the numbers of elements differ.
            pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(tensor) => Self::$variant(tensor.reshape(shape)?),)*
                })
            }

            /// The axes in another order; see [`Tensor::permute`].
            ///
            /// # Errors
            ///
            /// When `axes` is not a permutation of the axes.
            pub fn permute(&self, axes: &[isize]) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(tensor) => Self::$variant(tensor.permute(axes)?),)*
                })
            }

            /// A view with another shape, strides and offset; see
            /// [`Tensor::as_strided`].
            ///
            /// # Errors
            ///
            /// When the tensor is not in row-major order, or an index would be
            /// out of range.
            pub fn as_strided(
                &self,
                shape: impl Into<Shape>,
                strides: &[isize],
                offset: usize,
            ) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(x) => {
                        Self::$variant(x.as_strided(shape, strides, offset)?)
                    })*
                })
            }

            /// Whether both have the same element type, shape and bits.
            pub fn has_bits_of(&self, other: &Self) -> bool {
                match (self, other) {
                    // NaN equals itself here, and 0 does not equal −0.
                    (Self::F32(a), Self::F32(b)) => a.map(f32::to_bits) == b.map(f32::to_bits),
                    (Self::F64(a), Self::F64(b)) => a.map(f64::to_bits) == b.map(f64::to_bits),
                    (Self::F16(a), Self::F16(b)) => a.map(f16::to_bits) == b.map(f16::to_bits),
                    (Self::BF16(a), Self::BF16(b)) => a.map(bf16::to_bits) == b.map(bf16::to_bits),
                    (a, b) => a == b,
                }
            }

            /// The same tensor, with elements of half precision as `f32`.
            #[must_use]
            pub fn widened(self) -> Self {
                match self {
                    Self::F16(tensor) => Self::F32(tensor.cast()),
                    Self::BF16(tensor) => Self::F32(tensor.cast()),
                    other => other,
                }
            }

            /// The tensor, if its elements are of type `T`.
            pub fn downcast<T: Element>(&self) -> Option<&Tensor<T>> {
                let tensor: &dyn std::any::Any = match self {
                    $(Self::$variant(tensor) => tensor,)*
                };
                tensor.downcast_ref()
            }

            /// The tensor with its element type erased; `None` for an element
            /// type that files cannot hold.
            pub fn upcast<T: Element>(tensor: &Tensor<T>) -> Option<Self> {
                let tensor: &dyn std::any::Any = tensor;
                $(if let Some(tensor) = tensor.downcast_ref::<Tensor<$type>>() {
                    return Some(Self::$variant(tensor.clone()));
                })*
                None
            }
        }

        $(impl From<Tensor<$type>> for AnyTensor {
            fn from(tensor: Tensor<$type>) -> Self {
                Self::$variant(tensor)
            }
        })*
    };
}

any_tensor! {
    F32 f32; F64 f64; F16 f16; BF16 bf16;
    U8 u8; U16 u16; U32 u32; U64 u64;
    I8 i8; I16 i16; I32 i32; I64 i64;
    Bool bool;
}

/// A value made of tensors: a tensor, or a tuple, vector or option of such
/// values. A struct of tensors can implement this too.
pub trait Tensors: Sized {
    /// The tensors, in a fixed order, sharing their memory.
    ///
    /// # Errors
    ///
    /// When a tensor has an element type that traces cannot hold.
    fn tensors(&self) -> Result<Vec<AnyTensor>>;

    /// A value of the same structure with other tensors, taken in the same
    /// order.
    ///
    /// # Errors
    ///
    /// When there are too few tensors, or one has another element type.
    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self>;
}

/// # Errors
///
/// When the elements have a type that [`AnyTensor`] does not hold.
fn any<E: Element>(tensor: &Tensor<E>) -> Result<AnyTensor> {
    AnyTensor::upcast(tensor).ok_or_else(|| {
        Error::argument("AnyTensor", format!("elements of type {} are not supported", E::NAME))
    })
}

fn next<E: Element>(tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Tensor<E>> {
    let next = tensors.next();
    next.as_ref().and_then(AnyTensor::downcast).cloned().ok_or_else(|| {
        let found = next.as_ref().map_or("none", AnyTensor::element);
        Error::argument("Tensors", format!("expected a tensor of {}, got {found}", E::NAME))
    })
}

impl<E: Element> Tensors for Tensor<E> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        Ok(vec![any(self)?])
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        next(tensors)
    }
}

/// Converts lengths to a tensor of integers.
impl Tensors for Vec<usize> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        let lengths = self.iter().map(|&length| length as i64).collect();
        Ok(vec![Tensor::from_vec(lengths, [self.len()])?.into()])
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        let lengths: Option<Self> =
            next::<i64>(tensors)?.to_vec().into_iter().map(|n| usize::try_from(n).ok()).collect();
        lengths.ok_or_else(|| Error::argument("Tensors", "expected lengths of at least 0"))
    }
}

impl<X: Tensors> Tensors for Vec<X> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        Ok(self.iter().map(X::tensors).collect::<Result<Vec<_>>>()?.concat())
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        self.iter().map(|part| part.with_tensors(tensors)).collect()
    }
}

impl<X: Tensors> Tensors for Option<X> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        self.as_ref().map_or(Ok(Vec::new()), X::tensors)
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        self.as_ref().map(|part| part.with_tensors(tensors)).transpose()
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        #[allow(non_snake_case, reason = "the types' names serve for the values")]
        impl<$($name: Tensors),*> Tensors for ($($name,)*) {
            fn tensors(&self) -> Result<Vec<AnyTensor>> {
                let ($($name,)*) = self;
                Ok([$($name.tensors()?),*].concat())
            }

            fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
                let ($($name,)*) = self;
                Ok(($($name.with_tensors(tensors)?,)*))
            }
        }
    };
}
tuples! { A }
tuples! { A B }
tuples! { A B C }
tuples! { A B C D }
