//! Feature ablation, occlusion and permutation: how the score changes when a
//! feature is replaced.

use dendra_derive::Setters;
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Rng, Tensor};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, predict, samples_of};
use crate::features::{Features, Queue, Rows};
use crate::method::Method;
use crate::target::Target;

/// The decrease of the score when each feature is replaced by that of a
/// baseline.
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct FeatureAblation<T: Float = f32> {
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
    /// The features: elements with the same number form one feature. The mask
    /// has the shape of one sample. By default, each element is a feature.
    #[set]
    feature_mask: Option<Tensor<i64>>,
}

impl<T: Float> Method<T> for FeatureAblation<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        let features = Features::of("FeatureAblation", self.feature_mask.as_ref(), x)?;
        let baseline = baseline_for("FeatureAblation", self.baseline.as_ref(), x)?;
        let classes = target.for_samples(samples)?;
        let (inputs, others) = (Rows::of(x), Rows::of(&baseline));
        let mut queue = Queue::new(model, &x.shape()[1..]);
        let mut kept = vec![true; features.count()];
        for (sample, &class) in classes.iter().enumerate() {
            for feature in 0..features.count() {
                kept[feature] = false;
                let row = features.mixed(inputs.get(sample), others.get(sample), &kept);
                queue.push(row, class)?;
                kept[feature] = true;
            }
        }
        let scores = queue.finish()?;
        let prediction = predict(model, x, target)?;
        let mut values = Vec::with_capacity(x.len());
        for (sample, score) in prediction.to_vec().into_iter().enumerate() {
            let ablated = &scores[sample * features.count()..][..features.count()];
            let falls: Vec<f64> = ablated.iter().map(|ablated| score.to_f64() - ablated).collect();
            values.extend(features.spread::<T>(&falls));
        }
        let mut result = Attribution::new(Tensor::from_vec(values, x.shape().clone())?, prediction);
        result.baseline = Some(baseline);
        Ok(result)
    }
}

/// The decrease of the score when a window that slides over the sample is
/// replaced by a baseline. The value of an element is the mean over the windows
/// that cover it (Zeiler and Fergus, 2014).
#[derive(Clone, Debug, Setters)]
pub struct Occlusion<T: Float = f32> {
    window: Vec<usize>,
    /// The stride of the window along each axis; 1 by default.
    #[set(given, into)]
    strides: Vec<usize>,
    /// The baseline, in a shape that broadcasts to the inputs; 0 by default.
    #[set]
    baseline: Option<Tensor<T>>,
}

impl<T: Float> Occlusion<T> {
    /// A window of these lengths along the axes of a sample, such as
    /// `[1, 4, 4]` for images of one channel. It slides by 1.
    pub fn new(window: impl Into<Vec<usize>>) -> Self {
        let window = window.into();
        let strides = vec![1; window.len()];
        Self::with_defaults(window, strides)
    }

    /// The elements of a sample that each position of the window covers.
    fn windows(&self, sample: &[usize]) -> Result<Vec<Vec<usize>>> {
        let (window, strides) = (&self.window, &self.strides);
        let fits = |axis: usize| {
            let (length, window, stride) = (sample[axis], window[axis], strides[axis]);
            let slides = window < length;
            0 < window && window <= length && 0 < stride && (!slides || stride <= window)
        };
        let ranks = window.len() == sample.len() && strides.len() == sample.len();
        if !ranks || !(0..sample.len()).all(fits) {
            let message = format!(
                "expected a window inside a sample {sample:?} and strides of at most its lengths, \
                 got {window:?} and {strides:?}"
            );
            return Err(Error::shape("Occlusion", message));
        }
        let mut windows = vec![vec![0]];
        for axis in 0..sample.len() {
            let (length, stride) = (sample[axis], strides[axis]);
            let positions = (length - window[axis]).div_ceil(stride) + 1;
            let mut longer = Vec::with_capacity(windows.len() * positions);
            for before in &windows {
                for start in (0..positions).map(|position| position * stride) {
                    // The last window may be truncated.
                    let range = start..length.min(start + window[axis]);
                    let elements = before.iter();
                    longer.push(
                        elements.flat_map(|i| range.clone().map(move |j| i * length + j)).collect(),
                    );
                }
            }
            windows = longer;
        }
        Ok(windows)
    }
}

