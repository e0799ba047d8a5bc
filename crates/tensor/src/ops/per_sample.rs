//! Gradients of each sample of a batch: what an operation returns, and
//! functions that several operations share.
//!
//! The samples are contiguous along axis 0 of an output, each as one row or
//! several rows.

use smallvec::SmallVec;

use super::{Call, Op, Ops};
use crate::element::Float;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The gradient of each sample with respect to one input.
#[derive(Clone, Debug)]
pub enum SampleGradient<T: Float> {
    /// A tensor of the input's shape: axis 0 of the input also holds the
    /// samples, and each part is the gradient of its sample.
    Rows(Tensor<T>),
    /// `[samples, …input]`: the input is the same for all samples.
    Each(Tensor<T>),
}

/// One gradient for each input; `None` where it is not needed.
pub type SampleCotangents<T> = SmallVec<[Option<SampleGradient<T>>; 3]>;

/// A tensor whose axis 0 holds the samples, with a separate axis for them,
/// `[samples, rows, …]`; `None` when the length of axis 0 is not a multiple of
/// `samples`.
pub(super) fn by_sample<T: Float>(x: &Tensor<T>, samples: usize) -> Option<Tensor<T>> {
    let (&rows, rest) = x.shape().split_first()?;
    if samples == 0 || rows % samples != 0 {
        return None;
    }
    let shape: Shape = [samples, rows / samples].into_iter().chain(rest.iter().copied()).collect();
    x.reshape(shape).ok()
}

/// Σ x² for each sample of `[samples, …]`.
pub fn squared_norms<T: Float>(x: &Tensor<T>) -> Tensor<T> {
    let samples = x.shape().first().copied().unwrap_or(1);
    x.with_slice(|values| {
        let length = values.len().checked_div(samples).unwrap_or(0);
        Tensor::from_fn([samples], |sample| {
            values[sample * length..][..length].iter().map(|&x| x * x).sum::<T>()
        })
    })
}

/// The gradients with respect to weight and bias of y = x·Wᵀ + b for each
/// sample.
pub(super) fn linear_gradient<T: Float>(
    [x, g]: [&Tensor<T>; 2],
    index: usize,
    samples: usize,
) -> Option<Tensor<T>> {
    let [x, g] = rows([x, g], samples)?;
    match index {
        1 => g.transpose(1, 2).ok()?.matmul(&x).ok(),
        _ => g.sum_axes(&[1], false).ok(),
    }
}

/// Input and cotangent of a product, as `[samples, rows, features]`.
fn rows<T: Float>(both: [&Tensor<T>; 2], samples: usize) -> Option<[Tensor<T>; 2]> {
    let [x, g] = both.map(|x| {
        if x.rank() < 2 {
            return None;
        }
        by_sample(x, samples)?.flatten(1, -2).ok()
    });
    Some([x?, g?])
}

/// The squared norms of [`linear_gradient`], which is not stored when storing
/// it would be the larger part of the work: ‖Σₜ gₜ xₜᵀ‖² = Σₛₜ (xₛ·xₜ)(gₛ·gₜ)
/// (Goodfellow, "Efficient per-example gradient computations", 2015; Li et al.,
/// "Large language models can be strong differentially private learners",
/// 2022).
pub(super) fn linear_norms<T: Float>(
    [x, g]: [&Tensor<T>; 2],
    index: usize,
    samples: usize,
) -> Option<Tensor<T>> {
    let [wide_x, wide_g] = rows([x, g], samples)?;
    let (count, inputs, outputs) = (wide_x.shape()[1], wide_x.shape()[2], wide_g.shape()[2]);
    if index != 1 || count.saturating_mul(inputs + outputs) > inputs.saturating_mul(outputs) {
        return Some(squared_norms(&linear_gradient([x, g], index, samples)?));
    }
    if count == 1 {
        return squared_norms(&wide_x).mul(&squared_norms(&wide_g)).ok();
    }
    let gram = |x: &Tensor<T>| x.matmul(&x.transpose(1, 2)?);
    let both = gram(&wide_x).and_then(|x| x.mul(&gram(&wide_g)?)).ok()?;
    both.sum_axes(&[1, 2], false).ok()
}

/// The gradients of each sample, by one call of the operation's own gradient
/// per sample. The first `rows` inputs (0 or 1) have the samples along axis 0;
/// `part` returns the operation for a sample and the values that its forward
/// pass kept.
pub(super) fn one_by_one<T: Float, O: Op<T>>(
    operation: &O,
    call: Call<'_, T, O::Saved>,
    samples: usize,
    rows: usize,
    part: impl Fn(usize) -> (O, O::Saved),
) -> Option<SampleCotangents<T>> {
    let (inputs, needs, g) = (call.inputs, call.needs, call.cotangent.clone());
    let parts = by_sample(&g, samples)?.shape()[1];
    let part_of = |x: &Tensor<T>, sample: usize| x.narrow(0, sample * parts, parts).ok();
    let mut gradients: SampleCotangents<T> = inputs.iter().map(|_| None).collect();
    let only = |held: bool| -> SmallVec<[bool; 3]> {
        needs.iter().enumerate().map(|(i, &needed)| needed && (i < rows) == held).collect()
    };
    let (held, shared) = (only(true), only(false));
    if shared.contains(&true) {
        let mut each: Vec<Vec<Tensor<T>>> = vec![Vec::with_capacity(samples); inputs.len()];
        for sample in 0..samples {
            let (operation, saved) = part(sample);
            let mut own = inputs.to_vec();
            for input in own.iter_mut().take(rows) {
                *input = part_of(input, sample)?;
            }
            let (output, cotangent) = (part_of(call.output, sample)?, part_of(&g, sample)?);
            let call =
                Call { inputs: &own, output: &output, saved: &saved, needs: &shared, cotangent };
            for (each, gradient) in each.iter_mut().zip(operation.vjp(call)) {
                each.extend(gradient);
            }
        }
        for (gradient, each) in gradients.iter_mut().zip(each) {
            if !each.is_empty() {
                let each: Vec<&Tensor<T>> = each.iter().collect();
                *gradient = Some(SampleGradient::Each(Tensor::stack(&each, 0).ok()?));
            }
        }
    }
    if held.contains(&true) {
        let of_rows = operation.vjp(Call { needs: &held, ..call });
        for (gradient, found) in gradients.iter_mut().zip(of_rows) {
            *gradient = gradient.take().or(found.map(SampleGradient::Rows));
        }
    }
    Some(gradients)
}

/// Like [`one_by_one`], for an operation on the last `axes` axes whose forward
/// pass keeps a value for each index of the other axes.
pub(super) fn by_rows<T: Float, O: Op<T, Saved = Vec<S>>, S: Copy>(
    operation: &O,
    call: Call<'_, T, Vec<S>>,
    samples: usize,
    axes: usize,
) -> Option<SampleCotangents<T>> {
    if call.inputs[0].rank() == axes {
        return None;
    }
    let saved = call.saved;
    let rows = saved.len().checked_div(samples)?;
    let part = |sample: usize| (operation.clone(), saved[sample * rows..][..rows].to_vec());
    one_by_one(operation, call, samples, 1, part)
}
