//! `get`: a part of a tensor, selected by an index or a range for each axis. It
//! is composed of `select`, `slice` and `unsqueeze`, so nothing is copied.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use smallvec::{SmallVec, smallvec};

use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What [`get`](crate::Ops::get) selects from an axis. Numbers and ranges
/// convert to it; negative bounds count from the end of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// One index; the axis is removed.
    At(isize),
    /// The indices from `start` to `end`, exclusive; `None` means the end of
    /// the axis.
    Range {
        /// The first index.
        start: Option<isize>,
        /// The index after the last one.
        end: Option<isize>,
    },
    /// A new axis of length 1 (NumPy's `None`).
    NewAxis,
    /// All axes that no other index selects from (NumPy's `...`).
    Ellipsis,
}

impl Index {
    /// The range `start..end`, for bounds such as `1..-1` which look like an
    /// empty range to Clippy.
    pub const fn range(start: isize, end: isize) -> Self {
        Self::Range { start: Some(start), end: Some(end) }
    }
}

impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Self::Range { start: None, end: None }
    }
}

/// The exclusive end of a range with an inclusive one.
fn after(last: isize) -> Option<isize> {
    // The index after −1 is the end of the axis.
    if last == -1 { None } else { Some(last.saturating_add(1)) }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        integers! { @from $type:
            $type => |index| Self::At(saturated(index));
            Range<$type> => |range| Self::Range {
                start: Some(saturated(range.start)),
                end: Some(saturated(range.end)),
            };
            RangeInclusive<$type> => |range| Self::Range {
                start: Some(saturated(*range.start())),
                end: after(saturated(*range.end())),
            };
            RangeFrom<$type> => |range| {
                Self::Range { start: Some(saturated(range.start)), end: None }
            };
            RangeTo<$type> => |range| Self::Range { start: None, end: Some(saturated(range.end)) };
            RangeToInclusive<$type> => |range| {
                Self::Range { start: None, end: after(saturated(range.end)) }
            };
        }
    )*};
    (@from $integer:ty: $($type:ty => |$value:ident| $index:expr;)*) => {$(
        impl From<$type> for Index {
            fn from($value: $type) -> Self {
                $index
            }
        }

        impl Indices for $type {
            fn indices(self) -> SmallVec<[Index; 4]> {
                smallvec![self.into()]
            }
        }
    )*};
}

/// The index, or one that is out of range for every axis if it does not fit
/// `isize`.
fn saturated(index: impl TryInto<isize>) -> isize {
    index.try_into().unwrap_or(isize::MAX)
}

integers! { i32 i64 isize usize }

/// The argument of [`get`](crate::Ops::get): one index, a tuple or an array.
pub trait Indices {
    /// One index for each axis, from the first axis on.
    fn indices(self) -> SmallVec<[Index; 4]>;
}

impl Indices for Index {
    fn indices(self) -> SmallVec<[Index; 4]> {
        smallvec![self]
    }
}

impl Indices for RangeFull {
    fn indices(self) -> SmallVec<[Index; 4]> {
        smallvec![self.into()]
    }
}

impl Indices for &[Index] {
    fn indices(self) -> SmallVec<[Index; 4]> {
        self.into()
    }
}

