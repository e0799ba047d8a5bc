//! The operators `+ - * /` between tensors and with scalars, and the assigning
//! ones, `+= -= *= /=`.

use std::ops;

use super::broadcast::{paired_shape, zip};
use crate::element::Number;
use crate::kernels::parallel::for_each_equal_chunk;
use crate::kernels::simd;
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
                let shape = match paired_shape::<T, T, T>(self, other, stringify!($symbol)) {
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

        /// Overwrites an operand whose elements no other tensor shares.
        impl<T: Number> ops::$trait for Tensor<T> {
            type Output = Self;

            #[track_caller]
            fn $method(mut self, mut other: Self) -> Self {
                if self.shape() == other.shape() {
                    if self.is_writable() {
                        other.with_slice(|other| {
                            write_over(&mut self, other, #[inline(always)] |x, y| x $symbol y);
                        });
                        return self;
                    }
                    if other.is_writable() {
                        self.with_slice(|x| {
                            write_over(&mut other, x, #[inline(always)] |y, x| x $symbol y);
                        });
                        return other;
                    }
                }
                &self $symbol &other
            }
        }

        crate::forward_operators! { [T: Number] Tensor<T>, $trait $method, T }
    )*};
}

/// Replaces each element of a tensor by `f` of it and the element of the other
/// at the same index.
fn write_over<T: Number>(x: &mut Tensor<T>, other: &[T], f: impl Fn(T, T) -> T + Sync) {
    for_each_equal_chunk(x.make_mut(), |first, chunk| {
        let other = &other[first..][..chunk.len()];
        simd::dispatch(
            #[inline(always)]
            || {
                for (x, &other) in chunk.iter_mut().zip(other) {
                    *x = f(*x, other);
                }
            },
        );
    });
}

