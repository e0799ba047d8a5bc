//! Activations as layers: functions of each value, and softmax along an axis.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::own_settings;
use crate::module::Module;
use crate::place;
use crate::sequential::SequentialBuilder;

/// Activations without settings.
macro_rules! plain {
    ($($(#[doc = $doc:literal])* $name:ident: |$x:ident| $result:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize)]
        pub struct $name;

        own_settings!($name: |_this, input| Ok(input.clone()));

        impl<T: Float> Module<T> for $name {
            fn forward(&self, $x: &Var<T>) -> Result<Var<T>> {
                Ok($result)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

plain! {
    /// The larger of x and 0.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Module, ReLU};
    ///
    /// let y = ReLU.forward(&Var::new(Tensor::from([-1.0, 2.0])))?;
    /// assert_eq!(y.value().to_vec(), [0.0, 2.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ReLU: |x| x.relu();

    /// x·σ(x), also called Swish.
    SiLU: |x| x.silu();

    /// The logistic function 1 / (1 + exp(−x)).
    Sigmoid: |x| x.sigmoid();

    /// The hyperbolic tangent.
    Tanh: |x| x.tanh();

    /// ln(1 + exp(x)), a smooth ReLU.
    Softplus: |x| x.softplus();

    /// x itself: a layer that does nothing.
    Identity: |x| x.clone();
}

/// Activations with one setting.
macro_rules! with_setting {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident {
            $(#[doc = $setting_doc:literal])*
            $setting:ident: $type:ty
        }
        infer |$this:ident, $input:ident| $output:expr;
        forward |$x:ident| $result:expr;
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            #[parameters(skip)]
            $setting: $type,
        }

        impl $name {
            /// The layer. The setting is:
            ///
            $(#[doc = $setting_doc])*
            pub fn new($setting: $type) -> Self {
                Self { $setting }
            }
        }

        own_settings!($name: |$this, $input| $output);

        impl<T: Float> Module<T> for $name {
            fn forward(&self, $x: &Var<T>) -> Result<Var<T>> {
                let $setting = self.$setting;
                let result: Result<Var<T>> = $result;
                result.map_err(|error| place::said_by(error, None, self))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", stringify!($name), self.$setting)
            }
        }
    )*};
}

with_setting! {
    /// x where it is positive, else `negative_slope · x`. The default slope is
    /// 0.01.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{LeakyReLU, Module};
    ///
    /// let y = LeakyReLU::new(0.5).forward(&Var::new(Tensor::from([-2.0, 3.0])))?;
    /// assert_eq!(y.value().to_vec(), [-1.0, 3.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    LeakyReLU {
        /// The slope below 0.
        negative_slope: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.leaky_relu(negative_slope));

    /// x where it is positive, else `alpha · (exp(x) − 1)` (Clevert et al.,
    /// 2015). The default is 1.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{ELU, Module};
    ///
    /// let y = ELU::new(2.0).forward(&Var::new(Tensor::from([f64::NEG_INFINITY, 3.0])))?;
    /// assert_eq!(y.value().to_vec(), [-2.0, 3.0]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ELU {
        /// The limit below 0.
        alpha: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.elu(alpha));

    /// x·Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel,
    /// 2016). The default is exact.
    ///
    /// ```
    /// use dendra_nn::autograd::Var;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{GELU, Module};
    ///
    /// let y = GELU::default().forward(&Var::new(Tensor::from([0.0, 1.0_f64])))?;
    /// assert!((y.value().to_vec()[1] - 0.841_344_746).abs() < 1e-9);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    GELU {
        /// How Φ is computed.
        approximation: Approximation
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(match approximation {
        Approximation::None => x.gelu(),
        Approximation::Tanh => x.gelu_tanh(),
    });

    /// exp(x) divided by its sum along an axis. The default is the last axis.
    ///
    /// Train with [`LogSoftmax`] or on logits, where nothing underflows.
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
}

/// How [`GELU`] computes the normal distribution function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximation {
    /// Exactly.
    #[default]
    None,
    /// By a hyperbolic tangent.
    Tanh,
}

impl fmt::Display for Approximation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "exact",
            Self::Tanh => "tanh",
        })
    }
}

