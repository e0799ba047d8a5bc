//! The confusion matrix.

use std::fmt;

use dendra_tensor::{Error, Float, Result, Tensor};

use super::{Counted, label_settings};

/// Counts of predicted classes, with a row for each true class and a column for
/// each predicted class. The predicted class is the one with the largest
/// output, the first of equal ones.
///
/// As in scikit-learn, a figure is 0 where its denominator is 0, such as the
/// precision of a class that was never predicted.
///
/// ```
/// use dendra_tensor::Tensor;
/// use dendra_train::ConfusionMatrix;
///
/// let mut matrix = ConfusionMatrix::new();
/// let output = Tensor::from([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]);
/// matrix.update(&output, &Tensor::from([0, 1, 1]))?;
/// assert_eq!(matrix.counts().to_vec(), [1, 0, 1, 1]);
/// assert_eq!(matrix.recall(), [1.0, 0.5]);
/// assert_eq!(matrix.precision(), [0.5, 1.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfusionMatrix {
    pub(super) counted: Counted,
    classes: usize,
    /// The counts, row by row.
    counts: Vec<u64>,
}

label_settings! { ConfusionMatrix.counted; }

impl ConfusionMatrix {
    /// An empty matrix; the first batch determines the number of classes.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty matrix with the same settings.
    pub(super) fn fresh(&self) -> Self {
        Self { counted: self.counted, ..Self::new() }
    }

    /// Counts the class with the largest output for each label. The shapes are
    /// `[batch, classes, …]` for outputs, `[batch, …]` for labels.
    ///
    /// # Errors
    ///
    /// When the shapes do not match each other or those of earlier batches, a
    /// label is not a class, or an output is NaN. Then nothing is counted.
    pub fn update<T: Float>(&mut self, output: &Tensor<T>, labels: &Tensor<i64>) -> Result<()> {
        let scored = self.counted.scored(NAME, output, labels)?;
        let pairs = scored.rows().map(|(scores, class)| Ok((largest(scores)?, class)));
        self.add(scored.classes, &pairs.collect::<Result<Vec<_>>>()?)
    }

    /// Counts pairs of true and predicted classes.
    ///
    /// # Errors
    ///
    /// When the number of classes is not that of the earlier calls. Then
    /// nothing is counted.
    pub(super) fn add(&mut self, classes: usize, pairs: &[(usize, usize)]) -> Result<()> {
        if !self.counts.is_empty() && classes != self.classes {
            let message = format!("expected {} classes, as before, got {classes}", self.classes);
            return Err(Error::shape(NAME, message));
        }
        self.classes = classes;
        self.counts.resize(classes * classes, 0);
        for (predicted, label) in pairs {
            self.counts[label * classes + predicted] += 1;
        }
        Ok(())
    }

    /// The number of classes and all counts.
    pub(super) fn state(&self) -> Option<Vec<f64>> {
        let counts = self.counts.iter().map(|&count| count as f64);
        Some(std::iter::once(self.classes as f64).chain(counts).collect())
    }

    pub(super) fn merge(&mut self, state: &[f64]) -> Result<()> {
        let (classes, counts) = match state {
            [classes, counts @ ..] => (*classes as usize, counts),
            [] => return Err(Error::data(NAME, "expected a state, got none")),
        };
        if classes.checked_mul(classes) != Some(counts.len()) {
            let message = format!("a state of {classes} classes has {} counts", counts.len());
            return Err(Error::data(NAME, message));
        }
        if classes == 0 {
            return Ok(());
        }
        self.add(classes, &[])?;
        self.counts.iter_mut().zip(counts).for_each(|(sum, &count)| *sum += count as u64);
        Ok(())
    }

    /// The number of classes; 0 before the first batch.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The counts, `[true class, predicted class]`.
    pub fn counts(&self) -> Tensor<i64> {
        let classes = self.classes;
        Tensor::from_fn([classes, classes], |i| self.counts[i] as i64)
    }

    /// The number of samples counted.
    pub fn samples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of samples of each class.
    pub fn support(&self) -> Vec<u64> {
        self.counts.chunks(self.classes.max(1)).map(|row| row.iter().sum()).collect()
    }

