//! Arithmetic and reductions of integers. They have no gradient, so these are
//! plain methods; what does not fit the type wraps around, as in PyTorch.

use super::broadcast::zip;
use super::reduce::{forward, output_shape};
use crate::element::Integer;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident |$a:ident, $b:ident| $value:expr;)*) => {
        /// Functions of two integers that broadcast.
        impl<T: Integer> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            pub fn $name(&self, other: &Self) -> Result<Self> {
                let shape = self.shape().broadcast(other.shape(), stringify!($name))?;
                Ok(zip(self, other, &shape, |$a, $b| $value))
            }
        )*}
    };
}

binary! {
    /// The larger one.
    maximum |a, b| a.max(b);
    /// The smaller one.
    minimum |a, b| a.min(b);
    /// The bits that both have.
    bitwise_and |a, b| a & b;
    /// The bits that either has.
    bitwise_or |a, b| a | b;
    /// The bits that one has and the other has not.
    bitwise_xor |a, b| a ^ b;
}

macro_rules! reductions {
    ($(
        $(#[$doc:meta])* $axes:ident,
        $(#[$all_doc:meta])* $all:ident: $identity:ident $fold:expr;
    )*) => {
        /// Reductions.
        impl<T: Integer> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When an axis does not exist or is named twice.
            pub fn $axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
                output_shape(stringify!($axes), self.shape(), axes, keep)?;
                Ok(forward(self, axes, keep, T::$identity, $fold))
            }

            $(#[$all_doc])*
            pub fn $all(&self) -> Self {
                let axes: Vec<isize> = (0..self.rank() as isize).collect();
                forward(self, &axes, false, T::$identity, $fold)
            }
        )*}
    };
}

reductions! {
    /// The sum over some axes, which stay with the extent 1 or go.
    sum_axes,
    /// The sum of all elements, as a scalar.
    sum: ZERO |a: T, b: T| a.wrapping_add(b);
    /// The product over some axes.
    prod_axes,
    /// The product of all elements, as a scalar.
    prod: ONE |a: T, b: T| a.wrapping_mul(b);
    /// The maximum over some axes.
    max_axes,
    /// The largest element, as a scalar.
    max: LOWEST |a: T, b: T| a.max(b);
    /// The minimum over some axes.
    min_axes,
    /// The smallest element, as a scalar.
    min: HIGHEST |a: T, b: T| a.min(b);
}

impl<T: Integer> Tensor<T> {
    /// The absolute value.
    #[must_use]
    pub fn abs(&self) -> Self {
        self.map(|x| if x < T::ZERO { T::ZERO.wrapping_sub(x) } else { x })
    }

    /// The elements limited to `low ..= high`.
    #[must_use]
    pub fn clamp(&self, low: T, high: T) -> Self {
        self.map(|x| x.max(low).min(high))
    }

    /// All bits turned round.
    #[must_use]
    pub fn bitwise_not(&self) -> Self {
        self.map(|x| !x)
    }

    /// The quotient, rounded down.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn floor_divide(&self, divisor: &Self) -> Result<Self> {
        self.divided("floor_divide", divisor, |a, b| {
            let (quotient, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
            let down = rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO);
            if down { quotient.wrapping_sub(T::ONE) } else { quotient }
        })
    }

    /// The remainder of the division that rounds down; it has the sign of the
    /// divisor.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn remainder(&self, divisor: &Self) -> Result<Self> {
        self.divided("remainder", divisor, |a, b| {
            let rest = a.wrapping_rem(b);
            let other_side = rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO);
            if other_side { rest.wrapping_add(b) } else { rest }
        })
    }

    fn divided(&self, place: &str, divisor: &Self, f: impl Fn(T, T) -> T + Sync) -> Result<Self> {
        let shape = self.shape().broadcast(divisor.shape(), place)?;
        if divisor.count_nonzero() < divisor.len() {
            return Err(Error::argument(place, "a divisor is 0"));
        }
        Ok(zip(self, divisor, &shape, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_of_integers() {
        let x = Tensor::from([[1, -2, 3], [4, 5, -6_i64]]);
        assert_eq!(x.sum().item().unwrap(), 5);
        assert_eq!(x.sum_axes(&[0], false).unwrap().to_vec(), [5, 3, -3]);
        assert_eq!(*x.max_axes(&[1], true).unwrap().shape(), [2, 1]);
        assert_eq!((x.max().item().unwrap(), x.min().item().unwrap()), (5, -6));
        assert_eq!(x.prod_axes(&[-1], false).unwrap().to_vec(), [-6, -120]);
        assert_eq!(Tensor::from([200, 100_u8]).sum().item().unwrap(), 44);
        assert!(x.sum_axes(&[2], false).is_err());
    }

    #[test]
    fn arithmetic_of_integers() {
        let x = Tensor::from([7, -7, 7, -7, i64::MIN]);
        let divisor = Tensor::from([2, 2, -2, -2, -1]);
        assert_eq!(x.floor_divide(&divisor).unwrap().to_vec(), [3, -4, -4, 3, i64::MIN]);
        assert_eq!(x.remainder(&divisor).unwrap().to_vec(), [1, 1, -1, -1, 0]);
        assert_eq!(x.abs().to_vec(), [7, 7, 7, 7, i64::MIN]);
        assert_eq!(x.clamp(-3, 5).to_vec(), [5, -3, 5, -3, -3]);
        let error = x.remainder(&Tensor::scalar(0)).unwrap_err();
        assert_eq!(error.to_string(), "remainder: a divisor is 0");
        let (a, b) = (Tensor::from([0b1100_u8]), Tensor::from([0b1010]));
        assert_eq!(a.bitwise_and(&b).unwrap().to_vec(), [0b1000]);
        assert_eq!(a.bitwise_or(&b).unwrap().to_vec(), [0b1110]);
        assert_eq!(a.bitwise_xor(&b).unwrap().to_vec(), [0b0110]);
        assert_eq!(a.bitwise_not().to_vec(), [0b1111_0011]);
        assert_eq!(a.maximum(&Tensor::from([3, 99])).unwrap().to_vec(), [12, 99]);
        assert_eq!(a.minimum(&Tensor::from([3, 99])).unwrap().to_vec(), [3, 12]);
    }
}
