//! What metrics by labels have in common: outputs and labels of any shape, and
//! labels that do not count.

use dendra_tensor::{Error, Result, Tensor};

/// The label that does not count, unless another is set.
pub(crate) const IGNORED: i64 = -100;

/// Which labels count: all but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) ignore_index: i64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { ignore_index: IGNORED }
    }
}

/// The scores of the labels that count.
pub(super) struct Scored {
    pub(super) classes: usize,
    /// A row of scores for each label, ignored ones included, in row-major order.
    scores: Tensor,
    /// The rows of the labels that count, with their classes.
    labels: Vec<(usize, usize)>,
}

impl Counted {
    /// The labels that count, `[batch, …]`, with their scores, of an output
    /// `[batch, classes, …]`.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit each other, or a label that counts is no
    /// class.
    pub(super) fn scored(
        self,
        place: &str,
        output: &Tensor,
        labels: &Tensor<i64>,
    ) -> Result<Scored> {
        let (shape, found) = (output.shape(), labels.shape());
        let fits = match (shape.get(1), found.split_first()) {
            (Some(&classes), Some((&batch, places))) => {
                classes > 0 && shape[0] == batch && shape[2..] == *places
            }
            _ => false,
        };
        if !fits {
            let message = format!(
                "expected output [batch, classes, …] and labels [batch, …], got {shape} and {found}"
            );
            return Err(Error::shape(place, message));
        }
        let classes = shape[1];
        let scores = output.movedim(1, -1)?.contiguous();
        let mut counted = Vec::with_capacity(labels.len());
        for (row, label) in labels.to_vec().into_iter().enumerate() {
            if label == self.ignore_index {
                continue;
            }
            let class = usize::try_from(label).ok().filter(|&class| class < classes);
            let class = class.ok_or_else(|| {
                let message =
                    format!("the label {label} is none of {classes} classes, counted from 0");
                Error::data(place, message)
            })?;
            counted.push((row, class));
        }
        Ok(Scored { classes, scores, labels: counted })
    }
}

impl Scored {
    /// The row of scores of every label that counts, with its class.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let scores = self.scores.as_slice().expect("made contiguous");
        let row = |row: usize| &scores[row * self.classes..][..self.classes];
        self.labels.iter().map(move |&(index, class)| (row(index), class))
    }
}

/// Gives metrics by labels with a field `counted` the setting of what counts.
macro_rules! ignore_setting {
    ($($metric:ident)*) => {$(
        impl $metric {
            /// The label of what does not count; −100 unless set.
            #[must_use]
            pub fn ignore_index(mut self, label: i64) -> Self {
                self.counted.ignore_index = label;
                self
            }
        }
    )*};
}
pub(super) use ignore_setting;
