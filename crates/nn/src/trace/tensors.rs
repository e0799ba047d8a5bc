//! Inputs and outputs of any form, as lists of tensors.

use dendra_autograd::{AnyTensor, AsAny, Var};
use dendra_tensor::{Element, Error, Float, Result, Tensor};

/// Tensors in some form: one, tuples, vectors and options of such. A struct of
/// tensors is one, too, once it says which it holds.
pub trait Tensors: Sized {
    /// The tensors, in a fixed order, sharing their memory.
    ///
    /// # Errors
    ///
    /// When one has elements that no trace holds.
    fn tensors(&self) -> Result<Vec<AnyTensor>>;

    /// The same form with other tensors, which are taken in the same order.
    ///
    /// # Errors
    ///
    /// When there are too few, or one has another element type.
    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self>;
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
        Ok(vec![self.as_any()?])
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        next(tensors)
    }
}

impl<T: Float> Tensors for Var<T> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        self.value().tensors()
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        let value = next(tensors)?;
        Ok(self.tape().map_or_else(|| Var::new(value.clone()), |tape| tape.input(value.clone())))
    }
}

/// Lengths, as a tensor of integers.
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
