//! Attributions averaged over noisy inputs.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor};

use crate::attribution::Attribution;
use crate::batch::{check_count, check_noise, copies_apart, predict, sum_of_copies, tiled};
use crate::method::Method;
use crate::target::Target;

/// How a [`NoiseTunnel`] combines the attributions of noisy inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseTunnelType {
    /// The mean (SmoothGrad; Smilkov et al., 2017).
    #[default]
    SmoothGrad,
    /// The mean of the squares (Hooker et al., 2019).
    SmoothGradSquare,
    /// The variance (VarGrad; Adebayo et al., 2018).
    VarGrad,
}

/// Applies a method to copies of each input with normally distributed noise,
/// and returns the mean or variance of the results.
///
/// The noise depends only on the seed.
#[derive(Clone, Debug, Setters)]
pub struct NoiseTunnel<M> {
    method: M,
    /// How the attributions are combined.
    #[set(default = NoiseTunnelType::SmoothGrad)]
    kind: NoiseTunnelType,
    /// The number of noisy copies.
    #[set(default = 5)]
    samples: usize,
    /// The standard deviation of the noise, in units of the input.
    #[set(default = 1.0)]
    stdev: f64,
    /// The seed of the noise.
    #[set(default = 0)]
    seed: u64,
}

impl<M> NoiseTunnel<M> {
    /// Applies this method to the copies. The defaults are Captum's.
    pub fn new(method: M) -> Self {
        Self::with_defaults(method)
    }

    /// Computes the attributions with this noise, a batch `[samples · N, …]`.
    pub(crate) fn with_noise<T: Float>(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        noise: &Tensor<T>,
    ) -> Result<Attribution<T>>
    where
        M: Method<T>,
    {
        let copies = self.samples;
        let inputs = tiled(x, copies)?.add(noise)?;
        let values = self.method.attribute(model, &inputs, &target.tiled(copies))?.values;
        let mean = |values: &Tensor<T>| {
            Ok::<_, Error>(sum_of_copies(values, copies)?.mul_scalar(1.0 / copies as f64))
        };
        let values = match self.kind {
            NoiseTunnelType::SmoothGrad => mean(&values)?,
            NoiseTunnelType::SmoothGradSquare => mean(&values.square())?,
            NoiseTunnelType::VarGrad => {
                copies_apart(&values, copies)?.var_axes(&[0], 0.0, false)?
            }
        };
        Ok(Attribution::new(values, predict(model, x, target)?))
    }
}

impl<T: Float, M: Method<T>> Method<T> for NoiseTunnel<M> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        check_count("NoiseTunnel", "samples", self.samples)?;
        check_noise("NoiseTunnel", self.stdev)?;
        let shape = tiled(x, self.samples)?.shape().clone();
        let noise = Tensor::normal(shape, 0.0, self.stdev, &mut Rng::seed(self.seed));
        self.with_noise(model, x, target, &noise)
    }
}
