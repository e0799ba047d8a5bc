//! Padding: constant, reflected, replicated and circular.

use smallvec::SmallVec;

use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::offsets::{NOWHERE, add_rows, take_rows};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The values of the padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One number.
    Constant(f64),
    /// The elements mirrored at the edge, without the element at the edge.
    Reflect,
    /// The element at the edge.
    Replicate,
    /// The elements from the other end of the axis, after cropping.
    Circular,
}

/// Adds elements before and after each axis, or removes elements where the
/// number is negative.
#[derive(Clone, Debug)]
pub struct Pad {
    /// The numbers before and after, from the last axis towards the first.
    pub padding: SmallVec<[[isize; 2]; 2]>,
    /// The values of the padding.
    pub mode: PadMode,
}

impl Pad {
    /// The length of an axis after padding.
    fn size(&self, size: usize, [before, after]: [isize; 2]) -> Result<usize, &'static str> {
        let most = match self.mode {
            PadMode::Constant(_) => isize::MAX,
            PadMode::Reflect => size as isize - 1,
            PadMode::Replicate if size == 0 => 0,
            PadMode::Replicate => isize::MAX,
            // Elements removed at one end are not copied to the other.
            PadMode::Circular => {
                (size as isize).saturating_add(before.min(0)).saturating_add(after.min(0))
            }
        };
        if before.max(after).max(0) > most.max(0) {
            return Err("is more than the elements that can fill it");
        }
        let padded = (size as isize).checked_add(before).and_then(|sum| sum.checked_add(after));
        // The removed elements must exist.
        let cut = before.min(0).checked_add(after.min(0)).map(isize::unsigned_abs);
        match (padded, cut) {
            (Some(padded), Some(cut)) if padded >= 0 && cut <= size => Ok(padded as usize),
            _ => Err("gives a length that is negative or too large"),
        }
    }

    /// For every index of a padded axis, the index that it is copied from.
    fn sources(&self, size: usize, [before, after]: [isize; 2]) -> Vec<usize> {
        let length = size as isize;
        let first = -before.min(0);
        let kept = length - first + after.min(0);
        let source = |index: isize| {
            let inside = match self.mode {
                _ if (0..length).contains(&index) => index,
                PadMode::Constant(_) => return NOWHERE,
                PadMode::Reflect if index < 0 => -index,
                PadMode::Reflect => 2 * (length - 1) - index,
                PadMode::Replicate => index.clamp(0, length - 1),
                PadMode::Circular => first + (index - first).rem_euclid(kept),
            };
            inside as usize
        };
        (-before..length + after).map(source).collect()
    }

    /// The axes that change, with the sources of their indices.
    fn plan(&self, shape: &Shape) -> Vec<(usize, Vec<usize>)> {
        let axes = (0..shape.len()).rev().zip(&self.padding);
        let axes = axes.filter(|(_, padding)| **padding != [0, 0]);
        axes.map(|(axis, &padding)| (axis, self.sources(shape[axis], padding))).collect()
    }

    fn output_shape(&self, shape: &Shape) -> Result<Shape> {
        if self.padding.len() > shape.len() {
            return Err(Error::shape(
                "pad",
                format!(
                    "expected padding for at most {} axes, got {} for shape {shape}",
                    shape.len(),
                    self.padding.len()
                ),
            ));
        }
        let mut padded = shape.to_vec();
        for (axis, &padding) in (0..shape.len()).rev().zip(&self.padding) {
            padded[axis] = self.size(shape[axis], padding).map_err(|what| {
                Error::argument(
                    "pad",
                    format!("a padding of {padding:?} for axis {axis} of {shape} {what}"),
                )
            })?;
        }
        // The source of each index is stored, even when there are no elements.
        for &size in &padded {
            Shape::from([size]).check_memory::<usize>("pad")?;
        }
        let padded = Shape::from(padded);
        match padded.checked_elements() {
            Some(_) => Ok(padded),
            None => {
                Err(Error::shape("pad", format!("the number of elements of {padded} overflows")))
            }
        }
    }

    fn of<T: Number>(&self, x: &Tensor<T>) -> Tensor<T> {
        let fill = match self.mode {
            PadMode::Constant(value) => T::from_f64(value),
            _ => T::ZERO,
        };
        let plan = self.plan(x.shape());
        plan.iter().fold(x.clone(), |x, (axis, sources)| take_rows(&x, *axis, sources, fill))
    }
}

impl<T: Number> Tensor<T> {
    /// Adds elements before and after each axis; see
    /// [`Ops::pad`](crate::Ops::pad).
    ///
    /// # Errors
    ///
    /// When there are fewer axes, an axis would get a negative length, or it
    /// has too few elements to reflect or repeat.
    pub fn pad(&self, padding: &[[isize; 2]], mode: PadMode) -> Result<Self> {
        let pad = Pad { padding: padding.into(), mode };
        pad.output_shape(self.shape())?.check_memory::<T>("pad")?;
        Ok(pad.of(self))
    }
}

