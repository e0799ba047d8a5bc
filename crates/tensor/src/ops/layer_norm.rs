//! Normalisation of each sample over its last axes: layer normalisation and
//! root mean square normalisation.
//!
//! Both treat the input as rows, one for each index of the leading axes. The
//! gradients of weight and bias are summed over pieces of the rows that depend
//! only on the shape, and the pieces are added in order.

use super::normalisation::{self, Normalisation};
use super::per_sample::by_rows;
use super::{Attributes, Call, Cotangents, Op, SampleCotangents, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::fold::{LANES, halved, loop_ends};
use crate::kernels::parallel::{for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// y = (x − mean) / √(variance + ε) · weight + bias, where mean and (biased)
/// variance are those of the last axes (Ba, Kiros and Hinton, "Layer
/// normalization", 2016).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The lengths of the axes that are normalised together.
    pub normalized_shape: Shape,
    /// The number added to the variance, so that the divisor is not 0.
    pub epsilon: f64,
}

/// y = x / √(mean of x² + ε) · weight over the last axes (Zhang and Sennrich,
/// "Root mean square layer normalization", 2019).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// The lengths of the axes that are normalised together.
    pub normalized_shape: Shape,
    /// The number added to the mean square, so that the divisor is not 0.
    pub epsilon: f64,
}

/// The mean of a row and the factor of the distances from it.
type Statistics<T> = [T; 2];

/// The cost of an element in elementary steps.
const COST: usize = 4;

/// Σ f over the elements of rows of one length.
#[inline(always)]
fn sum<T: Float, const N: usize>(rows: [&[T]; N], f: impl Fn([T; N]) -> T) -> T {
    let length = rows[0].len();
    let mut lanes = [T::ZERO; LANES];
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let rows = rows.map(|row| &row[start..start + LANES]);
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(rows.map(|row| row[lane]));
        }
    }
    let mut lanes = loop_ends(lanes);
    let rest = rows.map(|row| &row[whole..length]);
    for (i, sum) in lanes.iter_mut().enumerate().take(length - whole) {
        *sum += f(rest.map(|row| row[i]));
    }
    halved(lanes, |a, b| a + b)
}

/// Checks the settings and the inputs: x, and the optional weight and bias.
fn check(context: &str, normalized: &Shape, epsilon: f64, inputs: &[&Shape]) -> Result<Shape> {
    let x = inputs[0];
    if normalized.is_empty() || !x.ends_with(normalized) {
        let axes: Vec<String> = normalized.iter().map(|size| format!(", {size}")).collect();
        let message = format!("expected an input of shape […{}], got {x}", axes.concat());
        return Err(Error::shape(context, message));
    }
    for (name, shape) in ["weight", "bias"].iter().zip(&inputs[1..]) {
        if *shape != normalized {
            let message = format!("expected a {name} of shape {normalized}, got {shape}");
            return Err(Error::shape(context, message));
        }
    }
    normalisation::check_epsilon(context, epsilon)?;
    Ok(x.clone())
}

/// Mean and factor of a row.
#[inline(always)]
fn statistics<T: Float>(row: &[T], centred: bool, epsilon: T) -> Statistics<T> {
    let count = T::from_f64(row.len() as f64);
    let mean = match centred {
        true => {
            sum(
                [row],
                #[inline(always)]
                |[x]| x,
            ) / count
        }
        false => T::ZERO,
    };
    let squares = sum(
        [row],
        #[inline(always)]
        |[x]| (x - mean) * (x - mean),
    );
    let factor = T::ONE / (squares / count + epsilon).sqrt();
    // The factor is not 0 or ∞ by overflow or underflow of squares.
    if factor > T::ZERO && factor < T::HIGHEST {
        [mean, factor]
    } else {
        scaled(row, mean, epsilon)
    }
}

/// Mean and factor of a row whose squares are out of range, computed from the
/// row divided by its largest distance from the mean.
#[cold]
#[inline(never)]
fn scaled<T: Float>(row: &[T], mean: T, epsilon: T) -> Statistics<T> {
    let count = T::from_f64(row.len() as f64);
    let unit = row.iter().fold(T::ZERO, |unit, &x| unit.max_nan((x - mean).abs()));
    if unit == T::ZERO || !unit.is_finite() {
        return [mean, T::ONE / (unit * unit + epsilon).sqrt()];
    }
    let squares = row.iter().fold(T::ZERO, |sum, &x| {
        let distance = (x - mean) / unit;
        sum + distance * distance
    });
    [mean, T::ONE / (squares / count + epsilon / unit / unit).sqrt() / unit]
}

