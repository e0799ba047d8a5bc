//! The correct and wrong predictions of a classifier.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dendra_autograd::{Tape, Var};
use dendra_datasets::{DataLoader, Dataset, probabilities};
use dendra_nn::Model;
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::metrics::{IGNORED, average_precision, roc_auc, steps};
use crate::picture;
use crate::plots::{Chart, Svg};
use crate::table;
use crate::trainer::{EVALUATION_BATCH, Trainer};

/// The number of mistakes that are kept.
const MISTAKES: usize = 24;

/// The largest number of inputs for which a mistake shows their values.
const MOST_FEATURES: usize = 64;

/// The correct and wrong predictions of a classifier on a data set. Prints as a
/// table like scikit-learn's `classification_report`.
#[derive(Clone, Debug)]
pub struct Classification {
    /// The number of samples of each class that were predicted as each:
    /// `confusion[truth][prediction]`.
    pub confusion: Vec<Vec<u64>>,
    /// The mean of −ln p, where p is the predicted probability of the true
    /// class.
    pub loss: f64,
    /// The mistakes with the lowest probability of the true class, the worst
    /// first.
    pub worst: Vec<Mistake>,
    /// The time of all predictions, in seconds.
    pub seconds: f64,
    /// For two classes: for each sample the probability of the second class,
    /// and whether the sample is of that class.
    scores: Vec<(f64, bool)>,
    names: Vec<String>,
}

/// A wrong prediction.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The index of the sample in the data set.
    pub index: usize,
    /// The true class.
    pub truth: usize,
    /// The predicted class.
    pub predicted: usize,
    /// The probability of the predicted class.
    pub probability: f64,
    /// The probability of the true class.
    pub of_truth: f64,
    /// The names and values of the inputs, as text, if the input is a few
    /// numbers and not a picture.
    pub features: Vec<(String, String)>,
    /// The inputs as numbers.
    values: Vec<f32>,
    /// The input as a `data:` address, if it is a picture.
    pub(super) picture: Option<String>,
}

/// The figures of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassFigures {
    /// The number of samples of the class.
    pub samples: u64,
    /// The share of the predictions of the class that are correct; NaN without
    /// predictions.
    pub precision: f64,
    /// The share of the samples of the class that are predicted correctly; NaN
    /// without samples.
    pub recall: f64,
    /// The harmonic mean of both: `2·tp / (2·tp + fp + fn)`.
    pub f1: f64,
}

impl Classification {
    /// Classifies a data set with the model of a trainer. The model's outputs,
    /// of shape `[batch, classes]`, are logits or probabilities. Samples with
    /// the label −100 are ignored, as by losses and metrics.
    ///
    /// # Errors
    ///
    /// When the data set is empty, the model rejects it, or its outputs have
    /// another shape.
    pub fn of<M, O, L, D, T>(
        trainer: &Trainer<M, O, L, Tensor<i64>, D::Input, T>,
        data: &D,
    ) -> Result<Self>
    where
        M: Model<D::Input, T, Output = Var<T>>,
        D: Dataset<Input: 'static, Target = Tensor<i64>>,
        T: Float,
    {
        if data.is_empty() {
            return Err(Error::data("Classification::of", "the data set has no samples"));
        }
        let start = Instant::now();
        let mut found = Self::empty();
        let mut index = 0;
        for batch in DataLoader::new(data).batch_size(EVALUATION_BATCH).epoch(0) {
            let (inputs, labels) = batch?;
            let outputs = trainer.model.run(&inputs, &Tape::inference())?.into_value();
            let probabilities = probabilities(&outputs)?;
            found.add(&mut index, &probabilities, &labels)?;
        }
        found.seconds = start.elapsed().as_secs_f64();
        found.loss /= found.samples() as f64;
        let of_one = data.input_shape();
        let (pictures, few) =
            (picture::fits(&of_one), of_one.len() == 1 && of_one[0] <= MOST_FEATURES);
        if !found.worst.is_empty() && (pictures || few) {
            let indices: Vec<usize> = found.worst.iter().map(|mistake| mistake.index).collect();
            let (inputs, _) = data.batch(&indices)?;
            let Some(inputs) = (&inputs as &dyn Any).downcast_ref::<Tensor>() else {
                return Ok(found);
            };
            for (i, mistake) in found.worst.iter_mut().enumerate() {
                let values = inputs.narrow(0, i, 1)?.to_vec();
                if pictures {
                    let png = STANDARD.encode(picture::png(&values, &of_one)?);
                    mistake.picture = Some(format!("data:image/png;base64,{png}"));
                } else {
                    let named = values.iter().enumerate();
                    mistake.features =
                        named.map(|(i, x)| (i.to_string(), format!("{x:.3}"))).collect();
                    mistake.values = values;
                }
            }
        }
        Ok(found)
    }

    fn empty() -> Self {
        let (confusion, worst, scores, names) = Default::default();
        Self { confusion, loss: 0.0, worst, seconds: 0.0, scores, names }
    }

