//! Metrics of a confusion matrix.

use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Result, Tensor};

use super::confusion::share;
use super::{ConfusionMatrix, Metric, check_same, label_settings};

/// How the figures of the classes are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// Every class has the same weight. Classes without labels and predictions
    /// are left out.
    #[default]
    Macro,
    /// Every class has the weight of its number of samples.
    Weighted,
    /// Every sample has the same weight; precision, recall and F1 are then
    /// equal to the accuracy.
    Micro,
    /// The figure of a single class.
    Class(usize),
}

impl Average {
    fn of(self, matrix: &ConfusionMatrix, figures: &[f64]) -> f64 {
        let (support, predicted) = (matrix.support(), matrix.predicted());
        let weight = |class: usize| match self {
            Self::Weighted => support[class] as f64,
            _ => f64::from(u8::from(support[class] + predicted[class] > 0)),
        };
        if matrix.samples() == 0 {
            return f64::NAN;
        }
        match self {
            Self::Class(class) => figures.get(class).copied().unwrap_or(f64::NAN),
            Self::Micro => share(matrix.right().iter().sum(), matrix.samples()),
            Self::Macro | Self::Weighted => {
                let weights = (0..figures.len()).map(weight);
                let total: f64 = weights.clone().sum();
                weights.zip(figures).map(|(weight, figure)| weight * figure).sum::<f64>() / total
            }
        }
    }

    fn name(self, figure: &str) -> String {
        match self {
            Self::Macro => figure.to_owned(),
            Self::Weighted => format!("weighted {figure}"),
            Self::Micro => format!("micro {figure}"),
            Self::Class(class) => format!("{figure} of class {class}"),
        }
    }
}

/// Defines metrics of labels, computed from a confusion matrix, for outputs
/// `[batch, classes, …]` and labels `[batch, …]`.
macro_rules! by_classes {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $of:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Setters)]
        pub struct $metric {
            /// How the figures of the classes are combined.
            #[set(default = Average::Macro)]
            average: Average,
            #[set(skip)]
            matrix: ConfusionMatrix,
        }

        impl $metric {
            /// An empty metric, which weights all classes equally.
            pub fn new() -> Self {
                Self::default()
            }

            /// The figure of each class.
            pub fn per_class(&self) -> Vec<f64> {
                self.matrix.$of()
            }
        }

        impl<T: Float> Metric<Tensor<i64>, Tensor<T>> for $metric {
            fn name(&self) -> String {
                self.average.name($name)
            }

            fn fresh(&self) -> Box<dyn Metric<Tensor<i64>, Tensor<T>>> {
                Box::new(Self { average: self.average, matrix: self.matrix.fresh() })
            }

            fn update(&mut self, output: &Tensor<T>, target: &Tensor<i64>) -> Result<()> {
                self.matrix.update(output, target)
            }

            fn value(&self) -> f64 {
                self.average.of(&self.matrix, &self.per_class())
            }

            fn state(&self) -> Option<Vec<f64>> {
                self.matrix.state()
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.matrix.merge(state)
            }
        }
    )*};
}

by_classes! {
    /// The share of the predictions of a class that are correct.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    /// use dendra_train::{Average, Metric, Precision};
    ///
    /// let mut precision = Precision::new().average(Average::Class(1));
    /// let output = Tensor::from([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]]);
    /// precision.update(&output, &Tensor::from([1, 0, 0]))?;
    /// assert_eq!((precision.value(), &*precision.name()), (0.5, "precision of class 1"));
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    Precision: "precision", precision;
    /// The share of the samples of a class that are predicted as this class.
    Recall: "recall", recall;
    /// The harmonic mean of precision and recall of a class.
    F1: "f1", f1;
}

label_settings! { Precision.matrix.counted; Recall.matrix.counted; F1.matrix.counted; }

/// Defines metrics that compare outputs and targets of the same shape with a
/// threshold.
macro_rules! by_threshold {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $of:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $metric {
            threshold: f32,
            matrix: ConfusionMatrix,
        }

        impl $metric {
            /// A metric with the threshold 0.5, for probabilities.
            pub fn new() -> Self {
                Self::at(0.5)
            }

            /// A metric with this threshold: 0 for logits.
            pub fn at(threshold: f32) -> Self {
                Self { threshold, matrix: ConfusionMatrix::new() }
            }
        }

        impl Default for $metric {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<T: Float> Metric<Tensor<T>, Tensor<T>> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn fresh(&self) -> Box<dyn Metric<Tensor<T>, Tensor<T>>> {
                Box::new(Self::at(self.threshold))
            }

            fn update(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
                check_same(stringify!($metric), output.shape(), target.shape())?;
                let sides = |values: &Tensor<T>, threshold: f32| {
                    let side = |x: T| match x.is_nan() {
                        false => Ok(usize::from(x.to_f64() > f64::from(threshold))),
                        true => Err(Error::data(stringify!($metric), "an output or target is NaN")),
                    };
                    values.to_vec().into_iter().map(side).collect::<Result<Vec<_>>>()
                };
                let predicted = sides(output, self.threshold)?.into_iter();
                let pairs: Vec<_> = predicted.zip(sides(target, 0.5)?).collect();
                self.matrix.add(2, &pairs)
            }

            fn value(&self) -> f64 {
                Average::Class(1).of(&self.matrix, &self.matrix.$of())
            }

            fn state(&self) -> Option<Vec<f64>> {
                self.matrix.state()
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.matrix.merge(state)
            }
        }
    )*};
}

