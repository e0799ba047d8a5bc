//! What metrics of labels share: outputs and labels of any shape, and labels
//! that are ignored.

use dendra_tensor::{Error, Float, Result, Shape, Tensor};

/// The label that is ignored by default.
pub(crate) const IGNORED: i64 = -100;

/// The label that is ignored, and the axis of the classes in outputs.
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

/// The scores and classes of the labels that are not ignored.
pub(super) struct Scored<T: Float> {
    pub(super) classes: usize,
    /// A row of scores for each label, ignored ones included, in row-major order.
    scores: Tensor<T>,
    /// The row and the class of each label that is not ignored.
    labels: Vec<(usize, usize)>,
}

impl Counted {
    /// The labels `[batch, …]` that are not ignored, with their scores from an
    /// output `[batch, classes, …]`.
    ///
    /// # Errors
    ///
    /// When the shapes do not match, or a label that is not ignored is not a
    /// class.
    pub(super) fn scored<T: Float>(
        self,
        context: &str,
        output: &Tensor<T>,
        labels: &Tensor<i64>,
    ) -> Result<Scored<T>> {
        let (shape, found) = (output.shape(), labels.shape());
        let axis = shape.axis(context, self.class_axis).ok().filter(|_| shape.len() > 1);
        let positions: Option<Shape> = axis.map(|axis| {
            let others = shape.iter().enumerate().filter(|(other, _)| *other != axis);
            others.map(|(_, &length)| length).collect()
        });
        let axis = axis.filter(|&axis| positions.as_ref() == Some(found) && shape[axis] > 0);
        let axis = axis.ok_or_else(|| {
            let expected = match self.class_axis {
                1 => "output [batch, classes, …] and labels [batch, …]".to_owned(),
                axis => format!("output with the classes in axis {axis} and labels without it"),
            };
            Error::shape(context, format!("expected {expected}, got {shape} and {found}"))
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
                let message = format!("expected labels in 0..{classes}, got {label}");
                Error::data(context, message)
            })?;
            counted.push((row, class));
        }
        Ok(Scored { classes, scores, labels: counted })
    }
}

impl<T: Float> Scored<T> {
    /// The row of scores and the class of each label that is not ignored.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[T], usize)> {
        let scores = self.scores.as_slice().expect("made contiguous");
        let row = |row: usize| &scores[row * self.classes..][..self.classes];
        self.labels.iter().map(move |&(index, class)| (row(index), class))
    }
}

/// Defines the setters for the ignored label and the axis of the classes.
macro_rules! label_settings {
    ($($metric:ident.$field:tt$(.$inner:tt)?;)*) => {$(
        impl $metric {
            /// The label of positions that are ignored; −100 by default.
            #[must_use]
            pub fn ignore_index(mut self, label: i64) -> Self {
                self.$field$(.$inner)?.ignore_index = label;
                self
            }

            /// The axis of the classes in outputs, such as −1 for `[n, length,
            /// classes]`; 1 by default.
            #[must_use]
            pub fn class_axis(mut self, axis: isize) -> Self {
                self.$field$(.$inner)?.class_axis = axis;
                self
            }
        }
    )*};
}
pub(super) use label_settings;