    /// Sets the names of the classes, which are otherwise numbers.
    #[must_use]
    pub fn class_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The name of a class.
    pub(super) fn class(&self, index: usize) -> String {
        self.names.get(index).cloned().unwrap_or_else(|| index.to_string())
    }

    /// Describes the inputs of the mistakes with this function, for example
    /// with `describe` of a table's `Encoder`.
    #[must_use]
    pub fn features(mut self, describe: impl Fn(&[f32]) -> Vec<(String, String)>) -> Self {
        for mistake in self.worst.iter_mut().filter(|mistake| !mistake.values.is_empty()) {
            mistake.features = describe(&mistake.values);
        }
        self
    }

    /// The receiver operating characteristic of two classes, with the second as
    /// the positive one: false positive rate and true positive rate for every
    /// threshold. Empty for other numbers of classes.
    pub fn roc(&self) -> Vec<(f64, f64)> {
        self.sweep(|found, taken, positives, negatives| {
            ((taken - found) / negatives, found / positives)
        })
    }

    /// Recall and precision for every threshold, with the second of two classes
    /// as the positive one. Empty for other numbers of classes.
    pub fn precision_recall(&self) -> Vec<(f64, f64)> {
        let mut curve = self.sweep(|found, taken, positives, _| (found / positives, found / taken));
        // The precision is undefined without positive predictions.
        curve.retain(|(_, precision)| precision.is_finite());
        curve
    }

    /// A point for each threshold, from the number of true positives, the
    /// number of positive predictions, and the number of samples of each class.
    fn sweep(&self, point: impl Fn(f64, f64, f64, f64) -> (f64, f64)) -> Vec<(f64, f64)> {
        let steps = steps(&self.scores);
        let positives: u64 = steps.iter().map(|step| step.positive).sum();
        let negatives: u64 = steps.iter().map(|step| step.negative).sum();
        if positives == 0 || negatives == 0 {
            return Vec::new();
        }
        let (positives, negatives) = (positives as f64, negatives as f64);
        let (mut found, mut taken) = (0.0, 0.0);
        let mut curve = vec![point(found, taken, positives, negatives)];
        for step in steps {
            found += step.positive as f64;
            taken += (step.positive + step.negative) as f64;
            curve.push(point(found, taken, positives, negatives));
        }
        curve
    }

    /// Drawings of the curves of two classes.
    pub(super) fn curves(&self) -> Result<Vec<Svg>> {
        if self.roc().is_empty() {
            return Ok(Vec::new());
        }
        let steps = steps(&self.scores);
        let (area, precision) = (roc_auc(&steps), average_precision(&steps));
        let second = self.class(1);
        let (unit, diagonal) = ((0.0, 1.0), [(0.0, 0.0), (1.0, 1.0)]);
        let roc = Chart::new("false positive rate", "true positive rate")
            .title(format!("ROC of “{second}”, area {area:.4}"))
            .ranges(unit, unit)
            .guide(diagonal)
            .line("", self.roc());
        let recall = Chart::new("recall", "precision")
            .title(format!("precision and recall of “{second}”, average precision {precision:.4}"))
            .ranges(unit, unit)
            .line("", self.precision_recall());
        [roc, recall].iter().map(Chart::to_svg).collect()
    }

    /// Adds a batch.
    fn add(
        &mut self,
        index: &mut usize,
        probabilities: &Tensor<f64>,
        labels: &Tensor<i64>,
    ) -> Result<()> {
        let classes = probabilities.shape()[1];
        self.confusion.resize_with(classes, || vec![0; classes]);
        let rows = probabilities.to_vec();
        for (row, label) in rows.chunks_exact(classes).zip(labels.to_vec()) {
            let sample = *index;
            *index += 1;
            if label == IGNORED {
                continue;
            }
            let truth = usize::try_from(label).ok().filter(|&truth| truth < classes);
            let Some(truth) = truth else {
                let message =
                    format!("sample {sample}: expected a label below {classes}, got {label}");
                return Err(Error::data("Classification::of", message));
            };
            let (predicted, &probability) = row
                .iter()
                .enumerate()
                .reduce(|best, next| if next.1 > best.1 { next } else { best })
                .ok_or_else(|| {
                    Error::shape("Classification::of", "expected outputs with at least one class")
                })?;
            self.confusion[truth][predicted] += 1;
            if classes == 2 {
                self.scores.push((row[1], truth == 1));
            }
            let of_truth = row[truth];
            self.loss -= of_truth.max(1e-38).ln();
            if predicted != truth {
                let (features, values, picture) = Default::default();
                let index = sample;
                self.keep(Mistake {
                    index,
                    truth,
                    predicted,
                    probability,
                    of_truth,
                    features,
                    values,
                    picture,
                });
            }
        }
        Ok(())
    }

    /// Keeps a mistake if it is among the worst.
    fn keep(&mut self, mistake: Mistake) {
        let index = self.worst.partition_point(|other| other.of_truth <= mistake.of_truth);
        self.worst.insert(index, mistake);
        self.worst.truncate(MISTAKES);
    }

