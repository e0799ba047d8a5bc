//! The discrete Fourier transform of the last axis, by the crates `rustfft` and
//! `realfft`.
//!
//! A complex number is a last axis of length 2, real part first (PyTorch's
//! `view_as_real`). The results are not divided by the length here. Each row is
//! transformed by one thread, so the bits do not depend on the number of
//! threads.

use std::any::Any;
use std::sync::{LazyLock, Mutex, PoisonError};

use realfft::num_complex::Complex;
use realfft::{FftNum, RealFftPlanner};
use rustfft::FftPlanner;

use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Xₖ = Σₙ xₙ·exp(−2πikn/N) of real numbers `[…, N]`, for k up to N/2; the
/// others are the conjugates of these. The result is `[…, N/2 + 1, 2]`.
#[derive(Clone, Copy, Debug)]
pub struct Rfft;

/// The real numbers `[…, length]` whose spectrum begins with `[…, length/2 + 1,
/// 2]`, times the length. The imaginary parts of the first element and, for an
/// even length, of the last one are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Irfft {
    /// The number of real numbers.
    pub length: usize,
}

/// Xₖ = Σₙ xₙ·exp(∓2πikn/N) of complex numbers `[…, N, 2]`.
#[derive(Clone, Copy, Debug)]
pub struct Fft {
    /// Whether the exponent is positive.
    pub inverse: bool,
}

/// The number of complex numbers in the last two axes.
pub(super) fn complex_length(context: &str, shape: &Shape) -> Result<usize> {
    match shape[..] {
        [.., length, 2] => Ok(length),
        _ => {
            let message =
                format!("expected complex numbers as a last axis of length 2, got shape {shape}");
            Err(Error::shape(context, message))
        }
    }
}

/// An error for an axis without elements, which has no spectrum.
fn check_length(context: &str, length: usize, shape: &Shape) -> Result<()> {
    if length > 0 {
        return Ok(());
    }
    Err(Error::shape(context, format!("the axis to transform of {shape} has no elements")))
}

impl<T: Float> Op<T> for Rfft {
    type Saved = ();
    const NAME: &'static str = "rfft";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let shape = inputs[0];
        let axis = shape.axis("rfft", -1)?;
        check_length("rfft", shape[axis], shape)?;
        Ok(shape[..axis].iter().copied().chain([shape[axis] / 2 + 1, 2]).collect())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[0].shape();
        let (length, batch) = shape.split_last().expect("the shape rule demands an axis");
        let shape = batch.iter().copied().chain([length / 2 + 1, 2]).collect();
        (transform(Kind::Real, inputs[0], shape), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        // The inverse counts the elements between the two ends twice.
        let weighted = weighted(&call.cotangent, shape[shape.len() - 1], 0.5);
        call.each(|_| transform(Kind::Half, &weighted, shape.clone()))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let length = call.inputs[0].shape()[call.inputs[0].shape().len() - 1];
        let weights = Term::constant(weights(length, 0.5));
        let irfft = Irfft { length };
        call.each(|_| Term::try_apply(irfft, &[&call.cotangent.mul(&weights)?]))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        [&[6][..], &[2, 3, 5], &[3, 1], &[0, 4]].map(|shape| (Self, sample(shape))).into()
    }
}

impl<T: Float> Op<T> for Irfft {
    type Saved = ();
    const NAME: &'static str = "irfft";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (shape, length) = (inputs[0], self.length);
        let half = complex_length("irfft", shape)?;
        check_length("irfft", length, shape)?;
        if half != length / 2 + 1 {
            let expected = length / 2 + 1;
            let message =
                format!("{length} numbers have a half spectrum of {expected}, got shape {shape}");
            return Err(Error::shape("irfft", message));
        }
        Ok(shape[..shape.len() - 2].iter().copied().chain([length]).collect())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[0].shape();
        let shape = shape[..shape.len() - 2].iter().copied().chain([self.length]).collect();
        (transform(Kind::Half, inputs[0], shape), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape().clone();
        let spectrum = transform(Kind::Real, &call.cotangent, shape);
        call.each(|_| weighted(&spectrum, self.length, 2.0))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let weights = Term::constant(weights(self.length, 2.0));
        call.each(|_| Term::try_apply(Rfft, &[call.cotangent])?.mul(&weights))
    }

