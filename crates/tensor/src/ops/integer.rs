//! Arithmetic and reductions of integers. They have no gradient, so these are
//! plain methods. Results that do not fit the type wrap around, as in PyTorch.

use std::any::Any;

use super::broadcast::{paired_shape, zip};
use super::reduce::{extreme_shape, forward, output_shape};
use super::scan::running;
use crate::element::{Integer, Whole};
use crate::error::Result;
use crate::tensor::Tensor;

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident |$a:ident, $b:ident| $value:expr;)*) => {
        /// Functions of two integers, which broadcast.
        impl<T: Integer> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When the shapes do not broadcast.
            pub fn $name(&self, other: &Self) -> Result<Self> {
                let shape = paired_shape::<T, T, T>(self, other, stringify!($name))?;
                Ok(zip(self, other, &shape, |$a, $b| $value))
            }
        )*}
    };
}

binary! {
    /// The larger element.
    maximum |a, b| a.max(b);
    /// The smaller element.
    minimum |a, b| a.min(b);
    /// The bits that are set in both.
    bitwise_and |a, b| a & b;
    /// The bits that are set in at least one.
    bitwise_or |a, b| a | b;
    /// The bits that are set in exactly one.
    bitwise_xor |a, b| a ^ b;
}

impl<T: Whole> Tensor<T> {
    /// The elements as `i64`; nothing is copied if they already are.
    fn widened(&self) -> Tensor<i64> {
        match (self as &dyn Any).downcast_ref::<Tensor<i64>>() {
            Some(same) => same.clone(),
            None => self.map(T::to_i64),
        }
    }
}

/// Sums and products of integers and booleans. They are computed in 64 bits for
/// every element type, as in PyTorch. There is no mean; use
/// `x.cast::<f64>().mean()`.
impl<T: Whole> Tensor<T> {
    /// The sum over some axes, which are kept with length 1 or removed; for
    /// booleans, the number of true elements.
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::<u8>::ones([5000, 2]);
    /// assert_eq!(x.sum_axes(&[0], false).unwrap(), Tensor::from([5000, 5000_i64]));
    /// ```
    pub fn sum_axes(&self, axes: &[isize], keep: bool) -> Result<Tensor<i64>> {
        output_shape("sum_axes", self.shape(), axes, keep)?;
        Ok(forward(&self.widened(), axes, keep, 0, i64::wrapping_add))
    }

    /// The sum of all elements, as a scalar.
    pub fn sum(&self) -> Tensor<i64> {
        forward(&self.widened(), &self.shape().all_axes(), false, 0, i64::wrapping_add)
    }

    /// The product over some axes.
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    pub fn prod_axes(&self, axes: &[isize], keep: bool) -> Result<Tensor<i64>> {
        output_shape("prod_axes", self.shape(), axes, keep)?;
        Ok(forward(&self.widened(), axes, keep, 1, i64::wrapping_mul))
    }

    /// The product of all elements, as a scalar.
    pub fn prod(&self) -> Tensor<i64> {
        forward(&self.widened(), &self.shape().all_axes(), false, 1, i64::wrapping_mul)
    }

    /// The running sum along an axis.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn cumsum(&self, axis: isize) -> Result<Tensor<i64>> {
        self.shape().along("cumsum", axis)?;
        Ok(running(&self.widened(), axis, i64::wrapping_add))
    }

    /// The running product along an axis.
    ///
    /// # Errors
    ///
    /// When the axis does not exist.
    pub fn cumprod(&self, axis: isize) -> Result<Tensor<i64>> {
        self.shape().along("cumprod", axis)?;
        Ok(running(&self.widened(), axis, i64::wrapping_mul))
    }
}

