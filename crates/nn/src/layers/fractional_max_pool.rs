//! Max pooling with random distances between windows.

use std::fmt;

use dendra_autograd::{AnyTensor, Function, Var};
use dendra_derive::Parameters;
use dendra_tensor::ops::Attributes;
use dendra_tensor::ops::fractional_max_pool::fractional_max_pool_with_indices;
use dendra_tensor::ops::lifted::batched;
use dendra_tensor::{Error, Float, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::image::{Sizes, axes, check_sample};
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// [`FractionalMaxPool`] over images `[N, C, H, W]`.
pub type FractionalMaxPool2d = FractionalMaxPool<2>;

/// [`FractionalMaxPool`] over volumes `[N, C, D, H, W]`.
pub type FractionalMaxPool3d = FractionalMaxPool<3>;

/// The largest element of each window. The distances between the windows are
/// random, so that an input can shrink by a factor below 2 (Graham, "Fractional
/// max-pooling", 2014). Use it as [`FractionalMaxPool2d`] or
/// [`FractionalMaxPool3d`].
///
/// In training, the distances are drawn for each sample and channel. Otherwise
/// they are those of the random number ½; PyTorch draws them in evaluation too.
///
/// ```
/// use dendra_nn::autograd::Tape;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{FractionalMaxPool2d, Module};
///
/// let layer = FractionalMaxPool2d::ratio(2, [0.7, 0.7]);
/// let x = Tape::training(42, 0).input(Tensor::<f32>::zeros([5, 3, 10, 10]));
/// assert_eq!(*layer.forward(&x)?.shape(), [5, 3, 7, 7]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct FractionalMaxPool<const D: usize> {
    kernel_size: Sizes<D>,
    output: Output<D>,
}

/// The size of the output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
enum Output<const D: usize> {
    Size(Sizes<D>),
    Ratio([f64; D]),
}

/// An [`Output`] as it is stored in files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Size(Vec<usize>),
    Ratio(Vec<f64>),
}

impl<const D: usize> From<Output<D>> for Stored {
    fn from(output: Output<D>) -> Self {
        match output {
            Output::Size(size) => Self::Size(size.into()),
            Output::Ratio(ratio) => Self::Ratio(ratio.to_vec()),
        }
    }
}

impl<const D: usize> TryFrom<Stored> for Output<D> {
    type Error = String;

    fn try_from(stored: Stored) -> std::result::Result<Self, String> {
        Ok(match stored {
            Stored::Size(size) => Self::Size(size.try_into()?),
            Stored::Ratio(ratio) => {
                let refuse = |ratio| format!("expected {D} ratios, got {ratio:?}");
                Self::Ratio(ratio.try_into().map_err(refuse)?)
            }
        })
    }
}

impl<const D: usize> FractionalMaxPool<D> {
    /// Windows of `kernel_size` with outputs of `output_size`, each a number or
    /// one for each axis.
    pub fn size(kernel_size: impl Into<Sizes<D>>, output_size: impl Into<Sizes<D>>) -> Self {
        Self { kernel_size: kernel_size.into(), output: Output::Size(output_size.into()) }
    }

    /// Windows of `kernel_size` with outputs of the size of the input times a
    /// ratio below 1 for each axis, rounded down.
    pub fn ratio(kernel_size: impl Into<Sizes<D>>, output_ratio: [f64; D]) -> Self {
        Self { kernel_size: kernel_size.into(), output: Output::Ratio(output_ratio) }
    }

    /// The output size for an input with these axes after the channels.
    fn output_size(&self, input: &[usize]) -> Result<[usize; D]> {
        match self.output {
            Output::Size(size) => Ok(size.0),
            Output::Ratio(ratio) if ratio.iter().all(|ratio| *ratio > 0.0 && *ratio < 1.0) => {
                Ok(std::array::from_fn(|axis| (input[axis] as f64 * ratio[axis]) as usize))
            }
            Output::Ratio(ratio) => {
                let message = format!("the output ratio must be between 0 and 1, got {ratio:?}");
                Err(Error::argument(name::<D>(), message))
            }
        }
    }

