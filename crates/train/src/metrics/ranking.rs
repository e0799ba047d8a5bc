//! Metrics of the order of scores, without a threshold.

use dendra_tensor::{Error, Float, Result, Tensor};

use super::{Counted, Metric, check_same, label_settings};

/// The scores of each class, and whether each is of a positive sample. Exact
/// figures need all scores, at 16 bytes each.
#[derive(Clone, Debug, Default)]
struct Scores {
    counted: Counted,
    classes: Vec<Vec<(f64, bool)>>,
}

impl Scores {
    /// Adds one score of a class.
    fn add(&mut self, context: &str, class: usize, score: f64, positive: bool) -> Result<()> {
        if score.is_nan() {
            return Err(Error::data(context, "a score is NaN, which cannot be ranked"));
        }
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, Vec::new);
        }
        self.classes[class].push((score, positive));
        Ok(())
    }

    /// Adds scores of a single class with targets of 0 and 1. Both have the
    /// same shape.
    fn add_binary<T: Float>(
        &mut self,
        context: &str,
        output: &Tensor<T>,
        target: &Tensor<T>,
    ) -> Result<()> {
        check_same(context, output.shape(), target.shape())?;
        let mut pairs = output.to_vec().into_iter().zip(target.to_vec());
        pairs.try_for_each(|(score, target)| {
            self.add(context, 0, score.to_f64(), target.to_f64() > 0.5)
        })
    }

    /// Adds scores `[batch, classes, …]`, where each class is compared with all
    /// others.
    fn add_classes<T: Float>(
        &mut self,
        context: &str,
        output: &Tensor<T>,
        labels: &Tensor<i64>,
    ) -> Result<()> {
        let scored = self.counted.scored(context, output, labels)?;
        let classes = scored.classes;
        if !self.classes.is_empty() && self.classes.len() != classes {
            let message =
                format!("expected {} classes, as before, got {classes}", self.classes.len());
            return Err(Error::shape(context, message));
        }
        for (scores, label) in scored.rows() {
            for (class, &score) in scores.iter().enumerate() {
                self.add(context, class, score.to_f64(), label == class)?;
            }
        }
        Ok(())
    }

    /// For each class the number of its scores, then a score and a 1 or 0 for
    /// each.
    fn state(&self) -> Option<Vec<f64>> {
        let mut state = Vec::new();
        for scores in &self.classes {
            state.push(scores.len() as f64);
            let pair = |&(score, positive): &(f64, bool)| [score, f64::from(u8::from(positive))];
            state.extend(scores.iter().flat_map(pair));
        }
        Some(state)
    }

    fn merge(&mut self, context: &str, mut state: &[f64]) -> Result<()> {
        let mut class = 0;
        while let Some((&count, rest)) = state.split_first() {
            let Some((scores, rest)) = rest.split_at_checked(2 * count as usize) else {
                return Err(Error::data(context, "a state has fewer scores than it says"));
            };
            for pair in scores.chunks_exact(2) {
                self.add(context, class, pair[0], pair[1] > 0.5)?;
            }
            (state, class) = (rest, class + 1);
        }
        Ok(())
    }

    /// The figure of the only class, or the mean over the classes that have
    /// samples and for which the figure is a number.
    fn mean(&self, figure: impl Fn(&[Step]) -> f64) -> f64 {
        let is_one = self.classes.len() == 1;
        let has_samples = |scores: &&Vec<(f64, bool)>| is_one || scores.iter().any(|score| score.1);
        let figures = self.classes.iter().filter(has_samples).map(|scores| figure(&steps(scores)));
        let numbers: Vec<f64> = figures.filter(|figure| !figure.is_nan()).collect();
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }
}

/// The numbers of positive and of negative samples with the same score.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) positive: u64,
    pub(crate) negative: u64,
}

/// The counts for each distinct score, the largest score first.
pub(crate) fn steps(scores: &[(f64, bool)]) -> Vec<Step> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    // Equality of floats puts −0 and 0 into one group.
    let groups = sorted.chunk_by(|(a, _), (b, _)| a == b);
    let count = |group: &[(f64, bool)]| {
        let positive = group.iter().filter(|(_, positive)| *positive).count() as u64;
        Step { positive, negative: group.len() as u64 - positive }
    };
    groups.map(count).collect()
}

/// The probability that a positive sample has a higher score than a negative
/// one, where equal scores count half.
pub(crate) fn roc_auc(steps: &[Step]) -> f64 {
    let negatives: u64 = steps.iter().map(|step| step.negative).sum();
    let positives: u64 = steps.iter().map(|step| step.positive).sum();
    let mut below = negatives;
    let mut won = 0.0;
    for step in steps {
        below -= step.negative;
        won += step.positive as f64 * (below as f64 + 0.5 * step.negative as f64);
    }
    won / (positives as f64 * negatives as f64)
}

/// The mean of the precision, weighted by the recall that each score adds.
pub(crate) fn average_precision(steps: &[Step]) -> f64 {
    let positives: u64 = steps.iter().map(|step| step.positive).sum();
    let (mut found, mut seen, mut sum) = (0, 0, 0.0);
    for step in steps {
        found += step.positive;
        seen += step.positive + step.negative;
        sum += step.positive as f64 * (found as f64 / seen as f64);
    }
    // As in scikit-learn, the figure is 0 without positive samples.
    if positives == 0 { 0.0 } else { sum / positives as f64 }
}

