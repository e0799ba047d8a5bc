//! Functions of the values along an axis.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::ops::lifted::batched;
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::super::image::check_sample;
use super::{defaults, with_settings};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

with_settings! {
    /// exp(x) divided by its sum along an axis. The default is the last axis.
    ///
    /// For training, use [`LogSoftmax`] or a loss of logits, which do not
    /// underflow.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Softmax, Module};
    ///
    /// let y = Softmax::default().forward(&Var::new(Tensor::from([[5.0, 5.0, 5.0, 5.0]])))?;
    /// assert_eq!(y.value().to_vec(), [0.25; 4]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    Softmax {
        /// The axis; the batch is axis 0, and −1 is the last one.
        axis: isize
    }
    infer |this, input| axis_of("Softmax", this.axis, input);
    forward |x| x.softmax(axis);

    /// The logarithm of the softmax along an axis. The default is the last axis.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{LogSoftmax, Module};
    ///
    /// let y = LogSoftmax::default().forward(&Var::new(Tensor::from([[1000.0, 0.0]])))?;
    /// assert_eq!(y.value().to_vec(), [0.0, -1000.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    LogSoftmax {
        /// The axis; the batch is axis 0, and −1 is the last one.
        axis: isize
    }
    infer |this, input| axis_of("LogSoftmax", this.axis, input);
    forward |x| x.log_softmax(axis);

    /// The softmax of −x along an axis. The default is the last axis.
    Softmin {
        /// The axis; the batch is axis 0, and −1 is the last one.
        axis: isize
    }
    infer |this, input| axis_of("Softmin", this.axis, input);
    forward |x| x.softmin(axis);

    /// The first half of an axis times the logistic function of the second half
    /// (Dauphin et al., "Language modeling with gated convolutional networks",
    /// 2017). The axis must have an even length. The default is the last axis.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{GLU, Module};
    ///
    /// let y = GLU::default().forward(&Var::new(Tensor::from([[3.0, 4.0, 0.0, 0.0]])))?;
    /// assert_eq!(y.value().to_vec(), [1.5, 2.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    GLU {
        /// The axis; the batch is axis 0, and −1 is the last one.
        axis: isize
    }
    infer |this, input| {
        axis_of("GLU", this.axis, input)?;
        let index = match this.axis {
            axis if axis < 0 => (axis + input.len() as isize) as usize,
            axis => (axis as usize).wrapping_sub(1),
        };
        match input.get(index) {
            Some(size) if size.is_multiple_of(2) => {
                let mut output = input.to_vec();
                output[index] /= 2;
                Ok(output.into())
            }
            _ => {
                let message = format!("axis {} of a batch of {input} has an odd length", this.axis);
                Err(Error::shape("GLU", message))
            }
        }
    };
    forward |x| x.glu(axis);
}

defaults! {
    Softmax(-1);
    LogSoftmax(-1);
    Softmin(-1);
    GLU(-1);
}

/// The softmax over the channels of each pixel of images `[N, C, H, W]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize)]
pub struct Softmax2d;

own_settings!(Softmax2d: |_this, input| {
    check_sample::<2>("Softmax2d", input).map(|()| input.clone())
});

impl<T: Float> Module<T> for Softmax2d {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let softmax = |x: &Var<T>| {
            let sample = x.shape().get(1..).unwrap_or_default();
            check_sample::<2>("Softmax2d", &sample.into())?;
            x.softmax(1)
        };
        batched(x, 4, softmax).map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for Softmax2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Softmax2d")
    }
}

/// Returns the shape of an input without the batch axis if the batch has
/// `axis`.
pub(super) fn axis_of(context: &str, axis: isize, input: &Shape) -> Result<Shape> {
    let rank = input.len() as isize + 1;
    if (-rank..rank).contains(&axis) {
        return Ok(input.clone());
    }
    let message = format!("there is no axis {axis} in a batch of {input}");
    Err(Error::shape(context, message))
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn glu_halves_an_axis() {
        for (axis, expected) in [(1, [2, 3, 6]), (-1, [4, 3, 3])] {
            let model = Sequential::input([4, 3, 6]).glu(axis).build(&mut Rng::seed(0)).unwrap();
            assert_eq!(*model.output_shape(), expected);
            let y = model.forward(&Var::new(Tensor::zeros([2, 4, 3, 6]))).unwrap();
            assert_eq!(y.shape()[1..], expected);
        }
        for axis in [0, 2, -2, 5] {
            let error = Sequential::input([4, 3, 6]).glu(axis).build(&mut Rng::seed(0));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("layer 0 (GLU): "), "{error}");
        }
    }

    #[test]
    fn softmax2d_is_over_the_channels() {
        let x = Var::new(Tensor::<f64>::normal([2, 3, 4, 5], 0.0, 1.0, &mut Rng::seed(0)));
        let sums = Softmax2d.forward(&x).unwrap().value().sum_axes(&[1], false).unwrap();
        assert!(sums.to_vec().iter().all(|sum| (sum - 1.0).abs() < 1e-12));
        assert!(Softmax2d.forward(&Var::new(Tensor::<f32>::zeros([3]))).is_err());
    }
}