/// The output and the statistics of every row.
fn forward<T: Float>(
    inputs: &[&Tensor<T>],
    length: usize,
    centred: bool,
    epsilon: f64,
) -> (Tensor<T>, Vec<Statistics<T>>) {
    let x = inputs[0].contiguous();
    let x = x.as_slice().expect("made contiguous");
    let mut saved = vec![[T::ZERO; 2]; x.len().checked_div(length).unwrap_or(0)];
    let affine: Vec<Tensor<T>> = inputs[1..].iter().map(|input| input.contiguous()).collect();
    let affine: Vec<&[T]> = affine.iter().filter_map(|input| input.as_slice()).collect();
    let epsilon = T::from_f64(epsilon);
    let rows = rows_per_chunk(length * COST);
    let y = Tensor::build(inputs[0].shape(), |out| {
        let chunks = ((out, rows * length), (&mut saved[..], rows));
        for_each_chunk_pair(chunks.0, chunks.1, COST, |index, out, saved| {
            let x = &x[index * rows * length..][..out.len()];
            simd::dispatch(
                #[inline(always)]
                || {
                    let x = x.chunks_exact(length).zip(out.chunks_exact_mut(length));
                    for ((x, out), saved) in x.zip(saved) {
                        let [mean, factor] = statistics(x, centred, epsilon);
                        *saved = [mean, factor];
                        match affine[..] {
                            [] => {
                                for (out, &x) in out.iter_mut().zip(x) {
                                    *out = (x - mean) * factor;
                                }
                            }
                            [weight] => {
                                for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
                                    *out = (x - mean) * factor * weight;
                                }
                            }
                            [weight, bias, ..] => {
                                let out = out.iter_mut().zip(x).zip(weight).zip(bias);
                                for (((out, &x), &weight), &bias) in out {
                                    *out = (x - mean) * factor * weight + bias;
                                }
                            }
                        }
                    }
                },
            );
        });
    });
    (y, saved)
}

/// The gradient of x, with h = g · weight and x̂ the normalised row: factor ·
/// (h − mean of h − x̂ · mean of h·x̂), without the mean of h if the row was
/// not centred.
fn input_gradient<T: Float>(
    [x, g]: [&[T]; 2],
    weight: Option<&[T]>,
    saved: &[Statistics<T>],
    centred: bool,
    out: &mut [T],
) {
    let length = x.len() / saved.len();
    let count = T::from_f64(length as f64);
    let rows = rows_per_chunk(length * COST);
    let ones;
    let weight = match weight {
        Some(weight) => weight,
        None => {
            ones = vec![T::ONE; length];
            &ones
        }
    };
    for_each_chunk(out, rows * length, COST, |index, out| {
        let start = index * rows * length;
        let (x, g) = (&x[start..][..out.len()], &g[start..][..out.len()]);
        let saved = &saved[index * rows..];
        simd::dispatch(
            #[inline(always)]
            || {
                let inputs = x.chunks_exact(length).zip(g.chunks_exact(length)).zip(saved);
                for (((x, g), &[mean, factor]), out) in inputs.zip(out.chunks_exact_mut(length)) {
                    let offset = match centred {
                        true => {
                            sum(
                                [g, weight],
                                #[inline(always)]
                                |[g, weight]| g * weight,
                            ) / count
                        }
                        false => T::ZERO,
                    };
                    let slope = sum(
                        [g, weight, x],
                        #[inline(always)]
                        |[g, weight, x]| g * weight * ((x - mean) * factor),
                    );
                    let slope = slope / count * factor;
                    for (((out, &g), &weight), &x) in out.iter_mut().zip(g).zip(weight).zip(x) {
                        *out = (g * weight - offset - (x - mean) * slope) * factor;
                    }
                }
            },
        );
    });
}