/// Defines metrics that take targets of 0 and 1, or labels.
macro_rules! rankings {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $figure:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Takes outputs and targets (0 or 1) of the same shape, or outputs
        /// `[batch, classes, …]` and labels `[batch, …]`. With labels, each
        /// class is compared with all others, and the value is the mean over
        /// the classes that have samples. All scores are kept, and none may be
        /// NaN.
        #[derive(Clone, Debug, Default)]
        pub struct $metric(Scores);

        impl $metric {
            /// An empty metric.
            pub fn new() -> Self {
                Self::default()
            }
        }

        rankings! { @impl $metric, $name, $figure, add_binary, Tensor<f32>, [], f32 }
        rankings! { @impl $metric, $name, $figure, add_binary, Tensor<f64>, [], f64 }
        rankings! { @impl $metric, $name, $figure, add_classes, Tensor<i64>, [T: Float], T }
    )*};
    (@impl $metric:ident, $name:literal, $figure:ident, $add:ident, $target:ty, [$($of:tt)*],
     $float:ty) => {
        impl<$($of)*> Metric<$target, Tensor<$float>> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn fresh(&self) -> Box<dyn Metric<$target, Tensor<$float>>> {
                Box::new(Self(Scores { counted: self.0.counted, ..Scores::default() }))
            }

            fn update(&mut self, output: &Tensor<$float>, target: &$target) -> Result<()> {
                self.0.$add(stringify!($metric), output, target)
            }

            fn value(&self) -> f64 {
                self.0.mean($figure)
            }

            fn state(&self) -> Option<Vec<f64>> {
                self.0.state()
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.0.merge(stringify!($metric), state)
            }
        }
    };
}

rankings! {
    /// The area under the receiver operating characteristic: the probability
    /// that a positive sample has a higher score than a negative one (Hanley
    /// and McNeil, "The meaning and use of the area under a receiver operating
    /// characteristic (ROC) curve", 1982). Equal scores count half.
    RocAuc: "roc auc", roc_auc;
    /// The average precision: Σ (Rₙ − Rₙ₋₁)·Pₙ over all thresholds, with recall
    /// R and precision P, without interpolation. It is 0 without a positive
    /// sample.
    AveragePrecision: "average precision", average_precision;
}

label_settings! { RocAuc.0.counted; AveragePrecision.0.counted; }

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metric: &mut impl Metric<Tensor>, scores: &[f32], targets: &[f32]) -> f64 {
        let shape = [scores.len()];
        let output = Tensor::from_vec(scores.to_vec(), shape).unwrap();
        metric.update(&output, &Tensor::from_vec(targets.to_vec(), shape).unwrap()).unwrap();
        metric.value()
    }

    #[test]
    fn the_ends_of_the_scale_are_reached() {
        let targets = [0.0, 0.0, 1.0, 1.0];
        let area = |scores: [f32; 4]| value(&mut RocAuc::new(), &scores, &targets);
        assert_eq!(area([0.1, 0.2, 0.3, 0.4]), 1.0);
        assert_eq!(area([0.4, 0.3, 0.2, 0.1]), 0.0);
        assert_eq!(area([0.5; 4]), 0.5);
        assert_eq!(area([-0.0, 0.0, -0.0, 0.0]), 0.5);
        let precision = |scores: [f32; 4]| value(&mut AveragePrecision::new(), &scores, &targets);
        assert_eq!(precision([0.1, 0.2, 0.3, 0.4]), 1.0);
        assert_eq!(precision([0.5; 4]), 0.5);
    }

    #[test]
    fn one_class_alone_has_no_area() {
        assert!(value(&mut RocAuc::new(), &[0.1, 0.2], &[1.0, 1.0]).is_nan());
        assert!(value(&mut RocAuc::new(), &[0.1, 0.2], &[0.0, 0.0]).is_nan());
        assert_eq!(value(&mut AveragePrecision::new(), &[0.1, 0.2], &[0.0, 0.0]), 0.0);
        assert_eq!(value(&mut AveragePrecision::new(), &[0.1, 0.2], &[1.0, 1.0]), 1.0);
        assert!(RocAuc::new().value().is_nan());
        assert!(AveragePrecision::new().value().is_nan());
    }

    #[test]
    fn labels_may_have_positions_and_be_ignored() {
        let output = Tensor::from([[[0.9, 0.2], [0.1, 0.8]], [[0.3, 0.6], [0.7, 0.4]]]);
        let mut metric = RocAuc::new();
        metric.update(&output, &Tensor::from([[0, 1], [1, -100]])).unwrap();
        assert_eq!(metric.value(), 1.0);
        metric.update(&output, &Tensor::from([[1, -100], [-100, -100]])).unwrap();
        assert!(metric.value() < 1.0);
    }

    #[test]
    fn a_nan_is_refused() {
        let error = RocAuc::new().update(&Tensor::from([f32::NAN]), &Tensor::from([1.0_f32]));
        assert!(error.unwrap_err().to_string().contains("a score is NaN"));
    }
}
