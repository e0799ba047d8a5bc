//! Linear models of the score near a sample: KernelSHAP and LIME.

use std::fmt;
use std::sync::Arc;

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Rng, Tensor};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, check_count, predict, samples_of};
use crate::features::{Features, Queue, Rows};
use crate::method::Method;
use crate::regression::Points;
use crate::shapley::binomial;
use crate::target::Target;

/// A sample with some features replaced by those of a baseline.
struct Perturbed<T> {
    /// Which features are kept.
    kept: Vec<bool>,
    /// The elements.
    row: Vec<T>,
}

/// The scores of perturbed samples.
fn scores_of<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    perturbed: &[Perturbed<T>],
    class: usize,
) -> Result<Vec<f64>> {
    let mut queue = Queue::new(model, &x.shape()[1..]);
    perturbed.iter().try_for_each(|one| queue.push(one.row.clone(), class))?;
    queue.finish()
}

fn numbers(kept: &[bool]) -> Vec<f64> {
    kept.iter().map(|&kept| f64::from(u8::from(kept))).collect()
}

/// Computes the value of each feature from the row of a sample, that of its
/// baseline, and its class.
type Explain<'a, T> = dyn FnMut(&Features, &[T], &[T], usize) -> Result<Vec<f64>> + 'a;

/// Runs `explain` for each sample.
fn for_each_sample<T: Float>(
    method: &str,
    (model, x, target): (&dyn Module<T>, &Tensor<T>, &Target),
    (baseline, mask): (Option<&Tensor<T>>, Option<&Tensor<i64>>),
    explain: &mut Explain<'_, T>,
) -> Result<Attribution<T>> {
    let samples = samples_of(x)?;
    let features = Features::of(method, mask, x)?;
    let baseline = baseline_for(method, baseline, x)?;
    let classes = target.for_samples(samples)?;
    let (inputs, others) = (Rows::of(x), Rows::of(&baseline));
    let mut values = Vec::with_capacity(x.len());
    for (sample, &class) in classes.iter().enumerate() {
        let found = explain(&features, inputs.get(sample), others.get(sample), class)?;
        values.extend(features.spread::<T>(&found));
    }
    let mut result =
        Attribution::new(Tensor::from_vec(values, x.shape().clone())?, predict(model, x, target)?);
    result.baseline = Some(baseline);
    Ok(result)
}

/// Shapley values from a weighted linear model of the score (Lundberg and Lee,
/// 2017). The values are complete: the model has exactly the scores of input
/// and baseline, to which Captum gives a large weight instead.
///
/// If there are at most as many sets of features as samples, all sets are used
/// and the values are exact. Otherwise sets are drawn with the probability of
/// the kernel. The random numbers depend only on the seed.
#[derive(Clone, Debug, Setters)]
pub struct KernelShap<T: Float = f32> {
    samples: usize,
    /// The seed of the random numbers.
    #[set(default = 0)]
    seed: u64,
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
    /// The features: elements with the same number form one feature. The mask
    /// has the shape of one sample. By default, each element is a feature.
    #[set]
    feature_mask: Option<Tensor<i64>>,
}

impl<T: Float> KernelShap<T> {
    /// Uses this number of perturbed inputs for each sample; Captum's default
    /// is 25.
    pub fn new(samples: usize) -> Self {
        Self::with_defaults(samples)
    }

    /// Sets of features, neither empty nor full, and their weights.
    fn coalitions(&self, count: usize, rng: &mut Rng) -> (Vec<Vec<bool>>, Vec<f64>) {
        let exact = count < usize::BITS as usize - 1 && (1_usize << count) - 2 <= self.samples;
        if exact {
            let sets = 1..(1_usize << count) - 1;
            let kept = sets.map(|set| (0..count).map(|i| set >> i & 1 == 1).collect::<Vec<bool>>());
            let kept: Vec<Vec<bool>> = kept.collect();
            let weight = |kept: &Vec<bool>| {
                let size = kept.iter().filter(|&&kept| kept).count();
                let among = (size * (count - size)) as f64;
                (count - 1) as f64 / (among * binomial(count, size))
            };
            let weights = kept.iter().map(weight).collect();
            return (kept, weights);
        }
        // The kernel's weight of all sets of a size is proportional to 1 /
        // (size · rest).
        let odds: Vec<f64> =
            (1..count).map(|size| 1.0 / (size as f64 * (count - size) as f64)).collect();
        let sum: f64 = odds.iter().sum();
        let draw = |rng: &mut Rng| {
            let mut rest = rng.uniform() * sum;
            let size = odds.iter().position(|odds| {
                rest -= odds;
                rest < 0.0
            });
            let size = size.map_or(count - 1, |index| index + 1);
            let mut kept = vec![false; count];
            rng.permutation(count)[..size].iter().for_each(|&feature| kept[feature] = true);
            kept
        };
        ((0..self.samples).map(|_| draw(rng)).collect(), vec![1.0; self.samples])
    }

