//! Functions of masks, and predicates of numbers.

use super::broadcast::{paired_shape, zip};
use super::reduce::{forward, output_shape};
use crate::element::{Float, Number};
use crate::error::Result;
use crate::tensor::Tensor;

impl Tensor<bool> {
    /// Whether both are true; they broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn logical_and(&self, other: &Self) -> Result<Self> {
        let shape = paired_shape::<bool, bool, bool>(self, other, "logical_and")?;
        Ok(zip(self, other, &shape, |a, b| a & b))
    }

    /// Whether at least one is true; they broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn logical_or(&self, other: &Self) -> Result<Self> {
        let shape = paired_shape::<bool, bool, bool>(self, other, "logical_or")?;
        Ok(zip(self, other, &shape, |a, b| a | b))
    }

    /// Whether exactly one is true; they broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn logical_xor(&self, other: &Self) -> Result<Self> {
        let shape = paired_shape::<bool, bool, bool>(self, other, "logical_xor")?;
        Ok(zip(self, other, &shape, |a, b| a ^ b))
    }

    /// Whether the element is false.
    #[must_use]
    pub fn logical_not(&self) -> Self {
        self.map(|x| !x)
    }

    /// Whether at least one element is true.
    pub fn any(&self) -> bool {
        self.count_nonzero() > 0
    }

    /// Whether every element is true.
    pub fn all(&self) -> bool {
        self.count_nonzero() == self.len()
    }

    /// Whether at least one element is true over some axes, which are kept with
    /// length 1 or removed.
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    pub fn any_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        output_shape("any_axes", self.shape(), axes, keep)?;
        Ok(forward(self, axes, keep, false, |a, b| a | b))
    }

    /// Whether every element is true over some axes, as
    /// [`any_axes`](Self::any_axes).
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    pub fn all_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        output_shape("all_axes", self.shape(), axes, keep)?;
        Ok(forward(self, axes, keep, true, |a, b| a & b))
    }

    /// 1 for true, 0 for false.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let weights: Tensor<f32> = Tensor::from([true, false]).cast();
    /// assert_eq!(weights.to_vec(), [1.0, 0.0]);
    /// ```
    #[must_use]
    pub fn cast<T: Number>(&self) -> Tensor<T> {
        self.map(|x| if x { T::ONE } else { T::ZERO })
    }
}

impl<T: Float> Tensor<T> {
    /// Whether the element is NaN.
    pub fn isnan(&self) -> Tensor<bool> {
        self.map(|x| x.is_nan())
    }

    /// Whether the element is ∞ or −∞.
    pub fn isinf(&self) -> Tensor<bool> {
        self.map(|x| !x.is_finite() && !x.is_nan())
    }

    /// Whether the element is neither infinite nor NaN.
    pub fn isfinite(&self) -> Tensor<bool> {
        self.map(|x| x.is_finite())
    }

    /// Whether |self − other| ≤ `absolute` + `relative` · |other|; infinities
    /// of the same sign are close (PyTorch's defaults are 1e-8 and 1e-5).
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn isclose(&self, other: &Self, relative: f64, absolute: f64) -> Result<Tensor<bool>> {
        let shape = paired_shape::<T, T, bool>(self, other, "isclose")?;
        let (relative, absolute) = (T::from_f64(relative), T::from_f64(absolute));
        Ok(zip(self, other, &shape, |a, b| {
            let near = (a - b).abs() <= absolute + relative * b.abs();
            a == b || (near && b.is_finite())
        }))
    }

    /// Whether all elements are close; see [`isclose`](Self::isclose).
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn allclose(&self, other: &Self, relative: f64, absolute: f64) -> Result<bool> {
        Ok(self.isclose(other, relative, absolute)?.all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_joined_and_reduced() {
        let a = Tensor::from([[true, true], [false, false]]);
        let b = Tensor::from([true, false]);
        assert_eq!(a.logical_and(&b).unwrap().to_vec(), [true, false, false, false]);
        assert_eq!(a.logical_or(&b).unwrap().to_vec(), [true, true, true, false]);
        assert_eq!(a.logical_xor(&b).unwrap().to_vec(), [false, true, true, false]);
        assert_eq!(b.logical_not().to_vec(), [false, true]);
        assert_eq!(a.any_axes(&[1], false).unwrap().to_vec(), [true, false]);
        assert_eq!(a.all_axes(&[0], true).unwrap().to_vec(), [false, false]);
        assert!(a.any() && !a.all());
        let nothing = Tensor::from([true]).narrow(0, 0, 0).unwrap();
        assert!(nothing.all() && !nothing.any());
    }

    #[test]
    fn what_numbers_are() {
        let inf = f32::INFINITY;
        let x = Tensor::from([1.0, f32::NAN, inf, -inf]);
        assert_eq!(x.isnan().to_vec(), [false, true, false, false]);
        assert_eq!(x.isinf().to_vec(), [false, false, true, true]);
        assert_eq!(x.isfinite().to_vec(), [true, false, false, false]);
        let y = Tensor::from([1.000_001, f32::NAN, inf, inf]);
        assert_eq!(x.isclose(&y, 1e-5, 1e-8).unwrap().to_vec(), [true, false, true, false]);
        assert!(!x.allclose(&y, 1e-5, 1e-8).unwrap());
    }
}