    fn attributes(&self) -> Attributes {
        vec![("length", self.length.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let case = |length, shape: &[usize]| (Self { length }, sample(shape));
        vec![
            case(6, &[4, 2]),
            case(5, &[2, 3, 3, 2]),
            case(1, &[1, 2]),
            case(2, &[3, 2, 2]),
            case(4, &[0, 3, 2]),
        ]
    }
}

impl<T: Float> Op<T> for Fft {
    type Saved = ();
    const NAME: &'static str = "fft";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        check_length("fft", complex_length("fft", inputs[0])?, inputs[0])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let kind = Kind::Complex { inverse: self.inverse };
        (transform(kind, inputs[0], inputs[0].shape().clone()), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let kind = Kind::Complex { inverse: !self.inverse };
        call.each(|_| transform(kind, &call.cotangent, call.inputs[0].shape().clone()))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let back = Self { inverse: !self.inverse };
        call.each(|_| Term::try_apply(back, &[call.cotangent]))
    }

    fn attributes(&self) -> Attributes {
        vec![("inverse", self.inverse.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let case = |inverse, shape: &[usize]| (Self { inverse }, sample(shape));
        vec![
            case(false, &[4, 2]),
            case(true, &[2, 3, 5, 2]),
            case(false, &[1, 2]),
            case(true, &[0, 3, 2]),
        ]
    }
}

/// Half a spectrum, with a weight on the elements that represent two elements
/// of the whole spectrum.
fn weighted<T: Float>(spectrum: &Tensor<T>, length: usize, weight: f64) -> Tensor<T> {
    spectrum * &weights(length, weight)
}

/// The factors of [`weighted`].
fn weights<T: Float>(length: usize, weight: f64) -> Tensor<T> {
    let weight = |k: usize| if k == 0 || 2 * k == length { 1.0 } else { weight };
    Tensor::from_fn([length / 2 + 1, 1], |k| T::from_f64(weight(k)))
}

/// The kind of transform of a row.
#[derive(Clone, Copy)]
enum Kind {
    /// From real numbers to half a spectrum.
    Real,
    /// From half a spectrum to real numbers.
    Half,
    /// From complex numbers to complex numbers.
    Complex { inverse: bool },
}

/// Transforms rows in their own precision, or in double precision if the number
/// type is neither `f32` nor `f64`.
fn transform<T: Float>(kind: Kind, x: &Tensor<T>, shape: Shape) -> Tensor<T> {
    fn same_type<A: Float, B: Float>(x: Tensor<A>) -> Tensor<B> {
        let x: Box<dyn Any> = Box::new(x);
        *x.downcast().expect("the types are the same")
    }
    let any: &dyn Any = x;
    if let Some(x) = any.downcast_ref::<Tensor<f32>>() {
        same_type(transform_rows(kind, x, shape))
    } else if let Some(x) = any.downcast_ref::<Tensor<f64>>() {
        same_type(transform_rows(kind, x, shape))
    } else {
        transform_rows(kind, &x.cast::<f64>(), shape).cast()
    }
}

/// A number type with a cache of plans by length.
trait Planned: Float + FftNum {
    fn real() -> &'static Mutex<RealFftPlanner<Self>>;
    fn complex() -> &'static Mutex<FftPlanner<Self>>;
}

macro_rules! planned {
    ($($type:ty),*) => {$(
        impl Planned for $type {
            fn real() -> &'static Mutex<RealFftPlanner<Self>> {
                static PLANS: LazyLock<Mutex<RealFftPlanner<$type>>> =
                    LazyLock::new(|| Mutex::new(RealFftPlanner::new()));
                &PLANS
            }

            fn complex() -> &'static Mutex<FftPlanner<Self>> {
                static PLANS: LazyLock<Mutex<FftPlanner<$type>>> =
                    LazyLock::new(|| Mutex::new(FftPlanner::new()));
                &PLANS
            }
        }
    )*};
}
planned!(f32, f64);

const FITS: &str = "the plan made the buffers";

fn transform_rows<T: Planned>(kind: Kind, x: &Tensor<T>, shape: Shape) -> Tensor<T> {
    if shape.contains(&0) {
        return Tensor::zeros(shape);
    }
    let length = |shape: &Shape, is_complex: bool| match shape[..] {
        [.., length, 2] if is_complex => (length, 2 * length),
        [.., length] => (length, length),
        [] => unreachable!("the shape rule demands an axis"),
    };
    let (points, from) = length(x.shape(), !matches!(kind, Kind::Real));
    let (to_points, to) = length(&shape, !matches!(kind, Kind::Half));
    // A planner stays usable after a panic of another thread.
    let real = || T::real().lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        Kind::Real => {
            let plan = real().plan_fft_forward(points);
            for_each_row(x, shape, [from, to], || {
                let (mut input, mut output) = (plan.make_input_vec(), plan.make_output_vec());
                let mut scratch = plan.make_scratch_vec();
                let plan = &plan;
                move |row: &[T], out: &mut [T]| {
                    input.copy_from_slice(row);
                    plan.process_with_scratch(&mut input, &mut output, &mut scratch).expect(FITS);
                    write(&output, out);
                }
            })
        }
        Kind::Half => {
            let plan = real().plan_fft_inverse(to_points);
            for_each_row(x, shape, [from, to], || {
                let (mut input, mut scratch) = (plan.make_input_vec(), plan.make_scratch_vec());
                let plan = &plan;
                move |row: &[T], out: &mut [T]| {
                    read(row, &mut input);
                    input[0].im = T::ZERO;
                    if to_points % 2 == 0 {
                        input[to_points / 2].im = T::ZERO;
                    }
                    plan.process_with_scratch(&mut input, out, &mut scratch).expect(FITS);
                }
            })
        }
        Kind::Complex { inverse } => {
            let mut planner = T::complex().lock().unwrap_or_else(PoisonError::into_inner);
            let plan = match inverse {
                false => planner.plan_fft_forward(points),
                true => planner.plan_fft_inverse(points),
            };
            drop(planner);
            for_each_row(x, shape, [from, to], || {
                let zero = Complex::new(T::ZERO, T::ZERO);
                let mut buffer = vec![zero; points];
                let mut scratch = vec![zero; plan.get_inplace_scratch_len()];
                let plan = &plan;
                move |row: &[T], out: &mut [T]| {
                    read(row, &mut buffer);
                    plan.process_with_scratch(&mut buffer, &mut scratch);
                    write(&buffer, out);
                }
            })
        }
    }
}

/// Calls a kernel, made by `kernel` with its own buffers, for each row of
/// `from` elements and its result of `to` elements.
fn for_each_row<T: Float, K: FnMut(&[T], &mut [T])>(
    x: &Tensor<T>,
    shape: Shape,
    [from, to]: [usize; 2],
    kernel: impl Fn() -> K + Sync,
) -> Tensor<T> {
    // About two steps for each halving of the length.
    let cost = 2 * (usize::BITS - from.leading_zeros()) as usize;
    let rows = rows_per_chunk(to * cost);
    x.with_slice(|x| {
        Tensor::build(shape, |out| {
            for_each_chunk(out, rows * to, cost, |index, out| {
                let mut kernel = kernel();
                let x = x[index * rows * from..].chunks_exact(from);
                x.zip(out.chunks_exact_mut(to)).for_each(|(row, out)| kernel(row, out));
            });
        })
    })
}

fn read<T: Float>(row: &[T], numbers: &mut [Complex<T>]) {
    for (number, pair) in numbers.iter_mut().zip(row.chunks_exact(2)) {
        *number = Complex::new(pair[0], pair[1]);
    }
}

fn write<T: Float>(numbers: &[Complex<T>], row: &mut [T]) {
    for (number, pair) in numbers.iter().zip(row.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[number.re, number.im]);
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// The formula, in double precision.
    fn naive(x: &[f64], inverse: bool) -> Vec<f64> {
        let n = x.len() / 2;
        let sign = if inverse { 1.0 } else { -1.0 };
        let mut out = vec![0.0; x.len()];
        for k in 0..n {
            for i in 0..n {
                let angle = sign * std::f64::consts::TAU * ((k * i) % n) as f64 / n as f64;
                out[2 * k] += x[2 * i] * angle.cos() - x[2 * i + 1] * angle.sin();
                out[2 * k + 1] += x[2 * i] * angle.sin() + x[2 * i + 1] * angle.cos();
            }
        }
        out
    }

    fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
        assert_abs_diff_eq!(a, b, epsilon = tolerance);
    }

