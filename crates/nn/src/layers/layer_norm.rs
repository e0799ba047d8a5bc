//! Layer normalisation and RMS normalisation.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// Normalises the last axes of each sample to mean 0 and variance 1, then
/// scales and shifts each of their elements:
///
/// y = (x − mean) / √(variance + eps) · weight + bias
///
/// with the biased variance (Ba, Kiros and Hinton, "Layer normalization",
/// 2016). Input and output have the same shape, which ends with
/// `normalized_shape`. The weight, initialised with 1, and the bias,
/// initialised with 0, have the shape `normalized_shape`.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{LayerNorm, Module};
///
/// let layer = LayerNorm::new([2]).eps(0.0).init(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::from([[1.0, 3.0], [10.0, 30.0]])))?;
/// assert_eq!(y.value().to_vec(), [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct LayerNorm<T: Float = f32> {
    /// The scale of each element.
    pub weight: Option<Param<T>>,
    /// The shift of each element.
    pub bias: Option<Param<T>>,
    #[parameters(skip)]
    normalized_shape: Vec<usize>,
    #[parameters(skip)]
    eps: f64,
}

impl LayerNorm {
    /// Settings of a layer over the last axes, which have this shape.
    pub fn new(normalized_shape: impl Into<Shape>) -> LayerNormSettings {
        LayerNormSettings::with_defaults(Some(normalized_shape.into().to_vec()))
    }

    /// Like [`new`](Self::new), for [`Sequential`](crate::Sequential), over the
    /// last axis only.
    pub fn lazy() -> LayerNormSettings {
        LayerNormSettings::with_defaults(None)
    }
}

/// The settings of a [`LayerNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct LayerNormSettings {
    normalized_shape: Option<Vec<usize>>,
    /// The number added to the variance.
    #[set(default = 1e-5)]
    eps: f64,
    /// Whether the layer has a weight and, with `bias`, a bias.
    #[set(default = true)]
    elementwise_affine: bool,
    /// Whether a layer with a weight also has a bias.
    #[set(default = true)]
    bias: bool,
}

/// Divides the last axes of each sample by their root mean square, then scales
/// each of their elements:
///
/// y = x / √(mean of x² + eps) · weight
///
/// (Zhang and Sennrich, "Root mean square layer normalization", 2019.) The
/// shapes are those of [`LayerNorm`]; there is no bias. The default of `eps` is
/// the machine epsilon of the element type.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Module, RMSNorm};
///
/// let layer = RMSNorm::new([2]).eps(0.0).init(&mut Rng::seed(0))?;
/// let y = layer.forward(&Var::new(Tensor::from([[1.0, 7.0]])))?;
/// assert_eq!(y.value().to_vec(), [0.2, 1.4]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct RMSNorm<T: Float = f32> {
    /// The scale of each element, initialised with 1.
    pub weight: Option<Param<T>>,
    #[parameters(skip)]
    normalized_shape: Vec<usize>,
    #[parameters(skip)]
    eps: f64,
}

impl RMSNorm {
    /// Settings of a layer over the last axes, which have this shape.
    pub fn new(normalized_shape: impl Into<Shape>) -> RMSNormSettings {
        RMSNormSettings::with_defaults(Some(normalized_shape.into().to_vec()))
    }

    /// Like [`new`](Self::new), for [`Sequential`](crate::Sequential), over the
    /// last axis only.
    pub fn lazy() -> RMSNormSettings {
        RMSNormSettings::with_defaults(None)
    }
}

/// The settings of an [`RMSNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct RMSNormSettings {
    normalized_shape: Option<Vec<usize>>,
    /// The number added to the mean square. The default is the machine epsilon
    /// of the element type.
    #[set]
    eps: Option<f64>,
    /// Whether the layer has a weight.
    #[set(default = true)]
    elementwise_affine: bool,
}

initialised_by!(LayerNormSettings => LayerNorm, any T: LayerNorm<T>);
initialised_by!(RMSNormSettings => RMSNorm, any T: RMSNorm<T>);

/// Sets the axes from the input, or checks that the input ends with them.
fn infer(kind: &str, normalized: &mut Option<Vec<usize>>, input: &Shape) -> Result<Shape> {
    let Some(&last) = input.last() else {
        return Err(Error::shape(kind, "expected values along an axis, got a scalar"));
    };
    let normalized = normalized.get_or_insert_with(|| vec![last]);
    if !normalized.is_empty() && input.ends_with(normalized) {
        return Ok(input.clone());
    }
    Err(Error::shape(kind, format!("expected the last axes {normalized:?}, got {input}")))
}

