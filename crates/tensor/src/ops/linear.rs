//! The affine map of a fully connected layer.

use super::per_sample::{linear_gradient, linear_norms};
use super::reduce::fold_columns;
use super::{
    Call, Cotangents, Op, Ops, SampleCotangents, SampleGradient, Term, TermCall, TermCotangents,
};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::gemm::{Panels, Plus, Problem, multiply};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// y = x·Wᵀ + b for x of shape `[…, in]`, W of shape `[out, in]` and,
/// optionally, b of shape `[out]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear;

impl Linear {
    /// The output and what follows it; `panels` are those of Wᵀ.
    ///
    /// # Errors
    ///
    /// When the shapes do not match each other, or there is not enough memory
    /// for the output.
    pub fn forward_then<T: Float>(
        self,
        inputs: &[&Tensor<T>],
        panels: Option<&Panels<T>>,
        then: Epilogue<'_, T>,
    ) -> Result<Tensor<T>> {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        Op::<T>::output_shape(&self, &shapes)?.check_memory::<T>("linear")?;
        Ok(run(inputs, panels, then))
    }
}

/// The output for inputs that match.
#[inline(never)]
fn run<T: Float>(
    inputs: &[&Tensor<T>],
    panels: Option<&Panels<T>>,
    then: Epilogue<'_, T>,
) -> Tensor<T> {
    let (x, weight) = (inputs[0], inputs[1]);
    let [n, k] = [weight.shape()[0], weight.shape()[1]];
    Tensor::build(x.shape().clone().with_last(n), |c| {
        let (m, columns) = (c.len().checked_div(n).unwrap_or(0), n);
        let (a_strides, b_strides) = ([k, 1], [1, k]);
        let mut fill = |plus: Plus<'_, T>| {
            x.with_slice(|a| {
                weight.with_slice(|b| {
                    let p = Problem { m, k, n, a, a_strides, b, b_strides, c, columns, plus, then };
                    match panels {
                        Some(panels) => T::gemm_with_panels(p, panels),
                        None => T::gemm(p),
                    }
                });
            });
        };
        match inputs.get(2) {
            Some(bias) => bias.with_slice(|bias| fill(Plus::Row(bias))),
            None => fill(Plus::Nothing),
        }
    })
}

impl<T: Float> Op<T> for Linear {
    type Saved = ();
    const NAME: &'static str = "linear";
    const PRODUCT_OPERANDS: u32 = 0b11;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, weight) = (inputs[0], inputs[1]);
        let &[out_features, in_features] = &weight[..] else {
            return Err(Error::shape(
                "linear",
                format!("expected a weight of shape [out, in], got {weight}"),
            ));
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

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, ()>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let [x, g] = [call.inputs[0].clone(), call.cotangent.clone()];
        if x.rank() < 2 {
            return Ok(None);
        }
        let rows = call.needs.first() == Some(&true);
        let rows = rows.then(|| self.vjp(Call { needs: &[true, false, false], ..call }));
        let gradient = |(index, needed): (usize, &bool)| match (index, needed) {
            (_, false) => Some(None),
            (0, _) => Some(rows.as_ref()?[0].clone().map(SampleGradient::Rows)),
            _ => Some(Some(SampleGradient::Each(linear_gradient([&x, &g], index, samples)?))),
        };
        Ok(call.needs.iter().enumerate().map(gradient).collect())
    }

    fn sample_norms(&self, call: Call<'_, T, ()>, samples: usize) -> Option<Cotangents<T>> {
        if call.needs[0] {
            return None;
        }
        let both = [&call.inputs[0], &call.cotangent];
        let norms = |(index, needed): (usize, &bool)| match needed {
            true => Some(Some(linear_norms(both, index, samples)?)),
            false => Some(None),
        };
        call.needs.iter().enumerate().map(norms).collect()
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (run(inputs, None, Epilogue::NONE), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, weight, g) = (&call.inputs[0], &call.inputs[1], &call.cotangent);
        let [n, k] = [weight.shape()[0], weight.shape()[1]];
        let m = x.shape()[..x.rank() - 1].iter().product();
        call.each(|index| {
            Tensor::build(call.inputs[index].shape(), |out| {
                g.with_slice(|g| match index {
                    0 => weight.with_slice(|weight| {
                        multiply([m, n, k], (g, [n, 1]), (weight, [k, 1]), out, Plus::Nothing);
                    }),
                    1 => x.with_slice(|x| {
                        multiply([n, m, k], (g, [1, n]), (x, [k, 1]), out, Plus::Nothing);
                    }),
                    _ => fold_columns(g, m, n, out, T::ZERO, &|a, b| a + b),
                });
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        let rows = x.shape()[..x.shape().len() - 1].iter().product();
        let matrix = |x: &Term<T>, columns: usize| x.reshape([rows, columns]);
        let g = matrix(call.cotangent, weight.shape()[0])?;
        call.each(|index| match index {
            0 => g.matmul(weight)?.reshape(x.shape()),
            1 => g.transpose(0, 1)?.matmul(&matrix(x, weight.shape()[1])?),
            _ => g.sum_axes(&[0], false),
        })
    }

    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let inner = inputs[0].last().map_or(0, |&inner| inner);
        output.elements() as u64 * inner as u64
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
        assert_eq!(
            refuse(&[1, 2, 4], &[1]),
            "linear: expected a weight of shape [out, in], got [1, 2, 4]"
        );
        // A vector counts as one row, and that axis is removed from the result.
        let weight = Tensor::from([1.0, 2.0, 0.0, 4.0]);
        let y = Tensor::<f32>::ones([3, 4]).linear(&weight, Some(&Tensor::scalar(0.5))).unwrap();
        assert_eq!(y, Tensor::from([7.5; 3]));
    }
}
