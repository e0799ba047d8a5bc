//! Connectionist temporal classification.

mod alignments;

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Number, Ops, Reduction, Result, Shape, Tensor};

use self::alignments::Alignments;
use crate::loss::{Loss, is_loss, loss_functions, reduce};
use crate::samples::Samples;

const NAME: &str = "ctc_loss";

/// Connectionist temporal classification (CTC): the negative log-probability of a
/// sequence of labels, summed over all alignments of the sequence with the steps
/// of an output. An alignment repeats labels and inserts blanks between them. For
/// example, `a·bb·` is an alignment of `ab`. The sequence `aa` requires a blank
/// between the labels.
///
/// | | shape |
/// |---|---|
/// | log-probabilities | `[steps, n, classes]`, or `[steps, classes]` for one sequence |
/// | target | [`CTCTarget`] |
/// | loss, not reduced | `[n]`, or `[]` for one sequence |
///
/// For the mean, each loss is first divided by the length of its target, as in
/// PyTorch. The gradient is the exact gradient with respect to the
/// log-probabilities. PyTorch's gradient assumes that they come from
/// [`log_softmax`](Ops::log_softmax); the gradients of the logits are equal.
///
/// The forward–backward algorithm computes with logarithms in `f64`.
///
/// Source: Graves et al., "Connectionist temporal classification: labelling
/// unsegmented sequence data with recurrent neural networks", 2006.
///
/// ```
/// use dendra_losses::{CTCLoss, CTCTarget};
/// use dendra_tensor::{Ops, Tensor};
///
/// // Two steps, one sequence, and three equally likely classes: the blank and two
/// // labels. Three of nine alignments match the label 1: `1·`, `·1` and `11`.
/// let output = Tensor::<f64>::zeros([2, 1, 3]).log_softmax(-1)?;
/// let target = CTCTarget::new(Tensor::from([[1]]), [2], [1]);
/// let loss = CTCLoss::new().compute(&output, &target)?;
/// assert!((loss.item()? - 3_f64.ln()).abs() < 1e-12);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct CTCLoss {
    /// The class of the blank.
    #[set(default = 0)]
    blank: usize,
    /// Whether infinite losses and their gradients are replaced by 0. A loss is
    /// infinite if the output has too few steps for the labels.
    #[set(default = false)]
    zero_infinity: bool,
    /// The reduction of the losses of all sequences.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The label sequences of a batch, with the lengths of the sequences and outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct CTCTarget {
    /// The labels: rows of shape `[n, longest]`, padded beyond their lengths, or all
    /// sequences concatenated, of shape `[sum of lengths]`.
    pub labels: Tensor<i64>,
    /// The number of valid steps in the output of each sequence.
    pub input_lengths: Vec<usize>,
    /// The number of labels of each sequence.
    pub target_lengths: Vec<usize>,
}

impl CTCTarget {
    /// Creates a target from labels and the lengths of outputs and sequences.
    pub fn new(
        labels: Tensor<i64>,
        input_lengths: impl Into<Vec<usize>>,
        target_lengths: impl Into<Vec<usize>>,
    ) -> Self {
        Self { labels, input_lengths: input_lengths.into(), target_lengths: target_lengths.into() }
    }