/// Implements an operator for one owned operand by calling it for borrowed ones.
#[doc(hidden)]
#[macro_export]
macro_rules! forward_operators {
    ([$($generics:tt)*] $type:ty, $trait:ident $method:ident, $scalar:ty) => {
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

/// Implements the operators for a type `$value<T>` by its methods of
/// [`Ops`](crate::Ops); `$number` converts a scalar operand to `f64`.
#[doc(hidden)]
#[macro_export]
macro_rules! ops_operators {
    ($value:ident<T>, $scalar:ty, |$x:ident| $number:expr) => {
        $crate::ops_operators! { @each $value, $scalar, |$x| $number;
            Add add add_scalar |n| n;
            Sub sub add_scalar |n| -n;
            Mul mul mul_scalar |n| n;
            Div div mul_scalar |n| 1.0 / n;
        }

        impl<T: $crate::Float> ::std::ops::Neg for &$value<T> {
            type Output = $value<T>;

            fn neg(self) -> $value<T> {
                $crate::Ops::neg(self)
            }
        }

        impl<T: $crate::Float> ::std::ops::Neg for $value<T> {
            type Output = Self;

            fn neg(self) -> Self {
                $crate::Ops::neg(&self)
            }
        }
    };
    (@each $value:ident, $scalar:ty, |$x:ident| $number:expr;
        $($trait:ident $method:ident $by_scalar:ident |$n:ident| $by:expr;)*
    ) => {$(
        /// Broadcasts by NumPy's rule.
        ///
        /// # Panics
        ///
        /// When the shapes do not broadcast or the tapes differ; the method of
        /// the same name in `Ops` returns an error instead.
        impl<T: $crate::Float> ::std::ops::$trait for &$value<T> {
            type Output = $value<T>;

            #[track_caller]
            fn $method(self, other: Self) -> $value<T> {
                match $crate::Ops::$method(self, other) {
                    Ok(value) => value,
                    Err(error) => panic!("{error}"),
                }
            }
        }

        impl<T: $crate::Float> ::std::ops::$trait<$scalar> for &$value<T> {
            type Output = $value<T>;

            fn $method(self, other: $scalar) -> $value<T> {
                let $x = other;
                let $n: f64 = $number;
                $crate::Ops::$by_scalar(self, $by)
            }
        }

        impl<T: $crate::Float> ::std::ops::$trait for $value<T> {
            type Output = Self;

            #[track_caller]
            fn $method(self, other: Self) -> Self {
                ::std::ops::$trait::$method(&self, &other)
            }
        }

        $crate::forward_operators! { [T: $crate::Float] $value<T>, $trait $method, $scalar }
    )*};
}

operators! { Add add +; Sub sub -; Mul mul *; Div div /; }

macro_rules! assigning_operators {
    ($($trait:ident $method:ident $symbol:tt $by:tt;)*) => {$(
        /// Overwrites the elements; they are copied first when another tensor
        /// shares them. The other operand is broadcast to this shape.
        ///
        /// # Panics
        ///
        /// When the other operand does not broadcast to this shape.
        impl<T: Number> ops::$trait<&Tensor<T>> for Tensor<T> {
            #[track_caller]
            fn $method(&mut self, other: &Tensor<T>) {
                let other = match other.broadcast_to(self.shape()) {
                    Ok(other) => other,
                    Err(error) => panic!("{}", error.within(stringify!($symbol))),
                };
                other.with_slice(|other| {
                    write_over(self, other, #[inline(always)] |x, y| x $by y);
                });
            }
        }

        impl<T: Number> ops::$trait for Tensor<T> {
            #[track_caller]
            fn $method(&mut self, other: Tensor<T>) {
                ops::$trait::$method(self, &other);
            }
        }

        impl<T: Number> ops::$trait<T> for Tensor<T> {
            fn $method(&mut self, other: T) {
                for_each_equal_chunk(self.make_mut(), |_, chunk| {
                    chunk.iter_mut().for_each(|x| *x $symbol other);
                });
            }
        }
    )*};
}

assigning_operators! {
    AddAssign add_assign += +;
    SubAssign sub_assign -= -;
    MulAssign mul_assign *= *;
    DivAssign div_assign /= /;
}

/// A number to the left of a tensor. It is implemented for each number type,
/// since an operator of a foreign type cannot be generic, and inline, so that
/// only the operators in use are compiled.
macro_rules! number_first {
    ($($type:ty)*) => {$(
        number_first! { $type: Add add +, Sub sub -, Mul mul *, Div div / }
    )*};
    ($type:ty: $($trait:ident $method:ident $symbol:tt),*) => {$(
        impl ops::$trait<&Tensor<$type>> for $type {
            type Output = Tensor<$type>;

            #[inline]
            fn $method(self, other: &Tensor<$type>) -> Tensor<$type> {
                other.map(|x| self $symbol x)
            }
        }

        impl ops::$trait<Tensor<$type>> for $type {
            type Output = Tensor<$type>;

            #[inline]
            fn $method(self, other: Tensor<$type>) -> Tensor<$type> {
                self $symbol &other
            }
        }
    )*};
}

number_first! { f32 f64 u8 u16 u32 u64 usize i8 i16 i32 i64 }

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
        /// Element-wise comparisons of tensors that broadcast.
        impl<T: Number> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            pub fn $name(&self, other: &Self) -> crate::error::Result<Tensor<bool>> {
                let shape = paired_shape::<T, T, bool>(self, other, stringify!($name))?;
                Ok(zip(self, other, &shape, #[inline(always)] |a, b| a $symbol b))
            }

            $(#[$doc])*
            /// The same comparison with one number.
            pub fn $scalar(&self, other: T) -> Tensor<bool> {
                self.map(|x| x $symbol other)
            }
        )*}
    };
}

comparisons! {
    /// Whether the elements are equal.
    eq_elements eq_scalar ==;
    /// Whether the elements differ.
    ne_elements ne_scalar !=;
    /// Whether the element is less than the other one.
    lt lt_scalar <;
    /// Whether the element is at most the other one.
    le le_scalar <=;
    /// Whether the element is greater than the other one.
    gt gt_scalar >;
    /// Whether the element is at least the other one.
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
    fn a_number_may_come_first() {
        let x = Tensor::from([2.0, 4.0_f32]);
        assert_eq!((2.0 * &x).to_vec(), [4.0, 8.0]);
        assert_eq!((1.0 - &x).to_vec(), [-1.0, -3.0]);
        assert_eq!((1.0 / x.clone() + 0.5).to_vec(), [1.0, 0.75]);
        assert_eq!((1.0 + x).to_vec(), [3.0, 5.0]);
        assert_eq!((7_u8 - Tensor::from([3_u8])).to_vec(), [4]);
        assert_eq!((9 / &Tensor::from([2_i64, -4])).to_vec(), [4, -2]);
    }

    #[test]
    fn assignments_do_not_change_other_tensors_with_the_same_buffer() {
        let mut x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
        let before = x.clone();
        x += &Tensor::from([10.0, 20.0]);
        assert_eq!(x.to_vec(), [11.0, 22.0, 13.0, 24.0]);
        assert_eq!(before.to_vec(), [1.0, 2.0, 3.0, 4.0]);
        let address = x.as_slice().unwrap().as_ptr();
        x -= before;
        x *= 0.1;
        x /= Tensor::from([[1.0], [0.5]]);
        assert_eq!(x.to_vec(), [1.0, 2.0, 2.0, 4.0]);
        x += 1.0;
        assert_eq!(x.as_slice().unwrap().as_ptr(), address, "in place");
        x = x.transpose(0, 1).unwrap();
        x -= &x.clone();
        assert_eq!(x, Tensor::zeros([2, 2]));
    }

    #[test]
    fn owned_operands_are_overwritten_unless_they_are_shared() {
        let x = || Tensor::from([6.0, 8.0_f32]);
        let y = || Tensor::from([[2.0, 9.0], [4.0, 9.0]]).narrow(1, 0, 1).unwrap().squeeze(1);
        let y = || y().unwrap();
        let (mine, shared) = (x(), x());
        let address = mine.as_slice().unwrap().as_ptr();
        let difference = mine - y();
        assert_eq!(difference.to_vec(), [4.0, 4.0]);
        assert_eq!(difference.as_slice().unwrap().as_ptr(), address, "the first");
        let quotient = y() / difference;
        assert_eq!(quotient.to_vec(), [0.5, 1.0]);
        assert_eq!(quotient.as_slice().unwrap().as_ptr(), address, "the second");
        assert_eq!((shared.clone() - shared.clone()).to_vec(), [0.0, 0.0]);
        assert_eq!((shared.clone() / quotient).to_vec(), [12.0, 8.0]);
        assert_eq!(shared, x());
        assert_eq!((x() * Tensor::scalar(0.5)).to_vec(), [3.0, 4.0]);
    }

    #[test]
    #[should_panic(expected = "+=: broadcast_to: shape [2, 3] does not broadcast to [3]")]
    fn an_assignment_does_not_change_a_shape() {
        let mut x = Tensor::<f32>::zeros([3]);
        x += &Tensor::zeros([2, 3]);
    }

    #[test]
    #[should_panic(expected = "+: shapes [2] and [3] do not broadcast")]
    fn operators_panic_on_shapes_that_do_not_broadcast() {
        let _ = Tensor::<f32>::zeros([2]) + Tensor::zeros([3]);
    }
}