impl Default for LeakyReLU {
    fn default() -> Self {
        Self::new(0.01)
    }
}

impl Default for ELU {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Default for GELU {
    fn default() -> Self {
        Self::new(Approximation::None)
    }
}

impl Default for Softmax {
    fn default() -> Self {
        Self::new(-1)
    }
}

impl Default for LogSoftmax {
    fn default() -> Self {
        Self::new(-1)
    }
}

/// An input without the batch axis, when it has the axis with it.
fn axis_of(place: &str, axis: isize, input: &Shape) -> Result<Shape> {
    let rank = input.len() as isize + 1;
    if (-rank..rank).contains(&axis) {
        return Ok(input.clone());
    }
    let message = format!("there is no axis {axis} in a batch of {input}");
    Err(Error::shape(place, message))
}

/// Adding activations.
impl SequentialBuilder {
    /// Adds a [`ReLU`].
    pub fn relu(self) -> Self {
        self.layer(ReLU)
    }

    /// Adds a [`LeakyReLU`] with this slope below 0.
    pub fn leaky_relu(self, negative_slope: f64) -> Self {
        self.layer(LeakyReLU::new(negative_slope))
    }

    /// Adds an [`ELU`] with this limit below 0.
    pub fn elu(self, alpha: f64) -> Self {
        self.layer(ELU::new(alpha))
    }

    /// Adds an exact [`GELU`].
    pub fn gelu(self) -> Self {
        self.layer(GELU::default())
    }

    /// Adds a [`SiLU`].
    pub fn silu(self) -> Self {
        self.layer(SiLU)
    }

    /// Adds a [`Sigmoid`].
    pub fn sigmoid(self) -> Self {
        self.layer(Sigmoid)
    }

    /// Adds a [`Tanh`].
    pub fn tanh(self) -> Self {
        self.layer(Tanh)
    }

    /// Adds a [`Softplus`].
    pub fn softplus(self) -> Self {
        self.layer(Softplus)
    }

    /// Adds a [`Softmax`] along the last axis.
    pub fn softmax(self) -> Self {
        self.layer(Softmax::default())
    }

    /// Adds a [`LogSoftmax`] along the last axis.
    pub fn log_softmax(self) -> Self {
        self.layer(LogSoftmax::default())
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Tensor;

    use super::*;

    #[test]
    fn settings_reach_the_function() {
        let x = Var::new(Tensor::from([-2.0, 1.0]));
        let first = |layer: &dyn Module<f64>| layer.forward(&x).unwrap().value().to_vec()[0];
        assert_eq!(first(&LeakyReLU::new(0.5)), -1.0);
        assert_eq!(first(&ELU::new(3.0)), 3.0 * ((-2.0_f64).exp() - 1.0));
        let difference = first(&GELU::default()) - first(&GELU::new(Approximation::Tanh));
        assert!(difference != 0.0 && difference.abs() < 1e-3, "{difference}");
        assert!((first(&Softmax::default()) - 1.0 / (1.0 + 3.0_f64.exp())).abs() < 1e-15);
        assert_eq!(first(&LogSoftmax::new(0)), first(&LogSoftmax::default()));
        assert_eq!(first(&Identity), -2.0);
    }

    #[test]
    fn a_missing_axis_is_told() {
        let x = Var::new(Tensor::<f32>::zeros([2, 3]));
        let error = Softmax::new(2).forward(&x).unwrap_err().to_string();
        assert_eq!(error, "Softmax 2: there is no axis 2 in shape [2, 3]");
        assert!(axis_of("Softmax", 1, &Shape::from([3])).is_ok());
        assert!(axis_of("Softmax", 2, &Shape::from([3])).is_err());
        assert!(axis_of("Softmax", -3, &Shape::from([3])).is_err());
    }
}
