//! The partial inverse of max pooling.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::max_unpool::max_unpool;
use dendra_tensor::{Error, Float, Result, Shape, Tensor};

use super::image::{Sizes, axes};
use crate::context;

/// [`MaxUnpool`] over sequences `[N, C, L]`.
pub type MaxUnpool1d = MaxUnpool<1>;

/// [`MaxUnpool`] over images `[N, C, H, W]`.
pub type MaxUnpool2d = MaxUnpool<2>;

/// [`MaxUnpool`] over volumes `[N, C, D, H, W]`.
pub type MaxUnpool3d = MaxUnpool<3>;

/// A partial inverse of [`MaxPool`](super::MaxPool): writes each maximum to the
/// position at which
/// [`forward_with_indices`](super::MaxPool::forward_with_indices) found it, and
/// zeros everywhere else (Zeiler and Fergus, "Visualizing and understanding
/// convolutional networks", 2014). Use it as [`MaxUnpool1d`], [`MaxUnpool2d`]
/// or [`MaxUnpool3d`], with the settings of the pooling.
///
/// | | shape |
/// |---|---|
/// | input, indices | `[N, C, H, W]` |
/// | output | `[N, C, H′, W′]` |
///
/// with H′ = (H − 1)·stride − 2·padding + kernel_size unless the output size is
/// given. Sequences and volumes have one or three axes instead of H and W.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{MaxPool1d, MaxUnpool1d};
///
/// let x = Var::new(Tensor::from([[[3.0, 1.0, 2.0, 5.0, 4.0]]]));
/// let (y, indices) = MaxPool1d::new(2).forward_with_indices(&x)?;
/// let unpool = MaxUnpool1d::new(2);
/// assert_eq!(unpool.forward(&y, &indices, None)?.value().to_vec(), [3.0, 0.0, 0.0, 5.0]);
/// // Several sizes of the input give the same size of the output.
/// assert_eq!(*unpool.forward(&y, &indices, Some([5]))?.shape(), [1, 1, 5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Setters)]
pub struct MaxUnpool<const D: usize> {
    kernel_size: Sizes<D>,
    /// The distance between two windows.
    #[set(into, default = kernel_size)]
    stride: Sizes<D>,
    /// The number of elements added on both sides.
    #[set(into, default = 0)]
    padding: Sizes<D>,
}

impl<const D: usize> MaxUnpool<D> {
    /// Makes a layer for a pooling with windows of this size, a number or one
    /// for each axis. The stride is the window size unless it is set.
    pub fn new(kernel_size: impl Into<Sizes<D>>) -> Self {
        Self::with_defaults(kernel_size.into())
    }

    /// Writes the maxima to the positions of the indices, in an output of
    /// `output_size`, which differs from the formula by less than the stride.
    ///
    /// # Errors
    ///
    /// When the input has another number of axes, the indices have another
    /// shape or are out of range, or the output size differs too much.
    pub fn forward<T: Float>(
        &self,
        x: &Var<T>,
        indices: &Tensor<i64>,
        output_size: Option<[usize; D]>,
    ) -> Result<Var<T>> {
        self.size(x.shape(), output_size)
            .and_then(|size| max_unpool(x, indices, size))
            .map_err(|error| context::in_layer(error, None, self))
    }

    /// The output size: the given one, or that of the formula.
    fn size(&self, x: &Shape, asked: Option<[usize; D]>) -> Result<[usize; D]> {
        if x.len() != D + 1 && x.len() != D + 2 {
            return Err(Error::shape("", format!("expected [N, C, {}], got {x}", axes::<D>())));
        }
        let mut size = [0; D];
        for (axis, size) in size.iter_mut().enumerate() {
            let [kernel, stride, padding] =
                [self.kernel_size, self.stride, self.padding].map(|Sizes(all)| all[axis]);
            let length = x[x.len() - D + axis];
            let formula = || {
                let reach = length.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?;
                reach.checked_sub(padding.checked_mul(2)?)
            };
            let Some(formula) = formula() else {
                let message = format!("the output of an input of {x} has no elements");
                return Err(Error::shape("", message));
            };
            *size = asked.map_or(formula, |asked| asked[axis]);
            if size.abs_diff(formula) >= stride.max(1) {
                let message = format!(
                    "an output of {size} along axis {} differs from {formula} by the stride or \
                     more",
                    2 + axis
                );
                return Err(Error::argument("", message));
            }
        }
        Ok(size)
    }
}

impl<const D: usize> fmt::Display for MaxUnpool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaxUnpool{D}d {}", self.kernel_size)?;
        self.stride.describe("stride", self.kernel_size, f)?;
        self.padding.describe("padding", 0, f)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::{Ops, Rng};

    use super::*;
    use crate::layers::MaxPool2d;
    use crate::module::Module;

    #[test]
    fn gradients_are_right() {
        let x = Tensor::normal([2, 2, 5, 6], 0.0, 1.0, &mut Rng::seed(4));
        let pool = MaxPool2d::new((2, 3)).stride(2).padding((0, 1));
        let unpool = MaxUnpool2d::new((2, 3)).stride(2).padding((0, 1));
        let values = |v: &[Var<f64>]| pool.forward_with_indices(&v[0]).map(|(y, _)| y);
        check_gradient(values, std::slice::from_ref(&x)).unwrap();
        let (y, indices) = pool.forward_with_indices(&Var::new(x.clone())).unwrap();
        assert_eq!(pool.forward(&Var::new(x)).unwrap().value(), y.value());
        let pool = MaxPool2d::new(2);
        let (maxima, places) = pool.forward_with_indices(&y).unwrap();
        let back = |v: &[Var<f64>]| MaxUnpool2d::new(2).forward(&v[0], &places, Some([2, 3]));
        check_gradient(back, &[maxima.into_value()]).unwrap();
        let y = unpool.forward(&y, &indices, Some([5, 6])).unwrap();
        assert_eq!(*y.shape(), [2, 2, 5, 6]);
        assert_eq!(unpool.to_string(), "MaxUnpool2d 2×3, stride 2, padding 0×1");
    }

    #[test]
    fn wrong_inputs_are_told() {
        let x = Var::new(Tensor::<f32>::zeros([1, 1, 2, 2]));
        let indices = Tensor::zeros([1, 1, 2, 2]);
        let unpool = MaxUnpool2d::new(2);
        let refuse = |size| unpool.forward(&x, &indices, size).unwrap_err().to_string();
        assert_eq!(
            refuse(Some([4, 6])),
            "MaxUnpool2d 2×2: an output of 6 along axis 3 differs from 4 by the stride or more"
        );
        let flat = Var::new(Tensor::<f32>::zeros([2, 2]));
        let error = unpool.forward(&flat, &indices, None).unwrap_err().to_string();
        assert_eq!(error, "MaxUnpool2d 2×2: expected [N, C, H, W], got [2, 2]");
        // One sample without the batch axis.
        let sample = x.squeeze(0).unwrap();
        unpool.forward(&sample, &indices, None).unwrap_err();
        let y = unpool.forward(&sample, &indices.squeeze(0).unwrap(), None).unwrap();
        assert_eq!(*y.shape(), [1, 4, 4]);
        let far = Tensor::full([1, 1, 2, 2], 16);
        let error = unpool.forward(&x, &far, None).unwrap_err().to_string();
        assert!(error.contains("index 16 is out of range for the 16 elements"), "{error}");
        for unpool in [unpool.padding(9), unpool.stride(usize::MAX), unpool.padding(usize::MAX)] {
            unpool.forward(&x, &indices, None).unwrap_err();
        }
    }
}
