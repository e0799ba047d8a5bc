//! Element-wise activation functions.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result};
use serde::{Deserialize, Serialize};

use super::{defaults, with_settings};
use crate::module::Module;
use crate::settings::own_settings;

/// Activations without settings.
macro_rules! plain {
    ($($(#[doc = $doc:literal])* $name:ident: |$x:ident| $result:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(
                Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize,
            )]
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
        )*
    };
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

    /// x limited to 0 ..= 6 (Krizhevsky, "Convolutional deep belief networks on
    /// CIFAR-10", 2010).
    ReLU6: |x| x.relu6();

    /// x·σ(x), also called Swish.
    SiLU: |x| x.silu();

    /// x·tanh(ln(1 + exp(x))) (Misra, "Mish: a self regularized non-monotonic
    /// activation function", 2019).
    Mish: |x| x.mish();

    /// scale · x where x is positive, else scale · alpha · (exp(x) − 1), with
    /// the two constants that keep mean 0 and variance 1 (Klambauer et al.,
    /// "Self-normalizing neural networks", 2017). It goes with
    /// [`AlphaDropout`](crate::AlphaDropout).
    SELU: |x| x.selu();

    /// The logistic function 1 / (1 + exp(−x)).
    Sigmoid: |x| x.sigmoid();

    /// The logarithm of the logistic function, accurate for inputs of any size.
    LogSigmoid: |x| x.log_sigmoid();

    /// min(max(x + 3, 0), 6) / 6, a piecewise linear approximation of
    /// [`Sigmoid`].
    Hardsigmoid: |x| x.hardsigmoid();

    /// x·min(max(x + 3, 0), 6) / 6, an approximation of [`SiLU`] (Howard et
    /// al., "Searching for MobileNetV3", 2019).
    Hardswish: |x| x.hardswish();

    /// The hyperbolic tangent.
    Tanh: |x| x.tanh();

    /// x − tanh(x).
    Tanhshrink: |x| x.tanhshrink();

    /// x / (1 + |x|).
    Softsign: |x| x.softsign();

    /// The identity: a layer that returns its input.
    Identity: |x| x.clone();
}

with_settings! {
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
        /// The slope for negative x.
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
        /// The output tends to −`alpha` for large negative x.
        alpha: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.elu(alpha));

    /// x where it is positive, else alpha · (exp(x / alpha) − 1): an [`ELU`]
    /// whose slope has no step at 0 (Barron, "Continuously differentiable
    /// exponential linear units", 2017). The default is 1.
    CELU {
        /// The output tends to −`alpha` for large negative x.
        alpha: f64
    }
    infer |this, input| check_celu(this.alpha).map(|()| input.clone());
    forward |x| check_celu(alpha).map(|()| x.celu(alpha));

    /// x·Φ(x), where Φ is the normal distribution function (Hendrycks and
    /// Gimpel, 2016). The exact formula is the default.
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

    /// ln(1 + exp(beta · x)) / beta, a smooth ReLU; x itself where beta · x is
    /// above the threshold. The defaults are 1 and 20.
    #[serde(default)]
    Softplus {
        /// the sharpness of the bend at 0: the larger, the closer to ReLU.
        beta: f64,
        /// the value of beta · x above which the output is x.
        threshold: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.softplus_scaled(beta, threshold));

    /// x limited to a range. The gradient is 0 at the limits and beyond. The
    /// defaults are −1 and 1.
    Hardtanh {
        /// the lower limit.
        min_val: f64,
        /// the upper limit.
        max_val: f64
    }
    infer |this, input| check_hardtanh(this.min_val, this.max_val).map(|()| input.clone());
    forward |x| check_hardtanh(min_val, max_val).map(|()| x.hardtanh(min_val, max_val));

    /// x where |x| > lambda, else 0. The default is 0.5.
    Hardshrink {
        /// the largest |x| whose output is 0.
        lambda: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.hardshrink(lambda));

    /// x − lambda where x > lambda, x + lambda where x < −lambda, else 0. The
    /// default is 0.5.
    Softshrink {
        /// the distance by which x moves towards 0.
        lambda: f64
    }
    infer |this, input| check_softshrink(this.lambda).map(|()| input.clone());
    forward |x| check_softshrink(lambda).map(|()| x.softshrink(lambda));

    /// x where it is above `threshold`, else `value`.
    Threshold {
        /// the threshold.
        threshold: f64,
        /// the value that replaces a smaller x.
        value: f64
    }
    infer |_this, input| Ok(input.clone());
    forward |x| Ok(x.threshold(threshold, value));
}

/// Checks `alpha` of a [`CELU`], which divides by it.
fn check_celu(alpha: f64) -> Result<()> {
    let message = "alpha must not be 0";
    if alpha == 0.0 { Err(Error::argument("CELU", message)) } else { Ok(()) }
}

/// Checks the limits of a [`Hardtanh`].
fn check_hardtanh(min_val: f64, max_val: f64) -> Result<()> {
    if min_val < max_val {
        return Ok(());
    }
    let message = format!("min_val must be below max_val, got {min_val} and {max_val}");
    Err(Error::argument("Hardtanh", message))
}

/// Checks `lambda` of a [`Softshrink`].
fn check_softshrink(lambda: f64) -> Result<()> {
    if lambda >= 0.0 && lambda.is_finite() {
        return Ok(());
    }
    let message = format!("lambda must be a number of at least 0, got {lambda}");
    Err(Error::argument("Softshrink", message))
}

/// The formula by which [`GELU`] computes the normal distribution function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approximation {
    /// The exact formula.
    #[default]
    None,
    /// An approximation with a hyperbolic tangent.
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

defaults! {
    LeakyReLU(0.01);
    ELU(1.0);
    CELU(1.0);
    GELU(Approximation::None);
    Softplus(1.0, 20.0);
    Hardtanh(-1.0, 1.0);
    Hardshrink(0.5);
    Softshrink(0.5);
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Tensor;

    use super::*;

    #[test]
    fn settings_without_a_meaning_are_refused() {
        let x = Var::new(Tensor::<f32>::ones([2]));
        let refused = [
            CELU::new(0.0).forward(&x),
            Hardtanh::new(2.0, 1.0).forward(&x),
            Hardtanh::new(1.0, 1.0).forward(&x),
            Softshrink::new(-1.0).forward(&x),
            Softshrink::new(f64::NAN).forward(&x),
        ];
        assert_eq!(
            refused.map(|result| result.unwrap_err().to_string()),
            [
                "CELU 0: alpha must not be 0",
                "Hardtanh 2, 1: min_val must be below max_val, got 2 and 1",
                "Hardtanh 1, 1: min_val must be below max_val, got 1 and 1",
                "Softshrink -1: lambda must be a number of at least 0, got -1",
                "Softshrink NaN: lambda must be a number of at least 0, got NaN",
            ]
        );
    }
}