macro_rules! extremes {
    ($(
        $(#[$doc:meta])* $axes:ident,
        $(#[$all_doc:meta])* $all:ident: $identity:ident $fold:expr;
    )*) => {
        /// The largest and the smallest element.
        impl<T: Integer> Tensor<T> {$(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// When an axis does not exist, is named twice or has no elements.
            pub fn $axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
                extreme_shape(stringify!($axes), self.shape(), axes, keep)?;
                Ok(forward(self, axes, keep, T::$identity, $fold))
            }

            $(#[$all_doc])*
            ///
            /// # Errors
            ///
            /// When there are no elements.
            pub fn $all(&self) -> Result<Self> {
                let axes = self.shape().all_axes();
                extreme_shape(stringify!($all), self.shape(), &axes, false)?;
                Ok(forward(self, &axes, false, T::$identity, $fold))
            }
        )*}
    };
}

extremes! {
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

    /// All bits inverted.
    #[must_use]
    pub fn bitwise_not(&self) -> Self {
        self.map(|x| !x)
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
        let extremes = [x.max(), x.min()].map(|extreme| extreme.unwrap().item().unwrap());
        assert_eq!(extremes, [5, -6]);
        assert_eq!(x.prod_axes(&[-1], false).unwrap().to_vec(), [-6, -120]);
        assert!(x.sum_axes(&[2], false).is_err());
    }

    /// Expected values: PyTorch's, whose result type is `int64` for all of
    /// these.
    #[test]
    fn sums_and_products_are_computed_in_64_bits() {
        let many = Tensor::<u8>::ones([5000]);
        assert_eq!(many.sum().item().unwrap(), 5000);
        assert_eq!(many.cumsum(0).unwrap().to_vec()[4999], 5000);
        let x = Tensor::from([[i32::MAX, 2], [i32::MAX, 3]]);
        assert_eq!(x.sum_axes(&[0], false).unwrap().to_vec(), [4_294_967_294, 5]);
        assert_eq!(x.prod_axes(&[1], false).unwrap().to_vec(), [4_294_967_294, 6_442_450_941]);
        assert_eq!(x.cumprod(1).unwrap().to_vec()[3], 6_442_450_941);
        assert_eq!(Tensor::from([100, 100_i8]).prod().item().unwrap(), 10_000);
        assert_eq!(Tensor::from([u64::MAX]).sum().item().unwrap(), -1);
        let mask = Tensor::from([[true, true], [false, true]]);
        assert_eq!(mask.sum().item().unwrap(), 3);
        assert_eq!(mask.sum_axes(&[0], true).unwrap(), Tensor::from([[1, 2]]));
        assert_eq!(mask.cumsum(1).unwrap(), Tensor::from([[1, 2], [0, 1]]));
        assert_eq!(mask.prod_axes(&[1], false).unwrap().to_vec(), [1, 0]);
    }

    #[test]
    fn an_empty_tensor_has_a_sum_but_no_extreme() {
        let x = Tensor::<i64>::zeros([0, 3]);
        assert_eq!(x.sum_axes(&[0], false).unwrap().to_vec(), [0; 3]);
        assert_eq!(x.prod().item().unwrap(), 1);
        let error = x.max_axes(&[0], false).unwrap_err().to_string();
        assert_eq!(error, "max_axes: axis 0 of [0, 3] has no elements");
        assert!(x.min_axes(&[0, 1], true).is_err() && x.max().is_err() && x.min().is_err());
        assert!(x.max_axes(&[1], false).unwrap().is_empty());
    }

    #[test]
    fn arithmetic_of_integers() {
        let x = Tensor::from([7, -7, 7, -7, i64::MIN]);
        assert_eq!(x.abs().to_vec(), [7, 7, 7, 7, i64::MIN]);
        assert_eq!(x.clamp(-3, 5).to_vec(), [5, -3, 5, -3, -3]);
        let (a, b) = (Tensor::from([0b1100_u8]), Tensor::from([0b1010]));
        assert_eq!(a.bitwise_and(&b).unwrap().to_vec(), [0b1000]);
        assert_eq!(a.bitwise_or(&b).unwrap().to_vec(), [0b1110]);
        assert_eq!(a.bitwise_xor(&b).unwrap().to_vec(), [0b0110]);
        assert_eq!(a.bitwise_not().to_vec(), [0b1111_0011]);
        assert_eq!(a.maximum(&Tensor::from([3, 99])).unwrap().to_vec(), [12, 99]);
        assert_eq!(a.minimum(&Tensor::from([3, 99])).unwrap().to_vec(), [3, 12]);
    }
}