    /// Like [`Module::forward`], with the random numbers `[N, C, D]` that
    /// determine the positions of the windows. Also returns the indices of the
    /// values; see [`fractional_max_pool_with_indices`].
    ///
    /// # Errors
    ///
    /// When the windows do not fit the input, or the random numbers have
    /// another shape.
    pub fn forward_with_samples<T: Float>(
        &self,
        x: &Var<T>,
        samples: &Tensor<T>,
    ) -> Result<(Var<T>, Tensor<i64>)> {
        self.pooled(x, samples).map_err(|error| context::in_layer(error, None, self))
    }

    fn pooled<T: Float>(&self, x: &Var<T>, samples: &Tensor<T>) -> Result<(Var<T>, Tensor<i64>)> {
        if x.shape().len() != D + 2 {
            let message = format!("expected [N, C, {}], got {}", axes::<D>(), x.shape());
            return Err(Error::shape("", message));
        }
        let output = self.output_size(&x.shape()[2..])?;
        fractional_max_pool_with_indices(x, self.kernel_size.0, output, samples)
    }
}

fn name<const D: usize>() -> String {
    format!("FractionalMaxPool{D}d")
}

own_settings!(FractionalMaxPool<D> { const D: usize }: |this, input| {
    let name = name::<D>();
    check_sample::<D>(&name, input)?;
    let output = this.output_size(&input[1..])?;
    for axis in 0..D {
        let (kernel, windows, length) = (this.kernel_size.0[axis], output[axis], input[1 + axis]);
        if kernel == 0 || windows == 0 || kernel > length || windows - 1 > length - kernel {
            let message = format!("{windows} windows of {kernel} do not fit {input}");
            return Err(Error::argument(name, message));
        }
    }
    Ok([input[0]].into_iter().chain(output).collect::<Shape>())
});

/// In evaluation the random numbers are all 0.5. The indices of the maxima
/// depend on the data, so a trace records the layer as one function.
impl<const D: usize> Function for FractionalMaxPool<D> {
    fn name(&self) -> &'static str {
        match D {
            2 => "fractional_max_pool2d",
            _ => "fractional_max_pool3d",
        }
    }

    fn attributes(&self) -> Attributes {
        let kernel_size = ("kernel_size", self.kernel_size.0.into());
        vec![
            kernel_size,
            match self.output {
                Output::Size(size) => ("output_size", size.0.into()),
                Output::Ratio(ratio) => ("output_ratio", ratio[..].into()),
            },
        ]
    }

    fn apply(&self, inputs: &[AnyTensor]) -> Result<AnyTensor> {
        match inputs {
            [AnyTensor::F32(x)] => Ok(self.forward(&Var::new(x.clone()))?.into_value().into()),
            [AnyTensor::F64(x)] => Ok(self.forward(&Var::new(x.clone()))?.into_value().into()),
            _ => Err(Error::argument(name::<D>(), "expected one tensor of floats")),
        }
    }
}

impl<T: Float, const D: usize> Module<T> for FractionalMaxPool<D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        if let Some(tape) = x.tape().filter(|tape| tape.is_tracing()) {
            return Ok(tape.input(tape.call(*self, &[x.value()])?));
        }
        let pooled = |x: &Var<T>| {
            let planes = x.shape().get(..2).unwrap_or_default().iter().copied();
            let shape: Shape = planes.chain([D]).collect();
            let samples = match x.tape().filter(|tape| tape.is_training()) {
                Some(tape) => Tensor::uniform(shape, 0.0, 1.0, &mut tape.random_stream()),
                None => Tensor::full(shape, T::from_f64(0.5)),
            };
            Ok(self.pooled(x, &samples)?.0)
        };
        batched(x, D + 2, pooled).map_err(|error| context::in_layer(error, None, self))
    }
}