by_threshold! {
    /// The share of the outputs above the threshold whose target is above 0.5.
    BinaryPrecision: "precision", precision;
    /// The share of the targets above 0.5 whose output is above the threshold.
    BinaryRecall: "recall", recall;
    /// The harmonic mean of [`BinaryPrecision`] and [`BinaryRecall`].
    BinaryF1: "f1", f1;
}

/// Defines metrics that are one figure of a confusion matrix.
macro_rules! by_matrix {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, |$matrix:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// Outputs have the shape `[batch, classes, …]`, labels `[batch, …]`.
        #[derive(Clone, Debug, Default)]
        pub struct $metric(ConfusionMatrix);

        impl $metric {
            /// An empty metric.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl<T: Float> Metric<Tensor<i64>, Tensor<T>> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn fresh(&self) -> Box<dyn Metric<Tensor<i64>, Tensor<T>>> {
                Box::new(Self(self.0.fresh()))
            }

            fn update(&mut self, output: &Tensor<T>, target: &Tensor<i64>) -> Result<()> {
                self.0.update(output, target)
            }

            fn value(&self) -> f64 {
                let $matrix = &self.0;
                if $matrix.samples() == 0 { f64::NAN } else { $value }
            }

            fn state(&self) -> Option<Vec<f64>> {
                self.0.state()
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.0.merge(state)
            }
        }
    )*};
}

by_matrix! {
    /// The mean recall of the classes that have samples. Unlike the accuracy,
    /// it does not rise when a model prefers frequent classes.
    BalancedAccuracy: "balanced accuracy", |matrix| {
        let classes = matrix.recall().into_iter().zip(matrix.support());
        let found: Vec<f64> = classes.filter(|(_, n)| *n > 0).map(|(recall, _)| recall).collect();
        found.iter().sum::<f64>() / found.len() as f64
    };
    /// Cohen's κ: the agreement of predictions and labels beyond chance, 1 for
    /// full agreement and 0 for none beyond chance (Cohen, "A coefficient of
    /// agreement for nominal scales", 1960). NaN when all samples and
    /// predictions are of one class.
    CohenKappa: "kappa", |matrix| {
        let agreed = share(matrix.right().iter().sum(), matrix.samples());
        let chance = sum_of_products(&matrix.support(), &matrix.predicted());
        let chance = chance / (matrix.samples() as f64).powi(2);
        (agreed - chance) / (1.0 - chance)
    };
    /// The correlation of predictions and labels, from −1 to 1; 0 when either
    /// is constant (Matthews, "Comparison of the predicted and observed
    /// secondary structure of T4 phage lysozyme", 1975; for several classes:
    /// Gorodkin, 2004).
    MatthewsCorrelation: "mcc", |matrix| {
        let (labels, predicted) = (matrix.support(), matrix.predicted());
        let samples = matrix.samples() as f64;
        let right = matrix.right().iter().sum::<u64>() as f64;
        let covariance = right * samples - sum_of_products(&labels, &predicted);
        let spread = |x: &[u64]| samples * samples - sum_of_products(x, x);
        let scale = (spread(&labels) * spread(&predicted)).sqrt();
        if scale == 0.0 { 0.0 } else { covariance / scale }
    };
}

label_settings! { BalancedAccuracy.0.counted; CohenKappa.0.counted; MatthewsCorrelation.0.counted; }

fn sum_of_products(a: &[u64], b: &[u64]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gathered_is_nan() {
        assert!(Precision::new().value().is_nan());
        assert!(Recall::new().average(Average::Micro).value().is_nan());
        assert!(BinaryF1::new().value().is_nan());
        assert!(CohenKappa::new().value().is_nan());
        assert!(MatthewsCorrelation::new().value().is_nan());
        let unknown = Average::Class(7);
        let mut f1 = F1::new().average(unknown);
        f1.update(&Tensor::from([[1.0, 0.0]]), &Tensor::from([0])).unwrap();
        assert!(f1.value().is_nan());
    }

    #[test]
    fn averages_have_names_of_their_own() {
        let averages = [Average::Macro, Average::Weighted, Average::Micro, Average::Class(3)];
        let names = averages
            .map(|average| Metric::<_, Tensor>::fresh(&Recall::new().average(average)).name());
        assert_eq!(names, ["recall", "weighted recall", "micro recall", "recall of class 3"]);
    }

    #[test]
    fn guessing_one_class_agrees_no_more_than_chance() {
        let output = Tensor::from([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]);
        let labels = Tensor::from([0, 0, 0, 1]);
        let mut metrics: [Box<dyn Metric>; 3] = [
            Box::new(BalancedAccuracy::new()),
            Box::new(CohenKappa::new()),
            Box::new(MatthewsCorrelation::new()),
        ];
        let values = metrics.each_mut().map(|metric| {
            metric.update(&output, &labels).unwrap();
            metric.value()
        });
        assert_eq!(values, [0.5, 0.0, 0.0]);
    }
}