impl<T: Float> Method<T> for Occlusion<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        let windows = self.windows(&x.shape()[1..])?;
        let baseline = baseline_for("Occlusion", self.baseline.as_ref(), x)?;
        let classes = target.for_samples(samples)?;
        let (inputs, others) = (Rows::of(x), Rows::of(&baseline));
        let mut queue = Queue::new(model, &x.shape()[1..]);
        for (sample, &class) in classes.iter().enumerate() {
            for window in &windows {
                let mut row = inputs.get(sample).to_vec();
                window.iter().for_each(|&element| row[element] = others.get(sample)[element]);
                queue.push(row, class)?;
            }
        }
        let scores = queue.finish()?;
        let prediction = predict(model, x, target)?;
        let mut values = Vec::with_capacity(x.len());
        for (sample, score) in prediction.to_vec().into_iter().enumerate() {
            let mut sums = vec![(0.0, 0.0); inputs.get(sample).len()];
            for (window, occluded) in windows.iter().zip(&scores[sample * windows.len()..]) {
                for &element in window {
                    sums[element].0 += score.to_f64() - occluded;
                    sums[element].1 += 1.0;
                }
            }
            values.extend(sums.into_iter().map(|(sum, count)| T::from_f64(sum / count)));
        }
        let mut result = Attribution::new(Tensor::from_vec(values, x.shape().clone())?, prediction);
        result.baseline = Some(baseline);
        Ok(result)
    }
}

/// The decrease of the score when each feature is permuted among the samples of
/// the batch. It needs at least two samples. The permutations depend only on
/// the seed.
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct FeaturePermutation {
    /// The features: elements with the same number form one feature. The mask
    /// has the shape of one sample. By default, each element is a feature.
    #[set]
    feature_mask: Option<Tensor<i64>>,
    /// The seed of the permutations.
    #[set(default = 0)]
    seed: u64,
}

impl FeaturePermutation {
    /// Computes the decrease with a permutation of the samples for each
    /// feature.
    pub(crate) fn with_permutations<T: Float>(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
        permutation: &mut dyn FnMut(usize) -> Vec<usize>,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        let features = Features::of("FeaturePermutation", self.feature_mask.as_ref(), x)?;
        let classes = target.for_samples(samples)?;
        let inputs = Rows::of(x);
        let mut queue = Queue::new(model, &x.shape()[1..]);
        let mut kept = vec![true; features.count()];
        for feature in 0..features.count() {
            kept[feature] = false;
            for (sample, from) in permutation(feature).into_iter().enumerate() {
                let row = features.mixed(inputs.get(sample), inputs.get(from), &kept);
                queue.push(row, classes[sample])?;
            }
            kept[feature] = true;
        }
        let scores = queue.finish()?;
        let prediction = predict(model, x, target)?;
        let mut values = Vec::with_capacity(x.len());
        for (sample, score) in prediction.to_vec().into_iter().enumerate() {
            let fall = |feature: usize| score.to_f64() - scores[feature * samples + sample];
            let falls: Vec<f64> = (0..features.count()).map(fall).collect();
            values.extend(features.spread::<T>(&falls));
        }
        Ok(Attribution::new(Tensor::from_vec(values, x.shape().clone())?, prediction))
    }
}

impl<T: Float> Method<T> for FeaturePermutation {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let samples = samples_of(x)?;
        if samples < 2 {
            let message = format!("expected at least two samples to permute, got {samples}");
            return Err(Error::argument("FeaturePermutation", message));
        }
        let mut rng = Rng::seed(self.seed);
        self.with_permutations(model, x, target, &mut |_| {
            loop {
                let order = rng.permutation(samples);
                // The identity would change nothing.
                if !order.is_sorted() {
                    return order;
                }
            }
        })
    }
}
