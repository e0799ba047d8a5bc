//! Shares of correct predictions.

use dendra_tensor::{Float, Result, Tensor};

use super::{Counted, Metric, check_same, label_settings, numbers};

/// The number of correct predictions and of all predictions.
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

    fn state(self) -> Option<Vec<f64>> {
        Some(vec![self.right as f64, self.all as f64])
    }

    fn merge(&mut self, context: &str, state: &[f64]) -> Result<()> {
        let [right, all] = numbers(context, state)?;
        self.right += right as usize;
        self.all += all as usize;
        Ok(())
    }
}

/// Whether the score of the true class is among the `k` largest. Of equal
/// scores the first counts as the larger, as for [`Tensor::argmax`]. When a
/// score is NaN, the scores have no order, and the prediction is wrong.
fn is_among<T: Float>(k: usize, scores: &[T], right: usize) -> bool {
    let score = scores[right];
    let before = scores[..right].iter().filter(|&&other| other >= score).count();
    let after = scores[right + 1..].iter().filter(|&&other| other > score).count();
    before + after < k && !scores.iter().any(|score| score.is_nan())
}

/// The share of labels whose output is the largest. Of equal outputs the first
/// counts as the larger.
///
/// Outputs have the shape `[batch, classes, …]` (logits or probabilities),
/// labels `[batch, …]`. When one of the outputs is NaN, the prediction is
/// wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy {
    counted: Counted,
    share: Share,
}

label_settings! { Accuracy.counted; TopKAccuracy.counted; }

impl Accuracy {
    /// An empty metric.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Float> Metric<Tensor<i64>, Tensor<T>> for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<i64>, Tensor<T>>> {
        Box::new(Self { counted: self.counted, ..Self::new() })
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<i64>) -> Result<()> {
        let scored = self.counted.scored("Accuracy", output, target)?;
        self.share.add(scored.rows().map(|(scores, right)| is_among(1, scores, right)));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.share.value()
    }

    fn state(&self) -> Option<Vec<f64>> {
        self.share.state()
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.share.merge("Accuracy", state)
    }
}

/// Like [`Accuracy`], for targets of shape `[batch, classes, …]` that hold the
/// share of every class: one-hot targets, or those that label smoothing, mixup
/// or cutmix make of them. The class with the largest share is the true one.
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
    /// An empty metric.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Float> Metric<Tensor<T>, Tensor<T>> for CategoricalAccuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<T>, Tensor<T>>> {
        Box::new(Self::new())
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        check_same("CategoricalAccuracy", output.shape(), target.shape())?;
        let scored =
            Counted::default().scored("CategoricalAccuracy", output, &target.argmax(1)?)?;
        self.0.add(scored.rows().map(|(scores, right)| is_among(1, scores, right)));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.0.value()
    }

    fn state(&self) -> Option<Vec<f64>> {
        self.0.state()
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.0.merge("CategoricalAccuracy", state)
    }
}

/// The share of labels whose output is among the `k` largest; `k = 1` gives
/// [`Accuracy`].
///
/// Outputs have the shape `[batch, classes, …]`, labels `[batch, …]`. Of equal
/// outputs the first counts as the larger. When one of the outputs is NaN, the
/// prediction is wrong.
#[derive(Clone, Copy, Debug)]
pub struct TopKAccuracy {
    k: usize,
    counted: Counted,
    share: Share,
}

impl TopKAccuracy {
    /// An empty metric.
    pub fn new(k: usize) -> Self {
        Self { k, counted: Counted::default(), share: Share::default() }
    }
}

impl<T: Float> Metric<Tensor<i64>, Tensor<T>> for TopKAccuracy {
    fn name(&self) -> String {
        format!("top-{} accuracy", self.k)
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<i64>, Tensor<T>>> {
        Box::new(Self { counted: self.counted, ..Self::new(self.k) })
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<i64>) -> Result<()> {
        let scored = self.counted.scored("TopKAccuracy", output, target)?;
        let k = self.k;
        self.share.add(scored.rows().map(|(scores, right)| is_among(k, scores, right)));
        Ok(())
    }

    fn value(&self) -> f64 {
        self.share.value()
    }

    fn state(&self) -> Option<Vec<f64>> {
        self.share.state()
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.share.merge("TopKAccuracy", state)
    }
}

/// The share of outputs on the same side of a threshold as their targets.
/// Outputs and targets have the same shape.
#[derive(Clone, Copy, Debug)]
pub struct BinaryAccuracy {
    threshold: f32,
    share: Share,
}

impl BinaryAccuracy {
    /// A metric with the threshold 0.5, for probabilities.
    pub fn new() -> Self {
        Self::at(0.5)
    }

