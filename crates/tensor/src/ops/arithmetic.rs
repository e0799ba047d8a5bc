//! Arithmetic functions that are composed of other operations, and functions
//! without a gradient.

use super::broadcast::{paired_shape, zip};
use crate::element::Number;
use crate::error::Result;
use crate::tensor::Tensor;

/// The differentiable functions, as items of the trait.
macro_rules! arithmetic_functions {
    () => {
        /// The quotient rounded down, as Python's `//`; no gradient flows. See
        /// [`div_rounded`](Ops::div_rounded).
        fn floor_divide(&self, divisor: &Self) -> Result<Self> {
            self.div_rounded(divisor, Rounding::Floor)
        }

        /// The larger element, or the one that is not NaN; otherwise as
        /// [`maximum`](Ops::maximum).
        fn fmax(&self, other: &Self) -> Result<Self> {
            let larger = other.where_mask(&self.value().isnan(), &self.maximum(other)?)?;
            self.where_mask(&other.value().isnan(), &larger)
        }

        /// The smaller element, or the one that is not NaN; otherwise as
        /// [`minimum`](Ops::minimum).
        fn fmin(&self, other: &Self) -> Result<Self> {
            let smaller = other.where_mask(&self.value().isnan(), &self.minimum(other)?)?;
            self.where_mask(&other.value().isnan(), &smaller)
        }

        /// The magnitude of `self` with the sign of `other`, including the sign
        /// of −0; no gradient flows to `other`.
        fn copysign(&self, other: &Self) -> Result<Self> {
            let minus = Tensor::scalar(-<Self::Element as Number>::ONE);
            let signs = minus.where_mask(&other.value().signbit(), &-&minus)?;
            self.abs().mul(&Self::constant(signs))
        }

        /// log₂(2^self + 2^other), without overflow.
        fn logaddexp2(&self, other: &Self) -> Result<Self> {
            let natural = |x: &Self| x.mul_scalar(std::f64::consts::LN_2);
            let sum = natural(self).logaddexp(&natural(other))?;
            Ok(sum.mul_scalar(std::f64::consts::LOG2_E))
        }

        /// `self · 2^exponent`.
        fn ldexp(&self, exponent: &Self) -> Result<Self> {
            self.mul(&exponent.exp2())
        }

        /// Rounds to this many decimals (negative: to tens, hundreds, …), and
        /// halves to the even last digit; no gradient flows.
        fn round_decimals(&self, decimals: i32) -> Self {
            let factor = 10_f64.powi(decimals.saturating_abs());
            let scale = Self::constant(Tensor::scalar(Number::from_f64(factor)));
            let divided = |x: Self| x.div(&scale).expect("a scalar broadcasts to any shape");
            match decimals {
                0.. => divided(self.mul_scalar(factor).round()),
                _ => divided(self.clone()).round().mul_scalar(factor),
            }
        }

        /// Converts an angle from radians to degrees.
        fn rad2deg(&self) -> Self {
            self.mul_scalar(180.0 / std::f64::consts::PI)
        }

        /// Converts an angle from degrees to radians.
        fn deg2rad(&self) -> Self {
            self.mul_scalar(std::f64::consts::PI / 180.0)
        }

        /// The same as [`sign`](Ops::sign), for real numbers.
        fn sgn(&self) -> Self {
            self.sign()
        }
    };
}

pub(super) use arithmetic_functions;

/// Functions of numbers without a gradient.
impl<T: Number> Tensor<T> {
    /// The same tensor (PyTorch's unary `+`).
    #[must_use]
    pub fn positive(&self) -> Self {
        self.clone()
    }

    /// Whether the sign bit is set: true for negative numbers, for −0 and for a
    /// negative NaN.
    pub fn signbit(&self) -> Tensor<bool> {
        self.map(|x| x.to_f64().is_sign_negative())
    }

    /// 0 for negative numbers and NaN, 1 for positive ones, and for 0 the
    /// element of `values`; both broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn heaviside(&self, values: &Self) -> Result<Self> {
        let shape = paired_shape::<T, T, T>(self, values, "heaviside")?;
        Ok(zip(self, values, &shape, |x, value| {
            if x > T::ZERO {
                T::ONE
            } else if x == T::ZERO {
                value
            } else {
                T::ZERO
            }
        }))
    }

    /// `self` to the power of `exponent`, computed in double precision for all
    /// types. It has no gradient; [`Ops::pow`](crate::Ops::pow) has one.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn float_power<U: Number>(&self, exponent: &Tensor<U>) -> Result<Tensor<f64>> {
        let shape = paired_shape::<T, U, f64>(self, exponent, "float_power")?;
        Ok(zip(self, exponent, &shape, |x, exponent| x.to_f64().powf(exponent.to_f64())))
    }
}

