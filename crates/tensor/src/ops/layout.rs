//! Reshape, permute, slice and broadcast, with gradients.
//!
//! The forward pass is the method of [`Tensor`] of the same name.

use smallvec::SmallVec;

use super::broadcast::sum_to;
use super::{Attribute, Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::offsets::{add_through, add_to_view};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor of this shape without its own memory, for the shape rules of views.
pub(super) fn phantom(shape: &Shape) -> Tensor<u8> {
    Tensor::scalar(0).stretched(shape.clone())
}

/// One random input of a shape.
pub(super) fn sample<T: Float>(shape: &[usize]) -> Vec<Tensor<T>> {
    vec![Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(10))]
}

const CHECKED: &str = "the shape rule accepted the input";

/// The same elements in row-major order with another shape.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new shape.
    pub shape: Shape,
}

impl<T: Float> Op<T> for Reshape {
    type Saved = ();
    const NAME: &'static str = "reshape";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        if self.shape.checked_elements() == Some(inputs[0].elements()) {
            return Ok(self.shape.clone());
        }
        let message =
            format!("shapes {} and {} differ in their number of elements", inputs[0], self.shape);
        Err(Error::shape("reshape", message))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].reshape(&self.shape).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| call.cotangent.reshape(call.inputs[0].shape()).expect("the same elements"))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|_| call.cotangent.reshape(call.inputs[0].shape().clone()))
    }

    fn attributes(&self) -> Attributes {
        vec![("shape", (&self.shape).into())]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let shape = value.to_shape().filter(|_| name == "shape")?;
        Some(Reshape { shape })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![
            (Reshape { shape: [2, 6].into() }, sample(&[3, 4])),
            (Reshape { shape: [0, 7].into() }, sample(&[2, 0])),
        ]
    }
}

/// The axes in another order.
#[derive(Clone, Debug)]
pub struct Permute {
    /// For each axis of the output, the axis of the input.
    pub axes: SmallVec<[isize; 4]>,
}

impl Permute {
    /// The inverse order of the axes.
    fn inverse(&self, shape: &Shape) -> SmallVec<[usize; 4]> {
        let mut inverse = SmallVec::from_elem(0, self.axes.len());
        for (to, &axis) in self.axes.iter().enumerate() {
            inverse[shape.axis("permute", axis).expect(CHECKED)] = to;
        }
        inverse
    }
}

impl<T: Float> Op<T> for Permute {
    type Saved = ();
    const NAME: &'static str = "permute";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(phantom(inputs[0]).permute(&self.axes)?.shape().clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].permute(&self.axes).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| call.cotangent.permuted(&self.inverse(call.inputs[0].shape())))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let axes = self.inverse(call.inputs[0].shape());
        call.each(|_| call.cotangent.permute(&axes.iter().map(|&a| a as isize).collect::<Vec<_>>()))
    }

    fn attributes(&self) -> Attributes {
        vec![("axes", self.axes[..].into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let permute = |axes: &[isize]| Permute { axes: axes.into() };
        vec![
            (permute(&[2, 0, 1]), sample(&[2, 3, 4])),
            (permute(&[-1, 0]), sample(&[3, 2])),
            (permute(&[1, 0]), sample(&[3, 0])),
        ]
    }
}

/// Every `step`-th index of an axis.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The axis.
    pub axis: isize,
    /// The first index.
    pub start: isize,
    /// The index after the last one.
    pub end: Option<isize>,
    /// The distance between the indices.
    pub step: isize,
}

impl Slice {
    fn of<E: crate::Element>(&self, x: &Tensor<E>) -> Result<Tensor<E>> {
        x.slice(self.axis, self.start, self.end, self.step)
    }
}

impl<T: Float> Op<T> for Slice {
    type Saved = ();
    const NAME: &'static str = "slice";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.of(&phantom(inputs[0]))?.shape().clone())
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

    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool {
        if !sum.is_writable() {
            return false;
        }
        add_to_view(sum, cotangent, |sum| self.of(sum).expect(CHECKED));
        true
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let axis = shape.axis("slice", self.axis)?;
        let indices = Tensor::<i64>::arange(shape[axis]);
        let indices = indices.slice(0, self.start, self.end, self.step)?.to_vec();
        let indices: Vec<usize> = indices.into_iter().map(|index| index as usize).collect();
        let zeros = Term::constant(Tensor::zeros(shape));
        call.each(|_| zeros.index_add(axis as isize, &indices, call.cotangent))
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("axis", self.axis.into()),
            ("start", self.start.into()),
            ("end", self.end.into()),
            ("step", self.step.into()),
        ]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let &Attribute::Int(value) = value else { return None };
        let value = value as isize;
        match name {
            "start" => Some(Slice { start: value, ..self.clone() }),
            "end" => Some(Slice { end: Some(value), ..self.clone() }),
            _ => None,
        }
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let slice = |axis, start, end, step| Slice { axis, start, end, step };
        vec![
            (slice(0, 1, Some(3), 1), sample(&[4, 3])),
            (slice(1, -1, None, -2), sample(&[2, 5])),
            (slice(-1, 0, None, 3), sample(&[2, 2, 7])),
            (slice(0, 1, Some(1), 1), sample(&[3])),
        ]
    }
}

/// Broadcasts to a shape by NumPy's rule.
#[derive(Clone, Debug)]
pub struct BroadcastTo {
    /// The new shape.
    pub shape: Shape,
}

impl<T: Float> Op<T> for BroadcastTo {
    type Saved = ();
    const NAME: &'static str = "broadcast_to";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(phantom(inputs[0]).broadcast_to(&self.shape)?.shape().clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].stretched(self.shape.clone()), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| sum_to(call.cotangent.clone(), call.inputs[0].shape()))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|_| call.cotangent.sum_to(call.inputs[0].shape()))
    }

    fn attributes(&self) -> Attributes {
        vec![("shape", (&self.shape).into())]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let shape = value.to_shape().filter(|_| name == "shape")?;
        Some(BroadcastTo { shape })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![
            (BroadcastTo { shape: [2, 3, 4].into() }, sample(&[3, 1])),
            (BroadcastTo { shape: [5].into() }, sample(&[])),
            (BroadcastTo { shape: [0, 4].into() }, sample(&[1, 4])),
        ]
    }
}