    /// A metric with this threshold: 0 for logits.
    pub fn at(threshold: f32) -> Self {
        Self { threshold, share: Share::default() }
    }
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Metric<Tensor<T>, Tensor<T>> for BinaryAccuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<T>, Tensor<T>>> {
        Box::new(Self::at(self.threshold))
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        check_same("BinaryAccuracy", output.shape(), target.shape())?;
        let threshold = f64::from(self.threshold);
        let pairs = output.to_vec().into_iter().zip(target.to_vec());
        let pairs = pairs.map(|(found, right)| (found.to_f64(), right.to_f64()));
        self.share.add(
            pairs.map(|(found, right)| !found.is_nan() && (found > threshold) == (right > 0.5)),
        );
        Ok(())
    }

    fn value(&self) -> f64 {
        self.share.value()
    }

    fn state(&self) -> Option<Vec<f64>> {
        self.share.state()
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.share.merge("BinaryAccuracy", state)
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
        assert!(Metric::<_, Tensor>::fresh(&accuracy).value().is_nan());
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
    fn of_equal_outputs_the_first_is_larger_and_nan_does_not_score() {
        let value = |metric: &mut dyn Metric, output: &Tensor, labels: &[i64]| {
            let labels = Tensor::from_vec(labels.to_vec(), [labels.len()]).unwrap();
            metric.update(output, &labels).unwrap();
            metric.value()
        };
        let ties =
            Tensor::from([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0], [1.0, 2.0, 2.0], [3.0, 3.0, 1.0]]);
        for labels in [[0, 1, 2, 0], [1, 2, 0, 1], [2, 1, 1, 0]] {
            let accuracy = value(&mut Accuracy::new(), &ties, &labels);
            assert_eq!(value(&mut TopKAccuracy::new(1), &ties, &labels), accuracy);
        }
        assert_eq!(value(&mut Accuracy::new(), &ties, &[0, 1, 2, 0]), 0.75);
        assert_eq!(value(&mut TopKAccuracy::new(2), &ties, &[2, 2, 0, 1]), 0.5);
        let nan = Tensor::from([[f32::NAN, 0.0], [0.0, f32::NAN], [f32::NAN, f32::NAN]]);
        for labels in [[0, 0, 0], [1, 1, 1]] {
            assert_eq!(value(&mut Accuracy::new(), &nan, &labels), 0.0);
            assert_eq!(value(&mut TopKAccuracy::new(2), &nan, &labels), 0.0);
        }
    }

    #[test]
    fn every_position_counts_unless_its_label_is_ignored() {
        // Two samples of three classes and two positions; each column is a
        // position.
        let output = Tensor::from([
            [[0.1, 0.7], [0.7, 0.2], [0.2, 0.1]],
            [[0.5, 0.1], [0.2, 0.2], [0.3, 0.9]],
        ]);
        let labels = Tensor::from([[1, 2], [-100, 2]]);
        let mut accuracy = Accuracy::new();
        accuracy.update(&output, &labels).unwrap();
        assert_eq!(accuracy.value(), 2.0 / 3.0);
        let mut top = TopKAccuracy::new(2).ignore_index(2);
        let error = top.update(&output, &labels).unwrap_err().to_string();
        assert_eq!(error, "TopKAccuracy: expected labels in 0..3, got -100");
        top.update(&output, &Tensor::from([[0, 2], [1, 2]])).unwrap();
        assert_eq!(top.value(), 0.0);
        assert!(top.fresh().update(&output, &Tensor::from([[2, 2], [2, 2]])).is_ok());
        let mut shares = CategoricalAccuracy::new();
        shares.update(&output, &output).unwrap();
        assert_eq!(shares.value(), 1.0);
    }

    #[test]
    fn the_class_with_the_largest_share_is_the_true_one() {
        let mut accuracy = CategoricalAccuracy::new();
        let shares = Tensor::from([[0.1, 0.8, 0.1], [0.4, 0.6, 0.0], [0.0, 0.0, 1.0]]);
        accuracy.update(&outputs(), &shares).unwrap();
        assert_eq!(accuracy.value(), 2.0 / 3.0);
        assert!(accuracy.update(&outputs(), &Tensor::zeros([3, 2])).is_err());
        assert!(accuracy.update(&Tensor::<f32>::zeros([3]), &Tensor::zeros([3])).is_err());
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
            "Accuracy: expected output [batch, classes, …] and labels [batch, …], got [3, 3] and \
             [2]"
        );
        assert!(BinaryAccuracy::new().update(&outputs(), &Tensor::zeros([3])).is_err());
    }
}
