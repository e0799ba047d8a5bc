//! Shapley values, exact or with sampled permutations.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Rng, Tensor};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, check_count, predict, samples_of};
use crate::features::{Features, Queue, Rows};
use crate::method::Method;
use crate::target::Target;

/// Shapley values: the mean change of the score when a feature is added to the
/// baseline, over the orders in which features are added (Shapley, 1953).
///
/// [`new`](Self::new) computes them exactly from all sets of at most 16
/// features. [`sampling`](Self::sampling) uses random orders (Castro et al.,
/// 2009). Both are complete.
#[derive(Clone, Debug, Setters)]
pub struct ShapleyValue<T: Float = f32> {
    #[set(skip)]
    orders: Option<usize>,
    /// The seed of the orders.
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

/// The largest number of features for exact values.
const MOST_EXACT: usize = 16;

impl<T: Float> ShapleyValue<T> {
    /// Exact values, for at most 16 features.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mean over this number of random orders; Captum's default is 25.
    pub fn sampling(orders: usize) -> Self {
        Self { orders: Some(orders), ..Self::default() }
    }

    /// Computes the values for these orders of the features.
    pub(crate) fn with_orders(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        orders: &[Vec<usize>],
    ) -> Result<Attribution<T>> {
        self.computed(
            model,
            x,
            target,
            &|features, row, other, queue, class| {
                for order in orders {
                    let mut kept = vec![false; features.count()];
                    queue.push(features.mixed(row, other, &kept), class)?;
                    for &feature in order {
                        kept[feature] = true;
                        queue.push(features.mixed(row, other, &kept), class)?;
                    }
                }
                Ok(())
            },
            &|features, scores| {
                let mut values = vec![0.0; features];
                for (order, scores) in orders.iter().zip(scores.chunks_exact(features + 1)) {
                    for (&feature, pair) in order.iter().zip(scores.windows(2)) {
                        values[feature] += (pair[1] - pair[0]) / orders.len() as f64;
                    }
                }
                values
            },
        )
    }

    fn exactly(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        self.computed(
            model,
            x,
            target,
            &|features, row, other, queue, class| {
                let sets = 1_usize << features.count();
                for set in 0..sets {
                    let kept: Vec<bool> =
                        (0..features.count()).map(|i| set >> i & 1 == 1).collect();
                    queue.push(features.mixed(row, other, &kept), class)?;
                }
                Ok(())
            },
            &|features, scores| {
                let share = |size: usize| 1.0 / (features as f64 * binomial(features - 1, size));
                let value = |feature: usize| {
                    let without = (0..scores.len()).filter(|set| set >> feature & 1 == 0);
                    let gain = |set: usize| scores[set | 1 << feature] - scores[set];
                    without.map(|set| share(set.count_ones() as usize) * gain(set)).sum()
                };
                (0..features).map(value).collect()
            },
        )
    }

    /// Predicts the rows that `rows` adds for each sample, and computes the
    /// values of the features from their scores with `values`.
    #[expect(clippy::type_complexity, reason = "two functions that are used once each")]
    fn computed(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        rows: &dyn Fn(&Features, &[T], &[T], &mut Queue<'_, T>, usize) -> Result<()>,
        values: &dyn Fn(usize, &[f64]) -> Vec<f64>,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        let features = Features::of("ShapleyValue", self.feature_mask.as_ref(), x)?;
        let baseline = baseline_for("ShapleyValue", self.baseline.as_ref(), x)?;
        let classes = target.for_samples(samples)?;
        let (inputs, others) = (Rows::of(x), Rows::of(&baseline));
        let mut spread = Vec::with_capacity(x.len());
        for (sample, &class) in classes.iter().enumerate() {
            let mut queue = Queue::new(model, &x.shape()[1..]);
            let (row, other) = (inputs.get(sample), others.get(sample));
            rows(&features, row, other, &mut queue, class)?;
            spread.extend(features.spread::<T>(&values(features.count(), &queue.finish()?)));
        }
        let [prediction, other] = [x, &baseline].map(|x| predict(model, x, target));
        let values = Tensor::from_vec(spread, x.shape().clone())?;
        let mut result = Attribution::of_difference(values, prediction?, baseline, &other?);
        if self.feature_mask.is_some() {
            // Each element gets the value of its whole feature.
            result.total = None;
        }
        Ok(result)
    }
}

impl<T: Float> Method<T> for ShapleyValue<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        samples_of(x)?;
        let count = Features::of("ShapleyValue", self.feature_mask.as_ref(), x)?.count();
        let Some(orders) = self.orders else {
            if count > MOST_EXACT {
                let message = format!(
                    "{count} features have too many sets to try all: use ShapleyValue::sampling, \
                     or a feature mask of at most {MOST_EXACT} features"
                );
                return Err(Error::argument("ShapleyValue", message));
            }
            return self.exactly(model, x, target);
        };
        check_count("ShapleyValue", "orders", orders)?;
        let mut rng = Rng::seed(self.seed);
        let orders: Vec<Vec<usize>> = (0..orders).map(|_| rng.permutation(count)).collect();
        self.with_orders(model, x, target, &orders)
    }
}

/// The number of sets of `k` out of `n` elements.
pub(crate) fn binomial(n: usize, k: usize) -> f64 {
    (0..k.min(n - k)).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}
