//! What metrics by labels have in common: outputs and labels of any shape, and
//! labels that do not count.

use dendra_tensor::{Error, Float, Result, Shape, Tensor};

/// The label that does not count, unless another is set.
pub(crate) const IGNORED: i64 = -100;

/// Which labels count, all but one, and in which axis of an output the classes
/// lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) ignore_index: i64,
    pub(super) class_axis: isize,
}

impl Default for Counted {
    fn default() -> Self {
        Self { ignore_index: IGNORED, class_axis: 1 }
    }
}

/// The scores of the labels that count.
pub(super) struct Scored<T: Float> {
    pub(super) classes: usize,
    /// A row of scores for each label, ignored ones included, in row-major order.
    scores: Tensor<T>,
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
    pub(super) fn scored<T: Float>(
        self,
        place: &str,
        output: &Tensor<T>,
        labels: &Tensor<i64>,
    ) -> Result<Scored<T>> {
        let (shape, found) = (output.shape(), labels.shape());
        let axis = shape.axis(place, self.class_axis).ok().filter(|_| shape.len() > 1);
        let places: Option<Shape> = axis.map(|axis| {
            let others = shape.iter().enumerate().filter(|(other, _)| *other != axis);
            others.map(|(_, &length)| length).collect()
        });
        let axis = axis.filter(|&axis| places.as_ref() == Some(found) && shape[axis] > 0);
        let axis = axis.ok_or_else(|| {
            let expected = match self.class_axis {
                1 => "output [batch, classes, …] and labels [batch, …]".to_owned(),
                axis => format!("output with the classes in axis {axis} and labels without it"),
            };
            Error::shape(place, format!("expected {expected}, got {shape} and {found}"))
        })?;
        let classes = shape[axis];
        let scores = output.movedim(axis as isize, -1)?.contiguous();
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

impl<T: Float> Scored<T> {
    /// The row of scores of every label that counts, with its class.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[T], usize)> {
        let scores = self.scores.as_slice().expect("made contiguous");
        let row = |row: usize| &scores[row * self.classes..][..self.classes];
        self.labels.iter().map(move |&(index, class)| (row(index), class))
    }
}

/// Gives metrics by labels the settings of what counts, which the field has.
macro_rules! label_settings {
    ($($metric:ident.$field:tt$(.$inner:tt)?;)*) => {$(
        impl $metric {
            /// The label of what does not count; −100 unless set.
            #[must_use]
            pub fn ignore_index(mut self, label: i64) -> Self {
                self.$field$(.$inner)?.ignore_index = label;
                self
            }

            /// The axis of the classes: −1 for outputs `[n, length, classes]`;
            /// 1 unless set.
            #[must_use]
            pub fn class_axis(mut self, axis: isize) -> Self {
                self.$field$(.$inner)?.class_axis = axis;
                self
            }
        }
    )*};
}
pub(super) use label_settings;
