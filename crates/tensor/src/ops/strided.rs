//! Views that strides can express besides those of `layout`: diagonals and
//! sliding windows along an axis.

use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float};
use crate::error::{Error, Result};
use crate::kernels::offsets::{Offsets, add_through};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A diagonal of the matrices formed by two axes.
#[derive(Clone, Copy, Debug)]
pub struct Diagonal {
    /// The distance above the main diagonal; negative below it.
    pub offset: isize,
    /// The axis of the rows.
    pub rows: isize,
    /// The axis of the columns.
    pub columns: isize,
}

/// Matrices with the elements of the last axis on a diagonal, and zeros
/// elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct DiagEmbed {
    /// The distance of the diagonal above the main one; negative below it.
    pub offset: isize,
}

/// Windows that slide along an axis.
#[derive(Clone, Copy, Debug)]
pub struct UnfoldAxis {
    /// The axis.
    pub axis: isize,
    /// The number of elements of a window.
    pub size: usize,
    /// The distance between two windows.
    pub step: usize,
}

impl Diagonal {
    fn of<T: Element>(&self, x: &Tensor<T>) -> Result<Tensor<T>> {
        let shape = x.shape();
        let [rows, columns] =
            [shape.axis("diagonal", self.rows)?, shape.axis("diagonal", self.columns)?];
        if rows == columns {
            let message = format!("axis {} of {shape} is named twice", self.rows);
            return Err(Error::argument("diagonal", message));
        }
        let distance = self.offset.unsigned_abs();
        let (skipped, other) = if self.offset < 0 { (rows, columns) } else { (columns, rows) };
        let length = shape[skipped].saturating_sub(distance).min(shape[other]);
        let strides = x.strides();
        let mut start = x.storage().1;
        if length > 0 {
            start = (start as isize + distance as isize * strides[skipped]) as usize;
        }
        let kept = || (0..shape.len()).filter(|axis| *axis != rows && *axis != columns);
        let lengths = kept().map(|axis| shape[axis]).chain([length]);
        let both = strides[rows] + strides[columns];
        let strides = kept().map(|axis| strides[axis]).chain([both]);
        Ok(x.with_layout(lengths.collect(), strides.collect(), start))
    }
}

impl DiagEmbed {
    fn output_shape(&self, shape: &Shape) -> Result<Shape> {
        let Some((&length, batch)) = shape.split_last() else {
            return Err(Error::shape("diag_embed", "expected at least one axis, got a scalar"));
        };
        let side = length.checked_add(self.offset.unsigned_abs());
        let matrices =
            side.map(|side| batch.iter().copied().chain([side, side]).collect::<Shape>());
        matrices.filter(|shape| shape.checked_elements().is_some()).ok_or_else(|| {
            let message = format!("{shape} with offset {} is too large", self.offset);
            Error::shape("diag_embed", message)
        })
    }

    fn of<T: Element>(&self, x: &Tensor<T>) -> Result<Tensor<T>> {
        let shape = self.output_shape(x.shape())?;
        shape.check_memory::<T>("diag_embed")?;
        let mut matrices = Tensor::full(shape, T::default());
        let diagonal = Diagonal { offset: self.offset, rows: -2, columns: -1 };
        let offsets = Offsets::of(&diagonal.of(&matrices)?);
        x.with_slice(|values| {
            let matrices = matrices.make_mut();
            for (offset, &value) in offsets.zip(values) {
                matrices[offset] = value;
            }
        });
        Ok(matrices)
    }
}

impl UnfoldAxis {
    fn of<T: Element>(&self, x: &Tensor<T>) -> Result<Tensor<T>> {
        if x.rank() == 0 && self.size <= 1 && self.step > 0 {
            // A scalar has one window and no axis of windows, as in PyTorch.
            x.shape().along("unfold_axis", self.axis)?;
            return x.at_least_vector().narrow(0, 0, self.size);
        }
        let axis = x.shape().axis("unfold_axis", self.axis)?;
        let mut strides = x.strides();
        let (length, stride) = (x.shape()[axis], strides[axis]);
        if self.size > length || self.step == 0 {
            let Self { size, step, .. } = self;
            let message = format!("windows of {size} in steps of {step} do not fit axis {axis}");
            return Err(Error::argument("unfold_axis", format!("{message} of {}", x.shape())));
        }
        let count = (length - self.size) / self.step + 1;
        let shape: Shape = x.shape().with(axis, count).iter().copied().chain([self.size]).collect();
        if shape.checked_elements().is_none() {
            let message =
                format!("the number of elements of the windows of {} overflows", x.shape());
            return Err(Error::shape("unfold_axis", message));
        }
        // With one window any step is possible, and its product may overflow.
        strides[axis] = if count > 1 { stride * self.step as isize } else { stride };
        strides.push(stride);
        Ok(x.with_layout(shape, strides, x.storage().1))
    }
}

impl<T: Element> Tensor<T> {
    /// A diagonal of the matrices formed by two axes, as the last axis; nothing
    /// is copied. It is `offset` above the main diagonal, or below it if
    /// negative.
    ///
    /// # Errors
    ///
    /// When the axes do not exist or are the same.
    pub fn diagonal(&self, offset: isize, rows: isize, columns: isize) -> Result<Self> {
        Diagonal { offset, rows, columns }.of(self)
    }