impl<const D: usize> fmt::Display for FractionalMaxPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name::<D>(), self.kernel_size)?;
        match self.output {
            Output::Size(size) => write!(f, " to {size}"),
            Output::Ratio(ratio) => write!(f, " by {ratio:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::Sequential;

    /// PyTorch 2.15: `F.fractional_max_pool2d(x, 2, output_size, _random_samples=samples,
    /// return_indices=True)` of `x = torch.arange(n) ** 2 % 29`.
    #[test]
    fn windows_are_those_of_pytorch() {
        let x = Tensor::<f64>::from_fn([1, 2, 7, 6], |i| (i * i % 29) as f64);
        let samples = Tensor::from([[[0.3, 0.8], [0.95, 0.05]]]);
        let layer = FractionalMaxPool2d::size(2, (4, 3));
        let (y, indices) = layer.forward_with_samples(&Var::new(x), &samples).unwrap();
        assert_eq!(
            y.value().to_vec(),
            [
                20.0, 23.0, 25.0, 28.0, 23.0, 28.0, 25.0, 23.0, 20.0, 20.0, 23.0, 28.0, 24.0, 24.0,
                28.0, 23.0, 20.0, 25.0, 23.0, 25.0, 28.0, 23.0, 28.0, 25.0
            ]
        );
        assert_eq!(
            indices.to_vec(),
            [
                7, 9, 5, 12, 20, 17, 24, 20, 22, 36, 38, 41, 0, 3, 4, 7, 9, 11, 25, 21, 28, 36, 33,
                40
            ]
        );
        let x = Tensor::<f64>::from_fn([1, 1, 4, 5, 6], |i| (i * i % 29) as f64);
        let samples = Tensor::from([[[0.3, 0.8, 0.6]]]);
        let layer = FractionalMaxPool3d::size(2, (2, 3, 3));
        let (y, indices) = layer.forward_with_samples(&Var::new(x), &samples).unwrap();
        assert_eq!(
            y.value().to_vec(),
            [
                20.0, 23.0, 28.0, 28.0, 24.0, 28.0, 25.0, 23.0, 25.0, 23.0, 28.0, 28.0, 24.0, 28.0,
                28.0, 23.0, 25.0, 25.0
            ]
        );
        assert_eq!(
            indices.to_vec(),
            [7, 9, 41, 12, 45, 17, 24, 20, 53, 67, 99, 70, 103, 75, 70, 78, 111, 82]
        );
    }

    #[test]
    fn distances_are_drawn_in_training_alone() {
        let builder = Sequential::input([2, 9, 9]).layer(FractionalMaxPool2d::ratio(2, [0.5, 0.7]));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 4, 6]);
        let x = Tensor::normal([3, 2, 9, 9], 0.0, 1.0, &mut Rng::seed(1));
        let run = |x| model.forward(&x).unwrap().into_value();
        let training = |step| run(Tape::training(1, step).input(x.clone()));
        assert_eq!(training(0), training(0));
        assert_ne!(training(0), training(1));
        assert_eq!(run(Var::new(x.clone())), run(Tape::evaluation().input(x.clone())));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let message = |layer: FractionalMaxPool2d| {
            let builder = Sequential::input([2, 4, 5]).layer(layer);
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            message(FractionalMaxPool2d::size(2, 4)),
            "layer 0 (FractionalMaxPool2d): 4 windows of 2 do not fit [2, 4, 5]"
        );
        assert!(message(FractionalMaxPool2d::ratio(2, [0.5, 1.0])).contains("between 0 and 1"));
        assert!(message(FractionalMaxPool2d::size(0, 2)).contains("windows of 0"));
        let x = Var::new(Tensor::<f32>::zeros([1, 2, 4, 5]));
        let layer = FractionalMaxPool2d::size(2, 3);
        let error = layer.forward_with_samples(&x, &Tensor::zeros([2, 2])).unwrap_err().to_string();
        assert!(error.contains("expected samples [1, 2, 2], got [2, 2]"), "{error}");
        let error = layer.forward_with_samples(&x, &Tensor::full([1, 2, 2], 1.5)).unwrap_err();
        assert!(error.to_string().contains("expected samples from 0 to 1, got 1.5"));
    }
}