    /// Returns the sequences, after checking them against the size of the output:
    /// steps, sequences and classes.
    fn sequences(&self, output: [usize; 3], blank: usize) -> Result<Vec<Vec<usize>>> {
        let [steps, count, classes] = output;
        let (inputs, lengths) = (&self.input_lengths, &self.target_lengths);
        for (name, given) in [("input", inputs.len()), ("target", lengths.len())] {
            if given != count {
                let message =
                    format!("expected {count} {name} lengths, one for each sequence, got {given}");
                return Err(Error::argument(NAME, message));
            }
        }
        if let Some(long) = inputs.iter().find(|&&length| length > steps) {
            let message = format!("an input length is {long}, but there are {steps} steps");
            return Err(Error::argument(NAME, message));
        }
        let shape = self.labels.shape();
        let stride = match shape[..] {
            [rows, longest] if rows == count => {
                if let Some(long) = lengths.iter().find(|&&length| length > longest) {
                    let message = format!("a target length is {long}, but the labels are {shape}");
                    return Err(Error::argument(NAME, message));
                }
                Some(longest)
            }
            [all] if Some(all) == lengths.iter().try_fold(0_usize, |a, &b| a.checked_add(b)) => {
                None
            }
            _ => {
                let message = format!(
                    "{count} sequences of lengths {lengths:?} need labels of shape [{count}, \
                     longest] or [sum of lengths], got {shape}"
                );
                return Err(Error::shape(NAME, message));
            }
        };
        let labels = self.labels.to_vec();
        let mut start = 0;
        let mut sequences = Vec::with_capacity(count);
        for (sequence, &length) in lengths.iter().enumerate() {
            let from = stride.map_or(start, |stride| sequence * stride);
            start += length;
            let class = |&label: &i64| {
                let class = usize::try_from(label).ok().filter(|&class| class < classes);
                class.filter(|&class| class != blank).ok_or_else(|| {
                    let message = format!(
                        "sequence {sequence} has the label {label}, which is {}",
                        if label == blank as i64 { "the blank" } else { "not a class" }
                    );
                    Error::data(NAME, message)
                })
            };
            sequences.push(labels[from..from + length].iter().map(class).collect::<Result<_>>()?);
        }
        Ok(sequences)
    }
}

impl CTCLoss {
    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the sizes of output, labels and lengths do not match, or
    /// if a label is the blank or out of range.
    pub fn compute<V: Ops>(&self, log_probabilities: &V, target: &CTCTarget) -> Result<V> {
        let shape = log_probabilities.value().shape();
        let (output, is_single) = match shape[..] {
            [_, _] => (log_probabilities.unsqueeze(1)?, true),
            [_, _, _] => (log_probabilities.clone(), false),
            _ => {
                let message = format!("expected [steps, n, classes], got {shape}");
                return Err(Error::shape(NAME, message));
            }
        };
        let [steps, count, classes] = [0, 1, 2].map(|axis: usize| output.value().shape()[axis]);
        if self.blank >= classes {
            let message = format!("the blank is {}, but there are {classes} classes", self.blank);
            return Err(Error::argument(NAME, message));
        }
        let labels = target.sequences([steps, count, classes], self.blank)?;
        let alignments = Alignments {
            labels,
            steps: target.input_lengths.clone(),
            blank: self.blank,
            classes,
            zero_infinity: self.zero_infinity,
        };
        let output = output.permute(&[1, 0, 2])?;
        let mut losses = V::try_apply(Samples(alignments), &[&output])?;
        if self.reduction == Reduction::Mean {
            let lengths = &target.target_lengths;
            let share = |i: usize| Number::from_f64(1.0 / lengths[i].max(1) as f64);
            losses = losses.mul(&V::constant(Tensor::from_fn([count], share)))?;
        }
        let loss = reduce(self.reduction, &losses);
        if is_single { loss.reshape(Shape::scalar()) } else { Ok(loss) }
    }
}

is_loss! { CTCLoss, CTCTarget, |_loss, _output, target| target.target_lengths.len() }