/// The shape of the parameters, and a function that makes them.
fn shape_of(kind: &str, normalized: &Option<Vec<usize>>) -> Result<Vec<usize>> {
    let normalized = normalized.clone().ok_or_else(|| open_input(kind, "normalized_shape"))?;
    if normalized.is_empty() {
        return Err(Error::argument(kind, "normalized_shape has no axis"));
    }
    Ok(normalized)
}

fn param<T: Float>(
    source: &mut Source<'_>,
    kind: &str,
    shape: &[usize],
    value: f64,
) -> Result<Param<T>> {
    source.param(Init::Constant(value), shape, Fans { fan_in: 1, fan_out: 1 }, &kind)
}

impl Settings for LayerNormSettings {
    type Layer<T: Float> = LayerNorm<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        infer("LayerNorm", &mut self.normalized_shape, input)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<LayerNorm<T>> {
        let shape = shape_of("LayerNorm", &self.normalized_shape)?;
        let mut param = |there: bool, value| {
            there.then(|| param(source, "LayerNorm", &shape, value)).transpose()
        };
        Ok(LayerNorm {
            weight: param(self.elementwise_affine, 1.0)?,
            bias: param(self.elementwise_affine && self.bias, 0.0)?,
            normalized_shape: shape.clone(),
            eps: self.eps,
        })
    }
}

impl Settings for RMSNormSettings {
    type Layer<T: Float> = RMSNorm<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        infer("RMSNorm", &mut self.normalized_shape, input)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<RMSNorm<T>> {
        let shape = shape_of("RMSNorm", &self.normalized_shape)?;
        let weight = self.elementwise_affine.then(|| param(source, "RMSNorm", &shape, 1.0));
        Ok(RMSNorm {
            weight: weight.transpose()?,
            eps: self.eps.unwrap_or(T::EPSILON.to_f64()),
            normalized_shape: shape,
        })
    }
}

impl<T: Float> Module<T> for LayerNorm<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let [weight, bias] =
            [&self.weight, &self.bias].map(|param| param.as_ref().map(|param| param.on(x)));
        x.layer_norm(&self.normalized_shape[..], weight.as_ref(), bias.as_ref(), self.eps).map_err(
            |error| context::in_layer(error, self.weight.as_ref().and_then(context::path), self),
        )
    }
}

impl<T: Float> Module<T> for RMSNorm<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let weight = self.weight.as_ref().map(|weight| weight.on(x));
        x.rms_norm(&self.normalized_shape[..], weight.as_ref(), self.eps).map_err(|error| {
            context::in_layer(error, self.weight.as_ref().and_then(context::path), self)
        })
    }
}

impl<T: Float> fmt::Display for LayerNorm<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerNorm {:?}", self.normalized_shape)
    }
}

impl<T: Float> fmt::Display for RMSNorm<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RMSNorm {:?}", self.normalized_shape)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Parameters;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn parameters_can_be_left_out() {
        let names = |settings: LayerNormSettings| -> Vec<String> {
            let layer = settings.init(&mut Rng::seed(0)).unwrap();
            layer.named_parameters().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(LayerNorm::new([3, 4])), ["weight", "bias"]);
        assert_eq!(names(LayerNorm::new([3]).bias(false)), ["weight"]);
        assert!(names(LayerNorm::new([3]).elementwise_affine(false)).is_empty());
    }

    #[test]
    fn a_network_finds_out_the_last_axis() {
        let builder =
            Sequential::input([5, 7]).layer_norm().rms_norm().layer(LayerNorm::new([5, 7]));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(model.parameter_count(), 7 + 7 + 7 + 35 + 35);
        let wrong = Sequential::input([5, 7]).layer(LayerNorm::new([5]));
        assert_eq!(
            wrong.build(&mut Rng::seed(0)).unwrap_err().to_string(),
            "layer 0 (LayerNorm): expected the last axes [5], got [5, 7]"
        );
    }

    #[test]
    fn a_wrong_input_is_told_with_the_layer() {
        let layer = LayerNorm::new([3]).init(&mut Rng::seed(0)).unwrap();
        let error = layer.forward(&Var::new(Tensor::zeros([4, 5]))).unwrap_err().to_string();
        assert_eq!(error, "LayerNorm [3]: expected an input of shape […, 3], got [4, 5]");
        assert!(LayerNorm::new([0; 0]).init(&mut Rng::seed(0)).is_err());
    }
}