    /// Matrices with the elements of the last axis on a diagonal, `offset`
    /// above the main one, and zeros elsewhere.
    ///
    /// # Errors
    ///
    /// When the tensor is a scalar, or the matrices are too large.
    pub fn diag_embed(&self, offset: isize) -> Result<Self> {
        DiagEmbed { offset }.of(self)
    }

    /// Windows of `size` elements that slide along an axis in steps, with
    /// their elements as a new last axis; nothing is copied.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or is shorter than a window, or the step
    /// is 0.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let windows = Tensor::<i64>::arange(6).unfold_axis(0, 3, 2).unwrap();
    /// assert_eq!(windows, Tensor::from([[0, 1, 2], [2, 3, 4]]));
    /// ```
    pub fn unfold_axis(&self, axis: isize, size: usize, step: usize) -> Result<Self> {
        UnfoldAxis { axis, size, step }.of(self)
    }
}

const CHECKED: &str = "the shape rule accepted the input";

/// Zeros of a shape with elements added at row-major positions.
fn add_at<T: Float>(shape: &Shape, positions: &[i64], g: &Term<T>) -> Result<Term<T>> {
    let positions: Vec<usize> = positions.iter().map(|&position| position as usize).collect();
    let zeros = Term::constant(Tensor::zeros([shape.elements()]));
    let sum = zeros.index_add(0, &positions, &g.reshape([positions.len()])?)?;
    sum.reshape(shape.clone())
}

/// Operations that return a view: the gradient is added through the same view
/// of zeros.
macro_rules! views {
    ($($operation:ident $name:literal [$($setting:ident),*]: $samples:expr;)*) => {$(
        impl<T: Float> Op<T> for $operation {
            type Saved = ();
            const NAME: &'static str = $name;

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                Ok(self.of(&super::layout::phantom(inputs[0]))?.shape().clone())
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                (self.of(inputs[0]).expect(CHECKED), ())
            }

            #[inline(never)]
            fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
                let view = |zeros: &Tensor<T>| self.of(zeros).expect(CHECKED);
                call.each(|_| add_through(call.inputs[0].shape(), &call.cotangent, view))
            }

            fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
                let shape = call.inputs[0].shape();
                let positions = Tensor::<i64>::arange(shape.elements());
                let positions = self.of(&positions.reshape(shape)?)?.to_vec();
                call.each(|_| add_at(shape, &positions, call.cotangent))
            }

            fn attributes(&self) -> Attributes {
                vec![$((stringify!($setting), self.$setting.into())),*]
            }

            fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
                $samples
            }
        }
    )*};
}

views! {
    Diagonal "diagonal" [offset, rows, columns]: {
        let diagonal = |offset, rows, columns| Diagonal { offset, rows, columns };
        vec![
            (diagonal(0, 0, 1), sample(&[3, 4])),
            (diagonal(1, 0, -1), sample(&[3, 2, 4])),
            (diagonal(-2, -1, 0), sample(&[3, 2, 4])),
            (diagonal(9, 0, 1), sample(&[3, 4])),
        ]
    };
    UnfoldAxis "unfold_axis" [axis, size, step]: {
        let unfold = |axis, size, step| UnfoldAxis { axis, size, step };
        vec![
            (unfold(0, 3, 1), sample(&[5])),
            (unfold(1, 2, 2), sample(&[2, 5, 3])),
            (unfold(-1, 4, 9), sample(&[2, 4])),
            (unfold(1, 0, 1), sample(&[2, 2])),
        ]
    };
}

impl<T: Float> Op<T> for DiagEmbed {
    type Saved = ();
    const NAME: &'static str = "diag_embed";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.output_shape(inputs[0])
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (self.of(inputs[0]).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| call.cotangent.diagonal(self.offset, -2, -1).expect(CHECKED))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|_| call.cotangent.diagonal(self.offset, -2, -1))
    }

    fn attributes(&self) -> Attributes {
        vec![("offset", self.offset.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![
            (DiagEmbed { offset: 0 }, sample(&[3])),
            (DiagEmbed { offset: 1 }, sample(&[2, 3])),
            (DiagEmbed { offset: -2 }, sample(&[2])),
            (DiagEmbed { offset: 0 }, sample(&[2, 0])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagonals_are_views_above_and_below() {
        let x = Tensor::<i64>::arange(12).reshape([3, 4]).unwrap();
        let diagonal = |offset| x.diagonal(offset, 0, 1).unwrap().to_vec();
        assert_eq!(diagonal(0), [0, 5, 10]);
        assert_eq!(diagonal(2), [2, 7]);
        assert_eq!(diagonal(-1), [4, 9]);
        assert_eq!(diagonal(isize::MIN), [0; 0]);
        let address = x.storage().0.as_ptr();
        assert_eq!(x.diagonal(1, -1, 0).unwrap().storage().0.as_ptr(), address);
        assert!(x.diagonal(0, 1, -1).is_err());
        let embedded = Tensor::from([1, 2_i64]).diag_embed(-1).unwrap();
        assert_eq!(embedded, Tensor::from([[0, 0, 0], [1, 0, 0], [0, 2, 0]]));
        assert!(Tensor::from([1, 2_i64]).diag_embed(isize::MAX).is_err());
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = Tensor::<i64>::arange(4);
        assert!(x.unfold_axis(0, 5, 1).is_err() && x.unfold_axis(0, 1, 0).is_err());
        assert_eq!(*x.unfold_axis(0, 4, usize::MAX).unwrap().shape(), [1, 4]);
    }
}
