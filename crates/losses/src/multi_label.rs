//! Margin losses of class scores, for one or several labels per sample.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::ops::cross_entropy::check_labels;
use dendra_tensor::ops::{Attributes, Term};
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Rng, Shape, Tensor};

use crate::binary::BCEWithLogitsLoss;
use crate::classes::{LabelSettings, ensure_class_weights};
use crate::loss::{Loss, is_loss, loss_functions, reduce};
use crate::pointwise::ensure_at_least;
use crate::samples::{SampleLoss, Samples, padded, piecewise_linear};

/// The multi-class hinge loss of scores x and a label y:
/// `Σ_{c≠y} w_y·max(0, margin − x_y + x_c)^p / classes`.
///
/// Scores have the shape `[n, classes]` or `[classes]`, labels `[n]` or `[]`.
///
/// Source: Weston and Watkins, "Multi-class support vector machines", 1998.
///
/// ```
/// use dendra_losses::multi_margin_loss;
/// use dendra_tensor::Tensor;
///
/// let scores = Tensor::from([[0.1, 0.2, 0.4, 0.8_f64]]);
/// let loss = multi_margin_loss(&scores, &Tensor::from([3]))?;
/// assert!((loss.item()? - (0.3 + 0.4 + 0.6) / 4.0).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct MultiMarginLoss {
    /// The exponent, 1 or 2.
    #[set(default = 1)]
    p: u32,
    /// The loss is 0 if the score of the label exceeds all other scores by this
    /// margin.
    #[set(default = 1.0)]
    margin: f64,
    /// A weight for each class.
    #[set(into)]
    class_weights: Option<Vec<f64>>,
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The hinge loss of scores x for samples with several labels: the sum of
/// `max(0, 1 − (x_y − x_c)) / classes` over all labels y and all classes c that are
/// not labels.
///
/// Scores have the shape `[n, classes]` or `[classes]`. The target has the same
/// shape. It contains the labels of each sample in any order, followed by −1. All
/// elements after the first −1 are ignored.
///
/// ```
/// use dendra_losses::multilabel_margin_loss;
/// use dendra_tensor::Tensor;
///
/// let scores = Tensor::from([[0.1, 0.2, 0.4, 0.8_f64]]);
/// let loss = multilabel_margin_loss(&scores, &Tensor::from([[3, 0, -1, 1]]))?;
/// assert!((loss.item()? - 0.85).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct MultiLabelMarginLoss {
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The binary cross-entropy of the logits of several labels, averaged over the
/// classes: `−Σ_c w_c·(y_c·ln σ(x_c) + (1 − y_c)·ln(1 − σ(x_c))) / classes`.
///
/// Logits and targets have the shape `[…, classes]`; targets are between 0 and 1.
/// The losses before the reduction have the shape `[…]`.
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct MultiLabelSoftMarginLoss {
    #[set(skip)]
    weight: Option<Tensor<f64>>,
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

impl MultiMarginLoss {
    const NAME: &'static str = "multi_margin_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of scores and labels do not match, a label is
    /// out of range, or a setting is invalid.
    pub fn compute<V: Ops>(&self, scores: &V, labels: &Tensor<i64>) -> Result<V> {
        let (rows, classes) = rows_of(Self::NAME, scores)?;
        if self.p != 1 && self.p != 2 {
            return Err(Error::argument(Self::NAME, format!("p must be 1 or 2, got {}", self.p)));
        }
        ensure_at_least(Self::NAME, "margin", f64::MIN, self.margin)?;
        let shape = scores.value().shape();
        // As in PyTorch, the label of a single sample can be a vector of length 1.
        let is_one = shape.len() < 2 && labels.len() == 1 && labels.rank() < 2;
        if !is_one {
            LabelSettings::default().one_label_each(Self::NAME, shape, labels)?;
        }
        // Ignores no label, since 0 is a valid class.
        check_labels(Self::NAME, labels, classes, 0)?;
        let weights = self.class_weights.clone();
        ensure_class_weights(Self::NAME, weights.as_deref(), classes)?;
        let labels = labels.to_vec().into_iter().map(|label| label as usize).collect();
        let loss = OneLabel { squared: self.p == 2, margin: self.margin, weights, labels };
        of_samples(loss, &rows, scores.value().rank(), self.reduction)
    }
}

impl MultiLabelMarginLoss {
    const NAME: &'static str = "multilabel_margin_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of scores and target differ, or if the target
    /// contains a number that is neither a class nor −1.
    pub fn compute<V: Ops>(&self, scores: &V, target: &Tensor<i64>) -> Result<V> {
        let (rows, classes) = rows_of(Self::NAME, scores)?;
        let shape = scores.value().shape();
        if target.shape() != shape {
            let found = target.shape();
            let message =
                format!("scores of shape {shape} need a target of the same shape, got {found}");
            return Err(Error::shape(Self::NAME, message));
        }
        check_labels(Self::NAME, target, classes, -1)?;
        let labels = target.to_vec();
        let sets = labels.chunks_exact(classes).map(|row| {
            let labels = row.iter().take_while(|&&label| label >= 0);
            labels.map(|&label| label as usize).collect()
        });
        let loss = ManyLabels { labels: sets.collect() };
        of_samples(loss, &rows, scores.value().rank(), self.reduction)
    }
}

impl MultiLabelSoftMarginLoss {
    /// Sets a factor for each class, which broadcasts to the shape of the logits.
    #[must_use]
    pub fn weight<T: Float>(mut self, weight: &Tensor<T>) -> Self {
        self.weight = Some(weight.cast());
        self
    }

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes of logits and target differ, the target
    /// contains a number that is not a probability, or the weight does not broadcast
    /// to them.
    pub fn compute<V: Ops>(&self, logits: &V, target: &Tensor<V::Element>) -> Result<V> {
        let context = "multilabel_soft_margin_loss";
        if logits.value().rank() == 0 {
            return Err(Error::shape(context, "expected logits […, classes], got a scalar"));
        }
        let mut each = BCEWithLogitsLoss::new().reduction(Reduction::None);
        if let Some(weight) = &self.weight {
            each = each.weight(weight);
        }
        let losses = each.compute(logits, target).map_err(|error| error.within(context))?;
        Ok(reduce(self.reduction, &losses.mean_axes(&[-1], false)?))
    }
}

impl<T: Float> Loss<Tensor<i64>, T> for MultiMarginLoss {
    fn forward(&self, output: &Var<T>, target: &Tensor<i64>) -> Result<Var<T>> {
        self.compute(output, target)
    }

    fn divisor(&self, output: &Var<T>, _: &Tensor<i64>, _: usize) -> Option<f64> {
        (self.reduction == Reduction::Mean).then(|| samples(output.shape()) as f64)
    }

    fn with_class_weights(&self, weights: &[f64]) -> Result<Box<dyn Loss<Tensor<i64>, T>>> {
        Ok(Box::new(self.clone().class_weights(weights)))
    }

    fn unreduced(&self) -> Result<Box<dyn Loss<Tensor<i64>, T>>> {
        Ok(Box::new(self.clone().reduction(Reduction::None)))
    }
}

is_loss! { MultiLabelMarginLoss, Tensor<i64>, |_loss, output, _target| samples(output.shape()) }
is_loss! { MultiLabelSoftMarginLoss, Tensor<T>, |_loss, output, _target| samples(output.shape()) }

/// Returns the number of samples in scores `[…, classes]`.
fn samples(scores: &Shape) -> usize {
    scores.split_last().map_or(1, |(_, samples)| samples.iter().product())
}

loss_functions! {
    multi_margin_loss(scores, labels: &Tensor<i64>) = MultiMarginLoss;
    multilabel_margin_loss(scores, target: &Tensor<i64>) = MultiLabelMarginLoss;
    multilabel_soft_margin_loss(logits, target: &Tensor<V::Element>) = MultiLabelSoftMarginLoss;
}

/// Returns the scores as `[n, classes]`, and the number of classes. A scalar is one
/// sample with one class.
fn rows_of<V: Ops>(context: &str, scores: &V) -> Result<(V, usize)> {
    match scores.value().shape()[..] {
        [] => Ok((scores.reshape([1, 1])?, 1)),
        [classes] if classes > 0 => Ok((scores.unsqueeze(0)?, classes)),
        [_, classes] if classes > 0 => Ok((scores.clone(), classes)),
        _ => {
            let found = scores.value().shape();
            let message = format!("expected scores [n, classes] or [classes], got {found}");
            Err(Error::shape(context, message))
        }
    }
}

/// Computes the reduced losses of the rows. If the scores had no batch axis, the
/// result is a scalar.
fn of_samples<V: Ops>(
    loss: impl SampleLoss<V::Element>,
    rows: &V,
    rank: usize,
    reduction: Reduction,
) -> Result<V> {
    let losses = reduce(reduction, &V::try_apply(Samples(loss), &[rows])?);
    if rank < 2 { losses.reshape(Shape::scalar()) } else { Ok(losses) }
}

/// [`MultiMarginLoss`] of the rows of a matrix.
#[derive(Clone)]
struct OneLabel {
    squared: bool,
    margin: f64,
    weights: Option<Vec<f64>>,
    labels: Vec<usize>,
}

impl<T: Float> SampleLoss<T> for OneLabel {
    const NAME: &'static str = MultiMarginLoss::NAME;
    const COST: usize = 2;

    fn check(&self, _: &Shape) -> Result<()> {
        Ok(())
    }

    fn loss(&self, sample: usize, scores: &[T], mut gradient: Option<&mut [T]>) -> T {
        let label = self.labels[sample];
        let weight = self.weights.as_ref().map_or(1.0, |weights| weights[label]);
        let share = T::from_f64(weight / scores.len() as f64);
        let ahead = T::from_f64(self.margin) - scores[label];
        let (mut loss, mut pull) = (T::ZERO, T::ZERO);
        for (class, &score) in scores.iter().enumerate() {
            let missing = (ahead + score).max_nan(T::ZERO);
            let counts = class != label;
            let power = if self.squared { missing * missing } else { missing };
            loss += if counts { share * power } else { T::ZERO };
            if let Some(gradient) = gradient.as_deref_mut() {
                let slope = match self.squared {
                    true => T::from_f64(2.0) * share * missing,
                    false => share,
                };
                gradient[class] = if counts && missing > T::ZERO { slope } else { T::ZERO };
                pull += gradient[class];
            }
        }
        if let Some(gradient) = gradient {
            gradient[label] = -pull;
        }
        loss
    }

    fn composed(&self, scores: &Term<T>) -> Result<Term<T>> {
        if !self.squared {
            return piecewise_linear(self, scores);
        }
        let shape = scores.shape();
        let (samples, classes) = (shape[0], shape[1]);
        let index = Tensor::from_fn([samples, 1], |sample| self.labels[sample] as i64);
        let missing = scores - scores.gather(1, &index)? + self.margin;
        let values = missing.value().to_vec();
        let left_out = Tensor::from_fn(shape, |i| {
            let counts = i % classes != self.labels[i / classes] && values[i] > T::ZERO;
            !counts
        });
        let share = Tensor::from_fn([samples, 1], |sample| {
            let weight = self.weights.as_ref().map_or(1.0, |each| each[self.labels[sample]]);
            T::from_f64(weight / classes as f64)
        });
        let squares = missing.masked_fill(&left_out, 0.0)?.square();
        (squares * Term::constant(share)).sum_axes(&[1], false)
    }

    fn attributes(&self) -> Attributes {
        let labels = Tensor::from_fn([self.labels.len()], |sample| self.labels[sample] as i64);
        vec![
            ("labels", (&labels).into()),
            ("p", (if self.squared { 2_i64 } else { 1 }).into()),
            ("margin", self.margin.into()),
            ("class_weights", self.weights.as_deref().into()),
        ]
    }

    fn examples() -> Vec<(Self, Tensor<T>)> {
        let mut rng = Rng::seed(31);
        let mut example = |samples: usize, squared, margin, weights: Option<Vec<f64>>| {
            let labels = (0..samples).map(|_| rng.below(4)).collect();
            let scores = Tensor::normal([samples, 4], 0.0, 1.0, &mut rng);
            (Self { squared, margin, weights, labels }, scores)
        };
        vec![
            example(5, false, 1.0, None),
            example(5, true, 0.5, Some(vec![0.5, 1.0, 2.0, 3.0])),
            example(0, false, 1.0, None),
        ]
    }
}

/// [`MultiLabelMarginLoss`] of the rows of a matrix.
#[derive(Clone)]
struct ManyLabels {
    labels: Vec<Vec<usize>>,
}

impl<T: Float> SampleLoss<T> for ManyLabels {
    const NAME: &'static str = MultiLabelMarginLoss::NAME;
    const COST: usize = 8;

    fn check(&self, _: &Shape) -> Result<()> {
        Ok(())
    }

    fn loss(&self, sample: usize, scores: &[T], mut gradient: Option<&mut [T]>) -> T {
        let share = T::from_f64(1.0 / scores.len() as f64);
        let labels = &self.labels[sample];
        let mut is_label = vec![false; scores.len()];
        labels.iter().for_each(|&label| is_label[label] = true);
        if let Some(gradient) = gradient.as_deref_mut() {
            gradient.fill(T::ZERO);
        }
        let mut loss = T::ZERO;
        for &label in labels {
            for class in (0..scores.len()).filter(|&class| !is_label[class]) {
                let missing = (T::ONE - (scores[label] - scores[class])).max_nan(T::ZERO);
                loss += share * missing;
                if let Some(gradient) = gradient.as_deref_mut().filter(|_| missing > T::ZERO) {
                    gradient[label] -= share;
                    gradient[class] += share;
                }
            }
        }
        loss
    }

    fn composed(&self, scores: &Term<T>) -> Result<Term<T>> {
        piecewise_linear(self, scores)
    }

    fn attributes(&self) -> Attributes {
        vec![("labels", (&padded(&self.labels)).into())]
    }

    fn examples() -> Vec<(Self, Tensor<T>)> {
        let mut rng = Rng::seed(32);
        let labels = vec![vec![3, 0], vec![1], vec![], vec![0, 1, 2, 3]];
        let mut scores = |samples: usize| Tensor::normal([samples, 4], 0.0, 1.0, &mut rng);
        vec![(Self { labels }, scores(4)), (Self { labels: vec![] }, scores(0))]
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::ops::check::check_twice;

    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Samples<OneLabel>>().unwrap();
        check_twice::<Samples<ManyLabels>>().unwrap();
    }

    #[test]
    fn a_nan_is_not_hidden_by_the_margin() {
        let scores = Tensor::from([[0.0, f32::NAN, 1.0]]);
        let one = multi_margin_loss(&scores, &Tensor::from([0])).unwrap();
        let many = multilabel_margin_loss(&scores, &Tensor::from([[0, -1, -1]])).unwrap();
        assert!(one.item().unwrap().is_nan() && many.item().unwrap().is_nan());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let scores = Tensor::<f32>::zeros([2, 3]);
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert_eq!(
            message(multi_margin_loss(&scores, &Tensor::from([[0], [1]]))),
            "multi_margin_loss: an output of shape [2, 3] needs labels of shape [2], got [2, 1]"
        );
        assert!(message(multi_margin_loss(&scores, &Tensor::from([0, -1]))).contains("at [1]"));
        let cubed = MultiMarginLoss::new().p(3);
        assert!(message(cubed.compute(&scores, &Tensor::from([0, 1]))).contains("p must be"));
        let weighted = MultiMarginLoss::new().class_weights([1.0]);
        assert_eq!(
            message(weighted.compute(&scores, &Tensor::from([0, 1]))),
            "multi_margin_loss: expected 3 class weights, one for each class, got 1"
        );
        assert!(
            message(multilabel_margin_loss(&scores, &Tensor::from([0, 1])))
                .contains("scores of shape [2, 3] need a target")
        );
        let beyond = Tensor::from([[0, 3, -1], [0, -1, -1]]);
        assert!(message(multilabel_margin_loss(&scores, &beyond)).contains("got 3 at [0, 1]"));
        let scalar = Tensor::<f32>::scalar(0.0);
        assert!(message(multilabel_soft_margin_loss(&scalar, &scalar)).contains("a scalar"));
    }

    #[test]
    fn one_sample_needs_no_axis_and_one_class_none_either() {
        let scores = Tensor::from([0.1, 0.2, 0.4, 0.8_f64]);
        let label = multi_margin_loss(&scores, &Tensor::scalar(3)).unwrap();
        assert_eq!(multi_margin_loss(&scores, &Tensor::from([3])).unwrap(), label);
        assert!(multi_margin_loss(&scores, &Tensor::from([3, 3])).is_err());
        let (score, zero) = (Tensor::scalar(0.5_f64), Tensor::scalar(0));
        assert_eq!(multi_margin_loss(&score, &zero).unwrap(), Tensor::scalar(0.0));
        assert_eq!(multilabel_margin_loss(&score, &zero).unwrap(), Tensor::scalar(0.0));
    }
}