    /// The number of samples that are not ignored.
    pub fn samples(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    /// The share of samples that were classified correctly.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.confusion.iter().enumerate().map(|(i, row)| row[i]).sum();
        right as f64 / self.samples() as f64
    }

    /// The figures of every class.
    pub fn figures(&self) -> Vec<ClassFigures> {
        let figures = self.confusion.iter().enumerate().map(|(class, row)| {
            let right = row[class] as f64;
            let samples: u64 = row.iter().sum();
            let taken: u64 = self.confusion.iter().map(|row| row[class]).sum();
            ClassFigures {
                samples,
                precision: right / taken as f64,
                recall: right / samples as f64,
                f1: 2.0 * right / (samples + taken) as f64,
            }
        });
        figures.collect()
    }
}

/// One row for each class, then the accuracy, and the means over the classes
/// and over the samples.
impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        let share =
            |share: f64| if share.is_nan() { "–".to_owned() } else { format!("{share:.4}") };
        let row = |name: String, shares: [f64; 3], samples: u64| {
            let mut row = vec![name];
            row.extend(shares.map(share));
            row.push(samples.to_string());
            row
        };
        let shares = |class: &ClassFigures| [class.precision, class.recall, class.f1];
        let mut rows: Vec<Vec<String>> = figures
            .iter()
            .enumerate()
            .map(|(index, class)| row(self.class(index), shares(class), class.samples))
            .collect();
        let all = self.samples();
        let mean = |weight: &dyn Fn(&ClassFigures) -> f64| {
            let mut sums = [0.0; 3];
            let total: f64 = figures.iter().map(weight).sum();
            for class in &figures {
                // As in scikit-learn, an undefined share counts as 0.
                let shares = shares(class).map(|share| if share.is_nan() { 0.0 } else { share });
                sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += weight(class) * share);
            }
            sums.map(|sum| sum / total)
        };
        rows.push(vec![
            "accuracy".to_owned(),
            String::new(),
            String::new(),
            share(self.accuracy()),
            all.to_string(),
        ]);
        rows.push(row("mean of the classes".to_owned(), mean(&|_| 1.0), all));
        rows.push(row("mean of the samples".to_owned(), mean(&|c| c.samples as f64), all));
        let head = ["class", "precision", "recall", "F1", "samples"].map(str::to_owned);
        table::write(f, &head, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classification() -> Classification {
        let mut found = Classification::empty();
        let outputs = Tensor::from([
            [0.7, 0.2, 0.1],
            [0.1, 0.2, 0.7],
            [0.6, 0.3, 0.1],
            [0.05, 0.9, 0.05],
            [0.8, 0.1, 0.1],
            [0.2, 0.2, 0.6],
        ]);
        found.add(&mut 0, &outputs, &Tensor::from([0, -100, 1, 1, 2, 2])).unwrap();
        found
    }

    #[test]
    fn figures_follow_from_the_confusion() {
        let found = classification();
        assert_eq!(found.confusion, [[1, 0, 0], [1, 1, 0], [1, 0, 1]]);
        assert_eq!((found.samples(), found.accuracy()), (5, 0.6));
        let figures = found.figures();
        let expected = ClassFigures { samples: 1, precision: 1.0 / 3.0, recall: 1.0, f1: 0.5 };
        assert_eq!(figures[0], expected);
        assert_eq!((figures[1].precision, figures[1].recall), (1.0, 0.5));
    }

    #[test]
    fn the_worst_mistakes_come_first() {
        let worst: Vec<usize> = classification().worst.iter().map(|m| m.index).collect();
        assert_eq!(worst, [4, 2]);
    }

    #[test]
    fn it_prints_a_table_with_the_names_of_the_classes() {
        let text = classification().class_names(["cat", "dog", "fox"]).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "class                precision  recall      F1  samples");
        assert_eq!(lines[2], "cat                     0.3333  1.0000  0.5000        1");
        assert_eq!(lines[5], "accuracy                                0.6000        5");
        // The macro and weighted averages of scikit-learn.
        assert_eq!(lines[6], "mean of the classes     0.7778  0.6667  0.6111        5");
        assert_eq!(lines[7], "mean of the samples     0.8667  0.6000  0.6333        5");
    }

    #[test]
    fn two_classes_have_curves() {
        let mut found = Classification::empty();
        let outputs = Tensor::from([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]);
        found.add(&mut 0, &outputs, &Tensor::from([0, 0, 1, 1])).unwrap();
        // The result of scikit-learn's `roc_curve` with
        // `drop_intermediate=False`.
        let roc = [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)];
        assert_eq!(found.roc(), roc);
        assert_eq!(
            found.precision_recall(),
            [(0.5, 1.0), (0.5, 0.5), (1.0, 2.0 / 3.0), (1.0, 0.5)]
        );
        assert_eq!(found.curves().unwrap().len(), 2);
        assert!(classification().curves().unwrap().is_empty());
    }
}
