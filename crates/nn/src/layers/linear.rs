//! The fully connected layer.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// The affine map y = x·Wᵀ + b.
///
/// | | shape |
/// |---|---|
/// | input | `[…, in_features]` |
/// | output | `[…, out_features]` |
/// | `weight` | `[out_features, in_features]` |
/// | `bias` | `[out_features]` |
///
/// Both are initialised with U(±1/√in_features).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Linear, Module};
///
/// let layer = Linear::new(784, 64).init(&mut Rng::seed(42))?;
/// let y = layer.forward(&Var::new(Tensor::zeros([32, 784])))?;
/// assert_eq!(*y.shape(), [32, 64]);
/// assert_eq!(layer.to_string(), "Linear 784 → 64");
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Linear<T: Float = f32> {
    /// W, of shape `[out_features, in_features]`.
    pub weight: Param<T>,
    /// b, of shape `[out_features]`.
    pub bias: Option<Param<T>>,
}

impl Linear {
    /// Settings of a layer from `in_features` to `out_features` values.
    pub fn new(in_features: usize, out_features: usize) -> LinearSettings {
        LinearSettings::with_defaults(Some(in_features), out_features)
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `in_features`.
    pub fn lazy(out_features: usize) -> LinearSettings {
        LinearSettings::with_defaults(None, out_features)
    }
}

/// The settings of a [`Linear`] layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct LinearSettings {
    in_features: Option<usize>,
    out_features: usize,
    /// Whether the layer has a bias.
    #[set(default = true)]
    bias: bool,
    /// The distribution that the weight is drawn from.
    #[set(default = Init::pytorch())]
    #[serde(skip, default = "Init::pytorch")]
    weight_init: Init,
    /// The distribution that the bias is drawn from. It uses the fans of the
    /// weight.
    #[set(default = Init::pytorch())]
    #[serde(skip, default = "Init::pytorch")]
    bias_init: Init,
}

initialised_by!(LinearSettings => Linear, any T: Linear<T>);

impl Settings for LinearSettings {
    type Layer<T: Float> = Linear<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let Some((&features, others)) = input.split_last() else {
            return Err(Error::shape("Linear", "expected values along an axis, got a scalar"));
        };
        let expected = *self.in_features.get_or_insert(features);
        if features != expected {
            let message = format!("expected […, {expected}], got {input}");
            return Err(Error::shape("Linear", message));
        }
        Ok(others.iter().copied().chain([self.out_features]).collect())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Linear<T>> {
        let out_features = self.out_features;
        let in_features = self.in_features.ok_or_else(|| open_input("Linear", "in_features"))?;
        let context = format!("Linear {in_features} → {out_features}");
        let fans = Fans { fan_in: in_features, fan_out: out_features };
        let weight = source.param(self.weight_init, [out_features, in_features], fans, &context)?;
        let bias = match self.bias {
            true => Some(source.param(self.bias_init, [out_features], fans, &context)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }
}

impl<T: Float> Module<T> for Linear<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let bias = self.bias.as_ref().map(|bias| bias.on(x));
        x.linear(&self.weight.on(x), bias.as_ref())
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))
    }
}

impl<T: Float> fmt::Display for Linear<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.value().shape()[..] {
            [out_features, in_features] => write!(f, "Linear {in_features} → {out_features}"),
            _ => f.write_str("Linear"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Parameters, check_gradient};
    use dendra_tensor::{Rng, Tensor};

    use super::*;

    #[test]
    fn a_wrong_input_is_told_by_path_and_sizes() {
        let mut layer = vec![Linear::new(3, 2).init(&mut Rng::seed(0)).unwrap()];
        let x = Var::new(Tensor::zeros([4, 5]));
        let message = |layer: &Linear| layer.forward(&x).unwrap_err().to_string();
        assert_eq!(message(&layer[0]), "Linear 3 → 2: expected input of shape […, 3], got [4, 5]");
        layer.name_parameters();
        assert_eq!(
            message(&layer[0]),
            "0 (Linear 3 → 2): expected input of shape […, 3], got [4, 5]"
        );
    }

    #[test]
    fn the_gradients_are_those_of_the_formula() {
        let mut rng = Rng::seed(1);
        let layer = Linear::new(3, 2).init_as::<f64>(&mut rng).unwrap();
        let x = Tensor::normal([2, 4, 3], 0.0, 1.0, &mut rng);
        let inputs = [x, layer.weight.value().clone(), layer.bias.unwrap().value().clone()];
        check_gradient(|v| v[0].linear(&v[1], Some(&v[2])), &inputs).unwrap();
    }

    #[test]
    fn initialisers_can_be_chosen() {
        let settings = Linear::new(3, 2).weight_init(Init::Constant(2.0)).bias_init(Init::Zeros);
        let layer = settings.init(&mut Rng::seed(0)).unwrap();
        let y = layer.forward(&Var::new(Tensor::ones([1, 3]))).unwrap();
        assert_eq!(y.value().to_vec(), [6.0, 6.0]);
        let bare = settings.bias(false).init(&mut Rng::seed(0)).unwrap();
        assert_eq!(bare.parameter_count(), 6);
    }

    #[test]
    fn the_defaults_are_within_pytorchs_bounds() {
        let layer = Linear::new(100, 400).init(&mut Rng::seed(0)).unwrap();
        for values in [layer.weight.value().to_vec(), layer.bias.unwrap().value().to_vec()] {
            let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            assert!(largest <= 0.1 && largest > 0.097, "{largest}");
        }
    }

    #[test]
    fn an_open_input_size_is_told() {
        let error = Linear::lazy(3).init(&mut Rng::seed(0)).unwrap_err().to_string();
        assert!(error.contains("in_features is not set"), "{error}");
    }
}