    /// How often each class was predicted.
    pub fn predicted(&self) -> Vec<u64> {
        let column = |class: usize| self.counts[class..].iter().step_by(self.classes).sum::<u64>();
        (0..self.classes).map(column).collect()
    }

    /// The number of correct predictions of each class.
    pub fn right(&self) -> Vec<u64> {
        (0..self.classes).map(|class| self.counts[class * self.classes + class]).collect()
    }

    /// For each class, the share of its predictions that are correct.
    pub fn precision(&self) -> Vec<f64> {
        self.right().into_iter().zip(self.predicted()).map(|(a, b)| share(a, b)).collect()
    }

    /// For each class, the share of its samples that are predicted correctly.
    pub fn recall(&self) -> Vec<f64> {
        self.right().into_iter().zip(self.support()).map(|(a, b)| share(a, b)).collect()
    }

    /// For each class, the harmonic mean of precision and recall.
    pub fn f1(&self) -> Vec<f64> {
        let all = self.support().into_iter().zip(self.predicted()).map(|(a, b)| a + b);
        self.right().into_iter().zip(all).map(|(right, all)| share(2 * right, all)).collect()
    }
}

const NAME: &str = "ConfusionMatrix";

/// The class with the largest score, the first of equal ones.
fn largest<T: Float>(scores: &[T]) -> Result<usize> {
    let mut best = 0;
    for (class, &score) in scores.iter().enumerate() {
        if score.is_nan() {
            let message = "an output is NaN, so none of them is the largest";
            return Err(Error::data(NAME, message));
        }
        if score > scores[best] {
            best = class;
        }
    }
    Ok(best)
}

/// A quotient of counts; 0 where the denominator is 0.
pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// Prints as a table: the rows are true classes, the columns predicted ones.
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = self.counts.iter().copied().max().unwrap_or(0).max(self.classes as u64);
        let width = largest.to_string().len() + 1;
        let side = self.classes.to_string().len().max(4);
        write!(f, "{:>side$} |", "true")?;
        (0..self.classes).try_for_each(|class| write!(f, "{class:>width$}"))?;
        writeln!(f, "   predicted")?;
        writeln!(f, "{:->line$}", "", line = side + 2 + width * self.classes)?;
        for (class, row) in self.counts.chunks(self.classes.max(1)).enumerate() {
            write!(f, "{class:>side$} |")?;
            row.iter().try_for_each(|count| write!(f, "{count:>width$}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_a_table() {
        let mut matrix = ConfusionMatrix::new();
        matrix.add(2, &[(0, 0), (0, 0), (1, 0), (1, 1), (1, 1)]).unwrap();
        let expected = "true | 0 1   predicted\n----------\n   0 | 2 1\n   1 | 0 2\n";
        assert_eq!(matrix.to_string(), expected);
        assert_eq!(ConfusionMatrix::new().to_string().lines().count(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_not_counted() {
        let mut matrix = ConfusionMatrix::new();
        let outputs = Tensor::<f32>::zeros([2, 3]);
        for bad in [3, -1] {
            let error = matrix.update(&outputs, &Tensor::from([0, bad])).unwrap_err().to_string();
            assert!(error.contains(&format!("expected labels in 0..3, got {bad}")), "{error}");
        }
        assert_eq!(matrix.samples(), 0);
        matrix.update(&outputs, &Tensor::from([0, 1])).unwrap();
        let other = matrix.update(&Tensor::<f32>::zeros([2, 4]), &Tensor::from([0, 1]));
        assert!(other.unwrap_err().to_string().contains("expected 3 classes, as before, got 4"));
        assert!(matrix.update(&outputs, &Tensor::from([0])).is_err());
        let nan = Tensor::from([[0.0, 1.0, 2.0], [0.0, f32::NAN, 0.0]]);
        let error = matrix.update(&nan, &Tensor::from([0, 1])).unwrap_err().to_string();
        assert!(error.contains("an output is NaN"), "{error}");
        assert_eq!(matrix.samples(), 2);
    }
}