    /// The values of the features. The last one follows from the sum.
    fn values(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        (features, row, other, class): (&Features, &[T], &[T], usize),
        rng: &mut Rng,
    ) -> Result<Vec<f64>> {
        let count = features.count();
        if count == 0 {
            return Ok(Vec::new());
        }
        let (mut sets, weights) = match count {
            1 => (Vec::new(), Vec::new()),
            _ => self.coalitions(count, rng),
        };
        sets.extend([vec![false; count], vec![true; count]]);
        let perturbed: Vec<Perturbed<T>> = sets
            .into_iter()
            .map(|kept| Perturbed { row: features.mixed(row, other, &kept), kept })
            .collect();
        let mut scores = scores_of(model, x, &perturbed, class)?;
        let full = scores.pop().unwrap_or_default();
        let empty = scores.pop().unwrap_or_default();
        let total = full - empty;
        let last = count - 1;
        let rows: Vec<Vec<f64>> = perturbed[..scores.len()]
            .iter()
            .map(|one| {
                let row = numbers(&one.kept);
                row[..last].iter().map(|x| x - row[last]).collect()
            })
            .collect();
        let rests: Vec<f64> = perturbed
            .iter()
            .zip(&scores)
            .map(|(one, score)| score - empty - if one.kept[last] { total } else { 0.0 })
            .collect();
        let mut values = match last {
            0 => Vec::new(),
            _ => Points { rows: &rows, values: &rests, weights: &weights }.least_squares(),
        };
        values.push(total - values.iter().sum::<f64>());
        Ok(values)
    }
}

impl<T: Float> Method<T> for KernelShap<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        check_count("KernelShap", "samples", self.samples)?;
        let mut rng = Rng::seed(self.seed);
        let given = (self.baseline.as_ref(), self.feature_mask.as_ref());
        let mut result = for_each_sample(
            "KernelShap",
            (model, x, target),
            given,
            &mut |features, row, other, class| {
                self.values(model, x, (features, row, other, class), &mut rng)
            },
        )?;
        if let Some(baseline) = result.baseline.as_ref().filter(|_| self.feature_mask.is_none()) {
            result.total = Some(&result.prediction - &predict(model, baseline, target)?);
        }
        Ok(result)
    }
}

/// The weight of a perturbed sample, as a function of the sample and the
/// perturbed one.
type Similarity = Arc<dyn Fn(&[f64], &[f64]) -> f64 + Send + Sync>;

/// A sparse linear model of the score near a sample (LIME; Ribeiro et al.,
/// 2016). Each feature is kept with probability ½, and a lasso regression
/// weighted by the similarity to the sample gives the values of the features.
///
/// The defaults are Captum's: 25 samples, `alpha` 0.01, and the similarity
/// exp(−d²/2) for the cosine distance d. The random numbers depend only on the
/// seed.
#[derive(Clone, Setters)]
pub struct Lime<T: Float = f32> {
    samples: usize,
    /// The weight of the penalty Σ|β|.
    #[set(default = 0.01)]
    alpha: f64,
    /// The seed of the random numbers.
    #[set(default = 0)]
    seed: u64,
    similarity: Similarity,
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
    /// The features: elements with the same number form one feature. The mask
    /// has the shape of one sample. By default, each element is a feature.
    #[set]
    feature_mask: Option<Tensor<i64>>,
}

impl<T: Float> fmt::Debug for Lime<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lime ({} samples, alpha {})", self.samples, self.alpha)
    }
}

impl<T: Float> Lime<T> {
    /// Uses this number of perturbed inputs for each sample.
    pub fn new(samples: usize) -> Self {
        let similarity = Arc::new(|x: &[f64], perturbed: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let norms = dot(x, x).sqrt() * dot(perturbed, perturbed).sqrt();
            let distance = 1.0 - dot(x, perturbed) / norms.max(1e-8);
            (-distance * distance / 2.0).exp()
        });
        Self::with_defaults(samples, similarity)
    }

    /// Sets the weight of a perturbed sample, a function of the elements of the
    /// sample and of the perturbed one.
    #[must_use]
    pub fn similarity(
        mut self,
        similarity: impl Fn(&[f64], &[f64]) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.similarity = Arc::new(similarity);
        self
    }

    /// Computes the values with perturbations that `draw` returns for a number
    /// of features.
    pub(crate) fn with_draws(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        draw: &mut dyn FnMut(usize) -> Vec<Vec<bool>>,
    ) -> Result<Attribution<T>> {
        let doubles = |row: &[T]| row.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
        for_each_sample(
            "Lime",
            (model, x, target),
            (self.baseline.as_ref(), self.feature_mask.as_ref()),
            &mut |features, row, other, class| {
                let perturbed: Vec<Perturbed<T>> = draw(features.count())
                    .into_iter()
                    .map(|kept| Perturbed { row: features.mixed(row, other, &kept), kept })
                    .collect();
                let scores = scores_of(model, x, &perturbed, class)?;
                let original = doubles(row);
                let weight = |one: &Perturbed<T>| (self.similarity)(&original, &doubles(&one.row));
                let weights: Vec<f64> = perturbed.iter().map(weight).collect();
                let rows: Vec<Vec<f64>> = perturbed.iter().map(|one| numbers(&one.kept)).collect();
                Ok(Points { rows: &rows, values: &scores, weights: &weights }.lasso(self.alpha))
            },
        )
    }
}

impl<T: Float> Method<T> for Lime<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        check_count("Lime", "samples", self.samples)?;
        if self.alpha.is_nan() || self.alpha < 0.0 {
            let message = format!("expected an alpha of at least 0, got {}", self.alpha);
            return Err(Error::argument("Lime", message));
        }
        let mut rng = Rng::seed(self.seed);
        self.with_draws(model, x, target, &mut |count| {
            let one = |rng: &mut Rng| (0..count).map(|_| rng.below(2) == 1).collect();
            (0..self.samples).map(|_| one(&mut rng)).collect()
        })
    }
}
