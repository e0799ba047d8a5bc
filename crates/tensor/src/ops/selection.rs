//! Picking elements: by index along an axis, and by a mask.

use super::broadcast::{sum_to, zip};
use super::layout::sample;
use super::{Call, Cotangents, Op};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The elements that an index names along an axis.
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
        inputs[0].check_gather(self.axis, &self.index)?;
        Ok(self.index.shape().clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].gather(self.axis, &self.index).expect("the shape rule accepted the input"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let axis = shape.axis("gather", self.axis).expect("checked by the shape rule");
        call.each(|_| {
            // In row-major order: the sum of several picks of one element has
            // the same bits every time.
            let mut gradient = Tensor::zeros(shape);
            let mut target = gradient.view_mut();
            let index = self.index.view();
            for (mut place, &g) in call.cotangent.view().indexed_iter() {
                place[axis] = index[place.clone()] as usize;
                target[place] += g;
            }
            gradient
        })
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

/// Whole slices of an axis, in any order and any number of times.
#[derive(Clone, Debug)]
pub struct IndexSelect {
    /// The axis.
    pub axis: isize,
    /// The indices to take.
    pub indices: Vec<usize>,
}

impl<T: Float> Op<T> for IndexSelect {
    type Saved = ();
    const NAME: &'static str = "index_select";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let axis = inputs[0].axis("index_select", self.axis)?;
        inputs[0].check_indices("index_select", axis, &self.indices)?;
        Ok(inputs[0].with(axis, self.indices.len()))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let selected = inputs[0].index_select(self.axis, &self.indices);
        (selected.expect("the shape rule accepted the input"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let axis = ndarray::Axis(shape.axis("index_select", self.axis).expect("checked before"));
        call.each(|_| {
            let mut gradient = Tensor::zeros(shape);
            let mut target = gradient.view_mut();
            for (&index, g) in self.indices.iter().zip(call.cotangent.view().axis_iter(axis)) {
                target.index_axis_mut(axis, index).zip_mut_with(&g, |sum, &g| *sum += g);
            }
            gradient
        })
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

/// One of two values, by a mask.
#[derive(Clone, Debug)]
pub struct Where {
    /// Where it is true the first input is taken.
    pub mask: Tensor<bool>,
}

impl<T: Float> Op<T> for Where {
    type Saved = ();
    const NAME: &'static str = "where_mask";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let values = inputs[0].broadcast(inputs[1], "where_mask")?;
        values.broadcast(self.mask.shape(), "where_mask")
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shapes = [inputs[0].shape(), inputs[1].shape()];
        let shape = Op::<T>::output_shape(self, &shapes).expect("checked by the caller");
        let mask = self.mask.stretched(shape.clone()).contiguous();
        let [a, b] = [inputs[0], inputs[1]].map(|x| x.stretched(shape.clone()).contiguous());
        let chosen = mask.with_slice(|mask| {
            a.with_slice(|a| {
                b.with_slice(|b| {
                    Tensor::build(shape, |out| {
                        for (i, slot) in out.iter_mut().enumerate() {
                            *slot = if mask[i] { a[i] } else { b[i] };
                        }
                    })
                })
            })
        });
        (chosen, ())
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
