//! The gradients of a convolution for each sample. A sample may be several
//! images.

use super::conv2d::Conv2d;
use super::per_sample::{by_sample, squared_norms};
use super::{Call, Cotangents, Op, Ops, SampleCotangents, SampleGradient};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Conv2d {
    /// Calls `work` for each sample, with its gradient of the weight.
    fn each_sample<T: Float, R: Send>(
        &self,
        [x, weight, g]: [&Tensor<T>; 3],
        out: (&mut [R], usize),
        work: impl Fn(&mut [R], &dyn Fn(&mut [T])) + Sync,
    ) {
        let (problem, _) = self.problem(&[x.shape(), weight.shape()]).expect("checked before");
        let samples = out.0.len() / out.1.max(1);
        let images = problem.images.checked_div(samples).unwrap_or(0);
        let cost = images.saturating_mul(g.len() / problem.images.max(1)).max(1);
        x.with_slice(|x| {
            g.with_slice(|g| {
                for_each_chunk(out.0, out.1, cost, |index, out| {
                    let images = index * images..(index + 1) * images;
                    work(out, &|sum| problem.weight_gradient_part(x, g, images.clone(), sum));
                });
            });
        });
    }

    /// See [`Op::vjp_per_sample`].
    pub(super) fn sample_gradients<T: Float>(
        &self,
        inputs: &[Tensor<T>],
        needs: &[bool],
        g: &Tensor<T>,
        samples: usize,
    ) -> Option<SampleCotangents<T>> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let each = by_sample(g, samples)?;
        let gradient = |index: usize| match index {
            0 => {
                let only = [true, false, false];
                let call = Call {
                    inputs,
                    output: g,
                    saved: &(),
                    needs: &only[..inputs.len()],
                    cotangent: g.clone(),
                };
                Some(SampleGradient::Rows(self.vjp(call).swap_remove(0)?))
            }
            1 => {
                let shape: Shape = [samples].iter().chain(weight.shape().iter()).copied().collect();
                Some(SampleGradient::Each(Tensor::build(shape, |out| {
                    let length = weight.len();
                    self.each_sample([x, weight, g], (out, length), |out, fill| fill(out));
                })))
            }
            _ => Some(SampleGradient::Each(each.sum_axes(&[1, 3, 4], false).ok()?)),
        };
        let gradients = needs.iter().enumerate();
        gradients
            .map(|(i, &needed)| if needed { gradient(i).map(Some) } else { Some(None) })
            .collect()
    }

    /// See [`Op::sample_norms`].
    pub(super) fn norms_of_samples<T: Float>(
        &self,
        inputs: &[Tensor<T>],
        needs: &[bool],
        g: &Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>> {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let each = by_sample(g, samples)?;
        let norms = |index: usize| match index {
            1 => Some(Tensor::build([samples], |out| {
                self.each_sample([x, weight, g], (out, 1), |out, fill| {
                    let mut gradient = Buffer::new(weight.len());
                    let gradient = gradient.as_mut_slice();
                    fill(gradient);
                    out[0] = gradient.iter().map(|&x| x * x).sum();
                });
            })),
            _ => Some(squared_norms(&each.sum_axes(&[1, 3, 4], false).ok()?)),
        };
        let each = needs.iter().enumerate();
        each.map(|(i, &needed)| if needed { norms(i).map(Some) } else { Some(None) }).collect()
    }
}
