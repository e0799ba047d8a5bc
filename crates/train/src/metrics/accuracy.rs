//! Shares of right predictions.

use dendra_tensor::{Result, Tensor};

use super::{Metric, check_classes, check_same};

/// How many of how many were right.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    right: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, outcomes: impl Iterator<Item = bool>) {
        for right in outcomes {
            self.right += usize::from(right);
            self.all += 1;
        }
    }

    fn value(self) -> f64 {
        self.right as f64 / self.all as f64
    }
}

/// The share of samples whose largest output is that of the right class.
///
/// Outputs have the shape `[batch, classes]` (logits or probabilities), labels
/// `[batch]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy(Share);

impl Accuracy {
    /// Nothing gathered yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric> {
        Box::new(Self::new())
    }

    fn update(&mut self, output: &Tensor, target: &Tensor<i64>) -> Result<()> {
        check_classes("Accuracy", output.shape(), target.shape())?;
        let predicted = output.argmax(1)?.to_vec();
        self.0.add(predicted.into_iter().zip(target.to_vec()).map(|(found, right)| found == right));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.0.value()
    }
}

/// As [`Accuracy`], for targets of shape `[batch, classes]` that hold the share
/// of every class: one 1 among zeros, or what label smoothing, mixup and cutmix
/// make of it. The class with the largest share is the right one.
///
/// ```
/// use dendra_datasets::digits;
/// use dendra_datasets::transforms::{LabelSmoothing, MixUp};
/// use dendra_losses::CrossEntropy;
/// use dendra_nn::Sequential;
/// use dendra_optim::Adam;
/// use dendra_tensor::Rng;
/// use dendra_train::{CategoricalAccuracy, Fit, Trainer};
///
/// let train = MixUp::new(LabelSmoothing::new(digits(200, 1), 0.1)?, 0.2)?;
/// let test = LabelSmoothing::new(digits(50, 2), 0.0)?;
/// let model = Sequential::input([1, 28, 28]).flatten().dense(10).build(&mut Rng::seed(42))?;
/// let mut trainer = Trainer::new(model, Adam::new(1e-2), CrossEntropy::new())
///     .metric(CategoricalAccuracy::new());
/// trainer.fit(&train, Fit::epochs(3).validate_on(&test).quiet())?;
/// assert!(trainer.evaluate(&test)?.metric("accuracy")? > 0.3);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CategoricalAccuracy(Share);

impl CategoricalAccuracy {
    /// Nothing gathered yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric<Tensor> for CategoricalAccuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor>> {
        Box::new(Self::new())
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        check_same("CategoricalAccuracy", output.shape(), target.shape())?;
        let right = target.argmax(1)?;
        check_classes("CategoricalAccuracy", output.shape(), right.shape())?;
        let predicted = output.argmax(1)?.to_vec();
        self.0.add(predicted.into_iter().zip(right.to_vec()).map(|(found, right)| found == right));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.0.value()
    }
}

/// The share of samples whose right class is among the `k` largest outputs.
///
/// A class with the same output as the right one counts against it, and so
/// does a NaN, so a model cannot score by giving all classes one value.
#[derive(Clone, Copy, Debug)]
pub struct TopKAccuracy {
    k: usize,
    share: Share,
}

impl TopKAccuracy {
    /// Nothing gathered yet.
    pub fn new(k: usize) -> Self {
        Self { k, share: Share::default() }
    }
}

impl Metric for TopKAccuracy {
    fn name(&self) -> String {
        format!("top-{} accuracy", self.k)
    }

    fn fresh(&self) -> Box<dyn Metric> {
        Box::new(Self::new(self.k))
    }

    fn update(&mut self, output: &Tensor, target: &Tensor<i64>) -> Result<()> {
        let classes = check_classes("TopKAccuracy", output.shape(), target.shape())?;
        let rows = output.to_vec();
        let rows = rows.chunks_exact(classes).zip(target.to_vec());
        let k = self.k;
        self.share.add(rows.map(|(row, label)| {
            let right = usize::try_from(label).ok().and_then(|label| row.get(label));
            right.is_some_and(|&right| {
                // Every class that is not clearly below the right one; this
                // counts the right one itself.
                let below = |other: f32| other < right;
                let ahead = row.iter().filter(|&&other| !below(other)).count();
                ahead <= k
            })
        }));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.share.value()
    }
}

