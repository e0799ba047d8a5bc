//! Selecting elements by an index along an axis, or by a mask.

use super::broadcast::{sum_to, zip};
use super::layout::sample;
use super::scatter::scattered;
use super::{Attribute, Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float};
use crate::error::Result;
use crate::kernels::offsets::add_rows;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The elements at the positions that an index gives along an axis.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The axis.
    pub axis: isize,
    /// For every element of the output its coordinate along the axis.
    pub index: Tensor<i64>,
}

impl<T: Float> Op<T> for Gather {
    type Saved = ();
    const NAME: &'static str = "gather";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].check_gather("gather", self.axis, &self.index)?;
        Ok(self.index.shape().clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].gather(self.axis, &self.index).expect("the shape rule accepted the input"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (axis, _) = shape.along("gather", self.axis).expect("checked by the shape rule");
        call.each(|_| {
            // In row-major order, so that the sum of several gradients of one
            // element has the same bits every time.
            scattered(&Tensor::zeros(shape), axis, &self.index, &call.cotangent, |sum, g| sum + g)
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let zeros = Term::constant(Tensor::zeros(call.inputs[0].shape()));
        call.each(|_| zeros.scatter_add(self.axis, &self.index, call.cotangent))
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into()), ("index", (&self.index).into())]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let index = value.to_indices().filter(|_| name == "index")?;
        Some(Gather { index, axis: self.axis })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let rows = Tensor::from([[1], [0], [3_i64]]);
        let twice = Tensor::from([[1, 1, 1], [0, 2, 1_i64]]);
        vec![
            (Gather { axis: 1, index: rows }, sample(&[3, 4])),
            (Gather { axis: 0, index: twice }, sample(&[3, 3])),
            (Gather { axis: 0, index: Tensor::zeros([0, 2]) }, sample(&[0, 2])),
        ]
    }
}

/// Whole slices of an axis, in any order and with repetitions.
#[derive(Clone, Debug)]
pub struct IndexSelect {
    /// The axis.
    pub axis: isize,
    /// The indices to select.
    pub indices: Vec<usize>,
}

impl<T: Float> Op<T> for IndexSelect {
    type Saved = ();
    const NAME: &'static str = "index_select";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].selected("index_select", self.axis, &self.indices)?.1)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let selected = inputs[0].index_select(self.axis, &self.indices);
        (selected.expect("the shape rule accepted the input"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (axis, _) = shape.along("index_select", self.axis).expect("checked by the shape rule");
        call.each(|_| {
            if shape.is_empty() {
                return call.cotangent.clone();
            }
            let mut gradient = Tensor::zeros(shape);
            add_rows(gradient.make_mut(), shape, axis, &self.indices, &call.cotangent);
            gradient
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let zeros = Term::constant(Tensor::zeros(call.inputs[0].shape()));
        call.each(|_| zeros.index_add(self.axis, &self.indices, call.cotangent))
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into()), ("indices", listed(&self.indices))]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let indices = value.to_indices().filter(|_| name == "indices")?.to_vec();
        let indices = indices.into_iter().map(|index| usize::try_from(index).ok());
        let indices = indices.collect::<Option<_>>()?;
        Some(IndexSelect { indices, axis: self.axis })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let select = |axis, indices: &[usize]| IndexSelect { axis, indices: indices.into() };
        vec![
            (select(0, &[2, 0, 2]), sample(&[3, 4])),
            (select(-1, &[1]), sample(&[2, 3])),
            (select(0, &[]), sample(&[2, 3])),
        ]
    }
}

/// Indices as an attribute.
pub(super) fn listed(indices: &[usize]) -> Attribute {
    (&Tensor::from_fn([indices.len()], |i| indices[i] as i64)).into()
}

/// One of two values, by a mask.
#[derive(Clone, Debug)]
pub struct Where {
    /// Where it is true, the first input is selected.
    pub mask: Tensor<bool>,
}

fn chosen_shape(mask: &Tensor<bool>, a: &Shape, b: &Shape) -> Result<Shape> {
    a.broadcast(b, "where_mask")?.broadcast(mask.shape(), "where_mask")
}

impl<T: Element> Tensor<T> {
    /// `self` where the mask is true, else `other`; all three broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast.
    pub fn where_mask(&self, mask: &Tensor<bool>, other: &Self) -> Result<Self> {
        let shape = chosen_shape(mask, self.shape(), other.shape())?;
        shape.check_memory::<T>("where_mask")?;
        // With a single value on one side, the loop has two operands.
        if let Ok(other) = other.item() {
            return Ok(zip(mask, self, &shape, |mask, x| if mask { x } else { other }));
        }
        if let Ok(value) = self.item() {
            return Ok(zip(mask, other, &shape, |mask, x| if mask { value } else { x }));
        }
        let mask = mask.stretched(shape.clone()).contiguous();
        let [a, b] = [self, other].map(|x| x.stretched(shape.clone()).contiguous());
        Ok(mask.with_slice(|mask| {
            a.with_slice(|a| {
                b.with_slice(|b| {
                    Self::build(shape, |out| {
                        for (((slot, &mask), &a), &b) in out.iter_mut().zip(mask).zip(a).zip(b) {
                            *slot = if mask { a } else { b };
                        }
                    })
                })
            })
        }))
    }
}

impl<T: Float> Op<T> for Where {
    type Saved = ();
    const NAME: &'static str = "where_mask";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        chosen_shape(&self.mask, inputs[0], inputs[1])
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let chosen = inputs[0].where_mask(&self.mask, inputs[1]);
        (chosen.expect("the shape rule accepted the inputs"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|index| {
            let wanted = index == 0;
            let gradient = zip(&self.mask, &call.cotangent, call.output.shape(), |mask, g| {
                if mask == wanted { g } else { T::ZERO }
            });
            sum_to(gradient, call.inputs[index].shape())
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let zero = Term::constant(Tensor::scalar(T::ZERO));
        call.each(|index| {
            let sides = if index == 0 { [call.cotangent, &zero] } else { [&zero, call.cotangent] };
            sides[0].where_mask(&self.mask, sides[1])?.sum_to(call.inputs[index].shape())
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("mask", (&self.mask).into())]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let mask = value.to_mask().filter(|_| name == "mask")?;
        Some(Where { mask })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mask = Tensor::from([[true, false, true], [false, false, true]]);
        let pair = |a: &[usize], b: &[usize]| [sample(a), sample(b)].concat();
        vec![
            (Where { mask: mask.clone() }, pair(&[2, 3], &[2, 3])),
            (Where { mask }, pair(&[3], &[4, 2, 1])),
            (Where { mask: Tensor::from([true]) }, pair(&[2, 0], &[1, 1])),
        ]
    }
}