impl<I: Into<Index>, const N: usize> Indices for [I; N] {
    fn indices(self) -> SmallVec<[Index; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! tuples {
    ($($($name:ident)*;)*) => {$(
        impl<$($name: Into<Index>),*> Indices for ($($name,)*) {
            #[expect(non_snake_case, reason = "a value has the name of its type")]
            fn indices(self) -> SmallVec<[Index; 4]> {
                let ($($name,)*) = self;
                smallvec![$($name.into()),*]
            }
        }
    )*};
}

tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }

/// The number of axes that an ellipsis covers.
pub(super) fn covered(shape: &Shape, indices: &[Index]) -> Result<usize> {
    let count = |kind: fn(&Index) -> bool| indices.iter().filter(|index| kind(index)).count();
    let ellipses = count(|index| matches!(index, Index::Ellipsis));
    let named = count(|index| matches!(index, Index::At(_) | Index::Range { .. }));
    match shape.len().checked_sub(named) {
        Some(covered) if ellipses <= 1 => Ok(covered),
        Some(_) => Err(Error::argument("get", "expected at most one ellipsis")),
        None => {
            let message =
                format!("expected at most {} indices for shape {shape}, got {named}", shape.len());
            Err(Error::shape("get", message))
        }
    }
}

/// The function, as an item of the trait or, with `pub`, of a type.
macro_rules! get_functions {
    ($($pub:tt)?) => {
        /// The part selected by an index or a range for each axis, from the
        /// first axis on; further axes are kept as they are. An index removes
        /// its axis, a range keeps it. Negative bounds count from the end.
        /// Nothing is copied.
        ///
        /// Unlike in Python, a range must be within its axis.
        ///
        /// # Errors
        ///
        /// When there are more indices than axes, more than one ellipsis, or an
        /// index or a bound is out of range.
        ///
        /// ```
        /// use dendra_tensor::{Index, Tensor};
        ///
        /// # fn main() -> dendra_tensor::Result<()> {
        /// let x = Tensor::<i64>::arange(24).reshape([2, 3, 4])?;
        /// assert_eq!(x.get(1)?.shape()[..], [3, 4]);
        /// assert_eq!(x.get((.., 0, 1..3))?, Tensor::from([[1, 2], [13, 14]]));
        /// assert_eq!(x.get((-1, ..=1, -1))?, Tensor::from([15, 19]));
        /// assert_eq!(x.get((Index::Ellipsis, 2..))?.shape()[..], [2, 3, 2]);
        /// assert_eq!(x.get((0, Index::NewAxis))?.shape()[..], [1, 3, 4]);
        /// # Ok(())
        /// # }
        /// ```
        $($pub)? fn get(&self, indices: impl Indices) -> Result<Self> {
            let indices = indices.indices();
            let covered = get::covered(self.value().shape(), &indices)?;
            let (mut part, mut axis) = (self.clone(), 0);
            for index in indices {
                part = match index {
                    Index::At(index) => part.select(axis, index)?,
                    Index::Range { start: None, end: None } => part,
                    Index::Range { start, end } => part.slice(axis, start.unwrap_or(0), end, 1)?,
                    Index::NewAxis => part.unsqueeze(axis)?,
                    Index::Ellipsis => part,
                };
                axis += match index {
                    Index::At(_) => 0,
                    Index::Range { .. } | Index::NewAxis => 1,
                    Index::Ellipsis => covered as isize,
                };
            }
            Ok(part)
        }
    };
}

pub(super) use get_functions;

use super::get;

/// A part of a tensor of any element type.
impl<T: Element> Tensor<T> {
    get_functions! { pub }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube() -> Tensor<i64> {
        Tensor::arange(24).reshape([2, 3, 4]).unwrap()
    }

    /// Expected values: those of NumPy's `x[...]`.
    #[test]
    fn indices_and_ranges_of_every_kind() {
        let x = cube();
        let whole = |part: Result<Tensor<i64>>| {
            let part = part.unwrap();
            (part.shape().to_vec(), part.to_vec())
        };
        assert_eq!(whole(x.get((1, 2, 3))), (vec![], vec![23]));
        assert_eq!(whole(x.get((0, -1))), (vec![4], vec![8, 9, 10, 11]));
        assert_eq!(whole(x.get((0, 1_usize..=2, -1_isize))), (vec![2], vec![7, 11]));
        assert_eq!(whole(x.get((.., ..1, ..=0))), (vec![2, 1, 1], vec![0, 12]));
        assert_eq!(whole(x.get((0, 0, -3..=-1))), (vec![3], vec![1, 2, 3]));
        assert_eq!(whole(x.get((0, 0, Index::range(1, -1)))), (vec![2], vec![1, 2]));
        assert_eq!(whole(x.get((0, 0, -3..-1))), (vec![2], vec![1, 2]));
        assert_eq!(whole(x.get((Index::Ellipsis, 0))).1, [0, 4, 8, 12, 16, 20]);
        assert_eq!(whole(x.get((1, Index::Ellipsis, 0))), (vec![3], vec![12, 16, 20]));
        assert_eq!(whole(x.get((0, 0, 0, Index::Ellipsis))), (vec![], vec![0]));
        assert_eq!(x.get((.., Index::NewAxis, 0)).unwrap().shape()[..], [2, 1, 4]);
        assert_eq!(x.get([0, 1]).unwrap().to_vec(), [4, 5, 6, 7]);
        assert_eq!(x.get(2..2).unwrap_or(x.clone()).shape()[..], [0, 3, 4]);
        assert_eq!(x.get(..).unwrap(), x);
        let listed: &[Index] = &[Index::At(1), (..2).into()];
        assert_eq!(x.get(listed).unwrap().shape()[..], [2, 4]);
        assert_eq!(Tensor::from([true, false]).get(1).unwrap().to_vec(), [false]);
    }

    #[test]
    fn indices_out_of_range_are_refused() {
        let x = cube();
        let message = |part: Result<Tensor<i64>>| part.unwrap_err().to_string();
        assert_eq!(
            message(x.get((0, 0, 0, 0))),
            "get: expected at most 3 indices for shape [2, 3, 4], got 4"
        );
        let twice = (Index::Ellipsis, Index::Ellipsis);
        assert_eq!(message(x.get(twice)), "get: expected at most one ellipsis");
        for result in [x.get(2), x.get(-3), x.get(usize::MAX), x.get(i64::MIN)] {
            assert!(message(result).contains("out of range for axis 0"));
        }
        for result in [x.get(..3), x.get(0..=isize::MAX), x.get(isize::MIN..), x.get(..=2)] {
            assert!(message(result).contains("out of range for axis 0"));
        }
        assert!(Tensor::scalar(1.0).get(0).is_err());
    }
}