macro_rules! next_after {
    ($($type:ident)*) => {$(
        impl Tensor<$type> {
            /// The next representable number after each element in the
            /// direction of `other`.
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            #[inline]
            pub fn nextafter(&self, other: &Self) -> Result<Self> {
                let shape = paired_shape::<$type, $type, $type>(self, other, "nextafter")?;
                Ok(zip(self, other, &shape, |x: $type, towards| {
                    if x < towards {
                        x.next_up()
                    } else if x > towards {
                        x.next_down()
                    } else {
                        // The other zero, or NaN if one element is NaN.
                        if x == towards { towards } else { $type::NAN }
                    }
                }))
            }
        }
    )*};
}

next_after! { f32 f64 }

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    /// The values as text that distinguishes NaN and −0.
    fn text(x: Tensor<f32>) -> String {
        format!("{:?}", x.to_vec())
    }

    /// Expected values: PyTorch's.
    #[test]
    fn numbers_beside_nan_and_signs() {
        let a = Tensor::from([3.0, NAN, 1.0, 2.0, NAN]);
        let b = Tensor::from([1.0, 1.0, NAN, 2.0, NAN]);
        assert_eq!(text(a.fmax(&b).unwrap()), "[3.0, 1.0, 1.0, 2.0, NaN]");
        assert_eq!(text(a.fmin(&b).unwrap()), "[1.0, 1.0, 1.0, 2.0, NaN]");
        let a = Tensor::from([3.0, -2.0, 0.0, -0.0, 1.0]);
        let b = Tensor::from([-1.0, -0.0, -3.0, 0.0, 2.0]);
        assert_eq!(text(a.copysign(&b).unwrap()), "[-3.0, -2.0, -0.0, 0.0, 1.0]");
        let signs = Tensor::from([-0.0, 0.0, -1.0, INF, -INF]).signbit();
        assert_eq!(signs.to_vec(), [true, false, true, false, true]);
        assert_eq!(Tensor::from([-5, 5_i64]).signbit().to_vec(), [true, false]);
        let x = Tensor::from([-1.0, 0.0, 2.0, NAN, -0.0]);
        let values = Tensor::from([0.5, 0.5, 0.5, 0.5, NAN]);
        assert_eq!(text(x.heaviside(&values).unwrap()), "[0.0, 0.5, 1.0, 0.0, NaN]");
        let x = Tensor::from([1.0, 0.0, -1.0, NAN, INF, 2.0]);
        let towards = Tensor::from([2.0, -1.0, -1.0, 1.0, 0.0, NAN]);
        let expected = "[1.0000001, -1e-45, -1.0, NaN, 3.4028235e38, NaN]";
        assert_eq!(text(x.nextafter(&towards).unwrap()), expected);
    }

    #[test]
    fn powers_and_rounded_numbers() {
        let (a, b) = (Tensor::from([2.0, -2.0, 300.0]), Tensor::from([3.0, 0.5, -300.0_f32]));
        let sum = a.logaddexp2(&b).unwrap();
        assert!(sum.allclose(&Tensor::from([3.584_962_5, 0.734_840_6, 300.0]), 1e-6, 0.0).unwrap());
        let low = Tensor::from([-INF]).logaddexp2(&Tensor::from([-INF])).unwrap();
        assert_eq!(low.to_vec(), [-INF]);
        assert_eq!(b.ldexp(&Tensor::from([1.0, 2.0, -1.0])).unwrap().to_vec(), [6.0, 2.0, -150.0]);
        let powers = Tensor::from([2, 3_i64]).float_power(&Tensor::from([-1, 2])).unwrap();
        assert_eq!(powers.to_vec(), [0.5, 9.0]);
        let x = Tensor::from([1.2345, -2.675, 1234.5, 0.125, NAN, INF]);
        assert_eq!(text(x.round_decimals(2)), "[1.23, -2.68, 1234.5, 0.12, NaN, inf]");
        let x = Tensor::from([1.2345, -2.675, 0.125_f64]);
        assert_eq!(x.round_decimals(2).to_vec(), [1.23, -2.68, 0.12]);
        let x = Tensor::from([1234.5, -1250.0, 1350.0]);
        assert_eq!(text(x.round_decimals(-2)), "[1200.0, -1200.0, 1400.0]");
        assert_eq!(Tensor::from([180.0_f64]).deg2rad().to_vec(), [std::f64::consts::PI]);
        assert_eq!(Tensor::from([std::f64::consts::PI]).rad2deg().to_vec(), [180.0]);
    }
}
