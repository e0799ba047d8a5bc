//! Expected gradients over a distribution of baselines.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Float, Ops, Result, Rng, Tensor};

use crate::attribution::Attribution;
use crate::batch::{
    check_baselines, check_count, check_noise, copies_apart, for_each_sample, gradient, predict,
    sum_of_copies, tiled,
};
use crate::method::Method;
use crate::target::Target;

/// Expected gradients: gradients at random points between the input and random
/// baselines, times the difference (Lundberg and Lee, 2017). The random numbers
/// depend only on the seed.
#[derive(Clone, Debug, Setters)]
pub struct GradientShap<T: Float = f32> {
    baselines: Tensor<T>,
    /// The number of samples for each input.
    #[set(default = 5)]
    samples: usize,
    /// The standard deviation of noise that is added to the inputs.
    #[set(default = 0.0)]
    stdev: f64,
    /// The seed of the random numbers.
    #[set(default = 0)]
    seed: u64,
}

/// The random numbers of [`GradientShap`], for `samples` copies of the batch.
pub(crate) struct Draws<T: Float> {
    /// The noise that is added to the inputs.
    pub(crate) noise: Tensor<T>,
    /// The baseline of each copy.
    pub(crate) baselines: Tensor<T>,
    /// The position between baseline and input, `[samples · N]`.
    pub(crate) coefficients: Tensor<T>,
}

impl<T: Float> GradientShap<T> {
    /// Uses these baselines, `[B, …]`.
    pub fn new(baselines: Tensor<T>) -> Self {
        Self::with_defaults(baselines)
    }

    pub(crate) fn with_draws(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        draws: &Draws<T>,
    ) -> Result<Attribution<T>> {
        let copies = self.samples;
        let inputs = tiled(x, copies)?.add(&draws.noise)?;
        let difference = inputs.sub(&draws.baselines)?;
        let coefficients = for_each_sample(&draws.coefficients, x.rank())?;
        let points = draws.baselines.add(&difference.mul(&coefficients)?)?;
        let tiled_target = target.tiled(copies);
        let (_, gradients) = gradient(model, &points, &tiled_target)?;
        let share = 1.0 / copies as f64;
        let values = sum_of_copies(&(gradients * difference), copies)?.mul_scalar(share);
        let prediction = predict(model, x, target)?;
        let ends = predict(model, &inputs, &tiled_target)?;
        let starts = predict(model, &draws.baselines, &tiled_target)?;
        let total = copies_apart(&(ends - starts), copies)?.mean_axes(&[0], false)?;
        Ok(Attribution { values, prediction, baseline: None, total: Some(total) })
    }
}

impl<T: Float> Method<T> for GradientShap<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let context = "GradientShap";
        let count = check_baselines(context, &self.baselines, x)?;
        check_count(context, "samples", self.samples)?;
        check_noise(context, self.stdev)?;
        let shape = tiled(x, self.samples)?.shape().clone();
        let (rows, mut rng) = (shape[0], Rng::seed(self.seed));
        let chosen: Vec<usize> = (0..rows).map(|_| rng.below(count)).collect();
        let draws = Draws {
            baselines: self.baselines.index_select(0, &chosen)?,
            coefficients: Tensor::uniform([rows], 0.0, 1.0, &mut rng),
            noise: Tensor::normal(shape, 0.0, self.stdev, &mut rng),
        };
        self.with_draws(model, x, target, &draws)
    }
}
