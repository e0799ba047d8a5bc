//! More arithmetic of integers: shifts, powers, divisors.

use super::broadcast::{paired_shape, zip};
use crate::element::Integer;
use crate::error::Result;
use crate::tensor::Tensor;

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $function:expr;)*) => {
        /// Shifts, powers and divisors of integers that broadcast; results that
        /// do not fit the type wrap around.
        impl<T: Integer> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            pub fn $name(&self, other: &Self) -> Result<Self> {
                let shape = paired_shape::<T, T, T>(self, other, stringify!($name))?;
                Ok(zip(self, other, &shape, $function))
            }
        )*}
    };
}

binary! {
    /// The bits shifted to the left by `other`; 0 where `other` is negative or
    /// at least the number of bits.
    bitwise_left_shift T::shift_left;
    /// The bits shifted to the right by `other`, filled with copies of the
    /// sign; only these where `other` is negative or at least the number of
    /// bits.
    bitwise_right_shift T::shift_right;
    /// The greatest common divisor; 0 when both are 0.
    gcd greatest_divisor;
    /// The least common multiple; 0 when one is 0.
    lcm |a, b| {
        if a == T::ZERO || b == T::ZERO {
            return T::ZERO;
        }
        magnitude(a.wrapping_div(greatest_divisor(a, b)).wrapping_mul(b))
    };
    /// `self` to the power of `other`; for negative powers the result is
    /// rounded towards 0, and that of 0 is 0.
    pow power;
}

fn magnitude<T: Integer>(x: T) -> T {
    if x < T::ZERO { T::ZERO.wrapping_sub(x) } else { x }
}

/// Euclid's algorithm.
fn greatest_divisor<T: Integer>(mut a: T, mut b: T) -> T {
    while b != T::ZERO {
        (a, b) = (b, a.wrapping_rem(b));
    }
    magnitude(a)
}

/// Computed by repeated squaring.
fn power<T: Integer>(mut base: T, exponent: T) -> T {
    let minus = T::ZERO.wrapping_sub(T::ONE);
    if exponent < T::ZERO && base != T::ONE && base != minus {
        return T::ZERO;
    }
    let (mut rest, mut power) = (magnitude(exponent), T::ONE);
    while rest != T::ZERO {
        if rest & T::ONE == T::ONE {
            power = power.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        rest = rest.shift_right(T::ONE);
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: PyTorch's.
    #[test]
    fn shifts_powers_and_divisors() {
        let x = Tensor::from([-5, 7, 1, -128, 127_i8]);
        let by = Tensor::from([1, 2, 8, 3, 7]);
        assert_eq!(x.bitwise_left_shift(&by).unwrap().to_vec(), [-10, 28, 0, 0, -128]);
        assert_eq!(x.bitwise_right_shift(&by).unwrap().to_vec(), [-3, 1, 0, -16, 0]);
        let (x, by) = (Tensor::from([-1, 5]), Tensor::from([-1, 64_i64]));
        assert_eq!(x.bitwise_left_shift(&by).unwrap().to_vec(), [0, 0]);
        assert_eq!(x.bitwise_right_shift(&by).unwrap().to_vec(), [-1, 0]);
        let bytes = Tensor::from([200, 3_u8]).bitwise_right_shift(&Tensor::from([9, 1]));
        assert_eq!(bytes.unwrap().to_vec(), [0, 1]);

        let (a, b) = (Tensor::from([-4, 0, 6, -9_i64]), Tensor::from([6, 0, 0, -6]));
        assert_eq!(a.gcd(&b).unwrap().to_vec(), [2, 0, 6, 3]);
        assert_eq!(a.lcm(&b).unwrap().to_vec(), [12, 0, 0, 18]);
        assert_eq!(Tensor::from([4_u8]).gcd(&Tensor::from([6])).unwrap().to_vec(), [2]);

        let (base, exponent) = (Tensor::from([2, -3, 0_i64]), Tensor::from([3, 3, 0]));
        assert_eq!(base.pow(&exponent).unwrap().to_vec(), [8, -27, 1]);
        let (base, exponent) = (Tensor::from([2, 1, -1, 0_i64]), Tensor::from([-1, -1, -3, -2]));
        assert_eq!(base.pow(&exponent).unwrap().to_vec(), [0, 1, -1, 0]);
        assert_eq!(Tensor::from([2_u8]).pow(&Tensor::from([9])).unwrap().to_vec(), [0]);
        assert!(a.gcd(&Tensor::from([1, 2])).is_err());
    }
}
