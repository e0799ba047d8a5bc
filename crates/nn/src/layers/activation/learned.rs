//! Activations with a learned or random slope for negative values.

use std::fmt;

use dendra_autograd::{Param, Tape, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, own_settings};

/// x where it is positive, else weight · x with a trained weight (He et al.,
/// "Delving deep into rectifiers", 2015). There is one weight for all values,
/// or one for each channel (axis 1). It is initialised with 0.25. Exclude it
/// from weight decay, which would change the layer into ReLU.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Module, PReLU};
///
/// let layer = PReLU::new(1).init(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::from([-4.0, 3.0])))?;
/// assert_eq!(y.value().to_vec(), [-1.0, 3.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct PReLU<T: Float = f32> {
    /// The slopes for negative x, of shape `[num_parameters]`.
    pub weight: Param<T>,
}

impl PReLU {
    /// Settings of a layer with this many slopes: 1 or the number of channels.
    pub fn new(num_parameters: usize) -> PReLUSettings {
        PReLUSettings::with_defaults(num_parameters)
    }
}

/// The settings of a [`PReLU`] layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct PReLUSettings {
    num_parameters: usize,
    /// The initial value of the slopes.
    #[set(default = 0.25)]
    #[serde(rename = "init")]
    slope: f64,
}

initialised_by!(PReLUSettings => PReLU, any T: PReLU<T>);

impl Settings for PReLUSettings {
    type Layer<T: Float> = PReLU<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        match (self.num_parameters, input.first()) {
            (1, _) => Ok(input.clone()),
            (count, Some(&channels)) if count == channels => Ok(input.clone()),
            (count, _) => {
                let message = format!("{count} slopes do not fit the channels of {input}");
                Err(Error::shape("PReLU", message))
            }
        }
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<PReLU<T>> {
        let fans = Fans { fan_in: 1, fan_out: 1 };
        let init = Init::Constant(self.slope);
        Ok(PReLU { weight: source.param(init, [self.num_parameters], fans, &"PReLU")? })
    }
}

impl<T: Float> Module<T> for PReLU<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        x.prelu(&self.weight.on(x))
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))
    }
}

impl<T: Float> fmt::Display for PReLU<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PReLU {}", self.weight.value().len())
    }
}

/// x where it is positive, else a · x. In training each a is drawn uniformly
/// from `lower ..= upper`; otherwise a is their mean (Xu et al., "Empirical
/// evaluation of rectified activations in convolutional network", 2015). The
/// defaults are 1/8 and 1/3.
///
/// ```
/// use dendra_nn::autograd::{Tape, Var};
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Module, RReLU};
///
/// let layer = RReLU::new(0.25, 0.75)?;
/// let y = layer.forward(&Var::new(Tensor::from([-4.0, 3.0])))?;
/// assert_eq!(y.value().to_vec(), [-2.0, 3.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct RReLU {
    lower: f64,
    upper: f64,
}

impl RReLU {
    /// Makes a layer with slopes from `lower` to `upper`.
    ///
    /// # Errors
    ///
    /// When a slope is not finite, or `lower` is above `upper`.
    pub fn new(lower: f64, upper: f64) -> Result<Self> {
        let layer = Self { lower, upper };
        layer.check()?;
        Ok(layer)
    }

    fn check(&self) -> Result<()> {
        let &Self { lower, upper } = self;
        if lower.is_finite() && upper.is_finite() && lower <= upper {
            return Ok(());
        }
        let message = format!("expected finite slopes, lower ≤ upper, got {lower} and {upper}");
        Err(Error::argument("RReLU", message))
    }
}

impl Default for RReLU {
    fn default() -> Self {
        Self { lower: 1.0 / 8.0, upper: 1.0 / 3.0 }
    }
}

own_settings!(RReLU: |this, input| this.check().map(|()| input.clone()));

impl<T: Float> Module<T> for RReLU {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let Some(tape) = x.tape().filter(|tape: &&Tape<T>| tape.is_training()) else {
            return Ok(x.leaky_relu((self.lower + self.upper) / 2.0));
        };
        let mut rng = tape.random_stream();
        let drawn = Tensor::<T>::uniform(x.shape(), self.lower, self.upper, &mut rng).to_vec();
        let values = x.value().to_vec();
        let slope = |i: usize| if values[i] < T::ZERO { drawn[i] } else { T::ONE };
        x.mul(&Var::new(Tensor::from_fn(x.shape(), slope)))
    }
}

impl fmt::Display for RReLU {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RReLU {} to {}", self.lower, self.upper)
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn slopes_are_drawn_from_the_range_in_training() {
        let x = Tape::training(1, 0).leaf(Tensor::<f64>::full([10_000], -2.0));
        let y = RReLU::default().forward(&x).unwrap();
        let slopes: Vec<f64> = y.value().to_vec().iter().map(|y| y / -2.0).collect();
        assert!(slopes.iter().all(|&a| (0.125..=1.0 / 3.0).contains(&a)));
        let mean = slopes.iter().sum::<f64>() / 1e4;
        assert!((mean - 11.0 / 48.0).abs() < 2e-3, "{mean}");
        // The gradient is the slope that was drawn.
        assert_eq!(y.sum().backward().unwrap().wrt(&x).unwrap().to_vec(), slopes);
        let x = Tape::training(1, 0).input(Tensor::from([0.0, 5.0]));
        assert_eq!(RReLU::default().forward(&x).unwrap().value().to_vec(), [0.0, 5.0]);
    }

    #[test]
    fn mistakes_are_told() {
        assert!(RReLU::new(1.0, 0.5).unwrap_err().to_string().contains("got 1 and 0.5"));
        assert!(RReLU::new(f64::NAN, 0.5).is_err());
        let build = |count| {
            let builder = Sequential::input([3, 4]).layer(PReLU::new(count));
            builder.build(&mut Rng::seed(0)).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!((build(1), build(3)), (Ok(()), Ok(())));
        let message = "layer 0 (PReLU): 4 slopes do not fit the channels of [3, 4]";
        assert_eq!(build(4), Err(message.to_owned()));
    }
}
