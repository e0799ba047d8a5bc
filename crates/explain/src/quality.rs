//! Measures of the quality of attributions: infidelity and sensitivity.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor};

use crate::batch::{
    check_count, check_noise, copies_apart, per_sample_sum, predict, samples_of, tiled,
};
use crate::method::Method;
use crate::target::Target;

/// Random changes of the inputs, which depend only on the seed.
#[derive(Clone, Copy, Debug, Setters)]
pub struct Perturbation {
    samples: usize,
    noise: Noise,
    /// The seed of the noise.
    #[set(default = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Noise {
    Normal(f64),
    Uniform(f64),
}

impl Perturbation {
    /// Normally distributed noise with this standard deviation, in units of the
    /// input, on this number of copies of each input.
    pub fn normal(samples: usize, stdev: f64) -> Self {
        Self::with_defaults(samples, Noise::Normal(stdev))
    }

    /// Uniform noise between −radius and radius on this number of copies of
    /// each input.
    pub fn uniform(samples: usize, radius: f64) -> Self {
        Self::with_defaults(samples, Noise::Uniform(radius))
    }

    /// The noise for `samples` concatenated copies of the batch.
    fn draw<T: Float>(&self, context: &str, x: &Tensor<T>) -> Result<Tensor<T>> {
        let (Noise::Normal(size) | Noise::Uniform(size)) = self.noise;
        check_count(context, "copies", self.samples)?;
        check_noise(context, size)?;
        let shape = tiled(x, self.samples)?.shape().clone();
        let rng = &mut Rng::seed(self.seed);
        Ok(match self.noise {
            Noise::Normal(stdev) => Tensor::normal(shape, 0.0, stdev, rng),
            Noise::Uniform(radius) => Tensor::uniform(shape, -radius, radius, rng),
        })
    }
}

/// The mean square of the difference between the change of the score under
/// noise that the attributions predict and the actual change (Yeh et al.,
/// 2019), for each sample. It is 0 for attributions that predict every change.
///
/// With `normalize`, the attributions are first scaled by the factor that
/// minimises the difference.
///
/// # Errors
///
/// When the attributions do not have the shape of the inputs, or the model or
/// target does not fit.
pub fn infidelity<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    attributions: &Tensor<T>,
    target: impl Into<Target>,
    perturbation: &Perturbation,
    normalize: bool,
) -> Result<Tensor<T>> {
    let noise = perturbation.draw("infidelity", x)?;
    infidelity_for(model, x, attributions, &target.into(), &noise, normalize)
}

/// Like [`infidelity`], for this noise, which is subtracted from copies of the
/// batch.
pub(crate) fn infidelity_for<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    attributions: &Tensor<T>,
    target: &Target,
    noise: &Tensor<T>,
    normalize: bool,
) -> Result<Tensor<T>> {
    if attributions.shape() != x.shape() {
        let (expected, found) = (x.shape(), attributions.shape());
        let message = format!("expected attributions of shape {expected}, got {found}");
        return Err(Error::shape("infidelity", message));
    }
    let copies = noise.shape()[0] / samples_of(x)?.max(1);
    let told = per_sample_sum(&tiled(attributions, copies)?.mul(noise)?);
    let changed = predict(model, &tiled(x, copies)?.sub(noise)?, &target.tiled(copies))?;
    let change = tiled(&predict(model, x, target)?, copies)?.sub(&changed)?;
    let [told, change] = [told, change].map(|x| copies_apart(&x, copies));
    let (told, change) = (told?, change?);
    let told = match normalize {
        false => told,
        true => {
            let square = told.square().sum_axes(&[0], true)?;
            let product = told.mul(&change)?.sum_axes(&[0], true)?;
            let factor = (product / &square).masked_fill(&square.eq_scalar(T::ZERO), 0.0)?;
            told.mul(&factor)?
        }
    };
    told.sub(&change)?.square().mean_axes(&[0], false)
}

/// The largest change of the attributions under noise, relative to their norm
/// (Yeh et al., 2019), for each sample: small for a stable method.
///
/// # Errors
///
/// The errors of the method.
pub fn sensitivity_max<T: Float>(
    method: &dyn Method<T>,
    model: &dyn Module<T>,
    x: &Tensor<T>,
    target: impl Into<Target>,
    perturbation: &Perturbation,
) -> Result<Tensor<T>> {
    let noise = perturbation.draw("sensitivity_max", x)?;
    sensitivity_for(method, model, x, &target.into(), &noise)
}

/// Like [`sensitivity_max`], for this noise, which is added to copies of the
/// batch.
pub(crate) fn sensitivity_for<T: Float>(
    method: &dyn Method<T>,
    model: &dyn Module<T>,
    x: &Tensor<T>,
    target: &Target,
    noise: &Tensor<T>,
) -> Result<Tensor<T>> {
    let copies = noise.shape()[0] / samples_of(x)?.max(1);
    let before = method.attribute(model, x, target)?.into_values();
    let changed = tiled(x, copies)?.add(noise)?;
    let after = method.attribute(model, &changed, &target.tiled(copies))?.into_values();
    let norm = |x: &Tensor<T>| per_sample_sum(&x.square()).sqrt();
    let own = norm(&before);
    let own = own.masked_fill(&own.eq_scalar(T::ZERO), 1.0)?;
    let change = norm(&after.sub(&tiled(&before, copies)?)?);
    copies_apart(&change.div(&tiled(&own, copies)?)?, copies)?.max_axes(&[0], false)
}
