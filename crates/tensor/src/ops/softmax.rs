//! Softmax and its logarithm along an axis.
//!
//! The maximum is subtracted first, so that no exponential overflows.

use smallvec::SmallVec;

use super::{Attributes, Call, Cotangents, Op, Ops, TermCall, TermCotangents};
use crate::element::{Element, Float};
use crate::error::Result;
use crate::kernels::fold::{Fold, fold_slice, largest};
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// exp(x) / Σ exp(x) along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// The axis.
    pub axis: isize,
}

/// x − ln Σ exp(x) along an axis.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax {
    /// The axis.
    pub axis: isize,
}

/// The cost of an exponential in elementary steps.
const EXP_COST: usize = 8;

/// Calls `row(inputs, out)` for every row along `axis`; the inputs have the
/// same shape.
pub(super) fn map_rows<T: Element, const N: usize>(
    inputs: [&Tensor<T>; N],
    axis: isize,
    row: impl Fn([&[T]; N], &mut [T]) + Sync,
) -> Tensor<T> {
    let shape = inputs[0].shape();
    if shape.is_empty() {
        let rows = inputs.map(Tensor::at_least_vector);
        return map_rows(rows.each_ref(), 0, row).with_shape(shape.clone());
    }
    let axis = shape.axis("softmax", axis).expect("the shape rule accepted the axis");
    let mut order: SmallVec<[usize; 4]> = (0..shape.len()).collect();
    order.swap(axis, shape.len() - 1);
    let inputs = inputs.map(|input| input.permuted(&order).contiguous());
    let rows = inputs.each_ref().map(|input| input.as_slice().expect("made contiguous"));
    let length = shape[axis].max(1);
    let out = Tensor::build(inputs[0].shape(), |out| {
        let chunk = rows_per_chunk(length * EXP_COST) * length;
        for_each_chunk(out, chunk, EXP_COST, |index, out| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, out) in out.chunks_exact_mut(length).enumerate() {
                        let start = index * chunk + i * length;
                        row(rows.map(|rows| &rows[start..start + length]), out);
                    }
                },
            );
        });
    });
    out.permuted(&order)
}

/// Fills `out` with exp(x − maximum) and returns the maximum and the sum.
#[inline(always)]
fn exponentials<T: Float>(row: &[T], out: &mut [T]) -> (T, T) {
    let max = largest().row(row, T::LOWEST);
    for (slot, &x) in out.iter_mut().zip(row) {
        *slot = (x - max).exp();
    }
    (
        max,
        fold_slice(
            out,
            T::ZERO,
            #[inline(always)]
            |a, b| a + b,
        ),
    )
}

/// The inputs on which both are checked.
fn sample_inputs<T: Float>() -> [(Vec<Tensor<T>>, isize); 5] {
    let mut rng = Rng::seed(6);
    let mut input = |shape: &[usize]| vec![Tensor::uniform(shape, -2.0, 2.0, &mut rng)];
    [
        (input(&[3, 5]), 1),
        (input(&[3, 5]), 0),
        (input(&[2, 3, 4]), -2),
        (input(&[1, 1]), -1),
        (input(&[0, 3]), -1),
    ]
}

impl<T: Float> Op<T> for Softmax {
    type Saved = ();
    const NAME: &'static str = "softmax";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].along("softmax", self.axis)?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let softmax = map_rows(
            [inputs[0]],
            self.axis,
            #[inline(always)]
            |[x], out| {
                let (_, sum) = exponentials(x, out);
                // One quotient for each row instead of one for each number.
                let share = T::ONE / sum;
                for y in out {
                    *y *= share;
                }
            },
        );
        (softmax, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| {
            map_rows(
                [call.output, &call.cotangent],
                self.axis,
                #[inline(always)]
                |[y, g], out| {
                    for ((slot, &y), &g) in out.iter_mut().zip(y).zip(g) {
                        *slot = y * g;
                    }
                    let dot = fold_slice(
                        out,
                        T::ZERO,
                        #[inline(always)]
                        |a, b| a + b,
                    );
                    for ((slot, &y), &g) in out.iter_mut().zip(y).zip(g) {
                        *slot = y * (g - dot);
                    }
                },
            )
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        // y · g − y · Σ y · g
        call.each(|_| {
            let weighted = call.output * call.cotangent;
            let sum = weighted.sum_axes(&[self.axis], true)?;
            Ok(weighted - call.output * sum)
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        sample_inputs().map(|(inputs, axis)| (Softmax { axis }, inputs)).into()
    }
}

impl<T: Float> Op<T> for LogSoftmax {
    type Saved = ();
    const NAME: &'static str = "log_softmax";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].along("log_softmax", self.axis)?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let logarithms = map_rows(
            [inputs[0]],
            self.axis,
            #[inline(always)]
            |[x], out| {
                let (max, sum) = exponentials(x, out);
                let log_sum = sum.ln();
                for (y, &x) in out.iter_mut().zip(x) {
                    // In two steps, since max + ln sum would lose the small
                    // part for large inputs.
                    *y = (x - max) - log_sum;
                }
            },
        );
        (logarithms, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| {
            map_rows(
                [call.output, &call.cotangent],
                self.axis,
                #[inline(always)]
                |[y, g], out| {
                    let sum = fold_slice(
                        g,
                        T::ZERO,
                        #[inline(always)]
                        |a, b| a + b,
                    );
                    for ((slot, &y), &g) in out.iter_mut().zip(y).zip(g) {
                        *slot = g - y.exp() * sum;
                    }
                },
            )
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        // g − exp(y) · Σ g
        call.each(|_| {
            let sum = call.cotangent.sum_axes(&[self.axis], true)?;
            Ok(call.cotangent - call.output.exp() * sum)
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        sample_inputs().map(|(inputs, axis)| (LogSoftmax { axis }, inputs)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_inputs_do_not_overflow() {
        let x = Tensor::from([[1000.0, 1001.0, f32::NEG_INFINITY], [-1000.0, -1000.0, -1000.0]]);
        let y = x.softmax(1).unwrap().to_vec();
        let e = 1f32.exp();
        for (found, expected) in y.iter().zip([1.0 / (1.0 + e), e / (1.0 + e), 0.0, 1.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6);
        }
        let y = x.log_softmax(1).unwrap().to_vec();
        assert!((y[0] + (1.0 + e).ln()).abs() < 1e-6);
        assert_eq!(y[2], f32::NEG_INFINITY);
    }

    #[test]
    fn a_missing_axis_is_refused() {
        let error = Tensor::<f32>::zeros([2]).softmax(1).unwrap_err();
        assert_eq!(error.to_string(), "softmax: there is no axis 1 in shape [2]");
    }
}
