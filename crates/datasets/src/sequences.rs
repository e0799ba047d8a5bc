//! Sequences of different lengths, padded to the longest of a batch.

use dendra_tensor::{AnyTensor, Element, Error, Result, Shape, Tensor, Tensors};

use crate::dataset::{Batch, Dataset, check_indices, check_labels};

/// Sequences in one tensor, padded to the longest, with their lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Padded<T: Element> {
    /// The sequences, of shape `[batch, longest, ..]`.
    pub values: Tensor<T>,
    /// The length of each sequence, of shape `[batch]`.
    pub lengths: Tensor<i64>,
}

impl<T: Element> Padded<T> {
    /// Where the values are not padding, of shape `[batch, longest]`.
    pub fn mask(&self) -> Tensor<bool> {
        let longest = self.values.shape()[1];
        let lengths = self.lengths.to_vec();
        Tensor::from_fn([lengths.len(), longest], |i| ((i % longest) as i64) < lengths[i / longest])
    }
}

impl<T: Element> Tensors for Padded<T> {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        Ok([self.values.tensors()?, self.lengths.tensors()?].concat())
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        let values = self.values.with_tensors(tensors)?;
        Ok(Self { values, lengths: self.lengths.with_tensors(tensors)? })
    }
}

/// Stacks sequences of shapes `[length, ..]`, with shorter ones padded with
/// `padding`, like PyTorch's `pad_sequence` with `batch_first=True`.
///
/// ```
/// use dendra_datasets::pad_sequence;
/// use dendra_tensor::Tensor;
///
/// let (long, short) = (Tensor::from([1i64, 2, 3]), Tensor::from([4i64]));
/// let padded = pad_sequence(&[&long, &short], 0)?;
/// assert_eq!(padded.values.to_vec(), [1, 2, 3, 4, 0, 0]);
/// assert_eq!(padded.lengths.to_vec(), [3, 1]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When there is no sequence, one has no axes, or they differ in more than
/// their first axis.
pub fn pad_sequence<T: Element>(sequences: &[&Tensor<T>], padding: T) -> Result<Padded<T>> {
    let context = "pad_sequence";
    let Some(first) = sequences.first() else {
        return Err(Error::argument(context, "expected at least one sequence, got none"));
    };
    for (index, sequence) in sequences.iter().enumerate() {
        if sequence.rank() == 0 || sequence.shape()[1..] != first.shape()[1.min(first.rank())..] {
            let message = format!(
                "expected sequences of shape [length, ..] that differ in length only, got {} and, \
                 as number {index}, {}",
                first.shape(),
                sequence.shape()
            );
            return Err(Error::shape(context, message));
        }
    }
    let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.shape()[0]).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let step: usize = first.shape()[1..].iter().product();
    let mut shape = vec![sequences.len(), longest];
    shape.extend(&first.shape()[1..]);
    let values = Tensor::build(shape, |out: &mut [T]| {
        if longest * step == 0 {
            return;
        }
        for (row, sequence) in out.chunks_exact_mut(longest * step).zip(sequences) {
            let (own, rest) = row.split_at_mut(sequence.len());
            own.copy_from_slice(sequence.contiguous().as_slice().expect("it is contiguous"));
            rest.fill(padding);
        }
    });
    let lengths = lengths.into_iter().map(|length| length as i64).collect();
    Ok(Padded { values, lengths: Tensor::from_vec(lengths, [sequences.len()])? })
}

/// Sequences of different lengths, each with a target.
///
/// The inputs of a batch are [`Padded`] to its longest sequence.
///
/// ```
/// use dendra_datasets::{Dataset, SequenceDataset};
/// use dendra_tensor::Tensor;
///
/// let words = vec![Tensor::from([8i64, 9]), Tensor::from([7i64, 7, 7]), Tensor::from([5i64])];
/// let data = SequenceDataset::classification(words, Tensor::from([0i64, 1, 0]), 2)?;
/// let (words, labels) = data.batch(&[2, 0])?;
/// assert_eq!(words.values.to_vec(), [5, 0, 8, 9]);
/// assert_eq!(words.lengths.to_vec(), [1, 2]);
/// assert_eq!(labels.to_vec(), [0, 0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceDataset<Y: Element, X: Element = i64> {
    sequences: Vec<Tensor<X>>,
    targets: Tensor<Y>,
    padding: X,
    labels: Option<(Vec<i64>, usize)>,
}

impl<Y: Element, X: Element> SequenceDataset<Y, X> {
    /// Sequences of shapes `[length, ..]` with `targets` of shape `[sequences,
    /// ..]`. Shorter sequences are padded with zeros.
    ///
    /// # Errors
    ///
    /// When the sequences differ in more than their lengths, or the number of
    /// targets is not that of the sequences.
    pub fn new(sequences: Vec<Tensor<X>>, targets: Tensor<Y>) -> Result<Self> {
        let context = "SequenceDataset::new";
        if targets.shape().first() != Some(&sequences.len()) {
            let message = format!(
                "expected a target for each of {} sequences, got shape {}",
                sequences.len(),
                targets.shape()
            );
            return Err(Error::shape(context, message));
        }
        let step = |sequence: &Tensor<X>| sequence.shape().get(1..).map(<[usize]>::to_vec);
        let first = sequences.first().and_then(step);
        if let Some(index) = sequences.iter().position(|s| step(s).is_none() || step(s) != first) {
            let message = format!(
                "expected sequences of shape [length, ..] that differ in length only, got {} and, \
                 as number {index}, {}",
                sequences[0].shape(),
                sequences[index].shape()
            );
            return Err(Error::shape(context, message));
        }
        Ok(Self { sequences, targets: targets.contiguous(), padding: X::default(), labels: None })
    }

    /// The value for padding; 0 by default.
    #[must_use]
    pub fn padding(mut self, padding: X) -> Self {
        self.padding = padding;
        self
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Tensor<X>] {
        &self.sequences
    }
}

impl<X: Element> SequenceDataset<i64, X> {
    /// Sequences with class labels.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new), and when a label is not in
    /// `0..classes`.
    pub fn classification(
        sequences: Vec<Tensor<X>>,
        labels: Tensor<i64>,
        classes: usize,
    ) -> Result<Self> {
        let known = labels.to_vec();
        check_labels("SequenceDataset::classification", &known, classes)?;
        Ok(Self { labels: Some((known, classes)), ..Self::new(sequences, labels)? })
    }
}

impl<Y: Element, X: Element> Dataset for SequenceDataset<Y, X> {
    type Input = Padded<X>;
    type Target = Tensor<Y>;

    fn len(&self) -> usize {
        self.sequences.len()
    }

    /// The shape of one step of a sequence, because the lengths differ.
    fn input_shape(&self) -> Shape {
        self.sequences.first().map_or_else(Shape::scalar, |first| Shape::from(&first.shape()[1..]))
    }

    fn classes(&self) -> Option<usize> {
        self.labels.as_ref().map(|(_, classes)| *classes)
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        check_indices("SequenceDataset", indices, self.len())?;
        let sequences: Vec<_> = indices.iter().map(|&index| &self.sequences[index]).collect();
        Ok((pad_sequence(&sequences, self.padding)?, self.targets.index_select(0, indices)?))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.labels.as_ref().map(|(labels, _)| labels.clone())
    }
}