    #[test]
    fn every_length_follows_the_formula() {
        for n in [1, 2, 3, 4, 5, 7, 8, 12, 17, 30, 64, 97] {
            let x = sample::<f64>(&[n, 2]).remove(0);
            for inverse in [false, true] {
                let expected = naive(&x.to_vec(), inverse);
                let found = Fft { inverse }.forward(&[&x]).0;
                assert_close(&found.to_vec(), &expected, 1e-11);
                let single = Fft { inverse }.forward(&[&x.cast::<f32>()]).0;
                assert_close(&single.cast::<f64>().to_vec(), &expected, 2e-5);
            }
            let x = sample::<f64>(&[n]).remove(0);
            let complex: Vec<f64> = x.to_vec().iter().flat_map(|&x| [x, 0.0]).collect();
            let spectrum = Rfft.forward(&[&x]).0;
            assert_close(&spectrum.to_vec(), &naive(&complex, false)[..2 * (n / 2 + 1)], 1e-11);
            let back = (Irfft { length: n }).forward(&[&spectrum]).0;
            let back: Vec<f64> = back.to_vec().iter().map(|x| x / n as f64).collect();
            assert_close(&back, &x.to_vec(), 1e-12);
        }
    }

    #[test]
    fn many_rows_have_the_bits_of_each_alone() {
        let x = sample::<f32>(&[700, 100]).remove(0);
        let all = Rfft.forward(&[&x]).0;
        for row in [0, 333, 699] {
            let alone = Rfft.forward(&[&x.narrow(0, row, 1).unwrap()]).0;
            assert_eq!(all.narrow(0, row, 1).unwrap(), alone);
        }
    }

    #[test]
    fn tensors_without_complex_numbers_are_refused() {
        let shape = Shape::from([4, 3]);
        let error = <Fft as Op<f32>>::output_shape(&Fft { inverse: false }, &[&shape]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("last axis of length 2, got shape [4, 3]"), "{message}");
        assert!(<Rfft as Op<f32>>::output_shape(&Rfft, &[&Shape::from([2, 0])]).is_err());
        let irfft = Irfft { length: 4 };
        assert!(<Irfft as Op<f32>>::output_shape(&irfft, &[&Shape::from([4, 2])]).is_err());
    }
}
