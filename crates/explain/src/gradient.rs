//! Methods that need one gradient: saliency, input × gradient, guided
//! backpropagation and deconvolution.

use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{Rule, gradient, gradient_by};
use crate::method::Method;
use crate::target::Target;

/// The absolute value of the gradient of the score with respect to the input
/// (Simonyan et al., 2014).
#[derive(Clone, Copy, Debug, Default)]
pub struct Saliency {
    signed: bool,
}

impl Saliency {
    /// Absolute values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the signs of the gradient.
    #[must_use]
    pub fn signed(mut self) -> Self {
        self.signed = true;
        self
    }
}

impl<T: Float> Method<T> for Saliency {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let (prediction, gradient) = gradient(model, x, target)?;
        let values = if self.signed { gradient } else { gradient.abs() };
        Ok(Attribution::new(values, prediction))
    }
}

/// The input times the gradient of the score with respect to it (Shrikumar et
/// al., 2016).
#[derive(Clone, Copy, Debug, Default)]
pub struct InputXGradient;

impl<T: Float> Method<T> for InputXGradient {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let (prediction, gradient) = gradient(model, x, target)?;
        Ok(Attribution::new(x * &gradient, prediction))
    }
}

/// The gradient, with each ReLU passing only positive gradients, and only where
/// its input is positive (Springenberg et al., 2015).
#[derive(Clone, Copy, Debug, Default)]
pub struct GuidedBackprop;

impl<T: Float> Method<T> for GuidedBackprop {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let rule: Rule<T> = Box::new(|call| match call.name() {
            "relu" => call.gradients_for(&call.cotangent().relu()).map(Some),
            _ => Ok(None),
        });
        let (prediction, values) = gradient_by(model, x, target, Some(rule))?;
        Ok(Attribution::new(values, prediction))
    }
}

/// The gradient, with each ReLU passing only positive gradients, regardless of
/// its input (Zeiler and Fergus, 2014).
#[derive(Clone, Copy, Debug, Default)]
pub struct Deconvolution;

impl<T: Float> Method<T> for Deconvolution {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let rule: Rule<T> = Box::new(|call| match call.name() {
            "relu" => Ok(Some(vec![Some(call.cotangent().relu())])),
            _ => Ok(None),
        });
        let (prediction, values) = gradient_by(model, x, target, Some(rule))?;
        Ok(Attribution::new(values, prediction))
    }
}
