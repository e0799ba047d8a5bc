//! Joining tensors along an axis.

use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Concatenates any number of tensors along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Cat {
    /// The axis.
    pub axis: isize,
}

impl<T: Float> Op<T> for Cat {
    type Saved = ();
    const NAME: &'static str = "cat";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(Shape::joined(inputs, self.axis)?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (Tensor::cat(inputs, self.axis).expect("the shape rule accepted the inputs"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let axis = call.output.shape().axis("cat", self.axis).expect("checked by the shape rule");
        let length = |index: usize| call.inputs[index].shape()[axis];
        call.each(|index| {
            let start = (0..index).map(length).sum();
            call.cotangent
                .narrow(self.axis, start, length(index))
                .expect("the cotangent has the output's shape")
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let axis = call.output.shape().axis("cat", self.axis)?;
        let length = |index: usize| call.inputs[index].shape()[axis];
        call.each(|index| {
            let start = (0..index).map(length).sum();
            call.cotangent.narrow(self.axis, start, length(index))
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let inputs = |shapes: &[&[usize]]| shapes.iter().flat_map(|shape| sample(shape)).collect();
        vec![
            (Cat { axis: 0 }, inputs(&[&[2, 3], &[1, 3], &[4, 3]])),
            (Cat { axis: -1 }, inputs(&[&[2, 3], &[2, 0], &[2, 1]])),
            (Cat { axis: 0 }, inputs(&[&[3]])),
        ]
    }
}