/// The share of outputs on the same side of a threshold as their targets, for
/// outputs and targets of one shape.
#[derive(Clone, Copy, Debug)]
pub struct BinaryAccuracy {
    threshold: f32,
    share: Share,
}

impl BinaryAccuracy {
    /// With the threshold 0.5, for probabilities.
    pub fn new() -> Self {
        Self::at(0.5)
    }

    /// With another threshold: 0 for logits.
    pub fn at(threshold: f32) -> Self {
        Self { threshold, share: Share::default() }
    }
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl Metric<Tensor> for BinaryAccuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor>> {
        Box::new(Self::at(self.threshold))
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        check_same("BinaryAccuracy", output.shape(), target.shape())?;
        let threshold = self.threshold;
        let pairs = output.to_vec().into_iter().zip(target.to_vec());
        self.share.add(
            pairs.map(|(found, right)| !found.is_nan() && (found > threshold) == (right > 0.5)),
        );
        Ok(())
    }

    fn value(&self) -> f64 {
        self.share.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Tensor {
        Tensor::from([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
    }

    #[test]
    fn accuracy_gathers_over_batches_of_any_size() {
        let mut accuracy = Accuracy::new();
        assert!(accuracy.value().is_nan());
        accuracy.update(&outputs(), &Tensor::from([1, 2, 2])).unwrap();
        accuracy.update(&Tensor::from([[9.0, 0.0]]), &Tensor::from([0])).unwrap();
        assert_eq!(accuracy.value(), 0.75);
        assert!(accuracy.fresh().value().is_nan());
    }

    #[test]
    fn the_right_class_may_be_among_the_k_largest() {
        let of = |k, labels: [i64; 3]| {
            let mut metric = TopKAccuracy::new(k);
            metric.update(&outputs(), &Tensor::from(labels)).unwrap();
            metric.value()
        };
        assert_eq!(of(1, [1, 0, 2]), 1.0);
        assert_eq!(of(2, [2, 2, 0]), 2.0 / 3.0);
        assert_eq!(of(3, [0, 1, 0]), 1.0);
    }

    #[test]
    fn equal_outputs_and_nan_do_not_score() {
        let mut metric = TopKAccuracy::new(1);
        metric.update(&Tensor::zeros([1, 10]), &Tensor::from([3])).unwrap();
        metric.update(&Tensor::full([1, 10], f32::NAN), &Tensor::from([3])).unwrap();
        assert_eq!(metric.value(), 0.0);
    }

    #[test]
    fn shares_of_classes_tell_the_right_one() {
        let mut accuracy = CategoricalAccuracy::new();
        let shares = Tensor::from([[0.1, 0.8, 0.1], [0.4, 0.6, 0.0], [0.0, 0.0, 1.0]]);
        accuracy.update(&outputs(), &shares).unwrap();
        assert_eq!(accuracy.value(), 2.0 / 3.0);
        assert!(accuracy.update(&outputs(), &Tensor::zeros([3, 2])).is_err());
        assert!(accuracy.update(&Tensor::zeros([3]), &Tensor::zeros([3])).is_err());
    }

    #[test]
    fn binary_accuracy_compares_sides_of_the_threshold() {
        let mut metric = BinaryAccuracy::new();
        let output = Tensor::from([[0.9], [0.2], [0.6], [f32::NAN]]);
        metric.update(&output, &Tensor::from([[1.0], [0.0], [0.0], [0.0]])).unwrap();
        assert_eq!(metric.value(), 0.5);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let error = Accuracy::new().update(&outputs(), &Tensor::from([1, 2])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Accuracy: expected output [batch, classes] and labels [batch], got [3, 3] and [2]"
        );
        assert!(BinaryAccuracy::new().update(&outputs(), &Tensor::zeros([3])).is_err());
    }
}
