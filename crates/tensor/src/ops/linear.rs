//! The affine map of a fully connected layer.

use super::matmul::{product, transposed};
use super::reduce::fold;
use super::{Call, Cotangents, Op};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// y = x·Wᵀ + b for x of shape `[…, in]`, W of shape `[out, in]` and,
/// optionally, b of shape `[out]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear;

/// x as one tall matrix.
fn rows<T: Float>(x: &Tensor<T>) -> Tensor<T> {
    let width = x.shape()[x.rank() - 1];
    let count = x.shape()[..x.rank() - 1].iter().product();
    x.reshape([count, width]).expect("the same elements")
}

impl<T: Float> Op<T> for Linear {
    type Saved = ();
    const NAME: &'static str = "linear";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, weight) = (inputs[0], inputs[1]);
        let &[out_features, in_features] = &weight[..] else {
            return Err(Error::shape("linear", format!("the weight {weight} is not [out, in]")));
        };
        let Some((&features, batch)) = x.split_last().filter(|(last, _)| **last == in_features)
        else {
            return Err(Error::shape(
                "linear",
                format!("expected input of shape […, {in_features}], got {x}"),
            ));
        };
        debug_assert_eq!(features, in_features);
        if let Some(bias) = inputs.get(2)
            && **bias != [out_features]
        {
            return Err(Error::shape(
                "linear",
                format!("expected a bias of shape [{out_features}], got {bias}"),
            ));
        }
        Ok(batch.iter().copied().chain([out_features]).collect())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, weight) = (inputs[0], inputs[1]);
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        let shape = Op::<T>::output_shape(self, &shapes).expect("checked by the caller");
        let mut y = product(&rows(x), &transposed(weight));
        if let Some(bias) = inputs.get(2) {
            bias.with_slice(|bias| {
                for row in y.make_mut().chunks_exact_mut(bias.len().max(1)) {
                    for (y, &b) in row.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            });
        }
        (y.reshape(shape).expect("the same elements"), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let g = rows(&call.cotangent);
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        call.each(|index| match index {
            0 => product(&g, weight).reshape(x.shape()).expect("the same elements"),
            1 => product(&transposed(&g), &rows(x)),
            _ => fold(&g, &[0], T::ZERO, |a, b| a + b),
        })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(9);
        let mut input = |shape: &[usize]| Tensor::normal(shape, 0.0, 1.0, &mut rng);
        vec![
            (Linear, vec![input(&[3, 4]), input(&[5, 4]), input(&[5])]),
            (Linear, vec![input(&[2, 3, 4]), input(&[5, 4])]),
            (Linear, vec![input(&[4]), input(&[2, 4]), input(&[2])]),
            (Linear, vec![input(&[0, 4]), input(&[2, 4]), input(&[2])]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    #[test]
    fn wrong_shapes_are_named() {
        let x = Tensor::<f32>::zeros([3, 4]);
        let refuse = |weight: &[usize], bias: &[usize]| {
            let (weight, bias) = (Tensor::zeros(weight), Tensor::zeros(bias));
            x.linear(&weight, Some(&bias)).unwrap_err().to_string()
        };
        assert_eq!(refuse(&[2, 5], &[2]), "linear: expected input of shape […, 5], got [3, 4]");
        assert_eq!(refuse(&[2, 4], &[3]), "linear: expected a bias of shape [2], got [3]");
        assert_eq!(refuse(&[4], &[1]), "linear: the weight [4] is not [out, in]");
    }
}
