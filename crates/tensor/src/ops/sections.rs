//! Dividing an axis into pieces. The functions are written once, for the trait
//! [`Ops`](crate::Ops) and for tensors of any element type.

use super::sections;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Where an axis is divided: into a number of pieces, or at some indices.
///
/// ```
/// use dendra_tensor::Tensor;
///
/// let x = Tensor::<i64>::arange(5);
/// let lengths = |pieces: Vec<Tensor<i64>>| pieces.iter().map(Tensor::len).collect::<Vec<_>>();
/// assert_eq!(lengths(x.tensor_split(3, 0).unwrap()), [2, 2, 1]);
/// assert_eq!(lengths(x.tensor_split([1, -1], 0).unwrap()), [1, 3, 1]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sections {
    /// This many pieces of equal length; if the axis does not divide evenly,
    /// the first ones are one longer.
    Count(usize),
    /// Before each of these indices, by the rules of Python's slices: a
    /// negative index counts from the end, and an index out of range counts as
    /// the nearest end.
    At(Vec<isize>),
}

impl From<usize> for Sections {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl<const N: usize> From<[isize; N]> for Sections {
    fn from(indices: [isize; N]) -> Self {
        Self::At(indices.into())
    }
}

impl From<&[isize]> for Sections {
    fn from(indices: &[isize]) -> Self {
        Self::At(indices.into())
    }
}

impl Sections {
    /// The start and the length of each piece of an axis of this length.
    fn pieces(&self, context: &str, length: usize) -> Result<Vec<(usize, usize)>> {
        let mut pieces = Vec::new();
        match self {
            Self::Count(0) => {
                return Err(Error::argument(context, "the number of pieces must be at least 1"));
            }
            Self::Count(count) => {
                pieces.try_reserve_exact(*count).map_err(|_| {
                    Error::argument(context, format!("{count} pieces are too many for the memory"))
                })?;
                let (each, longer) = (length / count, length % count);
                let start = |piece: usize| piece * each + piece.min(longer);
                pieces.extend((0..*count).map(|i| (start(i), each + usize::from(i < longer))));
            }
            Self::At(indices) => {
                let clamped = |index: &isize| match *index {
                    index @ ..0 => length.saturating_sub(index.unsigned_abs()),
                    index => length.min(index.unsigned_abs()),
                };
                let mut start = 0;
                for end in indices.iter().map(clamped).chain([length]) {
                    pieces.push((start, end.saturating_sub(start)));
                    start = end;
                }
            }
        }
        Ok(pieces)
    }

    /// An error when an axis does not divide into pieces of equal length.
    pub(super) fn check_even(&self, context: &str, shape: &Shape, axis: usize) -> Result<()> {
        match self {
            &Self::Count(count @ 1..) if !shape[axis].is_multiple_of(count) => {
                let message =
                    format!("axis {axis} of {shape} does not divide into {count} equal pieces");
                Err(Error::shape(context, message))
            }
            _ => Ok(()),
        }
    }
}

/// The functions, as items of the trait or, with `pub`, of a type.
macro_rules! sections_functions {
    ($($pub:tt)?) => {
        /// Pieces of an axis; see [`Sections`].
        ///
        /// # Errors
        ///
        /// When the axis does not exist, or the number of pieces is 0 or too
        /// large for the memory.
        $($pub)? fn tensor_split(
            &self,
            sections: impl Into<Sections>,
            axis: isize,
        ) -> Result<Vec<Self>> {
            sections::pieces("tensor_split", self.value().shape(), axis, &sections.into())?
                .into_iter()
                .map(|(start, length)| self.narrow(axis, start, length))
                .collect()
        }

        /// Pieces along the second axis, or along a vector; a number of pieces
        /// must divide the axis evenly.
        ///
        /// # Errors
        ///
        /// The errors of [`tensor_split`](Self::tensor_split), and when the
        /// axis does not divide evenly.
        $($pub)? fn hsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            let axis = shape.len().clamp(1, 2) - 1;
            shape.axis("hsplit", axis as isize)?;
            sections.check_even("hsplit", shape, axis)?;
            self.tensor_split(sections, axis as isize)
        }

        /// Pieces along the first axis of a tensor of at least two axes; a
        /// number of pieces must divide the axis evenly.
        ///
        /// # Errors
        ///
        /// The errors of [`hsplit`](Self::hsplit).
        $($pub)? fn vsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            shape.axis("vsplit", 1)?;
            sections.check_even("vsplit", shape, 0)?;
            self.tensor_split(sections, 0)
        }

        /// Pieces along the third axis; a number of pieces must divide the axis
        /// evenly.
        ///
        /// # Errors
        ///
        /// The errors of [`hsplit`](Self::hsplit).
        $($pub)? fn dsplit(&self, sections: impl Into<Sections>) -> Result<Vec<Self>> {
            let (shape, sections) = (self.value().shape(), sections.into());
            shape.axis("dsplit", 2)?;
            sections.check_even("dsplit", shape, 2)?;
            self.tensor_split(sections, 2)
        }
    };
}

pub(super) use sections_functions;

/// The start and the length of each piece of an axis.
pub(super) fn pieces(
    context: &str,
    shape: &Shape,
    axis: isize,
    sections: &Sections,
) -> Result<Vec<(usize, usize)>> {
    sections.pieces(context, shape[shape.axis(context, axis)?])
}

impl<T: Element> Tensor<T> {
    sections_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pieces: Result<Vec<Tensor<i64>>>, axis: usize) -> Vec<usize> {
        pieces.unwrap().iter().map(|piece| piece.shape()[axis]).collect()
    }

    #[test]
    fn pieces_by_count_and_by_indices() {
        let x = Tensor::<i64>::arange(14).reshape([7, 2]).unwrap();
        assert_eq!(lengths(x.tensor_split(3, 0), 0), [3, 2, 2]);
        assert_eq!(lengths(x.tensor_split(9, 0), 0), [1, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(lengths(x.tensor_split([2, 2, -3, 99], 0), 0), [2, 0, 2, 3, 0]);
        assert_eq!(lengths(x.tensor_split([5, 1], 0), 0), [5, 0, 6]);
        assert_eq!(lengths(x.tensor_split([-99, isize::MIN], 0), 0), [0, 0, 7]);
        assert_eq!(lengths(x.tensor_split(&[][..], -1), 1), [2]);
        let error = x.tensor_split(usize::MAX, 0).unwrap_err().to_string();
        assert!(error.ends_with("are too many for the memory"), "{error}");
        assert!(x.tensor_split(0, 0).is_err() && x.tensor_split(1, 2).is_err());
        assert_eq!(lengths(x.hsplit(2), 1), [1, 1]);
        assert_eq!(lengths(x.vsplit([3]), 0), [3, 4]);
        assert_eq!(lengths(x.reshape([14]).unwrap().hsplit(7), 0), [2; 7]);
        assert_eq!(lengths(x.unsqueeze(0).unwrap().dsplit(2), 2), [1, 1]);
        let error = x.vsplit(3).unwrap_err().to_string();
        assert_eq!(error, "vsplit: axis 0 of [7, 2] does not divide into 3 equal pieces");
        assert!(x.dsplit(1).is_err() && x.hsplit(0).is_err());
        assert!(Tensor::scalar(1).hsplit(1).is_err() && Tensor::from([1]).vsplit(1).is_err());
    }
}