/// The gradients of weight and bias: Σ g·x̂ and Σ g over the rows.
fn affine_gradients<T: Float>(
    [x, g]: [&[T]; 2],
    saved: &[Statistics<T>],
    length: usize,
) -> [Vec<T>; 2] {
    let rows = rows_per_chunk(length);
    // Both sums for each piece of the rows, one after the other.
    let mut pieces = vec![T::ZERO; saved.len().div_ceil(rows) * 2 * length];
    for_each_chunk(&mut pieces, 2 * length, rows, |index, sums| {
        let start = index * rows;
        let end = saved.len().min(start + rows);
        let (x, g) = (&x[start * length..end * length], &g[start * length..end * length]);
        let (weight, bias) = sums.split_at_mut(length);
        simd::dispatch(
            #[inline(always)]
            || {
                let inputs = x.chunks_exact(length).zip(g.chunks_exact(length));
                for ((x, g), &[mean, factor]) in inputs.zip(&saved[start..end]) {
                    let sums = weight.iter_mut().zip(bias.iter_mut());
                    for ((sums, &x), &g) in sums.zip(x).zip(g) {
                        *sums.0 += g * ((x - mean) * factor);
                        *sums.1 += g;
                    }
                }
            },
        );
    });
    let mut totals = [vec![T::ZERO; length], vec![T::ZERO; length]];
    for piece in pieces.chunks_exact(2 * length) {
        for (total, sums) in totals.iter_mut().zip(piece.chunks_exact(length)) {
            for (total, &sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
    }
    totals
}

fn vjp<T: Float>(call: Call<'_, T, Vec<Statistics<T>>>, centred: bool) -> Cotangents<T> {
    let saved = &call.saved[..];
    if saved.is_empty() {
        return call.each(|index| Tensor::zeros(call.inputs[index].shape()));
    }
    let inputs = [&call.inputs[0], &call.cotangent].map(Tensor::contiguous);
    let inputs = inputs.each_ref().map(|input| input.as_slice().expect("made contiguous"));
    let length = inputs[0].len() / saved.len();
    let weight = call.inputs.get(1).map(Tensor::contiguous);
    let weight = weight.as_ref().and_then(Tensor::as_slice);
    let affine = call.needs[1..].contains(&true).then(|| affine_gradients(inputs, saved, length));
    call.each(|index| {
        let shape = call.inputs[index].shape();
        match (index, &affine) {
            (1.., Some(affine)) => {
                Tensor::build(shape, |out| out.copy_from_slice(&affine[index - 1]))
            }
            _ => Tensor::build(shape, |out| input_gradient(inputs, weight, saved, centred, out)),
        }
    })
}

fn vjp_terms<T: Float>(
    call: &TermCall<'_, T, Vec<Statistics<T>>>,
    normalized: &Shape,
    centred: bool,
    epsilon: f64,
) -> Result<TermCotangents<T>> {
    let (rows, length) = (call.saved.len(), normalized.elements());
    // For rows with a factor outside this range, the squares may overflow or
    // vanish.
    let fits = |&[_, factor]: &Statistics<T>| (1e-9..1e9).contains(&factor.to_f64());
    let range = (!call.saved.iter().all(fits))
        .then(|| Tensor::from_fn([1, rows, 1], |row| call.saved[row][1]));
    let normalisation = Normalisation {
        view: [1, rows, length],
        parameters: [[rows, length].into(), [1, length].into()],
        statistics: normalisation::Statistics::Own { centred, epsilon, range },
    };
    normalisation.gradients(call)
}

fn attributes(normalized: &Shape, epsilon: f64) -> Attributes {
    vec![("normalized_shape", normalized.into()), ("epsilon", epsilon.into())]
}

/// Inputs with `parameters` parameters, normalised over the last `axes` axes.
fn sample<T: Float>(shape: &[usize], axes: usize, parameters: usize) -> (Shape, Vec<Tensor<T>>) {
    let mut rng = Rng::seed(16);
    let normalized = Shape::from(&shape[shape.len() - axes..]);
    let mut inputs = vec![Tensor::normal(shape, 0.5, 2.0, &mut rng)];
    inputs.extend((0..parameters).map(|_| Tensor::uniform(&normalized, 0.5, 1.5, &mut rng)));
    (normalized, inputs)
}

impl<T: Float> Op<T> for LayerNorm {
    type Saved = Vec<Statistics<T>>;
    const NAME: &'static str = "layer_norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        check("layer_norm", &self.normalized_shape, self.epsilon, inputs)
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, Self::Saved>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        Ok(by_rows(self, call, samples, self.normalized_shape.len()))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Self::Saved) {
        forward(inputs, self.normalized_shape.elements(), true, self.epsilon)
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Self::Saved>) -> Cotangents<T> {
        vjp(call, true)
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Self::Saved>) -> Result<TermCotangents<T>> {
        vjp_terms(&call, &self.normalized_shape, true, self.epsilon)
    }

    fn attributes(&self) -> Attributes {
        attributes(&self.normalized_shape, self.epsilon)
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let case = |shape: &[usize], axes, parameters| {
            let (normalized_shape, inputs) = sample(shape, axes, parameters);
            (LayerNorm { normalized_shape, epsilon: 1e-3 }, inputs)
        };
        vec![
            case(&[4, 5], 1, 2),
            case(&[2, 3, 37], 1, 2),
            case(&[2, 3, 4], 2, 1),
            case(&[3, 6], 1, 0),
            case(&[7], 1, 2),
            case(&[0, 4], 1, 2),
            case(&[3, 0], 1, 2),
        ]
    }
}

impl<T: Float> Op<T> for RmsNorm {
    type Saved = Vec<Statistics<T>>;
    const NAME: &'static str = "rms_norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        check("rms_norm", &self.normalized_shape, self.epsilon, inputs)
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, Self::Saved>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        Ok(by_rows(self, call, samples, self.normalized_shape.len()))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Self::Saved) {
        forward(inputs, self.normalized_shape.elements(), false, self.epsilon)
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Self::Saved>) -> Cotangents<T> {
        vjp(call, false)
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Self::Saved>) -> Result<TermCotangents<T>> {
        vjp_terms(&call, &self.normalized_shape, false, self.epsilon)
    }

    fn attributes(&self) -> Attributes {
        attributes(&self.normalized_shape, self.epsilon)
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let case = |shape: &[usize], axes, parameters| {
            let (normalized_shape, inputs) = sample(shape, axes, parameters);
            (RmsNorm { normalized_shape, epsilon: 1e-3 }, inputs)
        };
        vec![case(&[4, 5], 1, 1), case(&[2, 3, 4], 2, 0), case(&[3, 40], 1, 1), case(&[0, 4], 1, 1)]
    }
}

#[cfg(test)]
mod tests;