loss_functions! {
    ctc_loss(log_probabilities, target: &CTCTarget) = CTCLoss;
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;
    use dendra_tensor::ops::check::check_twice;

    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<Samples<Alignments>>().unwrap();
    }

    /// Returns the labels of an alignment: merges repetitions and removes blanks.
    fn collapsed(alignment: &[usize]) -> Vec<i64> {
        let mut said = alignment.to_vec();
        said.dedup();
        said.retain(|&class| class != 0);
        said.into_iter().map(|class| class as i64).collect()
    }

    #[test]
    fn it_sums_over_all_alignments() {
        const STEPS: usize = 5;
        let logits = Tensor::<f64>::normal([STEPS, 1, 3], 0.0, 1.5, &mut Rng::seed(2));
        let output = logits.log_softmax(-1).unwrap();
        let logarithms = output.to_vec();
        for labels in [vec![], vec![1], vec![1, 2], vec![2, 2], vec![1, 1, 2], vec![1, 1, 1]] {
            let mut probability = 0.0;
            for code in 0..3_usize.pow(STEPS as u32) {
                let alignment: Vec<usize> =
                    (0..STEPS).map(|step| code / 3_usize.pow(step as u32) % 3).collect();
                if collapsed(&alignment) == labels {
                    let steps = alignment.iter().enumerate();
                    probability +=
                        steps.map(|(step, class)| logarithms[step * 3 + class]).sum::<f64>().exp();
                }
            }
            let length = labels.len();
            let target = CTCTarget::new(
                Tensor::from_vec(labels.clone(), [length]).unwrap(),
                [STEPS],
                [length],
            );
            let loss = CTCLoss::new().reduction(Reduction::Sum).compute(&output, &target).unwrap();
            let found = loss.item().unwrap();
            assert!((found + probability.ln()).abs() < 1e-10, "{labels:?}: {found}");
        }
    }

    #[test]
    fn an_impossible_sequence_is_infinite_or_counts_for_nothing() {
        let output = Tensor::<f32>::zeros([2, 2, 3]).log_softmax(-1).unwrap();
        let target = CTCTarget::new(Tensor::from([[1, 1], [1, 2]]), [2, 2], [2, 2]);
        let apart = CTCLoss::new().reduction(Reduction::None);
        let losses = apart.compute(&output, &target).unwrap().to_vec();
        assert!(losses[0] == f32::INFINITY && (losses[1] - 9_f32.ln()).abs() < 1e-6);
        let losses = apart.zero_infinity(true).compute(&output, &target).unwrap().to_vec();
        assert_eq!(losses[0], 0.0);
    }

    #[test]
    fn a_nan_reaches_the_loss() {
        let mut output = Tensor::<f32>::zeros([3, 3]);
        output.make_mut()[4] = f32::NAN;
        let target = CTCTarget::new(Tensor::from([1]), [3], [1]);
        assert!(ctc_loss(&output, &target).unwrap().item().unwrap().is_nan());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let output = Tensor::<f32>::zeros([4, 2, 3]);
        let message = |labels: Tensor<i64>, inputs: &[usize], targets: &[usize]| {
            let target = CTCTarget::new(labels, inputs, targets);
            ctc_loss(&output, &target).unwrap_err().to_string()
        };
        let labels = || Tensor::from([[1, 2], [2, 1]]);
        assert_eq!(
            message(labels(), &[4], &[2, 2]),
            "ctc_loss: expected 2 input lengths, one for each sequence, got 1"
        );
        assert!(message(labels(), &[4, 4], &[2]).contains("expected 2 target lengths"));
        assert!(message(labels(), &[4, 5], &[2, 2]).contains("but there are 4 steps"));
        assert!(message(labels(), &[4, 4], &[2, 3]).contains("a target length is 3"));
        assert!(message(Tensor::from([1, 2, 1]), &[4, 4], &[2, 2]).contains("got [3]"));
        let huge = message(Tensor::from([1, 2, 1]), &[4, 4], &[usize::MAX, 2]);
        assert!(huge.contains("got [3]"), "{huge}");
        let zero = message(Tensor::from([[1, 0], [2, 1]]), &[4, 4], &[2, 2]);
        assert!(zero.contains("sequence 0 has the label 0, which is the blank"), "{zero}");
        let beyond = message(Tensor::from([[1, 2], [2, 3]]), &[4, 4], &[2, 2]);
        assert!(beyond.contains("sequence 1 has the label 3, which is not a class"), "{beyond}");
        let blank = CTCLoss::new().blank(3);
        let target = CTCTarget::new(labels(), [4, 4], [2, 2]);
        assert!(
            blank.compute(&output, &target).unwrap_err().to_string().contains("the blank is 3")
        );
    }
}