impl<T: Float> Op<T> for Pad {
    type Saved = ();
    const NAME: &'static str = "pad";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.output_shape(inputs[0])
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (self.of(inputs[0]), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        call.each(|_| {
            let plan = self.plan(shape);
            plan.iter().rev().fold(call.cotangent.clone(), |g, (axis, sources)| {
                let before = g.shape().with(*axis, shape[*axis]);
                let mut sum = Tensor::zeros(&before);
                add_rows(sum.make_mut(), &before, *axis, sources, &g);
                sum
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (shape, g) = (call.inputs[0].shape(), call.cotangent);
        call.each(|_| match self.mode {
            PadMode::Constant(_) => {
                let back: Vec<_> = self.padding.iter().map(|ends| ends.map(|end| -end)).collect();
                g.pad(&back, PadMode::Constant(0.0))
            }
            _ => self.plan(shape).iter().rev().try_fold(g.clone(), |g, (axis, sources)| {
                let zeros = Tensor::zeros(g.shape().with(*axis, shape[*axis]));
                Term::constant(zeros).index_add(*axis as isize, sources, &g)
            }),
        })
    }

    fn attributes(&self) -> Attributes {
        let (mode, value) = match self.mode {
            PadMode::Constant(value) => ("constant", Some(value)),
            PadMode::Reflect => ("reflect", None),
            PadMode::Replicate => ("replicate", None),
            PadMode::Circular => ("circular", None),
        };
        vec![
            ("padding", self.padding.as_flattened().into()),
            ("mode", mode.into()),
            ("value", value.into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let pad = |padding: &[[isize; 2]], mode| Pad { padding: padding.into(), mode };
        vec![
            (pad(&[[1, 2]], PadMode::Constant(0.5)), sample(&[2, 3])),
            (pad(&[[-1, 2], [0, -1]], PadMode::Constant(0.0)), sample(&[2, 3, 4])),
            (pad(&[[2, 1], [1, 1]], PadMode::Reflect), sample(&[2, 2, 3])),
            (pad(&[[2, 3], [1, 0]], PadMode::Replicate), sample(&[2, 2, 3])),
            (pad(&[[3, 2], [0, 2]], PadMode::Circular), sample(&[2, 2, 3])),
            (pad(&[[2, -1], [-1, 1]], PadMode::Circular), sample(&[2, 2, 3])),
            (pad(&[[1, 0]], PadMode::Constant(1.0)), sample(&[3, 0])),
            (pad(&[[0, 0], [1, 2]], PadMode::Replicate), sample(&[3, 0])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_fills_the_padding_its_way() {
        let x = Tensor::from([1, 2, 3_i64]);
        let pad = |padding, mode| x.pad(&[padding], mode).unwrap().to_vec();
        assert_eq!(pad([2, 1], PadMode::Constant(9.0)), [9, 9, 1, 2, 3, 9]);
        assert_eq!(pad([2, 2], PadMode::Reflect), [3, 2, 1, 2, 3, 2, 1]);
        assert_eq!(pad([2, 1], PadMode::Replicate), [1, 1, 1, 2, 3, 3]);
        assert_eq!(pad([2, 3], PadMode::Circular), [2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(pad([-1, 1], PadMode::Replicate), [2, 3, 3]);
        assert_eq!(pad([-1, 2], PadMode::Circular), [2, 3, 2, 3]);
        assert_eq!(pad([2, -1], PadMode::Circular), [1, 2, 1, 2]);
        assert_eq!(pad([-1, -1], PadMode::Circular), [2]);
        assert_eq!(pad([-2, -1], PadMode::Reflect), [0; 0]);
    }

    #[test]
    fn padding_that_cannot_be_is_refused() {
        let x = Tensor::<f32>::zeros([2, 3]);
        let message = |padding: &[[isize; 2]], mode| x.pad(padding, mode).unwrap_err().to_string();
        assert_eq!(
            message(&[[0, 3]], PadMode::Reflect),
            "pad: a padding of [0, 3] for axis 1 of [2, 3] is more than the elements that can fill \
             it"
        );
        assert!(message(&[[4, 0]], PadMode::Circular).contains("more than"));
        assert!(message(&[[-1, 3]], PadMode::Circular).contains("more than"));
        assert!(message(&[[-2, -2]], PadMode::Constant(0.0)).contains("negative or too large"));
        assert!(message(&[[-4, 4]], PadMode::Constant(0.0)).contains("negative or too large"));
        assert!(
            message(&[[isize::MAX, isize::MAX]], PadMode::Replicate)
                .contains("negative or too large")
        );
        assert!(
            message(&[[isize::MAX, 0]; 2], PadMode::Constant(0.0))
                .contains("negative or too large")
        );
        assert!(message(&[[1 << 50, 0]; 2], PadMode::Constant(0.0)).contains("not enough memory"));
        assert!(message(&[[0, 0]; 3], PadMode::Reflect).contains("at most 2 axes, got 3"));
        let empty = Tensor::<f32>::zeros([0]);
        assert!(empty.pad(&[[1, 0]], PadMode::Replicate).is_err());
    }
}
