//! Comparison within a tolerance, by the traits of the `approx` crate.

use approx::{AbsDiffEq, RelativeEq, UlpsEq};

use crate::element::Element;
use crate::tensor::Tensor;

/// Whether both tensors have the same shape and `equal` holds for each pair of
/// their elements.
fn all<T: Element>(a: &Tensor<T>, b: &Tensor<T>, equal: impl Fn(&T, &T) -> bool) -> bool {
    a.shape() == b.shape() && a.to_vec().iter().zip(&b.to_vec()).all(|(a, b)| equal(a, b))
}

/// Two tensors are approximately equal when they have the same shape and each
/// pair of elements is within the tolerance. NaN is equal to nothing.
///
/// ```
/// use approx::{assert_abs_diff_eq, assert_relative_eq};
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 4.0, 9.0_f64]);
/// assert_abs_diff_eq!(x.sqrt(), Tensor::from([1.0, 2.0, 3.0]), epsilon = 1e-12);
/// assert_relative_eq!(x.sqrt().square(), x, max_relative = 1e-12);
/// ```
impl<T> AbsDiffEq for Tensor<T>
where
    T: Element + AbsDiffEq,
    T::Epsilon: Clone,
{
    type Epsilon = T::Epsilon;

    fn default_epsilon() -> T::Epsilon {
        T::default_epsilon()
    }

    fn abs_diff_eq(&self, other: &Self, epsilon: T::Epsilon) -> bool {
        all(self, other, |a, b| a.abs_diff_eq(b, epsilon.clone()))
    }
}

impl<T> RelativeEq for Tensor<T>
where
    T: Element + RelativeEq,
    T::Epsilon: Clone,
{
    fn default_max_relative() -> T::Epsilon {
        T::default_max_relative()
    }

    fn relative_eq(&self, other: &Self, epsilon: T::Epsilon, max_relative: T::Epsilon) -> bool {
        all(self, other, |a, b| a.relative_eq(b, epsilon.clone(), max_relative.clone()))
    }
}

impl<T> UlpsEq for Tensor<T>
where
    T: Element + UlpsEq,
    T::Epsilon: Clone,
{
    fn default_max_ulps() -> u32 {
        T::default_max_ulps()
    }

    fn ulps_eq(&self, other: &Self, epsilon: T::Epsilon, max_ulps: u32) -> bool {
        all(self, other, |a, b| a.ulps_eq(b, epsilon.clone(), max_ulps))
    }
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, relative_eq, ulps_eq};

    use crate::tensor::Tensor;

    #[test]
    fn every_element_and_the_shape_count() {
        let x = Tensor::from([1.0_f32, 1e6]);
        let next = Tensor::from([1.0_f32, 1e6_f32.next_up()]);
        assert!(ulps_eq!(x, next, max_ulps = 1) && relative_eq!(x, next));
        assert!(abs_diff_eq!(x, next, epsilon = 0.1) && !abs_diff_eq!(x, next, epsilon = 0.01));
        assert!(!ulps_eq!(x, Tensor::from([1.0_f32, 1.1e6]), max_ulps = 1));
        assert!(!relative_eq!(x, Tensor::from([1.1_f32, 1e6])));
        assert!(!abs_diff_eq!(x, x.reshape([2, 1]).unwrap()));
        let nan = Tensor::from([f32::NAN]);
        assert!(!abs_diff_eq!(nan, nan) && abs_diff_eq!(Tensor::from([3_i64]), [3].into()));
    }

    #[test]
    fn strided_tensors_are_compared_by_index() {
        let x = Tensor::from([[1.0, 2.0], [3.0, 4.0_f64]]);
        let transposed = Tensor::from([[1.0, 3.0], [2.0, 4.0]]).transpose(0, 1).unwrap();
        assert!(abs_diff_eq!(x, transposed) && !abs_diff_eq!(x, x.transpose(0, 1).unwrap()));
    }
}
