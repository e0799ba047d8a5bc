//! The operators `+ - * /` between tensors and with scalars.

use std::ops;

use super::broadcast::zip;
use crate::element::Number;
use crate::tensor::Tensor;

macro_rules! operators {
    ($($trait:ident $method:ident $symbol:tt;)*) => {$(
        /// Broadcasts by NumPy's rule.
        ///
        /// # Panics
        ///
        /// When the shapes do not broadcast; the method of the same name in
        /// [`Ops`](crate::Ops) returns an error instead.
        impl<T: Number> ops::$trait for &Tensor<T> {
            type Output = Tensor<T>;

            #[track_caller]
            fn $method(self, other: Self) -> Tensor<T> {
                let shape = match self.shape().broadcast(other.shape(), stringify!($symbol)) {
                    Ok(shape) => shape,
                    Err(error) => panic!("{error}"),
                };
                zip(self, other, &shape, #[inline(always)] |a, b| a $symbol b)
            }
        }

        impl<T: Number> ops::$trait<T> for &Tensor<T> {
            type Output = Tensor<T>;

            fn $method(self, other: T) -> Tensor<T> {
                self.map(|x| x $symbol other)
            }
        }

        crate::forward_operators! { [T: Number] Tensor<T>, $trait $method, T }
    )*};
}

/// Implements an operator for owned operands by way of the borrowed ones.
#[doc(hidden)]
#[macro_export]
macro_rules! forward_operators {
    ([$($generics:tt)*] $type:ty, $trait:ident $method:ident, $scalar:ty) => {
        impl<$($generics)*> ::std::ops::$trait for $type {
            type Output = $type;
            #[track_caller]
            fn $method(self, other: Self) -> $type {
                ::std::ops::$trait::$method(&self, &other)
            }
        }
        impl<$($generics)*> ::std::ops::$trait<&$type> for $type {
            type Output = $type;
            #[track_caller]
            fn $method(self, other: &$type) -> $type {
                ::std::ops::$trait::$method(&self, other)
            }
        }
        impl<$($generics)*> ::std::ops::$trait<$type> for &$type {
            type Output = $type;
            #[track_caller]
            fn $method(self, other: $type) -> $type {
                ::std::ops::$trait::$method(self, &other)
            }
        }
        impl<$($generics)*> ::std::ops::$trait<$scalar> for $type {
            type Output = $type;
            fn $method(self, other: $scalar) -> $type {
                ::std::ops::$trait::$method(&self, other)
            }
        }
    };
}

operators! { Add add +; Sub sub -; Mul mul *; Div div /; }

impl<T: Number + ops::Neg<Output = T>> ops::Neg for &Tensor<T> {
    type Output = Tensor<T>;

    fn neg(self) -> Tensor<T> {
        self.map(|x| -x)
    }
}

impl<T: Number + ops::Neg<Output = T>> ops::Neg for Tensor<T> {
    type Output = Tensor<T>;

    fn neg(self) -> Tensor<T> {
        -&self
    }
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $scalar:ident $symbol:tt;)*) => {
        /// Comparisons, element by element, of tensors that broadcast.
        impl<T: Number> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            pub fn $name(&self, other: &Self) -> crate::error::Result<Tensor<bool>> {
                let shape = self.shape().broadcast(other.shape(), stringify!($name))?;
                Ok(zip(self, other, &shape, #[inline(always)] |a, b| a $symbol b))
            }

            $(#[$doc])*
            /// The other is one number for all.
            pub fn $scalar(&self, other: T) -> Tensor<bool> {
                self.map(|x| x $symbol other)
            }
        )*}
    };
}

comparisons! {
    /// Where the elements are equal.
    eq_elements eq_scalar ==;
    /// Where the elements differ.
    ne_elements ne_scalar !=;
    /// Where the element is less than the other's.
    lt lt_scalar <;
    /// Where the element is at most the other's.
    le le_scalar <=;
    /// Where the element is greater than the other's.
    gt gt_scalar >;
    /// Where the element is at least the other's.
    ge ge_scalar >=;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_take_references_values_and_scalars() {
        let x = Tensor::from([6.0, 8.0_f32]);
        let y = Tensor::from([2.0, 4.0]);
        assert_eq!((&x + &y).to_vec(), [8.0, 12.0]);
        assert_eq!((x.clone() / y.clone()).to_vec(), [3.0, 2.0]);
        assert_eq!((&x * 0.5 - &y).to_vec(), [1.0, 0.0]);
        assert_eq!((-x).to_vec(), [-6.0, -8.0]);
        assert_eq!((Tensor::from([7, 9_i64]) / 2).to_vec(), [3, 4]);
        assert_eq!(y.gt(&Tensor::scalar(3.0)).unwrap().to_vec(), [false, true]);
        assert_eq!(y.le_scalar(2.0).to_vec(), [true, false]);
    }

    #[test]
    #[should_panic(expected = "+: shapes [2] and [3] do not broadcast")]
    fn operators_panic_on_shapes_that_do_not_broadcast() {
        let _ = Tensor::<f32>::zeros([2]) + Tensor::zeros([3]);
    }
}
